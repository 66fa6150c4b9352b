//! Conversions by the real binary, and a plain copy of as many bytes beside each; in `runtime`, how fast their results
//! run.

pub(crate) mod runtime;

use std::ffi::OsStr;

use anelith_convert::Lut;

use crate::disk::{self, Used};
use crate::error::{Error, Result};
use crate::markdown::median;
use crate::place::{Place, Source};
use crate::shapes::Scale;
use crate::usage::{self, Usage};

/// A conversion to be measured.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Case {
    pub(crate) source: Source,
    /// As `--lut` takes it.
    pub(crate) lut: String,
}

impl Case {
    pub(crate) fn new(source: Source, lut: &str) -> Case {
        Case { source, lut: lut.to_owned() }
    }

    /// The model and the option.
    pub(crate) fn title(&self) -> String {
        let Source { kind, scale, .. } = self.source;
        let scale = if scale == Scale::ONE { String::new() } else { format!(" x {scale}") };
        format!("{}{scale} `--lut {}`", kind.model(), self.lut)
    }

    /// Whether nothing is palettized.
    pub(crate) fn is_plain(&self) -> bool {
        self.lut.parse() == Ok(Lut::None)
    }
}

/// What one conversion took.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Measured {
    pub(crate) case: Case,
    /// Weights of the checkpoint.
    pub(crate) count: u64,
    pub(crate) runs: Vec<Usage>,
    pub(crate) used: Used,
    /// Seconds that `cp` and `sync` took of a file as long as all outputs, after each run.
    pub(crate) copies: Vec<f64>,
}

impl Measured {
    /// The median time of a run in seconds.
    pub(crate) fn wall(&self) -> f64 {
        median(&self.walls())
    }

    pub(crate) fn walls(&self) -> Vec<f64> {
        self.runs.iter().map(|run| run.wall).collect()
    }

    /// The median processor time of a run in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        median(&self.runs.iter().map(|run| run.cpu).collect::<Vec<_>>())
    }

    /// The most memory that any run had resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.runs.iter().map(|run| run.peak).max().unwrap_or(0)
    }

    /// The median time of the plain copy in seconds.
    pub(crate) fn copy(&self) -> f64 {
        median(&self.copies)
    }

    /// Time against that of the plain copy.
    pub(crate) fn against_copy(&self) -> f64 {
        self.wall() / self.copy()
    }

    /// Disk used by all outputs against the length of `weight.bin`.
    pub(crate) fn against_weights(&self) -> f64 {
        self.used.all as f64 / self.used.weights as f64
    }
}

/// How conversions are run.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) place: &'a Place,
    pub(crate) runs: usize,
    /// Arguments of `anelith convert` besides model, output and LUT.
    pub(crate) arguments: &'a [String],
}

impl Bench<'_> {
    /// Makes the checkpoint, converts it as often as there are runs, each into a new directory, and copies as many
    /// bytes after each. Only the checkpoint stays.
    pub(crate) fn measure(&self, case: &Case) -> Result<Measured> {
        let (anelith, model) = (self.place.anelith()?, self.place.checkpoint(case.source)?);
        let (output, log) = (self.place.file("output")?, self.place.file("convert.log")?);
        let [source, copy] = [self.place.file("plain")?, self.place.file("plain-copy")?];
        let count = case.source.shape()?.weights();
        let mut measured =
            Measured { case: case.clone(), count, runs: vec![], used: Used::default(), copies: vec![] };
        let paths = ["--model".as_ref(), model.as_os_str(), "--output".as_ref(), output.as_os_str()];
        let lut: [&OsStr; 2] = ["--lut".as_ref(), case.lut.as_ref()];
        let rest = self.arguments.iter().map(AsRef::as_ref);
        let arguments: Vec<&OsStr> =
            ["convert".as_ref()].into_iter().chain(paths).chain(lut).chain(rest).collect();
        for _ in 0..self.runs {
            disk::remove(&output)?;
            disk::warm(&model)?;
            disk::settle();
            measured.runs.push(usage::run(&anelith, &arguments, &log)?);
            measured.used = disk::used(&output)?;
            if measured.used.weights == 0 {
                return Err(Error::Failed(format!(
                    "no weight.bin among the outputs in {}",
                    output.display()
                )));
            }
            disk::remove(&output)?;
            if measured.copies.is_empty() {
                disk::fill(&source, measured.used.all)?;
            }
            disk::settle();
            measured.copies.push(disk::copy(&source, &copy)?.as_secs_f64());
            disk::remove(&copy)?;
        }
        disk::remove(&source)?;
        Ok(measured)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::generate::Tokenizer;
    use crate::shapes::Kind;

    fn case(kind: Kind, lut: &str) -> Case {
        Case::new(Source { kind, scale: Scale::ONE, tokenizer: Tokenizer::Real }, lut)
    }

    /// A conversion that took 9, 12 and 10 seconds for 400 MB, of which 380 MB weights.
    pub(crate) fn measured(kind: Kind, lut: &str) -> Measured {
        let run = |wall, peak| Usage { wall, cpu: 1.9 * wall, peak };
        Measured {
            case: case(kind, lut),
            count: 600_000_000,
            runs: vec![run(9.0, 300_000_000), run(12.0, 301_000_000), run(10.0, 299_000_000)],
            used: Used { all: 399_000_000, beside: 12_000_000, weights: 380_000_000 },
            copies: vec![2.5, 4.0, 3.0],
        }
    }

    #[test]
    fn medians_of_runs_and_the_largest_peak() {
        let measured = measured(Kind::Qwen3, "4");
        assert_eq!((measured.wall(), measured.cpu(), measured.copy()), (10.0, 19.0, 3.0));
        assert_eq!(measured.peak(), 301_000_000);
        assert!((measured.against_copy() - 10.0 / 3.0).abs() < 1e-12);
        assert!((measured.against_weights() - 1.05).abs() < 1e-12);
    }

    #[test]
    fn plain_conversions_are_known_by_any_spelling() {
        let is_plain = |lut: &str| case(Kind::Qwen3, lut).is_plain();
        assert!(is_plain("none") && is_plain("No") && !is_plain("4") && !is_plain("4,t"));
    }
}
