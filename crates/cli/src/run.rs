//! `run`: calls functions of any program on inputs from a file.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anelith_mil::{Bundle, disk};
use anelith_report::{Report, Reported};
use anelith_runtime::{Instance, Precision, Tensor, TensorData};
use serde_json::{Map, Value, json};

use crate::args::RunArgs;
use crate::document;
use crate::failure::{Failure, Result, Status};
use crate::packages::check_source;
use crate::terminal::print;

/// The largest file of feeds that is read: as JSON it takes a multiple of that in memory.
const MAX_FEEDS_BYTES: u64 = 1 << 30;

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    check_source(&args.package)?;
    let calls = read_calls(&args.feeds)?;
    let bundle = Bundle::open(&args.package)?;
    let options = args.numbers.options(Precision::Exact)?;
    let mut functions: Vec<&str> = calls.iter().map(|c| c.function.as_str()).collect();
    functions.sort_unstable();
    functions.dedup();
    let mut instance =
        Instance::new(&bundle.model.program, &bundle.info, &bundle.weights, &functions, options)?;
    let (mut answers, mut made) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
    for call in &calls {
        let inputs: Vec<(&str, Tensor)> = call.inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        let start = Instant::now();
        let tensors = instance.run(&call.function, &inputs)?;
        made.push(summary(&call.function, start.elapsed(), &tensors));
        answers.push(outputs(&tensors));
    }
    let text = Value::from(answers).to_string() + "\n";
    let Some(path) = &args.json_output else { return print(&text) };
    fs::write(path, &text).map_err(|e| {
        let report = Report::new(format!("cannot write the outputs: {e}")).at(path.display());
        Failure::new(Status::Machine, report)
    })?;
    if !args.json {
        return Ok(());
    }
    document::show(json!({
        "package": args.package.display().to_string(),
        "outputs": { "path": path.display().to_string(), "bytes": text.len() },
        "calls": made,
    }))
}

/// A call, how long it took, and the shapes of what it returned.
fn summary(function: &str, time: Duration, tensors: &[(String, Tensor)]) -> Value {
    let shapes: Map<String, Value> =
        tensors.iter().map(|(name, tensor)| (name.clone(), json!(tensor.shape()))).collect();
    json!({ "function": function, "seconds": time.as_secs_f64(), "shapes": shapes })
}

const DTYPES: &str = "fp16, fp32, int8, int16, int32, uint8, uint16 or bool";

/// One call of a function.
struct Call {
    function: String,
    inputs: Vec<(String, Tensor)>,
}

fn read_calls(path: &Path) -> Result<Vec<Call>> {
    let fail = |what: String, found: String| {
        let report = Report::new(what).at(path.display()).finding(found);
        let report = report.expecting("a JSON list of calls, in the form that anelith run --help shows");
        Failure::new(Status::Input, report.mending("correct the feeds"))
    };
    let read = disk::read_file(path, MAX_FEEDS_BYTES);
    let text = read.map_err(|e| fail("cannot read the feeds".into(), e.to_string()))?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|e| fail("the feeds are not JSON".into(), e.to_string()))?;
    let calls =
        value.as_array().ok_or_else(|| fail("the feeds are not a list of calls".into(), excerpt(&value)))?;
    let read = |(i, call): (usize, &Value)| {
        read_call(call).map_err(|problem| fail(format!("call {i} of the feeds: {problem}"), excerpt(call)))
    };
    calls.iter().enumerate().map(read).collect()
}

/// The beginning of a value, short enough for a message.
fn excerpt(value: &Value) -> String {
    const LIMIT: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn read_call(call: &Value) -> std::result::Result<Call, String> {
    let function = call.get("function").and_then(Value::as_str).ok_or("no `function`")?;
    let inputs = call.get("inputs").and_then(Value::as_object).ok_or("no `inputs`")?;
    let read = |(name, value): (&String, &Value)| {
        let tensor = read_tensor(value).map_err(|problem| format!("input `{name}`: {problem}"))?;
        Ok((name.clone(), tensor))
    };
    let inputs = inputs.iter().map(read).collect::<std::result::Result<_, String>>()?;
    Ok(Call { function: function.to_owned(), inputs })
}

fn read_tensor(value: &Value) -> std::result::Result<Tensor, String> {
    let list = |key: &str| value.get(key).and_then(Value::as_array).ok_or(format!("no list `{key}`"));
    let extent =
        |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or("`shape` holds no extents");
    let shape = list("shape")?.iter().map(extent).collect::<std::result::Result<Vec<_>, _>>()?;
    let data = list("data")?;
    let dtype = value.get("dtype").and_then(Value::as_str).ok_or("no `dtype`")?;
    let data: TensorData = match dtype {
        "fp16" | "fp32" | "float16" | "float32" => {
            data.iter().map(read_float).collect::<std::result::Result<Vec<f32>, _>>()?.into()
        }
        "bool" => {
            let read = |v: &Value| v.as_bool().ok_or("`data` holds something that is no bool");
            data.iter().map(read).collect::<std::result::Result<Vec<bool>, _>>()?.into()
        }
        "int8" | "int16" | "int32" | "uint8" | "uint16" => {
            let read =
                |v: &Value| v.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or("`data` holds no int32");
            data.iter().map(read).collect::<std::result::Result<Vec<i32>, _>>()?.into()
        }
        other => return Err(format!("`dtype` is \"{other}\", expected {DTYPES}")),
    };
    Tensor::new(&shape, data).map_err(|e| e.to_string())
}

fn read_float(value: &Value) -> std::result::Result<f32, String> {
    match value.as_str() {
        Some("inf") => Ok(f32::INFINITY),
        Some("-inf") => Ok(f32::NEG_INFINITY),
        Some(other) => Err(format!("`data` holds \"{other}\", expected a number, \"inf\" or \"-inf\"")),
        None => {
            value.as_f64().map(|v| v as f32).ok_or_else(|| "`data` holds something that is no number".into())
        }
    }
}

fn outputs(tensors: &[(String, Tensor)]) -> Value {
    let mut outputs = Map::new();
    for (name, tensor) in tensors {
        let data: Vec<Value> = match tensor.data() {
            TensorData::F32(v) => v.iter().map(|x| write_float(*x)).collect(),
            TensorData::I32(v) => v.iter().map(|x| json!(x)).collect(),
            TensorData::Bool(v) => v.iter().map(|x| json!(x)).collect(),
        };
        outputs.insert(name.clone(), json!({ "shape": tensor.shape(), "data": data }));
    }
    json!({ "outputs": outputs })
}

/// JSON has no infinities.
fn write_float(x: f32) -> Value {
    if x.is_finite() {
        return json!(x);
    }
    let name = if x.is_nan() {
        "nan"
    } else if x > 0.0 {
        "inf"
    } else {
        "-inf"
    };
    json!(name)
}
