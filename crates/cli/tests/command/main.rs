//! The command from outside: what it prints, what it exits with, what it never shows, and how much
//! memory it takes. Words are snapshots; numbers that differ from run to run are filtered out of them.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

mod bench;
mod definitions;
mod duplicates;
mod echoes;
mod exits;
mod json;
mod memory;
mod metrics;
mod named;
mod process;
mod secrets;
mod signals;
mod streams;
mod verify;
mod words;
