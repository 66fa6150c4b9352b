//! Programs, to and from `MILSpec.Program`.

use std::collections::{BTreeMap, HashMap};

use crate::dtype::DataType;
use crate::error::Invalid;
use crate::opset::{OpKind, Opset};
use crate::program::{Argument, Function, Op, Operand, Program, Var, VarId};
use crate::types::Type;
use crate::value::{Data, Value};

use super::fault::{At, Decoded, Fault};
use super::{messages as pb, types, value};

const VERSION: i64 = 1;
const BUILD_INFO: &str = "buildInfo";

pub(super) fn encode(program: &Program) -> Result<pb::Program, Invalid> {
    let mut functions = BTreeMap::new();
    for f in &program.functions {
        functions.insert(f.name.clone(), encode_function(f)?);
    }
    let mut attributes = BTreeMap::new();
    if !program.build_info.is_empty() {
        let info = value::encode(&build_info_value(&program.build_info));
        attributes.insert(BUILD_INFO.to_owned(), info.map_err(|p| Invalid::new("", BUILD_INFO, p))?);
    }
    Ok(pb::Program { version: VERSION, functions, attributes })
}

fn build_info_value(info: &BTreeMap<String, String>) -> Value {
    let strings = || Box::new(Type::scalar(DataType::String));
    let pairs = info.iter().map(|(k, v)| (Value::string(k), Value::string(v))).collect();
    Value { ty: Type::Dict(strings(), strings()), data: Data::Dict(pairs) }
}

fn encode_function(f: &Function) -> Result<pb::Function, Invalid> {
    let at = |place: &'static str| move |problem| Invalid::new(&f.name, place, problem);
    let block = pb::Block {
        outputs: f.outputs.iter().map(|v| name_of(f, *v)).collect::<Result<_, _>>().map_err(at("outputs"))?,
        operations: f.ops.iter().map(|op| encode_op(f, op)).collect::<Result<_, _>>()?,
    };
    let opset = f.opset.proto_name().to_owned();
    Ok(pb::Function {
        inputs: f.inputs.iter().map(|v| named(f, *v)).collect::<Result<_, _>>().map_err(at("inputs"))?,
        opset: opset.clone(),
        block_specializations: BTreeMap::from([(opset, block)]),
        attributes: encode_attributes(&f.attributes).map_err(at("attributes"))?,
    })
}

fn encode_op(f: &Function, op: &Op) -> Result<pb::Operation, Invalid> {
    let message = || -> Result<pb::Operation, String> {
        let mut inputs = BTreeMap::new();
        for (name, argument) in &op.inputs {
            let arguments =
                argument.operands().iter().map(|o| encode_operand(f, o)).collect::<Result<_, _>>();
            let arguments = arguments.map_err(|p: String| format!("`{name}`: {p}"))?;
            inputs.insert(name.clone(), pb::Argument { arguments });
        }
        Ok(pb::Operation {
            ty: op.kind.name().to_owned(),
            inputs,
            outputs: op.outputs.iter().map(|v| named(f, *v)).collect::<Result<_, _>>()?,
            attributes: encode_attributes(&op.attributes)?,
        })
    };
    message().map_err(|p| Invalid::new(&f.name, format!("op `{}` ({})", op.name(), op.kind.name()), p))
}

fn encode_attributes(attributes: &BTreeMap<String, Value>) -> Result<BTreeMap<String, pb::Value>, String> {
    let encode = |(name, v): (&String, &Value)| match value::encode(v) {
        Ok(message) => Ok((name.clone(), message)),
        Err(problem) => Err(format!("`{name}`: {problem}")),
    };
    attributes.iter().map(encode).collect()
}

fn encode_operand(f: &Function, operand: &Operand) -> Result<pb::Binding, String> {
    let bound = match operand {
        Operand::Var(v) => pb::Bound::Name(name_of(f, *v)?),
        Operand::Value(v) => pb::Bound::Value(value::encode(v)?),
    };
    Ok(pb::Binding { bound: Some(bound) })
}

fn var(f: &Function, id: VarId) -> Result<&Var, String> {
    f.vars.get(id.0 as usize).ok_or_else(|| format!("variable {} is not in the function's table", id.0))
}

fn name_of(f: &Function, id: VarId) -> Result<String, String> {
    Ok(var(f, id)?.name.clone())
}

fn named(f: &Function, id: VarId) -> Result<pb::NamedValueType, String> {
    let var = var(f, id)?;
    Ok(pb::NamedValueType { name: var.name.clone(), ty: Some(types::encode(&var.ty)) })
}

pub(super) fn decode(program: pb::Program) -> Decoded<Program> {
    if program.version != VERSION {
        return Err(Fault::unsupported(format!("program version {}, expected {VERSION}", program.version)));
    }
    let mut build_info = BTreeMap::new();
    for (name, attribute) in program.attributes {
        if name != BUILD_INFO {
            return Err(Fault::unsupported(format!(
                "program attribute `{name}`, expected `{BUILD_INFO}` only"
            )));
        }
        build_info = decode_build_info(attribute).at(|| format!("program attribute `{BUILD_INFO}`"))?;
    }
    let decode = |(name, f): (String, pb::Function)| {
        let place = format!("function `{name}`");
        decode_function(name, f).at(|| place)
    };
    let functions = program.functions.into_iter().map(decode).collect::<Decoded<_>>()?;
    Ok(Program { functions, build_info })
}

fn decode_build_info(attribute: pb::Value) -> Decoded<BTreeMap<String, String>> {
    let attribute = value::decode(attribute)?;
    let Data::Dict(pairs) = &attribute.data else {
        return Err(Fault::malformed(format!("has type {}, expected dict<string, string>", attribute.ty)));
    };
    let mut info = BTreeMap::new();
    for (key, value) in pairs {
        let (Some(key), Some(value)) = (key.as_str(), value.as_str()) else {
            return Err(Fault::malformed(format!(
                "has type {}, expected dict<string, string>",
                attribute.ty
            )));
        };
        if info.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Fault::malformed(format!("key `{key}` occurs twice")));
        }
    }
    Ok(info)
}

fn decode_function(name: String, f: pb::Function) -> Decoded<Function> {
    let known = Opset::ALL.into_iter().find(|o| o.proto_name() == f.opset);
    let opset = known.ok_or_else(|| {
        Fault::unsupported(format!("opset `{}`, expected one of CoreML5 to CoreML8", f.opset))
    })?;
    let block = only_block(f.block_specializations, opset)?;
    let mut reader = Reader { function: Function::new(name, opset), names: HashMap::new() };
    for input in f.inputs {
        let id = reader.declare(input).at(|| "inputs".to_owned())?;
        reader.function.inputs.push(id);
    }
    for op in block.operations {
        reader.op(op)?;
    }
    for output in &block.outputs {
        let id = reader.resolve(output).at(|| "outputs".to_owned())?;
        reader.function.outputs.push(id);
    }
    reader.function.attributes = decode_attributes(f.attributes)?;
    Ok(reader.function)
}

fn only_block(mut blocks: BTreeMap<String, pb::Block>, opset: Opset) -> Decoded<pb::Block> {
    let expected = opset.proto_name();
    match (blocks.remove(expected), blocks.into_keys().next()) {
        (Some(block), None) => Ok(block),
        (Some(_), Some(other)) => Err(Fault::unsupported(format!(
            "a block specialization for `{other}` besides the one for `{expected}`"
        ))),
        (None, Some(other)) => Err(Fault::malformed(format!(
            "the block specialization is for `{other}`, expected the function's opset `{expected}`"
        ))),
        (None, None) => Err(Fault::malformed(format!("has no block specialization for `{expected}`"))),
    }
}

fn decode_attributes(attributes: BTreeMap<String, pb::Value>) -> Decoded<BTreeMap<String, Value>> {
    let decode = |(name, v): (String, pb::Value)| {
        let value = value::decode(v).at(|| format!("attribute `{name}`"))?;
        Ok((name, value))
    };
    attributes.into_iter().map(decode).collect()
}

/// A function as far as it is read, and the variables that are in scope.
struct Reader {
    function: Function,
    names: HashMap<String, VarId>,
}

impl Reader {
    fn declare(&mut self, declared: pb::NamedValueType) -> Decoded<VarId> {
        let name = declared.name;
        let ty = types::decode(declared.ty).at(|| format!("variable `{name}`"))?;
        if self.names.contains_key(&name) {
            return Err(Fault::malformed(format!("variable `{name}` is defined a second time")));
        }
        let id = self.function.add_var(name.clone(), ty);
        self.names.insert(name, id);
        Ok(id)
    }

    fn resolve(&self, name: &str) -> Decoded<VarId> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| Fault::malformed(format!("variable `{name}` is used before it is defined")))
    }

    fn op(&mut self, op: pb::Operation) -> Decoded<()> {
        let index = self.function.ops.len();
        let label = op.outputs.first().map_or_else(String::new, |o| format!(" `{}`", o.name));
        let place = format!("op {index}{label} ({})", op.ty);
        let op = self.decode_op(op).at(|| place)?;
        self.function.ops.push(op);
        Ok(())
    }

    fn decode_op(&mut self, op: pb::Operation) -> Decoded<Op> {
        let mut inputs = BTreeMap::new();
        for (name, argument) in op.inputs {
            let argument = self.argument(argument).at(|| format!("input `{name}`"))?;
            inputs.insert(name, argument);
        }
        let attributes = decode_attributes(op.attributes)?;
        let outputs = op.outputs.into_iter().map(|o| self.declare(o)).collect::<Decoded<_>>()?;
        Ok(Op { kind: OpKind::from_name(&op.ty), inputs, attributes, outputs })
    }

    fn argument(&self, argument: pb::Argument) -> Decoded<Argument> {
        let operands =
            argument.arguments.into_iter().map(|b| self.operand(b)).collect::<Decoded<Vec<_>>>()?;
        Ok(operands.into())
    }

    fn operand(&self, binding: pb::Binding) -> Decoded<Operand> {
        match binding.bound {
            Some(pb::Bound::Name(name)) => Ok(Operand::Var(self.resolve(&name)?)),
            Some(pb::Bound::Value(v)) => Ok(Operand::Value(value::decode(v)?)),
            None => Err(Fault::malformed("a binding is neither a name nor a value")),
        }
    }
}
