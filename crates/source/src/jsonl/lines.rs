//! Cuts bytes into lines.

use super::{
    Chunk, Limits,
    bytes::{Bytes, End},
};
use crate::SourceError;

/// Reads a range of bytes and cuts it into lines.
#[derive(Debug)]
pub(super) struct LineCutter {
    pub(super) name: String,
    pub(super) bytes: Bytes,
    pub(super) limits: Limits,
    /// Lines that begin here or later belong to the next range.
    pub(super) end: u64,
    /// The offset of the buffer's first byte.
    pub(super) base: u64,
    /// The part of the buffer, from here on, that has not been given out.
    carry: usize,
    /// Whether the next byte is within a line that is not to be given out: one that began before the
    /// range, or the rest of one that is too long.
    within: bool,
    done: bool,
}

// === impl LineCutter ===

impl LineCutter {
    /// A cutter of the lines that begin in `start..end`; `bytes` begin at `base`, one before `start`
    /// where there is one: that byte tells whether a line begins with the range.
    pub(super) fn new(
        name: &str,
        bytes: Bytes,
        limits: Limits,
        base: u64,
        range: std::ops::Range<u64>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
            limits,
            end: range.end,
            base,
            carry: 0,
            within: range.start > 0,
            done: range.start >= range.end,
        }
    }

    /// Makes `chunk` the next one, which is empty only at the end.
    pub(super) fn fill(&mut self, chunk: &mut Chunk) -> Result<(), SourceError> {
        chunk.buffer.drain(..self.carry);
        self.base += self.carry as u64;
        self.carry = 0;
        // What is carried over has been searched: it has no newline.
        let mut searched = chunk.buffer.len();
        while !self.done && chunk.rows.is_empty() {
            let position = self.base + chunk.buffer.len() as u64;
            let end = self.bytes.end(position);
            if end == End::Not {
                let wanted = self.wanted(position);
                self.bytes
                    .read(&self.name, position, wanted, &mut chunk.buffer)?;
            }
            self.cut(chunk, searched, end);
            searched = chunk.buffer.len();
        }
        Ok(())
    }

    /// How much to read. The range's last line is finished in small steps.
    fn wanted(&self, position: u64) -> u64 {
        const STEP: u64 = 64 << 10;
        let block = self.limits.block as u64;
        if position < self.end {
            block.min(self.end - position)
        } else {
            block.min(STEP)
        }
    }

    /// Cuts the buffer, of which the first `searched` bytes are known to have no newline, into lines.
    fn cut(&mut self, chunk: &mut Chunk, searched: usize, end: End) {
        let mut from = searched.max(self.carry);
        while let Some(newline) = memchr::memchr(b'\n', &chunk.buffer[from..]) {
            let newline = from + newline;
            from = newline + 1;
            if !std::mem::take(&mut self.within) {
                self.push(chunk, newline);
            }
            self.carry = from;
            if self.base + from as u64 >= self.end {
                self.done = true;
                return;
            }
        }
        let length = chunk.buffer.len();
        if self.within {
            // Nothing of this line is wanted. None that begins in the range can follow, if the range
            // ends here.
            chunk.buffer.truncate(self.carry);
            self.base += (length - self.carry) as u64;
            self.done = end != End::Not || self.base + self.carry as u64 >= self.end;
        } else if end != End::Not {
            if end == End::Reached && length > self.carry {
                self.push(chunk, length);
            }
            self.carry = length;
            self.done = true;
        } else if length - self.carry > self.limits.line {
            self.push(chunk, length);
            self.carry = length;
            self.within = true;
        }
    }

    /// Takes the line from `carry` to `end` as a row, if it is one.
    fn push(&mut self, chunk: &mut Chunk, end: usize) {
        let mut range = self.carry..end;
        let locator = self.base + range.start as u64;
        let too_long = range.len() > self.limits.line;
        if locator == 0 && chunk.buffer[range.clone()].starts_with(b"\xef\xbb\xbf") {
            range.start += 3;
        }
        if too_long {
            range.end = range.end.min(range.start + self.limits.kept);
        } else {
            if chunk.buffer[range.clone()].ends_with(b"\r") {
                range.end -= 1;
            }
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
            if chunk.buffer[range.clone()].iter().all(blank) {
                return;
            }
        }
        chunk.push(range, locator, too_long);
    }
}
