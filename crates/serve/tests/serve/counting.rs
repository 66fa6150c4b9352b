//! A model that counts: after a token comes the one with the next number. Tests of the engine and of the server share it.

use std::mem::swap;
use std::sync::{Arc, Condvar, Mutex};

use anelith_chat::{Error, LanguageModel, Next};

/// At this token the model fails.
pub(crate) const FAULT: u32 = 900;

/// At this token the model panics.
pub(crate) const PANIC: u32 = 901;

/// The token that ends an answer, in the demo's vocabulary; said in place of every 50th.
pub(crate) const END: u32 = 2;

/// Counts in ids of the demo's vocabulary. It fails when a cache does not hold what comes before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counting {
    cache: Vec<u32>,
    pub(crate) watch: Watch,
}

/// Looks at the model's steps, and holds them up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<(Mutex<Watched>, Condvar)>);

#[derive(Debug, Default)]
struct Watched {
    /// The tokens of each step.
    steps: Vec<Vec<u32>>,
    /// How many more steps may be taken, where that is limited.
    allowed: Option<usize>,
}

impl Watch {
    /// The tokens of each step so far.
    pub(crate) fn steps(&self) -> Vec<Vec<u32>> {
        self.0.0.lock().expect("no test fails here").steps.clone()
    }

    /// From now on only as many steps are taken as this allows.
    pub(crate) fn hold(&self, steps: usize) {
        self.0.0.lock().expect("no test fails here").allowed = Some(steps);
    }

    /// Allows more.
    pub(crate) fn allow(&self, steps: usize) {
        let mut watched = self.0.0.lock().expect("no test fails here");
        watched.allowed = watched.allowed.map(|allowed| allowed.saturating_add(steps));
        self.0.1.notify_all();
    }

    /// Allows all.
    pub(crate) fn release(&self) {
        self.0.0.lock().expect("no test fails here").allowed = None;
        self.0.1.notify_all();
    }

    /// Waits until so many steps were taken, or stand at the door.
    pub(crate) fn wait_for(&self, steps: usize) {
        let watched = self.0.0.lock().expect("no test fails here");
        drop(self.0.1.wait_while(watched, |watched| watched.steps.len() < steps));
    }

    fn step(&self, tokens: &[u32]) {
        let mut watched = self.0.0.lock().expect("no test fails here");
        watched.steps.push(tokens.to_vec());
        self.0.1.notify_all();
        let mut watched =
            self.0.1.wait_while(watched, |watched| watched.allowed == Some(0)).expect("no test fails here");
        watched.allowed = watched.allowed.map(|allowed| allowed - 1);
    }
}

impl LanguageModel for Counting {
    type Cache = Vec<u32>;

    fn new_cache(&self) -> Result<Vec<u32>, Error> {
        Ok(Vec::new())
    }

    fn swap_cache(&mut self, cache: &mut Vec<u32>) {
        swap(&mut self.cache, cache);
    }

    fn context_length(&self) -> usize {
        64
    }

    fn batch_size(&self) -> usize {
        4
    }

    fn vocab_size(&self) -> usize {
        1024
    }

    fn reset(&mut self) {
        self.cache.clear();
    }

    fn prefill(&mut self, tokens: &[u32], start: usize) -> Result<(), Error> {
        self.watch.step(tokens);
        self.write(tokens, start)
    }

    fn infer(&mut self, token: u32, position: usize) -> Result<Next, Error> {
        self.watch.step(&[token]);
        assert_ne!(token, PANIC, "the model was asked to panic");
        if token == FAULT {
            return Err(Error::model("the model was asked to fail"));
        }
        self.write(&[token], position)?;
        // What comes next is read from the cache, so that a wrong one would be seen.
        let last = self.cache[position];
        let next = if (last + 1).is_multiple_of(50) { END } else { last + 1 };
        let mut logits = vec![0.0; self.vocab_size()];
        logits[next as usize] = 10.0;
        logits[(next as usize + 1) % 1024] = 9.0;
        Ok(Next::Logits(logits))
    }
}

impl Counting {
    fn write(&mut self, tokens: &[u32], start: usize) -> Result<(), Error> {
        if start > self.cache.len() {
            return Err(Error::model("the cache has a gap"));
        }
        self.cache.truncate(start);
        self.cache.extend_from_slice(tokens);
        Ok(())
    }
}
