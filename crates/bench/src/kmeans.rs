//! What criterion has measured of k-means.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::markdown::Table;

/// What criterion keeps about a benchmark.
#[derive(Debug, Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Estimates {
    median: Estimate,
}

/// Nanoseconds.
#[derive(Debug, Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Debug, Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// The results below criterion's directory; `None` when there are none.
pub(crate) fn table(criterion: &Path) -> Option<Table> {
    let mut found = Vec::new();
    collect(criterion, &mut found);
    found.sort_by_key(|(benchmark, _)| natural(&benchmark.full_id));
    if found.is_empty() {
        return None;
    }
    let mut table = Table::new(&["benchmark", "median", "95 % interval", "per weight"]);
    for (benchmark, Estimates { median }) in found {
        let Interval { lower_bound, upper_bound } = median.confidence_interval;
        let weights = benchmark.throughput.as_ref().and_then(|t| t.get("Elements")?.as_f64());
        let each = weights.map_or("-".into(), |n| format!("{:.2} ns", median.point_estimate / n));
        let interval = format!("{} to {}", milliseconds(lower_bound), milliseconds(upper_bound));
        table.row(vec![
            format!("`{}`", benchmark.full_id),
            milliseconds(median.point_estimate),
            interval,
            each,
        ]);
    }
    Some(table)
}

fn milliseconds(nanoseconds: f64) -> String {
    format!("{:.3} ms", nanoseconds / 1e6)
}

/// An order in which 8 stands before 16.
fn natural(text: &str) -> Vec<(u64, String)> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.map(|word| (word.parse().unwrap_or(0), word.to_owned())).collect()
}

/// The latest result of every benchmark below `dir`.
fn collect(dir: &Path, found: &mut Vec<(Benchmark, Estimates)>) {
    let latest = dir.join("new");
    if let (Some(benchmark), Some(estimates)) =
        (read(&latest.join("benchmark.json")), read(&latest.join("estimates.json")))
    {
        found.push((benchmark, estimates));
        return;
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    dirs.iter().for_each(|dir| collect(dir, found));
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        for (id, median) in [("bits/16", 250_000.0), ("bits/8", 180_000.0)] {
            let new = dir.path().join(id).join("new");
            fs::create_dir_all(&new).expect("a directory");
            let benchmark = format!(r#"{{"full_id": "{id}", "throughput": {{"Elements": 8192}}}}"#);
            let interval = r#"{"confidence_level": 0.95, "lower_bound": 170000.0, "upper_bound": 260000.0}"#;
            let estimate = format!(r#"{{"confidence_interval": {interval}, "point_estimate": {median}}}"#);
            fs::write(new.join("benchmark.json"), benchmark).expect("a file");
            fs::write(new.join("estimates.json"), format!(r#"{{"median": {estimate}}}"#)).expect("a file");
        }
        let table = table(dir.path()).expect("two results").to_string();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `bits/8` | 0.180 ms | 0.170 ms to 0.260 ms | 21.97 ns |",
                "| `bits/16` | 0.250 ms | 0.170 ms to 0.260 ms | 30.52 ns |",
            ]
        );
    }

    #[test]
    fn nothing_measured_is_no_table() {
        assert_eq!(table(Path::new("no/such/directory")), None);
    }
}
