//! The request as it is on the wire.
//!
//! ```text
//! 0      1            5                                          ends[n-1]
//! ┌──────┬────────────┬─────────────┬─────────────┬─────┬────────┬──────────────┐
//! │ 0x00 │ length, BE │ 0a L Vector │ 0a L Vector │ ... │        │ 12 L name    │
//! └──────┴────────────┴─────────────┴─────────────┴─────┴────────┴──────────────┘
//!   not compressed     field 1, repeated                           field 2
//! ```
//!
//! The namespace stands last so that records can be appended before it is known how many there will
//! be. What stands between two ends is one record with its tag and length, so every run of records can
//! be lifted into a frame of its own.

use std::ops::Range;

use crate::encode::{field_len, put_header};

/// The bytes before the message: a flag for compression and the length.
pub const FRAME_PREFIX: usize = 5;

/// The tag of `UpsertRequest.namespace`.
const NAMESPACE: u8 = 0x12;

/// Begins a frame: empties the buffer and reserves the prefix.
pub fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; FRAME_PREFIX]);
}

/// The number of bytes that [`seal`] appends.
#[must_use]
pub fn namespace_bytes(namespace: &str) -> usize {
    match namespace.len() {
        0 => 0,
        len => field_len(len),
    }
}

/// Ends a frame: appends the namespace and writes the prefix.
///
/// # Panics
///
/// If the buffer was not begun, or holds more than 4 GiB.
pub fn seal(namespace: &str, out: &mut Vec<u8>) {
    if !namespace.is_empty() {
        put_header(NAMESPACE, namespace.len(), out);
        out.extend_from_slice(namespace.as_bytes());
    }
    #[expect(
        clippy::expect_used,
        reason = "the limits of a request are a thousandth of it"
    )]
    let length = u32::try_from(out.len() - FRAME_PREFIX).expect("a frame is smaller than 4 GiB");
    out[0] = 0;
    out[1..FRAME_PREFIX].copy_from_slice(&length.to_be_bytes());
}

/// A complete frame of a range of a sealed frame's records; `ends[i]` is the offset in the frame at
/// which record `i` ends.
///
/// # Panics
///
/// If the range is empty or not within the ends, or the ends are not those of the frame.
#[must_use]
pub fn cut(frame: &[u8], ends: &[u32], range: Range<usize>) -> Vec<u8> {
    assert!(!range.is_empty(), "a frame holds at least one record");
    let start = match range.start {
        0 => FRAME_PREFIX,
        first => ends[first - 1] as usize,
    };
    let records = &frame[start..ends[range.end - 1] as usize];
    let namespace = &frame[ends[ends.len() - 1] as usize..];
    let mut out = Vec::with_capacity(FRAME_PREFIX + records.len() + namespace.len());
    begin(&mut out);
    out.extend_from_slice(records);
    out.extend_from_slice(namespace);
    seal("", &mut out);
    out
}
