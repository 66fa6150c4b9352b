//! Where the bytes of a weight are.

use std::ops::Deref;
use std::sync::Arc;

/// Bytes of a weight; a clone shares them.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// Bytes in memory of this process.
    Owned(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
        }
    }
}
