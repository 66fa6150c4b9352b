//! The IR: `Program`, `Function`, `Op`, `Var`. Plain data with public fields.

use std::collections::BTreeMap;

use crate::opset::{OpKind, Opset};
use crate::types::{TensorType, Type};
use crate::value::{BlobRef, Data, Value};

/// An ML program: functions that share weight files but nothing else.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// Functions, sorted by name.
    pub functions: Vec<Function>,
    /// What made the program: free key-value pairs.
    pub build_info: BTreeMap<String, String>,
}

/// A function: typed inputs, a straight line of ops, and the variables it returns.
///
/// The format allows nested blocks (control flow) and several specializations of the body; no supported
/// model uses them and the readers refuse them, so the one block is the function itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Function {
    /// Name, unique in the program.
    pub name: String,
    /// The op definitions in force.
    pub opset: Opset,
    /// Inputs in declaration order, states included.
    pub inputs: Vec<VarId>,
    /// Attributes of the function itself (only `FlexibleShapeInformation` is known, and only in text).
    pub attributes: BTreeMap<String, Value>,
    /// Ops in execution order.
    pub ops: Vec<Op>,
    /// Variables returned, in declaration order.
    pub outputs: Vec<VarId>,
    /// All variables; a `VarId` is an index into this table.
    pub vars: Vec<Var>,
}

/// A handle to a variable of one function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VarId(pub u32);

/// A variable: assigned once, by a function input or an op.
#[derive(Clone, PartialEq, Debug)]
pub struct Var {
    /// Name, unique in the function.
    pub name: String,
    /// Type.
    pub ty: Type,
}

/// One operation.
#[derive(Clone, PartialEq, Debug)]
pub struct Op {
    /// Which operation.
    pub kind: OpKind,
    /// Arguments by parameter name.
    pub inputs: BTreeMap<String, Argument>,
    /// Attributes: `name` always, `val` for `const`, and the parameters of `constexpr_*` before iOS 18.
    pub attributes: BTreeMap<String, Value>,
    /// Variables assigned; empty for `write_state`.
    pub outputs: Vec<VarId>,
}

/// What is bound to a parameter.
#[derive(Clone, PartialEq, Debug)]
pub enum Argument {
    /// One operand.
    One(Operand),
    /// A list of operands other than one, e.g. `values` of `concat`.
    Many(Vec<Operand>),
}

/// A variable or an inline literal.
#[derive(Clone, PartialEq, Debug)]
pub enum Operand {
    /// A variable assigned earlier.
    Var(VarId),
    /// A literal.
    Value(Value),
}

impl Program {
    /// The function called `name`.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.name == name)
    }

    /// Every place where a literal refers to a weight file, with the type it has there.
    pub fn blobs(&self) -> impl Iterator<Item = (&BlobRef, &TensorType)> {
        self.functions.iter().flat_map(Function::blobs)
    }
}

impl Function {
    /// Every place where a literal refers to a weight file, with the type it has there.
    pub fn blobs(&self) -> impl Iterator<Item = (&BlobRef, &TensorType)> {
        self.literals().filter_map(|value| match (&value.data, &value.ty) {
            (Data::Blob(blob), Type::Tensor(ty)) => Some((blob, ty)),
            _ => None,
        })
    }

    /// An empty function.
    pub fn new(name: impl Into<String>, opset: Opset) -> Function {
        Function {
            name: name.into(),
            opset,
            inputs: Vec::new(),
            attributes: BTreeMap::new(),
            ops: Vec::new(),
            outputs: Vec::new(),
            vars: Vec::new(),
        }
    }

    /// The literals of the function's attributes and of all its ops.
    fn literals(&self) -> impl Iterator<Item = &Value> {
        let of_ops = self.ops.iter().flat_map(|op| op.literals().map(|(_, value)| value));
        self.attributes.values().chain(of_ops)
    }

    /// Adds a variable to the table; it is up to the caller to make an input or an op assign it.
    pub fn add_var(&mut self, name: impl Into<String>, ty: Type) -> VarId {
        let id = VarId(u32::try_from(self.vars.len()).expect("fewer than 2^32 variables"));
        self.vars.push(Var { name: name.into(), ty });
        id
    }

    /// The variable behind a handle.
    ///
    /// # Panics
    /// When the handle is not of this function; `validate` proves that none is.
    pub fn var(&self, id: VarId) -> &Var {
        &self.vars[id.0 as usize]
    }
}

impl Op {
    /// The `name` attribute; empty when there is none.
    pub fn name(&self) -> &str {
        self.attributes.get("name").and_then(Value::as_str).unwrap_or("")
    }

    /// All operands, by parameter name and then in list order.
    pub fn operands(&self) -> impl Iterator<Item = (&str, &Operand)> {
        self.inputs.iter().flat_map(|(name, a)| a.operands().iter().map(move |o| (name.as_str(), o)))
    }

    /// The literals that the op brings, by parameter or attribute name: inline operands, then attributes.
    pub fn literals(&self) -> impl Iterator<Item = (&str, &Value)> {
        let inline = self.operands().filter_map(|(name, o)| match o {
            Operand::Value(v) => Some((name, v)),
            Operand::Var(_) => None,
        });
        inline.chain(self.attributes.iter().map(|(name, v)| (name.as_str(), v)))
    }

    /// The variables that the op reads.
    pub fn reads(&self) -> impl Iterator<Item = VarId> {
        self.operands().filter_map(|(_, o)| match o {
            Operand::Var(v) => Some(*v),
            Operand::Value(_) => None,
        })
    }
}

impl Argument {
    /// The operands, one or many.
    pub fn operands(&self) -> &[Operand] {
        match self {
            Argument::One(o) => std::slice::from_ref(o),
            Argument::Many(os) => os,
        }
    }
}

impl From<Vec<Operand>> for Argument {
    /// A list of one is that one: the text and protobuf forms do not tell them apart.
    fn from(operands: Vec<Operand>) -> Argument {
        match <[Operand; 1]>::try_from(operands) {
            Ok([operand]) => Argument::One(operand),
            Err(operands) => Argument::Many(operands),
        }
    }
}

impl From<VarId> for Argument {
    fn from(v: VarId) -> Argument {
        Argument::One(Operand::Var(v))
    }
}

impl From<Value> for Argument {
    fn from(v: Value) -> Argument {
        Argument::One(Operand::Value(v))
    }
}
