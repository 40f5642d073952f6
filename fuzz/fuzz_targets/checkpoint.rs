//! What an attempt left behind: recovered from as it is, and decoded with checksums that are right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vecload::fuzzing::{Left, checkpoint};

fuzz_target!(init: vecload_fuzz::begin("checkpoint"), |bytes: &[u8]| {
    let mut parts = vecload_fuzz::split(bytes);
    if let [snapshot, journal, .., letters] = &parts[..] {
        checkpoint(snapshot, journal, letters);
    }
    let letters = parts.pop().unwrap_or_default();
    let mut parts = parts.into_iter();
    Left {
        state: parts.next().unwrap_or_default(),
        records: parts.collect(),
        letters,
    }
    .decode();
});
