//! Digests of contents, by which files and weights are known again.
//!
//! XXH3 with 128 bits: it keeps pace with memory on every machine, where a cryptographic hash may be slower than the
//! disk. So it tells contents that happen to differ, and not what somebody made to look alike; where that matters,
//! compare bytes.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The digest of some bytes. Prints as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest(u128);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(xxh3_128(bytes))
    }

    /// As bytes, the most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Makes the digest of bytes that come in pieces; how they are cut makes no difference.
#[derive(Clone, Default)]
pub struct Digester(Xxh3);

impl Digester {
    /// A digester that has seen nothing.
    pub fn new() -> Digester {
        Digester::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken in.
    pub fn digest(&self) -> Digest {
        Digest(self.0.digest128())
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Digester").field(&self.digest()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_no_difference() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
        for piece in [1, 7, 256, 1024, 4999] {
            let mut digester = Digester::new();
            bytes.chunks(piece).for_each(|piece| digester.update(piece));
            assert_eq!(digester.digest(), Digest::of(&bytes), "{piece}");
        }
    }

    /// The value that the definition of XXH3 gives for no bytes: records must be readable on another machine.
    #[test]
    fn it_is_the_published_hash() {
        assert_eq!(Digest::of(b"").to_string(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(Digest::of(b"").to_bytes()[..2], [0x99, 0xaa]);
    }
}
