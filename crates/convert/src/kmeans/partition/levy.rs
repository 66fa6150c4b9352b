//! The search for the levy per run (a Lagrange multiplier) at which the best
//! partition has just the wanted number of runs.
//!
//! With a levy on every run and their number left free, the best partition is
//! found in one pass. Its number of runs falls as the levy grows, and when it
//! is the wanted one no partition into as many runs costs less: the levies are
//! the same. What one more run gains falls with their number, so there is such
//! a levy, unless two gains are equal and the number jumps.

use super::Costs;

/// Passes before the number of runs is taken to jump.
const PASSES: usize = 24;

/// `x` per run for normal weights (the cube root of 1 / 5.44: their error is
/// about 2.72 times the spread over the square of the number of runs).
const NORMAL: f64 = 0.568;

/// Scratch memory for [`Levy::search`].
#[derive(Debug, Default)]
pub(super) struct Levy {
    /// Least cost of the first `i` values, levies included.
    least: Vec<f64>,
    /// Where the last run of that partition starts.
    starts: Vec<u16>,
    /// Starts still in the running, with the first end each of them is best
    /// for; both ascend.
    queue: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    start: usize,
    from: usize,
}

impl Levy {
    /// The ends of `runs` runs of least cost; `None` when no levy gives that
    /// number. `spread` is the cost of one run of all values.
    ///
    /// The levy is `spread / x^3`, which makes the number of runs about
    /// proportional to `x`: so does the error of a fine partition, which falls
    /// with the square of the number. Rational steps of `x` keep to operations
    /// that round alike everywhere.
    pub(super) fn search(&mut self, costs: &impl Costs, spread: f64, runs: usize) -> Option<Vec<usize>> {
        let wanted = runs as f64;
        let mut below = (0.0, 0.0);
        let mut above: Option<(f64, f64)> = None;
        let mut x = wanted * NORMAL;
        for _ in 0..PASSES {
            let found = self.pass(costs, spread / (x * x * x));
            if found == runs {
                return Some(self.ends(runs));
            }
            let here = (x, found as f64);
            if found < runs {
                below = here;
            } else {
                above = Some(here);
            }
            x = match above {
                Some(above) => below.0 + (above.0 - below.0) * (wanted - below.1) / (above.1 - below.1),
                None => x * wanted / here.1,
            };
        }
        None
    }

    /// Finds the best partition at `levy` and returns its number of runs.
    fn pass(&mut self, costs: &impl Costs, levy: f64) -> usize {
        let count = costs.count();
        self.least.clear();
        self.least.push(0.0);
        self.starts.clear();
        self.starts.push(0);
        self.queue.clear();
        self.queue.push(Candidate { start: 0, from: 1 });
        let mut front = 0;
        for end in 1..=count {
            while self.queue.get(front + 1).is_some_and(|next| next.from <= end) {
                front += 1;
            }
            let start = self.queue[front].start;
            self.least.push(self.least[start] + costs.cost(start, end) + levy);
            self.starts.push(start as u16);
            self.admit(costs, end, front);
        }
        self.length()
    }

    /// Enters `start` into the queue, whose entries before `front` are past.
    fn admit(&mut self, costs: &impl Costs, start: usize, front: usize) {
        let count = costs.count();
        while self.queue.len() > front + 1
            && let Some(&last) = self.queue.last()
            && last.from > start
            && self.beats(costs, start, last.start, last.from)
        {
            self.queue.pop();
        }
        let Some(&last) = self.queue.last() else {
            return;
        };
        // Where `start` is not yet better, and the distance to look further.
        let (mut worse, mut step) = (last.from.max(start), 1);
        while worse + step <= count && !self.beats(costs, start, last.start, worse + step) {
            worse += step;
            step *= 2;
        }
        let mut better = (worse + step).min(count + 1);
        while better - worse > 1 {
            let middle = worse.midpoint(better);
            if self.beats(costs, start, last.start, middle) {
                better = middle;
            } else {
                worse = middle;
            }
        }
        if better <= count {
            self.queue.push(Candidate { start, from: better });
        }
    }

    /// Whether a last run `late..end` is better than `early..end`; if so it is
    /// for every later end.
    #[inline(always)]
    fn beats(&self, costs: &impl Costs, late: usize, early: usize, end: usize) -> bool {
        self.least[late] + costs.cost(late, end) < self.least[early] + costs.cost(early, end)
    }

    /// Number of runs of the partition last found.
    fn length(&self) -> usize {
        let mut end = self.starts.len() - 1;
        let mut runs = 0;
        while end > 0 {
            end = usize::from(self.starts[end]);
            runs += 1;
        }
        runs
    }

    /// The ends of its `runs` runs.
    fn ends(&self, runs: usize) -> Vec<usize> {
        let mut ends = vec![self.starts.len() - 1; runs];
        for run in (1..runs).rev() {
            ends[run - 1] = usize::from(self.starts[ends[run]]);
        }
        ends
    }
}
