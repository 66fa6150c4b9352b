//! Progress on standard error, results on standard output, and Ctrl-C.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anelith_convert::{Progress, Report};
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Result, Status};

/// Set by the first Ctrl-C.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches Ctrl-C: the first asks the work to stop, the second ends the process.
    pub(crate) fn catch() -> Interrupt {
        let interrupt = Interrupt::default();
        let flag = interrupt.clone();
        let again = move || {
            if flag.0.swap(true, Ordering::SeqCst) {
                std::process::exit(Status::Interrupted as i32);
            }
        };
        // Without a handler Ctrl-C ends the process at once, which is safe as well.
        let _ = ctrlc::set_handler(again);
        interrupt
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Shows a conversion's progress: bars on a terminal, plain lines elsewhere.
#[derive(Debug)]
pub(crate) struct Bars {
    interrupt: Interrupt,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    pub(crate) fn new(interrupt: Interrupt) -> Bars {
        Bars { interrupt, bar: Mutex::new(None) }
    }

    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bar.lock().expect("no thread panics with the bar").as_ref() {
            act(bar);
        }
    }
}

const BAR: &str = "  {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";

impl Progress for Bars {
    fn begin(&self, what: &str, total: u64) {
        if !io::stderr().is_terminal() || total == 0 {
            eprintln!("  {what}");
            return;
        }
        let style = ProgressStyle::with_template(BAR).expect("the template is valid").progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_message(what.to_owned());
        *self.bar.lock().expect("no thread panics with the bar") = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        self.with_bar(|bar| bar.inc(bytes));
    }

    fn end(&self) {
        self.with_bar(ProgressBar::finish);
        *self.bar.lock().expect("no thread panics with the bar") = None;
    }

    fn warn(&self, message: &str) {
        let line = format!("warning: {message}");
        let mut shown = false;
        self.with_bar(|bar| {
            bar.println(&line);
            shown = true;
        });
        if !shown {
            eprintln!("{line}");
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_set()
    }
}

/// Writes to standard output. A reader that has gone away ends the program quietly, as it does for other tools.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => {
            let report = Report::new(format!("cannot write to standard output: {e}"));
            Err(Failure::new(Status::Machine, report))
        }
    }
}

/// `print` with a line end.
pub(crate) fn print_line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}
