//! `generate`.

use anelith_chat::{Cached, Generator, LanguageModel, Request, Sampling, Tokenizer};
use anelith_report::{Report, Reported};

use super::answer::Clock;
use super::open;
use crate::args::GenerateArgs;
use crate::document;
use crate::failure::{Failure, Result};
use crate::results::Answer;
use crate::terminal::print;

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
    let sampling = Sampling::default();
    let request = Request {
        prompt: args.ids.clone(),
        max_tokens: args.max_tokens,
        stop: stops.unwrap_or_default(),
        sampling: sampling.clone(),
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
    let (end, reused) = (generator.generation().end(), generator.generation().reused());
    let (forgotten, times) = (0, clock.times());
    let text = tokenizer.map(|tokenizer| tokenizer.decode(&ids)).transpose()?;
    let given = Answer { prompt_ids: args.ids.clone(), ids, text, end, reused, forgotten, sampling, times };
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
