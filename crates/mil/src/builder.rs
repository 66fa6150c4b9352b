//! Builds a function op by op; the type of each result is inferred, and checked, on the spot.

use std::collections::{BTreeMap, BTreeSet};

use crate::call::Scope;
use crate::error::Invalid;
use crate::opset::{OpKind, Opcode, Opset};
use crate::program::{Argument, Function, Op, Operand, VarId};
use crate::types::{TensorType, Type};
use crate::value::Value;

/// A function under construction.
///
/// Literal arguments of plain ops become `const` ops; those of `constexpr_*` ops stay inline. So coremltools writes
/// them. Equal literals of parameters of one name are one `const`, `{parameter}_{number}`: a model has thousands of
/// them and few that differ. coremltools has both forms, one for each op and one for several.
#[derive(Debug)]
pub struct FunctionBuilder {
    function: Function,
    names: BTreeSet<String>,
    definitions: Vec<Option<usize>>,
    /// The literals so far, by parameter.
    literals: BTreeMap<String, Vec<(Value, VarId)>>,
}

impl FunctionBuilder {
    /// A function without inputs or ops.
    pub fn new(name: &str, opset: Opset) -> FunctionBuilder {
        let function = Function::new(name, opset);
        let (names, literals) = (BTreeSet::new(), BTreeMap::new());
        FunctionBuilder { function, names, definitions: Vec::new(), literals }
    }

    /// Declares a tensor input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> VarId {
        self.declare(name, Type::Tensor(ty))
    }

    /// Declares a state.
    pub fn state(&mut self, name: &str, ty: TensorType) -> VarId {
        self.declare(name, Type::State(ty))
    }

    fn declare(&mut self, name: &str, ty: Type) -> VarId {
        let id = self.add_var(name.to_owned(), ty, None);
        self.function.inputs.push(id);
        id
    }

    fn add_var(&mut self, wanted: String, ty: Type, op: Option<usize>) -> VarId {
        let name = self.unique(wanted);
        self.definitions.push(op);
        self.function.add_var(name, ty)
    }

    /// `wanted`, or `wanted_1`, `wanted_2`, ... when it is taken.
    fn unique(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        let mut n = 0;
        while !self.names.insert(name.clone()) {
            n += 1;
            name = format!("{wanted}_{n}");
        }
        name
    }

    /// The type of a tensor or state variable.
    pub fn tensor_type(&self, var: VarId) -> &TensorType {
        match &self.function.var(var).ty {
            Type::Tensor(t) | Type::State(t) => t,
            other => unreachable!("variables are tensors or states, not {other}"),
        }
    }

    /// The extents of a tensor or state variable.
    pub fn shape(&self, var: VarId) -> Vec<u64> {
        self.tensor_type(var).fixed_shape().expect("the builder only makes fixed shapes")
    }

    /// Appends a `const` op.
    pub fn constant(&mut self, name: &str, value: Value) -> VarId {
        let id = self.add_var(name.to_owned(), value.ty.clone(), Some(self.function.ops.len()));
        let name = self.function.var(id).name.clone();
        let attributes = [("name".to_owned(), Value::string(name)), ("val".to_owned(), value)].into();
        let kind = OpKind::Known(Opcode::Const);
        self.function.ops.push(Op { kind, inputs: BTreeMap::new(), attributes, outputs: vec![id] });
        id
    }

    /// Appends an op of one result.
    ///
    /// # Errors
    /// What is wrong with the arguments, by the op's inference rule.
    pub fn call(&mut self, opcode: Opcode, name: &str, args: &[(&str, Argument)]) -> Result<VarId, Invalid> {
        let outputs = self.call_many(opcode, name, args)?;
        match outputs[..] {
            [id] => Ok(id),
            _ => Err(self.invalid(opcode, name, format!("has {} results, expected one", outputs.len()))),
        }
    }

    /// Appends an op of any number of results, `write_state` included.
    ///
    /// # Errors
    /// As for `call`.
    pub fn call_many(
        &mut self,
        opcode: Opcode,
        name: &str,
        args: &[(&str, Argument)],
    ) -> Result<Vec<VarId>, Invalid> {
        let kind = OpKind::Known(opcode);
        let inline = kind.is_constant();
        let place = |(param, arg): &(&str, Argument)| {
            let arg = if inline { arg.clone() } else { self.without_literals(param, arg) };
            ((*param).to_owned(), arg)
        };
        let inputs: BTreeMap<String, Argument> = args.iter().map(place).collect();
        let types = self.infer(opcode, &inputs).map_err(|problem| self.invalid(opcode, name, problem))?;
        let index = self.function.ops.len();
        let single = types.len() == 1;
        let output = |(i, ty)| {
            let var = if single { name.to_owned() } else { format!("{name}_{i}") };
            self.add_var(var, ty, Some(index))
        };
        let outputs: Vec<VarId> = types.into_iter().enumerate().map(output).collect();
        let shown = match outputs[..] {
            [id] => self.function.var(id).name.clone(),
            _ => self.unique(format!("{name}_op")),
        };
        let attributes = [("name".to_owned(), Value::string(shown))].into();
        self.function.ops.push(Op { kind, inputs, attributes, outputs: outputs.clone() });
        Ok(outputs)
    }

    /// The argument with each literal moved into a `const` op.
    fn without_literals(&mut self, param: &str, argument: &Argument) -> Argument {
        let place = |operand: &Operand| match operand {
            Operand::Var(v) => Operand::Var(*v),
            Operand::Value(v) => Operand::Var(self.literal(param, v)),
        };
        argument.operands().iter().map(place).collect::<Vec<_>>().into()
    }

    /// The variable of a literal: that of an equal one of the same parameter, of whatever op, or a new one.
    fn literal(&mut self, param: &str, value: &Value) -> VarId {
        let known = self.literals.entry(param.to_owned()).or_default();
        if let Some((_, var)) = known.iter().find(|(literal, _)| literal == value) {
            return *var;
        }
        let name = format!("{param}_{}", known.len());
        let var = self.constant(&name, value.clone());
        self.literals.entry(param.to_owned()).or_default().push((value.clone(), var));
        var
    }

    fn infer(&self, opcode: Opcode, inputs: &BTreeMap<String, Argument>) -> Result<Vec<Type>, String> {
        let scope = Scope { function: &self.function, definitions: &self.definitions };
        scope
            .infer(opcode, inputs)?
            .ok_or_else(|| "an argument has a flexible shape, expected fixed ones".to_owned())
    }

    fn invalid(&self, opcode: Opcode, name: &str, problem: String) -> Invalid {
        let at = format!("op `{name}` ({})", opcode.info().name);
        Invalid { function: self.function.name.clone(), at, problem }
    }

    /// The finished function, which returns `outputs` under these variables' names.
    pub fn finish(mut self, outputs: Vec<VarId>) -> Function {
        self.function.outputs = outputs;
        self.function
    }
}
