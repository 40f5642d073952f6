//! JSONL: blocks of lines.
//!
//! A [`Reader`] owns the lines that begin in its range of bytes, so a range may begin and end
//! anywhere: a line that begins before it belongs to the range before. It reads blocks of about
//! 1 MiB; what is left of a block after its last newline is carried over into the next.
//!
//! A line that is longer than 8 MiB is given as a bad row of its first KiB and passed over without
//! being kept. Blank lines are no rows. Lines become records in [`line`], one at a time and only when
//! they are asked for; the block lends them.

mod cursor;
mod line;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
};

use vecload_record::{At, Reason, Reject};

use self::line::{Scratch, parse};
use crate::{
    BadRow, Columns, Input, Place, Records, Row, SourceError, SourceErrorKind, reader::Block,
};

pub(crate) use self::cursor::is_object;

/// How much is read and kept.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Bytes of a block.
    block: usize,
    /// Bytes of a line: four times what a record may have on the wire. Numbers as text are longer
    /// than as bytes.
    line: usize,
    /// Bytes that are kept of a line that is too long.
    kept: usize,
}

/// Reads the lines of a range.
#[derive(Debug)]
pub(crate) struct Reader {
    cutter: Cutter,
    /// Always a block of lines; kept as what is lent.
    records: Records,
}

/// Reads a file and cuts it into lines.
#[derive(Debug)]
struct Cutter {
    name: String,
    file: File,
    limits: Limits,
    /// Lines that begin here or later belong to the next range.
    end: u64,
    /// The size of the file.
    file_end: u64,
    /// The offset in the file of the buffer's first byte.
    base: u64,
    /// The part of the buffer, from here on, that has not been given out.
    carry: usize,
    /// Whether the next byte is within a line that is not to be given out: one that began before the
    /// range, or the rest of one that is too long.
    within: bool,
    done: bool,
    /// The number of the next row.
    row: u64,
}

/// A block of lines.
#[derive(Debug)]
pub(crate) struct Lines {
    columns: Arc<Columns>,
    buffer: Vec<u8>,
    lines: Vec<Line>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Line {
    /// Where it is in the buffer, without line end and byte order mark.
    range: Range<usize>,
    at: At,
    too_long: bool,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            block: 1 << 20,
            line: 8 << 20,
            kept: 1 << 10,
        }
    }
}

// === impl Reader ===

impl Reader {
    /// Opens a file for the lines that begin in `range`.
    pub(crate) fn open(
        input: &Input,
        columns: &Columns,
        range: Range<u64>,
    ) -> Result<Self, SourceError> {
        Self::with_limits(input, columns, range, Limits::default())
    }

    fn with_limits(
        input: &Input,
        columns: &Columns,
        range: Range<u64>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let io = |error| SourceError::io(&input.name, "open it", &error);
        let mut file = File::open(&input.path).map_err(io)?;
        input.expect_size(file.metadata().map_err(io)?.len())?;
        // The byte before the range tells whether a line begins with the range.
        let base = range.start.saturating_sub(1);
        file.seek(SeekFrom::Start(base)).map_err(io)?;
        Ok(Self {
            cutter: Cutter {
                name: input.name.clone(),
                file,
                limits,
                end: range.end.min(input.bytes),
                file_end: input.bytes,
                base,
                carry: 0,
                within: range.start > 0,
                done: range.start >= range.end,
                row: 0,
            },
            records: Records(Block::Jsonl(Lines {
                columns: Arc::new(columns.clone()),
                buffer: Vec::new(),
                lines: Vec::new(),
                scratch: Scratch::default(),
            })),
        })
    }

    /// The next block of lines.
    pub(crate) fn next(&mut self) -> Result<Option<&mut Records>, SourceError> {
        let Block::Jsonl(lines) = &mut self.records.0 else {
            return Ok(None);
        };
        self.cutter.fill(lines)?;
        Ok((!self.records.is_empty()).then_some(&mut self.records))
    }
}

// === impl Cutter ===

impl Cutter {
    /// Makes `lines` the next block, which is empty only at the end.
    fn fill(&mut self, lines: &mut Lines) -> Result<(), SourceError> {
        lines.lines.clear();
        lines.buffer.drain(..self.carry);
        self.base += self.carry as u64;
        self.carry = 0;
        // What is carried over has been searched: it has no newline.
        let mut searched = lines.buffer.len();
        while !self.done && lines.lines.is_empty() {
            let position = self.base + lines.buffer.len() as u64;
            let at_end = position >= self.file_end;
            if !at_end {
                self.read(position, &mut lines.buffer)?;
            }
            self.cut(lines, searched, at_end);
            searched = lines.buffer.len();
        }
        Ok(())
    }

    /// Reads the next block to the end of `buffer`. The range's last line is finished in small steps.
    fn read(&mut self, position: u64, buffer: &mut Vec<u8>) -> Result<(), SourceError> {
        const STEP: u64 = 64 << 10;
        let block = self.limits.block as u64;
        let wanted = if position < self.end {
            block.min(self.end - position)
        } else {
            block.min(STEP)
        };
        let wanted = wanted.min(self.file_end - position);
        // Exactly: by doubling, a line of 8 MiB would take 16.
        buffer.reserve_exact(usize::try_from(wanted).unwrap_or(self.limits.block));
        let got = Read::take(&mut self.file, wanted)
            .read_to_end(buffer)
            .map_err(|error| {
                SourceError::io(&self.name, "read it", &error).at(Place::Offset(position))
            })?;
        if (got as u64) < wanted {
            return Err(SourceError::new(
                SourceErrorKind::Changed,
                &self.name,
                format!(
                    "the file ends here and had {} bytes when it was found; load it again when nothing writes to it",
                    self.file_end
                ),
            )
            .at(Place::Offset(position + got as u64)));
        }
        Ok(())
    }

    /// Cuts the buffer, of which the first `searched` bytes are known to have no newline, into lines.
    fn cut(&mut self, lines: &mut Lines, searched: usize, at_end: bool) {
        let mut from = searched.max(self.carry);
        while let Some(newline) = memchr::memchr(b'\n', &lines.buffer[from..]) {
            let newline = from + newline;
            from = newline + 1;
            if !std::mem::take(&mut self.within) {
                self.push(lines, newline);
            }
            self.carry = from;
            if self.base + from as u64 >= self.end {
                self.done = true;
                return;
            }
        }
        let length = lines.buffer.len();
        if self.within {
            // Nothing of this line is wanted. None that begins in the range can follow, if the range
            // ends here.
            lines.buffer.truncate(self.carry);
            self.base += (length - self.carry) as u64;
            self.done = at_end || self.base + self.carry as u64 >= self.end;
        } else if at_end {
            if length > self.carry {
                self.push(lines, length);
            }
            self.carry = length;
            self.done = true;
        } else if length - self.carry > self.limits.line {
            self.push(lines, length);
            self.carry = length;
            self.within = true;
        }
    }

    /// Takes the line from `carry` to `end` as a row, if it is one.
    fn push(&mut self, lines: &mut Lines, end: usize) {
        let mut range = self.carry..end;
        let locator = self.base + range.start as u64;
        let too_long = range.len() > self.limits.line;
        if locator == 0 && lines.buffer[range.clone()].starts_with(b"\xef\xbb\xbf") {
            range.start += 3;
        }
        if too_long {
            range.end = range.end.min(range.start + self.limits.kept);
        } else {
            if lines.buffer[range.clone()].ends_with(b"\r") {
                range.end -= 1;
            }
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
            if lines.buffer[range.clone()].iter().all(blank) {
                return;
            }
        }
        let row = self.row;
        self.row += 1;
        lines.lines.push(Line {
            range,
            at: At { row, locator },
            too_long,
        });
    }
}

// === impl Lines ===

impl Lines {
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn row(&mut self, index: usize) -> Row<'_> {
        let Line {
            ref range,
            at,
            too_long,
        } = self.lines[index];
        let raw = &self.buffer[range.clone()];
        let content = if too_long {
            Err(Reject::new(
                Reason::LineTooLong,
                "",
                "the line is longer than 8 MiB, the most that is read of one record",
            ))
        } else {
            parse(raw, &self.columns, &mut self.scratch)
        };
        Row {
            at,
            content: content.map_err(|reject| BadRow {
                reject,
                raw: Cow::Borrowed(raw),
            }),
        }
    }
}
