//! Time to cluster groups of weights, per number of bits, size of the group and kind of weights, and per stage.

use std::f64::consts::TAU;
use std::hint::black_box;
use std::time::Duration;

use anelith_convert::kmeans::KMeans;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};

const BITS: [u32; 4] = [2, 4, 6, 8];

/// Groups as they are in models of 1,024 and of 4,096 columns, and a tensor with one table.
const SIZES: [(&str, usize); 4] =
    [("8x1024", 8 * 1024), ("16x1024", 16 * 1024), ("8x4096", 8 * 4096), ("1M", 1 << 20)];

/// Weights that are clustered in turn, so that no group is still in the cache: at least this many.
const WEIGHTS: usize = 1 << 18;

/// Repeatable deviates.
struct Source(u64);

impl Source {
    /// Uniform in 0 to 1, neither included.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((bits ^ (bits >> 31)) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (TAU * self.uniform()).cos()
    }

    /// Student's distribution of four degrees of freedom: far more large values than a normal one.
    fn heavy(&mut self) -> f64 {
        let chi_squared: f64 = (0..4).map(|_| self.normal().powi(2)).sum();
        self.normal() / (chi_squared / 4.0).sqrt()
    }
}

/// Weights of a checkpoint in bf16, as fp16.
fn weights(count: usize, mut deviate: impl FnMut() -> f64) -> Vec<f16> {
    (0..count).map(|_| f16::from_f32(bf16::from_f64(0.02 * deviate()).to_f32())).collect()
}

/// Runs `routine` on one group after the other.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    (weights, size): (&[f16], usize),
    mut routine: impl FnMut(&[f16]),
) {
    let mut groups = weights.chunks_exact(size).cycle();
    group.throughput(Throughput::Elements(size as u64));
    group.bench_function(id, |bencher| bencher.iter(|| groups.next().map(|group| routine(black_box(group)))));
}

fn clustering(criterion: &mut Criterion) {
    let mut source = Source(4);
    let normal = weights(SIZES[3].1, || source.normal());
    let heavy = weights(SIZES[3].1, || source.heavy());
    for (kind, weights) in [("normal", normal), ("heavy", heavy)] {
        let mut group = criterion.benchmark_group(kind);
        for (name, size) in SIZES {
            for bits in BITS {
                let mut kmeans = KMeans::new(bits);
                let (mut table, mut indices) = (Vec::new(), Vec::new());
                let id = BenchmarkId::new(format!("{bits} bits"), name);
                measure(&mut group, id, (&weights[..WEIGHTS.max(size)], size), |group| {
                    table.clear();
                    indices.clear();
                    kmeans.sort(group).expect("the weights are finite");
                    kmeans.solve();
                    kmeans.append_table(&mut table);
                    black_box(kmeans.label(group, &mut indices));
                });
            }
        }
    }
}

/// The stages of the usual case apart. `label` finds its group sorted and solved.
fn stages(criterion: &mut Criterion) {
    let mut source = Source(4);
    let (name, size) = SIZES[0];
    let weights = weights(size, || source.normal());
    let (mut kmeans, mut indices) = (KMeans::new(4), Vec::new());
    let mut group = criterion.benchmark_group("stages of 4 bits");
    let mut stage = |stage: &str, routine: &mut dyn FnMut(&mut KMeans, &[f16])| {
        let id = BenchmarkId::new(stage, name);
        measure(&mut group, id, (&weights, size), |group| routine(&mut kmeans, group));
    };
    stage("sort", &mut |kmeans, group| kmeans.sort(group).expect("the weights are finite"));
    stage("solve", &mut |kmeans, _| kmeans.solve());
    stage("label", &mut |kmeans, group| {
        indices.clear();
        black_box(kmeans.label(group, &mut indices));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .nresamples(2_000);
    targets = clustering, stages
}
criterion_main!(benches);
