//! The weights of a program: what its ops read that was trained or computed before, and how it is stored.

use std::collections::BTreeMap;

use anelith_mil::blob::WeightStore;
use anelith_mil::digest::Digest;
use anelith_mil::{Argument, Bundle, Data, DataType, Op, Operand, TensorType, Value};

use crate::constants::{Constant, Dense, View};
use crate::error::{Error, Result};
use crate::names;

/// The views of all functions of `bundle`, in its order.
pub fn views(bundle: &Bundle) -> Vec<View<'_>> {
    let functions = bundle.model.program.functions.iter().zip(&bundle.info.functions);
    functions.map(|(function, info)| View { function, definitions: &info.definitions }).collect()
}

/// A constant tensor that an op reads. What several functions or ops read is one weight.
#[derive(Clone, Debug)]
pub struct Weight<'m> {
    /// The name of the op that makes it; of an inline literal, that of the op that reads it, and the parameter.
    pub name: String,
    /// What [`names::words`] makes of it.
    pub words: Vec<String>,
    /// What tells it from others: equal only if the stored bytes are the same ones.
    pub key: String,
    /// Its type as it is computed with.
    pub ty: TensorType,
    /// The ops that read it.
    pub uses: Vec<Use>,
    /// What it is made from, in the order of the parameters.
    pub pieces: Vec<Piece<'m>>,
    /// The ops that make it, outermost first; none for plain values.
    pub makers: Vec<&'m str>,
    /// The constant itself, in the function of `view`.
    pub constant: Constant<'m>,
    /// The function that reads it first.
    pub view: View<'m>,
}

/// An op that reads a weight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Use {
    /// The function.
    pub function: String,
    /// The name of the op.
    pub op: String,
    /// Its kind.
    pub kind: String,
    /// The parameter.
    pub parameter: String,
}

/// Elements as they are stored.
#[derive(Clone, Debug)]
pub struct Piece<'m> {
    /// The parameter of the op that unpacks them: `indices`, `lut`, `scale`...; `val` for plain values.
    pub role: &'m str,
    /// Their type.
    pub ty: &'m TensorType,
    /// Bytes they take.
    pub bytes: u64,
    /// Where they lie; `None` for those inside the program.
    pub place: Option<Place<'m>>,
}

/// A place in a weight file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place<'m> {
    /// The file, as the program names it.
    pub file: &'m str,
    /// Where its metadata record starts, which is what programs refer to.
    pub metadata: u64,
    /// Where its elements start.
    pub data: u64,
}

/// What the bytes of a piece are for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Purpose {
    /// One element each: values, indices, quantized numbers, masks.
    Elements,
    /// Shared by many elements: tables, scales, offsets.
    Tables,
}

impl Piece<'_> {
    /// What its bytes are for.
    pub fn purpose(&self) -> Purpose {
        match self.role {
            "lut" | "scale" | "offset" | "zero_point" => Purpose::Tables,
            _ => Purpose::Elements,
        }
    }
}

/// Immediate numbers of fewer elements are part of the graph, as epsilons and factors are.
const FEWEST_IMMEDIATE: u64 = 2;

/// All weights of `bundle`, in the order in which its ops read them first.
///
/// # Errors
/// Blobs that are not in their file.
pub fn all(bundle: &Bundle) -> Result<Vec<Weight<'_>>> {
    let mut weights: Vec<Weight<'_>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for view in views(bundle) {
        for op in view.function.ops.iter().filter(|op| !op.kind.is_constant()) {
            for (parameter, operand) in op.operands() {
                let Some(constant) = weight_of(view, operand) else { continue };
                let used = Use {
                    function: view.function.name.clone(),
                    op: op.name().to_owned(),
                    kind: op.kind.name().to_owned(),
                    parameter: parameter.to_owned(),
                };
                let key = key(view, constant, 0);
                if let Some(place) = places.get(&key) {
                    weights[*place].uses.push(used);
                    continue;
                }
                places.insert(key.clone(), weights.len());
                let name = name_of(view, operand, op, parameter);
                weights.push(Weight::new(view, &bundle.weights, constant, name, key, used)?);
            }
        }
    }
    Ok(weights)
}

/// The constant behind an operand, where it is a weight and not a parameter that belongs to the graph.
pub fn weight_of<'m>(view: View<'m>, operand: &'m Operand) -> Option<Constant<'m>> {
    let constant = view.constant(operand)?;
    let is_weight = match constant {
        Constant::Made(..) => view.type_of(constant).is_some(),
        Constant::Literal(value) => match (&value.data, value.ty.as_tensor()) {
            (Data::Blob(_), Some(_)) => true,
            (Data::Bytes(_), Some(ty)) => {
                ty.dtype.is_float() && ty.element_count().is_some_and(|n| n >= FEWEST_IMMEDIATE)
            }
            _ => false,
        },
    };
    is_weight.then_some(constant)
}

/// The name of the op that makes the operand, or where the operand stands.
pub fn name_of(view: View<'_>, operand: &Operand, reader: &Op, parameter: &str) -> String {
    if let Operand::Var(var) = operand {
        let maker = view.definition(*var).map(|(_, op)| op.name()).filter(|name| !name.is_empty());
        let own = view.function.vars.get(var.0 as usize).map_or("", |var| &var.name);
        return maker.unwrap_or(own).to_owned();
    }
    format!("{}.{parameter}", reader.name())
}

/// What tells a constant from others; `depth` bounds how many ops feed one another.
pub fn key(view: View<'_>, constant: Constant<'_>, depth: usize) -> String {
    match constant {
        Constant::Literal(value) => literal_key(value),
        Constant::Made(op, var) if depth < 8 => {
            let output = op.outputs.iter().position(|v| *v == var).unwrap_or(0);
            let parameters = op.inputs.keys().chain(op.attributes.keys()).filter(|name| *name != "name");
            let each = parameters.map(|name| {
                let value = view.parameter(op, name).map(|c| key(view, c, depth + 1));
                format!("{name}={}", value.unwrap_or_default())
            });
            format!("{}#{output}({})", op.kind.name(), each.collect::<Vec<_>>().join(","))
        }
        Constant::Made(op, _) => op.name().to_owned(),
    }
}

fn literal_key(value: &Value) -> String {
    match &value.data {
        Data::Blob(blob) => format!("{}@{}:{}", blob.file, blob.offset, value.ty),
        Data::Bytes(bytes) => format!("{}:{}", Digest::of(bytes), value.ty),
        other => format!("{other:?}"),
    }
}

impl<'m> Weight<'m> {
    fn new(
        view: View<'m>,
        store: &'m WeightStore,
        constant: Constant<'m>,
        name: String,
        key: String,
        used: Use,
    ) -> Result<Weight<'m>> {
        let ty = view.type_of(constant).ok_or_else(|| Error::constant(&name, "it is no tensor"))?.clone();
        let (mut pieces, mut makers) = (Vec::new(), Vec::new());
        gather(view, store, constant, "val", &mut pieces, &mut makers, 0)?;
        let words = names::words(&name);
        Ok(Weight { name, words, key, ty, uses: vec![used], pieces, makers, constant, view })
    }

    /// The elements, to be read.
    ///
    /// # Errors
    /// `Input` for a constant that contradicts itself.
    pub fn open(&self, bundle: &'m Bundle) -> Result<Dense<'m>> {
        let dense = Dense::new(self.view, &bundle.weights, self.constant);
        dense.map_err(|problem| Error::constant(&self.name, &problem))
    }

    /// The number of elements as it is computed with; 0 where that is not known.
    pub fn elements(&self) -> u64 {
        self.ty.element_count().unwrap_or(0)
    }

    /// Bytes of pieces for that purpose.
    pub fn bytes(&self, purpose: Purpose) -> u64 {
        self.pieces.iter().filter(|p| p.purpose() == purpose).map(|p| p.bytes).sum()
    }

    /// How it is stored: `fp16`, `lut4`, `int8`, `sparse fp16`, `lut4 sparse`...
    pub fn storage(&self) -> String {
        let is_sparse = self.makers.iter().any(|m| m.contains("sparse"));
        let bits = self.index_bits().map(|bits| format!("lut{bits}"));
        let plain = self.pieces.iter().find(|p| p.purpose() == Purpose::Elements && !p.role.contains("mask"));
        let stored = bits.or_else(|| plain.map(|p| p.ty.dtype.to_string())).unwrap_or_default();
        if is_sparse { format!("{stored} sparse") } else { stored }
    }

    /// Bits of an index, for what has a table.
    pub fn index_bits(&self) -> Option<u32> {
        let lut = self.pieces.iter().find(|p| p.role == "lut");
        let indices =
            self.pieces.iter().find(|p| p.role.starts_with("indices") && !p.role.contains("mask"))?;
        match (indices.ty.dtype, lut.map(|lut| (lut.ty.rank(), lut.ty.element_count()))) {
            // Before iOS 18 indices were packed bytes, and the table says how wide they are.
            (DataType::UInt8, Some((1, Some(entries)))) => entries.checked_ilog2(),
            (dtype, _) => Some(dtype.bits()),
        }
    }

    /// The part of a language model that it belongs to, else the kind of the op that reads it.
    pub fn component(&self) -> &str {
        names::component(&self.words).unwrap_or_else(|| self.uses.first().map_or("", |used| &used.kind))
    }
}

/// Lists what a constant is made from.
fn gather<'m>(
    view: View<'m>,
    store: &'m WeightStore,
    constant: Constant<'m>,
    role: &'m str,
    pieces: &mut Vec<Piece<'m>>,
    makers: &mut Vec<&'m str>,
    depth: usize,
) -> Result<()> {
    match constant {
        Constant::Literal(value) => pieces.extend(piece(store, value, role)?),
        Constant::Made(op, _) if depth < 8 => {
            if !makers.contains(&op.kind.name()) {
                makers.push(op.kind.name());
            }
            let inputs = op.inputs.iter().filter(|(_, argument)| matches!(argument, Argument::One(_)));
            let names = inputs.map(|(name, _)| name).chain(op.attributes.keys());
            for name in names.filter(|name| is_stored(name)) {
                let Some(part) = view.parameter(op, name) else { continue };
                // Of what is made in two steps, the elements keep the name that says most.
                let inner = role == "lut" && name == "data";
                gather(view, store, part, if inner { role } else { name }, pieces, makers, depth + 1)?;
            }
        }
        Constant::Made(..) => {}
    }
    Ok(())
}

/// Whether a parameter of a `constexpr` op holds elements, and not how to read them.
fn is_stored(parameter: &str) -> bool {
    !matches!(parameter, "name" | "axis" | "vector_axis" | "shape" | "output_dtype")
}

fn piece<'m>(store: &WeightStore, value: &'m Value, role: &'m str) -> Result<Option<Piece<'m>>> {
    let Some(ty) = value.ty.as_tensor() else { return Ok(None) };
    let place = match &value.data {
        Data::Blob(blob) => {
            let file = store.files().find(|(name, _)| *name == blob.file).map(|(_, file)| file);
            let record = file.map(|file| file.record(blob.offset)).transpose()?;
            record.map(|r| Place { file: &blob.file, metadata: r.offset, data: r.data_offset })
        }
        _ => None,
    };
    Ok(ty.byte_len().map(|bytes| Piece { role, ty, bytes, place }))
}
