//! `kld>0.3`: conditions under which a model is not good enough.

use anelith_report::{Report, Reported};

use crate::column::Part;
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::verify::Verification;

/// A number of a verification that a gate can be set on.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, that of `--json` too.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    of: fn(&Verification) -> Option<f64>,
}

macro_rules! figure {
    ($field:ident, $about:literal) => {
        Metric { name: stringify!($field), about: $about, of: |v| Some(v.main().$field) }
    };
}

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "kld",
        about: "mean KL divergence in nats, the same as kl_mean",
        of: |v| Some(v.main().kl_mean),
    },
    figure!(kl_mean, "mean KL divergence in nats"),
    figure!(kl_median, "its median"),
    figure!(kl_p90, "its 90th percentile"),
    figure!(kl_p99, "its 99th percentile"),
    figure!(kl_p999, "its 99.9th percentile"),
    figure!(kl_max, "its maximum"),
    figure!(same_top, "share of positions with the same likeliest token"),
    figure!(same_top5, "share of the five likeliest tokens that are the same"),
    figure!(dp_rms, "root mean square difference of the next token's probability"),
    figure!(ppl, "perplexity of the package"),
    figure!(ppl_ratio, "perplexity of the package, divided by the reference's"),
    figure!(correlation, "correlation of the logits"),
    Metric { name: "kl_fp16", about: "kl_mean of rounding to fp16 alone", of: |v| of_column(v, Part::Fp16) },
    Metric { name: "kl_lut", about: "kl_mean of the lookup tables alone", of: |v| of_column(v, Part::Lut) },
    Metric { name: "snr", about: "lowest signal to noise of a hidden state, in dB", of: lowest_after },
    Metric { name: "drops", about: "blocks that drop", of: drops },
    Metric {
        name: "not_finite",
        about: "numbers that are not finite in fp16",
        of: |v| Some(v.saturation.beyond as f64),
    },
    Metric {
        name: "prefill_kl",
        about: "largest KL divergence between infer and prefill",
        of: |v| Some(v.agreement.kl_max),
    },
    Metric {
        name: "prefill_cache",
        about: "largest relative difference of their caches",
        of: |v| Some(v.agreement.cache),
    },
    Metric {
        name: "differing",
        about: "positions at which two runs differ",
        of: |v| Some(v.repeat.differing as f64),
    },
];

fn of_column(verification: &Verification, part: Part) -> Option<f64> {
    verification.column(part).map(|figures: &Figures| figures.kl_mean)
}

fn lowest_after(verification: &Verification) -> Option<f64> {
    let after = verification.blocks.iter().filter_map(|block| block.after.last().copied());
    after.min_by(f64::total_cmp)
}

fn drops(verification: &Verification) -> Option<f64> {
    let blocks = &verification.blocks;
    (!blocks.is_empty()).then(|| blocks.iter().filter(|block| block.drops).count() as f64)
}

/// Which side of its limit a metric must not be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

/// A condition under which a model fails.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    metric: &'static Metric,
    side: Side,
    limit: f64,
}

/// What a gate says of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The gate, as it was written: `kld>0.3`.
    pub gate: String,
    /// What was measured; `None` where it was not.
    pub value: Option<f64>,
    /// Whether the model passes. What was not measured, or is no number, does not.
    pub passed: bool,
}

impl Gate {
    /// Reads gates that stand between commas.
    ///
    /// # Errors
    /// `Usage` for an unknown metric, or where there is no `>` or `<` with a number behind it.
    pub fn parse_all(text: &str) -> Result<Vec<Gate>> {
        text.split(',').map(|gate| Gate::parse(gate.trim())).collect()
    }

    fn parse(text: &str) -> Result<Gate> {
        let wrong = |what: String, expected: String| {
            let report = Report::new(what).at("--fail-if").expecting(expected).finding(format!("`{text}`"));
            Error::usage(report.mending("write for instance kld>0.3,same_top<0.8"))
        };
        let Some(at) = text.find(['>', '<']) else {
            return Err(wrong("a gate compares nothing".into(), "METRIC>NUMBER or METRIC<NUMBER".into()));
        };
        let (name, limit) = (text[..at].trim(), text[at + 1..].trim());
        let names = || METRICS.iter().map(|metric| metric.name).collect::<Vec<_>>().join(", ");
        let metric = METRICS.iter().find(|metric| metric.name == name);
        let metric = metric.ok_or_else(|| wrong(format!("there is no metric `{name}`"), names()))?;
        let limit = limit.parse::<f64>().ok().filter(|limit| limit.is_finite());
        let limit =
            limit.ok_or_else(|| wrong("the limit of a gate is no number".into(), "a number".into()))?;
        let side = if text[at..].starts_with('>') { Side::Above } else { Side::Below };
        Ok(Gate { metric, side, limit })
    }

    /// Judges what was measured.
    pub fn judge(&self, verification: &Verification) -> Judged {
        let value = (self.metric.of)(verification);
        let sign = if self.side == Side::Above { '>' } else { '<' };
        // So written that what is no number fails.
        let passed = value.is_some_and(|value| match self.side {
            Side::Above => value <= self.limit,
            Side::Below => value >= self.limit,
        });
        Judged { gate: format!("{}{sign}{}", self.metric.name, self.limit), value, passed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_and_others_refused() {
        let gates = Gate::parse_all("kld>0.3, same_top < 0.8").unwrap();
        let read: Vec<_> = gates.iter().map(|g| (g.metric.name, g.side, g.limit)).collect();
        assert_eq!(read, [("kld", Side::Above, 0.3), ("same_top", Side::Below, 0.8)]);
        for (text, words) in [
            ("kld", "compares nothing"),
            ("kl>0.3", "no metric `kl`"),
            ("kld>x", "no number"),
            ("kld>nan", "no number"),
            ("kld>=0.3", "no number"),
            ("kld>0.3,", "compares nothing"),
        ] {
            let error = Gate::parse_all(text).unwrap_err();
            assert!(matches!(error, Error::Usage(_)) && error.to_string().contains(words), "{text}: {error}");
        }
    }
}
