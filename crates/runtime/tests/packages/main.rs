//! Packages that others made, run token by token against what others say they compute: PyTorch for the tiny
//! decoder of coremltools, `milref.py` for the packages of ANEMLL.

mod npz;
mod silero;
mod tiny_decoder;

use std::path::{Path, PathBuf};

use anelith_mil::blob::WeightStore;
use anelith_mil::{Program, ProgramInfo, package, proto, validate};
use anelith_runtime::{Error, Instance, Precision, Tensor};
use npz::Npz;

/// A path in `../shared`; `None`, with a line on the terminal, where the folder is absent.
fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if root.is_dir() {
        return Some(root.join(path));
    }
    assert!(std::env::var_os("ANELITH_REQUIRE_SHARED").is_none(), "../shared is absent");
    println!("skipped: ../shared is absent");
    None
}

struct Package {
    program: Program,
    info: ProgramInfo,
    weights: WeightStore,
}

impl Package {
    fn open(path: &Path) -> Package {
        let package = package::Package::open(path).unwrap();
        let what = package.model_path.display().to_string();
        let program = proto::decode(&package.specification, &what).unwrap().program;
        let info = validate(&program).unwrap();
        let weights = WeightStore::open(&package.root, &program).unwrap();
        Package { program, info, weights }
    }

    fn instance(&self, precision: Precision) -> Result<Instance, Error> {
        Instance::new(&self.program, &self.info, &self.weights, &["infer", "prefill"], precision)
    }
}

/// Feeds `tokens` from row `row` on; answers the outputs joined along their last axis, row by row.
fn step(instance: &mut Instance, function: &str, row: usize, tokens: &[i32], hidden: f32) -> Vec<f32> {
    let count = tokens.len();
    let mask = instance.plan(function).unwrap().inputs().find(|f| f.name == "causal_mask").unwrap();
    let width = mask.ty.fixed_shape().unwrap()[3] as usize;
    let allowed = |i: usize| if i % width <= row + i / width { 0.0 } else { hidden };
    let inputs = [
        ("input_ids", Tensor::new(&[1, count], tokens.to_vec()).unwrap()),
        (
            "position_ids",
            Tensor::new(&[count], (row..row + count).map(|p| p as i32).collect::<Vec<_>>()).unwrap(),
        ),
        (
            "causal_mask",
            Tensor::new(&[1, 1, count, width], (0..count * width).map(allowed).collect::<Vec<_>>()).unwrap(),
        ),
        ("current_pos", Tensor::new(&[1], vec![row as i32]).unwrap()),
    ];
    let outputs = instance.run(function, &inputs).unwrap();
    outputs.iter().flat_map(|(_, t)| t.as_f32s().unwrap()).copied().collect()
}

fn assert_near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance && found.iter().all(|v| v.is_finite()), "{what}: differs by {worst}");
    println!("{what}: differs by {worst}");
}

const UPSTREAM: [(&str, &str); 6] = [
    ("llama_fp16", "llama-fp16/llama_monolithic_full"),
    ("llama_lut4", "llama/llama_monolithic_full_lut4"),
    ("qwen25_fp16", "qwen2.5-fp16/qwen25_monolithic_full"),
    ("qwen25_lut4", "qwen2.5/qwen25_monolithic_full_lut4"),
    ("qwen3_fp16", "qwen3-fp16/qwen_monolithic_full"),
    ("qwen3_lut4", "qwen3/qwen_monolithic_full_lut4"),
];

/// Prefill of one batch, then decoding, on every upstream package.
fn check_upstream(precision: Precision, array: &str, tolerance: f32) {
    for (name, path) in UPSTREAM {
        let Some(package) = shared(&format!("reference/upstream/{path}.mlpackage")) else { return };
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.npz"));
        let recorded = Npz::open(&recorded);
        let mut instance = Package::open(&package).instance(precision).unwrap();
        let tokens = recorded.i32s("tokens");
        let (prompt, rest) = tokens.split_at(32);
        step(&mut instance, "prefill", 0, prompt, f32::NEG_INFINITY);
        let decode = |(i, token): (usize, &i32)| {
            step(&mut instance, "infer", prompt.len() + i, &[*token], f32::NEG_INFINITY)
        };
        let logits: Vec<f32> = rest.iter().enumerate().flat_map(decode).collect();
        assert_near(name, &logits, &recorded.f32s(array), tolerance);
    }
}

#[test]
fn upstream_packages_agree_with_the_reference_executor_without_rounding() {
    check_upstream(Precision::F32, "f32", 2e-5);
}

#[test]
fn upstream_packages_agree_with_the_reference_executor_in_fp16() {
    check_upstream(Precision::Exact, "exact", 5e-3);
}

#[test]
fn upstream_packages_agree_with_the_reference_executor_in_fast_mode() {
    check_upstream(Precision::Fast, "f32", 5e-3);
}

/// Each has its own state; the threads of the process serve whoever comes first.
#[test]
fn instances_that_run_at_once_do_not_disturb_each_other() {
    let Some(package) = shared("reference/upstream/qwen3/qwen_monolithic_full_lut4.mlpackage") else {
        return;
    };
    let package = Package::open(&package);
    let logits = |seed: i32| {
        let mut instance = package.instance(Precision::Fast).unwrap();
        let tokens: Vec<i32> = (0..48).map(|i| (i * 7 + seed) % 512).collect();
        let mut found = step(&mut instance, "prefill", 0, &tokens[..32], f32::NEG_INFINITY);
        for (i, token) in tokens[32..].iter().enumerate() {
            found.extend(step(&mut instance, "infer", 32 + i, &[*token], f32::NEG_INFINITY));
        }
        found
    };
    let alone = [logits(1), logits(5)];
    for _ in 0..3 {
        let together = std::thread::scope(|scope| {
            let threads = [1, 5].map(|seed| scope.spawn(move || logits(seed)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(together == alone, "results depend on what else runs");
    }
}

#[test]
fn a_reset_instance_repeats_itself() {
    let Some(folder) = shared("vectors/ct_tiny_llama/lut4_g8") else { return };
    let mut instance = Package::open(&folder.join("model.mlpackage")).instance(Precision::Exact).unwrap();
    let first = step(&mut instance, "infer", 0, &[5], -1e4);
    let second = step(&mut instance, "infer", 1, &[6], -1e4);
    instance.reset();
    assert_eq!(step(&mut instance, "infer", 0, &[5], -1e4), first);
    assert_eq!(step(&mut instance, "infer", 1, &[6], -1e4), second);
}

#[test]
fn a_position_outside_the_cache_is_an_error() {
    let Some(folder) = shared("vectors/ct_tiny_llama/fp16") else { return };
    let mut instance = Package::open(&folder.join("model.mlpackage")).instance(Precision::Exact).unwrap();
    let inputs = [
        ("input_ids", Tensor::new(&[1, 1], vec![5]).unwrap()),
        ("position_ids", Tensor::new(&[1], vec![31]).unwrap()),
        ("causal_mask", Tensor::new(&[1, 1, 1, 32], vec![0f32; 32]).unwrap()),
        ("current_pos", Tensor::new(&[1], vec![32]).unwrap()),
    ];
    let error = instance.run("infer", &inputs).unwrap_err().to_string();
    assert!(error.contains("slice_update") && error.contains("extent 32"), "{error}");
}
