//! `chat` and `generate`.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, stdin};
use std::time::{Instant, SystemTime};

use anelith_chat::{Generator, Limits, Meta, Monolith, Reply, Session, SessionOptions, Tokenizer};
use anelith_convert::Report;
use anelith_runtime::Precision;

use crate::args::{ChatArgs, GenerateArgs, MetaArgs};
use crate::failure::{Failure, Result, Status};
use crate::terminal::{Interrupt, print, print_line};

pub(crate) fn chat(args: &ChatArgs, interrupt: &Interrupt) -> Result<()> {
    let (meta, mut model) = open(&args.meta)?;
    let options = SessionOptions {
        max_tokens: args.max_tokens,
        full: args.full,
        no_template: args.no_template,
        enable_thinking: args.no_think.then_some(false),
        system: None,
        now: SystemTime::now(),
    };
    let mut session = Session::open(meta.dir(), options)?;
    if let Some(prompt) = &args.prompt {
        return answer(&mut session, &mut model, prompt, interrupt).map(drop);
    }
    let terminal = stdin().is_terminal();
    loop {
        if terminal {
            eprint!("> ");
        }
        let mut line = String::new();
        let read = stdin().lock().read_line(&mut line).map_err(|e| {
            Failure::new(Status::Machine, Report::new(format!("cannot read standard input: {e}")))
        })?;
        let question = line.trim();
        if read == 0 || question.is_empty() {
            return Ok(());
        }
        answer(&mut session, &mut model, question, interrupt)?;
    }
}

/// How an answer went.
pub(crate) struct Timed {
    pub(crate) reply: Reply,
    pub(crate) prefill_seconds: f64,
    pub(crate) decode_seconds: f64,
}

/// Prints the answer to `question` as it comes.
pub(crate) fn answer(
    session: &mut Session,
    model: &mut Monolith,
    question: &str,
    interrupt: &Interrupt,
) -> Result<Timed> {
    let mut answer = session.ask(model, question)?;
    let start = Instant::now();
    while answer.generator().prefill_step()? {
        if interrupt.is_set() {
            return Err(Failure::interrupted());
        }
    }
    let prefill_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for fragment in answer.by_ref() {
        if interrupt.is_set() {
            print_line("")?;
            return Err(Failure::interrupted());
        }
        print(&fragment?)?;
    }
    print_line("")?;
    let reply = answer.finish()?;
    if reply.forgotten > 0 {
        eprintln!("note: {} earlier turns no longer fit the context and were dropped", reply.forgotten);
    }
    Ok(Timed { reply, prefill_seconds, decode_seconds: start.elapsed().as_secs_f64() })
}

pub(crate) fn generate(args: &GenerateArgs, interrupt: &Interrupt) -> Result<()> {
    let (meta, mut model) = open(&args.meta)?;
    let stop = match args.no_stop {
        true => BTreeSet::new(),
        false => Tokenizer::open(meta.dir())?.stop_ids().clone(),
    };
    let limits = Limits { max_tokens: args.max_tokens };
    let generator = Generator::new(&mut model, args.ids.clone(), limits, stop)?;
    for (i, id) in generator.enumerate() {
        if interrupt.is_set() {
            return Err(Failure::interrupted());
        }
        print(&format!("{}{}", if i == 0 { "" } else { " " }, id?))?;
    }
    print_line("")
}

fn open(args: &MetaArgs) -> Result<(Meta, Monolith)> {
    let meta = Meta::open(&args.meta)?;
    let precision = if args.f32 { Precision::F32 } else { Precision::Exact };
    let model = Monolith::open(&meta, precision)?;
    Ok((meta, model))
}
