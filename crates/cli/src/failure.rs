//! What the user is told when a command fails, and the exit status that scripts see.

use std::fmt::Write as _;
use std::io::ErrorKind;

use anelith_chat as chat;
use anelith_checkpoint as checkpoint;
use anelith_convert as convert;
use anelith_inspect as inspect;
use anelith_mil as mil;
use anelith_report::{Report, Reported, remedy};
use anelith_runtime as runtime;
use anelith_serve as serve;
use anelith_verify as verify;

use crate::plain::plain_lines;

/// The exit statuses, apart from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// The machine failed us.
    Machine = 1,
    /// Flags and their values.
    Usage = 2,
    /// The input.
    Input = 3,
    /// A quality gate.
    Gate = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    report: Box<Report>,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: Status, report: Report) -> Failure {
        Failure { status, report: Box::new(report) }
    }

    pub(crate) fn usage(report: Report) -> Failure {
        Failure::new(Status::Usage, report)
    }

    /// The same failure under another status.
    pub(crate) fn with_status(self, status: Status) -> Failure {
        Failure { status, ..self }
    }

    pub(crate) fn interrupted() -> Failure {
        Failure::new(Status::Interrupted, Report::new("interrupted"))
    }

    /// What happened, without the details.
    pub(crate) fn what(&self) -> &str {
        &self.report.what
    }

    /// `error: what`, then a line for each of where, expected, found and to mend that is known.
    pub(crate) fn text(&self) -> String {
        let report = &self.report;
        let mut text = format!("error: {}\n", report.what);
        let rows = [
            ("where", &report.location),
            ("expected", &report.expected),
            ("found", &report.found),
            ("to mend", &report.mend),
        ];
        for (label, value) in rows {
            if let Some(value) = value {
                writeln!(text, "  {label}: {value}").expect("a string takes all");
            }
        }
        // Names in models and packages are quoted here.
        plain_lines(&text)
    }
}

impl From<convert::Error> for Failure {
    fn from(error: convert::Error) -> Failure {
        match error {
            convert::Error::Usage(report) => Failure::new(Status::Usage, report),
            convert::Error::Input(report) => Failure::new(Status::Input, report),
            convert::Error::Machine(report) => Failure::new(Status::Machine, report),
            convert::Error::Checkpoint(error) => error.into(),
            convert::Error::Mil(error) => error.into(),
            convert::Error::Interrupted => Failure::interrupted(),
        }
    }
}

impl From<verify::Error> for Failure {
    fn from(error: verify::Error) -> Failure {
        match error {
            verify::Error::Usage(report) => Failure::new(Status::Usage, *report),
            verify::Error::Input(report) => Failure::new(Status::Input, *report),
            verify::Error::Machine(report) => Failure::new(Status::Machine, *report),
            verify::Error::Checkpoint(error) => error.into(),
            verify::Error::Chat(error) => error.into(),
            verify::Error::Mil(error) => error.into(),
            verify::Error::Runtime(error) => error.into(),
            verify::Error::Interrupted => Failure::interrupted(),
        }
    }
}

impl From<checkpoint::Error> for Failure {
    fn from(error: checkpoint::Error) -> Failure {
        let status = match error.kind() {
            checkpoint::ErrorKind::Io | checkpoint::ErrorKind::Network => Status::Machine,
            _ => Status::Input,
        };
        Failure::new(status, error.report().clone())
    }
}

impl From<chat::Error> for Failure {
    fn from(error: chat::Error) -> Failure {
        let status = match error.kind() {
            chat::Kind::Io => Status::Machine,
            chat::Kind::Prompt => Status::Usage,
            _ => Status::Input,
        };
        Failure::new(status, error.report().clone())
    }
}

impl From<mil::Error> for Failure {
    fn from(error: mil::Error) -> Failure {
        let mut report = Report::new(error.to_string());
        let mil::Error::Io { path, source, .. } = &error else {
            if let mil::Error::Malformed { what, .. } = &error {
                report = report.at(what).mending(
                    "check that this is an ML program (.mlpackage, .mlmodelc, .mlmodel); if it is, make it again",
                );
            }
            return Failure::new(Status::Input, report);
        };
        report = report.at(path.display());
        report.mend = remedy(source.kind()).map(str::to_owned);
        let status = match source.kind() {
            // A file that is not there is the input's fault, and so is a directory in the place of a file.
            ErrorKind::NotFound | ErrorKind::InvalidInput => Status::Input,
            _ => Status::Machine,
        };
        Failure::new(status, report)
    }
}

impl From<runtime::Error> for Failure {
    fn from(error: runtime::Error) -> Failure {
        let report = Report::new(error.to_string());
        let report = match &error {
            runtime::Error::Input { name, .. } => report
                .at(format!("input `{name}`"))
                .mending("give what the function takes; anelith run --help shows the form of the feeds"),
            runtime::Error::NoFunction { .. } => report.mending("name one of its functions"),
            _ => report,
        };
        Failure::new(Status::Input, report)
    }
}

impl From<serve::Error> for Failure {
    fn from(error: serve::Error) -> Failure {
        match error {
            serve::Error::Usage(report) => Failure::usage(*report),
            serve::Error::Machine(report) => Failure::new(Status::Machine, *report),
            serve::Error::Chat(error) => error.into(),
        }
    }
}

impl From<inspect::Error> for Failure {
    fn from(error: inspect::Error) -> Failure {
        match error {
            inspect::Error::Usage(report) => Failure::usage(*report),
            inspect::Error::Input(report) => Failure::new(Status::Input, *report),
            inspect::Error::Mil(error) => error.into(),
            inspect::Error::Checkpoint(error) => error.into(),
        }
    }
}
