//! Several caches of one model.

use std::cmp::Reverse;

use anelith_chat::{Cached, Error, LanguageModel, Slot};

/// A model and its caches, one of which is in place at a time; each has a number.
pub(super) struct Slots<M: LanguageModel> {
    model: Cached<M>,
    /// Those that are not in place.
    aside: Vec<Slot<M::Cache>>,
    /// Where in `aside` each is; that of `current` does not count.
    place: Vec<usize>,
    current: usize,
    /// When each was used last.
    used: Vec<u64>,
    clock: u64,
}

impl<M: LanguageModel> Slots<M> {
    pub(super) fn new(model: Cached<M>, count: usize) -> Result<Slots<M>, Error> {
        let others = count.saturating_sub(1);
        let aside = (0..others).map(|_| Slot::new(model.model())).collect::<Result<Vec<_>, _>>()?;
        let place = (0..=others).map(|slot| slot.saturating_sub(1)).collect();
        Ok(Slots { model, aside, place, current: 0, used: vec![0; others + 1], clock: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    /// The model, whatever cache is in place.
    pub(super) fn model(&self) -> &M {
        self.model.model()
    }

    /// How good a slot is for `prompt`: by the tokens of it that the slot holds, then by how long it was not used.
    ///
    /// Tokens count only where no more are lost than are kept. All conversations with a template begin alike, and the next
    /// one is not to take the place of the last one for the sake of that beginning.
    pub(super) fn worth(&self, slot: usize, prompt: &[u32]) -> (usize, Reverse<u64>, Reverse<usize>) {
        let (held, common) = match slot == self.current {
            true => (self.model.tokens(), self.model.common(prompt)),
            false => {
                let aside = &self.aside[self.place[slot]];
                (aside.tokens(), aside.common(prompt))
            }
        };
        let kept = if common >= held.len() - common { common } else { 0 };
        (kept, Reverse(self.used[slot]), Reverse(slot))
    }

    /// A slot is used now.
    pub(super) fn touch(&mut self, slot: usize) {
        self.clock += 1;
        self.used[slot] = self.clock;
    }

    /// The model with the cache of `slot` in place.
    pub(super) fn with(&mut self, slot: usize) -> &mut Cached<M> {
        if slot != self.current {
            let place = self.place[slot];
            self.model.swap(&mut self.aside[place]);
            self.place[self.current] = place;
            self.current = slot;
        }
        &mut self.model
    }
}
