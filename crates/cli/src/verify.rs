//! `verify`: how far a converted model is from its checkpoint.

mod json;
mod text;

use std::sync::{Mutex, PoisonError};

use anelith_chat::Meta;
use anelith_report::{Report, Reported};
use anelith_verify::{Gate, Judged, Progress, Scope, Tokens, verify as measure};
use indicatif::ProgressBar;

use crate::args::VerifyArgs;
use crate::failure::{Failure, Result, Status};
use crate::hub;
use crate::terminal::{Interrupt, note, print, units};

pub(crate) fn verify(args: &VerifyArgs, interrupt: &Interrupt) -> Result<()> {
    let gates = args.fail_if.as_deref().map_or(Ok(Vec::new()), Gate::parse_all)?;
    let checkpoint = hub::model(&args.model, args.revision.as_deref())?.open()?;
    checkpoint.config.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
    let meta = Meta::open(&args.meta)?;
    let limit = args.tokens as usize;
    let tokens = match (&args.text, &args.ids) {
        (Some(file), _) => Tokens::of_text(file, &checkpoint.dir, limit)?,
        (None, Some(file)) => Tokens::of_npz(file, limit)?,
        (None, None) => Tokens::built_in(&checkpoint.dir, limit)?,
    };
    let scope = match (args.exact, args.f32) {
        (true, _) => Scope::Exact,
        (false, true) => Scope::F32,
        (false, false) => Scope::All,
    };
    let bar = Bar { interrupt: interrupt.clone(), bar: Mutex::default() };
    let found = interrupt.defer(|| Ok(measure(&checkpoint, &meta, tokens, scope, &bar)?));
    bar.end();
    let found = found?;
    let judged: Vec<Judged> = gates.iter().map(|gate| gate.judge(&found)).collect();
    match args.json {
        true => print(&format!("{}\n", json::json(&found, scope, &judged)))?,
        false => print(&text::text(&found, scope, &judged))?,
    }
    failed(&judged)
}

/// The failure of the gates that were not passed.
fn failed(judged: &[Judged]) -> Result<()> {
    let failed: Vec<&Judged> = judged.iter().filter(|judged| !judged.passed).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let gates: Vec<&str> = failed.iter().map(|judged| judged.gate.as_str()).collect();
    let value =
        |judged: &&Judged| judged.value.map_or("not measured".to_owned(), |value| format!("{value:.4}"));
    let values: Vec<String> = failed.iter().map(value).collect();
    let report = Report::new(format!("the model fails {}", gates.join(" and "))).at("--fail-if");
    let report = report.finding(values.join(" and "));
    let mend = "convert with more bits or smaller groups; the figures above say what the error is from";
    Err(Failure::new(Status::Gate, report.mending(mend)))
}

/// A bar on a terminal for the part under way.
struct Bar {
    interrupt: Interrupt,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn with<T>(&self, act: impl FnOnce(&mut Option<ProgressBar>) -> T) -> T {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress for Bar {
    fn begin(&self, what: &'static str, total: u64) {
        self.with(|bar| *bar = units(total, what));
    }

    fn advance(&self, done: u64) {
        self.with(|bar| bar.iter().for_each(|bar| bar.inc(done)));
    }

    fn end(&self) {
        self.with(|bar| bar.take().iter().for_each(ProgressBar::finish_and_clear));
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_set()
    }
}
