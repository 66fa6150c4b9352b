//! Literals.

use half::f16;

use crate::dtype::DataType;
use crate::error::Result;
use crate::pack;
use crate::text::lex::Token;
use crate::text::number::parse_float;
use crate::types::{Dim, TensorType, Type};
use crate::value::{BlobRef, Data, Value};

use super::Parser;

/// The elements of a tensor, in the order of the text.
struct Elements {
    dtype: DataType,
    strings: Vec<String>,
    /// Little-endian; sub-byte elements take a byte each until the tensor is complete.
    bytes: Vec<u8>,
}

impl<'a> Parser<'a> {
    /// A literal with its type: `type(literal)`.
    pub(super) fn value(&mut self) -> Result<Value> {
        let ty = self.ty()?;
        self.mark('(')?;
        let value = self.literal(ty)?;
        self.mark(')')?;
        Ok(value)
    }

    fn literal(&mut self, ty: Type) -> Result<Value> {
        let data = match &ty {
            Type::Tensor(_) if self.peek()? == Token::Word("BLOBFILE") => Data::Blob(self.blob()?),
            Type::Tensor(t) => self.tensor(t)?,
            Type::State(_) => {
                let at = self.lexer.start();
                return Err(self.lexer.error_at(at, format!("a value of type {ty} has no literal")));
            }
            Type::List(member, length) => Data::List(self.members(member, *length)?),
            Type::Tuple(types) => Data::Tuple(self.tuple(types)?),
            Type::Dict(key, value) => Data::Dict(self.dict(key, value)?),
        };
        Ok(Value { ty, data })
    }

    fn members(&mut self, member: &Type, length: Option<u64>) -> Result<Vec<Value>> {
        let at = self.lexer.start();
        let mut members = Vec::new();
        self.mark('[')?;
        self.list(']', |p| {
            members.push(p.literal(member.clone())?);
            Ok(())
        })?;
        match length {
            Some(n) if n != members.len() as u64 => {
                let problem = format!("expected {n} members of the list, found {}", members.len());
                Err(self.lexer.error_at(at, problem))
            }
            _ => Ok(members),
        }
    }

    fn tuple(&mut self, types: &[Type]) -> Result<Vec<Value>> {
        let mut members = Vec::new();
        self.mark('(')?;
        for (i, ty) in types.iter().enumerate() {
            if i > 0 {
                self.mark(',')?;
            }
            members.push(self.literal(ty.clone())?);
        }
        self.mark(')')?;
        Ok(members)
    }

    fn dict(&mut self, key: &Type, value: &Type) -> Result<Vec<(Value, Value)>> {
        let mut pairs = Vec::new();
        self.mark('{')?;
        self.list('}', |p| {
            p.mark('{')?;
            let key = p.literal(key.clone())?;
            p.mark(',')?;
            pairs.push((key, p.literal(value.clone())?));
            p.mark('}')
        })?;
        Ok(pairs)
    }

    fn blob(&mut self) -> Result<BlobRef> {
        self.keyword("BLOBFILE")?;
        self.mark('(')?;
        self.keyword("path")?;
        self.mark('=')?;
        let at = self.lexer.start();
        let path = self.value()?;
        let file = path.as_str().filter(|_| path.ty == Type::scalar(DataType::String));
        let file =
            file.ok_or_else(|| self.lexer.error_at(at, format!("expected a string, found {}", path.ty)))?;
        self.mark(',')?;
        self.keyword("offset")?;
        self.mark('=')?;
        let at = self.lexer.start();
        let offset = self.value()?;
        self.mark(')')?;
        match &offset.data {
            Data::Bytes(bytes) if offset.ty == Type::scalar(DataType::UInt64) => {
                let word = bytes.first_chunk().copied().unwrap_or_default();
                Ok(BlobRef { file: file.to_owned(), offset: u64::from_le_bytes(word) })
            }
            _ => Err(self.lexer.error_at(at, format!("expected a uint64, found {}", offset.ty))),
        }
    }

    fn tensor(&mut self, t: &TensorType) -> Result<Data> {
        let at = self.lexer.start();
        if t.shape.iter().skip(1).any(|d| *d == Dim::Unknown)
            || sub_byte(t.dtype) && t.fixed_shape().is_none()
        {
            return Err(self.unsupported(at, format!("a literal of type {t}: its extents are not known")));
        }
        let mut elements = Elements { dtype: t.dtype, strings: Vec::new(), bytes: Vec::new() };
        self.nested(&t.shape, &mut elements)?;
        Ok(match t.dtype {
            DataType::String => Data::Strings(elements.strings),
            dtype if sub_byte(dtype) => Data::Bytes(pack::pack(&elements.bytes, dtype.bits())),
            _ => Data::Bytes(elements.bytes),
        })
    }

    /// The brackets of the outermost dimension of `shape` and what is in them; an element if there is none.
    fn nested(&mut self, shape: &[Dim], elements: &mut Elements) -> Result<()> {
        let Some((outer, inner)) = shape.split_first() else { return self.element(elements) };
        let at = self.lexer.start();
        let mut found = 0u64;
        self.mark('[')?;
        self.list(']', |p| {
            found += 1;
            p.nested(inner, elements)
        })?;
        match *outer {
            Dim::Known(n) if n != found => {
                let problem = format!("expected {n} entries between the brackets, found {found}");
                Err(self.lexer.error_at(at, problem))
            }
            _ => Ok(()),
        }
    }

    fn element(&mut self, elements: &mut Elements) -> Result<()> {
        let (at, token) = self.next()?;
        let dtype = elements.dtype;
        let word = match (&token, dtype) {
            (Token::Text(text), DataType::String) => {
                elements.strings.push(text.clone().into_owned());
                return Ok(());
            }
            (Token::Word("true"), DataType::Bool) => Some(1),
            (Token::Word("false"), DataType::Bool) => Some(0),
            (Token::Number(text) | Token::Word(text), _) if dtype.is_float() => float_bits(dtype, text),
            (Token::Number(text), _) if dtype.is_integer() => integer_bits(dtype, text),
            _ => None,
        };
        let word = word.ok_or_else(|| self.expected(at, &format!("a literal of type {dtype}"), &token))?;
        let size = dtype.bits().div_ceil(8) as usize;
        elements.bytes.extend(word.to_le_bytes().iter().take(size));
        Ok(())
    }
}

fn sub_byte(dtype: DataType) -> bool {
    (1..8).contains(&dtype.bits())
}

/// The bits of a float literal, rounded to `dtype`; `None` if it is no number or too large for the type.
fn float_bits(dtype: DataType, text: &str) -> Option<u64> {
    let value = parse_float(text)?;
    let (bits, rounded) = match dtype {
        DataType::Fp16 => {
            let half = f16::from_f64(value);
            (u64::from(half.to_bits()), half.to_f64())
        }
        DataType::Fp32 => (u64::from((value as f32).to_bits()), f64::from(value as f32)),
        _ => (value.to_bits(), value),
    };
    (rounded.is_infinite() == value.is_infinite()).then_some(bits)
}

/// The bits of an integer literal; `None` if it is no integer or out of the type's range.
fn integer_bits(dtype: DataType, text: &str) -> Option<u64> {
    let value: i128 = text.parse().ok()?;
    let signed = matches!(
        dtype,
        DataType::Int4 | DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64
    );
    let range = match (signed, dtype.bits()) {
        (true, bits) => -(1i128 << (bits - 1))..1i128 << (bits - 1),
        (false, bits) => 0..1i128 << bits,
    };
    range.contains(&value).then_some(value as u64)
}
