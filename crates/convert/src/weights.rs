//! The weights of a model as they will lie in `weight.bin`: planned first, streamed later.
//!
//! The graph of the inference function asks for every weight by its checkpoint name; each request takes the
//! next place in the file. Sizes alone decide the offsets, so the plan costs nothing, is the same in every
//! process, and both functions of the model name the same blobs.

mod pieces;
mod report;
mod source;
mod work;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;

use anelith_checkpoint::{TensorRef, Tensors};
use anelith_mil::blob::{BlobLayout, WEIGHT_FILE};
use anelith_mil::{BlobRef, DataType, Value};
use anelith_report::Report;
use half::f16;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::options::{Group, Lut, Luts};
use crate::rotary::RotaryTable;

pub use report::{ComponentReport, Regrouped, Small, WeightReport};
pub use write::Written;

/// Matrices of at most this many elements stay fp16.
const SMALLEST_PALETTIZED: u64 = 2048;

/// Values of fewer elements than this stand in the program itself.
const SMALLEST_BLOB: usize = 10;

/// What a weight belongs to; the report has a row for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Token embeddings.
    Embeddings,
    /// Projections of the decoder layers.
    Layers,
    /// LM head.
    LmHead,
    /// Norms, biases and rotary tables, which are never palettized.
    Other,
}

/// A weight as a graph refers to it.
#[derive(Clone, Debug)]
pub enum Stored {
    /// fp16 elements.
    Dense(Value),
    /// Indices into lookup tables.
    Palettized {
        /// The indices, in the shape of the weight.
        indices: Value,
        /// The tables, [groups, 1, ..., entries, 1].
        lut: Value,
    },
}

/// How a palettized matrix is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Palette {
    bits: u32,
    /// Rows that share a table.
    rows: u64,
    /// Rows that the options ask for; differs where that number does not divide the rows.
    wanted: u64,
}

/// Where the elements come from.
#[derive(Debug)]
enum Source {
    /// Consecutive elements of a checkpoint tensor.
    Tensor { tensor: TensorRef, first: usize },
    /// Computed by the converter.
    Rotary(RotaryTable),
}

impl Source {
    /// The checkpoint tensor and the first of its elements.
    fn place(&self) -> Option<(&str, usize)> {
        match self {
            Source::Tensor { tensor, first } => Some((tensor.name(), *first)),
            Source::Rotary(_) => None,
        }
    }

    /// Replaces the contents of `out` with the elements of `range`.
    fn read(&self, range: Range<usize>, out: &mut Vec<f16>) -> Result<()> {
        match self {
            Source::Tensor { tensor, first } => {
                tensor.read_f16(first + range.start..first + range.end, out)?;
            }
            Source::Rotary(table) => table.read(range, out),
        }
        Ok(())
    }
}

/// A weight with its place in the file.
#[derive(Debug)]
struct Entry {
    name: String,
    component: Component,
    source: Source,
    rows: u64,
    columns: u64,
    palette: Option<Palette>,
    stored: Stored,
}

/// The plan of a weight file.
#[derive(Debug)]
pub struct Weights<'c> {
    tensors: &'c Tensors,
    luts: Luts,
    entries: Vec<Entry>,
    index: BTreeMap<String, usize>,
    claimed: BTreeMap<String, TensorRef>,
    layout: BlobLayout,
}

impl<'c> Weights<'c> {
    /// An empty plan over the tensors of a checkpoint.
    pub fn new(tensors: &'c Tensors, luts: Luts) -> Weights<'c> {
        Weights {
            tensors,
            luts,
            entries: Vec::new(),
            index: BTreeMap::new(),
            claimed: BTreeMap::new(),
            layout: BlobLayout::new(),
        }
    }

    /// Where every blob lies.
    pub fn layout(&self) -> &BlobLayout {
        &self.layout
    }

    /// The setting that applies to `component`.
    pub fn lut(&self, component: Component) -> Lut {
        match component {
            Component::Embeddings => self.luts.embeddings,
            Component::Layers => self.luts.layers,
            Component::LmHead => self.luts.lm_head,
            Component::Other => Lut::None,
        }
    }

    /// A vector (norm or bias) of the checkpoint: never palettized.
    ///
    /// # Errors
    /// When the tensor is missing, has another shape or holds values beyond fp16.
    pub fn vector(&mut self, name: &str, len: u64) -> Result<Value> {
        let tensor = self.claim(name, &[len])?;
        let entry = NewEntry { name, component: Component::Other, shape: &[len] };
        match self.dense(entry, Source::Tensor { tensor, first: 0 })? {
            Stored::Dense(value) => Ok(value),
            Stored::Palettized { .. } => unreachable!("vectors are not palettized"),
        }
    }

    /// A matrix [rows, columns] of the checkpoint under the shape that its op takes, palettized as the options say.
    ///
    /// # Errors
    /// As for `vector`.
    pub fn matrix(&mut self, name: &str, component: Component, rows: u64, shape: &[u64]) -> Result<Stored> {
        let columns = shape.iter().product::<u64>() / rows.max(1);
        let tensor = self.claim(name, &[rows, columns])?;
        self.rows(NewEntry { name, component, shape }, tensor, 0)
    }

    /// Rows of a matrix, from `first_row` on, under the name and shape of `entry`.
    ///
    /// # Errors
    /// When the plan overflows.
    pub(crate) fn rows(&mut self, entry: NewEntry<'_>, tensor: TensorRef, first_row: u64) -> Result<Stored> {
        if let Some(&i) = self.index.get(entry.name) {
            return Ok(self.entries[i].stored.clone());
        }
        let rows = entry.shape[0];
        let columns = entry.shape[1..].iter().product::<u64>();
        let first = usize::try_from(first_row * columns).map_err(|_| too_large(entry.name))?;
        let source = Source::Tensor { tensor, first };
        match self.palette(entry.component, rows, columns) {
            None => self.dense(entry, source),
            Some(palette) => self.palettized(entry, source, palette),
        }
    }

    /// A rotary table: never palettized.
    ///
    /// # Errors
    /// When the plan overflows.
    pub(crate) fn rotary(&mut self, name: &str, shape: &[u64], table: RotaryTable) -> Result<Value> {
        let entry = NewEntry { name, component: Component::Other, shape };
        match self.dense(entry, Source::Rotary(table))? {
            Stored::Dense(value) => Ok(value),
            Stored::Palettized { .. } => unreachable!("rotary tables are not palettized"),
        }
    }

    /// The tensor of the checkpoint, marked as used.
    pub(crate) fn claim(&mut self, name: &str, shape: &[u64]) -> Result<TensorRef> {
        let wide = |d: &u64| usize::try_from(*d).map_err(|_| too_large(name));
        let shape = shape.iter().map(wide).collect::<Result<Vec<_>>>()?;
        let tensor = self.tensors.get(name, &shape)?;
        self.claimed.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    /// Names of the checkpoint's tensors that nothing asked for.
    pub fn unclaimed(&self) -> impl Iterator<Item = &str> {
        self.tensors.names().filter(|n| !self.claimed.contains_key(*n))
    }

    fn palette(&self, component: Component, rows: u64, columns: u64) -> Option<Palette> {
        let lut = self.lut(component);
        let (bits, group) = lut.bits().zip(lut.group())?;
        if rows * columns <= SMALLEST_PALETTIZED {
            return None;
        }
        let wanted = match group {
            Group::Tensor => rows,
            Group::Channels(n) => u64::from(n),
        };
        let fits = (1..=wanted.min(rows)).rev().find(|d| rows.is_multiple_of(*d)).unwrap_or(1);
        Some(Palette { bits, rows: fits, wanted })
    }

    fn dense(&mut self, new: NewEntry<'_>, source: Source) -> Result<Stored> {
        if let Some(&i) = self.index.get(new.name) {
            return Ok(self.entries[i].stored.clone());
        }
        let count = new.shape.iter().product::<u64>();
        let value = if count < SMALLEST_BLOB as u64 {
            immediate(&source, new.shape, count)?
        } else {
            Value::blob(DataType::Fp16, new.shape, self.place(DataType::Fp16, count)?)
        };
        Ok(self.record(new, source, None, Stored::Dense(value)))
    }

    fn palettized(&mut self, new: NewEntry<'_>, source: Source, palette: Palette) -> Result<Stored> {
        let (rows, rank) = (new.shape[0], new.shape.len());
        let dtype = DataType::unsigned(palette.bits).expect("the grammar allows only widths that MIL has");
        let indices = self.place(dtype, new.shape.iter().product())?;
        let entries = 1u64 << palette.bits;
        let groups = rows / palette.rows;
        let mut lut_shape = vec![1; rank + 2];
        (lut_shape[0], lut_shape[rank]) = (groups, entries);
        // A small table is a blob as well, where coremltools would write it into the program: step 2 then
        // needs no values, only the plan, and the readers take both forms.
        let lut = self.place(DataType::Fp16, groups * entries)?;
        let stored = Stored::Palettized {
            indices: Value::blob(dtype, new.shape, indices),
            lut: Value::blob(DataType::Fp16, &lut_shape, lut),
        };
        Ok(self.record(new, source, Some(palette), stored))
    }

    fn place(&mut self, dtype: DataType, count: u64) -> Result<BlobRef> {
        Ok(BlobRef { file: WEIGHT_FILE.to_owned(), offset: self.layout.push(dtype, count)? })
    }

    fn record(
        &mut self,
        new: NewEntry<'_>,
        source: Source,
        palette: Option<Palette>,
        stored: Stored,
    ) -> Stored {
        self.index.insert(new.name.to_owned(), self.entries.len());
        self.entries.push(Entry {
            name: new.name.to_owned(),
            component: new.component,
            source,
            rows: new.shape[0],
            columns: new.shape[1..].iter().product(),
            palette,
            stored: stored.clone(),
        });
        stored
    }
}

/// A weight that is about to be planned.
#[derive(Clone, Copy)]
pub(crate) struct NewEntry<'a> {
    /// Unique name; that of the checkpoint tensor where it is stored whole.
    pub(crate) name: &'a str,
    pub(crate) component: Component,
    /// The shape that the op takes; the first extent counts the output channels.
    pub(crate) shape: &'a [u64],
}

/// The values of a tensor that is too small for a blob.
fn immediate(source: &Source, shape: &[u64], count: u64) -> Result<Value> {
    let mut values = Vec::new();
    source.read(0..count as usize, &mut values)?;
    let mut value = Value::fp16s(&values);
    value.ty = anelith_mil::Type::tensor(DataType::Fp16, shape);
    Ok(value)
}

fn too_large(name: &str) -> Error {
    Error::Input(Report::new(format!("tensor `{name}` is too large for this machine")))
}
