//! What running should take, and whether it does.

use crate::markdown::{self, Table};
use crate::run::runtime::repack;
use crate::run::runtime::results::{Filled, PeerRounds, Results};

/// Decode and prefill at least, in times of llama.cpp's.
const DECODE: f64 = 1.5;
const PREFILL: f64 = 1.0;

/// Prefill to strive for, in times of llama.cpp's.
const PREFILL_STRIVE: f64 = 1.5;

/// Decode to strive for, as a part of what the bandwidth allows.
const BANDWIDTH: f64 = 0.7;

/// The most time to the first token, in times of llama.cpp's.
const START: f64 = 0.5;

/// The most memory beside the weights in bytes.
const MEMORY: u64 = 150_000_000;

/// The least bytes a second of any form of weights, in times of four bits.
const PER_BYTE: f64 = 0.7;

/// The most decoded tokens after which weights in another form must have saved the time that they took.
const PAYS_AFTER: f64 = 20.0;

/// The least speed of AVX2, in times of AVX-512.
const AVX2: f64 = 0.6;

/// What a number is held against.
enum Goal {
    Limit {
        text: String,
        is_met: bool,
    },
    /// Or why there is none.
    Absent(String),
}

impl Goal {
    fn at_least(measured: f64, limit: f64, text: String) -> Goal {
        Goal::Limit { text, is_met: measured >= limit }
    }

    fn at_most(measured: f64, limit: f64, text: String) -> Goal {
        Goal::Limit { text, is_met: measured <= limit }
    }

    fn none() -> Goal {
        Goal::Absent(String::new())
    }

    fn cells(self) -> [String; 2] {
        match self {
            Goal::Limit { text, is_met } => [text, if is_met { "met" } else { "**missed**" }.into()],
            Goal::Absent(why) => [why, String::new()],
        }
    }
}

/// A number with the least that is asked of it, and what would be better.
struct Target {
    what: String,
    measured: String,
    floor: Goal,
    strive: Goal,
}

/// All targets.
pub(crate) fn table(results: &Results) -> Table {
    let mut table = Table::new(&["what", "measured", "floor", "", "strive for", ""]);
    for target in targets(results) {
        let [[floor, is_floor_met], [strive, is_strive_met]] = [target.floor, target.strive].map(Goal::cells);
        table.row(vec![target.what, target.measured, floor, is_floor_met, strive, is_strive_met]);
    }
    table
}

fn targets(results: &Results) -> Vec<Target> {
    let mut all = vec![decode(results), prefill(results), start(results), memory(results)];
    all.extend(forms(results));
    all.extend(repacked(results));
    all.extend(sets(results));
    all.extend(growth(results));
    all
}

fn decode(results: &Results) -> Target {
    let decode = results.four.decode();
    let limit = results.four.limit();
    let strive = BANDWIDTH * limit;
    Target {
        what: "decode, tokens/s".into(),
        measured: per_second(decode),
        floor: against_peer(results, |peer| {
            let limit = DECODE * peer.decode();
            let text =
                format!("{}: {DECODE:.1} x {} of llama.cpp", per_second(limit), per_second(peer.decode()));
            Goal::at_least(decode, limit, text)
        }),
        strive: Goal::at_least(
            decode,
            strive,
            format!(
                "{}: {:.0} % of {}, which the bandwidth allows",
                per_second(strive),
                100.0 * BANDWIDTH,
                per_second(limit)
            ),
        ),
    }
}

fn prefill(results: &Results) -> Target {
    let prefill = results.four.prefill();
    let goal = |factor: f64| {
        against_peer(results, |peer| {
            let limit = factor * peer.prefill();
            let text =
                format!("{}: {factor:.1} x {} of llama.cpp", per_second(limit), per_second(peer.prefill()));
            Goal::at_least(prefill, limit, text)
        })
    };
    Target {
        what: "prefill, tokens/s".into(),
        measured: per_second(prefill),
        floor: goal(PREFILL),
        strive: goal(PREFILL_STRIVE),
    }
}

fn start(results: &Results) -> Target {
    let start = results.start();
    let told = markdown::seconds(results.start_told());
    Target {
        what: "process start to first token, prompt of 8".into(),
        measured: format!("{} to its end, {told} to the token", markdown::seconds(start)),
        floor: against_peer(results, |peer| {
            let theirs = peer.first_token();
            let limit = START * theirs;
            let [limit_text, theirs] = [limit, theirs].map(markdown::seconds);
            Goal::at_most(start, limit, format!("{limit_text}: {START:.1} x {theirs} of llama.cpp"))
        }),
        strive: Goal::none(),
    }
}

fn memory(results: &Results) -> Target {
    let (peak, weights) = (results.four.peak(), results.four.weight_bytes());
    let limit = weights + MEMORY;
    let [limit_text, weights, more] = [limit, weights, MEMORY].map(markdown::bytes);
    Target {
        what: "peak resident memory".into(),
        measured: markdown::bytes(peak),
        floor: Goal::at_most(
            peak as f64,
            limit as f64,
            format!("{limit_text}: {weights} of `weight.bin` + {more}"),
        ),
        strive: Goal::none(),
    }
}

fn forms(results: &Results) -> impl Iterator<Item = Target> {
    results.forms.iter().map(|(lut, form)| {
        let ratio = results.per_byte(form);
        Target {
            what: format!("`--lut {lut}`: bytes of weights per second of decode, against 4 bits"),
            measured: markdown::times(ratio),
            floor: Goal::at_least(ratio, PER_BYTE, markdown::times(PER_BYTE)),
            strive: Goal::none(),
        }
    })
}

fn repacked(results: &Results) -> impl Iterator<Item = Target> {
    results.repacked.iter().map(|repacked| {
        let after = repacked.pays_after();
        Target {
            what: format!("`--lut {}`: another form at load has paid after", repacked.lut),
            measured: repack::tokens(after),
            floor: Goal::at_most(after, PAYS_AFTER, repack::tokens(PAYS_AFTER)),
            strive: Goal::none(),
        }
    })
}

/// None where no sets were compared.
fn sets(results: &Results) -> Option<Target> {
    results.sets.first()?;
    let what = "AVX2: decode against AVX-512".into();
    let text = markdown::times(AVX2);
    let (measured, floor) = match results.set_against("avx2", "avx512") {
        Some(ratio) => (markdown::times(ratio), Goal::at_least(ratio, AVX2, text)),
        None => ("not measured: this machine has no AVX-512".into(), Goal::Absent(text)),
    };
    Some(Target { what, measured, floor, strive: Goal::none() })
}

/// None where growth was not measured.
fn growth(results: &Results) -> Option<Target> {
    let full = results.full();
    let (first, last) = (full.first()?, full.last()?);
    let time = last.seconds() / first.seconds();
    let goal = |bytes: fn(&Filled) -> u64, what: &str| {
        let limit = bytes(last) as f64 / bytes(first) as f64;
        Goal::at_most(time, limit, format!("{} of {what}", markdown::times(limit)))
    };
    let contexts = format!("context {} against {}", last.told.context, first.told.context);
    Some(Target {
        what: format!("decode: time per token, {contexts}"),
        measured: markdown::times(time),
        floor: goal(Filled::cache, "the cache"),
        strive: goal(Filled::read, "cache and weights"),
    })
}

fn against_peer(results: &Results, goal: impl FnOnce(&PeerRounds) -> Goal) -> Goal {
    match &results.peer {
        Ok(peer) => goal(peer),
        Err(why) => Goal::Absent(format!("skipped: {why}")),
    }
}

/// Tokens a second with three digits or more.
fn per_second(tokens: f64) -> String {
    if tokens < 99.95 { format!("{tokens:.1}") } else { format!("{tokens:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::runtime::results::tests::results;

    fn rows(results: &Results) -> Vec<String> {
        table(results).to_string().lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn each_target_is_judged_by_its_own_number() {
        let bandwidth = "93.3: 70 % of 133, which the bandwidth allows | met";
        assert_eq!(
            rows(&results()),
            [
                format!("| decode, tokens/s | 100 | 75.0: 1.5 x 50.0 of llama.cpp | met | {bandwidth} |"),
                "| prefill, tokens/s | 500 | 520: 1.0 x 520 of llama.cpp | **missed** | \
                 780: 1.5 x 520 of llama.cpp | **missed** |"
                    .into(),
                "| process start to first token, prompt of 8 | 0.50 s to its end, 0.40 s to the token | \
                 1.95 s: 0.5 x 3.90 s of llama.cpp | met |  |  |"
                    .into(),
                "| peak resident memory | 480 MB | 530 MB: 380 MB of `weight.bin` + 150 MB | met |  |  |".into(),
                "| `--lut 6`: bytes of weights per second of decode, against 4 bits | 1.20 x | 0.70 x | met |  |  |"
                    .into(),
                "| `--lut 8`: bytes of weights per second of decode, against 4 bits | 0.60 x | 0.70 x | **missed** \
                 |  |  |"
                    .into(),
                "| AVX2: decode against AVX-512 | 0.50 x | 0.60 x | **missed** |  |  |".into(),
                "| decode: time per token, context 8192 against 512 | 2.00 x | 17 x of the cache | met | \
                 1.70 x of cache and weights | **missed** |".into(),
            ]
        );
    }

    #[test]
    fn what_was_not_measured_says_so() {
        let mut results = results();
        results.peer = Err("node is absent".into());
        results.sets.remove(0);
        results.growth.clear();
        results.forms.clear();
        let rows = rows(&results);
        assert!(
            rows[0].starts_with("| decode, tokens/s | 100 | skipped: node is absent |  | 93.3:"),
            "{rows:?}"
        );
        assert!(rows[1].ends_with("| skipped: node is absent |  | skipped: node is absent |  |"), "{rows:?}");
        let none = "not measured: this machine has no AVX-512";
        assert_eq!(rows[4], format!("| AVX2: decode against AVX-512 | {none} | 0.60 x |  |  |  |"));
        assert_eq!(rows.len(), 5);
    }
}
