//! `serve`.

use std::env::{VarError, var};
use std::sync::Arc;
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
    let settings = settings(args)?;
    let (meta, model) = open(&args.meta)?;
    let name = args.model_name.clone().unwrap_or_else(|| meta.name.clone());
    let name = if name.trim().is_empty() { "model".to_owned() } else { name };
    let mut card = Card::new(&meta, name, env!("CARGO_PKG_VERSION"))?;
    card.weight_bytes = model.weight_file_bytes();
    card.has_argmax = model.has_argmax();
    let voice = Voice::open(meta.dir())?;
    let server = Server::start(model, voice, card, settings, Arc::new(Log))?;
    server.stop_on_signals()?;
    report(&format!("listening on http://{}\n", server.address()))?;
    server.run();
    Ok(())
}

/// Requests on standard error, unless that is to be quiet.
struct Log;

impl Tell for Log {
    fn request(&self, line: &str) {
        note(line);
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
        max_body: args.max_body as usize,
        timeout: seconds(args.timeout),
        header_timeout: seconds(args.header_timeout),
        body_timeout: seconds(args.body_timeout),
        write_timeout: seconds(args.write_timeout),
        grace: seconds(args.grace),
    })
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
