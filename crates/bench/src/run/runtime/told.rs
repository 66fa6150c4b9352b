//! What `anelith bench --json` tells.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::markdown::median;

/// About one process that ran prompts and decoded tokens after them.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct Told {
    /// The set of instructions.
    pub(crate) isa: String,
    pub(crate) precision: String,
    pub(crate) context: u64,
    /// Length of `weight.bin`.
    pub(crate) weight_bytes: u64,
    /// From the files to the first run.
    pub(crate) load_seconds: f64,
    /// Of a read of memory that both threads share.
    pub(crate) bandwidth_bytes_per_second: f64,
    /// Bytes in which the weights that one decoded token needs are stored, without the cache.
    pub(crate) decode_bytes_per_token: u64,
    /// Of each repeat.
    pub(crate) prefill_tokens_per_second: Vec<f64>,
    /// Of each repeat.
    pub(crate) decode_tokens_per_second: Vec<f64>,
    /// The most memory that was resident at once.
    pub(crate) peak_bytes: u64,
    /// Of one token.
    pub(crate) infer_kinds: Vec<Kind>,
    /// Of one batch.
    pub(crate) prefill_kinds: Vec<Kind>,
}

impl Told {
    /// The median of decoded tokens a second.
    pub(crate) fn decode(&self) -> f64 {
        median(&self.decode_tokens_per_second)
    }

    /// The median of prompt tokens a second.
    pub(crate) fn prefill(&self) -> f64 {
        median(&self.prefill_tokens_per_second)
    }
}

/// What the steps of one kind took in one call of a function.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct Kind {
    pub(crate) kind: String,
    pub(crate) steps: u64,
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
}

/// About one process that stopped at its first token.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
pub(crate) struct FirstToken {
    /// Since the process started.
    pub(crate) start_to_first_token_seconds: f64,
}

/// The object that a process has printed, perhaps after warnings.
pub(crate) fn read<T: DeserializeOwned>(log: &Path) -> Result<T> {
    let text = fs::read_to_string(log).map_err(Error::io("read", log))?;
    parse(&text)
        .map_err(|e| Error::Failed(format!("what `anelith bench` printed is not understood: {e}\n{text}")))
}

fn parse<T: DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    let starts = || text.lines().position(|line| line.starts_with('{')).ok_or("no object in it");
    let lines: Vec<&str> = text.lines().skip(starts()?).collect();
    let json = lines.join("\n");
    let mut objects = serde_json::Deserializer::from_str(&json).into_iter();
    objects.next().ok_or("no object in it")?.map_err(|e| e.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of 512 positions and 300 MB of weights, with 40 GB/s of bandwidth.
    pub(crate) fn told(decode: &[f64], prefill: &[f64]) -> Told {
        Told {
            isa: "avx512".into(),
            precision: "fast".into(),
            context: 512,
            weight_bytes: 380_000_000,
            load_seconds: 0.2,
            bandwidth_bytes_per_second: 4e10,
            decode_bytes_per_token: 300_000_000,
            prefill_tokens_per_second: prefill.to_vec(),
            decode_tokens_per_second: decode.to_vec(),
            peak_bytes: 480_000_000,
            infer_kinds: vec![kind("matrix product", 197, 0.0075), kind("softmax", 28, 0.0025)],
            prefill_kinds: vec![kind("matrix product", 197, 0.1)],
        }
    }

    fn kind(kind: &str, steps: u64, seconds: f64) -> Kind {
        Kind { kind: kind.into(), steps, seconds, bytes: 300_000_000 }
    }

    #[test]
    fn the_object_is_found_after_warnings() {
        let text = r#"warning: {no object}
{"isa": "avx2", "threads": 2, "precision": "fast", "context": 512, "batch": 64, "prompt": 256, "generate": 64,
 "weight_bytes": 379000000, "load_seconds": 0.2, "bandwidth_bytes_per_second": 2.5e10,
 "decode_bytes_per_token": 298000000, "prefill_tokens_per_second": [100.0, 120.0],
 "decode_tokens_per_second": [30.0, 50.0, 40.0], "peak_bytes": 450000000, "start_to_first_token_seconds": null,
 "infer_kinds": [{"kind": "softmax", "steps": 28, "seconds": 0.001, "bytes": 917504}], "prefill_kinds": []}
"#;
        let told: Told = parse(text).expect("what the command prints");
        assert_eq!((told.decode(), told.prefill()), (40.0, 110.0));
        assert_eq!(told.infer_kinds[0].steps, 28);
        let first: FirstToken = parse("{\"start_to_first_token_seconds\": 0.31}\n").expect("an object");
        assert_eq!(first.start_to_first_token_seconds, 0.31);
        assert!(parse::<FirstToken>("nothing\n").is_err() && parse::<Told>("{}\n").is_err());
    }
}
