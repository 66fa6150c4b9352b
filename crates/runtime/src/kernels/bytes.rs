//! Bytes of a weight, of a mapped file or owned.

use std::ops::Deref;
use std::sync::Arc;

use anelith_mil::blob::SharedBytes;

/// The bytes of a weight.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// Of a weight file, which stays mapped.
    Mapped(SharedBytes),
    /// In memory.
    Owned(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}
