//! How much the pages of a column chunk take, from their headers.
//!
//! A reader holds a page as it stands in the file and unpacked, and the dictionary besides. How large
//! they are stands only in the header of each page, so the headers are walked: a seek and a small read
//! for each, and no page is unpacked. A plan walks so many of them and no more; of a chunk that was
//! not walked what counts is all of it, as the footer states it. That is a true bound, if a wide one.

use std::{io, ops::Range};

use parquet::{basic::Type as Physical, file::metadata::ColumnChunkMetaData};

use super::{
    Chunks,
    page_header::{self, PageHeader, PageKind},
    range,
};

/// How many headers a plan reads: at the megabyte that writers give a page, those of 16 GB.
pub(crate) const HEADERS: u32 = 1 << 14;

/// How many of them one header of an object counts for: each is a request, which takes a store some 30 ms.
const PRICE_OF_REQUEST: u32 = 1 << 7;

/// What the pages of a column chunk take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// The bytes that a reader of the chunk holds at a time, at most.
    pub(super) held: u64,
    /// The largest page there is, as it stands in the file or unpacked; 0 where none was looked at.
    pub(super) largest: u64,
}

/// The sizes of the pages of a chunk. Takes from `headers` those it reads.
pub(super) fn sizes(chunks: &Chunks, column: &ColumnChunkMetaData, headers: &mut u32) -> Sizes {
    // Views of text keep the page before alive while a batch straddles two.
    let unpacked_pages = match column.column_type() {
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => 2,
        _ => 1,
    };
    let bytes_of = |stated: i64| stated.unsigned_abs();
    let whole =
        bytes_of(column.compressed_size()).saturating_add(bytes_of(column.uncompressed_size()));
    let price = match chunks.reads_ahead() {
        true => PRICE_OF_REQUEST,
        false => 1,
    };
    let Range { mut start, end } = range(column);
    let (mut dictionary, mut page, mut largest) = (0, 0, 0);
    let mut bytes = Vec::new();
    while start < end {
        let left = headers.checked_sub(price);
        let header = left.and_then(|left| {
            *headers = left;
            header(chunks, start, end, &mut bytes).ok()?
        });
        let Some(header) = header else {
            return Sizes {
                held: whole,
                largest,
            };
        };
        largest = header.unpacked.max(header.stored).max(largest);
        if header.kind == PageKind::Dictionary {
            dictionary = header.unpacked.saturating_add(header.stored);
        } else {
            let held = header.unpacked.saturating_mul(unpacked_pages);
            page = held.saturating_add(header.stored).max(page);
        }
        start = start
            .saturating_add(header.bytes)
            .saturating_add(header.stored);
    }
    // No more is held than there is.
    let held = page.saturating_add(dictionary).min(whole);
    Sizes { held, largest }
}

/// The header at `position`, which ends before `end`; `None` where there is none that can be read.
/// What has been read of the file is left in `bytes`.
pub(super) fn header(
    chunks: &Chunks,
    position: u64,
    end: u64,
    bytes: &mut Vec<u8>,
) -> io::Result<Option<PageHeader>> {
    let mut wanted = 128;
    loop {
        let most = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        bytes.resize(most.min(wanted), 0);
        let read = chunks.read_at(position, bytes)?;
        bytes.truncate(read);
        let header = PageHeader::parse(bytes);
        if header.is_some() || read < wanted || wanted >= page_header::LONGEST {
            return Ok(header);
        }
        wanted *= 8;
    }
}
