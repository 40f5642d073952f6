//! Reading on in an object: a block at hand and the next one on its way.
//!
//! That is all that is held, whoever waits for whom, so that memory is known beforehand: [`ahead_bytes`].

use std::{io, ops::Range};

use bytes::Bytes;

use super::{Coming, Fault, Object};

/// What one request asks for at the most. At 50 MB/s on a connection and 30 ms until the first byte, requests of
/// this size take three quarters of their time for bytes; with two at a time a reader gets about 80 MB/s.
const BLOCK: u64 = 4 << 20;

/// What it asks for at the least where several parts are read at a time.
const SMALLEST_BLOCK: u64 = 256 << 10;

/// What is asked for at a time, all parts together, where there are not too many of them.
const BLOCKS: u64 = 16 << 20;

/// Reads on in an object.
pub(crate) struct Ahead {
    object: Object,
    block: u64,
    /// Nothing from here on is fetched before it is asked for.
    end: u64,
    held: Block,
    coming: Option<(Range<u64>, Coming<Bytes>)>,
}

#[derive(Debug, Default)]
struct Block {
    start: u64,
    bytes: Bytes,
}

/// Reads on in several parts of an object: the columns of a row group.
#[derive(Debug)]
pub(crate) struct Stretches {
    object: Object,
    parts: Vec<(Range<u64>, Ahead)>,
    /// Why nothing more is read.
    fault: Option<Fault>,
}

/// The bytes that are held to read on in these ranges of an object.
pub(crate) fn ahead_bytes(ranges: &[Range<u64>]) -> u64 {
    let ranges = merged(ranges);
    let block = block_of(ranges.len());
    ranges.iter().fold(0, |sum, range| {
        let length = range.end - range.start;
        sum.saturating_add(length.min(block * 2))
    })
}

/// Ranges in order; those that a block can hold together, with what lies between them, are one.
fn merged(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges
        .iter()
        .filter(|range| range.start < range.end)
        .cloned()
        .collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut found: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match found.last_mut() {
            Some(last) if range.end <= last.end => {}
            Some(last) if range.start < last.end || range.end - last.start <= SMALLEST_BLOCK => {
                last.end = range.end;
            }
            _ => found.push(range),
        }
    }
    found
}

fn block_of(parts: usize) -> u64 {
    (BLOCKS / (parts as u64).max(1)).clamp(SMALLEST_BLOCK, BLOCK)
}

// === impl Ahead ===

impl Ahead {
    /// Reads a part of an object, and what is behind it if need be.
    pub(crate) fn new(object: Object, range: Range<u64>) -> Self {
        Self::with_block(object, range, BLOCK)
    }

    fn with_block(object: Object, range: Range<u64>, block: u64) -> Self {
        let mut ahead = Self {
            end: range.end.min(object.bytes()),
            object,
            block,
            held: Block::default(),
            coming: None,
        };
        ahead.begin(range.start);
        ahead
    }

    /// The bytes at `position` that are at hand, or else that come next: none at the end of the object.
    pub(crate) fn read(&mut self, position: u64) -> io::Result<&[u8]> {
        if !self.held.has(position) && position < self.object.bytes() {
            // Before more comes, so that there are two at a time.
            self.held = Block::default();
            let coming = match self.coming.take() {
                Some(coming) if coming.0.contains(&position) => coming,
                // Dropped, so that it comes no more.
                _ => {
                    let range = self.block_at(position);
                    let coming = self.object.begin(range.clone());
                    (range, coming)
                }
            };
            let (range, bytes) = (coming.0, coming.1.wait()?);
            self.held = Block {
                start: range.start,
                bytes,
            };
            self.begin(range.end);
        }
        Ok(self.held.from(position))
    }

    /// Begins to fetch the block at `position`, if it belongs to what is read.
    fn begin(&mut self, position: u64) {
        if position < self.end {
            let range = self.block_at(position);
            self.coming = Some((range.clone(), self.object.begin(range)));
        }
    }

    fn block_at(&self, position: u64) -> Range<u64> {
        let end = if position < self.end {
            self.end.min(position + self.block)
        } else {
            // The last line of a range goes on for a while.
            self.object
                .bytes()
                .min(position + SMALLEST_BLOCK.min(self.block))
        };
        position..end
    }
}

/// From the beginning of its range on, in order.
pub(crate) struct AheadReader {
    ahead: Ahead,
    position: u64,
}

impl AheadReader {
    pub(crate) fn new(object: Object) -> Self {
        let range = 0..object.bytes();
        Self {
            ahead: Ahead::new(object, range),
            position: 0,
        }
    }
}

impl io::Read for AheadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let some = self.ahead.read(self.position)?;
        let count = some.len().min(buffer.len());
        buffer[..count].copy_from_slice(&some[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ahead")
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}

// === impl Block ===

impl Block {
    fn has(&self, position: u64) -> bool {
        (self.start..self.start + self.bytes.len() as u64).contains(&position)
    }

    fn from(&self, position: u64) -> &[u8] {
        let passed = position
            .checked_sub(self.start)
            .and_then(|passed| usize::try_from(passed).ok());
        passed
            .and_then(|passed| self.bytes.get(passed..))
            .unwrap_or_default()
    }
}

// === impl Stretches ===

impl Stretches {
    /// Begins to read these ranges of an object.
    pub(crate) fn new(object: Object, ranges: &[Range<u64>]) -> Self {
        let ranges = merged(ranges);
        let block = block_of(ranges.len());
        let parts = ranges.into_iter().map(|range| {
            let ahead = Ahead::with_block(object.clone(), range.clone(), block);
            (range, ahead)
        });
        Self {
            parts: parts.collect(),
            object,
            fault: None,
        }
    }

    /// Why nothing more is read, if so.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Fills `buffer` with what stands at `position`, as far as the object goes; says how much that is.
    pub(crate) fn read(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone().into());
        }
        let outcome = self.fill(position, buffer);
        if let Err(error) = &outcome {
            self.fault = Fault::in_io(error).cloned();
        }
        outcome
    }

    fn fill(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self
            .parts
            .iter_mut()
            .find(|(range, _)| range.contains(&position));
        let Some((_, ahead)) = part else {
            let some = self.object.read(position..position + buffer.len() as u64)?;
            buffer[..some.len()].copy_from_slice(&some);
            return Ok(some.len());
        };
        let mut filled = 0;
        while filled < buffer.len() {
            let some = ahead.read(position + filled as u64)?;
            let count = some.len().min(buffer.len() - filled);
            if count == 0 {
                break;
            }
            buffer[filled..filled + count].copy_from_slice(&some[..count]);
            filled += count;
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: small columns side by side, a large one, one in another, an empty one.
    /// Guarantees: what one request can bring is one part, and what is held is at most two blocks of each part.
    #[test]
    fn parts_and_what_they_take() {
        let ranges = [0..100, 200..300, 300..300, 50..60, 1 << 30..2 << 30];
        assert_eq!(merged(&ranges), [0..300, 1 << 30..2 << 30]);
        assert_eq!(ahead_bytes(&ranges), 300 + 2 * BLOCK);
        let many: Vec<_> = (0..100)
            .map(|part| part << 30..(part << 30) + (1 << 29))
            .collect();
        assert_eq!(ahead_bytes(&many), 100 * 2 * SMALLEST_BLOCK);
    }
}
