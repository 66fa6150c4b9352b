//! A weight matrix in the form in which it is stored.

use std::sync::OnceLock;

use half::f16;

use super::apart::Apart;
use super::bytes::Bytes;
use super::fixed::{self, MAX};
use super::float;
use super::fp16::widened;
use super::isa::Isa;
use super::levels::Levels;

/// A weight matrix `[rows, columns]`, row-major, in the form in which it is stored.
#[derive(Debug)]
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    form: Form,
    /// The width of the indices that elements in memory were looked up by.
    unpacked_from: Option<u32>,
}

/// What the elements of a matrix are made from.
#[derive(Debug)]
pub(super) enum Form {
    /// Indices into tables.
    Palettized(Box<Palette>),
    /// Little-endian fp16.
    Fp16(Bytes),
}

/// Indices, and the tables that they point into.
#[derive(Debug)]
pub(super) struct Palette {
    /// Width of an index: 1, 2, 3, 4, 6 or 8.
    pub(super) bits: u32,
    /// Consecutive rows that share a table.
    pub(super) rows_per_table: usize,
    /// Bytes of the indices of a row.
    row_bytes: usize,
    /// The indices, row by row, each row from the lowest bit of its first byte on.
    pub(super) indices: Bytes,
    /// The entries of the tables as bits of fp16.
    pub(super) halves: Planes,
    /// The tables in fixed point, once a product asked for them.
    fixed: OnceLock<Fixed>,
    /// What products use in place of `indices`, if it was made.
    pub(super) prepared: OnceLock<Prepared>,
}

/// Tables in fixed point.
#[derive(Debug)]
pub(super) struct Fixed {
    /// The entries as numbers of -[`MAX`] to [`MAX`].
    pub(super) planes: Planes,
    /// What one is worth in each table.
    pub(super) scales: Vec<f32>,
}

/// Palettized weights in a form that is quicker to multiply.
#[derive(Debug)]
pub(super) enum Prepared {
    /// On a grid, without tables.
    Levels(Levels),
    /// Indices into the same tables.
    Apart(Apart),
}

/// Tables of 16-bit entries, each as a plane of the low bytes and one of the high bytes: what instructions
/// that look up bytes want.
#[derive(Debug)]
pub(super) struct Planes {
    bytes: Vec<u8>,
    /// Entries of a table, at least 16.
    entries: usize,
}

impl Planes {
    /// Splits tables of `count` entries each.
    fn new(tables: &[f16], count: usize) -> Planes {
        // A vector register holds no fewer than 16 entries, so smaller tables are filled up.
        let entries = count.max(16);
        let mut bytes = vec![0; tables.len() / count * entries * 2];
        for (table, planes) in tables.chunks_exact(count).zip(bytes.chunks_exact_mut(entries * 2)) {
            let (low, high) = planes.split_at_mut(entries);
            for (entry, (low, high)) in table.iter().zip(low.iter_mut().zip(high)) {
                [*low, *high] = entry.to_le_bytes();
            }
        }
        Planes { bytes, entries }
    }

    /// The low bytes of table `i`, then its high bytes.
    pub(super) fn table(&self, i: usize) -> &[u8] {
        &self.bytes[i * self.entries * 2..][..self.entries * 2]
    }

    /// Tables.
    fn count(&self) -> usize {
        self.bytes.len() / self.entries / 2
    }
}

impl Palette {
    /// The indices as they are stored, and the bytes of a row of them.
    pub(super) fn stored(&self) -> (&[u8], usize) {
        (&self.indices, self.row_bytes)
    }

    pub(super) fn rows(&self) -> usize {
        self.indices.len() / self.row_bytes
    }

    /// The bytes of the tables as they are stored.
    fn table_bytes(&self) -> usize {
        (self.halves.count() << self.bits) * 2
    }

    /// The bytes of memory of all forms that there are, beside a weight file.
    fn held_bytes(&self) -> usize {
        let prepared = match self.prepared.get() {
            Some(Prepared::Levels(levels)) => levels.byte_len(),
            Some(Prepared::Apart(apart)) => apart.bytes().len(),
            None => 0,
        };
        let fixed =
            self.fixed.get().map_or(0, |fixed| fixed.planes.bytes.len() + size_of_val(&fixed.scales[..]));
        owned_bytes(&self.indices) + self.halves.bytes.len() + fixed + prepared
    }

    /// Tells the system that the indices, where they are in a weight file, will not be read soon.
    pub(super) fn release(&self) {
        if let Bytes::Mapped(indices) = &self.indices {
            indices.release();
        }
    }

    /// The tables in fixed point, which the first product that looks up entries makes.
    pub(super) fn fixed(&self) -> &Fixed {
        self.fixed.get_or_init(|| Fixed::new(&self.halves))
    }
}

impl Fixed {
    /// The same tables in fixed point.
    fn new(halves: &Planes) -> Fixed {
        let (entries, count) = (halves.entries, halves.count());
        let (mut bytes, mut scales) = (vec![0; halves.bytes.len()], vec![0.0; count]);
        let mut values = vec![0f32; entries];
        let tables = halves.bytes.chunks_exact(entries * 2).zip(bytes.chunks_exact_mut(entries * 2));
        for ((table, out), scale) in tables.zip(&mut scales) {
            let (low, high) = table.split_at(entries);
            for (value, (low, high)) in values.iter_mut().zip(low.iter().zip(high)) {
                *value = widened(u16::from_le_bytes([*low, *high]));
            }
            *scale = to_multiples(&mut values);
            let (low, high) = out.split_at_mut(entries);
            for (value, (low, high)) in values.iter().zip(low.iter_mut().zip(high)) {
                [*low, *high] = nearest(*value).to_le_bytes();
            }
        }
        Fixed { planes: Planes { bytes, entries }, scales }
    }
}

impl Matrix {
    /// Indices of `bits` (1, 2, 3, 4, 6 or 8), packed row by row from the lowest bit on, where
    /// `rows_per_table` consecutive rows share a table of `1 << bits` entries; the tables in order.
    ///
    /// `None` when the lengths do not fit each other, a row does not end with a byte, a row or column is
    /// missing altogether, or an entry is not finite.
    pub(crate) fn palettized(
        rows: usize,
        columns: usize,
        bits: u32,
        rows_per_table: usize,
        indices: Bytes,
        tables: &[f16],
    ) -> Option<Matrix> {
        let row_bits = columns.checked_mul(bits as usize)?;
        let row_bytes = row_bits / 8;
        let fits = matches!(bits, 1 | 2 | 3 | 4 | 6 | 8)
            && row_bits.is_multiple_of(8)
            && rows.checked_mul(row_bytes) == Some(indices.len())
            && rows > 0
            && columns > 0
            && rows_per_table > 0
            && tables.len() == rows.div_ceil(rows_per_table) << bits
            && tables.iter().all(|entry| entry.is_finite());
        if !fits {
            return None;
        }
        let halves = Planes::new(tables, 1 << bits);
        let (fixed, prepared) = (OnceLock::new(), OnceLock::new());
        let palette = Palette { bits, rows_per_table, row_bytes, indices, halves, fixed, prepared };
        Some(Matrix { rows, columns, form: Form::Palettized(Box::new(palette)), unpacked_from: None })
    }

    /// Little-endian fp16. `None` when `data` does not hold that many, or there are none.
    pub(crate) fn fp16(rows: usize, columns: usize, data: Bytes) -> Option<Matrix> {
        let bytes = rows.checked_mul(columns)?.checked_mul(2)?;
        let matrix = Matrix { rows, columns, form: Form::Fp16(data), unpacked_from: None };
        (bytes > 0 && matrix.byte_len() == bytes).then_some(matrix)
    }

    /// As [`Matrix::fp16`], of elements that were looked up by indices of `bits`: for what [`Matrix::palettized`] does
    /// not take.
    pub(crate) fn unpacked(rows: usize, columns: usize, bits: u32, data: Vec<f16>) -> Option<Matrix> {
        let bytes: Vec<u8> = data.iter().flat_map(|element| element.to_le_bytes()).collect();
        let matrix = Matrix::fp16(rows, columns, Bytes::Owned(bytes.into()))?;
        Some(Matrix { unpacked_from: Some(bits), ..matrix })
    }

    /// Rows: the length of a result.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the length of a row of activations.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The bytes that the matrix is stored in: indices and tables, or elements.
    pub(crate) fn byte_len(&self) -> usize {
        match &self.form {
            Form::Palettized(palette) => palette.indices.len() + palette.table_bytes(),
            Form::Fp16(data) => data.len(),
        }
    }

    /// The bytes that one product with the matrix reads.
    pub(crate) fn read_bytes(&self) -> usize {
        let Form::Palettized(palette) = &self.form else { return self.byte_len() };
        match palette.prepared.get() {
            Some(Prepared::Levels(levels)) => levels.byte_len(),
            Some(Prepared::Apart(apart)) => apart.bytes().len() + palette.table_bytes(),
            None => self.byte_len(),
        }
    }

    pub(super) fn prepared(&self) -> Option<&Prepared> {
        self.palette()?.prepared.get()
    }

    /// The bytes of memory that the matrix takes, beside a weight file.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.form {
            Form::Palettized(palette) => palette.held_bytes(),
            Form::Fp16(data) => owned_bytes(data),
        }
    }

    /// The form in words, for plans.
    pub(crate) fn form_name(&self) -> String {
        match (&self.form, self.unpacked_from) {
            (Form::Palettized(palette), _) => match self.prepared() {
                Some(Prepared::Levels(_)) => format!("grid of lut{}", palette.bits),
                Some(Prepared::Apart(_)) | None => format!("lut{}", palette.bits),
            },
            (Form::Fp16(_), Some(bits)) => format!("fp16 of lut{bits}"),
            (Form::Fp16(_), None) => "fp16".to_owned(),
        }
    }

    /// The indices and tables, if the matrix has such.
    pub(super) fn palette(&self) -> Option<&Palette> {
        match &self.form {
            Form::Palettized(palette) => Some(palette),
            Form::Fp16(_) => None,
        }
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// Bytes of one row, without tables.
    pub(super) fn row_bytes(&self) -> usize {
        match &self.form {
            Form::Palettized(palette) => palette.row_bytes,
            Form::Fp16(_) => self.columns * 2,
        }
    }

    /// Writes the rows from `first` on, with the exact values of the fp16 entries.
    ///
    /// # Panics
    /// When `out` is not a multiple of `columns` long, or goes beyond the last row.
    pub(crate) fn unpack(&self, isa: Isa, first: usize, out: &mut [f32]) {
        let count = out.len() / self.columns;
        assert!(
            count * self.columns == out.len() && first + count <= self.rows,
            "rows {first}.. of {}",
            self.rows
        );
        match &self.form {
            Form::Palettized(palette) => fixed::unpack(isa, palette, self.columns, first, out),
            Form::Fp16(data) => float::widen(isa, &data[first * self.columns * 2..][..out.len() * 2], out),
        }
    }
}

/// The bytes that are in memory of their own.
fn owned_bytes(bytes: &Bytes) -> usize {
    match bytes {
        Bytes::Owned(bytes) => bytes.len(),
        Bytes::Mapped(_) => 0,
    }
}

/// Makes the entries of a table multiples of what one is worth in fixed point, which is returned, not yet rounded.
fn to_multiples(table: &mut [f32]) -> f32 {
    let largest = table.iter().fold(0f32, |max, value| max.max(value.abs()));
    // The smallest fp16 over MAX is a normal f32, so only a table of zeros has no scale.
    let scale = largest / MAX;
    if scale != 0.0 {
        table.iter_mut().for_each(|value| *value /= scale);
    }
    scale
}

/// The nearest integer, ties to even, as the bits of `i16`.
fn nearest(multiple: f32) -> u16 {
    // Adding 1.5 * 2^23 rounds to an integer, and leaves it in the low bits.
    (multiple + 12_582_912.0).to_bits() as u16
}
