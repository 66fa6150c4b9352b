//! Which steps a run goes through, and which of them it builds whatever is there.

use crate::step::CHAT_STEP;

/// Which of steps 1 to 6 to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection {
    pub(crate) which: Which,
    /// The last step that is run.
    last: u32,
}

/// What is built of the steps that are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// What is missing or stale.
    Needed,
    /// This step and all after it; the outputs of the earlier ones must be current.
    From(u32),
    /// This step; no other one is run.
    Only(u32),
}

impl Selection {
    /// Those whose output is missing or stale.
    pub fn needed() -> Selection {
        Selection { which: Which::Needed, last: CHAT_STEP }
    }

    /// The step `first` and all after it; the earlier ones' outputs must be current.
    pub fn from(first: u32) -> Selection {
        Selection { which: Which::From(first), last: CHAT_STEP }
    }

    /// The step `only` alone; the outputs that it reads must be current.
    pub fn only(only: u32) -> Selection {
        Selection { which: Which::Only(only), last: only }
    }

    /// The same without the steps after `last`, whose outputs stay as they are.
    pub fn until(self, last: u32) -> Selection {
        Selection { last: last.min(self.last), ..self }
    }

    /// Whether the run ends with the chat.
    pub fn chats(self) -> bool {
        self.reaches(CHAT_STEP)
    }

    /// Whether the run does not end before the step `number`.
    pub(crate) fn reaches(self, number: u32) -> bool {
        number <= self.last
    }
}
