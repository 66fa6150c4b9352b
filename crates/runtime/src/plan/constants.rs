//! Constants of a program, decoded once and shared: dense, or as they are stored where ops work with that.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use anelith_mil::blob::WeightStore;
use anelith_mil::{
    Argument, BlobRef, Data, DataType, Function, FunctionInfo, Op, Opcode, Operand, Opset, TensorType, Type,
    Value, VarId,
};
use half::f16;

use super::Precision;
use crate::kernels::{Bytes, Matrix};
use crate::ops::Problem;
use crate::ops::constexpr::{self, Elements, Palette, Parameters, Stored};
use crate::tensor::Tensor;

/// The weights of one program, decompressed when first asked for; plans made with the same `Constants`
/// share what they have in common.
#[derive(Debug)]
pub struct Constants<'a> {
    weights: &'a WeightStore,
    ids: HashMap<Key, Id>,
    /// What constexpr ops made.
    unpacked: HashMap<Id, Stored<'static>>,
    /// What ops read.
    tensors: HashMap<Id, Arc<Tensor>>,
    /// What ops work with as it is stored; `None` for what is not stored in such a form.
    matrices: HashMap<Vec<Id>, Option<Arc<Matrix>>>,
    /// What folded ops made, for as long as a plan holds it.
    folded: HashMap<Id, Weak<Tensor>>,
}

/// The number of a constant: equal constants have equal numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Id(usize);

/// What makes two constants the same.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Key {
    Blob(BlobRef, TensorType),
    Immediate(Vec<u8>, TensorType),
    Text(String),
    /// A result of a constexpr op.
    Unpacked {
        opcode: Opcode,
        parameters: Vec<(String, Id)>,
        output: usize,
        round: bool,
    },
    /// A result of an op that reads constants only.
    Folded(FoldedOp, usize),
}

/// All that the results of an op depend on that reads constants only.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct FoldedOp {
    pub(super) opcode: Opcode,
    pub(super) opset: Opset,
    /// The constants bound to each parameter.
    pub(super) parameters: Vec<(String, Vec<Id>)>,
    /// The types of its results.
    pub(super) types: Vec<TensorType>,
    pub(super) precision: Precision,
}

/// An operand whose value is known before the program runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'f> {
    /// A literal.
    Literal(&'f Value),
    /// A result of a constexpr op.
    Unpacked(Id),
}

/// A function, what `validate` learnt of it, and the constants that its constexpr ops made so far.
#[derive(Debug)]
pub(super) struct Scope<'f> {
    pub(super) function: &'f Function,
    pub(super) info: &'f FunctionInfo,
    unpacked: BTreeMap<VarId, Id>,
}

impl<'f> Scope<'f> {
    /// A function of which no op has been looked at.
    pub(super) fn new(function: &'f Function, info: &'f FunctionInfo) -> Scope<'f> {
        Scope { function, info, unpacked: BTreeMap::new() }
    }

    /// The constant behind an operand; `None` for what the program computes.
    pub(super) fn known(&self, operand: &'f Operand) -> Option<Known<'f>> {
        match operand {
            Operand::Value(value) => Some(Known::Literal(value)),
            Operand::Var(var) => self.defined(*var),
        }
    }

    /// The constant that a variable is; `None` for what the program computes.
    pub(super) fn defined(&self, var: VarId) -> Option<Known<'f>> {
        match self.unpacked.get(&var) {
            Some(id) => Some(Known::Unpacked(*id)),
            None => self.info.const_value(self.function, var).map(Known::Literal),
        }
    }

    /// The parameters of a constexpr op, inputs and attributes alike.
    fn parameters(&self, op: &'f Op) -> Result<BTreeMap<&'f str, Known<'f>>, Problem> {
        let attributes = op.attributes.iter().filter(|(name, _)| *name != "name");
        let mut parameters: BTreeMap<_, _> =
            attributes.map(|(name, value)| (name.as_str(), Known::Literal(value))).collect();
        for (name, argument) in &op.inputs {
            let Argument::One(operand) = argument else {
                return Err(Problem::Malformed(format!("`{name}` is a list")));
            };
            let known = self.known(operand);
            let known = known.ok_or_else(|| format!("`{name}` is computed, expected a constant"))?;
            parameters.insert(name.as_str(), known);
        }
        Ok(parameters)
    }
}

impl<'a> Constants<'a> {
    /// No constants decoded yet; blobs are read from `weights`.
    pub fn new(weights: &'a WeightStore) -> Constants<'a> {
        Constants {
            weights,
            ids: HashMap::new(),
            unpacked: HashMap::new(),
            tensors: HashMap::new(),
            matrices: HashMap::new(),
            folded: HashMap::new(),
        }
    }

    /// The weight that a literal is, if it is a matrix of fp16 in a weight file.
    pub(super) fn stored_matrix(&mut self, value: &Value) -> Result<Option<Arc<Matrix>>, Problem> {
        let Type::Tensor(ty) = &value.ty else { return Ok(None) };
        if ty.dtype != DataType::Fp16 || !matches!(value.data, Data::Blob(_)) {
            return Ok(None);
        }
        let Some([rows, columns]) = matrix_extents(&extents(ty)?) else { return Ok(None) };
        let id = self.number(key(value)?);
        let make = |constants: &Constants<'_>| {
            Ok(constants.bytes(value)?.and_then(|bytes| Matrix::fp16(rows, columns, bytes)))
        };
        self.matrix(vec![id], make)
    }

    /// The weight that a `constexpr_lut_to_dense` of iOS 18 makes, if it is a matrix of fp16 whose rows share tables.
    /// It stays as it is stored, unless a table holds an infinity or NaN or a row does not end with a byte: then it is
    /// unpacked to fp16.
    pub(super) fn palettized_matrix(
        &mut self,
        indices: &Value,
        lut: &Value,
    ) -> Result<Option<Arc<Matrix>>, Problem> {
        let (Type::Tensor(index_ty), Type::Tensor(lut_ty)) = (&indices.ty, &lut.ty) else { return Ok(None) };
        let Some([rows, columns]) = matrix_extents(&extents(index_ty)?) else { return Ok(None) };
        let tables = match extents(lut_ty)?[..] {
            [tables, ref others @ .., _, 1] if others.iter().all(|n| *n == 1) => tables,
            _ => return Ok(None),
        };
        let is_grouped = tables > 0 && rows.is_multiple_of(tables);
        if !is_grouped || lut_ty.dtype != DataType::Fp16 || !index_ty.dtype.is_integer() {
            return Ok(None);
        }
        let ids = vec![self.number(key(indices)?), self.number(key(lut)?)];
        let bits = index_ty.dtype.bits();
        let make = |constants: &Constants<'_>| {
            let (Some(indices), Some(lut)) = (constants.bytes(indices)?, constants.bytes(lut)?) else {
                return Ok(None);
            };
            let (words, _) = lut.as_chunks::<2>();
            let entries: Vec<f16> = words.iter().map(|word| f16::from_le_bytes(*word)).collect();
            let palette = Palette {
                indices: &indices,
                bits,
                shape: &[rows, columns],
                lut_shape: &[tables, 1, 1 << bits, 1],
                vector_axis: 0,
            };
            let palettized =
                Matrix::palettized(rows, columns, bits, rows / tables, indices.clone(), &entries);
            // Fixed point has no infinities, and kernels read whole bytes: such weights are looked up beforehand. Where
            // that fails, the op is left to say why.
            let unpacked = || palette.to_dense(&entries).ok();
            Ok(palettized.or_else(|| Matrix::unpacked(rows, columns, bits, unpacked()?.1)))
        };
        self.matrix(ids, make)
    }

    /// The bytes that constants take in memory, beside weight files.
    pub(super) fn held_bytes(&self) -> u64 {
        let unpacked = self.unpacked.values().map(|stored| match &stored.elements {
            Elements::Bytes(bytes) => bytes.len(),
            // Counted as the tensor that ops read, if they do.
            Elements::Floats(tensor) if Arc::strong_count(tensor) > 1 => 0,
            Elements::Floats(tensor) => tensor.byte_len(),
            Elements::Packed(_) | Elements::Text => 0,
        });
        let tensors = self.tensors.values().map(|tensor| tensor.byte_len());
        let folded = self.folded.values().filter_map(Weak::upgrade).map(|tensor| tensor.byte_len());
        let matrices = self.matrices.values().flatten().map(|matrix| matrix.held_bytes());
        unpacked
            .chain(tensors)
            .chain(folded)
            .chain(matrices)
            .fold(0, |sum, bytes| sum.saturating_add(bytes as u64))
    }

    /// The matrix made of the constants `ids`, by `make` if it is asked for the first time.
    fn matrix(
        &mut self,
        ids: Vec<Id>,
        make: impl FnOnce(&Constants<'_>) -> Result<Option<Matrix>, Problem>,
    ) -> Result<Option<Arc<Matrix>>, Problem> {
        if let Some(known) = self.matrices.get(&ids) {
            return Ok(known.clone());
        }
        let matrix = make(self)?.map(Arc::new);
        self.matrices.insert(ids, matrix.clone());
        Ok(matrix)
    }

    /// The elements of a literal as they are stored.
    fn bytes(&self, value: &Value) -> Result<Option<Bytes>, Problem> {
        match (&value.data, &value.ty) {
            (Data::Blob(blob), Type::Tensor(ty)) => {
                Ok(Some(Bytes::Mapped(self.weights.shared(blob, ty).map_err(Problem::Weights)?)))
            }
            (Data::Bytes(bytes), _) if value.is_well_formed() => {
                Ok(Some(Bytes::Owned(bytes.as_slice().into())))
            }
            _ => Ok(None),
        }
    }

    /// The dense form of a constant.
    pub(super) fn tensor(&mut self, known: Known<'_>) -> Result<Arc<Tensor>, Problem> {
        let id = self.id(known)?;
        if let Some(tensor) = self.tensors.get(&id) {
            return Ok(Arc::clone(tensor));
        }
        let tensor = self.stored(known)?.tensor().map_err(Problem::Unsupported)?;
        self.tensors.insert(id, Arc::clone(&tensor));
        Ok(tensor)
    }

    /// Unpacks the results of a constexpr op, whose parameters the scope must know by now; with `round`, what
    /// is computed is rounded to its type.
    pub(super) fn unpack<'f>(
        &mut self,
        scope: &mut Scope<'f>,
        opcode: Opcode,
        op: &'f Op,
        round: bool,
    ) -> Result<(), Problem> {
        let results = self.number_unpacked(scope, opcode, op, round)?;
        let known = scope.parameters(op)?;
        if !results.iter().all(|id| self.unpacked.contains_key(id)) {
            let stored = known.into_iter().map(|(name, known)| Ok((name, self.stored(known)?)));
            let parameters = Parameters { by_name: stored.collect::<Result<_, Problem>>()?, round };
            let unpacked = constexpr::unpack(opcode, &parameters)?;
            if unpacked.len() != results.len() {
                let problem = format!("has {} outputs, expected {}", results.len(), unpacked.len());
                return Err(Problem::Malformed(problem));
            }
            drop(parameters);
            self.unpacked.extend(results.iter().copied().zip(unpacked));
        }
        scope.unpacked.extend(op.outputs.iter().copied().zip(results));
        Ok(())
    }

    /// The numbers of the results of a constexpr op, whose parameters the scope must know by now.
    pub(super) fn number_unpacked<'f>(
        &mut self,
        scope: &Scope<'f>,
        opcode: Opcode,
        op: &'f Op,
        round: bool,
    ) -> Result<Vec<Id>, Problem> {
        let known = scope.parameters(op)?;
        let ids = known.iter().map(|(name, known)| Ok(((*name).to_owned(), self.id(*known)?)));
        let parameters = ids.collect::<Result<Vec<_>, Problem>>()?;
        let key = |output| Key::Unpacked { opcode, parameters: parameters.clone(), output, round };
        Ok((0..op.outputs.len()).map(|output| self.number(key(output))).collect())
    }

    /// The numbers of the results of an op that reads constants only.
    pub(super) fn number_folded(&mut self, op: &FoldedOp) -> Vec<Id> {
        (0..op.types.len()).map(|output| self.number(Key::Folded(op.clone(), output))).collect()
    }

    /// The result of a folded op, if a plan holds it.
    pub(super) fn folded(&self, id: Id) -> Option<Arc<Tensor>> {
        self.folded.get(&id)?.upgrade()
    }

    /// Notes the result of a folded op.
    pub(super) fn remember_folded(&mut self, id: Id, tensor: &Arc<Tensor>) {
        self.folded.insert(id, Arc::downgrade(tensor));
    }

    /// Gives up the dense form of a constant unless a plan holds it.
    pub(super) fn release(&mut self, known: Known<'_>) {
        let Ok(id) = self.id(known) else { return };
        if self.tensors.get(&id).is_some_and(|tensor| Arc::strong_count(tensor) == 1) {
            self.tensors.remove(&id);
        }
    }

    /// The number of a constant.
    pub(super) fn id(&mut self, known: Known<'_>) -> Result<Id, Problem> {
        match known {
            Known::Literal(value) => Ok(self.number(key(value)?)),
            Known::Unpacked(id) => Ok(id),
        }
    }

    fn number(&mut self, key: Key) -> Id {
        let next = Id(self.ids.len());
        *self.ids.entry(key).or_insert(next)
    }

    /// A constant as it is stored.
    fn stored<'v>(&self, known: Known<'v>) -> Result<Stored<'v>, Problem>
    where
        'a: 'v,
    {
        let value = match known {
            Known::Literal(value) => value,
            Known::Unpacked(id) => {
                let unpacked = self.unpacked.get(&id).cloned();
                return Ok(unpacked.ok_or_else(|| "a constant was not unpacked".to_owned())?);
            }
        };
        let Type::Tensor(ty) = &value.ty else {
            return Err(Problem::Unsupported(format!("a constant of type {}", value.ty)));
        };
        let elements = match &value.data {
            Data::Bytes(bytes) if value.is_well_formed() => Elements::Packed(bytes),
            Data::Blob(blob) => Elements::Packed(self.weights.bytes(blob, ty).map_err(Problem::Weights)?),
            Data::Strings(_) => Elements::Text,
            _ => {
                let problem = format!("a literal of type {ty} does not hold what its type says");
                return Err(Problem::Malformed(problem));
            }
        };
        Ok(Stored { dtype: ty.dtype, shape: extents(ty)?, elements })
    }
}

/// What makes a literal the same as another.
fn key(value: &Value) -> Result<Key, Problem> {
    let Type::Tensor(ty) = &value.ty else {
        return Err(Problem::Unsupported(format!("a constant of type {}", value.ty)));
    };
    match &value.data {
        Data::Blob(blob) => Ok(Key::Blob(blob.clone(), ty.clone())),
        Data::Bytes(bytes) => Ok(Key::Immediate(bytes.clone(), ty.clone())),
        Data::Strings(_) if value.as_str().is_some() => {
            Ok(Key::Text(value.as_str().unwrap_or_default().to_owned()))
        }
        _ => Err(Problem::Unsupported(format!(
            "a constant of type {ty} where a tensor of numbers is expected"
        ))),
    }
}

/// Rows and columns of a tensor that has no other axes of more than one position.
fn matrix_extents(shape: &[usize]) -> Option<[usize; 2]> {
    match *shape {
        [rows, columns, ref others @ ..] if others.iter().all(|n| *n == 1) => Some([rows, columns]),
        _ => None,
    }
}

fn extents(ty: &TensorType) -> Result<Vec<usize>, Problem> {
    let fixed = ty.fixed_shape().ok_or_else(|| format!("a constant has the flexible type {ty}"))?;
    let extents = fixed.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>();
    Ok(extents.ok_or_else(|| format!("a constant of type {ty} is too large"))?)
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
        let mut scope = Scope::new(&program.functions[index], &info.functions[index]);
        let op = &scope.function.ops[0];
        constants.unpack(&mut scope, Opcode::ConstexprLutToDense, op, true).unwrap();
        constants.tensor(scope.defined(op.outputs[0]).unwrap()).unwrap()
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
