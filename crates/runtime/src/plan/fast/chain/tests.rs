//! Chains against the same ops one by one.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{text, validate};

use super::*;
use crate::plan::fast::FastStep;
use crate::plan::fast::action::Action;
use crate::plan::fast::operand::Memory;
use crate::plan::{Constants, Plan, Precision};
use crate::tensor::Tensor;

/// Small random numbers, the same ones in every run of the test.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number from -4 to 4, and now and then one at the edge.
    fn number(&mut self) -> f32 {
        let edges = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40, 3e38];
        match self.below(24) {
            0 => self.pick(&edges),
            _ => self.below(1 << 16) as f32 / 8192.0 - 4.0,
        }
    }
}

const WIDTHS: [&str; 2] = ["fp16", "fp32"];
const UNARY: [&str; 19] = [
    "abs", "ceil", "cos", "erf", "exp", "floor", "relu", "round", "sigmoid", "sign", "sin", "sqrt", "square",
    "tanh", "inverse", "log", "rsqrt", "clip", "gelu",
];
const BINARY: [&str; 9] = ["add", "floor_div", "maximum", "minimum", "mod", "mul", "pow", "real_div", "sub"];

/// A variable of a random program.
#[derive(Clone)]
struct Variable {
    name: String,
    width: &'static str,
    shape: [usize; 3],
}

/// A random program of ops on elements, and what it takes beside `flags`.
fn program(random: &mut Random) -> (String, Vec<Variable>) {
    let whole = [1 + random.below(3), 1 + random.below(7), random.pick(&[1, 5, 64, 700])];
    let [a, b, c] = whole;
    let shapes = [whole, whole, whole, [1, b, 1], [1, 1, c], [a, 1, c], [1, 1, 1]];
    let width = |random: &mut Random| random.pick(&WIDTHS);
    let variable =
        |(i, shape): (usize, &[usize; 3]), width| Variable { name: format!("x{i}"), width, shape: *shape };
    let inputs: Vec<Variable> = shapes.iter().enumerate().map(|x| variable(x, width(random))).collect();
    let mut known = inputs.clone();
    let mut ops = vec![
        r#"tensor<int32, [3]> perm = const()[name = string("perm"), val = tensor<int32, [3]>([2, 0, 1])];"#
            .to_owned(),
        r#"tensor<int32, [3]> back = const()[name = string("back"), val = tensor<int32, [3]>([1, 2, 0])];"#
            .to_owned(),
    ];
    // An operand that lies in another order, as it comes out of a step.
    let (name, width) = (&inputs[2].name, inputs[2].width);
    for (shape, op) in [
        ([c, a, b], format!("transpose(perm = perm, x = {name})[name = string(\"turned\")]")),
        ([c, a, b], "relu(x = turned)[name = string(\"moved\")]".to_owned()),
        (whole, "transpose(perm = back, x = moved)[name = string(\"returned\")]".to_owned()),
    ] {
        let result = op.split('"').nth(1).unwrap_or_default().to_owned();
        ops.push(format!("tensor<{width}, {shape:?}> {result} = {op};"));
    }
    known.push(Variable { name: "returned".to_owned(), ..inputs[2].clone() });
    for i in 0..3 + random.below(14) {
        let (op, made) = random_op(random, &known, whole, i);
        ops.push(op);
        known.push(made);
    }
    let mut outputs: Vec<&str> = known[inputs.len() + 1..].iter().map(|v| v.name.as_str()).collect();
    let last = outputs.pop().unwrap();
    outputs.retain(|_| random.below(6) == 0);
    outputs.push(last);
    let parameters: Vec<String> =
        inputs.iter().map(|v| format!("tensor<{}, {:?}> {}", v.width, v.shape, v.name)).collect();
    let source = format!(
        "program(1.3) {{ func main<ios18>(tensor<bool, [{a}, 1, {c}]> flags, {}) {{ {} }} -> ({}); }}",
        parameters.join(", "),
        ops.join("\n"),
        outputs.join(", ")
    );
    (source, inputs)
}

fn random_op(random: &mut Random, known: &[Variable], whole: [usize; 3], i: usize) -> (String, Variable) {
    let recent = |random: &mut Random| {
        let from = if random.below(2) == 0 { 0 } else { known.len().saturating_sub(4) };
        known[from + random.below(known.len() - from)].clone()
    };
    let x = recent(random);
    let of_width = |width: &str, random: &mut Random| {
        let fits: Vec<&Variable> = known.iter().filter(|v| v.width == width).collect();
        fits[random.below(fits.len())].clone()
    };
    let joined = |x: [usize; 3], y: [usize; 3]| std::array::from_fn(|axis| x[axis].max(y[axis]));
    let width = x.width;
    let (call, width, shape) = match random.below(8) {
        0 => {
            let to = random.pick(&WIDTHS);
            (format!(r#"cast(dtype = string("{to}"), x = {})"#, x.name), to, x.shape)
        }
        1 => {
            let y = of_width(width, random);
            (format!("select(a = {}, b = {}, cond = flags)", x.name, y.name), width, joined(x.shape, y.shape))
        }
        2 => {
            let op = random.pick(&BINARY);
            let value = random.pick(&["0x1p+1", "-0x1.8p+0", "0x0p+0"]);
            (format!("{op}(x = {}, y = {width}({value}))", x.name), width, x.shape)
        }
        3..=4 => {
            let op = random.pick(&UNARY);
            let more = match op {
                "inverse" | "log" | "rsqrt" => format!("epsilon = {width}(0x1p-10), "),
                "clip" => format!("alpha = {width}(-0x1p+0), beta = {width}(0x1p+1), "),
                "gelu" => r#"mode = string("EXACT"), "#.to_owned(),
                _ => String::new(),
            };
            (format!("{op}({more}x = {})", x.name), width, x.shape)
        }
        _ => {
            let (op, y) = (random.pick(&BINARY), of_width(width, random));
            (format!("{op}(x = {}, y = {})", x.name, y.name), width, joined(x.shape, y.shape))
        }
    };
    // `flags` is repeated along the second axis only.
    let shape = if call.starts_with("select") { joined(shape, [whole[0], 1, whole[2]]) } else { shape };
    let made = Variable { name: format!("v{i}"), width, shape };
    (format!(r#"tensor<{width}, {shape:?}> {} = {call}[name = string("{}")];"#, made.name, made.name), made)
}

/// The bits of the results, all NaN being one, and how many steps there were of each kind.
fn results(source: &str, inputs: &[Tensor], precision: Precision) -> (Vec<Vec<u32>>, usize) {
    let program = text::parse(source, "test").unwrap_or_else(|e| panic!("{e}\n{source}"));
    let info = validate(&program).unwrap_or_else(|e| panic!("{e:?}\n{source}"));
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    let plan = Plan::new(&program, &info, &mut Constants::new(&weights), "main", precision).unwrap();
    let chains = plan.steps().filter(|step| step.kind == "elementwise").count();
    let results = plan.run(inputs.to_vec(), &mut Memory::empty(), None).unwrap();
    let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    (results.iter().map(|(_, tensor)| tensor.as_f32s().unwrap().iter().map(bits).collect()).collect(), chains)
}

#[test]
fn random_programs_give_the_same_bits_in_chains() {
    let mut random = Random(7);
    let mut chains = 0;
    for _ in 0..400 {
        let (source, inputs) = program(&mut random);
        let mut tensors: Vec<Tensor> = Vec::new();
        let [a, _, c] = inputs[0].shape;
        let flags: Vec<bool> = (0..a * c).map(|_| random.below(2) == 0).collect();
        tensors.push(Tensor::new(&[a, 1, c], flags).unwrap());
        for input in &inputs {
            let count = input.shape.iter().product::<usize>();
            let numbers: Vec<f32> = (0..count).map(|_| random.number()).collect();
            tensors.push(Tensor::new(&input.shape, numbers).unwrap());
        }
        let (plain, none) = results(&source, &tensors, Precision::F32);
        let (fused, some) = results(&source, &tensors, Precision::Fast);
        assert_eq!(none, 0);
        assert!(plain == fused, "{source}");
        chains += some;
    }
    assert!(chains > 400, "{chains} chains");
}

#[test]
fn a_chain_is_the_same_at_any_number_of_threads() {
    let source = r#"program(1.3) { func main<ios18>(tensor<fp32, [4000, 3]> x, tensor<fp32, [4000, 1]> y) {
        tensor<fp32, [4000, 3]> a = mul(x = x, y = y)[name = string("a")];
        tensor<fp32, [4000, 3]> b = add(x = a, y = x)[name = string("b")];
        tensor<fp32, [4000, 3]> c = tanh(x = b)[name = string("c")];
        tensor<fp32, [4000, 3]> z = sub(x = c, y = x)[name = string("z")];
    } -> (z); }"#;
    let program = text::parse(source, "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    let plan = Plan::new(&program, &info, &mut Constants::new(&weights), "main", Precision::Fast).unwrap();
    let steps = plan.fast.unwrap().steps;
    let [FastStep { action: Action::Chain(chain), .. }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(chain.names, "mul+add+tanh+sub");
    // A product and its sum with `x` share a tile with what comes after them.
    assert_eq!(chain.tiles, 2);
    let mut random = Random(11);
    let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| random.number()).collect() };
    let (x, y) = (numbers(12000), numbers(4000));
    let expected = (0..12000).map(|i| (x[i] * y[i / 3] + x[i]).tanh() - x[i]);
    let bits = |x: f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    let expected: Vec<u32> = expected.map(bits).collect();
    for threads in [1, 2, 5] {
        let mut out = vec![7.0; 12000];
        chain.compute(&Pool::new(threads), &[Numbers::Floats(&x), Numbers::Floats(&y)], &mut out);
        assert!(out.into_iter().map(bits).eq(expected.iter().copied()), "{threads} threads");
    }
}
