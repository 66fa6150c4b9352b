//! Two programs that differ in one known place, whatever their ops are called.

use anelith_inspect::diff::{Diff, diff};
use anelith_inspect::graph::Aligned;
use anelith_mil::Bundle;

use crate::shared::bundle;

/// Two layers of a product and a sum; the names of ops end in `suffix`.
fn program(suffix: &str, change: impl Fn(String) -> String) -> Bundle {
    let mut text = String::from(
        "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\n    func main<ios18>(tensor<fp16, [1, 2]> x) {\n",
    );
    let mut before = "x".to_owned();
    for layer in 0..3 {
        for (kind, parameters, weight, numbers) in [
            ("mul", ["x", "y"], "self_attn_q_proj", [1.5, 2.5]),
            ("mul", ["x", "y"], "self_attn_k_proj", [0.5, 0.25]),
            ("add", ["x", "y"], "mlp_up_proj", [3.0, 4.0]),
        ] {
            let name = format!("layers_{layer}_{weight}");
            let values = numbers.map(|v| hex_float(v + layer as f32)).join(", ");
            text += &format!(
                "            tensor<fp16, [2]> {name}_weight = const()[name = string(\"{name}_weight{suffix}\"), val = tensor<fp16, [2]>([{values}])];\n"
            );
            text += &format!(
                "            tensor<fp16, [1, 2]> {name} = {kind}({} = {before}, {} = {name}_weight)[name = string(\"{name}{suffix}\")];\n",
                parameters[0], parameters[1]
            );
            before = name;
        }
        text += &format!(
            "            tensor<fp16, [1, 2]> layers_{layer}_act = silu(x = {before})[name = string(\"layers_{layer}_act{suffix}\")];\n"
        );
        before = format!("layers_{layer}_act");
    }
    text += &format!("        }} -> ({before});\n}}");
    bundle(&change(text))
}

/// A number that fp16 holds, as C writes it in base 16.
fn hex_float(v: f32) -> String {
    let exponent = v.log2().floor();
    let mantissa = ((v / exponent.exp2() - 1.0) * 4096.0) as u32;
    format!("0x1.{mantissa:03x}p{exponent:+}")
}

fn of(a: &Bundle, b: &Bundle) -> Diff {
    diff(a, b, None).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_program_does_not_differ_from_itself() {
    let (a, b) = (program("", |t| t), program("", |t| t));
    let found = of(&a, &b);
    assert!(found.is_empty() && found.equal_weights == 9, "{found:?}");
    assert_eq!(found.functions[0].aligned, Aligned::Names);
}

/// Ops that are called otherwise are paired by structure and their weights compared all the same.
#[test]
fn other_names_alone_are_no_difference() {
    let rename = |text: String| {
        (0..3).fold(text, |text, i| {
            text.replace(&format!("string(\"layers_{i}_self_attn_q_proj\")"), &format!("string(\"op_{i}\")"))
                .replace(&format!("string(\"layers_{i}_self_attn_k_proj\")"), &format!("string(\"op_1{i}\")"))
                .replace(&format!("string(\"layers_{i}_mlp_up_proj\")"), &format!("string(\"op_2{i}\")"))
                .replace(&format!("string(\"layers_{i}_act\")"), &format!("string(\"op_3{i}\")"))
        })
    };
    let found = of(&program("", |t| t), &program("", rename));
    assert_eq!(found.functions[0].aligned, Aligned::Structure);
    assert!(found.is_empty() && found.equal_weights == 9, "{found:?}");
}

#[test]
fn a_changed_weight_is_named_with_its_layer() {
    let damage = |text: String| {
        text.replace(&format!("[{}, {}]", hex_float(2.5), hex_float(3.5)), "[0x1p+6, 0x1.cp+1]")
    };
    let found = of(&program("", |t| t), &program("", damage));
    assert!(found.signature.is_empty() && found.functions[0].changes.is_empty());
    let [change] = &found.weights[..] else { panic!("{:?}", found.weights) };
    let (name, deviation) = (change.a.as_ref().unwrap(), change.deviation.as_ref().unwrap());
    assert_eq!((name.layer, name.name.as_str()), (Some(1), "layers_1_self_attn_q_proj_weight"));
    assert_eq!((deviation.differing, deviation.max, deviation.at), (1, 61.5, 0));
    assert_eq!(deviation.values, (2.5, 64.0));
}

#[test]
fn a_swapped_weight_is_an_argument_of_its_op() {
    let swap = |text: String| {
        let (q, k) = ("y = layers_2_self_attn_q_proj_weight)", "y = layers_2_self_attn_k_proj_weight)");
        text.replace(q, "y = other)").replace(k, q).replace("y = other)", k)
    };
    // Both constants must be there before either is read.
    let reorder = |text: String| {
        let lines: Vec<&str> = text.lines().collect();
        let (constants, others): (Vec<&str>, Vec<&str>) =
            lines[4..].iter().partition(|l| l.contains("const()"));
        [&lines[..4], &constants, &others].concat().join("\n")
    };
    let found = of(&program("", reorder), &program("", |t| swap(reorder(t))));
    let changes = &found.functions[0].changes;
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(changes.iter().all(|c| c.layer == Some(2) && c.what == "y"), "{changes:?}");
    assert!(changes[0].values.0.contains("q_proj") && changes[0].values.1.contains("k_proj"), "{changes:?}");
    assert_eq!(found.weights.len(), 2, "{:?}", found.weights);
    assert!(found.weights.iter().all(|w| w.a.as_ref().unwrap().layer == Some(2)));
}

#[test]
fn an_op_that_is_gone_and_one_that_reads_another_result() {
    let remove = |text: String| {
        let lines: Vec<&str> = text.lines().filter(|l| !l.contains("layers_1_act = silu")).collect();
        lines.join("\n").replace("layers_1_act", "layers_1_mlp_up_proj")
    };
    let found = of(&program("", |t| t), &program("", remove));
    let changes = &found.functions[0].changes;
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((change.layer, change.a.as_ref().unwrap().kind.as_str()), (Some(1), "silu"));
    assert!(change.b.is_none());

    let rewire =
        |text: String| text.replace("silu(x = layers_1_mlp_up_proj)", "silu(x = layers_1_self_attn_q_proj)");
    let found = of(&program("", |t| t), &program("", rewire));
    let changes = &found.functions[0].changes;
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((change.layer, change.what.as_str()), (Some(1), "x"));
    assert_eq!(change.values.1, "`layers_1_self_attn_q_proj`");
}

#[test]
fn attributes_and_kinds_that_differ_are_told() {
    let found =
        of(&program("", |t| t), &program("", |t| t.replace("layers_0_act = silu(", "layers_0_act = tanh(")));
    let changes = &found.functions[0].changes;
    let kinds: Vec<_> = changes.iter().map(|c| (c.a.is_some(), c.b.is_some(), c.layer)).collect();
    assert_eq!(kinds, [(true, false, Some(0)), (false, true, Some(0))], "{changes:?}");
    let missing = diff(&program("", |t| t), &program("", |t| t), Some("prefill")).unwrap_err();
    assert!(missing.to_string().contains("no function `prefill`"));
}
