//! The queue between connections and the model.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anelith_chat::Request;
use tokio::sync::mpsc::Sender;

use crate::problem::Problem;
use crate::writer::Part;

/// One prompt to continue.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: Request,
    /// What ends the answer, and is not part of it.
    pub(crate) stops: Vec<String>,
    /// As in [`Ask`](crate::protocol::Ask).
    pub(crate) logprobs: Option<usize>,
    /// Which prompt of its request it is.
    pub(crate) index: usize,
    /// When the request arrived.
    pub(crate) arrived: Instant,
    /// Where the answer goes. Whoever no longer listens wants no answer.
    pub(crate) sender: Sender<(usize, Event)>,
}

impl Job {
    /// Tells the client something. The engine sees to it that what is told of an answer fits the channel; of a refusal that
    /// does not, the client learns that its answer broke off.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.sender.try_send((self.index, event));
    }
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// It has a slot.
    Started,
    Part(Part),
    Done(Usage),
    Failed(Problem),
}

/// How an answer ended, and its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Whether it ended by itself, or at a stop string, and not because there was no room.
    pub(crate) is_complete: bool,
    pub(crate) prompt: usize,
    pub(crate) cached: usize,
    pub(crate) generated: usize,
}

/// The jobs that wait, and what the engine is about.
#[derive(Debug)]
pub(crate) struct Intake {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Job>,
    slots: usize,
    busy: usize,
    /// Requests that are read and will be jobs.
    preparing: usize,
    /// How many jobs may wait beyond those that find a free slot.
    most: usize,
    /// No more jobs are taken.
    is_closed: bool,
    /// What is under way is to end.
    is_abandoned: bool,
    /// The engine has ended.
    is_over: bool,
    /// How long answers take, later ones counting more.
    mean_seconds: Option<f64>,
}

/// What the engine is to do.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) jobs: Vec<Job>,
    /// Whether answers under way are to be given up.
    pub(crate) is_abandoned: bool,
    /// Whether nothing will come any more.
    pub(crate) is_last: bool,
}

/// How long the engine waits for clients to read before it looks again.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest time that clients are told to wait.
const MOST_SECONDS: f64 = 600.0;

impl Intake {
    pub(crate) fn new(slots: usize, most: usize) -> Intake {
        let state = State {
            queue: VecDeque::new(),
            slots,
            busy: 0,
            preparing: 0,
            most,
            is_closed: false,
            is_abandoned: false,
            is_over: false,
            mean_seconds: None,
        };
        Intake { state: Mutex::new(state), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many prompts one request may have.
    pub(crate) fn capacity(&self) -> usize {
        let state = self.lock();
        state.slots + state.most
    }

    /// How many answers are under way, and how many jobs wait, or requests that will be some.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.busy, state.queue.len() + state.preparing)
    }

    /// A place for a request while it is prepared: to make tokens of a long text takes time, too.
    ///
    /// # Errors
    /// 503 when the server is to stop, 429 when there is no room.
    pub(crate) fn enter(&self) -> Result<Place<'_>, Problem> {
        let mut state = self.lock();
        state.check_open()?;
        state.forget_gone();
        if state.queue.len() + state.preparing >= state.slots + state.most {
            return Err(Problem::busy(state.queue.len() + state.preparing, state.patience()));
        }
        state.preparing += 1;
        Ok(Place(self))
    }

    /// Whether new jobs are refused for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes the jobs of a request, all or none.
    ///
    /// # Errors
    /// 503 when the server is to stop, 429 when there is no room for them.
    pub(crate) fn admit(&self, jobs: Vec<Job>) -> Result<(), Problem> {
        let mut state = self.lock();
        state.check_open()?;
        state.forget_gone();
        let room = state.most + state.slots.saturating_sub(state.busy);
        if state.queue.len() + jobs.len() > room {
            return Err(Problem::busy(state.queue.len(), state.patience()));
        }
        state.queue.extend(jobs);
        drop(state);
        self.wake.notify_all();
        Ok(())
    }

    /// Jobs for `free` slots. Waits for the first while nothing is under way; for a moment when all who are served
    /// `is_paused`.
    pub(crate) fn take(&self, free: usize, is_idle: bool, is_paused: bool) -> Taken {
        let mut state = self.lock();
        if is_paused && !state.is_abandoned {
            let waited = self.wake.wait_timeout(state, PAUSE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        loop {
            state.forget_gone();
            let count = free.min(state.queue.len());
            let jobs: Vec<Job> = state.queue.drain(..count).collect();
            state.busy += jobs.len();
            let is_last = state.is_closed && state.queue.is_empty() && jobs.is_empty();
            if !jobs.is_empty() || !is_idle || is_last {
                return Taken { jobs, is_abandoned: state.is_abandoned, is_last: is_last && is_idle };
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A slot is free again, after so many seconds of an answer; nothing where it was given up.
    pub(crate) fn free(&self, seconds: Option<f64>) {
        let mut state = self.lock();
        state.busy = state.busy.saturating_sub(1);
        if let Some(seconds) = seconds {
            let mean = state.mean_seconds.unwrap_or(seconds);
            state.mean_seconds = Some(mean + (seconds - mean) / 8.0);
        }
    }

    /// Takes no more jobs, and refuses those that wait.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        for job in state.queue.drain(..) {
            job.tell(Event::Failed(Problem::stopping()));
        }
        drop(state);
        self.wake.notify_all();
    }

    /// Gives up what is under way, too.
    pub(crate) fn abandon(&self) {
        self.close();
        self.lock().is_abandoned = true;
        self.wake.notify_all();
    }

    /// The engine has ended; whoever waits waits in vain.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.busy = 0;
        state.queue.clear();
    }

    /// Whether the engine has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over
    }
}

/// A request that is prepared; its place is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Intake);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().preparing -= 1;
    }
}

impl State {
    /// Whether jobs are taken.
    fn check_open(&self) -> Result<(), Problem> {
        if self.is_closed {
            return Err(Problem::stopping());
        }
        if self.is_over {
            return Err(Problem::internal("the model can no longer be run; start the server again"));
        }
        Ok(())
    }

    /// Clients that went away leave the queue.
    fn forget_gone(&mut self) {
        self.queue.retain(|job| !job.sender.is_closed());
    }

    /// In how many seconds half of the queue will have been begun, if answers take as long as they did.
    fn patience(&self) -> u64 {
        let turns = (self.queue.len() as f64 / 2.0).max(1.0) / self.slots.max(1) as f64;
        let seconds = turns * self.mean_seconds.unwrap_or(1.0);
        seconds.clamp(1.0, MOST_SECONDS).ceil() as u64
    }
}

#[cfg(test)]
mod tests;
