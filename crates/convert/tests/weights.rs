//! The plan of the weights and the file that follows from it, read back by independent code.

#[allow(dead_code, reason = "each test binary uses a part of the fixture")]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anelith_convert::kmeans::KMeans;
use anelith_convert::{Component, ComponentReport, Options, Plan, Silent, WeightReport, Written as Done};
use anelith_mil::blob::WeightStore;
use anelith_mil::digest::Digest;
use anelith_mil::package::weights_path;
use anelith_mil::{Data, Function, Model, Op, Opcode, Operand, Value};
use half::f16;
use serde_json::json;

use fixture::{FAMILIES, Synthetic, Watch, Written};

/// The blobs of a function: offsets by the name of the op that holds them, and of the parameter or attribute.
fn blobs(function: &Function) -> BTreeMap<String, u64> {
    let mut blobs = BTreeMap::new();
    for op in &function.ops {
        let attributes = op.attributes.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in attributes.chain(literals(op)) {
            if let Data::Blob(blob) = &value.data {
                blobs.insert(format!("{} {name}", op.name()), blob.offset);
            }
        }
    }
    blobs
}

fn literals(op: &Op) -> impl Iterator<Item = (&str, &Value)> {
    op.operands().filter_map(|(name, operand)| match operand {
        Operand::Value(value) => Some((name, value)),
        Operand::Var(_) => None,
    })
}

#[test]
fn both_functions_name_the_same_blobs() {
    for family in FAMILIES {
        let written = Synthetic::tiny(family).with(json!({ "vocab_size": 400 })).weights().write();
        for lut in ["none", "4"] {
            let checkpoint = written.open();
            let plan = Plan::new(&checkpoint, &written.options(lut), &Silent).expect("a plan");
            let [infer, prefill] = [&plan.infer, &plan.prefill].map(|m| blobs(&m.program.functions[0]));
            for (name, offset) in &prefill {
                assert_eq!(infer.get(name), Some(offset), "{family} {lut}: {name}");
            }
            let only_infer: Vec<&String> = infer.keys().filter(|n| !prefill.contains_key(*n)).collect();
            assert!(only_infer.iter().all(|n| n.starts_with("lm_head")), "{only_infer:?}");
            let planned: BTreeSet<u64> = plan.weights.layout().entries().map(|r| r.offset).collect();
            assert_eq!(infer.values().copied().collect::<BTreeSet<u64>>(), planned, "{family} {lut}");
            assert_eq!(infer.len(), planned.len(), "no blob has two names");
        }
    }
}

/// The value that the op called `name` states, in the program of the inference function.
fn constant<'m>(model: &'m Model, name: &str) -> &'m Value {
    let op = model.program.functions[0].ops.iter().find(|op| op.name() == name);
    op.and_then(|op| op.attributes.get("val")).unwrap_or_else(|| panic!("no constant {name}"))
}

#[test]
fn fewer_than_ten_values_stand_in_the_program() {
    for (head_dim, in_program) in [(8, true), (10, false)] {
        let model = Synthetic::tiny("qwen3").with(json!({ "head_dim": head_dim })).weights();
        let written = model.write();
        let checkpoint = written.open();
        let plan = Plan::new(&checkpoint, &written.options("4"), &Silent).expect("a plan");
        let value = constant(&plan.infer, "model_layers_1_self_attn_q_norm_weight");
        assert_eq!(!matches!(value.data, Data::Blob(_)), in_program, "{head_dim}");
        let (_, expected) = &model.tensors["model.layers.1.self_attn.q_norm.weight"];
        if in_program {
            assert_eq!(value.as_f32s().as_ref(), Some(expected));
        }
    }
}

/// What happens to a model whose tensors `change` has changed: the error, or the warnings.
fn planned(model: &Synthetic, change: impl FnOnce(&mut Synthetic)) -> Result<Vec<String>, String> {
    let mut model = model.clone().weights();
    change(&mut model);
    let written = model.write();
    let watch = Watch::default();
    match Plan::new(&written.open(), &written.options("none"), &watch) {
        Ok(_) => Ok(watch.warnings()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn tensors_that_nothing_asks_for() {
    let untied = Synthetic::tiny("llama");
    let add = |name: &'static str| {
        move |m: &mut Synthetic| {
            m.tensors.insert(name.to_owned(), (vec![4], vec![1.0; 4]));
        }
    };
    for name in ["model.layers.0.self_attn.q_proj.bias", "model.layers.2.input_layernorm.weight", "x"] {
        let refusal = Err(format!("tensor `{name}` is unknown to the family llama"));
        assert_eq!(planned(&untied, add(name)), refusal);
    }
    assert_eq!(planned(&untied, add("model.layers.0.self_attn.rotary_emb.inv_freq")), Ok(Vec::new()));

    let tied = Synthetic::tiny("qwen3").with(json!({ "tie_word_embeddings": true }));
    let warning = Ok(vec![
        "lm_head.weight differs from the embedding and is ignored: config.json ties the LM head to the embedding"
            .to_owned(),
    ]);
    let copy = |m: &mut Synthetic| {
        let embedding = m.tensors["model.embed_tokens.weight"].clone();
        m.tensors.insert("lm_head.weight".into(), embedding);
    };
    let last_differs = |m: &mut Synthetic| {
        let (shape, mut values) = m.tensors["model.embed_tokens.weight"].clone();
        *values.last_mut().expect("values") += 1.0;
        m.tensors.insert("lm_head.weight".into(), (shape, values));
    };
    assert_eq!(planned(&tied, copy), Ok(Vec::new()));
    assert_eq!(planned(&tied, last_differs), warning);
    assert_eq!(planned(&tied, add("lm_head.weight")), warning, "another shape");
}

/// A model large enough to be palettized, converted: what went in, the program, its blobs, and the report.
struct Converted {
    model: Synthetic,
    written: Written,
}

impl Converted {
    fn new(fields: serde_json::Value) -> Converted {
        let model = Synthetic::tiny("llama").with(fields).weights();
        Converted { written: model.write(), model }
    }

    /// Writes the weights, and hands out everything.
    fn with(&self, lut: &str, look: impl FnOnce(&Plan<'_>, &WeightStore, &WeightReport)) {
        self.with_head(lut, "", look);
    }

    /// As `with`, with a setting of its own for the LM head unless that is empty.
    fn with_head(&self, lut: &str, lmhead: &str, look: impl FnOnce(&Plan<'_>, &WeightStore, &WeightReport)) {
        let checkpoint = self.written.open();
        let lut_lmhead = (!lmhead.is_empty()).then(|| lmhead.parse().expect("a lut"));
        let options = Options { lut_lmhead, ..self.written.options(lut) };
        let plan = Plan::new(&checkpoint, &options, &Silent).expect("a plan");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = weights_path(dir.path());
        let weights = path.parent().expect("a parent");
        std::fs::create_dir_all(weights).expect("a directory");
        let Done { report, file, .. } = plan.weights.write(&path, &Silent).expect("a weight file");
        assert_eq!(file, Digest::of(&std::fs::read(&path).expect("the file")));
        let root = weights.parent().unwrap_or(Path::new("."));
        let store = WeightStore::open(root, &plan.infer.program).expect("weights");
        look(&plan, &store, &report);
    }
}

const LARGE: fn() -> serde_json::Value =
    || json!({ "hidden_size": 64, "intermediate_size": 72, "vocab_size": 345 });

/// A palettized tensor read back: groups of (table, indices).
struct Palettized {
    name: String,
    groups: Vec<(Vec<f64>, Vec<usize>)>,
}

/// Reads every palettized tensor by the definition of the format, sharing no code with the converter.
fn palettized(plan: &Plan<'_>, store: &WeightStore) -> Vec<Palettized> {
    let read = |op: &Op, parameter: &str| {
        let (_, value) = literals(op).find(|(name, _)| *name == parameter).expect("a literal");
        let Data::Blob(blob) = &value.data else { panic!("{parameter} is in the program") };
        let ty = value.ty.as_tensor().expect("a tensor");
        let bytes = store.bytes(blob, ty).expect("data").to_vec();
        (ty.fixed_shape().expect("a shape"), ty.dtype.bits(), bytes)
    };
    let decode = |op: &Op| {
        let (shape, bits, packed) = read(op, "indices");
        let (lut_shape, _, lut) = read(op, "lut");
        let bit = |i: usize| usize::from(packed[i / 8] >> (i % 8) & 1);
        let width = bits as usize;
        let index = |i: usize| (0..width).map(|b| bit(i * width + b) << b).sum::<usize>();
        let count = shape.iter().product::<u64>() as usize;
        let indices: Vec<usize> = (0..count).map(index).collect();
        let entry = |b: &[u8]| f64::from(f16::from_le_bytes([b[0], b[1]]));
        let table: Vec<f64> = lut.chunks(2).map(entry).collect();
        let groups = lut_shape[0] as usize;
        assert_eq!(table.len(), groups << bits);
        let tables = table.chunks(1 << bits).map(<[f64]>::to_vec);
        let groups = tables.zip(indices.chunks(count / groups).map(<[usize]>::to_vec)).collect();
        Palettized { name: op.name().trim_end_matches("_palettized").to_owned(), groups }
    };
    let ops = plan.infer.program.functions[0].ops.iter();
    ops.filter(|op| op.kind.is(Opcode::ConstexprLutToDense)).map(decode).collect()
}

/// The checkpoint's values of a palettized tensor.
fn original(model: &Synthetic, plan: &Plan<'_>, name: &str) -> Vec<f64> {
    let values = |tensor: &str| model.tensors[tensor].1.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    if let Some(split) = name.strip_prefix("lm_head8_") {
        let number: usize = split.trim_end_matches("_weight").parse().expect("a number");
        let split = plan.head[number - 1];
        let columns = model.tensors["lm_head.weight"].0[1];
        let (first, rows) = (split.first as usize * columns, split.rows as usize * columns);
        return values("lm_head.weight")[first..first + rows].to_vec();
    }
    let tensor = model.tensors.keys().find(|t| t.replace('.', "_") == name);
    values(tensor.unwrap_or_else(|| panic!("no tensor behind {name}")))
}

fn component(name: &str) -> Component {
    match name {
        _ if name.starts_with("lm_head") => Component::LmHead,
        _ if name.contains("embed_tokens") => Component::Embeddings,
        _ => Component::Layers,
    }
}

#[test]
fn the_report_states_the_error_of_what_was_written() {
    let converted = Converted::new(LARGE());
    for lut in ["1", "2,t", "3,4", "4", "6,16", "8"] {
        converted.with(lut, |plan, store, report| {
            let mut sums: BTreeMap<Component, (Vec<f64>, f64)> = BTreeMap::new();
            for tensor in palettized(plan, store) {
                let weights = original(&converted.model, plan, &tensor.name);
                let decoded = tensor.groups.iter().flat_map(|(table, is)| is.iter().map(|i| table[*i]));
                let (all, error) = sums.entry(component(&tensor.name)).or_default();
                *error += weights.iter().zip(decoded).map(|(w, d)| (w - d).powi(2)).sum::<f64>();
                all.extend(weights);
            }
            for (component, (weights, error)) in sums {
                let mean = weights.iter().sum::<f64>() / weights.len() as f64;
                let deviation: f64 = weights.iter().map(|w| (w - mean).powi(2)).sum();
                let row = row(report, component);
                let stated = row.decibels.unwrap_or(f64::NEG_INFINITY);
                let expected = 10.0 * (error / deviation).log10();
                assert!(
                    // The report rounds to thousandths of a decibel.
                    (stated - expected).abs() < 5.001e-4 || stated == expected,
                    "{lut} {component:?}: {stated} dB, expected {expected}"
                );
            }
        });
    }
}

fn row(report: &WeightReport, component: Component) -> &ComponentReport {
    let mut rows = report.components.iter().filter(|c| c.component == component && c.bits.is_some());
    rows.next().unwrap_or_else(|| panic!("no row of {component:?}"))
}

/// The least squared error of `values` about the means of `clusters` runs, by the plain programme.
fn least_error(values: &[f64], clusters: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let prefix = |f: fn(f64) -> f64| -> Vec<f64> {
        let sums = sorted.iter().scan(0.0, |sum, v| {
            *sum += f(*v);
            Some(*sum)
        });
        std::iter::once(0.0).chain(sums).collect()
    };
    let (sums, squares) = (prefix(|v| v), prefix(|v| v * v));
    let cost = |from: usize, to: usize| {
        let sum: f64 = sums[to] - sums[from];
        squares[to] - squares[from] - sum * sum / (to - from) as f64
    };
    let n = sorted.len();
    let mut best: Vec<f64> = (0..=n).map(|to| if to == 0 { 0.0 } else { cost(0, to) }).collect();
    for _ in 1..clusters {
        best = (0..=n)
            .map(|to| (0..to).map(|from| best[from] + cost(from, to)).fold(best[to], f64::min))
            .collect();
    }
    best[n]
}

#[test]
fn every_group_is_clustered_as_well_as_can_be() {
    let converted = Converted::new(LARGE());
    for (lut, clusters) in [("2,4", 4), ("3,4", 8), ("4,4", 16)] {
        converted.with(lut, |plan, store, _| {
            for tensor in palettized(plan, store).iter().step_by(5) {
                let weights = original(&converted.model, plan, &tensor.name);
                let size = weights.len() / tensor.groups.len();
                for (group, (table, indices)) in weights.chunks(size).zip(&tensor.groups) {
                    let squared = |(w, i): (&f64, &usize)| (w - table[*i]).powi(2);
                    let error: f64 = group.iter().zip(indices).map(squared).sum();
                    // Means are rounded to fp16, which costs at most half of its last digit, squared.
                    let largest = group.iter().fold(0f64, |m, w| m.max(w.abs()));
                    let rounding = size as f64 * (largest / 2048.0).powi(2);
                    let least = least_error(group, clusters);
                    assert!(error <= least + rounding, "{lut} {}: {error}, not {least}", tensor.name);
                    assert!(error >= least * (1.0 - 1e-9), "{lut} {}: the yardstick is wrong", tensor.name);
                }
            }
        });
    }
}

#[test]
fn small_tensors_stay_fp16_and_odd_ones_get_smaller_groups() {
    // k_proj [8, 256] has 2048 elements, q_proj [16, 256] more; 345 = 3 * 5 * 23 rows of the embedding.
    let fields = json!({ "hidden_size": 256, "intermediate_size": 9, "vocab_size": 345 });
    let converted = Converted::new(fields);
    converted.with("4,16", |plan, store, report| {
        let names: Vec<String> = palettized(plan, store).into_iter().map(|t| t.name).collect();
        let has = |name: &str| names.iter().any(|n| n == name);
        assert!(has("model_layers_0_self_attn_q_proj_weight"));
        assert!(!has("model_layers_0_self_attn_k_proj_weight"));
        let small: Vec<_> = report.small.iter().map(|s| (s.component, s.tensors)).collect();
        assert_eq!(small[0].0, Component::Layers, "k_proj and v_proj of each layer: {small:?}");
        assert_eq!(small[0].1 % 2, 0, "{small:?}");
        assert!(constant(&plan.infer, "model_layers_0_input_layernorm_weight").is_well_formed());
        let regrouped: BTreeMap<&str, (u64, u64, u64)> =
            report.regrouped.iter().map(|r| (r.name.as_str(), (r.rows, r.used, r.wanted))).collect();
        assert_eq!(regrouped["model.embed_tokens.weight"], (345, 15, 16));
        assert_eq!(regrouped["model.layers.0.mlp.up_proj.weight"], (9, 9, 16));
        // 345 = 21 units of 16 and 9 rows: units 3, 3, 3, 3, 3, 2, 2, 2, and the last run has the rest.
        let rows: Vec<u64> = plan.head.iter().map(|s| s.rows).collect();
        assert_eq!(rows, [48, 48, 48, 48, 48, 32, 32, 41]);
        assert_eq!(regrouped["lm_head8_8.weight"], (41, 1, 16));
        assert!(!regrouped.contains_key("model.layers.0.self_attn.q_proj.weight"));
        let head = row(report, Component::LmHead);
        assert_eq!((head.bits, head.group, head.per_tensor), (Some(4), None, false), "groups of 16 and of 1");
        assert_eq!(head.bytes_before, 2 * 345 * 256);
        let tables = (48 * 5 + 32 * 2) / 16 + 41;
        assert_eq!(head.bytes_after, 345 * 256 / 2 + tables * 16 * 2);
    });
}

#[test]
fn a_weight_that_is_not_finite_stops_the_write() {
    for value in [f32::NAN, f32::INFINITY, 70_000.0] {
        let mut model = Synthetic::tiny("llama").weights();
        let (_, values) = model.tensors.get_mut("model.layers.1.mlp.up_proj.weight").expect("a tensor");
        values[17] = value;
        let written = model.write();
        let checkpoint = written.open();
        let plan = Plan::new(&checkpoint, &written.options("none"), &Silent).expect("a plan");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = plan.weights.write(&dir.path().join("weight.bin"), &Silent).expect_err("a refusal");
        assert!(error.to_string().contains("`model.layers.1.mlp.up_proj.weight`"), "{error}");
    }
}

/// How layers, embedding and LM head come out of `--lut`, `--lut-embeddings` and `--lut-lmhead`: bits and rows of a
/// table, 0 for all of them; and how many rows the first split of the head has.
type Case<'a> = ([&'a str; 3], [Option<(u32, u64)>; 3], u64);

/// Of a vocabulary of 40 tokens for each split of the head; the layers have 32, 64 or 96 rows.
const CASES: &[Case<'static>] = &[
    (["4", "", ""], [Some((4, 8)), Some((4, 8)), Some((4, 8))], 40),
    (["4,1", "", ""], [Some((4, 1)), Some((4, 1)), Some((4, 1))], 40),
    (["4,32", "", ""], [Some((4, 32)), Some((4, 32)), Some((4, 32))], 64),
    (["6,16", "none", ""], [Some((6, 16)), None, Some((6, 16))], 48),
    (["6,16", "", "No"], [Some((6, 16)), Some((6, 16)), None], 40),
    (["4", "8,t", "2,32"], [Some((4, 8)), Some((8, 0)), Some((2, 32))], 64),
    (["none", "4", ""], [None, Some((4, 8)), None], 40),
    (["none", "", "3,0"], [None, None, Some((3, 0))], 40),
    (["1,32", "none", "false"], [Some((1, 32)), None, None], 40),
];

#[test]
fn each_component_has_its_own_bits_and_groups() {
    let sizes = json!({ "hidden_size": 64, "intermediate_size": 96, "head_dim": 32 });
    for family in FAMILIES {
        for tied in [false, true] {
            let vocabulary = if family == "llama" { 320 } else { 640 };
            let own = json!({ "vocab_size": vocabulary, "tie_word_embeddings": tied });
            let model = Synthetic::tiny(family).with(sizes.clone()).with(own);
            let written = model.weights().write();
            for case in CASES {
                check_case(&written, family, case);
            }
        }
    }
}

fn check_case(written: &Written, family: &str, (luts, expected, head): &Case<'_>) {
    let own = |text: &str| (!text.is_empty()).then(|| text.parse().expect("a lut"));
    let options =
        Options { lut_embeddings: own(luts[1]), lut_lmhead: own(luts[2]), ..written.options(luts[0]) };
    let checkpoint = written.open();
    let plan = Plan::new(&checkpoint, &options, &Silent).expect("a plan");
    assert_eq!(plan.head[0].rows, *head, "{family} {luts:?}");
    let mut found = BTreeMap::new();
    for op in &plan.infer.program.functions[0].ops {
        if !op.kind.is(Opcode::ConstexprLutToDense) {
            continue;
        }
        let types: BTreeMap<&str, _> =
            literals(op).map(|(name, value)| (name, value.ty.as_tensor().expect("a tensor"))).collect();
        let (indices, lut) = (types["indices"], types["lut"]);
        let (shape, tables) = (indices.fixed_shape().expect("fixed"), lut.fixed_shape().expect("fixed"));
        let bits = indices.dtype.bits();
        // [rows, columns, 1, 1] has tables [groups, 1, 1, 1, entries, 1].
        let mut wanted = vec![1; shape.len() + 2];
        (wanted[0], wanted[shape.len()]) = (tables[0], 1 << bits);
        assert_eq!(tables, wanted, "{family} {luts:?} {}", op.name());
        let component = component(op.name());
        let group = if tables[0] == 1 { 0 } else { shape[0] / tables[0] };
        // k_proj has as many rows as the widest group.
        let is_whole = group == 0 && shape[0] == 32;
        let first: &mut (u32, u64) = found.entry(component).or_insert((bits, group));
        assert!(*first == (bits, group) || is_whole, "{family} {luts:?} {}: {group}", op.name());
    }
    let components = [Component::Layers, Component::Embeddings, Component::LmHead];
    for (component, expected) in components.iter().zip(expected) {
        assert_eq!(found.get(component), expected.as_ref(), "{family} {luts:?} {component:?}");
    }
}

/// A tied matrix is clustered once; its second copy must be what clustering it again would have given.
#[test]
fn a_tied_head_is_stored_as_one_of_its_own_would_be() {
    for (lut, lmhead) in [
        ("none", ""),
        ("1", ""),
        ("2,4", ""),
        ("3", ""),
        ("4,t", ""),
        ("6,16", ""),
        ("8", ""),
        ("4", "4,4"),
        ("4,16", "4"),
        ("4", "6"),
        ("6", "none"),
        ("none", "4"),
    ] {
        let sizes = json!({ "vocab_size": 345, "hidden_size": 64 });
        let mut model = Synthetic::tiny("qwen3").with(sizes).weights();
        let embedding = model.tensors["model.embed_tokens.weight"].clone();
        model.tensors.insert("lm_head.weight".into(), embedding);
        let write = |tied: bool| {
            let model = model.clone().with(json!({ "tie_word_embeddings": tied }));
            let converted = Converted { written: model.write(), model };
            let mut written = None;
            converted.with_head(lut, lmhead, |plan, store, report| {
                let bytes = |r: anelith_mil::blob::Record| {
                    store
                        .files()
                        .flat_map(|(_, file)| file.data(&r).expect("data").to_vec())
                        .collect::<Vec<u8>>()
                };
                let records = plan.weights.layout().entries().copied();
                written = Some((records.map(bytes).collect::<Vec<_>>(), report.clone()));
            });
            written.expect("a report")
        };
        let (tied, own) = (write(true), write(false));
        assert!(tied.0 == own.0, "{lut} {lmhead}: other bytes");
        assert_eq!(tied.1, own.1, "{lut} {lmhead}");
    }
}

/// Groups are read twice, piece by piece, where they are larger than a piece; they are clustered as whole groups.
#[test]
fn a_group_may_be_larger_than_a_piece() {
    let sizes = json!({ "vocab_size": 70_003, "hidden_size": 32 });
    let converted = Converted::new(sizes);
    for lut in ["3,t", "4,70003"] {
        converted.with(lut, |plan, store, _| {
            let tensors = palettized(plan, store);
            let embedding =
                tensors.iter().find(|t| t.name == "model_embed_tokens_weight").expect("it is large");
            let (table, indices) = &embedding.groups[0];
            let weights = original(&converted.model, plan, &embedding.name);
            let halves: Vec<f16> = weights.iter().map(|w| f16::from_f64(*w)).collect();
            assert!(halves.len() > 1 << 21);
            let bits = if lut == "3,t" { 3 } else { 4 };
            let expected = KMeans::new(bits).cluster(&halves).expect("finite weights");
            assert_eq!(*table, expected.table.iter().map(|e| e.to_f64()).collect::<Vec<_>>(), "{lut}");
            assert!(indices.iter().zip(&expected.indices).all(|(i, e)| *i == usize::from(*e)), "{lut}");
        });
    }
}

/// The digest of the source is the same however the weights are cut, copied or left in the program, and another one
/// when a weight is.
#[test]
fn the_source_is_known_by_its_weights() {
    let model = Synthetic::tiny("qwen3").with(json!({ "vocab_size": 345, "hidden_size": 64 })).weights();
    let source = |model: &Synthetic, lut: &str| {
        let written = model.write();
        let checkpoint = written.open();
        let plan = Plan::new(&checkpoint, &written.options(lut), &Silent).expect("a plan");
        let dir = tempfile::tempdir().expect("a temporary folder");
        plan.weights.write(&dir.path().join("weight.bin"), &Silent).expect("a weight file").source
    };
    for tied in [false, true] {
        let model = model.clone().with(json!({ "tie_word_embeddings": tied })).weights();
        let plain = source(&model, "none");
        for lut in ["1,1", "3,5", "4", "6,t"] {
            assert_eq!(source(&model, lut), plain, "{lut}");
        }
        let names: Vec<String> = model.tensors.keys().cloned().collect();
        for name in names {
            let mut other = model.clone();
            let (_, values) = other.tensors.get_mut(&name).expect("a tensor");
            *values.last_mut().expect("values") += 0.5;
            assert_ne!(source(&other, "4"), plain, "{name}");
        }
    }
}
