//! One weight, from its name to its values, its table and its error.

use anelith_mil::Bundle;

use crate::compare::{Deviation, compare};
use crate::constants::{Constant, Dense, Groups, TILE};
use crate::error::{Error, Result};
use crate::source::{Rows, Source};
use crate::weights::Weight;

/// What there is to know of a weight beside what [`Weight`] says.
#[derive(Debug)]
pub struct Detail {
    /// Its extents.
    pub shape: Vec<u64>,
    /// Smallest and largest element, mean, and root mean square; of what is finite.
    pub range: Range,
    /// Its tables, if it has some.
    pub palette: Option<Palette>,
    /// How far it is from the checkpoint, if there is one.
    pub error: Option<SourceError>,
}

/// Figures of the elements of a tensor.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// The smallest element.
    pub min: f64,
    /// The largest element.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// The root of the mean of their squares.
    pub rms: f64,
    /// How many are infinite or not a number.
    pub not_finite: u64,
}

/// The lookup tables of a weight.
#[derive(Clone, PartialEq, Debug)]
pub struct Palette {
    /// Blocks along each axis, each of which has a table.
    pub groups: Vec<u64>,
    /// The number of tables.
    pub tables: u64,
    /// Entries of a table.
    pub entries: u64,
    /// Elements of an entry.
    pub vector: u64,
    /// How often each entry is used, over all tables.
    pub histogram: Vec<u64>,
    /// How many entries of all tables no index asks for; `None` for too many tables.
    pub unused: Option<u64>,
    /// The table that is shown.
    pub shown: u64,
    /// Its entries, one after the other.
    pub table: Vec<f64>,
    /// How often each of its entries is used.
    pub table_histogram: Vec<u64>,
}

/// How far a weight is from the tensor that it was made from.
#[derive(Debug)]
pub struct SourceError {
    /// The rows of the checkpoint.
    pub rows: Rows,
    /// The deviation from them.
    pub deviation: Deviation,
    /// The blocks among which the worst was looked for: those of the tables, else rows.
    pub groups: Vec<u64>,
}

/// More entries of tables than these are not counted one by one.
const MAX_COUNTED: u64 = 1 << 20;

/// Looks at `weight`, one of `weights` of `bundle`; `group` is the table to show.
///
/// # Errors
/// A weight that contradicts itself; a table that there is not; those of [`Source::find`].
pub fn detail<'m>(
    bundle: &'m Bundle,
    weights: &[Weight<'m>],
    weight: &Weight<'m>,
    group: u64,
    source: Option<&Source>,
) -> Result<Detail> {
    let dense = weight.open(bundle)?;
    let range = range(&dense);
    let palette = palette(bundle, weight, group)?;
    let error = source.map(|source| source_error(source, weight, weights, &dense)).transpose()?;
    Ok(Detail { shape: dense.shape, range, palette, error })
}

fn source_error(
    source: &Source,
    weight: &Weight<'_>,
    weights: &[Weight<'_>],
    dense: &Dense<'_>,
) -> Result<SourceError> {
    let rows = source.find(weight, weights)?;
    let groups = dense.groups.clone().or_else(|| Groups::rows(&dense.shape));
    let deviation = compare(&rows, dense, dense.count(), groups.as_ref())?;
    Ok(SourceError { rows, deviation, groups: groups.map(|g| g.blocks()).unwrap_or_default() })
}

/// Calls `take` with the elements of `dense`, piece by piece.
fn tiles(dense: &Dense<'_>, mut take: impl FnMut(u64, &mut [f64])) {
    let mut tile = vec![0.0; TILE];
    let (mut start, count) = (0, dense.count());
    while start < count {
        let length = (count - start).min(TILE as u64) as usize;
        dense.read(start, &mut tile[..length]);
        take(start, &mut tile[..length]);
        start += length as u64;
    }
}

fn range(dense: &Dense<'_>) -> Range {
    let (mut min, mut max, mut sum, mut squares, mut finite) =
        (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0, 0u64);
    tiles(dense, |_, tile| {
        for v in tile.iter().filter(|v| v.is_finite()) {
            (min, max) = (min.min(*v), max.max(*v));
            sum += v;
            squares += v * v;
            finite += 1;
        }
    });
    let n = finite.max(1) as f64;
    let (min, max) = if finite == 0 { (0.0, 0.0) } else { (min, max) };
    Range { min, max, mean: sum / n, rms: (squares / n).sqrt(), not_finite: dense.count() - finite }
}

/// The tables of what `constexpr_lut_to_dense` makes; other forms have none that is looked at.
fn palette(bundle: &Bundle, weight: &Weight<'_>, shown: u64) -> Result<Option<Palette>> {
    let Constant::Made(op, _) = weight.constant else { return Ok(None) };
    if op.kind.name() != "constexpr_lut_to_dense" {
        return Ok(None);
    }
    let fail = |problem: &str| Error::constant(&weight.name, problem);
    let Some(parts) = Dense::palette(weight.view, &bundle.weights, op).map_err(|p| fail(&p))? else {
        return Ok(None);
    };
    let (indices, lut, groups, entries) = (parts.indices, parts.lut, parts.groups, parts.entries);
    let vector = lut.count() / (groups.count() * entries).max(1);
    if shown >= groups.count() {
        return Err(no_table(weight, shown, groups.count()));
    }
    let slots = groups.count().checked_mul(entries).filter(|slots| *slots <= MAX_COUNTED);
    let mut used = vec![0u64; slots.unwrap_or(0) as usize];
    let (mut histogram, mut table_histogram) = (vec![0u64; entries as usize], vec![0u64; entries as usize]);
    tiles(&indices, |start, tile| {
        groups.runs(start, tile, |group, run| {
            let base = (group * entries) as usize;
            for index in run.iter().map(|v| *v as usize).filter(|index| *index < entries as usize) {
                histogram[index] += 1;
                if let Some(slot) = used.get_mut(base + index) {
                    *slot += 1;
                }
                table_histogram[index] += u64::from(group == shown);
            }
        });
    });
    let unused = slots.map(|_| used.iter().filter(|count| **count == 0).count() as u64);
    let mut table = vec![0.0; (entries * vector) as usize];
    lut.read(shown * entries * vector, &mut table);
    let (tables, groups) = (groups.count(), groups.blocks());
    Ok(Some(Palette { groups, tables, entries, vector, histogram, unused, shown, table, table_histogram }))
}

fn no_table(weight: &Weight<'_>, shown: u64, tables: u64) -> Error {
    use anelith_report::{Report, Reported};
    let report = Report::new(format!("the weight `{}` has no table {shown}", weight.name)).at("--group");
    Error::usage(report.expecting(format!("0 to {}", tables.saturating_sub(1))).finding(shown))
}
