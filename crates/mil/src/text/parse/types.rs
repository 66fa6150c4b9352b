//! Types.

use crate::dtype::DataType;
use crate::error::Result;
use crate::text::lex::Token;
use crate::types::{Dim, MAX_RANK, TensorType, Type};

use super::Parser;

/// How many types may make up one, which also bounds their nesting; Apple's compiler writes up to 13. Every
/// member of a container carries its type, so a large one would cost far more memory than text.
const MAX_MEMBERS: usize = 32;

impl<'a> Parser<'a> {
    /// Whether a declaration comes next, not the name of an op.
    pub(super) fn at_type(&self) -> Result<bool> {
        let Token::Word(word) = self.peek()? else { return Ok(false) };
        Ok(match self.peek_second()? {
            Token::Mark('<') => is_container(word),
            Token::Word(_) => DataType::from_name(word).is_some(),
            _ => false,
        })
    }

    /// Whether a literal with its type comes next, not the name of a variable.
    pub(super) fn at_value(&self) -> Result<bool> {
        let Token::Word(word) = self.peek()? else { return Ok(false) };
        Ok(match self.peek_second()? {
            Token::Mark('<') => is_container(word),
            Token::Mark('(') => true,
            _ => false,
        })
    }

    pub(super) fn ty(&mut self) -> Result<Type> {
        let (at, word) = self.word("a type")?;
        self.members = if self.depth == 0 { 1 } else { self.members + 1 };
        if self.members > MAX_MEMBERS {
            return Err(self.unsupported(at, format!("a type of more than {MAX_MEMBERS} types")));
        }
        if let Some(dtype) = DataType::from_name(word) {
            return Ok(Type::scalar(dtype));
        }
        if !is_container(word) {
            return Err(self.lexer.error_at(at, format!("expected a type, found `{word}`")));
        }
        self.depth += 1;
        self.mark('<')?;
        let ty = self.container(word)?;
        self.depth -= 1;
        Ok(ty)
    }

    /// The rest of the type that starts with `word` and `<`.
    fn container(&mut self, word: &str) -> Result<Type> {
        if word == "tensor" {
            return self.tensor_type();
        }
        if word == "tuple" {
            let mut types = Vec::new();
            self.list('>', |p| {
                types.push(p.ty()?);
                Ok(())
            })?;
            return Ok(Type::Tuple(types));
        }
        let at = self.lexer.start();
        let first = self.ty()?;
        let ty = match (word, first) {
            ("state", Type::Tensor(t)) => Type::State(t),
            ("state", other) => {
                return Err(self.lexer.error_at(at, format!("expected a tensor as state, found {other}")));
            }
            ("list", first) => {
                self.mark(',')?;
                Type::List(Box::new(first), known(self.dim()?))
            }
            (_, first) => {
                self.mark(',')?;
                Type::Dict(Box::new(first), Box::new(self.ty()?))
            }
        };
        self.mark('>')?;
        Ok(ty)
    }

    fn tensor_type(&mut self) -> Result<Type> {
        let (at, word) = self.word("an element type")?;
        let dtype = DataType::from_name(word).ok_or_else(|| {
            self.unsupported(at, format!("element type `{word}`, expected one such as `fp16`"))
        })?;
        self.mark(',')?;
        self.mark('[')?;
        let mut shape = Vec::new();
        self.list(']', |p| {
            let at = p.lexer.start();
            shape.push(p.dim()?);
            match shape.len() {
                0..=MAX_RANK => Ok(()),
                _ => Err(p.unsupported(at, format!("a tensor of more than {MAX_RANK} dimensions"))),
            }
        })?;
        self.mark('>')?;
        Ok(Type::Tensor(TensorType { dtype, shape }))
    }

    fn dim(&mut self) -> Result<Dim> {
        match self.next()? {
            (_, Token::Mark('?')) => Ok(Dim::Unknown),
            (at, Token::Number(number)) => number.parse().map(Dim::Known).map_err(|_| {
                self.lexer.error_at(at, format!("expected an extent below 2^64 or `?`, found `{number}`"))
            }),
            (at, found) => Err(self.expected(at, "an extent or `?`", &found)),
        }
    }
}

fn known(dim: Dim) -> Option<u64> {
    match dim {
        Dim::Known(n) => Some(n),
        Dim::Unknown => None,
    }
}

fn is_container(word: &str) -> bool {
    matches!(word, "tensor" | "list" | "tuple" | "dict" | "state")
}
