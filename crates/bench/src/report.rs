//! All tables about conversions together; in `document`, where tables are written.

pub(crate) mod document;

use std::fmt::Write;

use crate::markdown::{self, Table};
use crate::run::Measured;
use crate::stages::Split;
use crate::targets;

/// Time, memory and disk of conversions.
pub(crate) fn conversions(all: &[Measured]) -> Table {
    let head =
        ["conversion", "weights", "time: median (of)", "processor", "peak memory", "disk, all outputs"];
    let more = ["packages and bundle alone", "`cp` + `sync` of as many bytes", "time against it"];
    let mut table = Table::new(&[&head[..], &more[..]].concat());
    for m in all {
        let walls: Vec<String> = m.walls().iter().map(|s| format!("{s:.2}")).collect();
        let ratio = |bytes: u64| {
            let ratio = bytes as f64 / m.used.weights as f64;
            format!("{}, {ratio:.3} x `weight.bin`", markdown::bytes(bytes))
        };
        table.row(vec![
            m.case.title(),
            millions(m.count),
            format!("{} ({})", markdown::seconds(m.wall()), walls.join(", ")),
            markdown::seconds(m.cpu()),
            markdown::bytes(m.peak()),
            ratio(m.used.all),
            ratio(m.used.all - m.used.beside),
            markdown::seconds(m.copy()),
            markdown::times(m.against_copy()),
        ]);
    }
    table
}

/// How time, memory and the stages of step 1 grow with the model.
pub(crate) fn growth(all: &[(Measured, Split)]) -> Table {
    let head = ["model", "weights", "time", "per weight", "peak memory"];
    let stages: Vec<String> = Split::names().map(|name| format!("{name}, all threads")).collect();
    let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
    let mut table = Table::new(&[&head[..], &stages].concat());
    for (m, split) in all {
        let each = m.wall() * 1e9 / m.count.max(1) as f64;
        let mut cells = vec![
            format!("x {}", m.case.source.scale),
            millions(m.count),
            markdown::seconds(m.wall()),
            format!("{each:.2} ns"),
            markdown::bytes(m.peak()),
        ];
        cells.extend(split.seconds().map(markdown::seconds));
        table.row(cells);
    }
    table
}

fn millions(count: u64) -> String {
    format!("{:.0} M", count as f64 / 1e6)
}

/// What a whole run has measured.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) machine: String,
    pub(crate) version: String,
    pub(crate) runs: usize,
    /// Of `anelith convert`, besides model, output and LUT.
    pub(crate) arguments: Vec<String>,
    pub(crate) measured: Vec<Measured>,
    /// By the title of the conversion.
    pub(crate) splits: Vec<(String, Split)>,
    pub(crate) growth: Vec<(Measured, Split)>,
    pub(crate) kmeans: Option<Table>,
    /// What the comparison with other programs for k-means has printed.
    pub(crate) peers: Option<String>,
}

impl Whole {
    /// All tables under headings.
    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        let mut add = |heading: &str, body: &dyn std::fmt::Display| {
            // A String takes all that is written to it.
            let _ = write!(text, "## {heading}\n\n{}\n\n", body.to_string().trim_end());
        };
        let made = format!(
            "{}, {}.\nEach conversion ran {} times as `anelith convert ... {}`: median times, and the largest memory.",
            self.version,
            self.machine,
            self.runs,
            self.arguments.join(" ")
        );
        add("Machine", &made);
        add("Targets", &targets::table(&self.measured));
        if let Some(table) = targets::against_upstream(&self.measured) {
            add("Against upstream", &table);
        }
        add("Conversions", &conversions(&self.measured));
        for (title, split) in &self.splits {
            add(&format!("Where the time goes: {title}"), &format!("{}\n{}", split.steps(), split.stages()));
        }
        add("Growth", &growth(&self.growth));
        match &self.kmeans {
            Some(table) => add("k-means: one group, one core", table),
            None => add("k-means: one group, one core", &"Not measured in this run."),
        }
        if let Some(peers) = &self.peers {
            add("k-means: others on the same groups", peers);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::measured;
    use crate::shapes::Kind;

    #[test]
    fn ratios_are_to_the_weights() {
        let table = conversions(&[measured(Kind::Qwen3, "4")]).to_string();
        assert!(table.contains("| 10.0 s (9.00, 12.00, 10.00) |"), "{table}");
        assert!(table.contains("| 399 MB, 1.050 x `weight.bin` | 387 MB, 1.018 x `weight.bin` |"), "{table}");
        assert!(table.contains("| 3.00 s | 3.33 x |"), "{table}");
    }
}
