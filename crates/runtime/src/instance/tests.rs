//! Programs small enough to follow by hand: state, sharing, refusals.

use std::path::Path;

use anelith_mil::{text, validate};

use super::*;
use crate::kernels::Isa;

/// Two functions on one state: `push` writes `x` at row `at`, `peek` returns the state plus zero.
const CACHE: &str = r#"
program(1.3)
{
    func peek<ios18>(state<tensor<fp16, [3, 2]>> cache) {
            tensor<fp16, [3, 2]> all = read_state(input = cache)[name = string("all")];
            fp16 zero = const()[name = string("zero"), val = fp16(0x0p+0)];
            tensor<fp16, [3, 2]> y = add(x = all, y = zero)[name = string("y")];
        } -> (y);
    func push<ios18>(tensor<int32, [1]> at, state<tensor<fp16, [3, 2]>> cache, tensor<fp16, [1, 2]> x) {
            tensor<fp16, [3, 2]> old = read_state(input = cache)[name = string("old")];
            tensor<int32, [1]> nothing = const()[name = string("nothing"), val = tensor<int32, [1]>([0])];
            tensor<int32, [1]> one = const()[name = string("one"), val = tensor<int32, [1]>([1])];
            tensor<int32, [1]> after = add(x = at, y = one)[name = string("after")];
            int32 axis = const()[name = string("axis"), val = int32(0)];
            bool no = const()[name = string("no"), val = bool(false)];
            tensor<int32, [2]> begin = concat(axis = axis, interleave = no, values = (at, nothing))[name = string("begin")];
            tensor<int32, [2]> end = concat(axis = axis, interleave = no, values = (after, nothing))[name = string("end")];
            tensor<bool, [2]> rest = const()[name = string("rest"), val = tensor<bool, [2]>([false, true])];
            tensor<fp16, [3, 2]> new = slice_update(begin = begin, end = end, end_mask = rest, update = x, x = old)[name = string("new")];
            write_state(data = new, input = cache)[name = string("keep")];
            tensor<fp16, [3, 2]> now = read_state(input = cache)[name = string("now")];
            tensor<int32, [2]> from = const()[name = string("from"), val = tensor<int32, [2]>([0, 0])];
            tensor<int32, [2]> to = const()[name = string("to"), val = tensor<int32, [2]>([1, 2])];
            tensor<fp16, [1, 2]> first = slice_by_index(begin = from, end = to, x = now)[name = string("first")];
        } -> (first);
}
"#;

fn instance(source: &str, functions: &[&str], precision: Precision) -> Result<Instance> {
    let program = text::parse(source, "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    Instance::new(&program, &info, &weights, functions, precision)
}

fn floats(shape: &[usize], v: &[f32]) -> Tensor {
    Tensor::new(shape, v.to_vec()).unwrap()
}

fn push(cache: &mut Instance, at: i32, x: [f32; 2]) -> Result<Vec<(String, Tensor)>> {
    cache.run("push", &[("x", floats(&[1, 2], &x)), ("at", Tensor::new(&[1], vec![at]).unwrap())])
}

#[test]
fn functions_share_their_state_until_it_is_reset() {
    let mut cache = instance(CACHE, &["push", "peek"], Precision::Exact).unwrap();
    push(&mut cache, 1, [1.0, 2.0]).unwrap();
    push(&mut cache, 0, [3.0, 4.0]).unwrap();
    let out = cache.run("peek", &[]).unwrap();
    assert_eq!(out, [("y".to_owned(), floats(&[3, 2], &[3.0, 4.0, 1.0, 2.0, 0.0, 0.0]))]);
    cache.reset();
    assert_eq!(cache.state("cache").as_deref(), Some(&floats(&[3, 2], &[0.0; 6])));
}

#[test]
fn sequences_of_calls_take_turns() {
    for precision in [Precision::Exact, Precision::F32, Precision::Fast] {
        let mut cache = instance(CACHE, &["push", "peek"], precision).unwrap();
        push(&mut cache, 0, [1.0, 2.0]).unwrap();
        let mut other = cache.new_contents().unwrap();
        cache.swap_contents(&mut other);
        assert_eq!(cache.state("cache").as_deref(), Some(&floats(&[3, 2], &[0.0; 6])), "{precision:?}");
        push(&mut cache, 1, [3.0, 4.0]).unwrap();
        cache.swap_contents(&mut other);
        push(&mut cache, 2, [5.0, 6.0]).unwrap();
        let expected = floats(&[3, 2], &[1.0, 2.0, 0.0, 0.0, 5.0, 6.0]);
        assert_eq!(cache.state("cache").as_deref(), Some(&expected), "{precision:?}");
        cache.swap_contents(&mut other);
        let expected = floats(&[3, 2], &[0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(cache.state("cache").as_deref(), Some(&expected), "{precision:?}");
    }
}

#[test]
#[should_panic(expected = "another instance")]
fn contents_of_another_instance_are_not_taken() {
    let mut one = instance(CACHE, &["push"], Precision::Exact).unwrap();
    let other = instance(CACHE, &["push"], Precision::Exact).unwrap();
    one.swap_contents(&mut other.new_contents().unwrap());
}

#[test]
fn an_update_of_the_state_copies_nothing() {
    let mut cache = instance(CACHE, &["push"], Precision::Exact).unwrap();
    let address = |cache: &Instance| cache.state("cache").unwrap().as_f32s().unwrap().as_ptr();
    let before = address(&cache);
    for at in 0..3 {
        push(&mut cache, at, [1.0, 1.0]).unwrap();
        assert_eq!(address(&cache), before);
    }
}

#[test]
fn exact_runs_round_inputs_and_states_and_others_do_not() {
    for (precision, expected) in [(Precision::Exact, 0.099_975_586), (Precision::F32, 0.1)] {
        let mut cache = instance(CACHE, &["push"], precision).unwrap();
        let out = push(&mut cache, 0, [0.1, 0.0]).unwrap();
        assert_eq!(out[0].1.as_f32s().unwrap(), [expected, 0.0]);
        assert_eq!(cache.state("cache").unwrap().as_f32s().unwrap()[0], expected);
    }
}

#[test]
fn a_failed_run_says_where_and_leaves_zeros() {
    let mut cache = instance(CACHE, &["push"], Precision::Exact).unwrap();
    push(&mut cache, 0, [1.0, 2.0]).unwrap();
    let error = push(&mut cache, 3, [1.0, 2.0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "function `push`: op `new` (slice_update) failed: axis 0: the slice 3..4 does not lie within the extent 3"
    );
    assert_eq!(cache.state("cache").as_deref(), Some(&floats(&[3, 2], &[0.0; 6])));
}

#[test]
fn instructions_that_the_machine_lacks_are_refused() {
    let program = text::parse(CACHE, "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    // No machine has those of two.
    let isa = if Isa::Neon.is_here() { Isa::Avx2 } else { Isa::Neon };
    for precision in [Precision::Exact, Precision::Fast] {
        let error = Instance::new(&program, &info, &weights, &["push"], Options { isa, ..precision.into() });
        let error = error.unwrap_err().to_string();
        let expected = format!("the instructions {isa:?} are not on this machine, expected one of Generic");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn inputs_must_be_those_of_the_function() {
    let mut cache = instance(CACHE, &["push"], Precision::Exact).unwrap();
    push(&mut cache, 0, [1.0, 2.0]).unwrap();
    let x = || ("x", floats(&[1, 2], &[0.0; 2]));
    let at = || ("at", Tensor::new(&[1], vec![0]).unwrap());
    let cases = [
        (vec![x()], "input `at`: it is missing"),
        (vec![x(), at(), ("y", floats(&[], &[0.0]))], "no such input; it takes `at`, `x`"),
        (vec![x(), at(), x()], "input `x`: it is given twice"),
        (vec![at(), ("x", floats(&[2], &[0.0; 2]))], "it has shape [2], expected tensor<fp16, [1, 2]>"),
        (
            vec![x(), ("at", floats(&[1], &[0.0]))],
            "it holds floating-point numbers, expected tensor<int32, [1]>",
        ),
    ];
    for (inputs, expected) in cases {
        let error = cache.run("push", &inputs).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(cache.state("cache").unwrap().as_f32s().unwrap()[1], 2.0, "the state is untouched");
    let error = cache.run("peek", &[]).unwrap_err().to_string();
    assert_eq!(error, "the program has no function `peek`; it has `push`");
}

#[test]
fn a_value_read_after_its_state_was_written_keeps_its_own_contents() {
    let source = r#"
program(1.3)
{
    func main<ios18>(state<tensor<fp32, [2]>> s) {
            tensor<fp32, [2]> old = read_state(input = s)[name = string("old")];
            fp32 one = const()[name = string("one"), val = fp32(0x1p+0)];
            tensor<fp32, [2]> new = add(x = old, y = one)[name = string("new")];
            write_state(data = new, input = s)[name = string("keep")];
            tensor<int32, [1]> from = const()[name = string("from"), val = tensor<int32, [1]>([0])];
            tensor<int32, [1]> to = const()[name = string("to"), val = tensor<int32, [1]>([1])];
            tensor<fp32, [1]> seven = const()[name = string("seven"), val = tensor<fp32, [1]>([0x1.cp+2])];
            tensor<fp32, [2]> changed = slice_update(begin = from, end = to, update = seven, x = new)[name = string("changed")];
            tensor<fp32, [2]> both = add(x = changed, y = old)[name = string("both")];
        } -> (both);
}
"#;
    let mut counter = instance(source, &["main"], Precision::F32).unwrap();
    counter.run("main", &[]).unwrap();
    let out = counter.run("main", &[]).unwrap();
    assert_eq!(out[0].1, floats(&[2], &[8.0, 3.0]));
    assert_eq!(counter.state("s").as_deref(), Some(&floats(&[2], &[2.0, 2.0])));
}

#[test]
fn what_cannot_run_is_refused_with_its_place() {
    let body =
        |op: &str| format!("program(1.3)\n{{ func main<ios17>(tensor<fp16, [2]> x) {{ {op} }} -> (y); }}");
    let cases = [
        (
            r#"tensor<fp16, [2]> y = softplus(x = x)[name = string("act")];"#,
            "function `main` (ios17): op `act` (softplus) is not supported: the executor has no such op",
        ),
        (
            r#"int32 two = const()[name = string("two"), val = int32(2)];
               int32 y = real_div(x = two, y = two)[name = string("half")];"#,
            "function `main` (ios17): op `half` (real_div) is not supported: `x` has type int32, expected fp16 or fp32",
        ),
        (
            r#"string to = const()[name = string("to"), val = string("fp64")];
               tensor<fp64, [2]> y = cast(dtype = to, x = x)[name = string("act")];"#,
            "function `main` (ios17): op `act` (cast) is not supported: a variable of type tensor<fp64, [2]>",
        ),
    ];
    for (op, expected) in cases {
        let error = instance(&body(op), &["main"], Precision::F32).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn functions_that_disagree_on_a_state_are_refused() {
    let source = r#"
program(1.3)
{
    func a<ios18>(state<tensor<fp16, [2]>> s) {
            tensor<fp16, [2]> old = read_state(input = s)[name = string("old")];
            tensor<fp16, [2]> y = exp(x = old)[name = string("y")];
        } -> (y);
    func b<ios18>(state<tensor<fp16, [3]>> s) {
            tensor<fp16, [3]> old = read_state(input = s)[name = string("old")];
            tensor<fp16, [3]> y = exp(x = old)[name = string("y")];
        } -> (y);
}
"#;
    let error = instance(source, &["a", "b"], Precision::F32).unwrap_err();
    assert_eq!(
        error.to_string(),
        "state `s` has type tensor<fp16, [3]> in one function and tensor<fp16, [2]> in another, expected equal types"
    );
    assert!(instance(source, &["b"], Precision::F32).is_ok());
}
