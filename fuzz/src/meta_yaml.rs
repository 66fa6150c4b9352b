//! `meta.yaml`: what is accepted is a model that `chat` can ask for.

use anelith_chat::Meta;

use crate::scratch;

/// Reads `bytes` as the file that describes a converted model.
///
/// # Panics
/// When numbers are accepted that contradict each other.
pub fn check(bytes: &[u8]) {
    let path = scratch::write("meta.yaml", bytes);
    let Ok(meta) = Meta::open(&path) else { return };
    assert!((1..=meta.context_length).contains(&meta.batch_size));
    assert!(meta.split_lm_head > 0);
    assert!(!meta.monolithic_model.is_empty());
    let sizes = &meta.lm_head_chunk_sizes;
    assert!(sizes.is_empty() || sizes.len() == meta.split_lm_head);
    if let (Some(vocab), false) = (meta.vocab_size, sizes.is_empty()) {
        assert_eq!(sizes.iter().sum::<usize>(), vocab);
    }
    let _ = meta.model_path();
}
