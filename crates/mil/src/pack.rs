//! Sub-byte packing of blob tensors: unsigned 1, 2, 3, 4 and 6 bit elements
//! and `int4`, as `weight.bin` stores them.
//!
//! Element `i` occupies bits `[i*n, i*n + n)` of a bit stream that fills every
//! byte from its least significant bit; 3 and 6 bit elements straddle bytes.
//! Eight elements are always `n` whole bytes, so the work is done eight
//! elements at a time through one `u64`.

/// Number of bytes that `count` elements of `bits` bits take, the last byte
/// padded; `None` when that number does not fit.
#[must_use]
pub fn packed_len(count: u64, bits: u32) -> Option<u64> {
    Some(count.checked_mul(u64::from(bits))?.div_ceil(8))
}

/// Number of unused high bits in the last byte of `count` packed elements
/// (0 to 7), the `padding_size_in_bits` of a blob record.
#[must_use]
pub fn padding_bits(count: u64, bits: u32) -> u64 {
    // Whole groups of eight elements leave no padding, so they do not count.
    (8 - (count % 8) * u64::from(bits) % 8) % 8
}

/// Packs one element per byte of `values` into `bits` bits each.
///
/// The low `bits` bits of each value are stored, which is also the two's
/// complement of an `i8` cast to `u8`. Padding bits are zero.
///
/// # Panics
/// When `bits` is none of 1, 2, 3, 4, 6, 8.
#[must_use]
pub fn pack(values: &[u8], bits: u32) -> Vec<u8> {
    let mut packed = Vec::new();
    pack_into(&mut packed, values, bits);
    packed
}

/// Appends the packed form of `values` to `packed`, as [`pack`] does.
///
/// To pack one tensor in several calls, every call but the last must bring a
/// multiple of eight values: each call starts at a whole byte.
///
/// # Panics
/// When `bits` is none of 1, 2, 3, 4, 6, 8.
pub fn pack_into(packed: &mut Vec<u8>, values: &[u8], bits: u32) {
    match bits {
        1 => append::<1>(packed, values),
        2 => append::<2>(packed, values),
        3 => append::<3>(packed, values),
        4 => append::<4>(packed, values),
        6 => append::<6>(packed, values),
        8 => packed.extend_from_slice(values),
        _ => panic!("cannot pack elements of {bits} bits: expected 1, 2, 3, 4, 6 or 8"),
    }
}

/// Unpacks `count` elements of `bits` bits, one byte each.
///
/// `None` when `bits` is none of 1, 2, 3, 4, 6, 8 or when `bytes` is not
/// exactly [`packed_len`] long. Padding bits are ignored. Nothing is allocated
/// before the length is known to be right.
#[must_use]
pub fn unpack(bytes: &[u8], bits: u32, count: u64) -> Option<Vec<u8>> {
    if u64::try_from(bytes.len()).ok()? != packed_len(count, bits)? {
        return None;
    }
    let count = usize::try_from(count).ok()?;
    match bits {
        1 => Some(expand::<1>(bytes, count)),
        2 => Some(expand::<2>(bytes, count)),
        3 => Some(expand::<3>(bytes, count)),
        4 => Some(expand::<4>(bytes, count)),
        6 => Some(expand::<6>(bytes, count)),
        8 => Some(bytes.to_vec()),
        _ => None,
    }
}

/// Unpacks `count` signed 4 bit elements (-8 to 7); `None` as in [`unpack`].
#[must_use]
pub fn unpack_int4(bytes: &[u8], count: u64) -> Option<Vec<i8>> {
    let values = unpack(bytes, 4, count)?;
    Some(values.into_iter().map(|v| ((v << 4) as i8) >> 4).collect())
}

/// Packs eight values into the low `8 * BITS` bits.
#[inline(always)]
fn join<const BITS: usize>(eight: &[u8; 8]) -> u64 {
    let mask = (1u64 << BITS) - 1;
    let element = |i: usize| (u64::from(eight[i]) & mask) << (i * BITS);
    (0..8).fold(0, |word, i| word | element(i))
}

/// The inverse of [`join`].
#[inline(always)]
fn split<const BITS: usize>(word: u64) -> [u8; 8] {
    let mask = (1u64 << BITS) - 1;
    std::array::from_fn(|i| ((word >> (i * BITS)) & mask) as u8)
}

fn append<const BITS: usize>(packed: &mut Vec<u8>, values: &[u8]) {
    let start = packed.len();
    packed.resize(start + (values.len() * BITS).div_ceil(8), 0);
    let (eights, rest) = values.as_chunks::<8>();
    let (whole, last) = packed[start..].split_at_mut(eights.len() * BITS);
    for (bytes, eight) in whole.chunks_exact_mut(BITS).zip(eights) {
        bytes.copy_from_slice(&join::<BITS>(eight).to_le_bytes()[..BITS]);
    }
    let mut eight = [0; 8];
    eight[..rest.len()].copy_from_slice(rest);
    let length = last.len();
    last.copy_from_slice(&join::<BITS>(&eight).to_le_bytes()[..length]);
}

fn expand<const BITS: usize>(bytes: &[u8], count: usize) -> Vec<u8> {
    let mut values = vec![0; count];
    let (eights, rest) = values.as_chunks_mut::<8>();
    let (whole, last) = bytes.split_at(eights.len() * BITS);
    for (eight, bytes) in eights.iter_mut().zip(whole.chunks_exact(BITS)) {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(bytes);
        *eight = split::<BITS>(u64::from_le_bytes(word));
    }
    let mut word = [0; 8];
    word[..last.len()].copy_from_slice(last);
    let length = rest.len();
    rest.copy_from_slice(&split::<BITS>(u64::from_le_bytes(word))[..length]);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [u32; 6] = [1, 2, 3, 4, 6, 8];

    /// Bytes and paddings written by Apple's own storage writer.
    #[test]
    fn packs_as_apple_does() {
        let cases: [(u32, &[u8], &[u8], u64); 6] = [
            (1, &[1, 0, 1, 1, 0, 0, 0, 0, 1], &[0x0d, 0x01], 7),
            (2, &[0, 1, 2, 3, 1], &[0xe4, 0x01], 6),
            (3, &[1, 2, 3, 4, 5], &[0xd1, 0x58], 1),
            (4, &[1, 2, 3, 10, 15], &[0x21, 0xa3, 0x0f], 4),
            (6, &[1, 2, 3, 63, 33], &[0x81, 0x30, 0xfc, 0x21], 2),
            (8, &[7, 255], &[7, 255], 0),
        ];
        for (bits, values, bytes, padding) in cases {
            let count = values.len() as u64;
            assert_eq!(pack(values, bits), bytes, "{bits} bits");
            assert_eq!(unpack(bytes, bits, count).as_deref(), Some(values));
            assert_eq!(padding_bits(count, bits), padding, "{bits} bits");
            assert_eq!(packed_len(count, bits), Some(bytes.len() as u64));
        }
    }

    #[test]
    fn packs_int4_as_apple_does() {
        let values = [-8i8, 7, -1];
        assert_eq!(pack(&values.map(|v| v as u8), 4), [0x78, 0x0f]);
        assert_eq!(unpack_int4(&[0x78, 0x0f], 3), Some(values.to_vec()));
        assert_eq!(unpack_int4(&[0x78, 0x0f], 5), None);
    }

    /// Against the definition, one bit at a time.
    #[test]
    fn packs_every_length_bit_by_bit() {
        for bits in WIDTHS {
            for count in 0..70u64 {
                let values: Vec<u8> = (0..count)
                    .map(|i| ((i * 2_654_435_761) >> 7) as u8 & (0xffu16 >> (8 - bits)) as u8)
                    .collect();
                let packed = pack(&values, bits);
                for bit in 0..packed.len() * 8 {
                    let (element, at) = (bit / bits as usize, bit % bits as usize);
                    let expected = values.get(element).map_or(0, |v| (v >> at) & 1);
                    assert_eq!((packed[bit / 8] >> (bit % 8)) & 1, expected, "{bits}, {count}");
                }
                assert_eq!(unpack(&packed, bits, count), Some(values));
            }
        }
    }

    #[test]
    fn appends_in_pieces_of_eight() {
        let values: Vec<u8> = (0..29).map(|i| i % 2).collect();
        for bits in WIDTHS {
            let mut packed = Vec::new();
            pack_into(&mut packed, &values[..16], bits);
            pack_into(&mut packed, &values[16..], bits);
            assert_eq!(packed, pack(&values, bits), "{bits} bits");
        }
    }

    #[test]
    fn refuses_what_cannot_be_unpacked() {
        assert_eq!(unpack(&[0, 0], 3, 6), None, "one byte short");
        assert_eq!(unpack(&[0, 0, 0, 0], 3, 6), None, "one byte too many");
        assert_eq!(unpack(&[0; 5], 5, 8), None, "5 bits");
        assert_eq!(unpack(&[], 0, 0), None, "0 bits");
        assert_eq!(unpack(&[0], 4, u64::MAX), None, "more than memory holds");
        assert_eq!(packed_len(u64::MAX, 2), None);
        assert_eq!(padding_bits(u64::MAX, 3), 3);
    }
}
