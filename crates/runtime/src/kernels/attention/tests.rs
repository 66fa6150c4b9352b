//! Attention beside its slow twin, and what it must not read or mix.

use half::f16;

use super::*;

const HIDDEN: f32 = f32::NEG_INFINITY;

/// An attention with its data: as many tokens and positions as the mask has rows and columns.
struct Case {
    shape: Attention,
    queries: Vec<f32>,
    keys: Vec<u16>,
    values: Vec<u16>,
    mask: Vec<f32>,
    count: usize,
    context: usize,
}

/// What lies between the rows of a result, and of the queries.
const GAP: usize = 3;

impl Case {
    fn new(heads: usize, kv_heads: usize, head_dim: usize, count: usize, context: usize) -> Case {
        let mut s = 0x2545_f491u32;
        let mut random = || {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        let shape = Attention { heads, kv_heads, head_dim, scale: (head_dim as f32).sqrt().recip() };
        let queries = (0..count * (heads * (head_dim + 1) + GAP)).map(|_| 4.0 * random()).collect();
        let cache = kv_heads * (context * head_dim + GAP);
        let keys = (0..cache).map(|_| f16::from_f32(random()).to_bits()).collect();
        let values = (0..cache).map(|_| f16::from_f32(random()).to_bits()).collect();
        Case { shape, queries, keys, values, mask: vec![0.0; count * context], count, context }
    }

    /// Hides what comes behind token `t`, at position `first + t`.
    fn causal(mut self, first: usize) -> Case {
        for (t, row) in self.mask.chunks_exact_mut(self.context).enumerate() {
            row[first + t + 1..].fill(HIDDEN);
        }
        self
    }

    fn inputs(&self) -> Inputs<'_> {
        let Attention { heads, head_dim, .. } = self.shape;
        let head_stride = self.context * head_dim + GAP;
        Inputs {
            queries: Queries {
                data: &self.queries,
                count: self.count,
                token_stride: heads * (head_dim + 1) + GAP,
                head_stride: head_dim + 1,
            },
            keys: Cache { data: &self.keys, head_stride },
            values: Cache { data: &self.values, head_stride },
            mask: &self.mask,
            context: self.context,
        }
    }

    fn attend(&self, isa: Isa, threads: usize) -> Vec<f32> {
        let row = self.shape.heads * self.shape.head_dim;
        let mut out = vec![7.0; self.count * (row + GAP)];
        attend(isa, &Pool::new(threads), &self.shape, &self.inputs(), &mut out, row + GAP);
        out.chunks_exact(row + GAP).for_each(|line| assert_eq!(line[row..], [7.0; GAP]));
        out.chunks_exact(row + GAP).flat_map(|line| line[..row].iter().copied()).collect()
    }

    /// The slow twin.
    fn expected(&self) -> Vec<f64> {
        (0..self.count * self.shape.heads)
            .flat_map(|i| self.expected_head(i / self.shape.heads, i % self.shape.heads))
            .collect()
    }

    fn expected_head(&self, token: usize, head: usize) -> Vec<f64> {
        let Attention { heads, kv_heads, head_dim, scale } = self.shape;
        let Inputs { queries, keys, values, mask, context } = self.inputs();
        let query = &queries.data[token * queries.token_stride + head * queries.head_stride..];
        let cached = |cache: Cache<'_>, p: usize, d: usize| {
            f16::from_bits(cache.data[head * kv_heads / heads * cache.head_stride + p * head_dim + d])
                .to_f64()
        };
        let dot = |p| (0..head_dim).map(|d| f64::from(query[d]) * cached(keys, p, d)).sum::<f64>();
        let score = |p| dot(p) * f64::from(scale) + f64::from(mask[token * context + p]);
        let scores: Vec<f64> = (0..context).map(score).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mean = |d| weights.iter().enumerate().map(|(p, w)| w * cached(values, p, d)).sum::<f64>() / total;
        (0..head_dim).map(mean).collect()
    }

    /// Asserts that all instruction sets are near the slow twin, and as one at any number of threads.
    fn check(&self) {
        let expected = self.expected();
        for isa in Isa::here() {
            let out = self.attend(isa, 1);
            for (i, (out, expected)) in out.iter().zip(&expected).enumerate() {
                let near = (f64::from(*out) - expected).abs() < 2e-6;
                let what = self.shape;
                assert!(
                    near || out.is_nan() && expected.is_nan(),
                    "{isa:?} {what:?}: {out}, {expected} at {i}"
                );
            }
            for threads in [3, 5] {
                assert_eq!(bits(&self.attend(isa, threads)), bits(&out), "{isa:?} {:?}", self.shape);
            }
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn one_token_agrees_with_the_slow_twin() {
    for (heads, kv_heads, dim) in [(1, 1, 8), (4, 2, 64), (14, 2, 40), (4, 1, 256), (3, 3, 13), (8, 2, 1)] {
        for context in [1, 7, 32, 33, 150] {
            Case::new(heads, kv_heads, dim, 1, context).check();
        }
    }
}

#[test]
fn many_tokens_agree_with_the_slow_twin() {
    for (heads, kv_heads, dim) in [(1, 1, 16), (4, 2, 64), (7, 1, 20), (2, 1, 80), (3, 3, 9)] {
        for (count, first) in [(2, 0), (9, 31), (33, 70)] {
            Case::new(heads, kv_heads, dim, count, first + count + 50).causal(first).check();
        }
    }
}

#[test]
fn masks_may_have_holes_and_any_numbers() {
    for count in [1, 20] {
        let mut case = Case::new(4, 2, 24, count, 300).causal(200);
        for (i, mask) in case.mask.iter_mut().enumerate() {
            match i % 7 {
                0 | 3 => *mask = HIDDEN,
                5 => *mask += (i % 11) as f32 - 5.0,
                _ => {}
            }
        }
        case.mask.chunks_exact_mut(300).enumerate().for_each(|(t, row)| row[..150 - t].fill(HIDDEN));
        case.check();
    }
}

#[test]
fn a_token_that_sees_nothing_gets_nan_alone() {
    let mut case = Case::new(2, 1, 16, 5, 40).causal(10);
    case.mask[2 * 40..3 * 40].fill(HIDDEN);
    case.check();
    case.mask.fill(HIDDEN);
    case.check();
    let nothing = Case::new(2, 1, 16, 2, 0);
    assert!(Isa::here().all(|isa| nothing.attend(isa, 2).iter().all(|x| x.is_nan())));
}

#[test]
fn what_nobody_sees_is_not_read() {
    let mut case = Case::new(2, 1, 16, 3, 100).causal(50);
    case.mask.chunks_exact_mut(100).for_each(|row| row[..16].fill(HIDDEN));
    let clean = Isa::here().map(|isa| case.attend(isa, 1)).collect::<Vec<_>>();
    for cache in [&mut case.keys, &mut case.values] {
        cache[..16 * 16].fill(f16::NAN.to_bits());
        cache.truncate(53 * 16);
    }
    assert!(Isa::here().zip(clean).all(|(isa, clean)| bits(&case.attend(isa, 1)) == bits(&clean)));
}

#[test]
fn a_token_alone_gets_what_it_gets_among_others() {
    for dim in [64, 20] {
        let all = Case::new(4, 2, dim, 30, 100).causal(60);
        for isa in Isa::here() {
            let together = all.attend(isa, 2);
            for t in [0, 13, 29] {
                let mut one = Case::new(4, 2, dim, 1, 100);
                let stride = all.inputs().queries.token_stride;
                one.queries.copy_from_slice(&all.queries[t * stride..][..stride]);
                (one.keys, one.values) = (all.keys.clone(), all.values.clone());
                one.mask.copy_from_slice(&all.mask[t * 100..][..100]);
                assert_eq!(bits(&one.attend(isa, 2)), bits(&together[t * 4 * dim..][..4 * dim]), "{isa:?}");
            }
        }
    }
}

#[test]
fn nan_and_infinity_go_where_they_must() {
    let mut case = Case::new(1, 1, 8, 1, 20);
    case.mask[3] = f32::INFINITY;
    case.check();
    case.mask[3] = f32::NAN;
    case.check();
    case.mask[3] = 0.0;
    case.values[8 * 4 + 2] = f16::INFINITY.to_bits();
    let out = case.attend(Isa::best(), 1);
    assert!(out[2] == f32::INFINITY && out[3].is_finite());
}

#[test]
fn no_token_is_no_result() {
    let case = Case::new(2, 1, 8, 0, 20);
    let Attention { heads, head_dim, .. } = case.shape;
    attend(Isa::best(), Pool::shared(), &case.shape, &case.inputs(), &mut [0.0; 16], heads * head_dim);
}
