//! Reads `.npz` files as numpy's `savez` writes them: a zip archive of stored `.npy` members.

use std::collections::BTreeMap;
use std::path::Path;

/// The arrays of one file, by name.
pub(crate) struct Npz(BTreeMap<String, Vec<u8>>);

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const DIRECTORY_END: &[u8] = b"PK\x05\x06";

impl Npz {
    pub(crate) fn open(path: &Path) -> Npz {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let end = bytes.windows(4).rposition(|w| w == DIRECTORY_END).expect("a zip archive");
        let count = number(&bytes, end + 10, 2);
        let mut at = number(&bytes, end + 16, 4);
        let mut arrays = BTreeMap::new();
        for _ in 0..count {
            assert_eq!(&bytes[at..at + 4], DIRECTORY_ENTRY);
            assert_eq!(number(&bytes, at + 10, 2), 0, "the member is compressed, expected stored");
            let size = number(&bytes, at + 24, 4);
            let [name, extra, comment] = [28, 30, 32].map(|field| number(&bytes, at + field, 2));
            let local = number(&bytes, at + 42, 4);
            assert_eq!(&bytes[local..local + 4], LOCAL_HEADER);
            let start = local + 30 + number(&bytes, local + 26, 2) + number(&bytes, local + 28, 2);
            let member = String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap();
            arrays.insert(member.trim_end_matches(".npy").to_owned(), bytes[start..start + size].to_vec());
            at += 46 + name + extra + comment;
        }
        Npz(arrays)
    }

    pub(crate) fn f32s(&self, name: &str) -> Vec<f32> {
        self.words(name, "<f4").map(f32::from_le_bytes).collect()
    }

    pub(crate) fn i32s(&self, name: &str) -> Vec<i32> {
        self.words(name, "<i4").map(i32::from_le_bytes).collect()
    }

    /// The elements of an array in row-major order.
    fn words(&self, name: &str, dtype: &str) -> impl Iterator<Item = [u8; 4]> {
        let npy = self.0.get(name).unwrap_or_else(|| panic!("no array `{name}`"));
        assert_eq!(&npy[..7], b"\x93NUMPY\x01", "`{name}` is not in npy format 1");
        let start = 10 + number(npy, 8, 2);
        let header = String::from_utf8_lossy(&npy[10..start]);
        assert!(header.contains(&format!("'descr': '{dtype}'")), "`{name}`: {header}");
        let shape = header.split(['(', ')']).nth(1).expect("a shape");
        let shape: Vec<usize> = shape.split(',').filter_map(|d| d.trim().parse().ok()).collect();
        let (words, _) = npy[start..].as_chunks::<4>();
        let columns_first = header.contains("'fortran_order': True");
        let at = move |i: usize| if columns_first { column_major(i, &shape) } else { i };
        (0..words.len()).map(move |i| words[at(i)])
    }
}

/// Where the element `index` (in row-major order) of a tensor of `shape` lies in column-major order.
fn column_major(mut index: usize, shape: &[usize]) -> usize {
    let mut step: usize = shape.iter().product();
    let mut at = 0;
    for extent in shape.iter().rev() {
        step /= extent;
        at += index % extent * step;
        index /= extent;
    }
    at
}

fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))
}
