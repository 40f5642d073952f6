//! How much the pages of a column chunk take, from their headers.
//!
//! A reader holds a page as it stands in the file and unpacked, and the dictionary besides. How large
//! they are stands only in the header of each page, so the headers are walked: a seek and a small read
//! for each, and no page is unpacked. A plan walks so many of them and no more; of a chunk that was
//! not walked what counts is all of it, as the footer states it. That is a true bound, if a wide one.

use parquet::{basic::Type as Physical, file::metadata::ColumnChunkMetaData};

use super::{Chunks, hybrid::take_varint, range};

/// How many headers a plan reads: at the megabyte that writers give a page, those of 16 GB.
pub(crate) const HEADERS: u32 = 1 << 14;

/// How many of them one header of an object counts for: each is a request, which takes a store some 30 ms.
const PRICE_OF_REQUEST: u32 = 1 << 7;

/// A header is some 30 bytes; statistics that hold long texts make it longer, up to here.
const LONGEST_HEADER: usize = 64 << 10;

/// What is wanted of a page header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// The bytes of the header itself.
    bytes: u64,
    stored: u64,
    unpacked: u64,
    is_dictionary: bool,
}

/// Bytes of Thrift's compact protocol, and how far they are read.
#[derive(Debug)]
struct Thrift<'a>(&'a [u8]);

/// The bytes that a reader of the chunk holds at a time, at most. Takes from `headers` those it reads.
pub(super) fn held(chunks: &Chunks, column: &ColumnChunkMetaData, headers: &mut u32) -> u64 {
    // Views of text keep the page before alive while a batch straddles two.
    let unpacked_pages = match column.column_type() {
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => 2,
        _ => 1,
    };
    let bytes_of = |stated: i64| stated.unsigned_abs();
    let whole =
        bytes_of(column.compressed_size()).saturating_add(bytes_of(column.uncompressed_size()));
    let std::ops::Range { mut start, end } = range(column);
    let (mut dictionary, mut largest) = (0, 0);
    while start < end {
        let price = if chunks.reads_ahead() {
            PRICE_OF_REQUEST
        } else {
            1
        };
        if *headers < price {
            return whole;
        }
        *headers -= price;
        let Some(header) = read(chunks, start, end) else {
            return whole;
        };
        if header.is_dictionary {
            dictionary = header.unpacked.saturating_add(header.stored);
        } else {
            let page = header
                .unpacked
                .saturating_mul(unpacked_pages)
                .saturating_add(header.stored);
            largest = page.max(largest);
        }
        start = start
            .saturating_add(header.bytes)
            .saturating_add(header.stored);
    }
    // No more is held than there is.
    largest.saturating_add(dictionary).min(whole)
}

/// The header at `position`; `None` where there is none that can be read.
fn read(chunks: &Chunks, position: u64, end: u64) -> Option<Header> {
    let mut bytes = Vec::new();
    let mut wanted = 128;
    loop {
        let most = end.saturating_sub(position).min(wanted as u64);
        bytes.resize(usize::try_from(most).ok()?, 0);
        let found = chunks.read_at(position, &mut bytes).ok()?;
        bytes.truncate(found);
        if let Some(header) = Header::parse(&bytes) {
            return Some(header);
        }
        if bytes.len() < wanted || wanted >= LONGEST_HEADER {
            return None;
        }
        wanted *= 8;
    }
}

// === impl Header ===

impl Header {
    /// ```text
    /// PageHeader { 1: i32 type, 2: i32 uncompressed size, 3: i32 compressed size, .. }
    /// ```
    fn parse(bytes: &[u8]) -> Option<Self> {
        const DICTIONARY: i64 = 2;
        let mut thrift = Thrift(bytes);
        let mut fields = [None; 4];
        thrift.fields(|id, kind, thrift| match (kind, usize::try_from(id)) {
            (5, Ok(id @ 1..=3)) => {
                fields[id] = Some(thrift.integer()?);
                Some(())
            }
            _ => thrift.skip(kind, 0),
        })?;
        let size = |field: Option<i64>| u64::try_from(field?).ok();
        Some(Self {
            bytes: (bytes.len() - thrift.0.len()) as u64,
            stored: size(fields[3])?,
            unpacked: size(fields[2])?,
            is_dictionary: fields[1]? == DICTIONARY,
        })
    }
}

// === impl Thrift ===

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn integer(&mut self) -> Option<i64> {
        let zigzag = take_varint(&mut self.0)?;
        Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// The fields of a struct, each with its number and type.
    fn fields(&mut self, mut field: impl FnMut(i64, u8, &mut Self) -> Option<()>) -> Option<()> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => self.integer()?,
                delta => id.checked_add(delta.into())?,
            };
            field(id, head & 0x0f, self)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        if depth > 8 {
            return None;
        }
        match kind {
            // Booleans of a struct are their types.
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => take_varint(&mut self.0).map(|_| ()),
            7 => self.pass(8),
            8 => {
                let length = take_varint(&mut self.0)?;
                self.pass(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => take_varint(&mut self.0)?,
                    count => count.into(),
                };
                for _ in 0..count {
                    match head & 0x0f {
                        1 | 2 => self.pass(1)?,
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
                Some(())
            }
            12 => self.fields(|_, kind, thrift| thrift.skip(kind, depth + 1)),
            // Page headers have no maps.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the header of a data page with statistics, with a boolean and a list besides, and
    /// every part of it that was cut off.
    /// Guarantees: sizes, kind and length are read; what was cut is no header.
    #[test]
    fn a_header_is_read_to_its_end() {
        let header = [
            0x15, 0x00, // 1: type 0
            0x15, 0x80, 0x89, 0x7a, // 2: unpacked 1,000,000
            0x15, 0xd0, 0x0f, // 3: stored 1,000
            0x2c, // 5: a struct
            0x15, 0x0a, 0x11, // 1: an integer, 2: true
            0x19, 0x38, 0x01, b'a', 0x00, 0x01, b'c', // 3: a list of three texts
            0x1c, 0x18, 0x03, b'm', b'a', b'x', 0x00, 0x00, // 4: a struct of a text; ends
            0x00,
        ];
        let mut bytes = header.to_vec();
        bytes.extend([7; 20]);
        assert_eq!(
            Header::parse(&bytes),
            Some(Header {
                bytes: header.len() as u64,
                stored: 1000,
                unpacked: 1_000_000,
                is_dictionary: false,
            })
        );
        for end in 0..header.len() {
            assert_eq!(Header::parse(&header[..end]), None, "{end}");
        }
    }
}
