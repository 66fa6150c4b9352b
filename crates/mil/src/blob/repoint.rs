//! Every place of a function that refers to a weight file, to be changed.

use crate::program::{Argument, Function, Op, Operand};
use crate::value::{BlobRef, Data, Value};

/// Calls `point` for each reference to a weight file: in the attributes of the function and of its ops, and in
/// inline arguments, single or in lists. Containers hold no blobs.
pub fn repoint(function: &mut Function, mut point: impl FnMut(&mut BlobRef)) {
    for value in literals(function) {
        if let Data::Blob(blob) = &mut value.data {
            point(blob);
        }
    }
}

fn literals(function: &mut Function) -> impl Iterator<Item = &mut Value> {
    function.attributes.values_mut().chain(function.ops.iter_mut().flat_map(of_op))
}

fn of_op(op: &mut Op) -> impl Iterator<Item = &mut Value> {
    let operands = op.inputs.values_mut().flat_map(|argument| match argument {
        Argument::One(operand) => std::slice::from_mut(operand),
        Argument::Many(operands) => operands.as_mut_slice(),
    });
    let inline = operands.filter_map(|operand| match operand {
        Operand::Value(value) => Some(value),
        Operand::Var(_) => None,
    });
    inline.chain(op.attributes.values_mut())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dtype::DataType;
    use crate::opset::{OpKind, Opset};
    use crate::program::Program;

    #[test]
    fn no_reference_is_missed() {
        let mut next = 0;
        let mut blob = || {
            next += 64;
            Value::blob(DataType::Fp16, &[10], BlobRef { file: "@model_path/f".into(), offset: next })
        };
        let many = Argument::Many(vec![Operand::Value(blob()), Operand::Value(blob())]);
        let op = Op {
            kind: OpKind::Foreign("any".into()),
            inputs: BTreeMap::from([("one".into(), blob().into()), ("many".into(), many)]),
            attributes: BTreeMap::from([("val".into(), blob()), ("name".into(), Value::string("n"))]),
            outputs: Vec::new(),
        };
        let mut function = Function::new("main", Opset::Ios18);
        function.attributes.insert("attribute".into(), blob());
        function.ops.push(op);
        let mut count = 0;
        repoint(&mut function, |blob| {
            count += 1;
            blob.offset += 1;
        });
        assert_eq!(count, 5);
        let program = Program { functions: vec![function], build_info: BTreeMap::new() };
        assert!(program.blobs().all(|(blob, _)| blob.offset % 64 == 1));
    }
}
