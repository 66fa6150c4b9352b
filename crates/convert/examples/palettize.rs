//! Clusters the weights of a file, so that other programs can be held against the result.
//!
//! ```text
//! palettize WEIGHTS BITS GROUP TABLES INDICES TIMES
//! ```
//!
//! WEIGHTS is a file of little-endian fp16 weights, of which every GROUP share a table. Writes the tables, fp16, to
//! TABLES and the indices, one byte each, to INDICES. Writes to TIMES the microseconds a group takes to be sorted,
//! solved and labelled: three numbers, each the mean over the groups of the least of three runs.

use std::time::Instant;
use std::{env, fs};

use anelith_convert::kmeans::KMeans;
use half::f16;

/// How often each group is clustered.
const RUNS: usize = 3;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [weights, bits, group, tables, indices, times] = arguments.as_slice() else {
        return Err("usage: palettize WEIGHTS BITS GROUP TABLES INDICES TIMES".into());
    };
    let [sort, solve, label] = palettize(weights, (bits, group), tables, indices)?;
    write(times, format!("{sort:.3} {solve:.3} {label:.3}\n").as_bytes())
}

fn write(path: &str, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("{path}: {e}"))
}

/// Does it all and tells how long the stages took.
fn palettize(
    weights: &str,
    (bits, group): (&str, &str),
    tables: &str,
    indices: &str,
) -> Result<[f64; 3], String> {
    let bits = bits.parse().ok().filter(|bits| (1..=8).contains(bits)).ok_or("BITS: expected 1 to 8")?;
    let group = group.parse().ok().filter(|&group| group > 0).ok_or("GROUP: expected a number above 0")?;
    let bytes = fs::read(weights).map_err(|e| format!("{weights}: {e}"))?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(2 * group) {
        return Err(format!(
            "{weights}: expected whole groups of {} bytes, found {} bytes",
            2 * group,
            bytes.len()
        ));
    }
    let weights: Vec<f16> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
    let mut kmeans = KMeans::new(bits);
    let (mut table, mut index, mut stages) = (Vec::new(), Vec::new(), [0.0; 3]);
    for group in weights.chunks_exact(group) {
        let mut least = [f64::INFINITY; 3];
        let (entries, labels) = (table.len(), index.len());
        for _ in 0..RUNS {
            table.truncate(entries);
            index.truncate(labels);
            let times = cluster(&mut kmeans, group, &mut table, &mut index)?;
            least = std::array::from_fn(|stage| least[stage].min(times[stage]));
        }
        stages = std::array::from_fn(|stage| stages[stage] + least[stage]);
    }
    let table: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    write(tables, &table)?;
    write(indices, &index)?;
    let groups = (weights.len() / group) as f64;
    Ok(stages.map(|total| total / groups))
}

/// Clusters one group; returns the microseconds of each stage.
fn cluster(
    kmeans: &mut KMeans,
    group: &[f16],
    table: &mut Vec<f16>,
    indices: &mut Vec<u8>,
) -> Result<[f64; 3], String> {
    let start = Instant::now();
    kmeans.sort(group).map_err(|e| e.to_string())?;
    let sorted = Instant::now();
    kmeans.solve();
    let solved = Instant::now();
    kmeans.append_table(table);
    kmeans.label(group, indices);
    let labelled = Instant::now();
    Ok([(start, sorted), (sorted, solved), (solved, labelled)]
        .map(|(from, to)| (to - from).as_secs_f64() * 1e6))
}
