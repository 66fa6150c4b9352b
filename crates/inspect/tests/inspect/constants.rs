//! Each weight is read as the executor, which was written apart, unpacks it.

use anelith_inspect::weights::{self, Weight};
use anelith_mil::{Argument, Bundle, DataType, Function, Op, OpKind, Opcode, Program, Type, Value, validate};
use anelith_runtime::{Instance, Precision, TensorData};

use crate::shared::{bundle, packages, programs, shared};

/// What the executor makes of the constant that `op` reads as `parameter`.
fn unpacked(bundle: &Bundle, weight: &Weight<'_>) -> Option<Vec<f64>> {
    let whole = weight.view.function;
    let used = weight.uses.first()?;
    let reader = whole.ops.iter().find(|op| op.name() == used.op && op.kind.name() == used.kind)?;
    let operand = reader.operands().find(|(name, operand)| {
        *name == used.parameter
            && weights::weight_of(weight.view, operand).is_some()
            && weights::key(weight.view, weights::weight_of(weight.view, operand).unwrap(), 0) == weight.key
    })?;
    let mut function = Function { inputs: Vec::new(), attributes: Default::default(), ..whole.clone() };
    function.name = "main".to_owned();
    function.ops.retain(|op| op.kind.is_constant());
    let output = function.add_var("the_output_of_the_test", Type::Tensor(weight.ty.clone()));
    function.ops.push(Op {
        kind: OpKind::Known(Opcode::Identity),
        inputs: [("x".to_owned(), Argument::One(operand.1.clone()))].into(),
        attributes: [("name".to_owned(), Value::string("the_op_of_the_test"))].into(),
        outputs: vec![output],
    });
    function.outputs = vec![output];
    let program = Program { functions: vec![function], ..Program::default() };
    let info = validate(&program).unwrap_or_else(|e| panic!("{e:?}"));
    let mut instance = Instance::new(&program, &info, &bundle.weights, &["main"], Precision::Exact).ok()?;
    let outputs = instance.run("main", &[]).unwrap_or_else(|e| panic!("{}: {e}", weight.name));
    match outputs[0].1.data() {
        TensorData::F32(numbers) => Some(numbers.iter().map(|v| f64::from(*v)).collect()),
        TensorData::I32(numbers) => Some(numbers.iter().map(|v| f64::from(*v)).collect()),
        TensorData::Bool(_) => None,
    }
}

/// How many weights of `bundle` were compared, in pieces of an odd size.
fn compare(name: &str, bundle: &Bundle) -> usize {
    let mut compared = 0;
    for weight in weights::all(bundle).unwrap_or_else(|e| panic!("{name}: {e}")) {
        let Some(expected) = unpacked(bundle, &weight) else { continue };
        let dense = weight.open(bundle).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(dense.count(), expected.len() as u64, "{name}: {}", weight.name);
        let mut found = vec![f64::MAX; expected.len()];
        let piece = (expected.len() / 3).max(1) | 1;
        for (i, piece_of) in found.chunks_mut(piece).enumerate() {
            dense.read((i * piece) as u64, piece_of);
        }
        let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
        let at = found.iter().zip(&expected).position(|pair| !same(pair));
        let values = at.map(|at| (at, found[at], expected[at]));
        assert!(at.is_none(), "{name}: {} {} differs: {values:?}", weight.name, weight.storage());
        compared += 1;
    }
    compared
}

#[test]
fn weights_of_small_programs_are_what_the_executor_makes() {
    let found: usize = programs().iter().map(|(name, bundle)| compare(name, bundle)).sum();
    assert!(found > 40, "only {found} weights were compared");
}

#[test]
fn weights_of_real_packages_are_what_the_executor_makes() {
    let folders = ["vectors/ct_tiny_llama", "vectors/mobius-silero-vad", "reference/upstream/qwen3"];
    for (folder, least) in folders.into_iter().zip([250, 150, 40]) {
        let Some(folder) = shared(folder) else { return };
        let mut found = 0;
        for path in packages(&folder) {
            let bundle = Bundle::open(&path).unwrap_or_else(|e| panic!("{e}"));
            found += compare(&path.display().to_string(), &bundle);
        }
        assert!(found >= least, "{}: only {found} weights were compared", folder.display());
    }
}

/// By hand: two tables for two rows, and what it takes.
#[test]
fn a_table_by_hand() {
    let bundle = bundle(
        r#"program(1.3)
[buildInfo = dict<string, string>({})]
{
    func main<ios18>(tensor<fp16, [2, 2]> x) {
            tensor<fp16, [2, 2]> w = constexpr_lut_to_dense(indices = tensor<uint1, [2, 2]>([[0, 1], [1, 1]]), lut = tensor<fp16, [2, 1, 2, 1]>([[[[0x1p+0], [0x1p+1]]], [[[0x1p+2], [0x1p+3]]]]))[name = string("layers_5_mlp_up_proj_weight_palettized")];
            tensor<fp16, [2, 2]> y = add(x = x, y = w)[name = string("sum")];
        } -> (y);
}"#,
    );
    let weights = weights::all(&bundle).unwrap();
    let [weight] = &weights[..] else { panic!("{weights:?}") };
    let dense = weight.open(&bundle).unwrap();
    let mut found = [0.0; 4];
    dense.read(0, &mut found);
    assert_eq!(found, [1.0, 2.0, 8.0, 8.0]);
    assert_eq!((weight.storage().as_str(), weight.component()), ("lut1", "MLP"));
    let detail = anelith_inspect::detail::detail(&bundle, &weights, weight, 1, None).unwrap();
    let palette = detail.palette.unwrap();
    assert_eq!((palette.tables, palette.entries, palette.unused), (2, 2, Some(1)));
    assert_eq!((palette.histogram, palette.table_histogram), (vec![1, 3], vec![0, 2]));
    assert_eq!(palette.table, [4.0, 8.0]);
    let missing = anelith_inspect::detail::detail(&bundle, &weights, weight, 2, None).unwrap_err();
    assert!(missing.to_string().contains("has no table 2"), "{missing}");
    assert_eq!(weight.ty.dtype, DataType::Fp16);
}
