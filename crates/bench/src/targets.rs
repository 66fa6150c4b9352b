//! What a conversion should take, and whether it does.

use crate::markdown::{self, Table};
use crate::run::Measured;
use crate::shapes::{Kind, Scale};

/// Upstream's converter on Qwen3-0.6B shapes with `--lut 4`, steps 1 to 3 only, on a quiet machine of two cores:
/// seconds, and bytes of its largest process.
const UPSTREAM: (f64, f64) = (738.0, 8.55e9);

/// The most memory in bytes.
const MEMORY: u64 = 512_000_000;

/// The most disk, in lengths of `weight.bin`.
const DISK: f64 = 1.02;

/// The most time of a conversion that palettizes nothing, in times of a plain copy.
const COPIES: f64 = 2.0;

/// The most seconds with `--lut 4`.
fn seconds(kind: Kind) -> Option<f64> {
    match kind {
        Kind::Qwen3 => Some(15.0),
        Kind::Llama => Some(30.0),
        Kind::Qwen2 => None,
    }
}

/// One number that is to stay below another.
struct Target {
    what: &'static str,
    measured: String,
    limit: String,
    is_met: bool,
}

fn targets(measured: &Measured) -> Vec<Target> {
    let case = &measured.case;
    if case.source.scale != Scale::ONE {
        return Vec::new();
    }
    if case.is_plain() {
        let ratio = measured.against_copy();
        return vec![Target {
            what: "time against `cp` + `sync`",
            measured: markdown::times(ratio),
            limit: markdown::times(COPIES),
            is_met: ratio <= COPIES,
        }];
    }
    let Some(limit) = seconds(case.source.kind).filter(|_| case.lut == "4") else { return Vec::new() };
    let (wall, peak, disk) = (measured.wall(), measured.peak(), measured.against_weights());
    vec![
        Target {
            what: "time",
            measured: markdown::seconds(wall),
            limit: markdown::seconds(limit),
            is_met: wall <= limit,
        },
        Target {
            what: "peak memory",
            measured: markdown::bytes(peak),
            limit: markdown::bytes(MEMORY),
            is_met: peak <= MEMORY,
        },
        Target {
            what: "disk of all outputs against `weight.bin`",
            measured: format!("{disk:.3} x"),
            limit: format!("{DISK:.3} x"),
            is_met: disk <= DISK,
        },
    ]
}

/// The targets of the conversions that have any.
pub(crate) fn table(all: &[Measured]) -> Table {
    let mut table = Table::new(&["conversion", "what", "measured", "target, at most", ""]);
    for measured in all {
        for target in targets(measured) {
            let verdict = if target.is_met { "met" } else { "**missed**" };
            let cells =
                [measured.case.title(), target.what.into(), target.measured, target.limit, verdict.into()];
            table.row(cells.to_vec());
        }
    }
    table
}

/// How the conversion that upstream's figures are of compares with them.
pub(crate) fn against_upstream(all: &[Measured]) -> Option<Table> {
    let is_same = |m: &&Measured| {
        let source = m.case.source;
        source.kind == Kind::Qwen3 && source.scale == Scale::ONE && m.case.lut == "4"
    };
    let measured = all.iter().find(is_same)?;
    let mut table = Table::new(&["Qwen3-0.6B `--lut 4`", "upstream, recorded", "anelith", "ratio"]);
    let (wall, peak) = (measured.wall(), measured.peak());
    let (upstream_wall, upstream_peak) = UPSTREAM;
    table.row(vec![
        "time".into(),
        format!("{}, steps 1 to 3", markdown::seconds(upstream_wall)),
        markdown::seconds(wall),
        markdown::times(upstream_wall / wall),
    ]);
    table.row(vec![
        "peak memory".into(),
        format!("{}, the largest process", markdown::bytes(upstream_peak as u64)),
        markdown::bytes(peak),
        markdown::times(upstream_peak / peak as f64),
    ]);
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::measured;

    #[test]
    fn each_target_is_judged_by_its_own_number() {
        let verdicts = |m: &Measured| targets(m).iter().map(|t| t.is_met).collect::<Vec<_>>();
        // 10 s, 301 MB, 1.05 x weight.bin; 3.3 times the copy.
        assert_eq!(verdicts(&measured(Kind::Qwen3, "4")), [true, true, false]);
        assert_eq!(verdicts(&measured(Kind::Qwen3, "none")), [false]);
        assert_eq!(verdicts(&measured(Kind::Qwen3, "6")), [true; 0]);
        let mut slow = measured(Kind::Llama, "4");
        slow.runs.iter_mut().for_each(|run| run.wall *= 3.1);
        slow.used.all = slow.used.weights;
        assert_eq!(verdicts(&slow), [false, true, true]);
    }

    #[test]
    fn upstream_is_compared_with_the_same_conversion() {
        let all = [measured(Kind::Llama, "4"), measured(Kind::Qwen3, "4")];
        let table = against_upstream(&all).expect("the conversion is there").to_string();
        assert!(table.contains("| 74 x |") && table.contains("| 28 x |"), "{table}");
        assert_eq!(against_upstream(&all[..1]), None);
    }
}
