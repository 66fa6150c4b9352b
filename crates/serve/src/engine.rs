//! The thread that owns the model: answers take turns on it, a step each.

mod seat;
mod slots;

use anelith_chat::{Cached, Error, LanguageModel, Tokenizer};

use crate::intake::{Intake, Job};
use crate::metrics::Metrics;
use seat::{Seat, Turn};
use slots::Slots;

/// A model, its caches, and who is served.
pub(crate) struct Engine<M: LanguageModel> {
    slots: Slots<M>,
}

impl<M: LanguageModel> Engine<M> {
    /// With `count` caches, at least one.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(crate) fn new(model: Cached<M>, count: usize) -> Result<Engine<M>, Error> {
        Ok(Engine { slots: Slots::new(model, count)? })
    }

    /// Answers jobs until the queue is closed and all are answered.
    pub(crate) fn run(self, tokenizer: &Tokenizer, intake: &Intake, metrics: &Metrics) {
        let mut seats: Vec<Option<Seat<'_>>> = (0..self.slots.len()).map(|_| None).collect();
        let mut slots = self.slots;
        let mut is_paused = false;
        loop {
            let free = seats.iter().filter(|seat| seat.is_none()).count();
            let taken = intake.take(free, free == seats.len(), is_paused);
            if taken.is_last {
                return;
            }
            for job in taken.jobs {
                seat(job, &mut slots, &mut seats, tokenizer, intake);
            }
            is_paused = true;
            for (place, seat) in seats.iter_mut().enumerate() {
                let Some(served) = seat else { continue };
                if taken.is_abandoned {
                    served.abandon();
                }
                match served.turn(&mut slots, place, tokenizer, intake, metrics) {
                    Turn::Paused => {}
                    Turn::Taken => is_paused = false,
                    Turn::Over => {
                        *seat = None;
                        is_paused = false;
                    }
                }
            }
        }
    }
}

/// Gives `job` the free slot that is best for its prompt.
fn seat<'t, M: LanguageModel>(
    job: Job,
    slots: &mut Slots<M>,
    seats: &mut [Option<Seat<'t>>],
    tokenizer: &'t Tokenizer,
    intake: &Intake,
) {
    let free = (0..seats.len()).filter(|place| seats[*place].is_none());
    let best = free.max_by_key(|place| slots.worth(*place, &job.request.prompt));
    match best {
        Some(place) => {
            slots.touch(place);
            seats[place] = Seat::new(job, slots.model(), tokenizer, intake);
        }
        // The queue gives no more jobs than there are free slots.
        None => intake.free(None),
    }
}

#[cfg(test)]
mod tests;
