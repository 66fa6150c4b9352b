//! A server from its start to its end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anelith_chat::{Cached, LanguageModel};
use anelith_report::{Report, Reported};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::app::{App, READERS, Voice};
use crate::card::Card;
use crate::connection::accept;
use crate::engine::Engine;
use crate::entry::Tell;
use crate::error::Error;
use crate::intake::Intake;
use crate::routes::router;
use crate::settings::Settings;

/// A server that listens, and has a thread that runs the model.
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    stop: Stop,
}

/// Stops a server.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<u32>);

impl Stop {
    /// Takes no more requests and ends when those under way are answered. A second call ends it at once.
    pub fn stop(&self) {
        self.0.send_modify(|times| *times += 1);
    }
}

/// Threads that serve connections; the model has others.
const THREADS: usize = 2;

/// How long clients have to take the last words after the grace.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Server {
    /// Listens, and starts the thread of `model`.
    ///
    /// # Errors
    /// When the settings are not safe, the address cannot be had, or there is no memory for the caches.
    pub fn start<M>(
        model: M,
        voice: Voice,
        card: Card,
        settings: Settings,
        tell: Arc<dyn Tell>,
    ) -> Result<Server, Error>
    where
        M: LanguageModel + Send + 'static,
        M::Cache: Send,
    {
        let (slots, address) = (settings.slots.max(1), SocketAddr::from((settings.host, settings.port)));
        let stop = Stop(watch::Sender::new(0));
        let app = App::new(settings, card, model.vocab_size(), voice, tell, stop.0.subscribe())?;
        let app = Arc::new(app);
        let engine = Engine::new(Cached::new(model), slots)?;
        let failed =
            |what: &str, fault: std::io::Error| Error::machine(Report::new(format!("{what}: {fault}")));
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).max_blocking_threads(READERS).thread_name("serve").enable_all();
        let runtime = builder.build().map_err(|e| failed("cannot start the threads of the server", e))?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(|e| {
            let mend = match e.kind() {
                ErrorKind::AddrNotAvailable => "give an address of this machine to --host",
                ErrorKind::PermissionDenied => "choose a --port above 1023; 0 is any that is free",
                _ => "choose another --port; 0 is any that is free",
            };
            Error::machine(Report::new(format!("cannot listen: {e}")).at(address).mending(mend))
        })?;
        let address = listener.local_addr().map_err(|e| failed("cannot tell the address", e))?;
        let shared = Arc::clone(&app);
        let run = move || {
            let _end = AtEnd(&shared.intake);
            engine.run(shared.voice.tokenizer(), &shared.intake, &shared.metrics);
        };
        let thread = thread::Builder::new().name("model".to_owned()).spawn(run);
        thread.map_err(|e| failed("cannot start the thread of the model", e))?;
        Ok(Server { runtime, listener, address, app, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Stops at SIGINT and SIGTERM, or Ctrl-C; at once at the second.
    ///
    /// # Errors
    /// When the system does not let them be caught.
    pub fn stop_on_signals(&self) -> Result<(), Error> {
        let _inside = self.runtime.enter();
        let fail = |e: std::io::Error| Error::machine(Report::new(format!("cannot catch signals: {e}")));
        signals(self.stop.clone()).map_err(fail)
    }

    /// Serves until it is stopped.
    pub fn run(self) {
        let Server { runtime, listener, app, stop, .. } = self;
        runtime.block_on(serve(listener, &app, &stop.0));
        runtime.shutdown_background();
    }
}

/// Whatever ends the thread of the model, nobody waits for it.
struct AtEnd<'a>(&'a Intake);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(unix)]
fn signals(stop: Stop) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (mut signal, stop) = (signal(kind)?, stop.clone());
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                stop.stop();
            }
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn signals(stop: Stop) -> std::io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            stop.stop();
        }
    });
    Ok(())
}

async fn serve(listener: TcpListener, app: &Arc<App>, stop: &watch::Sender<u32>) {
    let connections = app.settings.connections.clamp(1, Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(connections));
    let mut stopped = stop.subscribe();
    let accepting =
        accept(listener, Arc::clone(app), router(Arc::clone(app)), Arc::clone(&permits), stop.subscribe());
    // It ends when it is told to stop, and closes the socket.
    accepting.await;
    app.intake.close();
    let deadline = Instant::now() + app.settings.grace;
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    tokio::select! {
        _ = timeout_at(deadline, permits.acquire_many(all)) => {}
        _ = stopped.wait_for(|times| *times > 1) => return,
    }
    app.intake.abandon();
    let _ = timeout_at(Instant::now() + LAST_WORDS, permits.acquire_many(all)).await;
    while !app.intake.is_over() && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
}
