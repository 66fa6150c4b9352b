//! Weights that are brought into another form when a model is loaded: what that takes, and when it has paid.

use crate::markdown::Table;
use crate::run::runtime::cases::Workload;
use crate::run::runtime::results::Rounds;

/// The forms of weights, as `--lut` takes them, that are brought into another for a set of instructions when a model is loaded.
pub(crate) fn forms(isa: &str) -> &'static [&'static str] {
    match isa {
        "avx2" => &["8"],
        _ => &[],
    }
}

/// The same weights, in both forms, in turn.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Repacked {
    /// The value of `--lut`.
    pub(crate) lut: &'static str,
    /// With `--as-stored`.
    pub(crate) stored: Rounds,
    pub(crate) repacked: Rounds,
}

impl Repacked {
    /// Seconds that loading takes longer.
    fn cost(&self) -> f64 {
        self.repacked.load() - self.stored.load()
    }

    /// Seconds that a decoded token takes less.
    fn gain(&self) -> f64 {
        1.0 / self.stored.decode() - 1.0 / self.repacked.decode()
    }

    /// Decoded tokens after which the other form has saved the time that it took; infinite if it saves none.
    pub(crate) fn pays_after(&self) -> f64 {
        if self.gain() > 0.0 { (self.cost() / self.gain()).max(0.0) } else { f64::INFINITY }
    }
}

/// What was done.
pub(crate) fn text() -> String {
    let Workload { prompt, generate, repeats, .. } = Workload::of_sets();
    format!(
        "Some forms of weights are brought into another when a model is loaded, unless `anelith bench --as-stored` says \
         not to. Both ways in turn, in as many rounds, each after a run that had the same memory, with a prompt of {prompt}, {generate} decoded tokens and \
         {repeats} repeats; *pays after* is what loading takes longer over what a token takes less."
    )
}

/// Both ways side by side.
pub(crate) fn table(all: &[Repacked]) -> Table {
    let mut table = Table::new(&[
        "`--lut`",
        "load",
        "load, as stored",
        "time per token",
        "time per token, as stored",
        "pays after",
    ]);
    for repacked in all {
        let milliseconds = |rounds: &Rounds| format!("{:.1} ms", 1e3 / rounds.decode());
        table.row(vec![
            format!("`{}`", repacked.lut),
            format!("{:.2} s", repacked.repacked.load()),
            format!("{:.2} s", repacked.stored.load()),
            milliseconds(&repacked.repacked),
            milliseconds(&repacked.stored),
            tokens(repacked.pays_after()),
        ]);
    }
    table
}

/// A number of decoded tokens.
pub(crate) fn tokens(count: f64) -> String {
    if count.is_finite() { format!("{:.0} tokens", count.ceil()) } else { "never".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::runtime::told::Told;
    use crate::run::runtime::told::tests::told;

    #[test]
    fn what_it_costs_is_held_against_what_it_saves() {
        let rounds =
            |load_seconds, decode: f64| Rounds(vec![Told { load_seconds, ..told(&[decode], &[100.0]) }]);
        let mut repacked = Repacked { lut: "6", stored: rounds(0.25, 20.0), repacked: rounds(0.5, 25.0) };
        // A quarter of a second, and 50 ms instead of 40.
        assert!((repacked.pays_after() - 25.0).abs() < 1e-9);
        let row = "| `6` | 0.50 s | 0.25 s | 40.0 ms | 50.0 ms | 25 tokens |";
        assert!(table(&[repacked.clone()]).to_string().contains(row), "{}", table(&[repacked.clone()]));
        repacked.stored = rounds(0.25, 25.0);
        assert_eq!(tokens(repacked.pays_after()), "never");
    }
}
