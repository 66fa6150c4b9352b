//! Runs everything: conversions once, processes in rounds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::{Error, Result};
use crate::machine;
use crate::place::Place;
use crate::run::runtime::cases::{self, CONTEXT, CONTEXTS, FORMS, FOUR, MODEL, QUARTER, THREADS, Workload};
use crate::run::runtime::peer::PeerArgs;
use crate::run::runtime::repack::{self, Repacked};
use crate::run::runtime::results::{Filled, PeerRounds, Results, Rounds, Start};
use crate::run::runtime::told::{self, FirstToken, Told};
use crate::usage;

/// What is measured beside four bits and llama.cpp.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Extra {
    /// Other forms of weights
    Forms,
    /// Sets of instructions
    Sets,
    /// Contexts up to 8192
    Contexts,
    /// What weights gain that are brought into another form
    Repacked,
}

impl Extra {
    pub(crate) const ALL: [Extra; 4] = [Extra::Forms, Extra::Sets, Extra::Contexts, Extra::Repacked];
}

/// What is to be measured.
pub(crate) struct Plan<'a> {
    pub(crate) place: &'a Place,
    pub(crate) peer: &'a PeerArgs,
    /// How often each process runs.
    pub(crate) rounds: usize,
    /// How often each process repeats its work.
    pub(crate) repeats: u64,
    pub(crate) extras: &'a [Extra],
    /// Is told what happens.
    pub(crate) say: &'a dyn Fn(&str),
}

impl Plan<'_> {
    /// Measures it all. Conversions stay; `cases::remove` removes them.
    pub(crate) fn measure(&self) -> Result<Results> {
        let anelith = Anelith { path: self.place.anelith()?, log: self.place.file("running.log")? };
        (self.say)("checkpoint and conversions ...");
        let model = self.place.checkpoint(MODEL)?;
        let mut results = Results {
            machine: machine::describe(&self.place.file(".")?),
            version: format!("anelith {}", env!("CARGO_PKG_VERSION")),
            four: Rounds::default(),
            starts: Vec::new(),
            peer: Err(String::new()),
            forms: Vec::new(),
            sets: Vec::new(),
            growth: Vec::new(),
            repacked: Vec::new(),
        };
        let four = cases::convert(self.place, MODEL, FOUR, CONTEXT)?;
        self.run_rounds(&anelith, &four, &model, &mut results)?;
        if self.extras.contains(&Extra::Sets) {
            results.sets = self.run_sets(&anelith, &four, &results.four)?;
        }
        if self.extras.contains(&Extra::Contexts) {
            results.growth = self.run_contexts(&anelith)?;
        }
        if self.extras.contains(&Extra::Repacked) {
            let isa = results.four.0.last().map_or("", |told| told.isa.as_str());
            let forms = repack::forms(isa).iter();
            results.repacked = forms.map(|lut| self.run_repacked(&anelith, lut)).collect::<Result<_>>()?;
        }
        Ok(results)
    }

    /// Whatever slows the machine down for a while slows all down.
    fn run_rounds(&self, anelith: &Anelith, four: &Path, model: &Path, results: &mut Results) -> Result<()> {
        let peer = self.peer.prepare(self.place, model)?;
        if let Err(why) = &peer {
            (self.say)(&format!("skipped: llama.cpp: {why}"));
        }
        let forms: &[&str] = if self.extras.contains(&Extra::Forms) { &FORMS } else { &[] };
        let mut metas = Vec::new();
        for lut in forms {
            metas.push(cases::convert(self.place, MODEL, lut, CONTEXT)?);
            results.forms.push((lut, Rounds::default()));
        }
        let mut timed = Vec::new();
        for round in 1..=self.rounds {
            (self.say)(&format!("round {round} of {} ...", self.rounds));
            results
                .four
                .0
                .push(self.tell(FOUR, anelith.bench(four, Workload::of_targets(self.repeats), &[])?));
            if let Ok(peer) = &peer {
                timed.push(peer.run(Workload::of_targets(self.repeats))?);
            }
            results.starts.push(anelith.start(four)?);
            for (meta, (lut, rounds)) in metas.iter().zip(&mut results.forms) {
                anelith.start(meta)?;
                rounds.0.push(self.tell(lut, anelith.bench(meta, Workload::of_targets(self.repeats), &[])?));
            }
        }
        results.peer = peer.map(|peer| PeerRounds { version: peer.version, rounds: timed });
        Ok(())
    }

    /// The set that the rounds took is the best; those below it are known.
    fn run_sets(&self, anelith: &Anelith, four: &Path, rounds: &Rounds) -> Result<Vec<Told>> {
        let best = rounds.0.last().map_or("", |told| told.isa.as_str());
        let run = |isa: &str| {
            let told = anelith.bench(four, Workload::of_sets(), &["--isa", isa])?;
            if told.isa == isa {
                return Ok(self.tell(isa, told));
            }
            Err(Error::Failed(format!("`--isa {isa}` was not heeded: `{}` ran", told.isa)))
        };
        sets_from(best).iter().map(|isa| run(isa)).collect()
    }

    fn run_contexts(&self, anelith: &Anelith) -> Result<Vec<Filled>> {
        self.place.checkpoint(QUARTER)?;
        let shape = QUARTER.shape()?;
        // Keys and values in fp16.
        let bytes_per_position = shape.layers * 2 * shape.kv_heads * shape.head_dim * 2;
        let mut growth = Vec::new();
        for context in CONTEXTS {
            let meta = cases::convert(self.place, QUARTER, FOUR, context)?;
            for is_full in [false, true] {
                let workload = Workload::of_growth(context, is_full);
                let told = anelith.bench(&meta, workload, &[])?;
                let told = self.tell(&format!("context {context}, position {}", workload.start), told);
                growth.push(Filled { workload, is_full, told, bytes_per_position });
            }
        }
        Ok(growth)
    }

    fn run_repacked(&self, anelith: &Anelith, lut: &'static str) -> Result<Repacked> {
        let meta = cases::convert(self.place, MODEL, lut, CONTEXT)?;
        let mut both = Repacked { lut, stored: Rounds::default(), repacked: Rounds::default() };
        for _ in 0..self.rounds {
            for (rounds, what, options) in
                [(&mut both.repacked, "", &[][..]), (&mut both.stored, " as stored", &["--as-stored"][..])]
            {
                anelith.start(&meta)?;
                let told = anelith.bench(&meta, Workload::of_sets(), options)?;
                rounds.0.push(self.tell(&format!("{lut}{what}"), told));
            }
        }
        Ok(both)
    }

    fn tell(&self, what: &str, told: Told) -> Told {
        let (decode, prefill) = (told.decode(), told.prefill());
        (self.say)(&format!("  {what}: decode {decode:.1}, prefill {prefill:.1} tokens/s"));
        told
    }
}

/// A set of instructions and those below it.
fn sets_from(best: &str) -> &'static [&'static str] {
    match best {
        "avx512" => &["avx512", "avx2", "generic"],
        "avx2" => &["avx2", "generic"],
        "neon" => &["neon", "generic"],
        _ => &["generic"],
    }
}

/// The binary that is measured.
struct Anelith {
    path: PathBuf,
    log: PathBuf,
}

impl Anelith {
    fn bench(&self, meta: &Path, workload: Workload, options: &[&str]) -> Result<Told> {
        let Workload { start, prompt, generate, repeats } = workload;
        let numbers = [
            ("--start", start),
            ("--prompt", prompt),
            ("--generate", generate),
            ("--repeats", repeats),
            ("--threads", THREADS),
        ];
        let numbers = numbers.map(|(option, n)| (option, n.to_string()));
        let numbers = numbers.iter().flat_map(|(option, n)| [*option, n.as_str()]);
        let mut arguments = arguments(meta);
        arguments.extend(numbers.chain(options.iter().copied()).map(OsStr::new));
        usage::run(&self.path, &arguments, &self.log)?;
        told::read(&self.log)
    }

    /// Also a way to have the memory at hand that the next process takes: a virtual machine may give memory back while
    /// it is not used, and take long to get it again.
    fn start(&self, meta: &Path) -> Result<Start> {
        let arguments = [&arguments(meta)[..], &[OsStr::new("--first-token")]].concat();
        let usage = usage::run(&self.path, &arguments, &self.log)?;
        let told: FirstToken = told::read(&self.log)?;
        Ok(Start { whole: usage.wall, told: told.start_to_first_token_seconds })
    }
}

fn arguments(meta: &Path) -> Vec<&OsStr> {
    vec!["bench".as_ref(), "--json".as_ref(), "--meta".as_ref(), meta.as_os_str()]
}
