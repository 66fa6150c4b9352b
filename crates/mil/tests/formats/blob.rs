//! Weight files: our bytes against known ones, reading back, files by another writer, and broken files.

use std::path::Path;

use anelith_mil::blob::{BlobLayout, BlobWriter, Record, WeightFile, WeightStore};
use anelith_mil::digest::Digest;
use anelith_mil::{BlobRef, DataType, Error, Function, Op, OpKind, Opset, Program, TensorType, Value, proto};

use crate::shared;

type Blob = (DataType, u64, Vec<u8>);

/// Writes the blobs, each in pieces of `piece` bytes.
fn write(path: &Path, blobs: &[Blob], piece: usize) {
    let mut layout = BlobLayout::new();
    for (dtype, elements, _) in blobs {
        layout.push(*dtype, *elements).expect("a blob that fits");
    }
    let mut writer = BlobWriter::create(path, &layout).expect("a new file");
    for (index, (_, _, data)) in blobs.iter().enumerate() {
        writer.begin(index).expect("the next blob");
        data.chunks(piece).for_each(|chunk| writer.write(chunk).expect("planned bytes"));
    }
    writer.finish().expect("a complete file");
    assert_eq!(std::fs::metadata(path).expect("a file").len(), layout.file_len());
}

/// Bytes from text: hexadecimal digits with `..N` for zeros up to offset N, and comments.
fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let words = text.lines().filter_map(|line| line.split('#').next()).flat_map(str::split_whitespace);
    for word in words {
        if let Some(offset) = word.strip_prefix("..") {
            bytes.resize(usize::from_str_radix(offset, 16).expect("an offset"), 0);
            continue;
        }
        let byte = |i: usize| u8::from_str_radix(&word[i..i + 2], 16).expect("hexadecimal digits");
        bytes.extend((0..word.len()).step_by(2).map(byte));
    }
    bytes
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let expected = hex("02000000          # two blobs
         02000000 ..40     # version 2, reserved
         efbeadde          # sentinel
         0c000000          # element type: uint3
         0200000000000000  # size: 2 bytes
         8000000000000000  # the data start at 0x80
         0100000000000000  # 16 bits hold 5 elements and 1 bit of padding
         ..80              # reserved
         d158 ..c0         # 1, 2, 3, 4, 5 from the lowest bit on; zeros up to the next record
         efbeadde          # sentinel
         01000000          # element type: fp16
         0600000000000000  # size: 6 bytes
         0001000000000000  # the data start at 0x100
         0000000000000000  # no padding
         ..100             # reserved
         003c00c00038      # 1, -2, 0.5; the file ends here
        ");
    let blobs = [
        (DataType::UInt3, 5, vec![0xd1, 0x58]),
        (DataType::Fp16, 3, vec![0x00, 0x3c, 0x00, 0xc0, 0x00, 0x38]),
    ];
    let dir = tempfile::tempdir().expect("a temporary folder");
    for piece in [1, 4, 100] {
        let path = dir.path().join("weight.bin");
        write(&path, &blobs, piece);
        assert_eq!(std::fs::read(&path).expect("a file"), expected, "in pieces of {piece} bytes");
    }
}

#[test]
fn every_type_comes_back_with_its_element_count() {
    let types = DataType::ALL.iter().copied().filter(|d| BlobLayout::new().push(*d, 1).is_ok());
    let blobs: Vec<Blob> = types
        .flat_map(|dtype| [0u64, 1, 5, 64, 129].map(|n| (dtype, n, n)))
        .map(|(dtype, n, seed)| {
            let length = dtype.byte_len(n).expect("a size");
            (dtype, n, (0..length).map(|i| (i * 7 + seed) as u8).collect())
        })
        .collect();
    assert_eq!(blobs.len(), 14 * 5);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("weight.bin");
    write(&path, &blobs, 17);
    let file = WeightFile::open(&path).expect("a weight file");
    let records: Vec<Record> = file.records().collect::<Result<_, _>>().expect("records");
    assert_eq!(records.len(), blobs.len());
    for (record, (dtype, elements, data)) in records.iter().zip(&blobs) {
        assert_eq!((record.dtype, record.elements), (*dtype, *elements));
        assert_eq!(file.data(record).expect("data"), data);
    }
}

#[test]
fn types_without_a_number_cannot_be_blobs() {
    for dtype in [DataType::Bool, DataType::String, DataType::Int64, DataType::UInt64, DataType::Fp64] {
        assert!(matches!(BlobLayout::new().push(dtype, 16), Err(Error::Unsupported { .. })), "{dtype}");
    }
    assert!(BlobLayout::new().push(DataType::Fp32, u64::MAX / 4).is_err());
}

#[test]
fn writing_anything_but_the_plan_is_refused() {
    let mut layout = BlobLayout::new();
    layout.push(DataType::UInt8, 4).expect("a blob");
    layout.push(DataType::UInt8, 1).expect("a blob");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("weight.bin");
    let create = || BlobWriter::create(&path, &layout).expect("a new file");
    fn problem<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
        match result.expect_err("a refusal") {
            Error::Malformed { problem, .. } => problem,
            other => panic!("{other}"),
        }
    }

    assert_eq!(problem(create().begin(1)), "blob 1 is begun, expected blob 0");
    assert_eq!(problem(create().write(&[0])), "blob 0 gets 1 bytes, but only 0 are missing");
    assert_eq!(problem(create().finish()), "0 blobs are written, but 2 are planned");
    let mut writer = create();
    writer.begin(0).expect("the first blob");
    writer.write(&[1, 2, 3]).expect("three bytes");
    assert_eq!(problem(writer.write(&[4, 5])), "blob 0 gets 2 bytes, but only 1 are missing");
    assert_eq!(problem(writer.begin(1)), "blob 0 is 1 bytes short of what was planned");
    let mut copy = |index, range| writer.copy(index, range, |_| Ok::<_, Error>(()));
    assert_eq!(problem(copy(0, 0..1)), "bytes 0..1 of blob 0 are not there to be copied");
    assert_eq!(problem(writer.finish()), "blob 0 is 1 bytes short of what was planned");
    let mut writer = create();
    writer.begin(0).and_then(|()| writer.write(&[1, 2, 3, 4])).expect("the first blob");
    writer.begin(1).expect("the second blob");
    let mut copy = |index, range| writer.copy(index, range, |_| Ok::<_, Error>(()));
    assert_eq!(problem(copy(0, 3..5)), "bytes 3..5 of blob 0 are not there to be copied");
    assert_eq!(problem(copy(0, 1..3)), "blob 1 gets 2 bytes, but only 1 are missing");
}

/// A copy is longer than what is read at a time, and what it copies may not be on the disk yet.
#[test]
fn a_part_of_a_blob_can_be_copied() {
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
    let mut layout = BlobLayout::new();
    for length in [data.len() as u64, 2_500_000, 3, 0] {
        layout.push(DataType::UInt8, length).expect("a blob");
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("weight.bin");
    let mut writer = BlobWriter::create(&path, &layout).expect("a new file");
    writer.begin(0).and_then(|()| writer.write(&data)).expect("the first blob");
    let mut announced = 0;
    for (index, range) in [(1, 400_000..2_900_000), (2, 2_999_997..3_000_000), (3, 17..17)] {
        writer.begin(index).expect("a blob");
        let go_on = |bytes| {
            announced += bytes;
            Ok::<_, Error>(())
        };
        writer.copy(0, range, go_on).expect("a copy");
    }
    assert_eq!(announced, 2_500_003);
    let digest = writer.finish().expect("a complete file");
    assert_eq!(digest, Digest::of(&std::fs::read(&path).expect("a file")), "of all that the file holds");
    let file = WeightFile::open(&path).expect("a weight file");
    let records: Vec<Record> = file.records().collect::<Result<_, _>>().expect("records");
    assert_eq!(file.data(&records[1]).expect("data"), &data[400_000..2_900_000]);
    assert_eq!(file.data(&records[2]).expect("data"), &data[2_999_997..]);
}

/// A program whose one constant is the blob at `offset` of `file`.
fn program(file: &str, offset: u64, dtype: DataType, shape: &[u64]) -> Program {
    let blob = BlobRef { file: file.to_owned(), offset };
    let mut main = Function::new("main", Opset::Ios18);
    main.ops.push(Op {
        kind: OpKind::from_name("const"),
        inputs: Default::default(),
        attributes: [("val".to_owned(), Value::blob(dtype, shape, blob))].into(),
        outputs: Vec::new(),
    });
    Program { functions: vec![main], ..Program::default() }
}

/// A file, the offset, element type and shape that a program declares, and a part of the error.
type BadFile = (Vec<u8>, u64, DataType, &'static [u64], &'static str);

#[test]
fn broken_files_are_refused_with_the_place() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("weight.bin");
    write(&path, &[(DataType::UInt4, 3, vec![0x21, 0x03])], 8);
    let good = std::fs::read(&path).expect("a file");
    let open = |bytes: &[u8], offset, dtype, shape: &[u64]| {
        std::fs::write(&path, bytes).expect("a file");
        WeightStore::open(dir.path(), &program("@model_path/weight.bin", offset, dtype, shape))
    };
    assert!(open(&good, 64, DataType::UInt4, &[3, 1]).is_ok());

    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let uint4 = DataType::UInt4;
    let cases: Vec<BadFile> = vec![
        (
            changed(64, 0),
            64,
            uint4,
            &[3],
            "blob at 0x40 is malformed: sentinel is 0xdeadbe00, expected 0xdeadbeef",
        ),
        (changed(68, 5), 64, uint4, &[3], "blob at 0x40 is not supported: element type bf16"),
        (
            changed(68, 99),
            64,
            uint4,
            &[3],
            "blob at 0x40 is malformed: element type number 99 does not exist",
        ),
        (
            changed(72, 3),
            64,
            uint4,
            &[3],
            "data of 3 bytes at 0x80 reach beyond the end of the file (130 bytes)",
        ),
        (changed(79, 255), 64, uint4, &[3], "expected fewer than 8 after whole elements"),
        (changed(80, 0x81), 64, uint4, &[3], "data start at 0x81, expected a multiple of 64"),
        (changed(80, 0x40), 64, uint4, &[3], "data start at 0x40, expected behind the blob's metadata"),
        (changed(87, 255), 64, uint4, &[3], "reach beyond the end of the file (130 bytes)"),
        (changed(88, 3), 64, uint4, &[3], "3 bits of padding in 2 bytes of uint4"),
        (changed(88, 12), 64, uint4, &[3], "12 bits of padding in 2 bytes of uint4"),
        (changed(4, 1), 64, uint4, &[3], "weight.bin is not supported: storage version is 1, expected 2"),
        (good[..129].to_vec(), 64, uint4, &[3], "data of 2 bytes at 0x80 reach beyond the end"),
        (good[..100].to_vec(), 64, uint4, &[3], "the file ends at 0x64, before the blob's metadata do"),
        (good[..63].to_vec(), 64, uint4, &[3], "is 63 bytes long, expected a header of 64"),
        (LFS.to_vec(), 64, uint4, &[3], "is a Git LFS pointer instead of the weights"),
        (Vec::new(), 64, uint4, &[3], "is 0 bytes long, expected a header of 64"),
        (good.clone(), 65, uint4, &[3], "blob at 0x41 is malformed: the offset is not a multiple of 64"),
        (good.clone(), 0, uint4, &[3], "blob at 0x0 is malformed: the offset is not a multiple of 64"),
        (good.clone(), u64::MAX - 63, uint4, &[3], "the file ends at 0x82"),
        (good.clone(), 64, DataType::UInt8, &[2], "elements are uint4, but the program declares uint8"),
        (good.clone(), 64, uint4, &[4], "holds 3 elements, but the program declares tensor<uint4, [4]>"),
    ];
    for (bytes, offset, dtype, shape, expected) in cases {
        let error = open(&bytes, offset, dtype, shape).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn names_that_lead_out_of_the_model_or_nowhere_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let long = format!("@model_path/{}", "n".repeat(256));
    for name in [
        "@model_path/../weight.bin",
        "@model_path//etc/passwd",
        "/etc/passwd",
        "weight.bin",
        "@model_path/",
        "@model_path/a\0b",
        &long,
    ] {
        let error = WeightStore::open(dir.path(), &program(name, 64, DataType::Fp16, &[1])).expect_err(name);
        assert!(error.to_string().contains("expected a path below `@model_path`"), "{error}");
    }
    std::fs::create_dir(dir.path().join("weights")).expect("a folder");
    let folder = program("@model_path/weights", 64, DataType::Fp16, &[1]);
    let error = WeightStore::open(dir.path(), &folder).expect_err("a refusal").to_string();
    assert!(error.contains("weights is malformed: is a directory"), "{error}");
}

#[test]
fn records_that_the_header_announces_must_be_there() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("weight.bin");
    write(&path, &[(DataType::UInt8, 1, vec![7])], 8);
    let mut bytes = std::fs::read(&path).expect("a file");
    bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    std::fs::write(&path, bytes).expect("a file");
    let records: Vec<_> = WeightFile::open(&path).expect("a header").records().collect();
    assert_eq!(records.len(), 2);
    assert!(records[0].is_ok() && records[1].is_err());
}

/// Two records that lead to each other would be handed out four thousand million times.
#[test]
fn records_that_go_round_in_circles_end() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("weight.bin");
    write(&path, &[(DataType::UInt8, 1, vec![7]), (DataType::UInt8, 1, vec![8])], 8);
    let mut bytes = std::fs::read(&path).expect("a file");
    bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[192 + 16..192 + 24].copy_from_slice(&0u64.to_le_bytes());
    std::fs::write(&path, bytes).expect("a file");
    let records: Vec<_> = WeightFile::open(&path).expect("a header").records().collect();
    assert_eq!(records.len(), 2);
    assert!(records[0].is_ok() && records[1].is_err());
}

/// Where a package has its model and weights.
const ROOT: &str = "Data/com.apple.CoreML";
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// Whether `path` is a package with a weight file that was fetched.
fn has_weights(path: &Path) -> bool {
    let weights = std::fs::read(path.join(ROOT).join("weights/weight.bin"));
    weights.is_ok_and(|weights| !weights.starts_with(LFS))
}

#[test]
fn real_packages_have_the_blobs_that_their_programs_declare() {
    let Some(shared) = shared::folder() else { return };
    let folders = ["oracle", "reference", "vectors"].into_iter();
    let packages: Vec<_> = folders.flat_map(|f| shared::find(&shared.join(f), has_weights)).collect();
    assert!(packages.len() >= 30, "only {} packages found", packages.len());
    for package in packages {
        let root = package.join(ROOT);
        let bytes = std::fs::read(root.join("model.mlmodel")).expect("a model");
        let model = proto::decode(&bytes, "model.mlmodel").expect("a model");
        let store = WeightStore::open(&root, &model.program).unwrap_or_else(|e| panic!("{e}"));
        for (_, file) in store.files() {
            assert_eq!(file.records().filter(Result::is_ok).count(), file.count() as usize);
        }
    }
}

#[test]
fn the_worked_example_of_another_writer_reads_as_documented() {
    let Some(shared) = shared::folder() else { return };
    let path = shared.join("oracle/tiny/multi.mlpackage/Data/com.apple.CoreML/weights/weight.bin");
    let file = WeightFile::open(&path).expect("a weight file");
    let records: Vec<Record> = file.records().collect::<Result<_, _>>().expect("records");
    let found: Vec<_> = records.iter().map(|r| (r.dtype, r.elements, r.offset, r.data_offset)).collect();
    let expected = [
        (DataType::UInt4, 128, 0x40, 0x80),
        (DataType::Fp16, 32, 0xc0, 0x100),
        (DataType::Fp16, 16, 0x140, 0x180),
    ];
    assert_eq!(found, expected);
    assert_eq!(file.data(&records[0]).expect("data").first(), Some(&0x76));
    let rewritten = tempfile::tempdir().expect("a temporary folder");
    let copy = rewritten.path().join("weight.bin");
    let blobs: Vec<Blob> =
        records.iter().map(|r| (r.dtype, r.elements, file.data(r).expect("data").to_vec())).collect();
    write(&copy, &blobs, 1000);
    assert_eq!(std::fs::read(copy).expect("a file"), std::fs::read(path).expect("a file"));
    assert_eq!(TensorType::new(DataType::UInt4, &[16, 8, 1, 1]).byte_len(), Some(records[0].byte_len));
}
