//! Memory whose size follows from the input: asked for, not taken for granted.

use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

/// `rows` times `width` copies of `value`.
///
/// # Errors
/// `Machine` when there is not so much memory.
pub(crate) fn filled<T: Clone>(value: T, rows: usize, width: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    match rows.checked_mul(width).filter(|count| values.try_reserve_exact(*count).is_ok()) {
        Some(count) => {
            values.resize(count, value);
            Ok(values)
        }
        None => {
            let bytes = rows as u128 * width as u128 * size_of::<T>() as u128;
            let report = Report::new(format!("there is no memory for activations [{rows}, {width}]"))
                .expecting(format!("{bytes} bytes"))
                .mending("compute fewer tokens at once");
            Err(Error::Machine(report.into()))
        }
    }
}
