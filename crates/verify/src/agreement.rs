//! The same tokens in batches and one by one: caches and logits must agree, and two runs must be equal bit for bit.

use anelith_chat::log_softmax;
use anelith_mil::digest::{Digest, Digester};
use anelith_runtime::Precision;

use crate::error::Result;
use crate::figures::kl_divergence;
use crate::graph;
use crate::machine::{INFER, Machine, PREFILL};
use crate::package::Package;
use crate::progress::{Progress, step};

/// The largest KL divergence, in nats, that rounding may cause between the two ways; and how far the caches may be
/// apart, relative to the largest value of a layer: 16 units of the last place of fp16.
const MAX_KL: f64 = 1e-4;
const MAX_CACHE: f64 = 16.0 / 1024.0;

/// How `prefill` and `infer` agree.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// After how many full batches both were compared.
    pub batches: usize,
    /// Tokens of the batch that was filled up with token 0, as some consumers do; 0 where batches are of one token.
    pub partial: usize,
    /// How many comparisons there were, the one that ends at the last position of the context among them.
    pub comparisons: usize,
    /// The largest KL divergence, one by one || batches, of the token after a comparison, in nats.
    pub kl_max: f64,
    /// The largest difference between logits.
    pub max_abs: f64,
    /// The largest difference between the caches, relative to the largest key, or value, of its layer.
    pub cache: f64,
}

impl Agreement {
    /// Whether what differs can be rounding.
    pub fn agrees(&self) -> bool {
        self.kl_max <= MAX_KL && self.cache <= MAX_CACHE
    }
}

/// What a second run of the same tokens has given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Repeat {
    /// How many positions were run twice.
    pub positions: usize,
    /// At how many of them a bit of the logits differed.
    pub differing: usize,
}

/// The digest of the bits of logits.
pub(crate) fn digest(logits: &[f32]) -> Digest {
    let mut digester = Digester::new();
    logits.iter().for_each(|logit| digester.update(&logit.to_bits().to_le_bytes()));
    digester.digest()
}

/// Both ways at once, each with a cache of its own.
struct Pair<'a> {
    single: Machine,
    batched: Machine,
    logits: Vec<String>,
    batch: usize,
    found: Agreement,
    progress: &'a dyn Progress,
}

/// How many units of progress the comparison of so many tokens takes.
pub(crate) fn units(package: &Package, tokens: usize) -> u64 {
    let (tokens, end) = (compared(package, tokens), package.batch);
    (tokens + end) as u64
}

/// How many tokens are compared: a text that is shorter than a batch, or is full batches only, is repeated until there
/// is a part of a batch after a full one. Where the context has no room for that batch, the last one that fits is given
/// in part.
fn compared(package: &Package, tokens: usize) -> usize {
    let (batch, context) = (package.batch, package.context);
    let least = tokens.max(batch + 1);
    let wanted = if least.is_multiple_of(batch) { least + 1 } else { least };
    let fitting = context - context % batch;
    if wanted <= fitting || batch == 1 { wanted.min(context) } else { fitting - 1 }
}

/// Runs the first window of a text in both ways. `seen` are the digests of the logits of an earlier run of its tokens.
///
/// # Errors
/// `Runtime` where the package cannot be run.
pub(crate) fn compare(
    package: &Package,
    window: &[u32],
    seen: &[Digest],
    precision: Precision,
    progress: &dyn Progress,
) -> Result<(Agreement, Repeat)> {
    let program = &package.bundle.model.program;
    let (program, info) = graph::returning(program, INFER, &package.anatomy.logits)?;
    let machine = || {
        let functions = [INFER, PREFILL];
        Machine::new((&program, &info), &package.bundle.weights, &functions, package.context, precision)
    };
    let name = |var| package.infer().map(|function| function.var(var).name.clone());
    let logits = package.anatomy.logits.iter().map(|var| name(*var)).collect::<Result<Vec<_>>>()?;
    let mut pair = Pair {
        single: machine()?,
        batched: machine()?,
        logits,
        batch: package.batch,
        found: Agreement::default(),
        progress,
    };
    let tokens: Vec<u32> = window.iter().copied().cycle().take(compared(package, window.len())).collect();
    let repeat = pair.beginning(&tokens, seen, package.context)?;
    pair.end_of_context(&tokens, package.context)?;
    Ok((pair.found, repeat))
}

impl Pair<'_> {
    fn infer(&mut self, id: u32, position: usize) -> Result<Vec<f32>> {
        let outputs = self.single.call(INFER, &[id], position, Vec::new())?;
        step(self.progress)?;
        outputs.joined(&self.logits)
    }

    /// Token by token on the one side; on the other each batch as soon as it is full, and what is left as a batch
    /// filled up with zeros.
    fn beginning(&mut self, tokens: &[u32], seen: &[Digest], context: usize) -> Result<Repeat> {
        let mut repeat = Repeat { positions: seen.len().min(tokens.len()), differing: 0 };
        let mut last = Vec::new();
        for (position, id) in tokens.iter().enumerate() {
            last = self.infer(*id, position)?;
            repeat.differing += usize::from(seen.get(position).is_some_and(|seen| *seen != digest(&last)));
            let done = position + 1;
            if !done.is_multiple_of(self.batch) {
                continue;
            }
            let start = done - self.batch;
            self.batched.call(PREFILL, &tokens[start..done], start, Vec::new())?;
            self.found.batches += 1;
            self.look(0..done, *id, &last)?;
        }
        let rest = tokens.len() % self.batch;
        let start = tokens.len() - rest;
        if let Some(id) = tokens.last().filter(|_| rest > 0 && start + self.batch <= context) {
            let mut batch = tokens[start..].to_vec();
            batch.resize(self.batch, 0);
            self.batched.call(PREFILL, &batch, start, Vec::new())?;
            self.found.partial = rest;
            self.look(0..tokens.len(), *id, &last)?;
        }
        Ok(repeat)
    }

    /// A batch whose last token has the last position of the context. What would be before it is left empty, on both
    /// sides.
    fn end_of_context(&mut self, tokens: &[u32], context: usize) -> Result<()> {
        self.single.reset();
        self.batched.reset();
        let start = context - self.batch;
        let batch: Vec<u32> = tokens.iter().copied().cycle().take(self.batch).collect();
        let mut last = Vec::new();
        for (i, id) in batch.iter().enumerate() {
            last = self.infer(*id, start + i)?;
        }
        self.batched.call(PREFILL, &batch, start, Vec::new())?;
        match batch.last() {
            Some(id) => self.look(start..context, *id, &last),
            None => Ok(()),
        }
    }

    /// Compares the caches at the positions `rows`, and what follows the last of them: `id`, after which one by one
    /// gave `single`. The batched side is fed it again at its place, as consumers do.
    fn look(&mut self, rows: std::ops::Range<usize>, id: u32, single: &[f32]) -> Result<()> {
        let cache = self.single.cache_distance(&self.batched, rows.clone())?;
        let batched = self.batched.call(INFER, &[id], rows.end - 1, Vec::new())?.joined(&self.logits)?;
        let kl = kl_divergence(&log_softmax(single), &log_softmax(&batched));
        let apart = single.iter().zip(&batched).map(|(x, y)| f64::from((x - y).abs()));
        let found = &mut self.found;
        found.comparisons += 1;
        found.kl_max = found.kl_max.max(kl);
        found.max_abs =
            apart.fold(found.max_abs, |max, d| if d.is_nan() { f64::INFINITY } else { max.max(d) });
        found.cache = if cache.is_nan() { f64::INFINITY } else { found.cache.max(cache) };
        Ok(())
    }
}
