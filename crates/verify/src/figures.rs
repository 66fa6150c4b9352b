//! How far two predictions of the next token are apart, in llama.cpp's words: one position at a time, then all of them.
//!
//! A prediction is a row of logits. `p` is what the reference predicts, `q` what is measured.

use anelith_chat::log_softmax;

/// How many of the likeliest tokens `same_top5` looks at.
const TOP: usize = 5;

/// Where the reference's two best logits are no farther apart than this, either token counts as the same in
/// `same_top_near`: a difference that rounding to fp16 may make.
const NEAR: f32 = 0.03;

/// What is known of a row of reference logits, once for all that are compared with it.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    logits: &'a [f32],
    log_p: Vec<f64>,
    /// The likeliest tokens, best first.
    top: Vec<usize>,
    /// The token that comes next, where that is known.
    next: Option<u32>,
}

impl Row<'_> {
    pub(crate) fn new(logits: &[f32], next: Option<u32>) -> Row<'_> {
        let next = next.filter(|id| (*id as usize) < logits.len());
        Row { logits, log_p: log_softmax(logits), top: likeliest(logits), next }
    }

    /// The logits.
    pub(crate) fn logits(&self) -> &[f32] {
        self.logits
    }

    /// The token that comes next, where that is known.
    pub(crate) fn next(&self) -> Option<u32> {
        self.next
    }
}

/// KL(p || q) in nats; infinite where it is not a number.
pub(crate) fn kl_divergence(log_p: &[f64], log_q: &[f64]) -> f64 {
    let kl: f64 = log_p.iter().zip(log_q).map(|(p, q)| p.exp() * (p - q)).sum();
    if kl.is_nan() { f64::INFINITY } else { kl }
}

/// The `TOP` likeliest tokens, best first; among equals the lowest id.
fn likeliest(logits: &[f32]) -> Vec<usize> {
    let mut top: Vec<usize> = Vec::with_capacity(TOP + 1);
    for (id, logit) in logits.iter().enumerate() {
        if top.len() == TOP && top.last().is_some_and(|last| *logit <= logits[*last]) {
            continue;
        }
        let at = top.partition_point(|other| logits[*other] >= *logit);
        top.insert(at, id);
        top.truncate(TOP);
    }
    top
}

/// All positions that were compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    kl: Vec<f64>,
    same_top: usize,
    same_top_near: usize,
    near: usize,
    shared: f64,
    /// Sum of the squared differences of the probability of the token that came next, and how many there were.
    dp: f64,
    known: usize,
    /// Sums of the logarithm of that probability.
    log_p: f64,
    log_q: f64,
    correlation: f64,
    max_abs: f64,
}

impl Comparison {
    /// Takes in what was measured at one position.
    pub(crate) fn take(&mut self, row: &Row<'_>, measured: &[f32]) {
        let log_q = log_softmax(measured);
        self.kl.push(kl_divergence(&row.log_p, &log_q));
        let top = likeliest(measured);
        let best = |place: usize| top.first() == row.top.get(place) && !top.is_empty();
        let is_near = match row.top.as_slice() {
            [first, second, ..] => row.logits[*first] - row.logits[*second] <= NEAR,
            _ => false,
        };
        self.same_top += usize::from(best(0));
        self.same_top_near += usize::from(best(0) || is_near && best(1));
        self.near += usize::from(is_near);
        let shared = top.iter().filter(|id| row.top.contains(id)).count();
        self.shared += shared as f64 / row.top.len().max(1) as f64;
        if let Some(next) = row.next {
            let (log_p, log_q) = (row.log_p[next as usize], log_q[next as usize]);
            self.known += 1;
            self.dp += (log_q.exp() - log_p.exp()).powi(2);
            self.log_p += log_p;
            self.log_q += log_q;
        }
        self.correlation += correlation(row.logits, measured);
        let apart = row.logits.iter().zip(measured).map(|(p, q)| f64::from((p - q).abs()));
        self.max_abs = apart.fold(self.max_abs, |max, d| if d.is_nan() { f64::NAN } else { max.max(d) });
    }

    /// What all positions together say.
    pub(crate) fn figures(&self) -> Figures {
        let count = self.kl.len() as f64;
        let mean = self.kl.iter().sum::<f64>() / count;
        let variance = self.kl.iter().map(|kl| (kl - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let mut sorted = self.kl.clone();
        sorted.sort_by(f64::total_cmp);
        let known = self.known as f64;
        let share = |n: usize| n as f64 / count;
        Figures {
            positions: self.kl.len(),
            kl_mean: mean,
            kl_stderr: (variance / count).sqrt(),
            kl_median: percentile(&sorted, 0.5),
            kl_p90: percentile(&sorted, 0.9),
            kl_p99: percentile(&sorted, 0.99),
            kl_p999: percentile(&sorted, 0.999),
            kl_max: percentile(&sorted, 1.0),
            same_top: share(self.same_top),
            same_top_near: share(self.same_top_near),
            near_ties: self.near,
            same_top5: self.shared / count,
            dp_rms: (self.dp / known).sqrt(),
            ppl_reference: (-self.log_p / known).exp(),
            ppl: (-self.log_q / known).exp(),
            ppl_ratio: ((self.log_p - self.log_q) / known).exp(),
            correlation: self.correlation / count,
            max_abs: self.max_abs,
        }
    }
}

/// What a comparison of predictions comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// How many predictions were compared: one after each token.
    pub positions: usize,
    /// Mean KL divergence in nats, reference || measured. A prediction that is not finite makes it infinite.
    pub kl_mean: f64,
    /// The standard error of the mean; NaN for one position.
    pub kl_stderr: f64,
    /// The median of the divergences.
    pub kl_median: f64,
    /// Nine tenths of the divergences are below; between two of them a line is drawn.
    pub kl_p90: f64,
    /// 99 % are below.
    pub kl_p99: f64,
    /// 99.9 % are below.
    pub kl_p999: f64,
    /// The largest.
    pub kl_max: f64,
    /// Share of the positions with the same likeliest token.
    pub same_top: f64,
    /// The same, where either of two tokens counts whose reference logits are at most 0.03 apart.
    pub same_top_near: f64,
    /// At how many positions the reference's best two are so near.
    pub near_ties: usize,
    /// Which share of the reference's five likeliest tokens is among the five likeliest here, on average.
    pub same_top5: f64,
    /// Root mean square of the difference in the probability of the token that came next.
    pub dp_rms: f64,
    /// Perplexity of the reference over the tokens that came next.
    pub ppl_reference: f64,
    /// Perplexity of what is measured.
    pub ppl: f64,
    /// `ppl / ppl_reference`.
    pub ppl_ratio: f64,
    /// Pearson's correlation of both rows of logits, on average over the positions.
    pub correlation: f64,
    /// The largest difference between two logits.
    pub max_abs: f64,
}

/// The value below which the share `rank` of `sorted` lies, interpolated.
fn percentile(sorted: &[f64], rank: f64) -> f64 {
    let place = rank * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) if low == high => *low,
        (Some(low), Some(high)) => low + (high - low) * (place - place.floor()),
        _ => f64::NAN,
    }
}

fn correlation(x: &[f32], y: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|v| f64::from(*v)).sum::<f64>() / v.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (f64::from(*x) - mean_x, f64::from(*y) - mean_y);
        (xx, yy, xy) = (xx + x * x, yy + y * y, xy + x * y);
    }
    xy / (xx * yy).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_of_known_distributions() {
        // (1/2, 1/2) from (1/4, 3/4).
        let (p, q) = ([0.0, 0.0], [0.0, 3f32.ln()]);
        let mut all = Comparison::default();
        all.take(&Row::new(&p, Some(1)), &q);
        all.take(&Row::new(&p, None), &p);
        let figures = all.figures();
        let kl = 0.5 * (2f64.ln() + (2.0f64 / 3.0).ln());
        assert!((figures.kl_max - kl).abs() < 1e-7 && (figures.kl_mean - kl / 2.0).abs() < 1e-7);
        // Of two values the deviation from the mean is half their distance, and so is the error of the mean.
        assert!((figures.kl_stderr - kl / 2.0).abs() < 1e-7);
        assert!((figures.dp_rms - 0.25).abs() < 1e-7);
        assert!((figures.ppl_reference - 2.0).abs() < 1e-7 && (figures.ppl - 4.0 / 3.0).abs() < 1e-7);
        assert!((figures.ppl_ratio - 2.0 / 3.0).abs() < 1e-7);
        assert_eq!((figures.same_top, figures.same_top_near, figures.near_ties), (0.5, 1.0, 2));
    }

    #[test]
    fn the_likeliest_come_first_and_the_lowest_id_among_equals() {
        assert_eq!(likeliest(&[1.0, 5.0, 3.0, 5.0, 2.0, 4.0, 3.0]), [1, 3, 5, 2, 6]);
        assert_eq!(likeliest(&[1.0, 2.0]), [1, 0]);
    }

    #[test]
    fn percentiles_are_interpolated() {
        let sorted: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 0.5), 5.0);
        assert!((percentile(&sorted, 0.99) - 9.9).abs() < 1e-12);
        assert_eq!(percentile(&[7.0], 0.9), 7.0);
        assert_eq!(percentile(&[1.0, f64::INFINITY], 1.0), f64::INFINITY);
    }

    #[test]
    fn what_is_not_finite_is_infinitely_far() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut all = Comparison::default();
            all.take(&Row::new(&[0.0, 1.0], None), &[0.0, bad]);
            assert_eq!(all.figures().kl_mean, f64::INFINITY, "{bad}");
        }
    }

    #[test]
    fn correlation_is_that_of_pearson() {
        assert!((correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]) - 1.0).abs() < 1e-12);
        assert!((correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
    }
}
