//! Bodies: those of requests, within limits, and those of answers that come in pieces.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Sleep, sleep_until, timeout};

use crate::entry::Entry;
use crate::intake::{Event, Usage};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::writer::Part;

/// How many bytes too many are read, and forgotten: a client that is still sending does not see the answer.
const PATIENCE: usize = 4 << 20;

/// All of a request's body.
///
/// # Errors
/// 413 when it has more than `most` bytes, 408 when it is not there in time, 400 when it ends too early.
pub(crate) async fn read(body: Body, most: usize, time: Duration) -> Result<Vec<u8>, Problem> {
    if body.size_hint().lower() > (most + PATIENCE) as u64 {
        return Err(Problem::too_large(most));
    }
    let all = async move {
        let mut body = body;
        let (mut bytes, mut count) = (Vec::new(), 0);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let Ok(data) = frame.map_err(|_| Problem::broken_body())?.into_data() else { continue };
            count += data.len();
            match count {
                count if count <= most => bytes.extend_from_slice(&data),
                count if count <= most + PATIENCE => bytes = Vec::new(),
                _ => return Err(Problem::too_large(most)),
            }
        }
        if count > most { Err(Problem::too_large(most)) } else { Ok(bytes) }
    };
    timeout(time, all).await.unwrap_or_else(|_| Err(Problem::slow_body()))
}

/// An answer as server-sent events.
pub(crate) struct Stream {
    receiver: Receiver<(usize, Event)>,
    reply: Reply,
    /// The prompts, where they are to be part of the answers.
    echoes: Vec<String>,
    usages: Vec<Option<Usage>>,
    ready: VecDeque<Bytes>,
    is_over: bool,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    entry: Arc<Entry>,
}

impl Stream {
    /// What arrives at `receiver` until all of `count` answers are there.
    pub(crate) fn new(
        receiver: Receiver<(usize, Event)>,
        reply: Reply,
        (count, echoes): (usize, Vec<String>),
        (deadline, timeout): (Instant, Duration),
        entry: Arc<Entry>,
    ) -> Stream {
        Stream {
            receiver,
            reply,
            echoes,
            usages: vec![None; count],
            ready: VecDeque::new(),
            is_over: false,
            deadline: Box::pin(sleep_until(deadline.into())),
            timeout,
            entry,
        }
    }

    /// Waits for the first event.
    ///
    /// # Errors
    /// When it says that there will be no answer.
    pub(crate) async fn first(&mut self) -> Result<(), Problem> {
        match self.receiver.recv().await {
            Some((_, Event::Failed(problem))) => Err(problem),
            Some((index, event)) => {
                self.take(index, event);
                Ok(())
            }
            None => Err(Problem::internal("the answer broke off")),
        }
    }

    fn push(&mut self, data: &Value) {
        self.ready.push_back(Bytes::from(format!("data: {data}\n\n")));
    }

    /// Takes an event.
    pub(crate) fn take(&mut self, index: usize, event: Event) {
        match event {
            Event::Started => {
                if let Some(first) = self.reply.first(index) {
                    self.push(&first);
                }
                let echo = self.echoes.get_mut(index).map(std::mem::take).filter(|echo| !echo.is_empty());
                if let Some(text) = echo {
                    let data = self.reply.more(index, &Part { text, choices: Vec::new() });
                    self.push(&data);
                }
            }
            Event::Part(part) => {
                let data = self.reply.more(index, &part);
                self.push(&data);
            }
            Event::Done(usage) => {
                let data = self.reply.last(index, usage);
                self.push(&data);
                self.entry.usage(usage);
                if let Some(place) = self.usages.get_mut(index) {
                    *place = Some(usage);
                }
                if let Some(all) = self.usages.iter().copied().collect::<Option<Vec<Usage>>>() {
                    self.end(&all);
                }
            }
            Event::Failed(problem) => self.fail(&problem),
        }
    }

    fn end(&mut self, all: &[Usage]) {
        if let Some(totals) = self.reply.totals(all) {
            self.push(&totals);
        }
        self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.is_over = true;
    }

    fn fail(&mut self, problem: &Problem) {
        self.entry.status(problem.status);
        self.push(&problem.body());
        self.is_over = true;
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            if self.deadline.as_mut().poll(context).is_ready() {
                let problem = Problem::timeout(self.timeout.as_secs());
                self.fail(&problem);
                continue;
            }
            match self.receiver.poll_recv(context) {
                Poll::Ready(Some((index, event))) => self.take(index, event),
                Poll::Ready(None) => self.fail(&Problem::internal("the answer broke off")),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.ready.is_empty()
    }
}

/// A body whose end is written down.
pub(crate) struct Watched {
    inner: Body,
    entry: Arc<Entry>,
}

impl Watched {
    pub(crate) fn new(inner: Body, entry: Arc<Entry>) -> Watched {
        if inner.is_end_stream() {
            entry.sent();
        }
        Watched { inner, entry }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || (polled.is_ready() && self.inner.is_end_stream()) {
            self.entry.sent();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
