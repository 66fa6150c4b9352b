//! Programs made at random come back from text and from protobuf as they were.

use std::collections::BTreeMap;

use anelith_mil::text::{Dialect, parse, print};
use anelith_mil::{
    Argument, BlobRef, Data, DataType, Description, Feature, Function, FunctionBuilder, Interface, Model,
    Opcode, Operand, Opset, Program, TensorType, Type, Value, VarId, proto, validate_model,
};

/// A small generator of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("a small number")
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn shape(&mut self) -> Vec<u64> {
        (0..self.below(4)).map(|_| self.next() % 4 + 1).collect()
    }

    /// A literal of any type but a list of its own kind; not a NaN, which text does not tell from others.
    fn value(&mut self) -> Value {
        let dtype = self.pick(DataType::ALL);
        let shape = self.shape();
        let count: u64 = shape.iter().product();
        let ty = TensorType::new(dtype, &shape);
        let data = match dtype {
            _ if self.below(8) == 0 && ty.byte_len().is_some() => {
                Data::Blob(BlobRef { file: "@model_path/weights/weight.bin".into(), offset: self.next() })
            }
            DataType::String => Data::Strings((0..count).map(|_| self.text()).collect()),
            DataType::Bool => Data::Bytes((0..count).map(|_| u8::from(self.below(2) == 1)).collect()),
            _ => Data::Bytes(self.elements(dtype, count)),
        };
        Value { ty: Type::Tensor(ty), data }
    }

    fn elements(&mut self, dtype: DataType, count: u64) -> Vec<u8> {
        if dtype.bits() < 8 {
            let values: Vec<u8> = (0..count).map(|_| self.next().to_le_bytes()[0]).collect();
            return anelith_mil::pack::pack(&values, dtype.bits());
        }
        let size = dtype.bits() as usize / 8;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let mut word = self.next().to_le_bytes();
            if dtype.is_float() {
                // An exponent that is not all ones: no NaN, no infinity.
                word[size - 1] &= 0xbf;
            }
            bytes.extend(&word[..size]);
        }
        bytes
    }

    fn text(&mut self) -> String {
        (0..self.below(6))
            .map(|_| self.pick(&['a', '"', '\\', '\n', '\t', '\u{e9}', '/', ' ', ')']))
            .collect()
    }
}

/// A function that grows at random; `tensors` are its fp16 variables.
struct Grower {
    random: Random,
    builder: FunctionBuilder,
    tensors: Vec<VarId>,
    states: Vec<VarId>,
    ops: usize,
}

impl Grower {
    fn new(seed: u64, name: &str) -> Grower {
        let mut random = Random(seed);
        let mut builder = FunctionBuilder::new(name, Opset::Ios18);
        // Declared in the order of their names, which is the order of the text.
        let states = (0..random.below(3)).map(|i| {
            builder.state(&format!("a_state_{i}"), TensorType::new(DataType::Fp16, &[2, 1 + i as u64]))
        });
        let states = states.collect();
        let mut tensors = Vec::new();
        for i in 0..1 + random.below(3) {
            let shape = [random.next() % 3 + 1, 4];
            tensors.push(builder.input(&format!("input_{i}"), TensorType::new(DataType::Fp16, &shape)));
        }
        Grower { random, builder, tensors, states, ops: 0 }
    }

    /// Appends an op, or nothing where the drawn arguments do not fit it.
    fn grow(&mut self) {
        self.ops += 1;
        let name = format!("op_{}", self.ops);
        let x = self.random.pick(&self.tensors);
        let rank = i32::try_from(self.builder.shape(x).len()).expect("a small rank");
        let axis = self.random.below(3) as i32 - 1;
        let grown = match self.random.below(10) {
            0 => {
                self.builder.constant(&name, self.random.value());
                return;
            }
            1 if !self.states.is_empty() => return self.grow_state(&name),
            2 => self.builder.call(Opcode::Silu, &name, &[("x", x.into())]),
            3 => {
                let y = self.random.pick(&self.tensors);
                self.builder.call(Opcode::Add, &name, &[("x", x.into()), ("y", y.into())])
            }
            4 => {
                let values = Argument::Many(vec![Operand::Var(x); 1 + self.random.below(3)]);
                self.builder.call(
                    Opcode::Concat,
                    &name,
                    &[("values", values), ("axis", Value::i32(axis).into())],
                )
            }
            5 => self.builder.call(
                Opcode::Reshape,
                &name,
                &[("x", x.into()), ("shape", Value::i32s(&[-1, 2]).into())],
            ),
            6 => {
                let perm: Vec<i32> = (0..rank).rev().collect();
                self.builder.call(
                    Opcode::Transpose,
                    &name,
                    &[("x", x.into()), ("perm", Value::i32s(&perm).into())],
                )
            }
            7 => return self.grow_split(&name, x, axis),
            8 => return self.grow_sparse(&name),
            _ => self.grow_palette(&name),
        };
        self.tensors.extend(grown);
    }

    fn grow_split(&mut self, name: &str, x: VarId, axis: i32) {
        let args = [("x", x.into()), ("axis", Value::i32(axis).into()), ("num_splits", Value::i32(2).into())];
        self.tensors.extend(self.builder.call_many(Opcode::Split, name, &args).unwrap_or_default());
    }

    fn grow_palette(&mut self, name: &str) -> Result<VarId, anelith_mil::Invalid> {
        let indices = Value {
            ty: Type::tensor(DataType::UInt2, &[3, 4]),
            data: Data::Bytes(self.random.elements(DataType::UInt2, 12)),
        };
        let lut = Value {
            ty: Type::tensor(DataType::Fp16, &[1, 1, 4, 1]),
            data: Data::Bytes(self.random.elements(DataType::Fp16, 4)),
        };
        let args = [("indices", indices.into()), ("lut", lut.into())];
        self.builder.call(Opcode::ConstexprLutToDense, name, &args)
    }

    /// An op of two results, which are the arguments of the next.
    fn grow_sparse(&mut self, name: &str) {
        let value =
            |dtype, shape: &[u64], bytes| Value { ty: Type::tensor(dtype, shape), data: Data::Bytes(bytes) };
        let bits = self.random.next().to_le_bytes()[0];
        let count = u64::from(bits.count_ones());
        let mask = value(DataType::UInt1, &[2, 4], vec![bits]);
        let indices = value(DataType::UInt3, &[count], self.random.elements(DataType::UInt3, count));
        let lut = value(DataType::Fp16, &[1, 2, 8, 1], self.random.elements(DataType::Fp16, 16));
        let args =
            [("indices_mask", mask.into()), ("indices_nonzero_data", indices.into()), ("lut", lut.into())];
        let sparse = self.builder.call_many(Opcode::ConstexprLutToSparse, name, &args).expect("two results");
        let args = [("mask", sparse[0].into()), ("nonzero_data", sparse[1].into())];
        self.tensors.extend(self.builder.call(
            Opcode::ConstexprSparseToDense,
            &format!("{name}_dense"),
            &args,
        ));
    }

    fn grow_state(&mut self, name: &str) {
        let state = self.random.pick(&self.states);
        let old =
            self.builder.call(Opcode::ReadState, name, &[("input", state.into())]).expect("a state reads");
        let args = [("input", state.into()), ("data", old.into())];
        self.builder.call_many(Opcode::WriteState, name, &args).expect("a state takes what it held");
    }

    /// The function, which returns a variable of its own.
    fn finish(mut self) -> Function {
        let x = self.random.pick(&self.tensors);
        let y = self.builder.call(Opcode::Identity, "result", &[("x", x.into())]).expect("a copy");
        self.builder.finish(vec![y])
    }
}

fn describe(function: &Function) -> Interface {
    let mut interface = Interface { name: function.name.clone(), ..Interface::default() };
    let feature = |id: &VarId| {
        let var = function.var(*id);
        let (is_state, ty) = match &var.ty {
            Type::State(ty) => (true, ty),
            Type::Tensor(ty) => (false, ty),
            other => panic!("a variable of type {other}"),
        };
        let shape: Vec<i64> =
            ty.fixed_shape().expect("fixed").iter().map(|n| i64::try_from(*n).expect("small")).collect();
        (is_state, Feature::new(var.name.clone(), ty.dtype, &shape))
    };
    for (is_state, feature) in function.inputs.iter().map(feature) {
        if is_state { interface.states.push(feature) } else { interface.inputs.push(feature) }
    }
    interface.outputs = function.outputs.iter().map(|id| feature(id).1).collect();
    interface
}

fn random_model(seed: u64) -> Model {
    let function = |name: &str, seed| {
        let mut grower = Grower::new(seed, name);
        (0..30).for_each(|_| grower.grow());
        grower.finish()
    };
    let functions = vec![function("a", seed), function("b", seed)];
    let mut random = Random(seed);
    let build_info: BTreeMap<_, _> = (0..random.below(3)).map(|i| (format!("k{i}"), random.text())).collect();
    let description = Description {
        functions: functions.iter().map(describe).collect(),
        default_function: Some(random.pick(&["a", "b"]).to_owned()),
        ..Description::default()
    };
    Model { specification_version: 9, description, program: Program { functions, build_info } }
}

#[test]
fn random_models_come_back_from_text_and_from_protobuf() {
    for seed in 0..200 {
        let model = random_model(seed);
        let info = validate_model(&model).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for dialect in [Dialect::V1_0, Dialect::V1_3] {
            let text = print(&model.program, dialect);
            let again = parse(&text, "text").unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(again, model.program, "seed {seed}\n{text}");
        }
        let bytes = proto::encode(&model, &info).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let again = proto::decode(&bytes, "bytes").unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(again, model, "seed {seed}");
        assert_eq!(proto::encode(&again, &info).expect("bytes"), bytes, "seed {seed}");
    }
}
