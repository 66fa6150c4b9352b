//! Progress on standard error, results on standard output, and Ctrl-C.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anelith_convert::{Progress, Step, abandon};
use anelith_report::Report;
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Result, Status};
use crate::plain::plain_lines;

/// What Ctrl-C does: it ends the process at once, and nothing half-written stays. Work under way that asks whether it is
/// interrupted has a moment to end by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_deferred: AtomicBool,
    is_set: AtomicBool,
}

/// How long work under way may go on.
const GRACE: Duration = Duration::from_millis(400);

impl Interrupt {
    /// Catches Ctrl-C and requests to terminate.
    pub(crate) fn catch() -> Interrupt {
        let interrupt = Interrupt::default();
        let flags = interrupt.0.clone();
        let on_signal = move || {
            flags.is_set.store(true, Ordering::SeqCst);
            let was_deferred = flags.is_deferred.load(Ordering::SeqCst);
            let start = Instant::now();
            while flags.is_deferred.load(Ordering::SeqCst) && start.elapsed() < GRACE {
                thread::sleep(Duration::from_millis(5));
            }
            if was_deferred && !flags.is_deferred.load(Ordering::SeqCst) {
                // The work has ended, and says so itself.
                return;
            }
            abandon();
            note("error: interrupted");
            std::process::exit(Status::Interrupted as i32);
        };
        // Without a handler Ctrl-C ends the process as well; only the exit status is another.
        let _ = ctrlc::set_handler(on_signal);
        interrupt
    }

    /// Does work that asks now and then whether it is interrupted.
    ///
    /// # Errors
    /// `interrupted` when it was, whatever the work has to say; else those of the work.
    pub(crate) fn defer<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0.is_deferred.store(true, Ordering::SeqCst);
        let done = work();
        self.0.is_deferred.store(false, Ordering::SeqCst);
        if self.is_set() { Err(Failure::interrupted()) } else { done }
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::SeqCst)
    }
}

/// Shows a conversion's progress: a line when a step begins and one when it ends, and on a terminal a bar between.
#[derive(Debug)]
pub(crate) struct Steps {
    interrupt: Interrupt,
    current: Mutex<Option<Current>>,
}

/// The step under way.
#[derive(Debug)]
struct Current {
    start: Instant,
    bar: Option<ProgressBar>,
}

const BAR: &str =
    "  [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left {msg}";

impl Steps {
    pub(crate) fn new(interrupt: &Interrupt) -> Steps {
        Steps { interrupt: interrupt.clone(), current: Mutex::new(None) }
    }

    fn with_current<T>(&self, act: impl FnOnce(&mut Option<Current>) -> T) -> T {
        act(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the bar away; answers with the time at which it began.
    fn clear(&self) -> Option<Instant> {
        let Current { start, bar } = self.with_current(Option::take)?;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Some(start)
    }

    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) -> bool {
        self.with_current(|current| current.as_ref().and_then(|c| c.bar.as_ref()).map(act).is_some())
    }
}

/// A bar over `total` bytes, on a terminal.
pub(crate) fn bar(total: u64, message: &'static str) -> Option<ProgressBar> {
    (total > 0 && io::stderr().is_terminal()).then(|| {
        let style = ProgressStyle::with_template(BAR).expect("the template is valid");
        ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_message(message)
    })
}

/// A bar over `total` units of what the message says, on a terminal.
pub(crate) fn units(total: u64, message: &'static str) -> Option<ProgressBar> {
    (total > 0 && io::stderr().is_terminal()).then(|| {
        let style = ProgressStyle::with_template("  [{bar:30}] {percent} % {eta} left {msg}");
        let style = style.expect("the template is valid").progress_chars("=> ");
        ProgressBar::new(total).with_style(style).with_message(message)
    })
}

impl Progress for Steps {
    fn compare(&self, total: u64) {
        let bar = bar(total, "comparing the model with what is there");
        self.with_current(|current| *current = Some(Current { start: Instant::now(), bar }));
    }

    fn compared(&self) {
        self.clear();
    }

    fn begin(&self, step: Step, total: u64) {
        note(&format!("{step}: {}", step.title()));
        let bar = bar(total, "");
        self.with_current(|current| *current = Some(Current { start: Instant::now(), bar }));
    }

    fn advance(&self, bytes: u64) {
        self.with_bar(|bar| bar.inc(bytes));
    }

    fn end(&self, output: &Path) {
        let Some(start) = self.clear() else { return };
        note(&format!("  done ({:.1} s): {}", start.elapsed().as_secs_f64(), output.display()));
    }

    fn reuse(&self, step: Step, output: &Path) {
        note(&format!("{step}: {}", step.title()));
        note(&format!("  up to date: {}", output.display()));
    }

    fn warn(&self, message: &str) {
        let line = format!("warning: {message}");
        if !self.with_bar(|bar| bar.println(&line)) {
            note(&line);
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_set()
    }
}

/// Writes lines to standard error, where nobody may be reading.
pub(crate) fn note(lines: &str) {
    let _ = writeln!(io::stderr(), "{}", plain_lines(lines));
}

/// Writes to standard output. A reader that has gone away ends the program quietly, as it does for other tools.
pub(crate) fn print(text: &str) -> Result<()> {
    if write_out(text)? {
        return Ok(());
    }
    std::process::exit(0)
}

/// Writes to standard output for whoever still reads; the work that reports here goes on without a reader.
pub(crate) fn report(text: &str) -> Result<()> {
    write_out(text).map(drop)
}

/// Whether there still is a reader.
fn write_out(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => {
            let report = Report::new(format!("cannot write to standard output: {e}"));
            Err(Failure::new(Status::Machine, report))
        }
    }
}
