//! Bytes as lines, as a document, and packed: read or refused, and the same rows however they are split.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vecload_fuzz::read;
use vecload_source::Format;

fuzz_target!(init: vecload_fuzz::begin("jsonl"), |bytes: &[u8]| {
    let whole = read(bytes, Format::Jsonl, 1 << 20);
    let split = read(bytes, Format::Jsonl, 64);
    if let (Ok(whole), Ok(split)) = (whole, split) {
        assert_eq!(whole, split);
    }
});
