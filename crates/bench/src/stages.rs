//! Where the time of a conversion goes: by step, and in step 1 by what its threads do.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anelith_checkpoint::Checkpoint;
use anelith_convert::{Lut, Options, Pipeline, Progress, Selection, Stage, Step};

use crate::disk;
use crate::error::{Error, Result};
use crate::markdown::{self, Table};

/// The stages in the order of a weight's way.
const STAGES: [(Stage, &str); 5] = [
    (Stage::Read, "reading"),
    (Stage::Sort, "sorting"),
    (Stage::Cluster, "clustering"),
    (Stage::Pack, "packing"),
    (Stage::Write, "writing"),
];

/// Where the time of a conversion went.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Split {
    /// Weights of the checkpoint.
    count: u64,
    /// Seconds before the first step.
    check: f64,
    /// Seconds of each step.
    steps: Vec<(Step, f64)>,
    /// Seconds of all threads together in each stage of step 1.
    stages: [f64; STAGES.len()],
}

/// A conversion whose time is to be split.
#[derive(Debug)]
pub(crate) struct Splitting<'a> {
    pub(crate) model: &'a Path,
    /// Removed afterwards.
    pub(crate) output: &'a Path,
    pub(crate) lut: Lut,
    /// One for each core unless told.
    pub(crate) threads: Option<usize>,
}

impl Splitting<'_> {
    /// Converts, steps 0 to 5, inside this process.
    pub(crate) fn measure(&self) -> Result<Split> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).build();
        let pool = pool.map_err(|e| Error::Failed(format!("no threads: {e}")))?;
        disk::remove(self.output)?;
        disk::warm(self.model)?;
        disk::settle();
        let split = pool.install(|| self.convert());
        disk::remove(self.output)?;
        split
    }

    fn convert(&self) -> Result<Split> {
        let watch = Watch::default();
        let start = Instant::now();
        let checkpoint = Checkpoint::open(self.model)?;
        let pipeline = Pipeline::new(&checkpoint, &self.options(), &watch)?;
        pipeline.check(Selection::needed(), &watch)?;
        let check = start.elapsed().as_secs_f64();
        pipeline.run(Selection::needed(), &watch)?;
        let count = weights(&checkpoint);
        Ok(watch.split(count, check))
    }

    fn options(&self) -> Options {
        Options {
            model: self.model.to_owned(),
            output: self.output.to_owned(),
            context: 512,
            batch: 64,
            lut: self.lut,
            lut_embeddings: None,
            lut_lmhead: None,
            argmax: false,
            prefix: None,
        }
    }
}

fn weights(checkpoint: &Checkpoint) -> u64 {
    let shapes = checkpoint.tensors.names().filter_map(|name| checkpoint.tensors.find(name));
    shapes.map(|(_, shape)| shape.iter().map(|n| *n as u64).product::<u64>()).sum()
}

/// Adds up what a conversion says.
#[derive(Debug, Default)]
struct Watch {
    /// Nanoseconds.
    stages: [AtomicU64; STAGES.len()],
    steps: Mutex<Steps>,
}

#[derive(Debug, Default)]
struct Steps {
    current: Option<(Step, Instant)>,
    done: Vec<(Step, f64)>,
}

impl Watch {
    fn split(self, count: u64, check: f64) -> Split {
        let stages = self.stages.map(|nanoseconds| nanoseconds.into_inner() as f64 / 1e9);
        let steps = self.steps.into_inner().unwrap_or_else(PoisonError::into_inner).done;
        Split { count, check, steps, stages }
    }

    fn with_steps(&self, act: impl FnOnce(&mut Steps)) {
        act(&mut self.steps.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Watch {
    fn begin(&self, step: Step, _: u64) {
        self.with_steps(|steps| steps.current = Some((step, Instant::now())));
    }

    fn end(&self, _: &Path) {
        self.with_steps(|steps| {
            if let Some((step, start)) = steps.current.take() {
                steps.done.push((step, start.elapsed().as_secs_f64()));
            }
        });
    }

    fn spent(&self, stage: Stage, time: Duration) {
        if let Some(i) = STAGES.iter().position(|(s, _)| *s == stage) {
            let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.stages[i].fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }
}

impl Split {
    /// Seconds in all stages together.
    fn in_stages(&self) -> f64 {
        self.stages.iter().sum()
    }

    /// The stages of step 1.
    pub(crate) fn stages(&self) -> Table {
        let mut table = Table::new(&["stage of step 1", "time of all threads", "share", "per weight"]);
        let all = self.in_stages();
        let mut row = |name: &str, seconds: f64| {
            let share = if all > 0.0 { 100.0 * seconds / all } else { 0.0 };
            let each = seconds * 1e9 / self.count.max(1) as f64;
            table.row(vec![
                name.into(),
                markdown::seconds(seconds),
                format!("{share:.0} %"),
                format!("{each:.2} ns"),
            ]);
        };
        for ((_, name), seconds) in STAGES.iter().zip(self.stages) {
            row(name, seconds);
        }
        row("all", all);
        table
    }

    /// The steps.
    pub(crate) fn steps(&self) -> Table {
        let mut table = Table::new(&["step", "time"]);
        table.row(vec!["0: check".into(), markdown::seconds(self.check)]);
        for (step, seconds) in &self.steps {
            table.row(vec![format!("{}: {}", step.number(), step.title()), markdown::seconds(*seconds)]);
        }
        let all = self.check + self.steps.iter().map(|(_, seconds)| seconds).sum::<f64>();
        table.row(vec!["all".into(), markdown::seconds(all)]);
        table
    }

    /// The names of the stages.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        STAGES.iter().map(|(_, name)| *name)
    }

    /// Seconds of all threads in each stage.
    pub(crate) fn seconds(&self) -> impl Iterator<Item = f64> {
        self.stages.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_threads_add_up() {
        let watch = Watch::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    watch.spent(Stage::Cluster, Duration::from_millis(600));
                    watch.spent(Stage::Write, Duration::from_millis(200));
                });
            }
        });
        let table = watch.split(1_000_000_000, 0.5).stages().to_string();
        assert!(table.contains("| clustering | 2.40 s | 75 % | 2.40 ns |"), "{table}");
        assert!(table.contains("| all | 3.20 s | 100 % | 3.20 ns |"), "{table}");
    }

    #[test]
    fn the_demo_model_goes_through_all_steps() {
        let output = tempfile::tempdir().expect("a directory");
        let model = crate::place::root().join("models/demo-qwen3");
        let splitting =
            Splitting { model: &model, output: &output.path().join("out"), lut: Lut::None, threads: Some(1) };
        let split = splitting.measure().expect("the model can be converted");
        let steps: Vec<u32> = split.steps.iter().map(|(step, _)| step.number()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5]);
        assert_eq!(split.count, 918_912);
        assert!(split.in_stages() > 0.0, "the conversion does not say where its time goes");
    }
}
