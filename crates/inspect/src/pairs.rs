//! Which op of one function is which of the other.

use std::collections::HashMap;

use anelith_mil::blob::WeightStore;
use anelith_mil::digest::Digest;

use crate::align::align;
use crate::constants::{Dense, View};
use crate::names;
use crate::steps::{Interner, Read, Step, plain_type};

/// How the ops of two functions were brought together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aligned {
    /// By their names.
    Names,
    /// In order, by kind, types and arguments; ops that read the same weight by that.
    Structure,
}

/// The ops of one function that compute, and where its weights are.
#[derive(Clone, Copy)]
pub(crate) struct Side<'s, 'm> {
    pub(crate) steps: &'s [Step<'m>],
    pub(crate) view: View<'m>,
    pub(crate) weights: &'m WeightStore,
}

/// For each op its partner in the other function.
pub(crate) struct Partners {
    pub(crate) aligned: Aligned,
    pub(crate) to_b: Vec<Option<usize>>,
    pub(crate) to_a: Vec<Option<usize>>,
}

/// Brings the ops of two functions together: by names if at least half of those of the shorter one agree, and what is
/// left by structure.
pub(crate) fn partners(a: Side<'_, '_>, b: Side<'_, '_>) -> Partners {
    let (length_a, length_b) = (a.steps.len(), b.steps.len());
    let none = |aligned| Partners { aligned, to_b: vec![None; length_a], to_a: vec![None; length_b] };
    let named = by_name(a.steps, b.steps);
    let mut partners = if 2 * named.len() >= length_a.min(length_b) {
        let mut partners = none(Aligned::Names);
        named.into_iter().for_each(|(i, j)| partners.join(i, j));
        partners
    } else {
        none(Aligned::Structure)
    };
    partners.align_the_rest(a.steps, b.steps);
    if partners.aligned == Aligned::Structure {
        partners.follow_weights(a, b);
    }
    partners
}

/// The pairs of ops of one kind and one name, as far as names tell.
fn by_name(a: &[Step<'_>], b: &[Step<'_>]) -> Vec<(usize, usize)> {
    let (places_a, places_b) = (places(a, |s| own_name(s)), places(b, |s| own_name(s)));
    let mut pairs: Vec<_> = places_a
        .iter()
        .filter_map(|(name, i)| Some(((*i)?, (*places_b.get(name)?)?)))
        .filter(|(i, j)| a[*i].op.kind == b[*j].op.kind)
        .collect();
    pairs.sort_unstable();
    pairs
}

/// The name of an op, unless a tool has numbered it: those of the next run may be others.
fn own_name<'m>(step: &Step<'m>) -> Option<&'m str> {
    let (name, kind) = (step.op.name(), step.op.kind.name());
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.strip_prefix('_').is_some_and(is_number))
    };
    let is_numbered = [kind, "op", "var", "const"].into_iter().any(numbered);
    (!name.is_empty() && !is_numbered).then_some(name)
}

/// Where steps of a tag are; `None` where several have it.
fn places<'m, T: std::hash::Hash + Eq>(
    steps: &[Step<'m>],
    tag: impl Fn(&Step<'m>) -> Option<T>,
) -> HashMap<T, Option<usize>> {
    let mut places = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        if let Some(tag) = tag(step) {
            places.entry(tag).and_modify(|place| *place = None).or_insert(Some(i));
        }
    }
    places
}

impl Partners {
    fn join(&mut self, i: usize, j: usize) {
        (self.to_b[i], self.to_a[j]) = (Some(j), Some(i));
    }

    /// Pairs what has no partner yet, in order.
    fn align_the_rest(&mut self, a: &[Step<'_>], b: &[Step<'_>]) {
        let mut interner = Interner::default();
        // What reads the result of an op that has its partner, reads that very result.
        let keys_a = interner.keys(a, |i| self.to_b[i].map(|_| i));
        let keys_b = interner.keys(b, |j| self.to_a[j]);
        let rest = |partners: &[Option<usize>]| -> Vec<usize> {
            (0..partners.len()).filter(|i| partners[*i].is_none()).collect()
        };
        let (rest_a, rest_b) = (rest(&self.to_b), rest(&self.to_a));
        let of_a: Vec<_> = rest_a.iter().map(|i| keys_a[*i]).collect();
        let of_b: Vec<_> = rest_b.iter().map(|j| keys_b[*j]).collect();
        for (i, j) in align(&of_a, &of_b) {
            self.join(rest_a[i], rest_b[j]);
        }
    }

    /// Pairs ops that read the same weight, wherever they stand: makers order independent ops as they like.
    fn follow_weights(&mut self, a: Side<'_, '_>, b: Side<'_, '_>) {
        let readers = (readers(a.steps), readers(b.steps));
        let by_name = (places(a.steps, weight_name), places(b.steps, weight_name));
        let by_content = (a.contents(), b.contents());
        let by_name = by_name.0.iter().filter_map(|(tag, i)| Some(((*i)?, (*by_name.1.get(tag)?)?)));
        let by_content = by_content.0.iter().filter_map(|(tag, i)| Some(((*i)?, (*by_content.1.get(tag)?)?)));
        let mut pairs: Vec<_> = by_name.chain(by_content).collect();
        pairs.sort_unstable();
        pairs.dedup();
        for (mut i, mut j) in pairs {
            // The ops behind go with them, as long as each has one reader.
            while self.to_b[i] != Some(j) && a.steps[i].op.kind == b.steps[j].op.kind {
                self.exchange(i, j, a.steps, b.steps);
                match (&readers.0[i][..], &readers.1[j][..]) {
                    ([next_i], [next_j]) => (i, j) = (*next_i, *next_j),
                    _ => break,
                }
            }
        }
    }

    /// Pairs `i` and `j`, and the partners that they had, if those are of one kind.
    fn exchange(&mut self, i: usize, j: usize, a: &[Step<'_>], b: &[Step<'_>]) {
        let (old_j, old_i) = (self.to_b[i], self.to_a[j]);
        if let Some(old) = old_j {
            self.to_a[old] = None;
        }
        if let Some(old) = old_i {
            self.to_b[old] = None;
        }
        self.join(i, j);
        if let (Some(i), Some(j)) = (old_i, old_j)
            && a[i].op.kind == b[j].op.kind
        {
            self.join(i, j);
        }
    }
}

/// The steps that read a result of each step.
fn readers(steps: &[Step<'_>]) -> Vec<Vec<usize>> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (i, step) in steps.iter().enumerate() {
        for (_, read) in &step.arguments {
            if let Read::Result { step, .. } = read
                && let Some(of_step) = readers.get_mut(*step).filter(|r| r.last() != Some(&i))
            {
                of_step.push(i);
            }
        }
    }
    readers
}

/// The words of the weight that a step reads, if it reads one whose name tells what it is.
fn weight_name(step: &Step<'_>) -> Option<(String, String)> {
    let mut of_weights = step.arguments.iter().filter_map(|(_, read)| match read {
        Read::Weight { name, .. } => Some(names::words(name)),
        _ => None,
    });
    let words = of_weights.next()?;
    let tells = names::component(&words).is_some() && of_weights.next().is_none();
    tells.then(|| (step.op.kind.name().to_owned(), words.join(" ")))
}

/// Elements that are looked at to tell a weight from others.
const SAMPLED: u64 = 1024;

impl<'m> Side<'_, 'm> {
    /// Where steps are that read one weight, by what is in it.
    fn contents(&self) -> HashMap<(String, Digest), Option<usize>> {
        let mut known: HashMap<&str, Option<Digest>> = HashMap::new();
        let mut contents = HashMap::new();
        for (i, step) in self.steps.iter().enumerate() {
            for (_, read) in &step.arguments {
                let Read::Weight { key, constant, ty, .. } = read else { continue };
                let digest = known.entry(key).or_insert_with(|| {
                    let dense = Dense::new(self.view, self.weights, *constant).ok()?;
                    Some(sample(&dense, &plain_type(ty)))
                });
                if let Some(digest) = *digest {
                    let tag = (step.op.kind.name().to_owned(), digest);
                    contents.entry(tag).and_modify(|place| *place = None).or_insert(Some(i));
                }
            }
        }
        contents
    }
}

/// The digest of elements from all over the tensor.
fn sample(dense: &Dense<'_>, shape: &str) -> Digest {
    let mut bytes = shape.as_bytes().to_vec();
    let count = dense.count();
    let step = count.div_ceil(SAMPLED).max(1);
    for at in (0..count).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let mut one = [0.0];
        dense.read(at, &mut one);
        bytes.extend(one[0].to_le_bytes());
    }
    Digest::of(&bytes)
}
