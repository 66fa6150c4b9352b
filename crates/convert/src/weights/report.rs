//! What became of the weights, in rows for a table.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Component, Entry, Weights};
use crate::kmeans::Noise;

/// What became of the weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightReport {
    /// One row a component and number of bits.
    pub components: Vec<ComponentReport>,
    /// Tensors whose rows the wanted group does not divide.
    pub regrouped: Vec<Regrouped>,
    /// What was to be palettized and is too small for it.
    #[serde(default)]
    pub small: Vec<Small>,
}

/// What became of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentReport {
    /// The component.
    pub component: Component,
    /// Bits of an index; `None` for fp16.
    pub bits: Option<u32>,
    /// Rows that share a table; `None` for fp16, and where it varies.
    pub group: Option<u64>,
    /// Whether every tensor has one table for all of its rows.
    #[serde(default)]
    pub per_tensor: bool,
    /// Bytes as fp16.
    pub bytes_before: u64,
    /// Bytes as stored, tables included.
    pub bytes_after: u64,
    /// Squared error relative to the weights' variance, in dB to a thousandth; `None` where there is no error.
    pub decibels: Option<f64>,
}

/// A tensor that got smaller groups than the options ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regrouped {
    /// Its name.
    pub name: String,
    /// Its output channels.
    pub rows: u64,
    /// Channels that share a table: the largest divisor of `rows` not above `wanted`.
    pub used: u64,
    /// Channels that were to share one.
    pub wanted: u64,
}

/// Tensors that stay fp16, having no more than 2,048 elements each, in a component that is palettized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Small {
    /// The component.
    pub component: Component,
    /// How many tensors of it.
    pub tensors: u64,
}

/// A component, and the bits of its indices; `None` for fp16.
type Row = (Component, Option<u32>);

/// The rows of the report as they add up.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<Row, Sum>);

impl Sums {
    /// Adds an entry, but for what its tables do to the weights.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.row(entry).add(entry);
    }

    /// Adds what the tables do to weights of an entry.
    pub(super) fn add_noise(&mut self, entry: &Entry, noise: &Noise) {
        self.row(entry).noise.merge(noise);
    }

    fn row(&mut self, entry: &Entry) -> &mut Sum {
        self.0.entry((entry.component, entry.palette.map(|p| p.bits))).or_default()
    }
}

impl Weights<'_> {
    /// What `write` will report, without the errors, which only the clustering tells.
    pub fn planned(&self) -> WeightReport {
        let mut sums = Sums::default();
        self.entries.iter().for_each(|entry| sums.add(entry));
        self.report(sums)
    }

    pub(super) fn report(&self, sums: Sums) -> WeightReport {
        let components = sums.0.into_iter().map(|(row, sum)| sum.report(row)).collect();
        let regrouped = self.entries.iter().filter_map(Entry::regrouped).collect();
        WeightReport { components, regrouped, small: self.small() }
    }

    fn small(&self) -> Vec<Small> {
        let mut counts: BTreeMap<Component, u64> = BTreeMap::new();
        let is_small = |e: &&Entry| e.palette.is_none() && self.lut(e.component).bits().is_some();
        for entry in self.entries.iter().filter(is_small) {
            *counts.entry(entry.component).or_default() += 1;
        }
        counts.into_iter().map(|(component, tensors)| Small { component, tensors }).collect()
    }
}

/// What the entries of one row of the report add up to.
#[derive(Default)]
struct Sum {
    groups: BTreeSet<Option<u64>>,
    /// Tensors of more than one table, or of none.
    divided: u64,
    bytes_before: u64,
    bytes_after: u64,
    noise: Noise,
}

impl Sum {
    fn add(&mut self, entry: &Entry) {
        self.groups.insert(entry.palette.map(|p| p.rows));
        self.divided += u64::from(entry.palette.is_none_or(|p| p.rows < entry.rows));
        self.bytes_before += 2 * entry.elements();
        self.bytes_after += entry.stored_bytes();
    }

    fn report(self, (component, bits): Row) -> ComponentReport {
        ComponentReport {
            component,
            bits,
            group: if self.groups.len() == 1 { self.groups.into_iter().flatten().next() } else { None },
            per_tensor: self.divided == 0,
            bytes_before: self.bytes_before,
            bytes_after: self.bytes_after,
            // Few digits come back from the record as they were; all digits would not.
            decibels: self.noise.decibels().filter(|d| d.is_finite()).map(|d| (d * 1e3).round() / 1e3),
        }
    }
}

impl Entry {
    fn stored_bytes(&self) -> u64 {
        match self.palette {
            None => 2 * self.elements(),
            Some(p) => (self.elements() * u64::from(p.bits)).div_ceil(8) + self.table_bytes(),
        }
    }

    /// Bytes of its tables.
    pub(super) fn table_bytes(&self) -> u64 {
        self.palette.map_or(0, |p| (self.rows / p.rows) * (2 << p.bits))
    }

    /// Bytes of one table.
    pub(super) fn table_len(&self) -> usize {
        self.palette.map_or(0, |p| 2 << p.bits)
    }

    fn regrouped(&self) -> Option<Regrouped> {
        let palette = self.palette.filter(|p| p.rows < p.wanted)?;
        Some(Regrouped {
            name: self.name.clone(),
            rows: self.rows,
            used: palette.rows,
            wanted: palette.wanted,
        })
    }
}
