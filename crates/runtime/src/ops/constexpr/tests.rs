//! Each op against a slow twin: the formula of its definition, one element at a time, by coordinates.

use half::f16;

use super::*;
use crate::tensor::{TensorData, strides};

/// A small generator of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A shape, and numbers of blocks that divide it.
    fn shapes(&mut self) -> (Vec<usize>, Vec<usize>) {
        let blocks: Vec<usize> = (0..=self.below(4)).map(|_| self.below(3) + 1).collect();
        (blocks.iter().map(|b| b * (self.below(4) + 1)).collect(), blocks)
    }

    /// A literal of any numbers of the type.
    fn literal(&mut self, dtype: DataType, shape: &[usize]) -> Literal {
        let range = 1usize << dtype.bits().min(9);
        let lowest = if matches!(dtype, DataType::Int4 | DataType::Int8) { range as f32 / 2.0 } else { 0.0 };
        let scale = if dtype.is_float() { 1.0 / 64.0 } else { 1.0 };
        let lowest = if dtype.is_float() { 200.0 } else { lowest };
        let numbers = (0..shape.iter().product()).map(|_| (self.below(range) as f32 - lowest) * scale);
        Literal::new(dtype, shape, numbers.collect())
    }

    /// A mask, and how many of its bits are set.
    fn mask(&mut self, shape: &[usize]) -> (Literal, usize) {
        let mask = self.literal(DataType::UInt1, shape);
        let count = mask.numbers.iter().filter(|bit| **bit != 0.0).count();
        (mask, count)
    }
}

/// A literal, as numbers and as bytes.
struct Literal {
    dtype: DataType,
    shape: Vec<usize>,
    numbers: Vec<f32>,
    bytes: Vec<u8>,
}

impl Literal {
    fn new(dtype: DataType, shape: &[usize], numbers: Vec<f32>) -> Literal {
        let words: Vec<u64> = numbers
            .iter()
            .map(|v| match dtype {
                DataType::Fp16 => u64::from(f16::from_f32(*v).to_bits()),
                DataType::Fp32 => u64::from(v.to_bits()),
                _ => *v as i64 as u64,
            })
            .collect();
        let bits = dtype.bits() as usize;
        let mut bytes = vec![0u8; (numbers.len() * bits).div_ceil(8)];
        for (at, word) in
            words.iter().enumerate().flat_map(|(i, w)| (0..bits).map(move |b| (i * bits + b, w >> b)))
        {
            bytes[at / 8] |= ((word & 1) as u8) << (at % 8);
        }
        Literal { dtype, shape: shape.to_vec(), numbers, bytes }
    }

    fn stored(&self) -> Stored<'_> {
        Stored { dtype: self.dtype, shape: self.shape.clone(), elements: Elements::Packed(&self.bytes) }
    }

    /// The element at `coordinates`.
    fn at(&self, coordinates: &[usize]) -> f32 {
        self.numbers[flat(coordinates, &self.shape)]
    }

    /// This literal as a dense tensor of the shape of `mask`, of which it holds what is set.
    fn scattered(&self, mask: &Literal) -> Literal {
        let mut next = self.numbers.iter();
        let at = |bit: &f32| if *bit == 0.0 { 0.0 } else { *next.next().unwrap() };
        Literal::new(self.dtype, &mask.shape, mask.numbers.iter().map(at).collect())
    }
}

fn flat(coordinates: &[usize], shape: &[usize]) -> usize {
    coordinates.iter().zip(strides(shape)).map(|(i, step)| i * step).sum()
}

fn coordinates(shape: &[usize]) -> Vec<Vec<usize>> {
    let steps = strides(shape);
    let at = |flat: usize| steps.iter().zip(shape).map(|(step, extent)| flat / step % extent).collect();
    (0..shape.iter().product()).map(at).collect()
}

/// The block of the element at `coordinates`, as coordinates.
fn block(coordinates: &[usize], shape: &[usize], blocks: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|a| coordinates[a] / (shape[a] / blocks[a])).collect()
}

fn rounded(v: f32, dtype: DataType) -> f32 {
    if dtype == DataType::Fp16 { f16::from_f32(v).to_f32() } else { v }
}

fn rounding<'v, const N: usize>(parameters: [(&'v str, Stored<'v>); N]) -> Parameters<'v> {
    Parameters { by_name: parameters.into(), round: true }
}

fn run<const N: usize>(opcode: Opcode, parameters: [(&str, &Literal); N]) -> Result<Vec<Literal>, String> {
    let parameters = parameters.map(|(name, literal)| (name, literal.stored()));
    let results = unpack(opcode, &rounding(parameters));
    let results = results.map_err(|problem| format!("{problem:?}"))?;
    Ok(results.iter().map(unpacked).collect())
}

/// A result as the ops would read it.
fn unpacked(result: &Stored<'_>) -> Literal {
    let tensor = result.tensor().unwrap();
    assert_eq!(tensor.shape(), result.shape);
    let numbers = match tensor.data() {
        TensorData::F32(v) => v.clone(),
        TensorData::I32(v) => v.iter().map(|v| *v as f32).collect(),
        TensorData::Bool(_) => panic!("booleans"),
    };
    Literal { dtype: result.dtype, shape: result.shape.clone(), numbers, bytes: Vec::new() }
}

#[track_caller]
fn assert_same(found: &Literal, shape: &[usize], dtype: DataType, expected: &[f32]) {
    assert_eq!((found.shape.as_slice(), found.dtype), (shape, dtype));
    assert_eq!(found.numbers, expected, "{shape:?} {dtype}");
}

const QUANTIZED: [DataType; 6] =
    [DataType::Int4, DataType::UInt4, DataType::Int8, DataType::UInt8, DataType::Fp16, DataType::Fp32];
const INDICES: [DataType; 6] =
    [DataType::UInt1, DataType::UInt2, DataType::UInt3, DataType::UInt4, DataType::UInt6, DataType::UInt8];
const ENTRIES: [DataType; 4] = [DataType::Int8, DataType::UInt8, DataType::Fp16, DataType::Fp32];
const FLOATS: [DataType; 2] = [DataType::Fp16, DataType::Fp32];
const ROUNDS: usize = 60;

/// `scale` times (`data` minus `offset`), element by element.
fn shift_scale(data: &Literal, scale: &Literal, offset: Option<&Literal>) -> Vec<f32> {
    let element = |c: Vec<usize>| {
        let block = block(&c, &data.shape, &scale.shape);
        rounded(scale.at(&block) * (data.at(&c) - offset.map_or(0.0, |o| o.at(&block))), scale.dtype)
    };
    coordinates(&data.shape).into_iter().map(element).collect()
}

#[test]
fn blocks_are_shifted_and_scaled() {
    let mut random = Random(1);
    for _ in 0..ROUNDS {
        let (shape, blocks) = random.shapes();
        let (dtype, float) = (random.of(&QUANTIZED), random.of(&FLOATS));
        let (data, scale) = (random.literal(dtype, &shape), random.literal(float, &blocks));
        let op = Opcode::ConstexprBlockwiseShiftScale;
        let found = run(op, [("data", &data), ("scale", &scale)]).unwrap();
        assert_same(&found[0], &shape, float, &shift_scale(&data, &scale, None));
        let offset_type = random.of(&[dtype, float]);
        let offset = random.literal(offset_type, &blocks);
        let found = run(op, [("data", &data), ("scale", &scale), ("offset", &offset)]).unwrap();
        assert_same(&found[0], &shape, float, &shift_scale(&data, &scale, Some(&offset)));
    }
}

#[test]
fn what_is_scaled_keeps_its_digits_where_nothing_is_rounded() {
    let data = Literal::new(DataType::UInt8, &[2], vec![255.0, 3.0]);
    let scale = Literal::new(DataType::Fp16, &[1], vec![1.0 + 1.0 / 1024.0]);
    let mut parameters = rounding([("data", data.stored()), ("scale", scale.stored())]);
    let mut found = |round| {
        parameters.round = round;
        unpacked(&unpack(Opcode::ConstexprBlockwiseShiftScale, &parameters).unwrap()[0]).numbers
    };
    assert_eq!(found(false), [255.249_02, 3.002_929_7]);
    assert_eq!(found(true), [255.25, 3.003_906_3]);
}

#[test]
fn what_is_sparse_is_shifted_and_scaled_in_its_place() {
    let mut random = Random(2);
    for _ in 0..ROUNDS {
        let (shape, blocks) = random.shapes();
        let (dtype, float) = (random.of(&QUANTIZED), random.of(&FLOATS));
        let (mask, count) = random.mask(&shape);
        let nonzero = random.literal(dtype, &[count]);
        let (scale, offset) = (random.literal(float, &blocks), random.literal(dtype, &blocks));
        let parameters =
            [("data_mask", &mask), ("nonzero_data", &nonzero), ("scale", &scale), ("offset", &offset)];
        let found = run(Opcode::ConstexprSparseBlockwiseShiftScale, parameters).unwrap();
        let dense = shift_scale(&nonzero.scattered(&mask), &scale, Some(&offset));
        let set = dense.iter().zip(&mask.numbers).filter(|(_, bit)| **bit != 0.0).map(|(v, _)| *v);
        assert_same(&found[0], &shape, DataType::UInt1, &mask.numbers);
        assert_same(&found[1], &[count], float, &set.collect::<Vec<_>>());
    }
}

#[test]
fn scales_and_zero_points_run_along_an_axis() {
    let mut random = Random(3);
    for _ in 0..ROUNDS {
        let (shape, _) = random.shapes();
        let axis = random.below(shape.len());
        let (dtype, float) = (random.of(&[DataType::Int8, DataType::UInt8]), random.of(&FLOATS));
        let data = random.literal(dtype, &shape);
        let mut one_or_many = |dtype: DataType| match random.below(2) {
            0 => random.literal(dtype, &[]),
            _ => random.literal(dtype, &[shape[axis]]),
        };
        let (scale, zero_point) = (one_or_many(float), one_or_many(dtype));
        let named = axis as f32 - if random.below(2) == 0 { 0.0 } else { shape.len() as f32 };
        let named = Literal::new(DataType::Int32, &[], vec![named]);
        let of =
            |p: &Literal, c: &[usize]| if p.shape.is_empty() { p.numbers[0] } else { p.numbers[c[axis]] };
        let element = |c: Vec<usize>| rounded(of(&scale, &c) * (data.at(&c) - of(&zero_point, &c)), float);
        let expected: Vec<f32> = coordinates(&shape).into_iter().map(element).collect();
        let parameters =
            [("quantized_data", &data), ("zero_point", &zero_point), ("scale", &scale), ("axis", &named)];
        let found = run(Opcode::ConstexprAffineDequantize, parameters).unwrap();
        assert_same(&found[0], &shape, float, &expected);
    }
}

/// The entries that `indices` ask for, element by element.
fn looked_up(indices: &Literal, lut: &Literal, axis: usize) -> (Vec<usize>, Vec<f32>) {
    let rank = indices.shape.len();
    let vector = lut.shape[rank + 1];
    let mut shape = indices.shape.clone();
    shape[axis] *= vector;
    let element = |mut c: Vec<usize>| {
        let part = c[axis] % vector;
        c[axis] /= vector;
        let group = block(&c, &indices.shape, &lut.shape[..rank]);
        lut.at(&[group, vec![indices.at(&c) as usize, part]].concat())
    };
    let elements = coordinates(&shape).into_iter().map(element).collect();
    (shape, elements)
}

/// Tables for indices of shape `shape`, and the axis that their entries run along.
fn random_tables(random: &mut Random, indices: DataType, blocks: &[usize]) -> (Literal, usize) {
    let (entry, vector) = (random.of(&ENTRIES), random.of(&[1, 1, 2, 3]));
    let lut = [blocks, &[1 << indices.bits(), vector]].concat();
    (random.literal(entry, &lut), random.below(blocks.len()))
}

#[test]
fn entries_are_looked_up() {
    let mut random = Random(4);
    for round in 0..ROUNDS {
        let (shape, blocks) = random.shapes();
        let indices = random.literal(INDICES[round % 6], &shape);
        let (lut, axis) = random_tables(&mut random, indices.dtype, &blocks);
        let named = Literal::new(DataType::Int32, &[], vec![axis as f32]);
        let parameters = [("indices", &indices), ("lut", &lut), ("vector_axis", &named)];
        let found = run(Opcode::ConstexprLutToDense, parameters).unwrap();
        let (shape, expected) = looked_up(&indices, &lut, axis);
        assert_same(&found[0], &shape, lut.dtype, &expected);
    }
}

#[test]
fn entries_are_looked_up_where_a_mask_is_set() {
    let mut random = Random(5);
    for round in 0..ROUNDS {
        let (shape, blocks) = random.shapes();
        let (mask, count) = random.mask(&shape);
        let nonzero = random.literal(INDICES[round % 6], &[count]);
        let (lut, axis) = random_tables(&mut random, nonzero.dtype, &blocks);
        let named = Literal::new(DataType::Int32, &[], vec![axis as f32 - shape.len() as f32]);
        let parameters = [
            ("indices_mask", &mask),
            ("indices_nonzero_data", &nonzero),
            ("lut", &lut),
            ("vector_axis", &named),
        ];
        let found = run(Opcode::ConstexprLutToSparse, parameters).unwrap();
        let (shape, dense) = looked_up(&nonzero.scattered(&mask), &lut, axis);
        let vector = shape[axis] / mask.shape[axis];
        let is_set = |mut c: Vec<usize>| {
            c[axis] /= vector;
            mask.at(&c)
        };
        let bits: Vec<f32> = coordinates(&shape).into_iter().map(is_set).collect();
        let set: Vec<f32> = dense.iter().zip(&bits).filter(|(_, b)| **b != 0.0).map(|(v, _)| *v).collect();
        assert_same(&found[0], &shape, DataType::UInt1, &bits);
        assert_same(&found[1], &[count * vector], lut.dtype, &set);
    }
}

#[test]
fn sparse_tensors_become_dense() {
    let mut random = Random(6);
    for round in 0..ROUNDS {
        let (shape, _) = random.shapes();
        let (mask, count) = random.mask(&shape);
        let nonzero = random.literal(QUANTIZED[round % 6], &[count]);
        let parameters = [("nonzero_data", &nonzero), ("mask", &mask)];
        let found = run(Opcode::ConstexprSparseToDense, parameters).unwrap();
        assert_same(&found[0], &shape, nonzero.dtype, &nonzero.scattered(&mask).numbers);
    }
}

/// `literal` as iOS 16 has it: the same bytes, as a vector of uint8, and the shape apart.
fn as_bytes(literal: &Literal) -> (Literal, Literal) {
    let bytes = literal.bytes.iter().map(|b| f32::from(*b)).collect();
    let extents = literal.shape.iter().map(|d| *d as f32).collect();
    (
        Literal::new(DataType::UInt8, &[literal.bytes.len()], bytes),
        Literal::new(DataType::UInt32, &[literal.shape.len()], extents),
    )
}

#[test]
fn packed_bytes_with_a_shape_mean_the_same() {
    let mut random = Random(7);
    for _ in 0..ROUNDS {
        let (shape, _) = random.shapes();
        let width =
            random.of(&[DataType::UInt1, DataType::UInt2, DataType::UInt4, DataType::UInt6, DataType::UInt8]);
        let (indices, entry) = (random.literal(width, &shape), random.of(&ENTRIES));
        let lut = random.literal(entry, &[1 << width.bits()]);
        let (bytes, extents) = as_bytes(&indices);
        let parameters = [("indices", &bytes), ("lut", &lut), ("shape", &extents)];
        let found = run(Opcode::ConstexprLutToDense, parameters).unwrap();
        let expected: Vec<f32> = indices.numbers.iter().map(|i| lut.numbers[*i as usize]).collect();
        assert_same(&found[0], &shape, lut.dtype, &expected);

        let (mask, count) = random.mask(&shape);
        let nonzero = random.literal(entry, &[count]);
        let (bytes, extents) = as_bytes(&mask);
        let parameters = [("nonzero_data", &nonzero), ("mask", &bytes), ("shape", &extents)];
        let found = run(Opcode::ConstexprSparseToDense, parameters).unwrap();
        assert_same(&found[0], &shape, entry, &nonzero.scattered(&mask).numbers);
    }
}

#[test]
fn a_cast_changes_no_number() {
    let source = Random(8).literal(DataType::Fp16, &[2, 3]);
    let found = run(Opcode::ConstexprCast, [("source_val", &source)]).unwrap();
    assert_same(&found[0], &[2, 3], DataType::Fp32, &source.numbers);
}

/// What one op made is read by the next, also where that expects packed elements.
#[test]
fn results_are_parameters() {
    let mut random = Random(9);
    let (mask, count) = random.mask(&[6, 4]);
    let nonzero = random.literal(DataType::UInt4, &[count]);
    let lut = random.literal(DataType::Int8, &[3, 1, 16, 1]);
    let scale = random.literal(DataType::Fp16, &[6, 1]);
    let sparse = rounding([("nonzero_data", nonzero.stored()), ("mask", mask.stored())]);
    let indices = unpack(Opcode::ConstexprSparseToDense, &sparse).unwrap().remove(0);
    let palette = rounding([("indices", indices), ("lut", lut.stored())]);
    let data = unpack(Opcode::ConstexprLutToDense, &palette).unwrap().remove(0);
    let scaled = rounding([("data", data), ("scale", scale.stored())]);
    let found = unpack(Opcode::ConstexprBlockwiseShiftScale, &scaled).unwrap().remove(0);
    let (shape, entries) = looked_up(&nonzero.scattered(&mask), &lut, 0);
    let data = Literal::new(DataType::Int8, &shape, entries);
    assert_same(&unpacked(&found), &[6, 4], DataType::Fp16, &shift_scale(&data, &scale, None));
}

#[test]
fn parameters_that_contradict_each_other_are_refused() {
    let ints = |dtype, shape: &[usize], numbers: &[f32]| Literal::new(dtype, shape, numbers.to_vec());
    let mask = ints(DataType::UInt1, &[2, 2], &[1.0, 0.0, 1.0, 1.0]);
    let two = ints(DataType::UInt4, &[2], &[1.0, 2.0]);
    let scale = ints(DataType::Fp16, &[2, 1], &[1.0, 2.0]);
    let wrong = "the mask has 3 bits set, expected 2 for the elements";
    let check = |result: Result<Vec<Literal>, String>, expected: &str| {
        let problem = result.err().expect("a problem");
        assert!(problem.contains(expected), "{problem}, expected {expected}");
    };
    check(run(Opcode::ConstexprSparseToDense, [("nonzero_data", &two), ("mask", &mask)]), wrong);
    let parameters = [("nonzero_data", &two), ("data_mask", &mask), ("scale", &scale)];
    check(run(Opcode::ConstexprSparseBlockwiseShiftScale, parameters), wrong);
    let lut = ints(DataType::Fp16, &[1, 1, 16, 1], &[0.0; 16]);
    let parameters = [("indices_mask", &mask), ("indices_nonzero_data", &two), ("lut", &lut)];
    check(run(Opcode::ConstexprLutToSparse, parameters), wrong);

    let shape = ints(DataType::UInt32, &[2], &[2.0, 2.0]);
    let padded = ints(DataType::UInt8, &[1], &[0b0010_0001 as f32]);
    let parameters = [("nonzero_data", &two), ("mask", &padded), ("shape", &shape)];
    check(run(Opcode::ConstexprSparseToDense, parameters), "bits set beyond the 4 elements");
    let long = ints(DataType::UInt8, &[2], &[3.0, 0.0]);
    check(
        run(Opcode::ConstexprSparseToDense, [("nonzero_data", &two), ("mask", &long), ("shape", &shape)]),
        "`mask` has 2 bytes",
    );

    let indices = ints(DataType::UInt4, &[2, 3], &[0.0; 6]);
    let lut = ints(DataType::Fp16, &[1, 2, 16, 1], &[0.0; 32]);
    check(run(Opcode::ConstexprLutToDense, [("indices", &indices), ("lut", &lut)]), "do not fit indices");
    let three = ints(DataType::Fp16, &[1, 2], &[1.0, 2.0]);
    check(
        run(Opcode::ConstexprBlockwiseShiftScale, [("data", &indices), ("scale", &three)]),
        "`scale`: blocks [1, 2] do not divide the shape [2, 3]",
    );
    check(run(Opcode::ConstexprBlockwiseShiftScale, [("data", &indices)]), "parameter `scale` is missing");
    check(run(Opcode::Add, []), "unpacks no weight");
}

#[test]
fn a_result_too_large_to_hold_is_refused_before_it_is_made() {
    let shape = Literal::new(DataType::UInt32, &[2], vec![65536.0, 65536.0]);
    let mask = Literal::new(DataType::UInt8, &[1], vec![0.0]);
    let nonzero = Literal::new(DataType::Fp16, &[0], Vec::new());
    let parameters = [("nonzero_data", &nonzero), ("mask", &mask), ("shape", &shape)];
    let problem = run(Opcode::ConstexprSparseToDense, parameters).err().expect("a problem");
    assert!(problem.contains("too many elements"), "{problem}");
}
