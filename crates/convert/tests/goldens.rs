//! The programs and `meta.yaml` of tiny models, as text. `BLESS=1` writes them anew; the diff is the review.

#[allow(dead_code, reason = "each test binary uses a part of the fixture")]
mod fixture;

use std::path::Path;

use anelith_convert::{Options, Pipeline, Plan, Selection, Silent, Step};
use anelith_mil::text::{self, Dialect};

use fixture::{FAMILIES, Synthetic};

const BLESS: &str = "if this is intended, run `BLESS=1 cargo test -p anelith-convert --test goldens` \
                     and review the diff of crates/convert/tests/golden";

/// Holds `found` against the golden file `name`.
fn check(name: &str, found: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, found).expect("a file");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let pairs = golden.lines().zip(found.lines()).enumerate();
    if let Some((i, (golden, found))) = pairs.into_iter().find(|(_, (golden, found))| golden != found) {
        panic!("{name}:{}: differs\n  golden: {golden}\n  found:  {found}\n{BLESS}", i + 1);
    }
    let (old, new) = (golden.lines().count(), found.lines().count());
    assert!(golden == found, "{name}: {new} lines, the golden has {old}\n{BLESS}");
}

#[test]
fn the_programs_of_each_family() {
    for family in FAMILIES {
        let written = Synthetic::tiny(family).weights().write();
        let checkpoint = written.open();
        let plan = Plan::new(&checkpoint, &written.options("none"), &Silent).expect("a plan");
        for (part, model) in [("infer", &plan.infer), ("prefill", &plan.prefill)] {
            let mut text = text::print(&model.program, Dialect::V1_3);
            text.push('\n');
            check(&format!("{family}.{part}.mil"), &text);
        }
    }
}

#[test]
fn meta_yaml() {
    let own = |embeddings: &str, lmhead: &str, argmax| {
        let lut = |text: &str| (!text.is_empty()).then(|| text.parse().expect("a lut"));
        (lut(embeddings), lut(lmhead), argmax)
    };
    for (golden, family, lut, prefix, (lut_embeddings, lut_lmhead, argmax)) in [
        ("llama", "llama", "none", None, own("", "", false)),
        ("qwen2", "qwen2", "4", None, own("4,8", "4", false)),
        ("qwen3", "qwen3", "6,4", Some("p"), own("", "", false)),
        ("llama.own", "llama", "none", None, own("8", "no", false)),
        ("qwen2.own", "qwen2", "4,16", None, own("none", "6,tensor", true)),
        ("qwen3.own", "qwen3", "4,t", None, own("4", "4,0", true)),
    ] {
        let mut model = Synthetic::tiny(family).weights();
        model.files.insert("README.md".into(), b"---\nlicense: apache-2.0\n---\n".to_vec());
        let generation = br#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95}"#;
        model.files.insert("generation_config.json".into(), generation.to_vec());
        let written = model.write_as("Tiny-1B");
        let prefix = prefix.map(str::to_owned);
        let options = Options { prefix, lut_embeddings, lut_lmhead, argmax, ..written.options(lut) };
        let checkpoint = written.open();
        let pipeline = Pipeline::new(&checkpoint, &options, &Silent).expect("a pipeline");
        pipeline.run(Selection::only(Step::Describe.number()), &Silent).expect("a step");
        let path = pipeline.outputs().path(Step::Describe);
        check(&format!("{golden}.meta.yaml"), &std::fs::read_to_string(path).expect("a file"));
    }
}
