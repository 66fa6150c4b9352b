//! What a package says of itself: the `com.anemll.*` keys that ANEMLL's consumers read.

use std::collections::BTreeMap;

use anelith_checkpoint::Config;
use anelith_mil::Metadata;

use crate::head::HeadSplit;
use crate::options::Options;

/// The version of anelith, part of every package and of the record of each step.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

fn base(part: &str, options: &Options) -> Metadata {
    let converted = format!("Converted with anelith v{VERSION}");
    let mut user_defined = BTreeMap::from([
        ("com.anemll.info".to_owned(), converted.clone()),
        ("com.anemll.context_length".to_owned(), options.context.to_string()),
    ]);
    if let Some(bits) = options.lut.bits() {
        user_defined.insert("com.anemll.lut_bits".to_owned(), bits.to_string());
    }
    Metadata {
        short_description: format!("Anemll Model Part {part} converted to CoreML"),
        version: VERSION.to_owned(),
        author: converted,
        license: String::new(),
        user_defined,
    }
}

/// The metadata of the inference package.
pub(crate) fn infer(options: &Options, config: &Config, head: &[HeadSplit]) -> Metadata {
    let mut metadata = base("monolithic", options);
    let sizes: Vec<String> = head.iter().map(|s| s.rows.to_string()).collect();
    metadata.user_defined.extend([
        ("com.anemll.vocab_size".to_owned(), config.vocab_size.to_string()),
        ("com.anemll.lm_head_chunk_sizes".to_owned(), sizes.join(",")),
    ]);
    metadata
}

/// The metadata of the prefill package.
pub(crate) fn prefill(options: &Options) -> Metadata {
    let mut metadata = base("monolithic_prefill", options);
    metadata.user_defined.insert("com.anemll.batch_size".to_owned(), options.batch.to_string());
    metadata
}
