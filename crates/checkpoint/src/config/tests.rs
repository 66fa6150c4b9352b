//! Real configs pass, broken ones are named, and rotary frequencies equal numbers computed apart from this code.

use std::path::PathBuf;

use anelith_report::Reported;

use super::*;
use crate::ErrorKind;

/// A folder below `../shared`, or `None` (said in one line) where there is none.
fn shared(relative: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var_os("ANELITH_REQUIRE_SHARED").is_some();
    assert!(!required, "../shared/{relative} is absent");
    println!("skipped: ../shared/{relative} is absent");
    None
}

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("model/config.json"))
}

const TINY: &str = r#""hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "num_hidden_layers": 2, "intermediate_size": 96, "vocab_size": 100, "max_position_embeddings": 40960"#;

/// A sound config of `family`, in which `more` adds or (as the last of two equal keys wins) replaces fields.
fn tiny(family: &str, more: &str) -> Result<Config> {
    let comma = if more.is_empty() { "" } else { "," };
    parse(&format!("{{\"model_type\": \"{family}\", {TINY}{comma} {more}}}"))
}

fn rope(more: &str) -> Rope {
    tiny("llama", more).unwrap().rope
}

#[test]
fn real_configs_pass_with_a_warning_per_ignored_field() {
    use Architecture::{Llama, Qwen2, Qwen3};
    let cases = [
        ("data/tokenizers/deepseek-r1-distill-llama", Llama, (128, 32, 8), 131_072, 0),
        ("data/tokenizers/qwen3", Qwen3, (128, 16, 8), 40_960, 0),
        ("data/tokenizers/smollm2", Llama, (64, 9, 3), 8192, 2),
        ("data/tokenizers/tinyllama", Llama, (64, 32, 4), 2048, 0),
        ("data/stories260K", Llama, (8, 8, 4), 512, 0),
        ("demo-model/demo-qwen3", Qwen3, (32, 4, 2), 1024, 0),
        ("reference/checkpoints/llama", Llama, (32, 4, 2), 2048, 0),
        ("reference/checkpoints/llama-plain", Llama, (32, 4, 2), 2048, 0),
        ("reference/checkpoints/qwen2.5", Qwen2, (32, 4, 2), 2048, 0),
        ("reference/checkpoints/qwen3", Qwen3, (32, 4, 2), 2048, 0),
        ("reference/checkpoints/qwen3-tied", Qwen3, (32, 4, 2), 2048, 0),
    ];
    for (folder, architecture, (dim, heads, kv), positions, warnings) in cases {
        let Some(dir) = shared(folder) else { return };
        let config = Config::read(&dir).unwrap_or_else(|e| panic!("{folder}: {e}"));
        assert_eq!(config.architecture, architecture, "{folder}");
        assert_eq!(config.head_dim, dim, "{folder}");
        assert_eq!(config.num_attention_heads, heads, "{folder}");
        assert_eq!(config.num_key_value_heads, kv, "{folder}");
        assert_eq!(config.max_positions(), positions, "{folder}");
        assert_eq!(config.warnings.len(), warnings, "{folder}: {:?}", config.warnings);
        assert_eq!(config.sliding_window, None, "{folder}");
        assert!(!config.attention_bias && !config.mlp_bias, "{folder}");
    }
}

#[test]
fn gemma3_is_refused_by_name() {
    let Some(dir) = shared("reference/checkpoints/gemma3") else {
        return;
    };
    let error = Config::read(&dir).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Unknown architecture `gemma3_text` in config.json; supported: llama, qwen2, qwen3"
    );
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn absent_keys_take_the_defaults_of_their_class() {
    let llama = parse(r#"{"architectures": ["LlamaForCausalLM"]}"#).unwrap();
    assert_eq!(llama.architecture, Architecture::Llama);
    assert_eq!((llama.head_dim, llama.num_key_value_heads), (128, 32));
    assert_eq!((llama.rms_norm_eps, llama.rope.theta), (1e-6, 10_000.0));
    assert!(!llama.tie_word_embeddings);

    // head_dim 128 whatever the width: 64 / 4 would be 16.
    let text = r#"{"model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": null}"#;
    let qwen3 = parse(text).unwrap();
    assert_eq!((qwen3.head_dim, qwen3.num_key_value_heads), (128, 4));
    let qwen2 = parse(&text.replace("qwen3", "qwen2")).unwrap();
    assert_eq!(qwen2.head_dim, 16);
}

#[test]
fn fields_count_only_where_their_class_reads_them() {
    let biased = r#""attention_bias": true, "mlp_bias": true"#;
    let llama = tiny("llama", biased).unwrap();
    assert!(llama.attention_bias && llama.mlp_bias && llama.warnings.is_empty());
    let qwen3 = tiny("qwen3", biased).unwrap();
    assert!(qwen3.attention_bias && !qwen3.mlp_bias);
    assert_eq!(qwen3.warnings.len(), 1);
    let qwen2 = tiny("qwen2", biased).unwrap();
    assert!(!qwen2.attention_bias && !qwen2.mlp_bias);
    assert_eq!(qwen2.warnings.len(), 2);

    let windowed = r#""use_sliding_window": true, "sliding_window": 256"#;
    assert_eq!(tiny("qwen2", windowed).unwrap().sliding_window, Some(256));
    assert_eq!(tiny("llama", windowed).unwrap().sliding_window, None);
    let class_default = r#""use_sliding_window": true"#;
    assert_eq!(tiny("qwen3", class_default).unwrap().sliding_window, Some(4096));
    let unused = r#""use_sliding_window": false, "sliding_window": 256"#;
    assert_eq!(tiny("qwen3", unused).unwrap().sliding_window, None);
    let null = r#""use_sliding_window": true, "sliding_window": null"#;
    assert_eq!(tiny("qwen2", null).unwrap().sliding_window, None);
}

#[test]
fn layer_types_are_held_against_the_window() {
    let full = r#""layer_types": ["full_attention", "full_attention"]"#;
    let sliding = r#""layer_types": ["full_attention", "sliding_attention"]"#;
    let window = r#""use_sliding_window": true, "sliding_window": 256"#;
    for family in ["qwen2", "qwen3"] {
        assert_eq!(tiny(family, full).unwrap().warnings, Vec::<String>::new());
        let both = tiny(family, &format!("{sliding}, {window}")).unwrap();
        assert_eq!((both.sliding_window, both.warnings.len()), (Some(256), 0));
        let no_window = format!("{sliding}, \"use_sliding_window\": true, \"sliding_window\": null");
        for without in [sliding, &no_window] {
            let error = tiny(family, without).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("`layer_types` \"sliding_attention\""), "{error}");
        }
        let other = tiny(family, r#""layer_types": ["linear_attention"]"#).unwrap_err();
        assert!(other.to_string().contains("\"linear_attention\" is not supported"), "{other}");
    }
    // No version of the class reads it.
    assert_eq!(tiny("llama", sliding).unwrap().warnings.len(), 1);
}

#[test]
fn the_config_of_a_deepseek_distill_of_qwen_passes() {
    let config = parse(
        r#"{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
            "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21,
            "model_type": "qwen2", "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": false,
            "torch_dtype": "bfloat16", "transformers_version": "4.44.0", "use_cache": true, "use_mrope": false,
            "use_sliding_window": false, "vocab_size": 151936}"#,
    )
    .unwrap();
    assert_eq!((config.head_dim, config.max_positions(), config.sliding_window), (128, 131_072, None));
    assert!(!config.tie_word_embeddings);
    assert_eq!(config.warnings, ["config.json: `use_mrope` is ignored; Qwen2ForCausalLM does not read it"]);
}

#[test]
fn fields_without_effect_pass_in_silence() {
    let silent = r#""pretraining_tp": 4, "head_dim": null, "hidden_act": "swish", "tie_word_embeddings": null,
        "rope_scaling": {"type": "default"}, "torchscript": true, "attribute_map": {}, "pruned_heads": {},
        "text_config": null, "quantization_config": null, "attention_bias": null"#;
    let config = tiny("llama", silent).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!((config.head_dim, config.tie_word_embeddings), (16, false));
    assert_eq!(config.rope.scaling, RopeScaling::Default);
}

/// Warnings are lines: a name must not end one and begin another.
#[test]
fn names_in_warnings_are_one_line() {
    let long = "k".repeat(100_000);
    let more = format!(
        r#""architectures": ["A\n\u001b[31m"], "x\ny": 1, "{long}": 1,
        "rope_scaling": {{"rope_type": "default", "z\r\n": 1}}"#
    );
    let warnings = tiny("qwen3", &more).unwrap().warnings;
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    for line in warnings {
        assert!(line.len() < 250 && !line.contains(char::is_control), "{line:?}");
    }
}

/// A length that overflows when it is multiplied by a size is none.
#[test]
fn no_factor_makes_more_positions_than_can_be_counted() {
    let long = tiny("qwen3", r#""rope_scaling": {"rope_type": "yarn", "factor": 3e16}"#).unwrap();
    assert_eq!(long.max_positions(), i32::MAX as usize);
}

#[test]
fn broken_fields_are_refused_by_name() {
    use ErrorKind::{Malformed, Unsupported};
    let cases = [
        ("llama", r#""num_attention_heads": 0"#, Malformed, "`num_attention_heads` is 0"),
        ("llama", r#""num_key_value_heads": 3"#, Malformed, "a divisor of `num_attention_heads` (4)"),
        ("llama", r#""num_hidden_layers": -1"#, Malformed, "`num_hidden_layers` is -1"),
        ("llama", r#""hidden_size": 1e30"#, Malformed, "`hidden_size`"),
        ("llama", r#""hidden_size": 18446744073709551615"#, Malformed, "`hidden_size`"),
        ("llama", r#""hidden_size": null"#, Malformed, "`hidden_size` is null"),
        ("llama", r#""vocab_size": "100""#, Malformed, "`vocab_size` is \"100\""),
        ("llama", r#""head_dim": 15"#, Malformed, "an even number"),
        ("qwen3", r#""head_dim": null"#, Malformed, "`head_dim` is null"),
        ("llama", r#""rms_norm_eps": 0"#, Malformed, "`rms_norm_eps`"),
        ("llama", r#""rms_norm_eps": -1e-6"#, Malformed, "`rms_norm_eps`"),
        ("llama", r#""rope_theta": 1e300"#, Malformed, "`rope_theta`"),
        ("llama", r#""tie_word_embeddings": "yes""#, Malformed, "true or false"),
        ("llama", r#""architectures": 3"#, Malformed, "`architectures`"),
        ("llama", r#""hidden_act": "gelu""#, Unsupported, "`hidden_act` \"gelu\""),
        ("llama", r#""partial_rotary_factor": 0.5"#, Unsupported, "`partial_rotary_factor`"),
        ("llama", r#""is_encoder_decoder": true"#, Unsupported, "`is_encoder_decoder`"),
        ("llama", r#""pruned_heads": {"0": [1]}"#, Unsupported, "`pruned_heads`"),
        ("llama", r#""hidden_act": null"#, Unsupported, "`hidden_act` null"),
        ("llama", r#""attribute_map": {"hidden_size": "vocab_size"}"#, Unsupported, "`attribute_map`"),
        ("llama", r#""text_config": {}"#, Unsupported, "`text_config`"),
        ("qwen2", r#""text_encoder": {}"#, Unsupported, "`text_encoder`"),
        ("llama", r#""decoder": {}"#, Unsupported, "`decoder`"),
        ("llama", r#""quantization_config": {"quant_method": "gptq", "bits": 4}"#, Unsupported, "`gptq`"),
        ("llama", r#""rope_scaling": {"rope_type": "longrope"}"#, Unsupported, "rope type `longrope`"),
        ("qwen2", r#""rope_scaling": {"type": "mrope"}"#, Unsupported, "rope type `mrope`"),
        ("qwen2", r#""quantization_config": {"quant_method": "awq"}"#, Unsupported, "`awq`"),
        ("llama", r#""rope_scaling": 8"#, Malformed, "`rope_scaling`"),
        ("llama", r#""rope_scaling": {}"#, Malformed, "`rope_scaling.rope_type`"),
        ("llama", r#""rope_scaling": {"type": "su"}"#, Unsupported, "rope type `su`"),
        ("llama", r#""rope_scaling": {"type": "linear"}"#, Malformed, "`rope_scaling.factor`"),
        ("llama", r#""rope_scaling": {"type": "linear", "factor": 0.5}"#, Malformed, "at least 1"),
        (
            "llama",
            r#""rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2}"#,
            Malformed,
            "disagree",
        ),
        ("llama", r#""rope_scaling": {"type": "llama3", "factor": 8}"#, Malformed, "low_freq_factor"),
        (
            "llama",
            r#""rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}"#,
            Malformed,
            "more than `low_freq_factor` (4)",
        ),
        ("llama", r#""rope_scaling": {"type": "yarn"}"#, Malformed, "`rope_scaling.factor`"),
        (
            "llama",
            r#""rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 2}"#,
            Malformed,
            "`rope_scaling.beta_fast`",
        ),
        ("llama", r#""rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}"#, Malformed, "disagree"),
        (
            "llama",
            r#""rope_parameters": {"full_attention": {"rope_type": "default"}}"#,
            Unsupported,
            "per layer type",
        ),
    ];
    for (family, more, kind, named) in cases {
        let error = match tiny(family, more) {
            Err(error) => error,
            Ok(_) => panic!("{more} was accepted"),
        };
        assert_eq!(error.kind(), kind, "{more}: {error}");
        assert!(error.to_string().contains(named), "{more}: {error}");
        assert_eq!(error.location(), Some("model/config.json"), "{more}");
    }
}

#[test]
fn what_is_not_a_config_is_refused() {
    let cases = [
        ("", "not valid JSON", "model/config.json:1:0"),
        ("{\n \"a\": NaN}", "not valid JSON", "model/config.json:2:7"),
        ("[]", "not a JSON object", "model/config.json"),
        ("{}", "names no architecture", "model/config.json"),
        (r#"{"model_type": 3}"#, "`model_type` is 3", "model/config.json"),
        (r#"{"model_type": "phi3"}"#, "Unknown architecture `phi3` in config.json", "model/config.json"),
        (r#"{"architectures": ["Phi3ForCausalLM"]}"#, "`Phi3ForCausalLM`", "model/config.json"),
    ];
    for (text, named, location) in cases {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains(named), "{text}: {error}");
        assert_eq!(error.location(), Some(location), "{text}");
    }
    let wrapper = parse(r#"{"model_type": "gemma3", "text_config": {}}"#).unwrap_err();
    assert!(wrapper.mend().is_some_and(|m| m.contains("`text_config`")));
    let nested = "[".repeat(100_000);
    assert_eq!(parse(&nested).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_head_that_is_not_a_language_model_is_warned_of() {
    let config = tiny("llama", r#""architectures": ["LlamaForSequenceClassification"]"#).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("LlamaForSequenceClassification"));
}

/// The frequencies at some indices, against values computed in f64 by another program.
fn assert_frequencies(rope: &Rope, head_dim: usize, expected: &[(usize, f64)]) {
    let found = rope.inverse_frequencies(head_dim);
    assert_eq!(found.len(), head_dim / 2);
    for &(index, value) in expected {
        let error = (f64::from(found[index]) - value).abs() / value;
        assert!(error < 1e-6, "{index}: {} against {value}", found[index]);
    }
}

#[test]
fn default_linear_and_dynamic_frequencies() {
    let plain = [(0, 1.0), (1, 10_f64.powf(-0.5)), (7, 10_f64.powf(-3.5))];
    let linear = plain.map(|(i, f)| (i, f / 2.5));
    assert_frequencies(&rope(""), 16, &plain);
    let dynamic = rope(r#""rope_scaling": {"type": "dynamic", "factor": 4}"#);
    assert_frequencies(&dynamic, 16, &plain);
    assert_eq!(dynamic.max_positions(1000), 1000);
    let stretched = rope(r#""rope_parameters": {"rope_type": "linear", "factor": 2.5}"#);
    assert_frequencies(&stretched, 16, &linear);
    assert_eq!(stretched.max_positions(40_960), 102_400);
    assert_eq!(stretched.attention_scaling(), 1.0);
}

#[test]
fn llama3_frequencies_below_within_and_above_the_smooth_band() {
    let llama31 = rope(
        r#""rope_parameters": {"rope_type": "llama3", "rope_theta": 500000, "factor": 8, "low_freq_factor": 1,
            "high_freq_factor": 4, "original_max_position_embeddings": 8192}"#,
    );
    let expected = [
        (0, 1.0),
        (28, 0.003_211_446_106_433_868_4),
        (29, 0.002_166_570_451_785_201_3),
        (31, 0.000_856_751_463_908_073_2),
        (34, 0.000_178_507_802_407_572_09),
        (35, 9.556_212_899_042_293e-5),
        (63, 3.068_925_877_869_333e-7),
    ];
    assert_frequencies(&llama31, 128, &expected);
    assert_eq!(llama31.max_positions(131_072), 131_072);
    assert_eq!(llama31.attention_scaling(), 1.0);
}

#[test]
fn yarn_frequencies_scaling_and_length() {
    let scaling = |more: &str| {
        rope(&format!(
            r#""rope_theta": 1000000, "rope_scaling": {{"rope_type": "yarn", "factor": 4.0,
            "original_max_position_embeddings": 32768 {more}}}"#
        ))
    };
    let yarn = scaling("");
    let ends = [(0, 1.0), (23, 0.006_978_305_848_598_663), (63, 3.102_344_401_879_299e-7)];
    assert_frequencies(&yarn, 128, &ends);
    let ramp =
        [(24, 0.005_375_321_490_790_102), (30, 0.001_064_360_981_247_001_7), (39, 6.490_394_320_837_029e-5)];
    assert_frequencies(&yarn, 128, &ramp);
    // A field of later versions, which must change nothing.
    assert_frequencies(&scaling(r#", "truncate": false"#), 128, &ramp);

    let cases = [
        ("", 1.138_629_436_111_989),
        (r#", "attention_factor": 1.5"#, 1.5),
        (r#", "mscale": 0.707, "mscale_all_dim": 1.0"#, 0.964_326_914_892_074),
        (r#", "mscale": 0.707, "mscale_all_dim": 0"#, 1.138_629_436_111_989),
    ];
    for (more, expected) in cases {
        let found = f64::from(scaling(more).attention_scaling());
        assert!((found - expected).abs() < 1e-6, "{more}: {found}");
    }
    assert_eq!(yarn.max_positions(40_960), 131_072);
}

#[test]
fn an_explicit_yarn_factor_wins_over_the_ratio_of_lengths_and_that_is_said() {
    let explicit = tiny(
        "qwen3",
        r#""rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "foo": 1}"#,
    )
    .unwrap();
    assert!(matches!(&explicit.rope.scaling, RopeScaling::Yarn(yarn) if yarn.factor == 4.0));
    assert_eq!(explicit.warnings.len(), 2, "{:?}", explicit.warnings);
    let derived = rope(r#""rope_scaling": {"type": "yarn", "original_max_position_embeddings": 32768}"#);
    assert!(matches!(&derived.scaling, RopeScaling::Yarn(yarn) if yarn.factor == 1.25));
}
