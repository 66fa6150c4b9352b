//! The search for the levy per run (a Lagrange multiplier) at which the best
//! partition has just the wanted number of runs.
//!
//! With a levy on every run and their number left free, the best partition is
//! found in one pass. Its number of runs falls as the levy grows, and when it
//! is the wanted one no partition into as many runs costs less: the levies are
//! the same. What one more run gains falls with their number, so there is such
//! a levy, unless two gains are equal and the number jumps.
//!
//! A fine partition into `k` runs costs `c / k^2`, with a `c` of the values.
//! So the levy for `k` is about `2 c / k^3`, and a pass at any levy tells `c`.

use super::costs::{Costs, LANES, Rounded};
use super::fill::Bases;

/// Passes whose levy is interpolated by the numbers of runs found; after them it is the levy at which two partitions
/// already found, of more and of fewer runs, cost the same.
const GUIDED: usize = 8;

/// Passes before the number of runs is taken to jump.
const PASSES: usize = 24;

/// `c` of normal weights, in spreads: 2.72 for very many, less for groups of usual sizes.
const NORMAL: f64 = 2.2;

/// Differences from the wanted number of runs that the table bridges as fast as another pass, which may miss again.
const REACH: f64 = 2.0;

/// Places per run that suffice to tell `c`, how many of all must be left out for that to pay, and passes over them.
const PLACES: usize = 6;
const STRIDE: usize = 6;
const COARSE_PASSES: usize = 3;

/// What a block may add to the costs, in levies, before the next is made shorter or longer.
const SHRINK: f64 = 0.6;
const GROW: f64 = 0.3;

/// Levies above this are rounded down, which changes them little: whole, they are added to whole costs without rounding.
const WHOLE: f64 = 64.0;

/// Scratch memory for [`Levy::search`].
#[derive(Debug, Default)]
pub(super) struct Levy {
    coarse: Rounded,
    pass: Pass,
    /// The partitions nearest to the wanted number of runs.
    fewer: Vec<usize>,
    more: Vec<usize>,
}

/// A levy, the number of runs it gives and what they cost without it.
#[derive(Debug, Clone, Copy)]
struct Point {
    levy: f64,
    runs: f64,
    cost: f64,
}

impl Point {
    /// The levy for `wanted` runs: by what these cost, and by what levy gave them. The one is a little off for all
    /// numbers of runs, the other by chance, and by any factor where outliers were what it was found for.
    fn aim(&self, wanted: f64) -> f64 {
        let by_cost = 2.0 * self.cost * (self.runs * self.runs);
        let by_levy = self.levy * (self.runs * self.runs * self.runs);
        let is_near = 2.0 * self.runs >= wanted && self.runs <= 2.0 * wanted;
        let aim = if is_near { by_cost.sqrt() * by_levy.sqrt() } else { by_cost };
        aim / (wanted * wanted * wanted)
    }

    /// A levy for `wanted` runs that is on the other side of this one's.
    fn beyond(&self, wanted: f64) -> f64 {
        let (aim, share) = (self.aim(wanted), self.runs / wanted);
        let is_beyond = if self.runs < wanted { aim < self.levy && aim > 0.0 } else { aim > self.levy };
        if is_beyond { aim } else { self.levy * share * share * share }
    }
}

impl Levy {
    /// A levy that gives about `runs` runs, found by looking at some of the places only.
    pub(super) fn guess(&mut self, costs: &Rounded, runs: usize) -> f64 {
        let wanted = runs as f64;
        let mut levy = 2.0 * NORMAL * costs.spread() / (wanted * wanted * wanted);
        let stride = costs.count() / (PLACES * runs);
        if stride < STRIDE {
            return levy;
        }
        self.coarse.thin(costs, stride);
        for _ in 0..COARSE_PASSES {
            let here = self.pass.run(&self.coarse, levy);
            let next = here.aim(wanted);
            // Nothing is left of the costs where an outlier hides them.
            if next.is_nan() || next <= 0.0 {
                break;
            }
            levy = next;
            if here.runs == wanted {
                break;
            }
        }
        levy
    }

    /// The levy at which `search` ended.
    pub(super) fn last(&self) -> Option<f64> {
        Some(self.pass.levy).filter(|levy| levy.is_finite() && *levy > 0.0)
    }

    /// The ends of `runs` runs of least cost or, when no levy gives that
    /// number, the ends of the runs of least cost of a number near it.
    pub(super) fn search(&mut self, costs: &impl Costs, guess: f64, runs: usize) -> &[usize] {
        let wanted = runs as f64;
        let (mut fewer, mut more): (Option<Point>, Option<Point>) = (None, None);
        let (mut levy, mut even) = (guess, false);
        for pass in 0..PASSES {
            let here = self.pass.run(costs, levy);
            if here.runs == wanted {
                return &self.pass.ends;
            }
            let (known, ends) = match here.runs < wanted {
                true => (&mut fewer, &mut self.fewer),
                false => (&mut more, &mut self.more),
            };
            std::mem::swap(ends, &mut self.pass.ends);
            // Between two that cost the same at a levy that gives none better there is nothing.
            let known_runs = known.replace(here).map(|known| known.runs);
            if (even && known_runs == Some(here.runs)) || (here.runs - wanted).abs() <= REACH {
                break;
            }
            even = false;
            levy = match (fewer, more) {
                (Some(fewer), Some(more)) if pass < GUIDED => {
                    let share = (wanted - more.runs) / (fewer.runs - more.runs);
                    more.levy + (fewer.levy - more.levy) * share
                }
                (Some(fewer), Some(more)) => {
                    even = true;
                    (fewer.cost - more.cost) / (more.runs - fewer.runs)
                }
                _ => here.beyond(wanted),
            };
        }
        let distance =
            |point: Option<Point>| point.map_or(f64::INFINITY, |point| (point.runs - wanted).abs());
        if distance(fewer) <= distance(more) { &self.fewer } else { &self.more }
    }
}

/// One pass: the best partition at a levy.
#[derive(Debug, Default)]
struct Pass {
    levy: f64,
    /// Least cost of the first `i` values, levies included; infinite where not known yet.
    least: Vec<f64>,
    /// A place not behind the start of the last run of that partition.
    lows: Vec<u16>,
    /// What `least` is about to get.
    block: Vec<f64>,
    /// The ends of the runs of the best partition.
    ends: Vec<usize>,
}

impl Pass {
    /// Finds the best partition at `levy`.
    ///
    /// Goes by blocks of ends so short that no run both starts and ends in one: then all starts in question have
    /// their cost when a block begins.
    fn run(&mut self, costs: &impl Costs, levy: f64) -> Point {
        let count = costs.count();
        let levy = if levy > WHOLE { levy.floor() } else { levy };
        self.levy = levy;
        self.least.clear();
        self.least.resize(count + 1 + LANES, f64::INFINITY);
        self.least[0] = 0.0;
        self.lows.resize(count + 1, 0);
        let (mut done, mut low, mut size) = (0, 0, LANES);
        while done < count {
            let last = (done + size).min(count);
            let bases = Bases { costs: &self.least, first: 0 };
            let (start, cost) = bases.best(costs, low, done, last);
            // A later start has at least the cost of what is done, and of one run.
            let later = self.least[done].max(levy);
            if cost > later && last > done + 1 {
                size = (last - done) / 2;
                continue;
            }
            self.block.resize(last - done, 0.0);
            bases.fill(costs, done + 1, (low, start), (&mut self.block, &mut self.lows[done + 1..=last]));
            for (least, cost) in self.least[done + 1..=last].iter_mut().zip(&self.block) {
                *least = cost + levy;
            }
            let step = self.least[last] - self.least[done];
            if step < GROW * levy {
                size *= 2;
            } else if step > SHRINK * levy {
                size = size.div_ceil(2);
            }
            (done, low) = (last, start);
        }
        self.trace(costs)
    }

    /// Follows the best starts back from the last value.
    fn trace(&mut self, costs: &impl Costs) -> Point {
        self.ends.clear();
        let (mut end, mut cost) = (costs.count(), 0.0);
        while end > 0 {
            self.ends.push(end);
            let (mut start, goal) = (usize::from(self.lows[end]), self.least[end]);
            let mut own = costs.cost(start, end);
            while start + 1 < end && self.least[start] + own + self.levy > goal {
                start += 1;
                own = costs.cost(start, end);
            }
            cost += own;
            end = start;
        }
        self.ends.reverse();
        Point { levy: self.levy, runs: self.ends.len() as f64, cost }
    }
}
