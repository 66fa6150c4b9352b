//! Constants of a program in dense form, decoded once and shared.

use std::collections::HashMap;
use std::sync::Arc;

use anelith_mil::blob::WeightStore;
use anelith_mil::{
    Argument, BlobRef, Data, DataType, Function, FunctionInfo, Op, Opcode, Operand, TensorType, Type, Value,
    VarId,
};

use crate::ops::Problem;
use crate::ops::constexpr::{Palette, decode};
use crate::tensor::Tensor;

/// The weights of one program, decompressed when first asked for; plans made with the same `Constants`
/// share what they have in common.
#[derive(Debug)]
pub struct Constants<'a> {
    weights: &'a WeightStore,
    decoded: HashMap<Key, Arc<Tensor>>,
}

/// What makes two constants the same.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Key {
    Literal(Source),
    Palette { indices: Source, lut: Source, vector_axis: i32, shape: Vec<usize> },
}

/// Where the elements of a tensor come from.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Source {
    Blob(BlobRef, TensorType),
    Immediate(Vec<u8>, TensorType),
}

/// An operand whose value is known before the program runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'f> {
    /// A literal.
    Literal(&'f Value),
    /// The result of a `constexpr_lut_to_dense` op of the given release.
    Palette(&'f Op, u8),
}

/// A function and what `validate` learnt of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'f> {
    pub(super) function: &'f Function,
    pub(super) info: &'f FunctionInfo,
}

impl<'f> Scope<'f> {
    /// The constant behind an operand; `None` for what the program computes.
    pub(super) fn known(&self, operand: &'f Operand) -> Option<Known<'f>> {
        match operand {
            Operand::Value(value) => Some(Known::Literal(value)),
            Operand::Var(var) => self.defined(*var),
        }
    }

    /// The constant that a variable is; `None` for what the program computes.
    pub(super) fn defined(&self, var: VarId) -> Option<Known<'f>> {
        let op = self.function.ops.get((*self.info.definitions.get(var.0 as usize)?)?)?;
        if op.kind.is(Opcode::ConstexprLutToDense) {
            return Some(Known::Palette(op, op.kind.release(self.function.opset)?));
        }
        self.info.const_value(self.function, var).map(Known::Literal)
    }

    /// The literal bound to a parameter of a constexpr op, as input or as attribute.
    fn literal(&self, op: &'f Op, name: &str) -> Result<Option<&'f Value>, Problem> {
        if let Some(value) = op.attributes.get(name) {
            return Ok(Some(value));
        }
        match op.inputs.get(name) {
            None => Ok(None),
            Some(Argument::One(operand)) => match self.known(operand) {
                Some(Known::Literal(value)) => Ok(Some(value)),
                _ => Err(Problem::Unsupported(format!("`{name}` is not a literal"))),
            },
            Some(Argument::Many(_)) => Err(Problem::Malformed(format!("`{name}` is a list"))),
        }
    }

    fn required(&self, op: &'f Op, name: &str) -> Result<&'f Value, Problem> {
        self.literal(op, name)?.ok_or_else(|| Problem::Malformed(format!("parameter `{name}` is missing")))
    }
}

impl<'a> Constants<'a> {
    /// No constants decoded yet; blobs are read from `weights`.
    pub fn new(weights: &'a WeightStore) -> Constants<'a> {
        Constants { weights, decoded: HashMap::new() }
    }

    /// The dense form of a constant.
    pub(super) fn tensor(&mut self, scope: Scope<'_>, known: Known<'_>) -> Result<Arc<Tensor>, Problem> {
        match known {
            Known::Literal(value) => self.literal(value),
            Known::Palette(op, 16) => self.packed_palette(scope, op),
            Known::Palette(op, _) => self.palette(scope, op),
        }
    }

    fn literal(&mut self, value: &Value) -> Result<Arc<Tensor>, Problem> {
        let (ty, source) = source(value)?;
        self.shared(Key::Literal(source), |this| {
            let data = decode(ty.dtype, this.bytes(value, ty)?).map_err(Problem::Unsupported)?;
            Ok(Tensor::made(extents(ty)?, data)?)
        })
    }

    /// iOS 18: `indices` have the shape of the weights, `lut` has a table for each group.
    fn palette(&mut self, scope: Scope<'_>, op: &Op) -> Result<Arc<Tensor>, Problem> {
        let (indices, lut) = (scope.required(op, "indices")?, scope.required(op, "lut")?);
        let ((ty, indices_source), (lut_ty, lut_source)) = (source(indices)?, source(lut)?);
        expect_float_table(lut_ty)?;
        let axis = scope.literal(op, "vector_axis")?.and_then(Value::as_i32).unwrap_or(0);
        let shape = extents(ty)?;
        let vector_axis = crate::ops::arguments::normalize_axis(axis, shape.len().max(1))?;
        let key =
            Key::Palette { indices: indices_source, lut: lut_source, vector_axis: axis, shape: Vec::new() };
        let bits = ty.dtype.bits();
        self.shared(key, |this| {
            let lut = this.literal(lut)?;
            let indices = this.bytes(indices, ty)?;
            let (lut, lut_shape) = (lut.f32s()?, lut.shape());
            let palette = Palette { indices, bits, shape: &shape, lut, lut_shape, vector_axis };
            Ok(palette.to_dense()?)
        })
    }

    /// iOS 16: `indices` are packed bytes, `lut` is one table, `shape` is that of the weights.
    fn packed_palette(&mut self, scope: Scope<'_>, op: &Op) -> Result<Arc<Tensor>, Problem> {
        let (indices, lut) = (scope.required(op, "indices")?, scope.required(op, "lut")?);
        let ((ty, indices_source), (lut_ty, lut_source)) = (source(indices)?, source(lut)?);
        expect_float_table(lut_ty)?;
        let entries: usize = extents(lut_ty)?.iter().product();
        if ty.dtype != DataType::UInt8 || !(2..=256).contains(&entries) || !entries.is_power_of_two() {
            let problem =
                format!("`indices` has type {ty} and `lut` {entries} entries, expected uint8 and 2 to 256");
            return Err(Problem::Malformed(problem));
        }
        let shape = shape_value(scope.required(op, "shape")?)?;
        let lut_shape = [vec![1; shape.len()], vec![entries, 1]].concat();
        let key =
            Key::Palette { indices: indices_source, lut: lut_source, vector_axis: 0, shape: shape.clone() };
        self.shared(key, |this| {
            let lut = this.literal(lut)?;
            let indices = this.bytes(indices, ty)?;
            let (bits, lut) = (entries.ilog2(), lut.f32s()?);
            let palette =
                Palette { indices, bits, shape: &shape, lut, lut_shape: &lut_shape, vector_axis: 0 };
            Ok(palette.to_dense()?)
        })
    }

    fn shared(
        &mut self,
        key: Key,
        make: impl FnOnce(&mut Self) -> Result<Tensor, Problem>,
    ) -> Result<Arc<Tensor>, Problem> {
        if let Some(tensor) = self.decoded.get(&key) {
            return Ok(Arc::clone(tensor));
        }
        let tensor = Arc::new(make(self)?);
        self.decoded.insert(key, Arc::clone(&tensor));
        Ok(tensor)
    }

    /// The packed elements of a literal of type `ty`, as many as the type asks for.
    fn bytes<'v>(&self, value: &'v Value, ty: &TensorType) -> Result<&'v [u8], Problem>
    where
        'a: 'v,
    {
        match &value.data {
            Data::Bytes(bytes) if value.is_well_formed() => Ok(bytes),
            Data::Blob(blob) => self.weights.bytes(blob, ty).map_err(Problem::Weights),
            _ => Err(Problem::Malformed(format!("a literal of type {ty} does not hold what its type says"))),
        }
    }
}

/// The type of a literal tensor and its identity.
fn source(value: &Value) -> Result<(&TensorType, Source), Problem> {
    let Type::Tensor(ty) = &value.ty else {
        return Err(Problem::Unsupported(format!("a constant of type {}", value.ty)));
    };
    match &value.data {
        Data::Blob(blob) => Ok((ty, Source::Blob(blob.clone(), ty.clone()))),
        Data::Bytes(bytes) => Ok((ty, Source::Immediate(bytes.clone(), ty.clone()))),
        _ => Err(Problem::Unsupported(format!(
            "a constant of type {ty} where a tensor of numbers is expected"
        ))),
    }
}

fn expect_float_table(ty: &TensorType) -> Result<(), Problem> {
    match ty.dtype {
        DataType::Fp16 | DataType::Fp32 => Ok(()),
        other => Err(Problem::Unsupported(format!("`lut` has type {other}, expected fp16 or fp32"))),
    }
}

fn extents(ty: &TensorType) -> Result<Vec<usize>, Problem> {
    let fixed = ty.fixed_shape().ok_or_else(|| format!("a constant has the flexible type {ty}"))?;
    let extents = fixed.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>();
    Ok(extents.ok_or_else(|| format!("a constant of type {ty} is too large"))?)
}

/// The extents that a `uint32` or `int32` vector holds.
fn shape_value(value: &Value) -> Result<Vec<usize>, Problem> {
    let bad = || Problem::Malformed(format!("`shape` has type {}, expected immediate uint32", value.ty));
    match (&value.data, value.dtype()) {
        (Data::Bytes(bytes), Some(DataType::UInt32 | DataType::Int32)) => {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|w| usize::try_from(u32::from_le_bytes(*w)).map_err(|_| bad())).collect()
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anelith_mil::{Program, ProgramInfo, text, validate};

    use super::*;

    fn known(
        program: &Program,
        info: &ProgramInfo,
        constants: &mut Constants<'_>,
        index: usize,
    ) -> Arc<Tensor> {
        let scope = Scope { function: &program.functions[index], info: &info.functions[index] };
        let weight = scope.function.ops[0].outputs[0];
        constants.tensor(scope, scope.defined(weight).unwrap()).unwrap()
    }

    #[test]
    fn equal_constants_of_two_functions_share_their_memory() {
        let function = |name: &str, last: &str| {
            format!(
                r#"func {name}<ios18>(tensor<fp16, [2, 2]> x) {{
                    tensor<fp16, [2, 2]> w = constexpr_lut_to_dense(
                        indices = tensor<uint1, [2, 2]>([[0, 1], [1, 0]]),
                        lut = tensor<fp16, [1, 1, 2, 1]>([[[[1.0], [{last}]]]]))[name = string("w")];
                    tensor<fp16, [2, 2]> y = add(x = x, y = w)[name = string("y")];
                }} -> (y);"#
            )
        };
        let functions = [function("a", "2.0"), function("b", "2.0"), function("c", "3.0")].concat();
        let program = text::parse(&format!("program(1.3) {{ {functions} }}"), "test").unwrap();
        let info = validate(&program).unwrap();
        let weights = WeightStore::open(Path::new("."), &program).unwrap();
        let mut constants = Constants::new(&weights);
        let [a, b, c] = [0, 1, 2].map(|index| known(&program, &info, &mut constants, index));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.as_f32s().unwrap(), [1.0, 2.0, 2.0, 1.0]);
        assert_eq!(c.as_f32s().unwrap(), [1.0, 3.0, 3.0, 1.0]);
    }
}
