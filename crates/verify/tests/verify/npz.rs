//! Writes `.npz` files as numpy's `savez` and `savez_compressed` do, as far as the tests need it.

use miniz_oxide::deflate::compress_to_vec;

/// A `.npy` member: its name and its bytes.
pub(crate) type Member = (String, Vec<u8>);

/// An array of elements of `N` bytes.
pub(crate) fn array<const N: usize>(
    name: &str,
    dtype: &str,
    shape: &str,
    elements: impl Iterator<Item = [u8; N]>,
) -> Member {
    let mut header = format!("{{'descr': {dtype}, 'fortran_order': False, 'shape': ({shape}), }}");
    header += &" ".repeat((10 + header.len() + 1).next_multiple_of(64) - 10 - header.len() - 1);
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(elements.flatten());
    (format!("{name}.npy"), bytes)
}

/// `input_ids`.
pub(crate) fn ids(ids: &[i32]) -> Member {
    array("input_ids", "'<i4'", &format!("{},", ids.len()), ids.iter().map(|id| id.to_le_bytes()))
}

/// `logits`, so many a row.
pub(crate) fn logits(logits: &[f32], vocab: usize) -> Member {
    let shape = format!("{}, {vocab}", logits.len() / vocab);
    array("logits", "'<f4'", &shape, logits.iter().map(|logit| logit.to_le_bytes()))
}

/// An archive of stored members.
pub(crate) fn file(members: &[Member]) -> Vec<u8> {
    let stored = members.iter().map(|(name, bytes)| (name.as_str(), 0, bytes.len(), bytes.clone()));
    archive(stored.collect())
}

/// An archive of deflated members.
pub(crate) fn compressed(members: &[Member]) -> Vec<u8> {
    let deflate = |bytes: &[u8]| compress_to_vec(bytes, 6);
    let deflated = members.iter().map(|(name, bytes)| (name.as_str(), 8, bytes.len(), deflate(bytes)));
    archive(deflated.collect())
}

/// An archive of members: name, method, size when unpacked, and bytes in the file.
fn archive(members: Vec<(&str, u16, usize, Vec<u8>)>) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, method, size, bytes) in &members {
        let local = file.len() as u32;
        // Version and flags are zero, as are time, date and checksum.
        let mut member = [&[0; 4], method.to_le_bytes().as_slice(), &[0; 8]].concat();
        member.extend((bytes.len() as u32).to_le_bytes());
        member.extend((*size as u32).to_le_bytes());
        member.extend((name.len() as u16).to_le_bytes());
        file.extend(b"PK\x03\x04".iter().chain(&member).chain(&[0; 2]).chain(name.as_bytes()).chain(bytes));
        directory.extend(b"PK\x01\x02\0\0".iter().chain(&member));
        directory.extend([0; 12].iter().chain(&local.to_le_bytes()).chain(name.as_bytes()));
    }
    let (start, size) = (file.len() as u32, directory.len() as u32);
    file.extend(&directory);
    let count = (members.len() as u16).to_le_bytes();
    file.extend(b"PK\x05\x06".iter().chain(&[0; 4]).chain(&count).chain(&count));
    file.extend(size.to_le_bytes().iter().chain(&start.to_le_bytes()).chain(&[0; 2]));
    file
}
