//! Constants of a program as they are computed with, read piece by piece: memory does not grow with the tensor.
//!
//! What a `constexpr` op makes is made again for each piece that is asked for, in `f64`, which holds all that the
//! element types have but the largest 64-bit integers; dequantized values are rounded to the type that the op declares.

mod groups;
mod packed;
mod sparse;
mod table;

use anelith_mil::blob::WeightStore;
use anelith_mil::{Argument, Data, DataType, Function, Op, Operand, TensorType, Type, Value, VarId};
use half::f16;

pub use groups::Groups;
use packed::Packed;
use sparse::{Mask, Sparse};
use table::Table;

/// Elements that are read at a time.
pub const TILE: usize = 1 << 15;

/// What is wrong with a constant; who asks knows its name.
type Checked<T> = Result<T, String>;

/// A function, and for each of its variables the op that assigns it.
#[derive(Clone, Copy, Debug)]
pub struct View<'m> {
    /// The function.
    pub function: &'m Function,
    /// By `VarId`: the index of an op, `None` for inputs.
    pub definitions: &'m [Option<usize>],
}

/// A constant: a literal, or what a `constexpr` op makes.
#[derive(Clone, Copy, Debug)]
pub enum Constant<'m> {
    /// A literal, inline or of a `const` op.
    Literal(&'m Value),
    /// A result of the op.
    Made(&'m Op, VarId),
}

impl<'m> View<'m> {
    /// The op that assigns a variable, and its index.
    pub fn definition(&self, var: VarId) -> Option<(usize, &'m Op)> {
        let index = (*self.definitions.get(var.0 as usize)?)?;
        Some((index, self.function.ops.get(index)?))
    }

    /// The constant behind an operand, if it is one.
    pub fn constant(&self, operand: &'m Operand) -> Option<Constant<'m>> {
        let var = match operand {
            Operand::Value(value) => return Some(Constant::Literal(value)),
            Operand::Var(var) => *var,
        };
        let (_, op) = self.definition(var)?;
        if op.kind.name() == "const" {
            return op.attributes.get("val").map(Constant::Literal);
        }
        op.kind.is_constant().then_some(Constant::Made(op, var))
    }

    /// What the op gets as `name`, an argument or an attribute.
    pub fn parameter(&self, op: &'m Op, name: &str) -> Option<Constant<'m>> {
        match op.inputs.get(name).map(Argument::operands) {
            Some([one]) => self.constant(one),
            Some(_) => None,
            None => op.attributes.get(name).map(Constant::Literal),
        }
    }

    /// The type of a constant, if it is a tensor.
    pub fn type_of(&self, constant: Constant<'m>) -> Option<&'m TensorType> {
        match constant {
            Constant::Literal(value) => value.ty.as_tensor(),
            Constant::Made(_, var) => self.function.vars.get(var.0 as usize)?.ty.as_tensor(),
        }
    }
}

/// A constant tensor that can be read from anywhere.
#[derive(Debug)]
pub struct Dense<'m> {
    /// Its extents.
    pub shape: Vec<u64>,
    /// The element type that it has in the program.
    pub dtype: DataType,
    /// The blocks that share a table or a scale, where there are such.
    pub groups: Option<Groups>,
    node: Node<'m>,
}

/// What is looked up, and where.
#[derive(Debug)]
pub struct Palette<'m> {
    /// The indices.
    pub indices: Dense<'m>,
    /// The tables, one after the other.
    pub lut: Dense<'m>,
    /// The blocks of the indices, each of which has a table.
    pub groups: Groups,
    /// Entries of a table.
    pub entries: u64,
}

/// How the elements come about. What a node reads was checked when it was made.
#[derive(Debug)]
enum Node<'m> {
    Packed(Packed<'m>),
    Table(Box<Table<'m>>),
    Scaled(Box<Scaled<'m>>),
    Sparse(Box<Sparse<'m>>),
}

/// Numbers less an offset and times a scale.
#[derive(Debug)]
struct Scaled<'m> {
    data: Node<'m>,
    scale: PerBlock<'m>,
    offset: Option<PerBlock<'m>>,
    rounds: bool,
    /// Only elements where it is set are anything but zero.
    mask: Option<Mask<'m>>,
}

/// One number for each block of a tensor.
#[derive(Debug)]
struct PerBlock<'m> {
    groups: Groups,
    values: Node<'m>,
}

impl Node<'_> {
    /// Fills `out` with the elements from `start` on, in row-major order.
    fn read(&self, start: u64, out: &mut [f64]) {
        match self {
            Node::Packed(packed) => packed.read(start, out),
            Node::Table(table) => table.read(start, out),
            Node::Scaled(scaled) => scaled.read(start, out),
            Node::Sparse(sparse) => sparse.read(start, out),
        }
    }

    fn one(&self, at: u64) -> f64 {
        let mut one = [0.0];
        self.read(at, &mut one);
        one[0]
    }
}

impl Scaled<'_> {
    fn read(&self, start: u64, out: &mut [f64]) {
        self.data.read(start, out);
        if let Some(offset) = &self.offset {
            offset.apply(start, out, |v, offset| v - offset);
        }
        self.scale.apply(start, out, |v, scale| v * scale);
        if self.rounds {
            out.iter_mut().for_each(|v| *v = f16::from_f32(*v as f32).to_f64());
        }
        if let Some(mask) = &self.mask {
            mask.clear_unset(start, out);
        }
    }
}

impl PerBlock<'_> {
    /// Replaces the elements from `start` on, in f32, as executors do.
    fn apply(&self, start: u64, out: &mut [f64], f: impl Fn(f32, f32) -> f32) {
        self.groups.runs(start, out, |block, run| {
            let value = self.values.one(block) as f32;
            run.iter_mut().for_each(|v| *v = f64::from(f(*v as f32, value)));
        });
    }
}

impl<'m> Dense<'m> {
    /// Looks the constant up; nothing is unpacked yet.
    ///
    /// # Errors
    /// As a sentence: parameters that contradict each other, or strings.
    pub fn new(view: View<'m>, weights: &'m WeightStore, constant: Constant<'m>) -> Checked<Dense<'m>> {
        Source { view, weights }.dense(constant, 0)
    }

    /// The indices and tables that `op`, a `constexpr_lut_to_dense`, looks up; `None` where they do not fit.
    ///
    /// # Errors
    /// As a sentence: parameters that contradict each other.
    pub fn palette(view: View<'m>, weights: &'m WeightStore, op: &'m Op) -> Checked<Option<Palette<'m>>> {
        let source = Source { view, weights };
        let (indices, bits) = source.indices(op, 0)?;
        let lut = source.get(op, "lut", 0)?;
        let entries = 1 << bits;
        let blocks = match lut.shape.len() {
            1 => vec![1; indices.shape.len()],
            rank => lut.shape[..rank.saturating_sub(2)].to_vec(),
        };
        let Ok(groups) = Groups::new(&indices.shape, &blocks) else { return Ok(None) };
        Ok(Some(Palette { indices, lut, groups, entries }))
    }

    /// The number of elements.
    pub fn count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Fills `out` with the elements from `start` on, in row-major order; zeros stand for what is beyond the end.
    pub fn read(&self, start: u64, out: &mut [f64]) {
        self.node.read(start, out);
    }
}

/// How many `constexpr` ops may feed one another; real programs have two or three.
const MAX_DEPTH: usize = 6;

/// Where constants are made from.
#[derive(Clone, Copy)]
struct Source<'m> {
    view: View<'m>,
    weights: &'m WeightStore,
}

impl<'m> Source<'m> {
    fn dense(self, constant: Constant<'m>, depth: usize) -> Checked<Dense<'m>> {
        let op = match constant {
            Constant::Literal(value) => return self.literal(value),
            Constant::Made(op, _) if depth < MAX_DEPTH => op,
            Constant::Made(..) => return Err(format!("more than {MAX_DEPTH} ops feed one another")),
        };
        match op.kind.name() {
            "constexpr_affine_dequantize" => self.affine(op, depth + 1),
            "constexpr_blockwise_shift_scale" => {
                let data = self.get(op, "data", depth + 1)?;
                self.scaled(op, data, None, depth + 1)
            }
            "constexpr_cast" => {
                let source = self.get(op, "source_val", depth + 1)?;
                Ok(Dense { dtype: DataType::Fp32, ..source })
            }
            "constexpr_lut_to_dense" => self.lut_to_dense(op, depth + 1),
            "constexpr_sparse_to_dense" => self.sparse_to_dense(op, depth + 1),
            other => Err(format!("`{other}` makes no dense tensor")),
        }
    }

    fn constant(self, op: &'m Op, name: &str) -> Checked<Constant<'m>> {
        self.view.parameter(op, name).ok_or_else(|| format!("parameter `{name}` is missing or no constant"))
    }

    fn get(self, op: &'m Op, name: &str, depth: usize) -> Checked<Dense<'m>> {
        self.dense(self.constant(op, name)?, depth)
    }

    fn dtype(self, op: &'m Op, name: &str) -> Checked<DataType> {
        let ty = self.view.type_of(self.constant(op, name)?);
        ty.map(|ty| ty.dtype).ok_or_else(|| format!("`{name}` is no tensor"))
    }

    fn literal(self, value: &'m Value) -> Checked<Dense<'m>> {
        let (ty, bytes) = self.bytes(value)?;
        let shape = ty.fixed_shape().ok_or("its shape is not known")?;
        let node = Node::Packed(Packed::new(bytes, ty.dtype)?);
        Ok(Dense { shape, dtype: ty.dtype, groups: None, node })
    }

    /// Type and packed elements of a literal.
    fn bytes(self, value: &'m Value) -> Checked<(&'m TensorType, &'m [u8])> {
        let Type::Tensor(ty) = &value.ty else { return Err("it is no tensor".to_owned()) };
        let bytes = match &value.data {
            Data::Bytes(bytes) => bytes.as_slice(),
            Data::Blob(blob) => self.weights.bytes(blob, ty).map_err(|e| e.to_string())?,
            _ => return Err(format!("elements of type {} are no numbers", ty.dtype)),
        };
        let expected = ty.byte_len();
        if expected != Some(bytes.len() as u64) {
            return Err(format!("{} bytes do not hold a {ty}", bytes.len()));
        }
        Ok((ty, bytes))
    }

    /// iOS 16: the bytes in `name` are packed elements of `bits` bits for a tensor of the attribute `shape`.
    fn repacked(self, op: &'m Op, name: &str, bits: u32) -> Checked<(Vec<u64>, &'m [u8])> {
        let Constant::Literal(value) = self.constant(op, name)? else {
            return Err(format!("`{name}` is no literal"));
        };
        let (_, bytes) = self.bytes(value)?;
        let shape = self.get(op, "shape", 0)?;
        if shape.count() > 16 {
            return Err("`shape` has more than 16 extents".to_owned());
        }
        let mut extents = vec![0.0; shape.count() as usize];
        shape.read(0, &mut extents);
        let extents: Vec<u64> = extents.into_iter().map(|e| e as u64).collect();
        let count = element_count(&extents)?;
        if count.checked_mul(u64::from(bits)).map(|n| n.div_ceil(8)) != Some(bytes.len() as u64) {
            return Err(format!("`{name}` has {} bytes, which are not those of {extents:?}", bytes.len()));
        }
        Ok((extents, bytes))
    }

    fn affine(self, op: &'m Op, depth: usize) -> Checked<Dense<'m>> {
        let data = self.get(op, "quantized_data", depth)?;
        let axis = self.axis(op, "axis", data.shape.len())?;
        let along = |name: &str| {
            let values = self.get(op, name, depth)?;
            let mut blocks = vec![1; data.shape.len()];
            if let (false, Some(block)) = (values.shape.is_empty(), blocks.get_mut(axis)) {
                *block = data.shape[axis];
            }
            PerBlock::new(name, &data.shape, &blocks, values)
        };
        let (scale, offset) = (along("scale")?, along("zero_point")?);
        let dtype = self.dtype(op, "scale")?;
        Ok(scaled(data, scale, Some(offset), None, dtype))
    }

    /// `data` less `offset`, times `scale`.
    fn scaled(self, op: &'m Op, data: Dense<'m>, mask: Option<Mask<'m>>, depth: usize) -> Checked<Dense<'m>> {
        let along = |name: &str| {
            let values = self.get(op, name, depth)?;
            let blocks = values.shape.clone();
            PerBlock::new(name, &data.shape, &blocks, values)
        };
        let scale = along("scale")?;
        let offset = self.view.parameter(op, "offset").map(|_| along("offset")).transpose()?;
        let dtype = self.dtype(op, "scale")?;
        Ok(scaled(data, scale, offset, mask, dtype))
    }

    fn lut_to_dense(self, op: &'m Op, depth: usize) -> Checked<Dense<'m>> {
        let lut = self.get(op, "lut", depth)?;
        let (indices, bits) = self.indices(op, depth)?;
        let lut = match lut.shape[..] {
            [entries] => Dense { shape: [vec![1; indices.shape.len()], vec![entries, 1]].concat(), ..lut },
            _ => lut,
        };
        self.table(op, (indices.node, indices.shape, bits), lut, None)
    }

    /// The indices of a `constexpr_lut_to_dense`, and how many bits each has. Before iOS 18 they were packed bytes,
    /// and the table says how wide they are.
    fn indices(self, op: &'m Op, depth: usize) -> Checked<(Dense<'m>, u32)> {
        if op.inputs.contains_key("indices") {
            let indices = self.get(op, "indices", depth)?;
            let bits = indices.dtype.bits();
            return if bits <= 8 { Ok((indices, bits)) } else { Err(format!("indices of {bits} bits")) };
        }
        let entries = self.view.type_of(self.constant(op, "lut")?).and_then(TensorType::element_count);
        let bits = entries.and_then(u64::checked_ilog2).ok_or("`lut` is empty")?;
        let dtype = DataType::unsigned(bits).filter(|_| bits <= 8);
        let dtype = dtype.ok_or_else(|| format!("indices of {bits} bits"))?;
        let (shape, bytes) = self.repacked(op, "indices", bits)?;
        let node = Node::Packed(Packed::new(bytes, dtype)?);
        Ok((Dense { shape, dtype, groups: None, node }, bits))
    }

    /// The entries that indices (a node, its shape, bits of each) ask for.
    fn table(
        self,
        op: &'m Op,
        (indices, shape, bits): (Node<'m>, Vec<u64>, u32),
        lut: Dense<'m>,
        mask: Option<Mask<'m>>,
    ) -> Checked<Dense<'m>> {
        let axis = match self.view.parameter(op, "vector_axis") {
            Some(_) => self.axis(op, "vector_axis", shape.len())?,
            None => 0,
        };
        let dtype = lut.dtype;
        let table = Table::new(indices, &shape, bits, lut, axis, mask)?;
        let shape = table.shape(&shape)?;
        let groups = table.output_groups(&shape);
        Ok(Dense { shape, dtype, groups, node: Node::Table(Box::new(table)) })
    }

    fn axis(self, op: &'m Op, name: &str, rank: usize) -> Checked<usize> {
        let axis = self.get(op, name, MAX_DEPTH)?.node.one(0);
        let axis = if axis < 0.0 { axis + rank as f64 } else { axis };
        let inside = (0.0..rank as f64).contains(&axis);
        if inside { Ok(axis as usize) } else { Err(format!("`{name}` is out of range")) }
    }

    fn sparse_to_dense(self, op: &'m Op, depth: usize) -> Checked<Dense<'m>> {
        let nonzero = self.constant(op, "nonzero_data")?;
        if let Constant::Made(maker, _) = nonzero
            && matches!(
                maker.kind.name(),
                "constexpr_lut_to_sparse" | "constexpr_sparse_blockwise_shift_scale"
            )
        {
            return self.unpacked_sparse(maker, depth + 1);
        }
        let nonzero = self.dense(nonzero, depth)?;
        let (shape, mask) = match op.inputs.contains_key("mask") {
            true => self.mask(op, "mask", depth)?,
            false => {
                let (shape, bytes) = self.repacked(op, "mask", 1)?;
                let count = element_count(&shape)?;
                (shape, Mask::new(bytes, count))
            }
        };
        Sparse::dense(mask, shape, nonzero)
    }

    /// What an op makes whose results are a mask and the elements where it is set, as the dense tensor it stands for.
    fn unpacked_sparse(self, op: &'m Op, depth: usize) -> Checked<Dense<'m>> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} ops feed one another"));
        }
        if op.kind.name() == "constexpr_lut_to_sparse" {
            let (shape, mask) = self.mask(op, "indices_mask", depth)?;
            let indices = self.get(op, "indices_nonzero_data", depth)?;
            let bits = indices.dtype.bits();
            let scattered = Sparse::dense(mask.clone(), shape, indices)?;
            let lut = self.get(op, "lut", depth)?;
            return self.table(op, (scattered.node, scattered.shape, bits), lut, Some(mask));
        }
        let (shape, mask) = self.mask(op, "data_mask", depth)?;
        let data = match self.constant(op, "nonzero_data")? {
            Constant::Made(maker, _) if maker.kind.name() == "constexpr_lut_to_sparse" => {
                self.unpacked_sparse(maker, depth + 1)?
            }
            nonzero => Sparse::dense(mask.clone(), shape, self.dense(nonzero, depth)?)?,
        };
        self.scaled(op, data, Some(mask), depth)
    }

    /// Shape and bits of a mask of iOS 18.
    fn mask(self, op: &'m Op, name: &str, depth: usize) -> Checked<(Vec<u64>, Mask<'m>)> {
        match self.constant(op, name)? {
            Constant::Literal(value) => {
                let (ty, bytes) = self.bytes(value)?;
                let shape = ty.fixed_shape().ok_or("its shape is not known")?;
                if ty.dtype != DataType::UInt1 {
                    return Err(format!("`{name}` has type {}, expected uint1", ty.dtype));
                }
                let count = element_count(&shape)?;
                Ok((shape, Mask::new(bytes, count)))
            }
            Constant::Made(maker, _) if depth < MAX_DEPTH => match maker.kind.name() {
                "constexpr_lut_to_sparse" if self.vector(maker)? == 1 => {
                    self.mask(maker, "indices_mask", depth + 1)
                }
                "constexpr_sparse_blockwise_shift_scale" => self.mask(maker, "data_mask", depth + 1),
                other => Err(format!("`{name}` is made by `{other}`, which is not understood")),
            },
            Constant::Made(..) => Err(format!("more than {MAX_DEPTH} ops feed one another")),
        }
    }

    /// Elements of an entry of the op's table.
    fn vector(self, op: &'m Op) -> Checked<u64> {
        let lut = self.constant(op, "lut")?;
        let ty = self.view.type_of(lut).and_then(TensorType::fixed_shape).ok_or("`lut` is no tensor")?;
        ty.last().copied().ok_or_else(|| "`lut` is a scalar".to_owned())
    }
}

/// The dense tensor that `data` becomes; its groups are those of its table, else those of the scale.
fn scaled<'m>(
    data: Dense<'m>,
    scale: PerBlock<'m>,
    offset: Option<PerBlock<'m>>,
    mask: Option<Mask<'m>>,
    dtype: DataType,
) -> Dense<'m> {
    let groups = data.groups.or_else(|| Some(scale.groups.clone()));
    let scaled = Scaled { data: data.node, scale, offset, rounds: dtype == DataType::Fp16, mask };
    Dense { shape: data.shape, dtype, groups, node: Node::Scaled(Box::new(scaled)) }
}

impl<'m> PerBlock<'m> {
    fn new(name: &str, shape: &[u64], blocks: &[u64], values: Dense<'m>) -> Checked<PerBlock<'m>> {
        let groups = Groups::new(shape, blocks).map_err(|problem| format!("`{name}`: {problem}"))?;
        if groups.count() != values.count() {
            return Err(format!("`{name}` has {} elements, expected {}", values.count(), groups.count()));
        }
        Ok(PerBlock { groups, values: values.node })
    }
}

/// The number of elements of a tensor of `shape`.
fn element_count(shape: &[u64]) -> Checked<u64> {
    let count = shape.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent));
    count.ok_or_else(|| format!("the shape {shape:?} has too many elements"))
}
