//! One request in the log and in the metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::intake::Usage;
use crate::metrics::Metrics;

/// Who is told what the server does.
pub trait Tell: Send + Sync {
    /// A request has ended: a line without anything that was said.
    fn request(&self, line: &str);
}

/// A request under way; it is written down when it is dropped.
pub(crate) struct Entry {
    metrics: Arc<Metrics>,
    tell: Arc<dyn Tell>,
    method: String,
    path: String,
    /// The endpoint's name in the metrics.
    label: &'static str,
    begun: Instant,
    outcome: Mutex<Outcome>,
    _under_way: Option<UnderWay>,
}

/// Says to its connection that a request is under way, as long as it is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<()>);

impl UnderWay {
    /// Whether there are more than these.
    pub(crate) fn is_beyond(&self, count: usize) -> bool {
        Arc::strong_count(&self.0) > count
    }
}

#[derive(Debug, Default)]
struct Outcome {
    status: Option<u16>,
    /// Whether all of the answer went out.
    is_sent: bool,
    usages: Vec<Usage>,
}

/// What is written for a client that went away; no client sees it.
const GONE: u16 = 499;

impl Entry {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        tell: Arc<dyn Tell>,
        method: &str,
        path: &str,
        label: &'static str,
        under_way: Option<UnderWay>,
    ) -> Arc<Entry> {
        let path = path.chars().take(200).collect();
        let (method, begun, outcome) = (method.to_owned(), Instant::now(), Mutex::default());
        Arc::new(Entry { metrics, tell, method, path, label, begun, outcome, _under_way: under_way })
    }

    fn with(&self, act: impl FnOnce(&mut Outcome)) {
        act(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// When it arrived.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// What it is answered with.
    pub(crate) fn status(&self, status: u16) {
        self.with(|outcome| outcome.status = Some(status));
    }

    /// The answer went out whole.
    pub(crate) fn sent(&self) {
        self.with(|outcome| outcome.is_sent = true);
    }

    /// An answer's tokens.
    pub(crate) fn usage(&self, usage: Usage) {
        self.with(|outcome| outcome.usages.push(usage));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let outcome = self.outcome.get_mut().unwrap_or_else(PoisonError::into_inner);
        let status = if outcome.is_sent { outcome.status.unwrap_or(GONE) } else { GONE };
        let seconds = self.begun.elapsed().as_secs_f64();
        let Entry { method, path, .. } = self;
        let mut line = format!("{method} {path} {status} {:.0} ms", seconds * 1000.0);
        if !outcome.usages.is_empty() {
            let sum = |of: fn(&Usage) -> usize| outcome.usages.iter().map(of).sum::<usize>();
            let (prompt, cached, generated) = (sum(|u| u.prompt), sum(|u| u.cached), sum(|u| u.generated));
            line.push_str(&format!(" prompt={prompt} cached={cached} generated={generated}"));
        }
        self.metrics.request(self.label, status, seconds);
        self.tell.request(&line);
    }
}
