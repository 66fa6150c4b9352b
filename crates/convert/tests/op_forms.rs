//! Nothing is emitted that upstream does not emit: every form of an op occurs in a package of upstream's, or stands
//! in a list with the reason; so do the interfaces of the functions.

#[allow(dead_code, reason = "each test binary uses a part of the fixture")]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anelith_checkpoint::Checkpoint;
use anelith_convert::{Options, Pipeline, Plan, Selection, Silent, Step};
use anelith_mil::package::Package;
use anelith_mil::{Argument, Feature, Function, Model, Op, Opcode, Operand, Type, VarId, proto};
use serde_json::json;

use fixture::{Synthetic, options, shared};

/// Forms that upstream does not emit, and why we do.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "gather(axis: const int32[0], batch_dims: const int32[0], indices: var int32[2], \
         validate_indices: const bool[0], x: const fp16[2]) -> fp16[3]",
        "vocabularies beyond int16; the recorded models have 512 tokens, and upstream's real ones this form",
    ),
    (
        "gather(axis: const int32[0], batch_dims: const int32[0], indices: var int32[1], \
         validate_indices: const bool[0], x: const fp16[3]) -> fp16[3]",
        "contexts beyond uint16, whose positions upstream would cut off",
    ),
];

/// Forms of the token that is picked in the model. No package with it was recorded; these are what coremltools 9.0
/// makes of upstream's `argmax`, `gather`, `cat` and two `squeeze`s.
const ARGMAX: [&str; 9] = [
    "reduce_argmax(axis: const int32[0], keep_dims: const bool[0], output_dtype: const string[0], x: var fp16[3]) \
     -> int32[3]",
    "cast(dtype: const string[0], x: var int32[3]) -> uint16[3]",
    "gather_along_axis(axis: const int32[0], indices: var uint16[3], validate_indices: const bool[0], \
     x: var fp16[3]) -> fp16[3]",
    "cast(dtype: const string[0], x: var int32[3]) -> int16[3]",
    "squeeze(axes: const int32[1], x: var int16[3]) -> int16[2]",
    "squeeze(axes: const int32[1], x: var int16[2]) -> int16[1]",
    "cast(dtype: const string[0], x: var int16[1]) -> int32[1]",
    "squeeze(axes: const int32[1], x: var fp16[3]) -> fp16[2]",
    "squeeze(axes: const int32[1], x: var fp16[2]) -> fp16[1]",
];

/// The same for splits of more tokens than int16 counts, whose places coremltools would cut off in part.
const WIDE_ARGMAX: [&str; 3] = [
    "gather_along_axis(axis: const int32[0], indices: var int32[3], validate_indices: const bool[0], \
     x: var fp16[3]) -> fp16[3]",
    "squeeze(axes: const int32[1], x: var int32[3]) -> int32[2]",
    "squeeze(axes: const int32[1], x: var int32[2]) -> int32[1]",
];

/// The exceptions, with the joining of places and values, whose form tells the number of splits.
fn exceptions() -> BTreeSet<String> {
    let joined = |dtype: &str, splits: usize| {
        let values = vec![format!("var {dtype}[3]"); splits].join(" + ");
        format!("concat(axis: const int32[0], interleave: const bool[0], values: {values}) -> {dtype}[3]")
    };
    let listed = EXCEPTIONS.iter().map(|(form, _)| *form).chain(ARGMAX).chain(WIDE_ARGMAX);
    let joins = ["int32", "fp16"].into_iter().flat_map(|dtype| [8, 16].map(|splits| joined(dtype, splits)));
    listed.map(str::to_owned).chain(joins).collect()
}

/// Widths of indices beside the 4 bits of the recorded packages; apart from the type they have the same form.
const OTHER_WIDTHS: [u32; 5] = [1, 2, 3, 6, 8];

/// The forms of all ops of a function.
fn forms(function: &Function) -> BTreeSet<String> {
    let mut makers: BTreeMap<VarId, &'static str> = BTreeMap::new();
    let mut forms = BTreeSet::new();
    for op in &function.ops {
        let maker = match () {
            () if op.kind.is(Opcode::Const) => "const",
            () if op.kind.is_constant() => "constexpr",
            () => "var",
        };
        makers.extend(op.outputs.iter().map(|id| (*id, maker)));
        if !op.kind.is(Opcode::Const) {
            forms.insert(form(function, op, &makers));
        }
    }
    forms
}

/// `matmul(transpose_x: const bool[0], ..., x: var fp16[4], ...) -> fp16[4]`: the number in brackets is the rank.
fn form(function: &Function, op: &Op, makers: &BTreeMap<VarId, &'static str>) -> String {
    let operand = |o: &Operand| match o {
        Operand::Value(value) => format!("const {}", ranked(&value.ty)),
        // Function inputs have no maker.
        Operand::Var(id) => {
            format!("{} {}", makers.get(id).unwrap_or(&"var"), ranked(&function.var(*id).ty))
        }
    };
    let argument = |(name, argument): (&String, &Argument)| {
        let operands: Vec<String> = argument.operands().iter().map(operand).collect();
        format!("{name}: {}", operands.join(" + "))
    };
    let arguments: Vec<String> = op.inputs.iter().map(argument).collect();
    let results: Vec<String> = op.outputs.iter().map(|id| ranked(&function.var(*id).ty)).collect();
    format!("{}({}) -> {}", op.kind.name(), arguments.join(", "), results.join(", "))
}

fn ranked(ty: &Type) -> String {
    match ty {
        Type::Tensor(t) => format!("{}[{}]", t.dtype, t.rank()),
        Type::State(t) => format!("state {}[{}]", t.dtype, t.rank()),
        other => other.to_string(),
    }
}

fn read(package: &Path) -> Model {
    let package = Package::open(package).expect("a package");
    proto::decode(&package.specification, "upstream").expect("a model")
}

/// The packages of all folders below `upstream`.
fn packages(upstream: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()).collect()
    };
    let below = list(upstream).into_iter().filter(|p| p.is_dir()).flat_map(|dir| list(&dir));
    below.filter(|p| p.extension().is_some_and(|e| e == "mlpackage")).collect()
}

fn plan(checkpoint: &Checkpoint, options: &Options, mut look: impl FnMut(&Function)) {
    let plan = Plan::new(checkpoint, options, &Silent).expect("a plan");
    for model in [&plan.infer, &plan.prefill] {
        look(&model.program.functions[0]);
    }
}

/// Models whose configs lead down every path of the graphs.
fn synthetic() -> Vec<(Synthetic, u64)> {
    let tiny = Synthetic::tiny;
    let biases = json!({ "attention_bias": true });
    let large_vocabulary = json!({ "vocab_size": 32_768 });
    let many_queries = json!({ "num_attention_heads": 4, "num_key_value_heads": 4 });
    vec![
        (tiny("llama").with(biases.clone()).with(json!({ "mlp_bias": true })), 32),
        (tiny("llama").with(json!({ "tie_word_embeddings": true })), 300),
        (tiny("qwen3").with(biases), 256),
        (tiny("qwen3").with(many_queries), 32),
        (tiny("qwen2").with(large_vocabulary), 512),
        (tiny("qwen2").with(json!({ "max_position_embeddings": 100_000 })), 70_000),
    ]
}

/// More than 32767 tokens in each of eight splits.
const WIDE: fn() -> serde_json::Value =
    || json!({ "vocab_size": 8 << 15, "hidden_size": 2, "tie_word_embeddings": true });

#[test]
fn every_form_of_an_op_is_upstreams() {
    let Some(reference) = shared("reference") else { return };
    let upstream: BTreeSet<String> = packages(&reference.join("upstream"))
        .iter()
        .flat_map(|package| read(package).program.functions)
        .flat_map(|function| forms(&function))
        .collect();
    assert!(upstream.len() > 30, "only {} forms upstream", upstream.len());

    let mut ours: BTreeSet<String> = BTreeSet::new();
    for name in ["llama", "llama-plain", "qwen2.5", "qwen3", "qwen3-tied"] {
        let model = reference.join("checkpoints").join(name);
        let checkpoint = Checkpoint::open(&model).expect("a checkpoint");
        for (lut, context) in [("none", 512), ("4", 64)] {
            let options =
                Options { context, argmax: context == 64, ..options(&model, &model.join("out"), lut) };
            plan(&checkpoint, &options, |f| ours.extend(forms(f)));
        }
    }
    for (model, context) in synthetic() {
        let written = model.weights().write();
        for lut in ["none", "1", "2,t", "3,16", "4", "6,4", "8"] {
            let options = Options { context, ..written.options(lut) };
            plan(&written.open(), &options, |f| ours.extend(forms(f)));
        }
    }
    let written = Synthetic::tiny("llama").with(WIDE()).weights().write();
    plan(&written.open(), &Options { argmax: true, ..written.options("none") }, |f| ours.extend(forms(f)));
    let mut exceptions = exceptions();
    let palettized = upstream.iter().filter(|form| form.starts_with("constexpr_lut_to_dense"));
    let widths = palettized.flat_map(|form| OTHER_WIDTHS.map(|w| form.replace("uint4", &format!("uint{w}"))));
    exceptions.extend(widths.filter(|form| ours.contains(form)));
    let unknown: Vec<&String> = ours.difference(&upstream).filter(|f| !exceptions.contains(*f)).collect();
    assert!(unknown.is_empty(), "forms that upstream does not emit:\n{unknown:#?}");
    let idle: Vec<&String> =
        exceptions.iter().filter(|f| !ours.contains(*f) || upstream.contains(*f)).collect();
    assert!(idle.is_empty(), "exceptions that are none:\n{idle:#?}");
}

/// Parts of interfaces in which we differ from upstream, and why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("", "prefill output logits", "nobody reads the logits of a prompt, so prefill has no LM head"),
    (
        "",
        "prefill output output_hidden_states fp16 [1, 1, ",
        "Core ML wants an output; upstream's gemma3 has this",
    ),
    (
        "llama",
        "infer state model_model_kv_cache_0",
        "256 rows of cache are enough in every family, 512 waste memory",
    ),
    ("llama", "prefill state model_model_kv_cache_0", "as in infer"),
];

/// One line for each input, output and state of each function.
fn interface(model: &Model) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for f in &model.description.functions {
        for (kind, features) in [("input", &f.inputs), ("output", &f.outputs), ("state", &f.states)] {
            for (i, Feature { name, dtype, shape, optional, .. }) in features.iter().enumerate() {
                // The order matters for inputs alone: outputs and states are asked for by name.
                let place = if kind == "input" { format!(" #{i}") } else { String::new() };
                let optional = if *optional { " optional" } else { "" };
                lines.insert(format!("{} {kind} {name} {dtype} {shape:?}{place}{optional}", f.name));
            }
        }
    }
    lines
}

#[test]
fn functions_look_like_upstreams_from_outside() {
    let Some(reference) = shared("reference") else { return };
    for (name, prefix) in [("llama", "llama"), ("qwen2.5", "qwen25"), ("qwen3", "qwen")] {
        let package = format!("upstream/{name}/{prefix}_monolithic_full_lut4.mlpackage");
        let upstream = read(&reference.join(package));
        let model = reference.join("checkpoints").join(name);
        let out = tempfile::tempdir().expect("a temporary folder");
        let options = Options { context: 256, batch: 32, ..options(&model, out.path(), "4") };
        let checkpoint = Checkpoint::open(&model).expect("a checkpoint");
        let pipeline = Pipeline::new(&checkpoint, &options, &Silent).expect("a pipeline");
        for step in [Step::Infer, Step::Prefill, Step::Combine] {
            pipeline.run(Selection::only(step.number()), &Silent).expect("a step");
        }
        let ours = read(&pipeline.outputs().path(Step::Combine));

        let (theirs_face, our_face) = (interface(&upstream), interface(&ours));
        for line in theirs_face.symmetric_difference(&our_face) {
            let allowed = DIFFERENCES
                .iter()
                .any(|(family, start, _)| (family.is_empty() || *family == name) && line.starts_with(start));
            assert!(allowed, "{name}: `{line}` is only {}", side(our_face.contains(line)));
        }
        let functions = |m: &Model| -> Vec<String> {
            m.program.functions.iter().map(|f| format!("{} {}", f.name, f.opset)).collect()
        };
        assert_eq!(functions(&ours), functions(&upstream), "{name}");
        assert_eq!(ours.specification_version, upstream.specification_version, "{name}");
        assert_eq!(ours.description.default_function, upstream.description.default_function, "{name}");
        for model in [&upstream, &ours] {
            let order: Vec<&str> = model.description.functions.iter().map(|f| f.name.as_str()).collect();
            assert_eq!(order, ["infer", "prefill"], "{name}");
        }
    }
}

fn side(ours: bool) -> &'static str {
    if ours { "ours" } else { "upstream's" }
}
