//! The rules, each on programs made to break it, and on what this workspace converts.

mod files;
#[allow(dead_code, reason = "each test binary uses a part of the fixture")]
#[path = "../../../convert/tests/fixture/mod.rs"]
mod fixture;
mod ours;
mod programs;
