//! Sub-byte packing of blob tensors: unsigned 1, 2, 3, 4 and 6 bit elements
//! and `int4`, as `weight.bin` stores them.
//!
//! Element `i` occupies bits `[i*n, i*n + n)` of a bit stream that fills every
//! byte from its least significant bit; 3 and 6 bit elements straddle bytes.
//! Eight elements are always `n` whole bytes, so the work is done eight
//! elements at a time through one `u64`.

/// Packs one element per byte of `values` into `bits` bits each.
///
/// The low `bits` bits of each value are stored, which is also the two's
/// complement of an `i8` cast to `u8`. Padding bits are zero.
///
/// # Panics
/// When `bits` is none of 1, 2, 3, 4, 6, 8.
#[must_use]
pub fn pack(values: &[u8], bits: u32) -> Vec<u8> {
    match bits {
        1 => join_all::<1>(values),
        2 => join_all::<2>(values),
        3 => join_all::<3>(values),
        4 => join_all::<4>(values),
        6 => join_all::<6>(values),
        8 => values.to_vec(),
        _ => panic!("cannot pack elements of {bits} bits: expected 1, 2, 3, 4, 6 or 8"),
    }
}

/// Unpacks `count` elements of `bits` bits, one byte each.
///
/// `None` when `bits` is none of 1, 2, 3, 4, 6, 8 or when `bytes` is not
/// exactly as long as they take. Padding bits are ignored. Nothing is allocated
/// before the length is known to be right.
#[must_use]
pub fn unpack(bytes: &[u8], bits: u32, count: u64) -> Option<Vec<u8>> {
    if u64::try_from(bytes.len()).ok()? != packed_len(count, bits)? {
        return None;
    }
    let count = usize::try_from(count).ok()?;
    match bits {
        1 => Some(split_all::<1>(bytes, count)),
        2 => Some(split_all::<2>(bytes, count)),
        3 => Some(split_all::<3>(bytes, count)),
        4 => Some(split_all::<4>(bytes, count)),
        6 => Some(split_all::<6>(bytes, count)),
        8 => Some(bytes.to_vec()),
        _ => None,
    }
}

/// The bytes that `count` elements of `bits` bits take; `None` when that number does not fit.
fn packed_len(count: u64, bits: u32) -> Option<u64> {
    Some(count.checked_mul(u64::from(bits))?.div_ceil(8))
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

fn join_all<const BITS: usize>(values: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; (values.len() * BITS).div_ceil(8)];
    let (eights, rest) = values.as_chunks::<8>();
    let (whole, last) = packed.split_at_mut(eights.len() * BITS);
    for (bytes, eight) in whole.chunks_exact_mut(BITS).zip(eights) {
        bytes.copy_from_slice(&join::<BITS>(eight).to_le_bytes()[..BITS]);
    }
    let mut eight = [0; 8];
    eight[..rest.len()].copy_from_slice(rest);
    let length = last.len();
    last.copy_from_slice(&join::<BITS>(&eight).to_le_bytes()[..length]);
    packed
}

fn split_all<const BITS: usize>(bytes: &[u8], count: usize) -> Vec<u8> {
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

    /// Bytes written by Apple's own storage writer.
    #[test]
    fn packs_as_apple_does() {
        let cases: [(u32, &[u8], &[u8]); 6] = [
            (1, &[1, 0, 1, 1, 0, 0, 0, 0, 1], &[0x0d, 0x01]),
            (2, &[0, 1, 2, 3, 1], &[0xe4, 0x01]),
            (3, &[1, 2, 3, 4, 5], &[0xd1, 0x58]),
            (4, &[1, 2, 3, 10, 15], &[0x21, 0xa3, 0x0f]),
            (6, &[1, 2, 3, 63, 33], &[0x81, 0x30, 0xfc, 0x21]),
            (8, &[7, 255], &[7, 255]),
        ];
        for (bits, values, bytes) in cases {
            let count = values.len() as u64;
            assert_eq!(pack(values, bits), bytes, "{bits} bits");
            assert_eq!(unpack(bytes, bits, count).as_deref(), Some(values));
        }
    }

    #[test]
    fn packs_int4_as_apple_does() {
        let values = [-8i8, 7, -1];
        assert_eq!(pack(&values.map(|v| v as u8), 4), [0x78, 0x0f]);
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
    fn refuses_what_cannot_be_unpacked() {
        assert_eq!(unpack(&[0, 0], 3, 6), None, "one byte short");
        assert_eq!(unpack(&[0, 0, 0, 0], 3, 6), None, "one byte too many");
        assert_eq!(unpack(&[0; 5], 5, 8), None, "5 bits");
        assert_eq!(unpack(&[], 0, 0), None, "0 bits");
        assert_eq!(unpack(&[0], 4, u64::MAX), None, "more than memory holds");
    }
}
