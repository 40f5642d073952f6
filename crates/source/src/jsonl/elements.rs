//! Cuts one JSON document into the records it lists.
//!
//! `[record, ..]`, `{"vectors": [record, ..]}`, or records one after the other that take several lines
//! each. The scan knows strings and brackets and nothing else, so that it holds one record at a time
//! and what is wrong within a record is that record's reject; what is wrong between records leaves
//! no way to tell where the next one begins and is an error of the input.

use super::{
    Chunk, Limits,
    bytes::{Bytes, End},
};
use crate::{Place, SourceError, SourceErrorKind};

/// What follows the list is looked at up to here: the rest of the object around it.
const TAIL: usize = 64 << 10;

/// Reads a document and cuts it into records.
#[derive(Debug)]
pub(super) struct ElementCutter {
    name: String,
    bytes: Bytes,
    limits: Limits,
    /// Whether the records stand in brackets, between commas.
    is_list: bool,
    /// The offset of the buffer's first byte.
    base: u64,
    /// How many bytes of the buffer have been scanned.
    scanned: usize,
    /// Where the record begins that is being scanned, if one is.
    start: Option<usize>,
    depth: u32,
    in_string: bool,
    escaped: bool,
    expected: Expected,
    /// Whether the record at hand is too long and has been given out.
    dropping: bool,
    /// What follows the list.
    pub(super) tail: Vec<u8>,
    done: bool,
    /// What is wrong after the records that were given out.
    failure: Option<SourceError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The first record, or the end.
    First,
    Record,
    /// A comma or the end.
    Next,
    /// The list is over.
    Nothing,
}

// === impl ElementCutter ===

impl ElementCutter {
    /// A cutter of the records that stand in `bytes`, which begin at `base`.
    pub(super) fn new(name: &str, bytes: Bytes, limits: Limits, base: u64, is_list: bool) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
            limits,
            is_list,
            base,
            scanned: 0,
            start: None,
            depth: 0,
            in_string: false,
            escaped: false,
            expected: Expected::First,
            dropping: false,
            tail: Vec::new(),
            done: false,
            failure: None,
        }
    }

    /// Makes `chunk` the next one, which is empty only at the end.
    pub(super) fn fill(&mut self, chunk: &mut Chunk) -> Result<(), SourceError> {
        let given = match self.start {
            Some(start) if !self.dropping => start,
            _ => self.scanned,
        };
        self.forget(chunk, given);
        while !self.done && chunk.rows.is_empty() {
            if let Err(failure) = self.scan(chunk) {
                self.failure = Some(failure);
                self.done = true;
                break;
            }
            if !chunk.rows.is_empty() {
                break;
            }
            if self.dropping || self.start.is_none() {
                self.forget(chunk, self.scanned);
            }
            let position = self.base + chunk.buffer.len() as u64;
            match self.bytes.end(position) {
                End::Not => {
                    let wanted = self.limits.block as u64;
                    self.bytes
                        .read(&self.name, position, wanted, &mut chunk.buffer)?;
                }
                End::Cut => self.done = true,
                End::Reached => {
                    self.done = true;
                    let is_over = self.expected == Expected::Nothing
                        || (!self.is_list && self.start.is_none());
                    if !is_over {
                        return Err(self.broken(
                            chunk,
                            "the input ends within the list: it was cut; what stands before is loaded",
                        ));
                    }
                }
            }
        }
        match self.failure.take() {
            Some(failure) if chunk.rows.is_empty() => Err(failure),
            failure => {
                self.failure = failure;
                Ok(())
            }
        }
    }

    fn forget(&mut self, chunk: &mut Chunk, bytes: usize) {
        chunk.buffer.drain(..bytes);
        self.base += bytes as u64;
        self.scanned -= bytes;
        self.start = self.start.map(|start| start.saturating_sub(bytes));
    }

    /// Scans what the buffer has, up to where a chunk is full.
    fn scan(&mut self, chunk: &mut Chunk) -> Result<(), SourceError> {
        while self.scanned < chunk.buffer.len() {
            if self.start.is_some() {
                self.scan_record(chunk);
                continue;
            }
            let byte = chunk.buffer[self.scanned];
            match (byte, self.expected) {
                (
                    b' ' | b'\t' | b'\r' | b'\n',
                    Expected::First | Expected::Record | Expected::Next,
                ) => {}
                (b']', Expected::First | Expected::Next) if self.is_list => {
                    self.expected = Expected::Nothing;
                }
                (b',', Expected::Next) if self.is_list => self.expected = Expected::Record,
                (b']' | b'}' | b',' | b':', Expected::First | Expected::Record)
                | (_, Expected::Next) => {
                    let wanted = match self.expected {
                        Expected::Next => "a comma or the end of the list",
                        _ => "a record",
                    };
                    let found = char::from(byte);
                    return Err(self.broken(
                        chunk,
                        &format!(
                            "expected {wanted}, found {found:?}; what stands before is loaded"
                        ),
                    ));
                }
                (_, Expected::Nothing) => {
                    let rest = &chunk.buffer[self.scanned..];
                    let room = TAIL.saturating_sub(self.tail.len());
                    self.tail.extend_from_slice(&rest[..rest.len().min(room)]);
                    self.scanned = chunk.buffer.len();
                    continue;
                }
                (_, Expected::First | Expected::Record) => {
                    self.start = Some(self.scanned);
                    self.depth = 0;
                    self.in_string = false;
                    continue;
                }
            }
            self.scanned += 1;
        }
        Ok(())
    }

    /// Goes on with a record: to its end, or to that of the buffer.
    fn scan_record(&mut self, chunk: &mut Chunk) {
        let Some(start) = self.start else {
            return;
        };
        let mut at = self.scanned;
        let buffer = &chunk.buffer;
        let end = loop {
            if at >= buffer.len() {
                break None;
            }
            if self.in_string {
                if std::mem::take(&mut self.escaped) {
                    at += 1;
                    continue;
                }
                match memchr::memchr2(b'"', b'\\', &buffer[at..]) {
                    None => at = buffer.len(),
                    Some(stop) if buffer[at + stop] == b'"' => {
                        self.in_string = false;
                        at += stop + 1;
                        if self.depth == 0 {
                            break Some(at);
                        }
                    }
                    Some(stop) => {
                        self.escaped = true;
                        at += stop + 1;
                    }
                }
                continue;
            }
            match buffer[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        break Some(at + 1);
                    }
                }
                // After a number or a word.
                b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                    break Some(at);
                }
                _ => {}
            }
            at += 1;
        };
        self.scanned = end.unwrap_or(at);
        let length = self.scanned - start;
        if !self.dropping && (end.is_some() || length > self.limits.line) {
            let too_long = length > self.limits.line;
            let kept = if too_long {
                length.min(self.limits.kept)
            } else {
                length
            };
            chunk.push(start..start + kept, self.base + start as u64, too_long);
            self.dropping = end.is_none();
        }
        if end.is_some() {
            self.start = None;
            self.dropping = false;
            self.expected = match self.is_list {
                true => Expected::Next,
                false => Expected::First,
            };
        }
    }

    fn broken(&self, chunk: &Chunk, message: &str) -> SourceError {
        let at = self.base + self.scanned.min(chunk.buffer.len()) as u64;
        SourceError::new(SourceErrorKind::Corrupt, &self.name, message).at(Place::Offset(at))
    }
}
