//! The protobuf messages of `Model.proto`, `FeatureTypes.proto` and `MIL.proto`, derived by hand.
//!
//! One struct a message, one field a field, with the field numbers of the `.proto` files; only the fields
//! that the IR can hold are here, and `schema` refuses all others. Maps are ordered so that bytes are stable.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int32, tag = "1")]
    pub(super) specification_version: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) description: Option<ModelDescription>,
    #[prost(bool, tag = "10")]
    pub(super) is_updatable: bool,
    #[prost(message, optional, tag = "502")]
    pub(super) ml_program: Option<Program>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelDescription {
    #[prost(message, repeated, tag = "1")]
    pub(super) input: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "10")]
    pub(super) output: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "13")]
    pub(super) state: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "20")]
    pub(super) functions: Vec<FunctionDescription>,
    #[prost(string, tag = "21")]
    pub(super) default_function_name: String,
    #[prost(message, optional, tag = "100")]
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionDescription {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) input: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "3")]
    pub(super) output: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "6")]
    pub(super) state: Vec<FeatureDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureDescription {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) short_description: String,
    #[prost(message, optional, tag = "3")]
    pub(super) ty: Option<FeatureType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) short_description: String,
    #[prost(string, tag = "2")]
    pub(super) version_string: String,
    #[prost(string, tag = "3")]
    pub(super) author: String,
    #[prost(string, tag = "4")]
    pub(super) license: String,
    #[prost(message, repeated, tag = "100")]
    pub(super) user_defined: Vec<UserDefinedEntry>,
}

/// An entry of a `map<string, string>`. Spelt out because other protobuf writers put both fields into every
/// entry, and prost's maps leave an empty one out.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UserDefinedEntry {
    #[prost(string, optional, tag = "1")]
    pub(super) key: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureType {
    #[prost(oneof = "FeatureKind", tags = "5, 8")]
    pub(super) kind: Option<FeatureKind>,
    #[prost(bool, tag = "1000")]
    pub(super) is_optional: bool,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum FeatureKind {
    #[prost(message, tag = "5")]
    MultiArray(ArrayFeatureType),
    #[prost(message, tag = "8")]
    State(StateFeatureType),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StateFeatureType {
    #[prost(message, optional, tag = "1")]
    pub(super) array_type: Option<ArrayFeatureType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ArrayFeatureType {
    #[prost(int64, repeated, tag = "1")]
    pub(super) shape: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(oneof = "ShapeFlexibility", tags = "21, 31")]
    pub(super) flexibility: Option<ShapeFlexibility>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ShapeFlexibility {
    #[prost(message, tag = "21")]
    Enumerated(EnumeratedShapes),
    #[prost(message, tag = "31")]
    Range(ShapeRange),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EnumeratedShapes {
    #[prost(message, repeated, tag = "1")]
    pub(super) shapes: Vec<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {
    #[prost(int64, repeated, tag = "1")]
    pub(super) shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ShapeRange {
    #[prost(message, repeated, tag = "1")]
    pub(super) size_ranges: Vec<SizeRange>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SizeRange {
    #[prost(uint64, tag = "1")]
    pub(super) lower_bound: u64,
    #[prost(int64, tag = "2")]
    pub(super) upper_bound: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Program {
    #[prost(int64, tag = "1")]
    pub(super) version: i64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) functions: BTreeMap<String, Function>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Function {
    #[prost(message, repeated, tag = "1")]
    pub(super) inputs: Vec<NamedValueType>,
    #[prost(string, tag = "2")]
    pub(super) opset: String,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(super) block_specializations: BTreeMap<String, Block>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Block {
    #[prost(string, repeated, tag = "2")]
    pub(super) outputs: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(super) operations: Vec<Operation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Operation {
    #[prost(string, tag = "1")]
    pub(super) ty: String,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) inputs: BTreeMap<String, Argument>,
    #[prost(message, repeated, tag = "3")]
    pub(super) outputs: Vec<NamedValueType>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Argument {
    #[prost(message, repeated, tag = "1")]
    pub(super) arguments: Vec<Binding>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Binding {
    #[prost(oneof = "Bound", tags = "1, 2")]
    pub(super) bound: Option<Bound>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Bound {
    #[prost(string, tag = "1")]
    Name(String),
    #[prost(message, tag = "2")]
    Value(Value),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NamedValueType {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) ty: Option<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(oneof = "TypeKind", tags = "1, 2, 3, 4, 5")]
    pub(super) kind: Option<TypeKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum TypeKind {
    #[prost(message, tag = "1")]
    Tensor(TensorType),
    #[prost(message, tag = "2")]
    List(Box<ListType>),
    #[prost(message, tag = "3")]
    Tuple(TupleType),
    #[prost(message, tag = "4")]
    Dictionary(Box<DictionaryType>),
    #[prost(message, tag = "5")]
    State(Box<StateType>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(super) data_type: i32,
    #[prost(int64, tag = "2")]
    pub(super) rank: i64,
    #[prost(message, repeated, tag = "3")]
    pub(super) dimensions: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dimension {
    #[prost(oneof = "DimensionKind", tags = "1, 2")]
    pub(super) kind: Option<DimensionKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum DimensionKind {
    #[prost(message, tag = "1")]
    Constant(ConstantDimension),
    #[prost(message, tag = "2")]
    Unknown(UnknownDimension),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConstantDimension {
    #[prost(uint64, tag = "1")]
    pub(super) size: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UnknownDimension {
    #[prost(bool, tag = "1")]
    pub(super) variadic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListType {
    #[prost(message, optional, tag = "1")]
    pub(super) ty: Option<ValueType>,
    #[prost(message, optional, tag = "2")]
    pub(super) length: Option<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TupleType {
    #[prost(message, repeated, tag = "1")]
    pub(super) types: Vec<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DictionaryType {
    #[prost(message, optional, tag = "1")]
    pub(super) key_type: Option<ValueType>,
    #[prost(message, optional, tag = "2")]
    pub(super) value_type: Option<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StateType {
    #[prost(message, optional, tag = "1")]
    pub(super) wrapped_type: Option<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(message, optional, tag = "2")]
    pub(super) ty: Option<ValueType>,
    #[prost(oneof = "ValueKind", tags = "3, 5")]
    pub(super) kind: Option<ValueKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ValueKind {
    #[prost(message, tag = "3")]
    Immediate(ImmediateValue),
    #[prost(message, tag = "5")]
    BlobFile(BlobFileValue),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BlobFileValue {
    #[prost(string, tag = "1")]
    pub(super) file_name: String,
    #[prost(uint64, tag = "2")]
    pub(super) offset: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImmediateValue {
    #[prost(oneof = "ImmediateKind", tags = "1, 2, 3, 4")]
    pub(super) kind: Option<ImmediateKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ImmediateKind {
    #[prost(message, tag = "1")]
    Tensor(TensorValue),
    #[prost(message, tag = "2")]
    Tuple(Values),
    #[prost(message, tag = "3")]
    List(Values),
    #[prost(message, tag = "4")]
    Dictionary(DictionaryValue),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorValue {
    #[prost(oneof = "Elements", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) elements: Option<Elements>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Elements {
    #[prost(message, tag = "1")]
    Floats(Floats),
    #[prost(message, tag = "2")]
    Ints(Ints),
    #[prost(message, tag = "3")]
    Bools(Bools),
    #[prost(message, tag = "4")]
    Strings(Strings),
    #[prost(message, tag = "5")]
    LongInts(LongInts),
    #[prost(message, tag = "6")]
    Doubles(Doubles),
    #[prost(message, tag = "7")]
    Bytes(Bytes),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Floats {
    #[prost(float, repeated, tag = "1")]
    pub(super) values: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ints {
    #[prost(int32, repeated, tag = "1")]
    pub(super) values: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bools {
    #[prost(bool, repeated, tag = "1")]
    pub(super) values: Vec<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Strings {
    #[prost(string, repeated, tag = "1")]
    pub(super) values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LongInts {
    #[prost(int64, repeated, tag = "1")]
    pub(super) values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Doubles {
    #[prost(double, repeated, tag = "1")]
    pub(super) values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) values: Vec<u8>,
}

/// `TupleValue` and `ListValue`, which look the same.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Values {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DictionaryValue {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<KeyValuePair>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValuePair {
    #[prost(message, optional, tag = "1")]
    pub(super) key: Option<Value>,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<Value>,
}
