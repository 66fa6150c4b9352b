//! `chat` and `generate`.

use std::io::{self, BufRead, IsTerminal, Write, stdin};
use std::time::{Instant, SystemTime};

use anelith_chat::{
    Cached, Generator, LanguageModel, Meta, Monolith, Reply, Request, Sampling, Session, SessionOptions,
    Tokenizer,
};
use anelith_report::{Report, Reported};
use anelith_runtime::Precision;

use crate::args::{ChatArgs, GenerateArgs, MetaArgs};
use crate::document;
use crate::failure::{Failure, Result, Status};
use crate::results::{Answer, Times};
use crate::terminal::{note, print};

pub(crate) fn chat(args: &ChatArgs) -> Result<()> {
    if args.json && args.prompt.is_none() {
        let report = Report::new("a conversation has no end at which to print one document").at("--json");
        return Err(Failure::usage(report.expecting("--prompt").mending("give the question to --prompt")));
    }
    let (meta, model) = open(&args.meta)?;
    let mut model = Cached::new(model);
    let options = SessionOptions {
        max_tokens: args.max_tokens,
        full: args.full,
        no_template: args.no_template,
        enable_thinking: args.no_think.then_some(false),
        system: None,
        sampling: Sampling::default(),
        now: SystemTime::now(),
    };
    let mut session = Session::open(meta.dir(), options)?;
    if let Some(prompt) = &args.prompt {
        if !args.json {
            return answer(&mut session, &mut model, prompt, print).map(drop);
        }
        let given = answer(&mut session, &mut model, prompt, |_| Ok(()))?;
        return document::show(document::answer(Some(prompt), &given));
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

/// Takes the times of an answer.
struct Clock {
    asked: Instant,
    /// When the part under way began.
    begun: Instant,
    prefill: f64,
    first_token: Option<f64>,
}

impl Clock {
    /// The question is there.
    fn start() -> Clock {
        let now = Instant::now();
        Clock { asked: now, begun: now, prefill: 0.0, first_token: None }
    }

    /// It is a prompt of ids.
    fn encoded(&mut self) {
        self.begun = Instant::now();
    }

    /// The prompt is through, but for its last token.
    fn prefilled(&mut self) {
        self.prefill = self.begun.elapsed().as_secs_f64();
        self.begun = Instant::now();
    }

    /// A token is there.
    fn token(&mut self) {
        self.first_token.get_or_insert_with(|| self.asked.elapsed().as_secs_f64());
    }

    /// The answer is at its end.
    fn times(&self) -> Times {
        let decode = self.begun.elapsed().as_secs_f64();
        Times { prefill: self.prefill, first_token: self.first_token, decode }
    }
}

/// Shows the answer to `question` as it comes, and a line end.
pub(crate) fn answer(
    session: &mut Session,
    model: &mut Cached<Monolith>,
    question: &str,
    show: fn(&str) -> Result<()>,
) -> Result<Answer> {
    let mut clock = Clock::start();
    let mut answer = session.ask(model, question)?;
    clock.encoded();
    let prompt_ids = answer.generator().generation().prompt().to_vec();
    while answer.generator().prefill_step()? {}
    clock.prefilled();
    for fragment in answer.by_ref() {
        clock.token();
        show(&fragment?)?;
    }
    show("\n")?;
    let reply = answer.finish()?;
    if reply.forgotten > 0 {
        note(&format!("note: {} earlier turns no longer fit the context and were dropped", reply.forgotten));
    }
    let Reply { ids, text, end, .. } = reply;
    Ok(Answer { prompt_ids, ids, text: Some(text), end, times: clock.times() })
}

pub(crate) fn generate(args: &GenerateArgs) -> Result<()> {
    let (meta, model) = open(&args.meta)?;
    check_ids(&args.ids, model.vocab_size())?;
    let tokenizer = match args.no_stop {
        false => Some(Tokenizer::open(meta.dir())?),
        // Only to say what the ids read as, where that can be said.
        true if args.json => Tokenizer::open(meta.dir()).ok(),
        true => None,
    };
    let stops = tokenizer.as_ref().filter(|_| !args.no_stop).map(|tokenizer| tokenizer.stop_ids().clone());
    let request = Request {
        prompt: args.ids.clone(),
        max_tokens: args.max_tokens,
        stop: stops.unwrap_or_default(),
        sampling: Sampling::default(),
    };
    let mut clock = Clock::start();
    let mut model = Cached::new(model);
    let mut generator = Generator::new(&mut model, request)?;
    generator.prefill()?;
    clock.prefilled();
    let mut ids = Vec::new();
    for id in generator.by_ref() {
        let id = id?;
        clock.token();
        if !args.json {
            print(&format!("{}{id}", if ids.is_empty() { "" } else { " " }))?;
        }
        ids.push(id);
    }
    if !args.json {
        return print("\n");
    }
    let (end, times) = (generator.generation().end(), clock.times());
    let text = tokenizer.map(|tokenizer| tokenizer.decode(&ids)).transpose()?;
    let given = Answer { prompt_ids: args.ids.clone(), ids, text, end, times };
    document::show(document::answer(None, &given))
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
