//! Bytes as a Parquet file: read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vecload_source::Format;

fuzz_target!(
    init: vecload_fuzz::begin("parquet"),
    |bytes: &[u8]| {
        let _ = vecload_fuzz::read(bytes, Format::Parquet, 1 << 20);
    }
);
