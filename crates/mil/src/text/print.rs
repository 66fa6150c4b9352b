//! Programs to text.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::dtype::DataType;
use crate::program::{Argument, Function, Op, Operand, Program, VarId};
use crate::types::{TensorType, Type};
use crate::value::{BlobRef, Data, Value};

use super::Dialect;
use elements::Elements;

mod elements;

/// The text of `program`, byte for byte as Apple's compiler would write it.
///
/// Broken programs are printed too: what has no text form stands between `<` and `>` and does not parse.
pub fn print(program: &Program, dialect: Dialect) -> String {
    let mut printer = Printer::new(dialect);
    printer.program(program);
    printer.out
}

/// As [`print()`], piece by piece: the text is never in memory as a whole.
///
/// # Errors
/// Those of `out`.
pub fn write(program: &Program, dialect: Dialect, out: &mut dyn Write) -> io::Result<()> {
    let mut printer = Printer { sink: Some(Sink { out, failure: None }), ..Printer::new(dialect) };
    printer.program(program);
    printer.spill();
    match printer.sink.and_then(|sink| sink.failure) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// One line for `op`, a member of `function`, for people to read; scalars as in `program(1.3)`.
///
/// A variable that the function lacks is printed as its handle, e.g. `%12?`.
pub fn print_op(function: &Function, op: &Op) -> String {
    let mut printer = Printer::new(Dialect::V1_3);
    printer.op(function, op);
    printer.out
}

/// Text that is held back before it is written.
const HELD_BACK: usize = 1 << 16;

struct Printer<'w> {
    out: String,
    dialect: Dialect,
    /// Where the text goes now and then.
    sink: Option<Sink<'w>>,
}

struct Sink<'w> {
    out: &'w mut dyn Write,
    /// The first error; nothing is written after it.
    failure: Option<io::Error>,
}

impl Printer<'_> {
    fn new(dialect: Dialect) -> Printer<'static> {
        Printer { out: String::new(), dialect, sink: None }
    }

    /// Writes what there is, if there is where to.
    fn spill(&mut self) {
        let Some(sink) = &mut self.sink else { return };
        if sink.failure.is_none() {
            sink.failure = sink.out.write_all(self.out.as_bytes()).err();
        }
        self.out.clear();
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// `items` with `, ` between them.
    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            each(self, item);
        }
    }

    fn program(&mut self, program: &Program) {
        self.push(&format!("program({})\n[buildInfo = dict<", self.dialect.version()));
        let string = Type::scalar(DataType::String);
        self.ty(&string);
        self.push(", ");
        self.ty(&string);
        self.push(">({");
        self.list(&program.build_info, |p, (key, value)| {
            p.push("{");
            p.string(key);
            p.push(", ");
            p.string(value);
            p.push("}");
        });
        self.push("})]\n{\n");
        let mut functions: Vec<&Function> = program.functions.iter().collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        for function in functions {
            self.function(function);
        }
        self.push("}");
    }

    fn function(&mut self, function: &Function) {
        self.push(&format!("    func {}<{}>(", function.name, function.opset.text_name()));
        let mut inputs = function.inputs.clone();
        inputs.sort_by(|a, b| name_of(function, *a).cmp(&name_of(function, *b)));
        self.list(inputs, |p, id| p.declaration(function, id));
        self.push(")");
        if !function.attributes.is_empty() {
            self.push(" ");
            self.attributes(&function.attributes);
        }
        self.push(" {\n");
        for op in &function.ops {
            self.push("            ");
            if self.sink.as_ref().is_some_and(|sink| sink.failure.is_some()) {
                return;
            }
            self.op(function, op);
            self.push(";\n");
            if self.out.len() > HELD_BACK {
                self.spill();
            }
        }
        self.push("        } -> (");
        self.list(&function.outputs, |p, id| p.push(&name_of(function, *id)));
        self.push(");\n");
    }

    fn declaration(&mut self, function: &Function, id: VarId) {
        match function.vars.get(id.0 as usize) {
            Some(var) => self.ty(&var.ty),
            None => self.push("<no type>"),
        }
        self.push(" ");
        self.push(&name_of(function, id));
    }

    fn op(&mut self, function: &Function, op: &Op) {
        if !op.outputs.is_empty() {
            self.list(&op.outputs, |p, id| p.declaration(function, *id));
            self.push(" = ");
        }
        self.push(op.kind.name());
        self.push("(");
        self.list(&op.inputs, |p, (name, argument)| {
            p.push(name);
            p.push(" = ");
            p.argument(function, argument);
        });
        self.push(")");
        if !op.attributes.is_empty() {
            self.attributes(&op.attributes);
        }
    }

    fn argument(&mut self, function: &Function, argument: &Argument) {
        let operands = argument.operands();
        let many = operands.len() != 1;
        self.push(if many { "(" } else { "" });
        self.list(operands, |p, operand| match operand {
            Operand::Var(id) => p.push(&name_of(function, *id)),
            Operand::Value(value) => p.value(value),
        });
        self.push(if many { ")" } else { "" });
    }

    fn attributes(&mut self, attributes: &BTreeMap<String, Value>) {
        self.push("[");
        self.list(attributes, |p, (name, value)| {
            p.push(name);
            p.push(" = ");
            p.value(value);
        });
        self.push("]");
    }

    fn value(&mut self, value: &Value) {
        self.ty(&value.ty);
        self.push("(");
        self.literal(value);
        self.push(")");
    }

    fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Tensor(t) => self.tensor_type(t),
            Type::State(t) => {
                self.push("state<");
                self.tensor_type(t);
            }
            Type::List(t, length) => {
                self.push("list<");
                self.ty(t);
                self.push(&length.map_or(", ?".to_owned(), |n| format!(", {n}")));
            }
            Type::Tuple(types) => {
                self.push("tuple<");
                self.list(types, Printer::ty);
            }
            Type::Dict(key, value) => {
                self.push("dict<");
                self.ty(key);
                self.push(", ");
                self.ty(value);
            }
        }
        if !matches!(ty, Type::Tensor(_)) {
            self.push(">");
        }
    }

    fn tensor_type(&mut self, t: &TensorType) {
        if t.shape.is_empty() && self.dialect == Dialect::V1_0 {
            self.push(&format!("tensor<{}, []>", t.dtype));
        } else {
            self.push(&t.to_string());
        }
    }

    /// What stands between the parentheses after the type.
    fn literal(&mut self, value: &Value) {
        match &value.data {
            Data::Blob(blob) => self.blob(blob),
            Data::List(members) => {
                self.push("[");
                self.list(members, Printer::literal);
                self.push("]");
            }
            Data::Tuple(members) => {
                self.push("(");
                self.list(members, Printer::literal);
                self.push(")");
            }
            Data::Dict(pairs) => self.dict(pairs),
            Data::Bytes(_) | Data::Strings(_) => match Elements::of(value) {
                Some(elements) => self.tensor(&elements),
                None => self.push("<elements that do not fit the type>"),
            },
        }
    }

    fn blob(&mut self, blob: &BlobRef) {
        self.push("BLOBFILE(path = ");
        self.value(&Value::string(&blob.file));
        self.push(", offset = ");
        self.ty(&Type::scalar(DataType::UInt64));
        self.push(&format!("({}))", blob.offset));
    }

    fn dict(&mut self, pairs: &[(Value, Value)]) {
        let mut printed: Vec<(String, &Value)> = pairs.iter().map(|(k, v)| (self.aside(k), v)).collect();
        printed.sort_by(|a, b| a.0.cmp(&b.0));
        self.push("{");
        self.list(printed, |p, (key, value)| {
            p.push("{");
            p.push(&key);
            p.push(", ");
            p.literal(value);
            p.push("}");
        });
        self.push("}");
    }

    /// The literal on its own.
    fn aside(&self, value: &Value) -> String {
        let mut printer = Printer::new(self.dialect);
        printer.literal(value);
        printer.out
    }

    fn tensor(&mut self, elements: &Elements<'_>) {
        let mut next = 0;
        self.nested(elements, &elements.shape, &mut next);
    }

    /// The elements from `next` on that fill `shape`.
    fn nested(&mut self, elements: &Elements<'_>, shape: &[usize], next: &mut usize) {
        let Some((outer, inner)) = shape.split_first() else {
            elements.print(*next, &mut self.out);
            *next += 1;
            return;
        };
        self.push("[");
        self.list(0..*outer, |p, _| p.nested(elements, inner, next));
        self.push("]");
    }

    fn string(&mut self, text: &str) {
        elements::print_string(text, &mut self.out);
    }
}

fn name_of(function: &Function, id: VarId) -> std::borrow::Cow<'_, str> {
    match function.vars.get(id.0 as usize) {
        Some(var) => var.name.as_str().into(),
        None => format!("%{}?", id.0).into(),
    }
}
