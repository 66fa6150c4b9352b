//! What the tests stand on.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anelith_chat::{Request, Tokenizer};
use tokio::sync::mpsc::{Receiver, channel};

use crate::intake::{Event, Job};

/// The model of this repository.
pub(crate) fn demo_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-qwen3")
}

/// Its tokenizer: bytes, and pairs of them.
pub(crate) fn demo() -> Tokenizer {
    Tokenizer::open(&demo_dir()).expect("the demo has a tokenizer")
}

#[path = "../tests/serve/counting.rs"]
pub(crate) mod counting;

/// A job that continues `prompt`, and where its events arrive.
pub(crate) fn job(prompt: &[u32], max_tokens: usize) -> (Job, Receiver<(usize, Event)>) {
    let (sender, receiver) = channel(256);
    let request =
        Request { prompt: prompt.to_vec(), max_tokens, stop: [counting::END].into(), ..Request::default() };
    let (stops, logprobs, index, arrived) = (Vec::new(), None, 0, Instant::now());
    (Job { request, stops, logprobs, index, arrived, sender }, receiver)
}

/// All that came so far.
pub(crate) fn events(receiver: &mut Receiver<(usize, Event)>) -> Vec<Event> {
    std::iter::from_fn(|| receiver.try_recv().ok()).map(|(_, event)| event).collect()
}
