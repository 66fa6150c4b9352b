//! `chat` and `generate`.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write, stdin};
use std::time::{Instant, SystemTime};

use anelith_chat::{
    Generator, LanguageModel, Limits, Meta, Monolith, Reply, Session, SessionOptions, Tokenizer,
};
use anelith_report::{Report, Reported};
use anelith_runtime::Precision;

use crate::args::{ChatArgs, GenerateArgs, MetaArgs};
use crate::failure::{Failure, Result, Status};
use crate::terminal::{note, print};

pub(crate) fn chat(args: &ChatArgs) -> Result<()> {
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
        return answer(&mut session, &mut model, prompt, print).map(drop);
    }
    let is_conversation = stdin().is_terminal();
    while let Some(question) = read_question(is_conversation)? {
        match answer(&mut session, &mut model, &question, print) {
            // A person may ask something shorter next.
            Err(failure) if is_conversation && failure.status == Status::Usage => {
                note(failure.text().trim_end());
            }
            answered => drop(answered?),
        }
    }
    Ok(())
}

/// The next line of standard input; `None` at its end and for an empty line.
fn read_question(is_conversation: bool) -> Result<Option<String>> {
    if is_conversation {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "> ").and_then(|()| stderr.flush());
    }
    let mut line = String::new();
    stdin().lock().read_line(&mut line).map_err(|e| {
        let is_text = e.kind() != io::ErrorKind::InvalidData;
        let status = if is_text { Status::Machine } else { Status::Input };
        Failure::new(status, Report::new(format!("cannot read a question from standard input: {e}")))
    })?;
    let question = line.trim();
    Ok((!question.is_empty()).then(|| question.to_owned()))
}

/// How an answer went.
pub(crate) struct Timed {
    pub(crate) reply: Reply,
    pub(crate) prefill_seconds: f64,
    pub(crate) decode_seconds: f64,
}

/// Shows the answer to `question` as it comes, and a line end.
pub(crate) fn answer(
    session: &mut Session,
    model: &mut Monolith,
    question: &str,
    show: fn(&str) -> Result<()>,
) -> Result<Timed> {
    let mut answer = session.ask(model, question)?;
    let start = Instant::now();
    while answer.generator().prefill_step()? {}
    let prefill_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for fragment in answer.by_ref() {
        show(&fragment?)?;
    }
    show("\n")?;
    let reply = answer.finish()?;
    if reply.forgotten > 0 {
        note(&format!("note: {} earlier turns no longer fit the context and were dropped", reply.forgotten));
    }
    Ok(Timed { reply, prefill_seconds, decode_seconds: start.elapsed().as_secs_f64() })
}

pub(crate) fn generate(args: &GenerateArgs) -> Result<()> {
    let (meta, mut model) = open(&args.meta)?;
    check_ids(&args.ids, model.vocab_size())?;
    let stop = match args.no_stop {
        true => BTreeSet::new(),
        false => Tokenizer::open(meta.dir())?.stop_ids().clone(),
    };
    let limits = Limits { max_tokens: args.max_tokens };
    let generator = Generator::new(&mut model, args.ids.clone(), limits, stop)?;
    for (i, id) in generator.enumerate() {
        print(&format!("{}{}", if i == 0 { "" } else { " " }, id?))?;
    }
    print("\n")
}

fn check_ids(ids: &[u32], vocabulary: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        None => Ok(()),
        Some(id) => {
            let report = Report::new("the model has no token of this id").at("--ids").finding(id);
            Err(Failure::usage(report.expecting(format!("ids below {vocabulary}"))))
        }
    }
}

pub(crate) fn open(args: &MetaArgs) -> Result<(Meta, Monolith)> {
    let meta = Meta::open(&args.meta)?;
    let model = Monolith::open(&meta, args.numbers.options(Precision::Fast)?)?;
    Ok((meta, model))
}
