//! The tensor of a checkpoint that a weight was made from, found by name and checked by shape.

use std::cell::RefCell;
use std::path::Path;

use anelith_checkpoint::{TensorRef, Tensors};
use anelith_mil::Dim;
use anelith_report::{Report, Reported};

use crate::compare::Elements;
use crate::error::{Error, Result};
use crate::names;
use crate::weights::Weight;

/// The tensors of a checkpoint.
#[derive(Debug)]
pub struct Source {
    tensors: Tensors,
}

/// What a weight is compared with: rows of a tensor.
#[derive(Debug)]
pub struct Rows {
    tensor: TensorRef,
    /// The first row.
    pub first: u64,
    /// The shape of the rows together.
    pub shape: Vec<u64>,
    columns: u64,
    buffer: RefCell<Vec<f32>>,
}

impl Source {
    /// Opens the weights of the checkpoint in `dir`; none is read.
    ///
    /// # Errors
    /// Those of the checkpoint.
    pub fn open(dir: &Path) -> Result<Source> {
        Ok(Source { tensors: Tensors::open(dir)? })
    }

    /// The rows that `weight`, one of `weights`, was made from.
    ///
    /// # Errors
    /// `Input` when no tensor has that name, or its shape is not that of the weight.
    pub fn find(&self, weight: &Weight<'_>, weights: &[Weight<'_>]) -> Result<Rows> {
        let split = Split::of(&weight.words);
        let words =
            split.as_ref().map_or(weight.words.clone(), |_| ["lm", "head"].map(str::to_owned).to_vec());
        let name = self.name_of(&words).ok_or_else(|| self.no_tensor(weight))?;
        let (_, shape) = self.tensors.find(&name).ok_or_else(|| self.no_tensor(weight))?;
        let shape = shape.to_vec();
        let tensor = self.tensors.get(&name, &shape)?;
        let shape: Vec<u64> = shape.iter().map(|extent| *extent as u64).collect();
        let (first, rows) = match split {
            Some(split) => split.rows(weight, weights, &name, &shape)?,
            None => (0, shape.first().copied().unwrap_or(1)),
        };
        let columns = shape.iter().skip(1).product();
        let part: Vec<u64> = shape.iter().enumerate().map(|(i, n)| if i == 0 { rows } else { *n }).collect();
        if plain(&extents(weight)) != plain(&part) {
            return Err(wrong_shape(weight, &name, &part));
        }
        Ok(Rows { tensor, first, shape: part, columns, buffer: RefCell::default() })
    }

    /// The tensor of these words. A tied LM head is the embedding.
    fn name_of(&self, words: &[String]) -> Option<String> {
        let of = |words: &[String]| {
            self.tensors.names().find(|name| names::words(name) == words).map(str::to_owned)
        };
        let tied =
            || (words == ["lm", "head"]).then(|| of(&["embed".to_owned(), "tokens".to_owned()])).flatten();
        of(words).or_else(tied)
    }

    fn no_tensor(&self, weight: &Weight<'_>) -> Error {
        let report =
            Report::new(format!("no tensor of the checkpoint is called as the weight `{}`", weight.name));
        let report =
            report.at("--model").expecting(format!("a tensor of the words `{}`", weight.words.join(" ")));
        Error::input(report.finding(format!("{} others", self.tensors.names().count())).mending(
            "name a weight that was in the checkpoint; converters compute some, such as rotary tables, and rename others",
        ))
    }
}

/// A part of an LM head that is cut along the vocabulary: `lm_head16_3` is the third of sixteen.
struct Split {
    count: usize,
    number: usize,
}

impl Split {
    fn of(words: &[String]) -> Option<Split> {
        let [lm, head, number] = words else { return None };
        let count = head.strip_prefix("head").filter(|_| lm == "lm")?.parse().ok()?;
        let number = number.parse().ok()?;
        (1..=count).contains(&number).then_some(Split { count, number })
    }

    /// The first row of the part, and how many rows it has.
    fn rows(
        &self,
        weight: &Weight<'_>,
        weights: &[Weight<'_>],
        name: &str,
        shape: &[u64],
    ) -> Result<(u64, u64)> {
        let rows_of = |number: usize| {
            let is_part = |w: &&Weight<'_>| {
                Split::of(&w.words).is_some_and(|s| s.count == self.count && s.number == number)
            };
            weights.iter().find(is_part).and_then(|w| extents(w).first().copied())
        };
        let rows: Option<Vec<u64>> = (1..=self.count).map(rows_of).collect();
        let found = rows.as_ref().map(|rows| rows.iter().sum::<u64>());
        let total = shape.first().copied();
        match rows {
            Some(rows) if found == total => {
                let first = rows.iter().take(self.number - 1).sum();
                Ok((first, rows.get(self.number - 1).copied().unwrap_or(0)))
            }
            _ => {
                let report = Report::new(format!(
                    "the {} parts of the LM head are not the rows of `{name}`",
                    self.count
                ));
                let found = found.map_or("not all parts".to_owned(), |n| format!("{n} rows in all parts"));
                let report = report.at(&weight.name).expecting(format!("{} rows", total.unwrap_or(0)));
                Err(Error::input(report.finding(found).mending("give the checkpoint that was converted")))
            }
        }
    }
}

fn extents(weight: &Weight<'_>) -> Vec<u64> {
    let extent = |dim: &Dim| if let Dim::Known(n) = dim { *n } else { 0 };
    weight.ty.shape.iter().map(extent).collect()
}

/// A shape without its extents of one: a convolution at a point has two of them.
pub(crate) fn plain(shape: &[u64]) -> Vec<u64> {
    shape.iter().copied().filter(|extent| *extent != 1).collect()
}

fn wrong_shape(weight: &Weight<'_>, name: &str, expected: &[u64]) -> Error {
    let report =
        Report::new(format!("the weight `{}` has not the shape of the tensor `{name}`", weight.name));
    let report = report.at(name).expecting(format!("{expected:?}, with or without extents of 1"));
    Error::input(
        report.finding(format!("{:?}", extents(weight))).mending("give the checkpoint that was converted"),
    )
}

impl Rows {
    /// The full name of the tensor.
    pub fn name(&self) -> &str {
        self.tensor.name()
    }

    /// Its element type on disk.
    pub fn dtype(&self) -> String {
        format!("{:?}", self.tensor.dtype()).to_lowercase()
    }
}

impl Elements for Rows {
    fn read(&self, start: u64, out: &mut [f64]) -> Result<()> {
        let first = usize::try_from(self.first * self.columns + start).unwrap_or(usize::MAX);
        let mut wide = self.buffer.borrow_mut();
        self.tensor.read_f32(first..first.saturating_add(out.len()), &mut wide)?;
        out.iter_mut().zip(wide.iter()).for_each(|(out, v)| *out = f64::from(*v));
        Ok(())
    }
}
