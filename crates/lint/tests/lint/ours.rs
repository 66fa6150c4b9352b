//! What this workspace converts breaks no rule but those whose findings are notes.

use anelith_checkpoint::Checkpoint;
use anelith_convert::{Options, Pipeline, Plan, Selection, Silent, Step};
use anelith_lint::{Finding, Severity, Target, lint};
use anelith_mil::blob::WeightStore;
use anelith_mil::{Model, read_model};
use serde_json::{Value, json};

use crate::fixture::{FAMILIES, Synthetic, Written};

/// A model whose heads have 32 numbers, as the Neural Engine wants it; no released model has less.
fn checkpoint(family: &str, fields: Value) -> Written {
    Synthetic::tiny(family).with(json!({ "head_dim": 32 })).with(fields).weights().write()
}

/// What is worse than a note, on every target.
fn faults(model: &Model, files: Option<&WeightStore>) -> Vec<Finding> {
    let options = anelith_lint::Options { targets: Target::ALL.to_vec(), ..Default::default() };
    let findings = lint(model, files, &options);
    findings.into_iter().filter(|finding| finding.rule.severity > Severity::Note).collect()
}

fn assert_clean(checkpoint: &Checkpoint, options: &Options, what: &str) {
    let plan = Plan::new(checkpoint, options, &Silent).expect("a plan");
    for model in [&plan.infer, &plan.prefill] {
        assert_eq!(faults(model, None), [], "{what}");
    }
}

#[test]
fn all_families_and_options_are_clean() {
    for family in FAMILIES {
        let written = checkpoint(family, json!({}));
        let opened = written.open();
        for lut in ["none", "4", "4,16", "6,0", "8"] {
            let base = written.options(lut);
            for options in [
                base.clone(),
                Options { argmax: true, ..base.clone() },
                Options { lut_embeddings: Some("none".parse().expect("a lut")), ..base.clone() },
                Options { lut_lmhead: Some("8,0".parse().expect("a lut")), ..base.clone() },
                Options { context: 300, batch: 1, ..base.clone() },
                Options { context: 2048, batch: 64, ..base },
            ] {
                assert_clean(&opened, &options, &format!("{family}, {options:?}"));
            }
        }
    }
}

#[test]
fn all_forms_of_models_are_clean() {
    let yarn = json!({ "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 2048 });
    for (family, fields) in [
        ("llama", json!({ "attention_bias": true, "mlp_bias": true })),
        ("llama", json!({ "tie_word_embeddings": true })),
        // Ids beyond 16 bits, and splits of the LM head that are palettized in groups.
        ("qwen2", json!({ "vocab_size": 70_000 })),
        ("qwen3", json!({ "vocab_size": 40_000, "tie_word_embeddings": true })),
        ("qwen3", json!({ "rope_scaling": yarn, "max_position_embeddings": 4096 })),
    ] {
        let written = checkpoint(family, fields.clone());
        let options = written.options("4");
        for argmax in [false, true] {
            let options = Options { argmax, ..options.clone() };
            assert_clean(&written.open(), &options, &format!("{family}, {fields}"));
        }
    }
}

#[test]
fn packages_and_bundles_are_clean_with_their_weights() {
    for family in FAMILIES {
        let written = checkpoint(family, json!({}));
        let opened = written.open();
        let pipeline = Pipeline::new(&opened, &written.options("4"), &Silent).expect("a pipeline");
        let outcome = pipeline.run(Selection::needed(), &Silent).expect("a conversion");
        for step in [Step::Infer, Step::Prefill, Step::Combine, Step::Compile] {
            let (model, root) = read_model(&outcome.outputs.path(step)).expect("a model");
            let files = WeightStore::open(&root, &model.program).expect("weights");
            assert_eq!(faults(&model, Some(&files)), [], "{family}, {step}");
        }
    }
}

/// Heads of 8 are what the Neural Engine fails on; that this is found shows that the tests above look at states.
#[test]
fn heads_that_are_too_small_are_found() {
    let written = Synthetic::tiny("llama").weights().write();
    let plan_of = written.open();
    let plan = Plan::new(&plan_of, &written.options("4"), &Silent).expect("a plan");
    let rules: Vec<&str> = faults(&plan.infer, None).iter().map(|finding| finding.rule.id).collect();
    assert_eq!(rules, ["state-alignment"]);
}
