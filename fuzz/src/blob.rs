//! `weight.bin`: records lie in the file and are as long as their types say; a copy of them reads as the same.

use anelith_mil::blob::{BlobLayout, BlobWriter, Record, WeightFile};

use crate::scratch;

/// Reads `bytes` as a weight file.
///
/// # Panics
/// When a record that was read disagrees with its data, or comes back different from a copy.
pub fn check(bytes: &[u8]) {
    let path = scratch::write("weight.bin", bytes);
    let Ok(file) = WeightFile::open(&path) else { return };
    let records: Vec<Record> = file.records().map_while(Result::ok).collect();
    assert!(records.len() <= file.count() as usize);
    for record in &records {
        let data = file.data(record).expect("a record's data lie in the file");
        assert_eq!(data.len() as u64, record.byte_len);
        assert_eq!(record.dtype.byte_len(record.elements), Some(record.byte_len), "{record:?}");
        assert_eq!(file.record(record.offset).ok(), Some(*record));
    }
    // Blobs may lie on top of each other; a copy of them must not be larger than memory.
    if records.iter().map(|r| r.byte_len).sum::<u64>() < 1 << 20 {
        check_copy(&file, &records);
    }
    for offset in (0..bytes.len() as u64 + 128).step_by(32) {
        if let Ok(record) = file.record(offset) {
            assert!(file.data(&record).is_ok());
        }
    }
}

fn check_copy(file: &WeightFile, records: &[Record]) {
    let mut layout = BlobLayout::new();
    for record in records {
        layout.push(record.dtype, record.elements).expect("a type that was read can be written");
    }
    let path = scratch::dir().join("copy.bin");
    let mut writer = BlobWriter::create(&path, &layout).expect("the copy can be written");
    for (i, record) in records.iter().enumerate() {
        writer.begin(i).expect("the next blob");
        writer.write(file.data(record).expect("it was read before")).expect("as long as planned");
    }
    writer.finish().expect("all blobs are there");
    let copy = WeightFile::open(&path).expect("what was written opens");
    assert_eq!(copy.records().count(), records.len());
    for (record, copied) in records.iter().zip(copy.records()) {
        let copied = copied.expect("what was written reads");
        assert_eq!((record.dtype, record.elements), (copied.dtype, copied.elements));
        assert_eq!(file.data(record).ok(), copy.data(&copied).ok());
    }
}
