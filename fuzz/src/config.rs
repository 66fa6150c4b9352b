//! `config.json`: what is accepted can be computed with.

use std::path::Path;

use anelith_checkpoint::{Config, RopeScaling};

/// Reads `bytes` as the text of a config.
///
/// # Panics
/// When a config is accepted that breaks what `Config` promises.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(config) = Config::parse(text, Path::new("config.json")) else { return };
    check_promises(&config);
    let again = Config::parse(text, Path::new("config.json")).expect("it was accepted before");
    assert_eq!(config, again);
}

fn check_promises(config: &Config) {
    let sizes = [
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.vocab_size,
        config.max_position_embeddings,
        config.max_positions(),
    ];
    for a in sizes {
        assert!(a > 0, "{config:?}");
        assert!(sizes.iter().all(|b| a.checked_mul(*b).is_some()), "{config:?}");
    }
    assert_eq!(config.num_attention_heads % config.num_key_value_heads, 0);
    assert_eq!(config.head_dim % 2, 0);
    assert_ne!(config.sliding_window, Some(0));
    assert!(config.rms_norm_eps > 0.0 && config.rms_norm_eps.is_finite());
    assert!(config.rope.theta > 0.0 && config.rope.theta.is_finite());
    match &config.rope.scaling {
        RopeScaling::Linear { factor, .. } | RopeScaling::Dynamic { factor } => assert!(*factor >= 1.0),
        RopeScaling::Llama3 { low_freq_factor, high_freq_factor, factor, .. } => {
            assert!(*factor >= 1.0 && *low_freq_factor > 0.0 && high_freq_factor > low_freq_factor);
        }
        RopeScaling::Yarn(yarn) => assert!(yarn.factor >= 1.0 && yarn.beta_fast > yarn.beta_slow),
        _ => {}
    }
    assert!(config.warnings.iter().all(|line| !line.contains('\n')), "{:?}", config.warnings);
}
