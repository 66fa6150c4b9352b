//! The header of `model.safetensors` alone: the file around it is right, so that the search need not find the
//! length of the header and of the data.

use serde_json::Value;

use crate::{safetensors, scratch};

/// No more data than this are put behind a header.
const MAX_DATA: u64 = 1 << 16;

/// Reads a file with the header `bytes` and as many data as its offsets ask for.
///
/// # Panics
/// As `safetensors::check`.
pub fn check(bytes: &[u8]) {
    let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
    file.extend(bytes);
    let data = (0..data_len(bytes).min(MAX_DATA)).map(|i| (i.wrapping_mul(37) >> 1) as u8);
    file.extend(data);
    scratch::write("model.safetensors", &file);
    safetensors::check_dir(scratch::dir(), &file);
}

/// The end of the last tensor, as far as the header can be read.
fn data_len(header: &[u8]) -> u64 {
    let Ok(Value::Object(entries)) = serde_json::from_slice(header) else { return 0 };
    let end = |entry: &Value| entry.get("data_offsets")?.get(1)?.as_u64();
    entries.values().filter_map(end).max().unwrap_or(0)
}
