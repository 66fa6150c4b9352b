//! Progress on standard error, results on standard output, and Ctrl-C.

use std::collections::BTreeMap;
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
            say("error: interrupted");
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
/// Remembers how long each step took.
#[derive(Debug)]
pub(crate) struct Steps {
    interrupt: Interrupt,
    current: Mutex<Option<Current>>,
    seconds: Mutex<BTreeMap<Step, f64>>,
}

/// What is under way: a step, or the comparison before one.
#[derive(Debug)]
struct Current {
    step: Option<Step>,
    start: Instant,
    bar: Option<ProgressBar>,
}

const BAR: &str =
    "  [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left {msg}";

impl Steps {
    pub(crate) fn new(interrupt: &Interrupt) -> Steps {
        Steps { interrupt: interrupt.clone(), current: Mutex::default(), seconds: Mutex::default() }
    }

    /// How long `step` took, where it has ended.
    pub(crate) fn seconds(&self, step: Step) -> Option<f64> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).get(&step).copied()
    }

    fn start(&self, step: Option<Step>, bar: Option<ProgressBar>) {
        self.with_current(|current| *current = Some(Current { step, start: Instant::now(), bar }));
    }

    fn with_current<T>(&self, act: impl FnOnce(&mut Option<Current>) -> T) -> T {
        act(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the bar away; answers with what was under way.
    fn clear(&self) -> Option<Current> {
        let mut current = self.with_current(Option::take)?;
        if let Some(bar) = current.bar.take() {
            bar.finish_and_clear();
        }
        Some(current)
    }

    fn with_bar<T>(&self, act: impl FnOnce(Option<&ProgressBar>) -> T) -> T {
        self.with_current(|current| act(current.as_ref().and_then(|c| c.bar.as_ref())))
    }
}

/// A bar over `total` bytes, on a terminal.
pub(crate) fn bar(total: u64, message: &'static str) -> Option<ProgressBar> {
    has_bars(total).then(|| {
        let style = ProgressStyle::with_template(BAR).expect("the template is valid");
        ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_message(message)
    })
}

/// A bar over `total` units of what the message says, on a terminal.
pub(crate) fn units(total: u64, message: &'static str) -> Option<ProgressBar> {
    has_bars(total).then(|| {
        let style = ProgressStyle::with_template("  [{bar:30}] {percent} % {eta} left {msg}");
        let style = style.expect("the template is valid").progress_chars("=> ");
        ProgressBar::new(total).with_style(style).with_message(message)
    })
}

fn has_bars(total: u64) -> bool {
    total > 0 && !IS_QUIET.load(Ordering::Relaxed) && io::stderr().is_terminal()
}

impl Progress for Steps {
    fn compare(&self, total: u64) {
        self.start(None, bar(total, "comparing the model with what is there"));
    }

    fn compared(&self) {
        self.clear();
    }

    fn begin(&self, step: Step, total: u64) {
        note(&format!("{step}: {}", step.title()));
        self.start(Some(step), bar(total, ""));
    }

    fn advance(&self, bytes: u64) {
        self.with_bar(|bar| bar.iter().for_each(|bar| bar.inc(bytes)));
    }

    fn end(&self, output: &Path) {
        let Some(Current { step: Some(step), start, .. }) = self.clear() else { return };
        let seconds = start.elapsed().as_secs_f64();
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).insert(step, seconds);
        note(&format!("  done ({seconds:.1} s): {}", output.display()));
    }

    fn reuse(&self, step: Step, output: &Path) {
        note(&format!("{step}: {}", step.title()));
        note(&format!("  up to date: {}", output.display()));
    }

    fn warn(&self, message: &str) {
        self.with_bar(|bar| warn_above(bar, message));
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_set()
    }
}

/// Whether nothing but warnings and errors is said.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// What this process has warned of, in order.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on, progress is not told.
pub(crate) fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Tells of progress: a line on standard error, unless that is to be quiet.
pub(crate) fn note(line: &str) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        say(line);
    }
}

/// Tells of something that the user should know and that stops nothing.
pub(crate) fn warn(message: &str) {
    warn_above(None, message);
}

/// As `warn`, above a bar where one is shown.
pub(crate) fn warn_above(bar: Option<&ProgressBar>, message: &str) {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    let line = format!("warning: {message}");
    match bar {
        Some(bar) => bar.println(plain_lines(&line)),
        None => say(&line),
    }
}

/// What `warn` was told so far.
pub(crate) fn warnings() -> Vec<String> {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Writes to standard error, where nobody may be reading, and a line end.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain_lines(text));
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
