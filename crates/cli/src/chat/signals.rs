//! What Ctrl-C does in a conversation: it stops an answer and not the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the answer under way is to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// What was pressed so far is forgotten.
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Catches Ctrl-C, which ends the program until a conversation has begun and stops answers from then on, and requests
/// to terminate, which end the program at any time. Whatever ends it leaves the terminal as it was.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    has_begun: Arc<AtomicBool>,
    stop: Stop,
}

impl Signals {
    pub(super) fn catch() -> Signals {
        let signals = Signals::default();
        system::watch(signals.clone());
        signals
    }

    /// The conversation has begun; what says when an answer is to stop.
    pub(super) fn begin(&self) -> Stop {
        self.has_begun.store(true, Ordering::SeqCst);
        self.stop.clone()
    }

    /// Whether Ctrl-C was for an answer, which stops now.
    fn stops_answer(&self) -> bool {
        self.stop.set();
        self.has_begun.load(Ordering::SeqCst)
    }
}

#[cfg(unix)]
mod system {
    use std::io::{self, IsTerminal, Write, stdin};
    use std::thread;

    use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator;

    use crate::failure::Status;
    use crate::terminal::say;

    /// Waits for signals on a thread of its own. Where they cannot be caught, they end the program without more ado.
    pub(super) fn watch(signals: super::Signals) {
        let Ok(mut caught) = iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        let terminal = tcgetattr(stdin()).ok();
        thread::spawn(move || {
            for signal in caught.forever() {
                if signal == SIGINT && signals.stops_answer() {
                    continue;
                }
                restore(terminal.as_ref());
                say("error: interrupted");
                std::process::exit(Status::Interrupted as i32);
            }
        });
    }

    /// Ends what a line being edited, or an answer in another color, has changed of the terminal.
    fn restore(terminal: Option<&Termios>) {
        const COLORS_AND_PASTE: &[u8] = b"\x1b[0m\x1b[?2004l\r\n";
        if let Some(terminal) = terminal {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, terminal);
        }
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let _ = stderr.write_all(COLORS_AND_PASTE);
        }
    }
}

#[cfg(not(unix))]
mod system {
    use crate::failure::Status;
    use crate::terminal::say;

    /// Ctrl-C is all there is.
    pub(super) fn watch(signals: super::Signals) {
        let _ = ctrlc::set_handler(move || {
            if !signals.stops_answer() {
                say("error: interrupted");
                std::process::exit(Status::Interrupted as i32);
            }
        });
    }
}
