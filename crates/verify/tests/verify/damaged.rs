//! Models damaged on purpose: the verification must name the block.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use anelith_mil::{Argument, Bundle, Data, Operand};
use anelith_verify::{Block, Gate, Scope, Verification, advice};
use serde_json::json;

use crate::model::{Model, Pair};
use crate::shared;

fn dropping(found: &Verification) -> Vec<Block> {
    found.blocks.iter().filter(|block| block.drops).map(|block| block.block).collect()
}

/// Writes `value` over the first entry of the lookup table of `weight`, in the bundle's own file.
fn damage_table(pair: &Pair, weight: &str, value: u16) {
    let (_, meta) = pair.open();
    let bundle = meta.model_path().unwrap();
    let opened = Bundle::open(&bundle).unwrap();
    let infer = opened.model.program.function("infer").unwrap();
    let op = infer.ops.iter().find(|op| op.inputs.contains_key("lut") && op.name().contains(weight)).unwrap();
    let lut = match op.inputs["lut"] {
        Argument::One(Operand::Value(ref value)) => value.clone(),
        Argument::One(Operand::Var(var)) => {
            let constant = infer.ops.iter().find(|op| op.outputs.contains(&var)).unwrap();
            constant.attributes["val"].clone()
        }
        _ => panic!("a table is one value"),
    };
    let Data::Blob(blob) = &lut.data else { panic!("a table is in the weight file") };
    let (_, file) = opened.weights.files().next().unwrap();
    let start = file.record(blob.offset).unwrap().data_offset;
    let path = bundle.join("weights/weight.bin");
    // The file is shared with the packages; a copy of its own keeps them whole.
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    file.write_all(&value.to_le_bytes()).unwrap();
}

/// 4.0 as fp16.
const FOUR: u16 = 0x4400;

#[test]
fn one_entry_of_a_table() {
    for (weight, block) in [
        ("model_layers_1_mlp_down_proj", Block::Mlp(1)),
        ("model_layers_2_self_attn_o_proj", Block::Attention(2)),
        ("model_embed_tokens", Block::Embedding),
    ] {
        let pair = Pair::whole("llama", "6");
        damage_table(&pair, weight, FOUR);
        let found = pair.verify(Scope::All).unwrap();
        assert_eq!(dropping(&found), [block], "{weight}: {:?}", found.blocks);
        assert!(advice(&found).unwrap().contains(&block.to_string()));
    }
}

#[test]
fn a_table_that_is_not_finite_is_found_where_it_is_used_first() {
    let pair = Pair::whole("qwen2", "6");
    damage_table(&pair, "model_layers_1_mlp_up_proj", 0x7c00);
    let found = pair.verify(Scope::Exact).unwrap();
    let first = found.saturation.first.as_ref().unwrap();
    assert_eq!((first.token, first.block), (0, Block::Mlp(1)));
    assert!(first.op.contains("model_layers_1_mlp_up_proj"), "{}", first.op);
    assert_eq!(found.main().kl_mean, f64::INFINITY);
    assert!(advice(&found).unwrap().contains("layer 1, MLP"));
}

#[test]
fn two_projections_exchanged() {
    let name = |projection: &str| format!("model.layers.2.self_attn.{projection}.weight");
    for lut in ["none", "4", "2"] {
        let whole = Model::new("qwen3");
        let swapped = whole.clone().swapped(&name("k_proj"), &name("v_proj"));
        let found = Pair::new(&whole, &swapped, lut).verify(Scope::All).unwrap();
        assert_eq!(dropping(&found), [Block::Attention(2)], "{lut}: {:?}", found.blocks);
    }
    let whole = Model::new("llama");
    let swapped =
        whole.clone().swapped("model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight");
    let found = Pair::new(&whole, &swapped, "none").verify(Scope::All).unwrap();
    assert_eq!(dropping(&found), [Block::Mlp(0)], "{:?}", found.blocks);
}

#[test]
fn a_wrong_rope_base() {
    let whole = Model::new("llama");
    let other = whole.clone().with("rope_theta", json!(20000.0));
    for lut in ["none", "8"] {
        let found = Pair::new(&whole, &other, lut).verify(Scope::All).unwrap();
        assert_eq!(
            found.first_drop().map(|b| b.block),
            Some(Block::Attention(0)),
            "{lut}: {:?}",
            found.blocks
        );
        assert!(dropping(&found).iter().all(|block| matches!(block, Block::Attention(_))));
    }
}

/// The LLaMA of another converter, whose rotation is known to be wrong; its Qwens are right.
#[test]
fn packages_of_another_tool() {
    for (name, drop) in [("llama", Some(Block::Attention(0))), ("qwen2.5", None), ("qwen3", None)] {
        for (folder, lut) in [(name.to_owned(), "_lut4"), (format!("{name}-fp16"), "")] {
            let Some(model) = shared(&format!("reference/checkpoints/{name}")) else { return };
            let Some(packages) = shared(&format!("reference/upstream/{folder}")) else { return };
            let package = fs::read_dir(&packages).unwrap().map(|entry| entry.unwrap().path());
            let package = package.into_iter().find(|path| path.to_string_lossy().contains("_full")).unwrap();
            let found = crate::of_another_tool(&model, &package, if name == "llama" { 8 } else { 16 });
            assert_eq!(found.first_drop().map(|b| b.block), drop, "{folder} {lut}: {:?}", found.blocks);
            assert_eq!(found.is_packed, lut == "_lut4");
            assert!(found.recorded.unwrap().kl_max < 1e-9 && found.agreement.agrees());
        }
    }
}

/// Scores are scaled by another number in `prefill` alone.
#[test]
fn a_prefill_that_is_not_the_infer() {
    let pair = Pair::whole("llama", "none");
    let (_, meta) = pair.open();
    let path = meta.model_path().unwrap().join("model.mil");
    let text = fs::read_to_string(&path).unwrap();
    let (infer, prefill) = text.split_at(text.find("func prefill").unwrap());
    assert!(prefill.contains("val = fp16(0x1p-2)"), "heads of 16 scale by a quarter");
    fs::write(&path, infer.to_owned() + &prefill.replace("val = fp16(0x1p-2)", "val = fp16(0x1p-1)"))
        .unwrap();
    let found = pair.verify(Scope::Exact).unwrap();
    assert!(!found.agreement.agrees(), "{:?}", found.agreement);
    assert!(found.first_drop().is_none() && found.main().kl_mean < 1e-4);
    assert!(advice(&found).unwrap().contains("prefill and infer disagree"));
    assert!(!Gate::parse_all("prefill_cache>0.02").unwrap()[0].judge(&found).passed);
}
