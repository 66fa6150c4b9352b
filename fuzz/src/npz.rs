//! Token ids in an `.npz` file: so many as are asked for, and the same however many that is.

use anelith_verify::Tokens;

use crate::scratch;

/// The most ids that are asked for.
const LIMIT: usize = 1000;

/// Reads `bytes` as a file of token ids, stored or compressed.
///
/// # Panics
/// When more ids come than were asked for, fewer than two, or others when fewer are asked for.
pub fn check(bytes: &[u8]) {
    let path = scratch::write("ids.npz", bytes);
    let Ok(all) = Tokens::of_npz(&path, LIMIT) else { return };
    assert!((2..=LIMIT).contains(&all.ids().len()));
    let half = all.ids().len().div_ceil(2).max(2);
    let beginning = Tokens::of_npz(&path, half).expect("its beginning was read before");
    assert_eq!(beginning.ids(), &all.ids()[..half]);
}
