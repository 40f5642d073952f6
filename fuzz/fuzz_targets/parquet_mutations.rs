//! Sound Parquet files with bytes changed: read or refused. The first byte chooses the file; each four after it are a
//! place, what to do there and whether the place is counted from the end, where the footer is.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vecload_fuzz::{parquet_files, read};
use vecload_source::Format;

static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(parquet_files);

fuzz_target!(
    init: vecload_fuzz::begin("parquet_mutations"),
    |bytes: &[u8]| {
        let Some((file, edits)) = bytes.split_first() else {
            return;
        };
        let mut file = FILES[usize::from(*file) % FILES.len()].clone();
        for edit in edits.chunks_exact(4) {
            let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % file.len();
            let place = match edit[3] & 1 {
                0 => file.len() - 1 - place,
                _ => place,
            };
            match edit[3] >> 6 {
                0 | 1 => file[place] ^= edit[2],
                2 => file.insert(place, edit[2]),
                _ if file.len() > 1 => drop(file.remove(place)),
                _ => {}
            }
        }
        let _ = read(&file, Format::Parquet, 1 << 20);
    }
);
