//! Text to programs.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Result};
use crate::opset::{OpKind, Opset};
use crate::program::{Argument, Function, Op, Operand, Program, VarId};
use crate::types::Type;
use crate::value::{Data, Value};

use super::lex::{Lexer, Token};

mod literal;
mod types;

/// Reads a program in either dialect; `what` names the text in errors, e.g. the path of its file.
///
/// # Errors
/// With line and column: text that breaks the grammar, a name used before it is assigned or assigned twice,
/// a literal that does not fit its type (all malformed); nested blocks, unknown program versions and opsets
/// (unsupported). Whether the ops keep their own rules is for `validate` to say.
pub fn parse(text: &str, what: &str) -> Result<Program> {
    let mut parser = Parser { lexer: Lexer::new(text, what), depth: 0, members: 0 };
    let program = parser.program()?;
    match parser.next()? {
        (_, Token::End) => Ok(program),
        (at, found) => Err(parser.expected(at, "the end of the text", &found)),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// How many types the current one is nested in.
    depth: usize,
    /// How many types make up the outermost one so far.
    members: usize,
}

/// The function being read, and its variables by name.
struct Scope<'a> {
    function: Function,
    names: HashMap<&'a str, VarId>,
}

impl<'a> Parser<'a> {
    /// The next token and its byte offset.
    fn next(&mut self) -> Result<(usize, Token<'a>)> {
        let at = self.lexer.start();
        Ok((at, self.lexer.next()?))
    }

    fn peek(&self) -> Result<Token<'a>> {
        self.lexer.clone().next()
    }

    /// The token after the next one.
    fn peek_second(&self) -> Result<Token<'a>> {
        let mut lexer = self.lexer.clone();
        lexer.next()?;
        lexer.next()
    }

    fn expected(&self, at: usize, expected: &str, found: &Token<'_>) -> Error {
        self.lexer.error_at(at, format!("expected {expected}, found {found}"))
    }

    fn unsupported(&self, at: usize, problem: impl Into<String>) -> Error {
        Error::unsupported(self.lexer.place(at), problem)
    }

    fn mark(&mut self, mark: char) -> Result<()> {
        match self.next()? {
            (_, Token::Mark(found)) if found == mark => Ok(()),
            (at, found) => Err(self.expected(at, &format!("`{mark}`"), &found)),
        }
    }

    /// Whether the next token is `mark`, which is then taken.
    fn take(&mut self, mark: char) -> Result<bool> {
        let found = self.peek()? == Token::Mark(mark);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn word(&mut self, what: &str) -> Result<(usize, &'a str)> {
        match self.next()? {
            (at, Token::Word(word)) => Ok((at, word)),
            (at, found) => Err(self.expected(at, what, &found)),
        }
    }

    fn keyword(&mut self, keyword: &str) -> Result<()> {
        match self.next()? {
            (_, Token::Word(word)) if word == keyword => Ok(()),
            (at, found) => Err(self.expected(at, &format!("`{keyword}`"), &found)),
        }
    }

    /// Items with commas between them, up to and with `close`.
    fn list(&mut self, close: char, mut item: impl FnMut(&mut Parser<'a>) -> Result<()>) -> Result<()> {
        if self.take(close)? {
            return Ok(());
        }
        loop {
            item(self)?;
            match self.next()? {
                (_, Token::Mark(',')) => {}
                (_, Token::Mark(mark)) if mark == close => return Ok(()),
                (at, found) => return Err(self.expected(at, &format!("`,` or `{close}`"), &found)),
            }
        }
    }

    fn program(&mut self) -> Result<Program> {
        self.keyword("program")?;
        self.mark('(')?;
        match self.next()? {
            (_, Token::Number("1.0" | "1.3")) => {}
            (at, Token::Number(version)) => {
                return Err(self.unsupported(at, format!("program version {version}, expected 1.0 or 1.3")));
            }
            (at, found) => return Err(self.expected(at, "a program version", &found)),
        }
        self.mark(')')?;
        let build_info = self.build_info()?;
        self.mark('{')?;
        let mut functions = Vec::new();
        while !self.take('}')? {
            self.keyword("func")?;
            let function = self.function(&functions)?;
            functions.push(function);
        }
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Program { functions, build_info })
    }

    fn build_info(&mut self) -> Result<BTreeMap<String, String>> {
        let mut info = BTreeMap::new();
        if !self.take('[')? {
            return Ok(info);
        }
        self.keyword("buildInfo")?;
        self.mark('=')?;
        let at = self.lexer.start();
        let value = self.value()?;
        self.mark(']')?;
        let Data::Dict(pairs) = value.data else {
            return Err(self.lexer.error_at(at, format!("expected a dict of strings, found {}", value.ty)));
        };
        for (key, value) in pairs {
            let (Some(key), Some(value)) = (key.as_str(), value.as_str()) else {
                return Err(self.lexer.error_at(at, "expected strings as keys and values of `buildInfo`"));
            };
            if info.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(self.lexer.error_at(at, format!("key `{key}` of `buildInfo` occurs twice")));
            }
        }
        Ok(info)
    }

    fn function(&mut self, earlier: &[Function]) -> Result<Function> {
        let (at, name) = self.word("a function name")?;
        if earlier.iter().any(|f| f.name == name) {
            return Err(self.lexer.error_at(at, format!("function `{name}` is defined twice")));
        }
        self.mark('<')?;
        let (at, opset) = self.word("an opset")?;
        let opset = Opset::ALL.into_iter().find(|o| o.text_name() == opset).ok_or_else(|| {
            self.unsupported(at, format!("opset `{opset}`, expected `ios15`, `ios16`, `ios17` or `ios18`"))
        })?;
        self.mark('>')?;
        let mut scope = Scope { function: Function::new(name, opset), names: HashMap::new() };
        self.mark('(')?;
        self.list(')', |p| {
            let id = p.declaration(&mut scope)?;
            scope.function.inputs.push(id);
            Ok(())
        })?;
        scope.function.attributes = self.attributes()?;
        self.body(&mut scope)?;
        Ok(scope.function)
    }

    fn body(&mut self, scope: &mut Scope<'a>) -> Result<()> {
        self.mark('{')?;
        while !self.take('}')? {
            let op = self.op(scope)?;
            scope.function.ops.push(op);
        }
        match self.next()? {
            (_, Token::Arrow) => {}
            (at, found) => return Err(self.expected(at, "`->`", &found)),
        }
        self.mark('(')?;
        self.list(')', |p| {
            let id = p.variable(scope)?;
            scope.function.outputs.push(id);
            Ok(())
        })?;
        self.mark(';')
    }

    /// A type and the name of a new variable.
    fn declaration(&mut self, scope: &mut Scope<'a>) -> Result<VarId> {
        let ty = self.ty()?;
        let (at, name) = self.word("a variable name")?;
        if scope.names.contains_key(name) {
            return Err(self.lexer.error_at(at, format!("variable `{name}` is assigned twice")));
        }
        let id = scope.function.add_var(name, ty);
        scope.names.insert(name, id);
        Ok(id)
    }

    fn variable(&mut self, scope: &Scope<'a>) -> Result<VarId> {
        let (at, name) = self.word("a variable name")?;
        let found = scope.names.get(name).copied();
        found.ok_or_else(|| self.lexer.error_at(at, format!("variable `{name}` is not assigned before here")))
    }

    fn op(&mut self, scope: &mut Scope<'a>) -> Result<Op> {
        // The op's own outputs are no arguments of it, but a name is taken from its declaration on.
        let mut declared = Vec::new();
        if self.at_type()? {
            loop {
                let ty = self.ty()?;
                declared.push((ty, self.word("a variable name")?));
                if !self.take(',')? {
                    break;
                }
            }
            self.mark('=')?;
        }
        let (_, kind) = self.word("an op")?;
        let inputs = self.arguments(scope)?;
        let attributes = self.attributes()?;
        self.end_of_statement()?;
        let outputs = self.assign(scope, declared)?;
        Ok(Op { kind: OpKind::from_name(kind), inputs, attributes, outputs })
    }

    fn assign(&self, scope: &mut Scope<'a>, declared: Vec<(Type, (usize, &'a str))>) -> Result<Vec<VarId>> {
        let mut outputs = Vec::with_capacity(declared.len());
        for (ty, (at, name)) in declared {
            if scope.names.contains_key(name) {
                return Err(self.lexer.error_at(at, format!("variable `{name}` is assigned twice")));
            }
            let id = scope.function.add_var(name, ty);
            scope.names.insert(name, id);
            outputs.push(id);
        }
        Ok(outputs)
    }

    fn end_of_statement(&mut self) -> Result<()> {
        match self.next()? {
            (_, Token::Mark(';')) => Ok(()),
            (at, Token::Mark('(' | '{')) => {
                Err(self.unsupported(at, "a nested block, expected `;` after an op without blocks"))
            }
            (at, found) => Err(self.expected(at, "`;`", &found)),
        }
    }

    fn arguments(&mut self, scope: &Scope<'a>) -> Result<BTreeMap<String, Argument>> {
        let mut arguments = BTreeMap::new();
        self.mark('(')?;
        self.list(')', |p| {
            let (at, name) = p.word("a parameter name")?;
            p.mark('=')?;
            let argument = p.argument(scope)?;
            match arguments.insert(name.to_owned(), argument) {
                Some(_) => Err(p.lexer.error_at(at, format!("parameter `{name}` is given twice"))),
                None => Ok(()),
            }
        })?;
        Ok(arguments)
    }

    fn argument(&mut self, scope: &Scope<'a>) -> Result<Argument> {
        if !self.take('(')? {
            return Ok(Argument::One(self.operand(scope)?));
        }
        let mut operands = Vec::new();
        self.list(')', |p| {
            operands.push(p.operand(scope)?);
            Ok(())
        })?;
        Ok(operands.into())
    }

    fn operand(&mut self, scope: &Scope<'a>) -> Result<Operand> {
        if self.at_value()? {
            return Ok(Operand::Value(self.value()?));
        }
        Ok(Operand::Var(self.variable(scope)?))
    }

    /// The bracketed attributes of a function or op, if there are any.
    fn attributes(&mut self) -> Result<BTreeMap<String, Value>> {
        let mut attributes = BTreeMap::new();
        if !self.take('[')? {
            return Ok(attributes);
        }
        self.list(']', |p| {
            let (at, name) = p.word("an attribute name")?;
            p.mark('=')?;
            let value = p.value()?;
            match attributes.insert(name.to_owned(), value) {
                Some(_) => Err(p.lexer.error_at(at, format!("attribute `{name}` is given twice"))),
                None => Ok(()),
            }
        })?;
        Ok(attributes)
    }
}
