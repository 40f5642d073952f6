//! Buffers of pages, which are used again.

use bytes::Bytes;
use parquet::file::reader::ChunkReader as _;
use proptest::prelude::*;

use super::*;

/// Longer than some buffers that are kept, and shorter than others.
const FILE_BYTES: usize = 400 << 10;

/// What stands in the file: bytes that tell their place.
fn content() -> Vec<u8> {
    let places = 0_u32..;
    let bytes = places.flat_map(|place| (place.wrapping_mul(2_654_435_761) % 65_521).to_le_bytes());
    bytes.take(FILE_BYTES).collect()
}

proptest! {
    /// Scenario: pages of any sizes and places are read, held for a while, and let go in any order; some are beyond the
    /// end of the file.
    /// Guarantees: each has its own bytes for as long as it is held, whatever was in its buffer before; what is beyond
    /// the end is an error.
    #[test]
    fn pages_keep_their_bytes(
        reads in prop::collection::vec(
            (0..FILE_BYTES, 0..FILE_BYTES / 2, prop::option::of(any::<prop::sample::Index>())),
            1..40,
        ),
    ) {
        let content = content();
        let (_file, input) = input(&content);
        let chunks = Chunks::open(&input, &[]).unwrap();
        let mut held: Vec<(usize, Bytes)> = Vec::new();
        for (start, length, let_go) in reads {
            match chunks.get_bytes(start as u64, length) {
                Ok(page) => {
                    prop_assert!(start + length <= FILE_BYTES);
                    held.push((start, page));
                }
                Err(_) => prop_assert!(start + length > FILE_BYTES),
            }
            for (start, page) in &held {
                prop_assert_eq!(&content[*start..*start + page.len()], &page[..]);
            }
            if let Some(index) = let_go && !held.is_empty() {
                held.swap_remove(index.index(held.len()));
            }
        }
    }
}

/// Scenario: pages of nearly one size are read one after another, each let go before the next.
/// Guarantees: all are read into one buffer.
#[test]
fn one_buffer_after_another() {
    let (_file, input) = input(&content());
    let chunks = Chunks::open(&input, &[]).unwrap();
    let places: Vec<*const u8> = [300_000, 290_000, 310_000, 200_000]
        .into_iter()
        .map(|length| chunks.get_bytes(7, length).unwrap().as_ptr())
        .collect();
    assert_eq!(places, [places[0]; 4]);
}
