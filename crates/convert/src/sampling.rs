//! generation_config.json: how the makers of a model would sample from it, with the meaning that transformers gives
//! the fields.

use std::path::{Path, PathBuf};

use anelith_mil::disk;
use anelith_report::{Report, Reported};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

const FILE: &str = "generation_config.json";
/// The largest that is read; real ones take a hundred thousandth of it.
const MAX_BYTES: u64 = 1 << 24;

/// What `meta.yaml` recommends; a field is `None` where the model says nothing of it or turns it off.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sampling {
    /// Whether to sample at all, in place of taking the most likely token.
    pub do_sample: Option<bool>,
    /// What the logits are divided by: above 0, within the range of f32.
    pub temperature: Option<f64>,
    /// From how many of the most likely tokens to choose; 0 is all.
    pub top_k: Option<u64>,
    /// From which share of the probability to choose: above 0, at most 1.
    pub top_p: Option<f64>,
}

impl Sampling {
    /// Reads the file in `dir`, if there is one, and a warning for each value that is left out.
    ///
    /// # Errors
    /// `Input` for a file that is no JSON object, and for a value of the wrong type or out of range.
    pub(crate) fn read(dir: &Path) -> Result<(Sampling, Vec<String>)> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Ok((Sampling::default(), Vec::new()));
        }
        let bytes = disk::read_file(&path, MAX_BYTES)?;
        let object = serde_json::from_slice(&bytes).map_err(|problem| {
            let report = Report::new(format!("{FILE} is not a JSON object")).at(path.display());
            let report = report.expecting("an object of sampling settings").finding(problem);
            Error::Input(report.mending("download it again, or remove it"))
        })?;
        Fields { path, object }.sampling()
    }
}

struct Fields {
    path: PathBuf,
    object: Map<String, Value>,
}

impl Fields {
    fn sampling(&self) -> Result<(Sampling, Vec<String>)> {
        let mut warnings = Vec::new();
        let mut do_sample = self.read("do_sample", "true or false", Value::as_bool)?;
        let sane = |x: &f64| *x == 0.0 || (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(x);
        let number = "a number above 0 and within the range of f32";
        let temperature = self.read("temperature", number, |v| v.as_f64().filter(sane))?;
        let share = |x: &f64| *x > 0.0 && *x <= 1.0;
        let top_p = self.read("top_p", "a number above 0 and at most 1", |v| v.as_f64().filter(share))?;
        let count = self.read("top_k", "an integer from 0 to 2147483647", count)?;
        if temperature == Some(0.0) {
            // Without a temperature, a consumer that samples would take its own.
            if do_sample == Some(true) {
                do_sample = Some(false);
                warnings.push(format!("{FILE}: `temperature` 0 is greedy; `do_sample` is written as false"));
            }
        }
        if count == Some(-1) {
            warnings.push(format!("{FILE}: `top_k` -1 is left out; it turns the limit off"));
        }
        let sampling = Sampling {
            do_sample,
            temperature: temperature.filter(|t| *t != 0.0),
            top_k: count.and_then(|n| u64::try_from(n).ok()),
            top_p,
        };
        Ok((sampling, warnings))
    }

    /// The field, unless it is absent or null; refused where `read` makes nothing of it.
    fn read<T>(&self, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.object.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| {
            let found: String = value.to_string().chars().take(80).collect();
            let report = Report::new(format!("{FILE}: `{key}` is {found}, expected {expected}"));
            let report = report.at(self.path.display()).expecting(expected).finding(found);
            Error::Input(report.mending(format!("correct or remove `{key}` in {FILE}")))
        })
    }
}

/// A count that may be written as 50.0; -1 is vLLM's word for none.
fn count(value: &Value) -> Option<i64> {
    let number = value.as_f64().filter(|x| x.fract() == 0.0)?;
    (-1.0..=f64::from(i32::MAX)).contains(&number).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Sampling, Vec<String>)> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE), text).expect("a file");
        Sampling::read(dir.path())
    }

    #[test]
    fn values_have_the_meaning_of_transformers() {
        let none = Sampling::default();
        let sampled = Sampling { do_sample: Some(true), ..none.clone() };
        let greedy = Sampling { do_sample: Some(false), ..none.clone() };
        let top_k = |k| Sampling { top_k: Some(k), ..none.clone() };
        let cases = [
            ("{}", none.clone(), 0),
            (r#"{"top_k": null, "do_sample": true}"#, sampled, 0),
            (r#"{"top_k": 50.0}"#, top_k(50), 0),
            (r#"{"top_k": 0}"#, top_k(0), 0),
            (r#"{"top_k": -1}"#, none.clone(), 1),
            (r#"{"temperature": 0}"#, none.clone(), 0),
            (r#"{"temperature": 0.0, "do_sample": true}"#, greedy, 1),
            (r#"{"temperature": 1e-30}"#, Sampling { temperature: Some(1e-30), ..none.clone() }, 0),
            (r#"{"top_p": 1}"#, Sampling { top_p: Some(1.0), ..none.clone() }, 0),
        ];
        for (text, expected, warned) in cases {
            let (sampling, warnings) = read(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((sampling, warnings.len()), (expected, warned), "{text}");
        }
    }

    #[test]
    fn other_values_are_refused_with_field_expected_and_found() {
        for (key, value) in [
            ("top_k", "\"50\""),
            ("top_k", "-2"),
            ("top_k", "1.5"),
            ("top_k", "1e10"),
            ("top_k", "true"),
            ("temperature", "true"),
            ("temperature", "-1"),
            ("temperature", "1e300"),
            ("temperature", "[1]"),
            ("top_p", "2"),
            ("top_p", "0"),
            ("do_sample", "1"),
        ] {
            let text = format!("{{\"{key}\": {value}}}");
            let Err(Error::Input(report)) = read(&text) else { panic!("{text} is accepted") };
            assert!(report.what.contains(FILE) && report.what.contains(key), "{text}: {report:?}");
            assert!(report.expected.is_some() && report.found.is_some(), "{text}: {report:?}");
        }
        assert!(matches!(read("[]"), Err(Error::Input(_))));
    }
}
