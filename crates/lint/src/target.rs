//! Where a program is to run.

use std::fmt;

/// A platform with limits of its own; what holds everywhere holds on each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// Any Mac with Apple silicon and macOS 15 or later, which our programs are made for.
    Macos15,
    /// Any iPhone or iPad with iOS 18 or later.
    Ios18,
    /// Macs with an M1, whose Neural Engine is that of an A14.
    M1,
    /// iPhones and iPads with an A14.
    A14,
}

impl Target {
    /// All targets, in the order of their declaration.
    pub const ALL: [Target; 4] = [Target::Macos15, Target::Ios18, Target::M1, Target::A14];

    /// The name, e.g. `ios18`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Macos15 => "macos15",
            Target::Ios18 => "ios18",
            Target::M1 => "m1",
            Target::A14 => "a14",
        }
    }

    /// What runs there, in words.
    pub fn description(self) -> &'static str {
        match self {
            Target::Macos15 => "Macs with macOS 15 or later",
            Target::Ios18 => "iPhones and iPads with iOS 18 or later",
            Target::M1 => "Macs with an M1",
            Target::A14 => "iPhones and iPads with an A14",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
