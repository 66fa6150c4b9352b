//! What to convert, to where, and how: the options of `convert` and `part`.

use std::path::PathBuf;
use std::str::FromStr;

use anelith_checkpoint::{Architecture, Checkpoint};
use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

/// Output channels that share a lookup table when `--lut` names no group.
pub(crate) const DEFAULT_GROUP: u32 = 8;

/// Everything that the result depends on besides the checkpoint.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model directory.
    pub model: PathBuf,
    /// Where the outputs go.
    pub output: PathBuf,
    /// Tokens that the KV cache holds.
    pub context: u64,
    /// Tokens of one prefill call.
    pub batch: u64,
    /// Palettization of the decoder layers, and of all else that has no setting of its own.
    pub lut: Lut,
    /// Palettization of the embedding; `lut` where not given.
    pub lut_embeddings: Option<Lut>,
    /// Palettization of the LM head; `lut` where not given.
    pub lut_lmhead: Option<Lut>,
    /// Whether `infer` returns place and value of the largest logit of each vocabulary split in place of logits.
    pub argmax: bool,
    /// Prefix of file names; by architecture when not given.
    pub prefix: Option<String>,
}

/// How weights are stored: as fp16, or as indices into lookup tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lut {
    /// fp16.
    None,
    /// Indices of `bits` bits.
    Bits {
        /// 1, 2, 3, 4, 6 or 8.
        bits: u32,
        /// Which weights share a table; `None` where the option names no group.
        group: Option<Group>,
    },
}

/// Which weights of a tensor share a lookup table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// This many output channels.
    Channels(u32),
    /// All of them.
    Tensor,
}

/// How each component that can be palettized is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Luts {
    /// The embedding.
    pub embeddings: Lut,
    /// The projections of the decoder layers.
    pub layers: Lut,
    /// The LM head.
    pub lm_head: Lut,
}

impl Lut {
    /// The bits, or `None` for fp16.
    pub fn bits(self) -> Option<u32> {
        match self {
            Lut::None => None,
            Lut::Bits { bits, .. } => Some(bits),
        }
    }

    /// Which weights share a table: the group that the option names, else the default; `None` for fp16.
    pub fn group(self) -> Option<Group> {
        match self {
            Lut::None => None,
            Lut::Bits { group, .. } => Some(group.unwrap_or(Group::Channels(DEFAULT_GROUP))),
        }
    }

    /// Whether both store a tensor in the same form, however they say so.
    pub fn is_alike(self, other: Lut) -> bool {
        (self.bits(), self.group()) == (other.bits(), other.group())
    }
}

const GRAMMAR: &str = "BITS, BITS,GROUP or none; BITS is 1, 2, 3, 4, 6 or 8; GROUP is a number of output channels, \
                       or 0, t or tensor for one table per tensor";

impl FromStr for Lut {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Lut, String> {
        let lower = text.to_ascii_lowercase();
        if matches!(lower.as_str(), "none" | "no" | "false") {
            return Ok(Lut::None);
        }
        let wrong = |problem: &str| format!("{problem}; expected {GRAMMAR}");
        let (bits, group) = match lower.split_once(',') {
            Some((bits, group)) => (bits, Some(group)),
            None => (lower.as_str(), None),
        };
        let number = |text: &str| -> Option<u32> {
            text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
        };
        let bits = number(bits).filter(|b| [1, 2, 3, 4, 6, 8].contains(b));
        let bits = bits.ok_or_else(|| wrong("not a valid number of bits"))?;
        let group = match group {
            None => None,
            Some("0" | "t" | "tensor") => Some(Group::Tensor),
            Some(n) => {
                let channels = number(n).filter(|n| *n > 0).ok_or_else(|| wrong("not a valid group"))?;
                Some(Group::Channels(channels))
            }
        };
        Ok(Lut::Bits { bits, group })
    }
}

/// How many vocabulary splits the LM head of a family has.
pub(crate) fn head_splits(architecture: Architecture) -> u64 {
    match architecture {
        Architecture::Llama => 8,
        Architecture::Qwen2 | Architecture::Qwen3 => 16,
    }
}

/// The prefix of file names that a family has when none is given.
pub(crate) fn default_prefix(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Llama => "llama",
        Architecture::Qwen2 => "qwen25",
        Architecture::Qwen3 => "qwen",
    }
}

impl Options {
    /// The prefix of file names.
    pub fn prefix(&self, architecture: Architecture) -> &str {
        self.prefix.as_deref().unwrap_or(default_prefix(architecture))
    }

    /// How each component is stored: as its own option says, else as `lut`.
    pub fn luts(&self) -> Luts {
        let own = |lut: Option<Lut>| lut.unwrap_or(self.lut);
        Luts { embeddings: own(self.lut_embeddings), layers: self.lut, lm_head: own(self.lut_lmhead) }
    }

    /// Rows of the KV cache: at least 256, which the Neural Engine asks for.
    pub fn state_rows(&self) -> u64 {
        self.context.max(256)
    }

    /// Checks the options that need no model.
    ///
    /// # Errors
    /// `Usage` for a prefix that is no file name, a context of 0, or a batch that is 0 or beyond the context.
    pub fn check(&self) -> Result<()> {
        if let Some(prefix) = &self.prefix {
            check_prefix(prefix)?;
        }
        let range = |name: &str, value: u64, limit: String| {
            let report = Report::new(format!("{name} is out of range")).at(format!("--{name}"));
            Err(Error::Usage(
                report.expecting(limit).finding(value).mending(format!("choose another --{name}")),
            ))
        };
        if self.context == 0 {
            return range("context", 0, "at least 1".into());
        }
        if self.batch == 0 || self.batch > self.context {
            return range("batch", self.batch, format!("1 to {}, the context", self.context));
        }
        Ok(())
    }

    /// Checks the context against what the checkpoint is made for.
    ///
    /// # Errors
    /// `Usage` for a context beyond the model's positions, beyond its attention window, or beyond the 2^31
    /// elements that a rotary table can have.
    pub fn check_context(&self, checkpoint: &Checkpoint) -> Result<()> {
        let config = &checkpoint.config;
        let limits = [
            ("the model's positions", config.max_positions() as u64),
            ("the model's sliding attention window", config.sliding_window.map_or(u64::MAX, |w| w as u64)),
            ("what Core ML can address", i32::MAX as u64 / config.head_dim as u64),
        ];
        match limits.into_iter().find(|(_, limit)| self.context > *limit) {
            None => Ok(()),
            Some((what, limit)) => {
                let report = Report::new(format!("the context is longer than {what}")).at("--context");
                let report = report.expecting(format!("at most {limit}")).finding(self.context);
                Err(Error::Usage(report.mending("choose a shorter --context")))
            }
        }
    }
}

/// Checks that a prefix can start a file name, an unquoted YAML value and a word in a shell script.
///
/// # Errors
/// `Usage` when it cannot.
pub fn check_prefix(prefix: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let starts = prefix.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && prefix.len() <= 100 && prefix.chars().all(plain) {
        return Ok(());
    }
    let report = Report::new("the prefix is no plain file name").at("--prefix");
    let expected = "letters, digits, `_`, `-` and `.`, beginning with a letter or digit, at most 100";
    Err(Error::Usage(report.expecting(expected).finding(format!("`{prefix}`"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lut_grammar() {
        let bits = |bits, group| Ok(Lut::Bits { bits, group });
        for (text, expected) in [
            ("none", Ok(Lut::None)),
            ("no", Ok(Lut::None)),
            ("false", Ok(Lut::None)),
            ("None", Ok(Lut::None)),
            ("1,1", bits(1, Some(Group::Channels(1)))),
            ("2,32", bits(2, Some(Group::Channels(32)))),
            ("3,T", bits(3, Some(Group::Tensor))),
            ("4", bits(4, None)),
            ("4,16", bits(4, Some(Group::Channels(16)))),
            ("6,0", bits(6, Some(Group::Tensor))),
            ("6,tensor", bits(6, Some(Group::Tensor))),
            ("8,t", bits(8, Some(Group::Tensor))),
            ("5", Err("not a valid number of bits")),
            ("0", Err("not a valid number of bits")),
            ("", Err("not a valid number of bits")),
            ("4,", Err("not a valid group")),
            ("4,-1", Err("not a valid group")),
            ("4,8,8", Err("not a valid group")),
            ("4,none", Err("not a valid group")),
            ("4, 8", Err("not a valid group")),
            ("4,4294967296", Err("not a valid group")),
            ("4,00", Err("not a valid group")),
            ("4,+8", Err("not a valid group")),
            ("+4", Err("not a valid number of bits")),
        ] {
            match (text.parse::<Lut>(), expected) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
                (Err(got), Err(want)) => {
                    assert!(got.starts_with(want) && got.contains(GRAMMAR), "{text}: {got}")
                }
                (got, want) => panic!("{text}: {got:?}, expected {want:?}"),
            }
        }
    }

    #[test]
    fn settings_are_alike_whatever_their_words() {
        let lut = |text: &str| text.parse::<Lut>().expect("a lut");
        for (a, b, expected) in [
            ("4", "4,8", true),
            ("4,0", "4,tensor", true),
            ("none", "no", true),
            ("4", "4,16", false),
            ("4", "6", false),
            ("1", "none", false),
        ] {
            assert_eq!(lut(a).is_alike(lut(b)), expected, "{a} and {b}");
        }
    }

    #[test]
    fn a_prefix_cannot_leave_the_directory() {
        for bad in ["", "../x", "a/b", ".hidden", "a b", "a:b", "ä"] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
        assert!(check_prefix("qwen2.5-x_1").is_ok());
    }
}
