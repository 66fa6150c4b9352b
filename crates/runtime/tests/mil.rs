//! Runs the programs in `tests/mil`. Each file holds a program and lines that say what running it gives:
//!
//! ```text
//! // run: main(x = [[1, 2], [3, 4]], n = 1) ~ [[1, 2]], 5
//! // run exact: main(x = [[1, 0.1], [3, 4]], n = 1) ~ [[1, 0.0999]], 5
//! // fails: main(x = [[1, 2], [3, 4]], n = 7) index 7 is out of range
//! // refused: `axes` is computed
//! ```
//!
//! `~` lists the outputs in declaration order; numbers may differ by a thousandth. Lines run in order on one
//! instance, so a state lives from line to line. `refused` stands alone: the program cannot be planned.
//!
//! Every program runs in exact mode and in fast mode; `run exact` is for what rounding to fp16 decides.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{DataType, text, validate};
use anelith_runtime::{Feature, Instance, Precision, Tensor, TensorData};

/// A literal of a run line: its shape, and its elements in row-major order.
#[derive(Debug)]
struct Literal {
    shape: Vec<usize>,
    elements: Vec<f64>,
}

/// Reads run lines from the left.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) {
        assert!(self.take(token), "expected `{token}` at `{}`", self.0);
    }

    fn word(&mut self) -> &'a str {
        self.0 = self.0.trim_start();
        let end = self.0.find(|c: char| !c.is_alphanumeric() && !"_.-+".contains(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    fn literal(&mut self) -> Literal {
        if !self.take("[") {
            let word = self.word();
            let number = match word {
                "true" => 1.0,
                "false" => 0.0,
                _ => word.parse().unwrap_or_else(|_| panic!("`{word}` is no number")),
            };
            return Literal { shape: Vec::new(), elements: vec![number] };
        }
        let mut out = Literal { shape: vec![0], elements: Vec::new() };
        while !self.take("]") {
            let item = self.literal();
            out.shape.truncate(1);
            out.shape[0] += 1;
            out.shape.extend(item.shape);
            out.elements.extend(item.elements);
            self.take(",");
        }
        out
    }

    /// `function(name = literal, ...)`.
    fn call(&mut self) -> (&'a str, Vec<(&'a str, Literal)>) {
        let function = self.word();
        self.expect("(");
        let mut arguments = Vec::new();
        while !self.take(")") {
            let name = self.word();
            self.expect("=");
            arguments.push((name, self.literal()));
            self.take(",");
        }
        (function, arguments)
    }
}

fn tensor(feature: &Feature, literal: &Literal) -> Tensor {
    let values = literal.elements.iter();
    let data: TensorData = match feature.ty.dtype {
        DataType::Bool => values.map(|v| *v != 0.0).collect::<Vec<_>>().into(),
        dtype if dtype.is_float() => values.map(|v| *v as f32).collect::<Vec<_>>().into(),
        _ => values.map(|v| *v as i32).collect::<Vec<_>>().into(),
    };
    Tensor::new(&literal.shape, data).unwrap()
}

fn elements(data: &TensorData) -> Vec<f64> {
    match data {
        TensorData::F32(v) => v.iter().map(|v| f64::from(*v)).collect(),
        TensorData::I32(v) => v.iter().map(|v| f64::from(*v)).collect(),
        TensorData::Bool(v) => v.iter().map(|v| f64::from(u8::from(*v))).collect(),
    }
}

fn run(instance: &mut Instance, call: (&str, Vec<(&str, Literal)>)) -> anelith_runtime::Result<Vec<Tensor>> {
    let (function, arguments) = call;
    let features: Vec<Feature> = instance.plan(function)?.inputs().cloned().collect();
    let inputs: Vec<(&str, Tensor)> = arguments
        .iter()
        .map(|(name, literal)| {
            let feature = features.iter().find(|f| f.name == *name).expect("an input of that name");
            (*name, tensor(feature, literal))
        })
        .collect();
    Ok(instance.run(function, &inputs)?.into_iter().map(|(_, t)| t).collect())
}

fn assert_equal(found: &Tensor, expected: &Literal, place: &str) {
    assert_eq!(found.shape(), expected.shape, "{place}");
    for (f, e) in elements(found.data()).iter().zip(&expected.elements) {
        let near = f == e || (f.is_nan() && e.is_nan()) || (f - e).abs() <= 1e-3 * e.abs().max(1.0);
        assert!(near, "{place}: {:?} is not near {:?}", found.data(), expected.elements);
    }
}

fn check_file(path: &Path, precision: Precision) {
    let source = std::fs::read_to_string(path).unwrap();
    let what = format!("{} ({precision:?})", path.display());
    let program = text::parse(&source, &what).unwrap_or_else(|e| panic!("{e}"));
    let info = validate(&program).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    let functions: Vec<&str> = program.functions.iter().map(|f| f.name.as_str()).collect();
    let planned = Instance::new(&program, &info, &weights, &functions, precision);
    if let Some((_, problem)) = source.split_once("// refused: ") {
        let error = planned.expect_err(&what).to_string();
        let expected = problem.lines().next().unwrap_or_default();
        assert!(error.contains(expected), "{what}: {error}");
        return;
    }
    let mut instance = planned.unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut lines = 0;
    for (number, line) in source.lines().enumerate() {
        let place = format!("{what}:{}", number + 1);
        let rounded = line.strip_prefix("// run exact: ").filter(|_| precision == Precision::Exact);
        if let Some(rest) = line.strip_prefix("// run: ").or(rounded) {
            let mut reader = Reader(rest);
            let outputs = run(&mut instance, reader.call()).unwrap_or_else(|e| panic!("{place}: {e}"));
            reader.expect("~");
            for output in &outputs {
                assert_equal(output, &reader.literal(), &place);
                reader.take(",");
            }
            assert_eq!(reader.0, "", "{place}: more values than outputs");
        } else if let Some(rest) = line.strip_prefix("// fails: ") {
            let mut reader = Reader(rest);
            let error = run(&mut instance, reader.call()).expect_err(&place).to_string();
            assert!(error.contains(reader.0.trim()), "{place}: {error}");
        } else {
            continue;
        }
        lines += 1;
    }
    assert!(lines > 0 || precision != Precision::Exact, "{what}: nothing to run");
}

#[test]
fn programs_give_what_they_say() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mil"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "the programs are missing");
    for precision in [Precision::Exact, Precision::Fast] {
        files.iter().for_each(|f| check_file(f, precision));
    }
}
