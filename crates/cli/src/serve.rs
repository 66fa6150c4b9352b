//! `serve`.

use std::env::{VarError, var};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anelith_chat::LanguageModel;
use anelith_report::{Report, Reported};
use anelith_serve::{Card, Server, Settings, Tell, Voice};

use crate::args::ServeArgs;
use crate::chat::open;
use crate::failure::{Failure, Result};
use crate::terminal::{note, report};

/// Where the key is looked for, so that it need not stand on a command line.
const KEY: &str = "ANELITH_API_KEY";

pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let mut settings = settings(args)?;
    let (meta, model) = open(&args.meta)?;
    settings.max_body =
        args.max_body.map_or_else(|| max_body(model.context_length()), |bytes| bytes as usize);
    let name = args.model_name.clone().unwrap_or_else(|| meta.name.clone());
    let name = if name.trim().is_empty() { "model".to_owned() } else { name };
    let mut card = Card::new(&meta, name, env!("CARGO_PKG_VERSION"))?;
    card.weight_bytes = model.weight_file_bytes();
    card.has_argmax = model.has_argmax();
    let voice = Voice::open(meta.dir())?;
    let log = Log::start();
    let server = Server::start(model, voice, card, settings, Arc::new(log.clone()))?;
    server.stop_on_signals()?;
    report(&format!("listening on http://{}\n", server.address()))?;
    server.run();
    log.finish();
    Ok(())
}

/// Requests on standard error, unless that is to be quiet. A thread of its own writes them: nobody waits for who reads them.
#[derive(Clone)]
struct Log(SyncSender<Entry>);

/// What is to be written.
enum Entry {
    Line(String),
    /// The last one; tells when all before it is written.
    End(SyncSender<()>),
}

/// How many lines may wait; more are lost.
const LINES: usize = 1024;

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_millis(500);

impl Log {
    fn start() -> Log {
        let (sender, entries) = sync_channel(LINES);
        thread::spawn(move || {
            for entry in entries {
                match entry {
                    Entry::Line(line) => note(&line),
                    Entry::End(done) => drop(done.send(())),
                }
            }
        });
        Log(sender)
    }

    fn finish(&self) {
        let (done, all) = sync_channel(1);
        if self.0.try_send(Entry::End(done)).is_ok() {
            let _ = all.recv_timeout(LAST_LINES);
        }
    }
}

impl Tell for Log {
    fn request(&self, line: &str) {
        let _ = self.0.try_send(Entry::Line(line.to_owned()));
    }
}

fn settings(args: &ServeArgs) -> Result<Settings> {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Ok(Settings {
        host: args.host,
        port: args.port,
        api_key: key(args)?,
        allow_remote: args.allow_remote,
        cors: args.cors.clone(),
        slots: args.slots.into(),
        queue: args.queue.into(),
        connections: args.connections.into(),
        max_tokens: args.max_tokens.map(|most| most as usize),
        timeout: seconds(args.timeout),
        header_timeout: seconds(args.header_timeout),
        body_timeout: seconds(args.body_timeout),
        write_timeout: seconds(args.write_timeout),
        grace: seconds(args.grace),
        ..Settings::default()
    })
}

/// The most bytes of a body for a context of so many tokens. Tokens have some four bytes; a client that sends far more than
/// the context holds is to be told so, which takes time and memory.
fn max_body(context: usize) -> usize {
    (64 << 10) + 256 * context
}

/// The key of the command line, else of the environment.
fn key(args: &ServeArgs) -> Result<Option<String>> {
    if args.api_key.is_some() {
        return Ok(args.api_key.clone());
    }
    match var(KEY) {
        Ok(key) => Ok(Some(key)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            let report = Report::new("the API key is not text").at(KEY);
            Err(Failure::usage(report.expecting("a key in UTF-8")))
        }
    }
}
