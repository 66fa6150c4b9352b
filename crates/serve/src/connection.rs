//! Connections: how many there are, and how long they may do nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::app::App;
use crate::entry::UnderWay;

/// The most bytes of a request's head, though one that arrives at once may have some more.
const HEAD_BYTES: usize = 64 << 10;

/// How long to wait when the system has no more connections to give.
const REST: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` says so; all of them hold one of `permits`.
pub(crate) async fn accept(
    listener: TcpListener,
    app: Arc<App>,
    router: Router,
    permits: Arc<Semaphore>,
    mut stop: watch::Receiver<u32>,
) {
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let (stream, permit) = tokio::select! {
            () = stopped(&mut stop) => return,
            next = next => match next {
                Some((Ok((stream, _)), permit)) => (stream, permit),
                Some((Err(_), _)) => {
                    sleep(REST).await;
                    continue;
                }
                None => return,
            },
        };
        tokio::spawn(serve(stream, Arc::clone(&app), router.clone(), permit, stop.clone()));
    }
}

/// Waits until the server is to stop.
async fn stopped(stop: &mut watch::Receiver<u32>) {
    // Whoever could say so is gone: then, too.
    let _ = stop.wait_for(|times| *times > 0).await;
}

/// Answers the requests of one connection; when `stop` says so, the one under way is the last.
async fn serve(
    stream: TcpStream,
    app: Arc<App>,
    router: Router,
    permit: OwnedSemaphorePermit,
    mut stop: watch::Receiver<u32>,
) {
    app.connections.fetch_add(1, Ordering::Relaxed);
    // Pieces of an answer are to go out one by one.
    let _ = stream.set_nodelay(true);
    let (under_way, inner) = (UnderWay::default(), TowerToHyperService::new(router));
    let of_request = under_way.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(of_request.clone());
        inner.call(request)
    });
    let stream = TokioIo::new(Patient::new(stream, app.settings.write_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.header_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong here is between the client and the network.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection.as_mut() => {}
                () = idle(&under_way) => {}
            }
        }
    }
    app.connections.fetch_sub(1, Ordering::Relaxed);
    drop(permit);
}

/// Waits until there has been no request for a while: what has not sent the head of one by then is not waited for, and
/// what was said last is gone out.
async fn idle(under_way: &UnderWay) {
    let mut times = 0;
    while times < 10 {
        sleep(REST).await;
        // The connection has one for itself, and its service one.
        times = if under_way.is_beyond(2) { 0 } else { times + 1 };
    }
}

/// A connection that fails when the other side takes nothing for too long.
struct Patient {
    stream: TcpStream,
    time: Duration,
    /// Until when it may go on, while something waits to be taken.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, time: Duration) -> Patient {
        Patient { stream, time, limit: None }
    }

    fn within<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.limit = None;
            return polled;
        }
        let limit = Instant::now() + self.time;
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        match limit.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.within(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, polled)
    }
}
