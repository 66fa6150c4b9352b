//! The bytes of the header and of a record's metadata.

use crate::dtype::DataType;
use crate::error::{Error, Result};

/// Everything in a weight file starts at a multiple of this.
pub(super) const ALIGNMENT: u64 = 64;
/// The length of the header, and of a record's metadata.
pub(super) const METADATA_LEN: usize = 64;
const VERSION: u32 = 2;
const SENTINEL: u32 = 0xdead_beef;

/// The numbers that stand for element types in weight files.
const DATA_TYPES: [(DataType, u32); 14] = [
    (DataType::Fp16, 1),
    (DataType::Fp32, 2),
    (DataType::UInt8, 3),
    (DataType::Int8, 4),
    (DataType::Int16, 6),
    (DataType::UInt16, 7),
    (DataType::Int4, 8),
    (DataType::UInt1, 9),
    (DataType::UInt2, 10),
    (DataType::UInt4, 11),
    (DataType::UInt3, 12),
    (DataType::UInt6, 13),
    (DataType::Int32, 14),
    (DataType::UInt32, 15),
];

/// Element types that weight files have and the IR has not.
const OTHER_DATA_TYPES: [(&str, u32); 3] = [("bf16", 5), ("fp8e4m3fn", 16), ("fp8e5m2", 17)];

/// The metadata of one blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Element type.
    pub dtype: DataType,
    /// Number of elements.
    pub elements: u64,
    /// Bytes of packed data.
    pub byte_len: u64,
    /// Where the metadata start; what a program refers to.
    pub offset: u64,
    /// Where the data start.
    pub data_offset: u64,
}

/// The next multiple of the alignment, or `None` on overflow.
pub(super) fn align(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

/// The number that stands for `dtype`, if blobs can have that type.
pub(super) fn number_of(dtype: DataType) -> Option<u32> {
    DATA_TYPES.iter().find(|(d, _)| *d == dtype).map(|(_, n)| *n)
}

/// The header of a file of `count` blobs.
pub(super) fn header(count: u32) -> [u8; METADATA_LEN] {
    let mut bytes = [0; METADATA_LEN];
    bytes[0..4].copy_from_slice(&count.to_le_bytes());
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// The number of blobs that a header announces.
pub(super) fn read_header(header: &[u8; METADATA_LEN], what: &str) -> Result<u32> {
    let version = u32_at(header, 4);
    if version == VERSION {
        return Ok(u32_at(header, 0));
    }
    Err(Error::unsupported(what, format!("storage version is {version}, expected {VERSION}")))
}

fn u32_at(bytes: &[u8; METADATA_LEN], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8; METADATA_LEN], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

impl Record {
    /// Bits in the last byte that belong to no element.
    fn padding_bits(&self) -> u64 {
        let used = u128::from(self.elements) * u128::from(self.dtype.bits());
        ((8 - used % 8) % 8) as u64
    }

    /// The metadata; `dtype_number` stands for the element type.
    pub(super) fn encode(&self, dtype_number: u32) -> [u8; METADATA_LEN] {
        let mut bytes = [0; METADATA_LEN];
        bytes[0..4].copy_from_slice(&SENTINEL.to_le_bytes());
        bytes[4..8].copy_from_slice(&dtype_number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.byte_len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.data_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.padding_bits().to_le_bytes());
        bytes
    }

    /// The record with metadata `bytes` at `offset`; whether its data are in the file is not checked here.
    ///
    /// Bytes 32 to 64 are not looked at: older writers left them undefined.
    pub(super) fn decode(bytes: &[u8; METADATA_LEN], offset: u64) -> Result<Record, BadRecord> {
        let sentinel = u32_at(bytes, 0);
        if sentinel != SENTINEL {
            return Err(BadRecord::malformed(format!(
                "sentinel is {sentinel:#010x}, expected {SENTINEL:#010x}"
            )));
        }
        let dtype = dtype_of(u32_at(bytes, 4))?;
        let (byte_len, data_offset) = (u64_at(bytes, 8), u64_at(bytes, 16));
        let elements = element_count(dtype, byte_len, u64_at(bytes, 24))?;
        if !data_offset.is_multiple_of(ALIGNMENT) {
            let problem = format!("data start at {data_offset:#x}, expected a multiple of {ALIGNMENT}");
            return Err(BadRecord::malformed(problem));
        }
        // Data that lie before their metadata would also lead a walk over the records round in circles.
        if offset.checked_add(METADATA_LEN as u64).is_none_or(|behind| data_offset < behind) {
            let problem = format!("data start at {data_offset:#x}, expected behind the blob's metadata");
            return Err(BadRecord::malformed(problem));
        }
        Ok(Record { dtype, elements, byte_len, offset, data_offset })
    }
}

/// What is wrong with a record; the caller knows in which file.
#[derive(Debug)]
pub(super) struct BadRecord {
    unsupported: bool,
    problem: String,
}

impl BadRecord {
    pub(super) fn malformed(problem: String) -> BadRecord {
        BadRecord { unsupported: false, problem }
    }

    pub(super) fn into_error(self, what: String) -> Error {
        if self.unsupported {
            Error::unsupported(what, self.problem)
        } else {
            Error::malformed(what, self.problem)
        }
    }
}

fn dtype_of(number: u32) -> Result<DataType, BadRecord> {
    if let Some((dtype, _)) = DATA_TYPES.iter().find(|(_, n)| *n == number) {
        return Ok(*dtype);
    }
    match OTHER_DATA_TYPES.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => Err(BadRecord { unsupported: true, problem: format!("element type {name}") }),
        None => Err(BadRecord::malformed(format!("element type number {number} does not exist"))),
    }
}

/// The number of elements in `byte_len` bytes of which the last `padding` bits are unused.
fn element_count(dtype: DataType, byte_len: u64, padding: u64) -> Result<u64, BadRecord> {
    let bits = u64::from(dtype.bits());
    if bits >= 8 {
        // Types of whole bytes have no padding, and before iOS 18 that field was undefined.
        let width = bits / 8;
        if byte_len.is_multiple_of(width) {
            return Ok(byte_len / width);
        }
        let problem = format!("size is {byte_len} bytes, expected a multiple of {width} for {dtype}");
        return Err(BadRecord::malformed(problem));
    }
    let used = byte_len.checked_mul(8).and_then(|total| total.checked_sub(padding));
    match used {
        Some(used) if padding < 8 && used.is_multiple_of(bits) => Ok(used / bits),
        _ => Err(BadRecord::malformed(format!(
            "{padding} bits of padding in {byte_len} bytes of {dtype}, expected fewer than 8 after whole elements"
        ))),
    }
}
