//! Text as metadata, under every policy.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: vecload_fuzz::begin("metadata"), |bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        vecload_pinecone::fuzzing::metadata(text);
    }
});
