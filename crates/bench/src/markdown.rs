//! Tables in Markdown, and numbers as people read them.

use std::fmt::{self, Display};

/// A table. Cells are Markdown themselves and may not contain `|`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        writeln!(f, "{}", line(&self.head))?;
        writeln!(f, "|{}", " --- |".repeat(self.head.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))
    }
}

/// Seconds with three digits or so: `0.042 s`, `9.8 s`, `123 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    let digits = match seconds {
        s if s < 0.0995 => 3,
        s if s < 9.95 => 2,
        s if s < 99.5 => 1,
        _ => 0,
    };
    format!("{seconds:.digits$} s")
}

/// Bytes in millions or thousand millions: `497 MB`, `1.19 GB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let millions = bytes as f64 / 1e6;
    match millions {
        m if m < 9.95 => format!("{m:.1} MB"),
        m if m < 999.5 => format!("{m:.0} MB"),
        m => format!("{:.2} GB", m / 1e3),
    }
}

/// A quotient with two digits behind the point, more of them before it the larger it is.
pub(crate) fn times(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.2} x") } else { format!("{ratio:.0} x") }
}

/// The median, which is the mean of the two in the middle of an even number. 0 for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (n, half) if n % 2 == 1 => sorted[half],
        (_, half) => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_markdown() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec!["1".into(), "`2`".into()]);
        assert_eq!(table.to_string(), "| a | b |\n| --- | --- |\n| 1 | `2` |\n");
    }

    #[test]
    fn numbers_keep_what_matters() {
        let told: Vec<String> = [0.0421, 9.81, 12.345, 738.2].into_iter().map(seconds).collect();
        assert_eq!(told, ["0.042 s", "9.81 s", "12.3 s", "738 s"]);
        let told: Vec<String> = [512_000, 497_400_000, 8_550_000_000].into_iter().map(bytes).collect();
        assert_eq!(told, ["0.5 MB", "497 MB", "8.55 GB"]);
        assert_eq!([times(1.014), times(74.9)], ["1.01 x", "75 x"]);
    }

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
