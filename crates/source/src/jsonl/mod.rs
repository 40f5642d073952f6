//! JSONL, and JSON documents that list records: blocks of records.
//!
//! A plain file is read by ranges: a reader owns the lines that begin in its range of bytes, so a
//! range may begin and end anywhere. What is compressed, a stream, or one document is read as a
//! whole. Either way about 1 MiB is held at a time; what is left of a block after its last record is
//! carried over into the next.
//!
//! A line that is longer than 8 MiB is given as a bad row of its first KiB and passed over without
//! being kept. Blank lines are no rows. Text becomes records in [`line`], one at a time and only when
//! they are asked for; the block lends them.

mod bytes;
mod cursor;
mod digits;
mod elements;
mod form;
mod handed_back;
mod keys;
mod line;
mod lines;
mod list;
mod number;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use vecload_record::{At, Reason, Reject};

pub(crate) use self::cursor::is_object;
use self::{
    bytes::Bytes,
    elements::ElementCutter,
    form::{Form, Head, namespace_of_tail},
    handed_back::handed_back,
    keys::Keys,
    line::{Scratch, key, parse},
    lines::LineCutter,
};
use crate::{
    BadRow, Compression, Input, Mapping, PlanSettings, Records, Row, SourceError, SourceErrorKind,
    changes::Changes, reader::Block,
};

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

/// An input whose first records have been looked at.
#[derive(Debug)]
pub(crate) struct JsonlInput {
    form: Form,
    keys: Arc<Keys>,
    mapping: Mapping,
    /// The namespace that the document around the records names.
    namespace: Option<Arc<str>>,
    /// What unpacking keeps, and what is read ahead.
    window: u64,
    stream: Option<Mutex<Stream>>,
}

/// A stream: what has been read of it, and the rest until it is taken.
struct Stream {
    head: Head,
    rest: Option<Box<dyn Read + Send>>,
    compression: Compression,
    window: u64,
}

/// Reads records.
#[derive(Debug)]
pub(crate) struct Reader {
    name: String,
    cutter: Cutter,
    /// Always a block of lines; kept as what is lent.
    records: Records,
}

#[derive(Debug)]
enum Cutter {
    Lines(LineCutter),
    Elements { cutter: ElementCutter, form: Form },
}

/// A block of records as text.
#[derive(Debug)]
pub(crate) struct Lines {
    keys: Arc<Keys>,
    /// The keys of dead letters, whatever those of other lines are.
    canonical: Keys,
    chunk: Chunk,
    scratch: Scratch,
    changes: Changes,
}

/// Text, and where the records are in it.
#[derive(Debug, Default)]
struct Chunk {
    buffer: Vec<u8>,
    rows: Vec<Line>,
    /// The number of the next row.
    next: u64,
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

// === impl JsonlInput ===

impl JsonlInput {
    /// Looks at the first records of an input. A stream is read from `stdin`.
    pub(crate) fn open(
        input: &Input,
        settings: &PlanSettings,
        stdin: Option<Box<dyn Read + Send>>,
    ) -> Result<Self, SourceError> {
        let unsupported =
            |message: String| SourceError::new(SourceErrorKind::Unsupported, &input.name, message);
        let (head, stream, window) = if input.is_stream() {
            let stdin = stdin.ok_or_else(|| {
                unsupported("the standard input can be read once; name it once".into())
            })?;
            let stream = Stream::open(input, stdin)?;
            let window = stream.window;
            (stream.head.clone(), Some(stream), window)
        } else {
            let head = 0..Limits::default().block as u64;
            let mut bytes = Bytes::open(input, head)?;
            let head = Head::read(&input.name, &mut bytes, Limits::default())?;
            (head, None, bytes.window() + Bytes::ahead(input))
        };
        let form = Form::of(&head);
        let keys = head.with_records(&input.name, &form, |records| {
            Keys::find(records, &settings.columns)
        })?;
        let (keys, mapping) = keys.map_err(unsupported)?;
        let mut opened = Self {
            form,
            keys: Arc::new(keys),
            mapping,
            namespace: None,
            window,
            stream: stream.map(Mutex::new),
        };
        if settings.columns.own_namespaces {
            opened.namespace = opened.find_namespace(input, &head)?;
        }
        Ok(opened)
    }

    /// The namespace that stands beside the records of a document, before or after them.
    fn find_namespace(&self, input: &Input, head: &Head) -> Result<Option<Arc<str>>, SourceError> {
        let Form::Object { namespace, .. } = &self.form else {
            return Ok(None);
        };
        if let Some(namespace) = namespace {
            return Ok(Some(Arc::from(namespace.as_str())));
        }
        let mut reader = match (&self.stream, head.is_all) {
            (None, _) => self.read_file(input, 0..u64::MAX, Limits::default())?,
            (Some(_), true) => {
                let bytes = head.bytes(self.form.start());
                self.reader(input, bytes, 0..u64::MAX, Limits::default())
            }
            (Some(_), false) => {
                return Err(SourceError::new(
                    SourceErrorKind::Unsupported,
                    &input.name,
                    "of a stream the namespace must be known before its records; write \"namespace\" before \"vectors\", give --namespace, or name a file",
                ));
            }
        };
        while reader.next()?.is_some() {}
        match &reader.cutter {
            Cutter::Elements { cutter, .. } => Ok(namespace_of_tail(&cutter.tail)
                .ok()
                .flatten()
                .map(Arc::from)),
            Cutter::Lines(_) => Ok(None),
        }
    }

    /// Whether it can be read by ranges.
    pub(crate) fn has_ranges(&self, input: &Input) -> bool {
        self.form == Form::Lines && !input.is_stream() && input.compression == Compression::None
    }

    /// What the keys were taken for.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// What is held besides the block that is read: by unpacking, and of an object what comes next.
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// The namespace that the document around the records names.
    pub(crate) fn namespace(&self) -> Option<&Arc<str>> {
        self.namespace.as_ref()
    }

    /// Opens a range, or all where there are no ranges. A stream is taken, and can be opened once.
    pub(crate) fn read(&self, input: &Input, range: Range<u64>) -> Result<Reader, SourceError> {
        let Some(stream) = &self.stream else {
            return self.read_file(input, range, Limits::default());
        };
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rest) = stream.rest.take() else {
            return Err(SourceError::new(
                SourceErrorKind::Changed,
                &input.name,
                "the stream has been read and cannot be read again",
            ));
        };
        let (compression, window) = (stream.compression, stream.window);
        let head = std::mem::take(&mut stream.head.bytes);
        let start = self.form.start().min(head.len() as u64);
        let mut head = io::Cursor::new(head);
        head.set_position(start);
        let bytes = Bytes::Stream {
            stream: Box::new(head.chain(rest)),
            compression,
            window,
            ended: false,
        };
        Ok(self.reader(input, bytes, 0..u64::MAX, Limits::default()))
    }

    /// The same, but of a stream only what has been read of it to make the plan; it is not taken.
    pub(crate) fn peek(&self, input: &Input, range: Range<u64>) -> Result<Reader, SourceError> {
        let Some(stream) = &self.stream else {
            return self.read_file(input, range, Limits::default());
        };
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = stream.head.bytes(self.form.start());
        Ok(self.reader(input, bytes, 0..u64::MAX, Limits::default()))
    }

    fn read_file(
        &self,
        input: &Input,
        range: Range<u64>,
        limits: Limits,
    ) -> Result<Reader, SourceError> {
        if self.has_ranges(input) {
            let base = range.start.saturating_sub(1);
            let bytes = Bytes::open(input, base..range.end)?;
            return Ok(self.reader(input, bytes, range, limits));
        }
        let start = self.form.start();
        let mut bytes = Bytes::open(input, start..u64::MAX)?;
        if let (Bytes::Stream { stream, .. }, true) = (&mut bytes, start > 0) {
            io::copy(&mut stream.take(start), &mut io::sink())
                .map_err(|error| SourceError::io(&input.name, "unpack it", &error))?;
        }
        Ok(self.reader(input, bytes, 0..u64::MAX, limits))
    }

    /// A reader of `bytes`: of lines from a byte before the range on, else from the first record on.
    fn reader(&self, input: &Input, bytes: Bytes, range: Range<u64>, limits: Limits) -> Reader {
        let name = &input.name;
        let cutter = match &self.form {
            Form::Lines => {
                let base = range.start.saturating_sub(1);
                Cutter::Lines(LineCutter::new(name, bytes, limits, base, range))
            }
            form => Cutter::Elements {
                cutter: ElementCutter::new(name, bytes, limits, form.start(), form.is_list()),
                form: form.clone(),
            },
        };
        Reader::new(name, cutter, &self.keys)
    }
}

// === impl Stream ===

impl Stream {
    fn open(input: &Input, mut stdin: Box<dyn Read + Send>) -> Result<Self, SourceError> {
        let io = |error| SourceError::io(&input.name, "read it", &error);
        let mut magic = Vec::new();
        Read::take(&mut stdin, 4)
            .read_to_end(&mut magic)
            .map_err(io)?;
        if magic == b"PAR1" {
            return Err(SourceError::new(
                SourceErrorKind::Unsupported,
                &input.name,
                "Parquet is not read from a stream, for its footer is at the end; name the file",
            ));
        }
        let compression = Compression::of_content(&magic);
        let packed = Box::new(io::Cursor::new(magic).chain(stdin));
        let mut bytes = Bytes::unpacked(packed, compression).map_err(io)?;
        let head = Head::read(&input.name, &mut bytes, Limits::default())?;
        let Bytes::Stream { stream, window, .. } = bytes else {
            unreachable!("what is unpacked is a stream");
        };
        Ok(Self {
            head,
            rest: Some(stream),
            compression,
            window,
        })
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Stream").finish_non_exhaustive()
    }
}

// === impl Reader ===

impl Reader {
    fn new(name: &str, cutter: Cutter, keys: &Arc<Keys>) -> Self {
        Self {
            name: name.to_owned(),
            cutter,
            records: Records::new(Block::Jsonl(Box::new(Lines {
                keys: Arc::clone(keys),
                canonical: Keys::canonical(),
                chunk: Chunk::default(),
                scratch: Scratch::default(),
                changes: Changes::default(),
            }))),
        }
    }

    /// The next block of records.
    pub(crate) fn next(&mut self) -> Result<Option<&mut Records>, SourceError> {
        let Block::Jsonl(lines) = &mut self.records.block else {
            return Ok(None);
        };
        lines.changes.clear();
        lines.chunk.rows.clear();
        match &mut self.cutter {
            Cutter::Lines(cutter) => cutter.fill(&mut lines.chunk)?,
            Cutter::Elements { cutter, form } => {
                cutter.fill(&mut lines.chunk)?;
                if lines.chunk.rows.is_empty() {
                    form.check_tail(&self.name, &cutter.tail)?;
                }
            }
        }
        self.records.show_all();
        Ok((!self.records.is_empty()).then_some(&mut self.records))
    }

    /// Counts the rows, up to `most` of them, and says where the last one begins.
    pub(crate) fn count(&mut self, most: u64) -> Result<(u64, u64), SourceError> {
        let (mut count, mut last) = (0, 0);
        while count < most {
            let Some(Records {
                block: Block::Jsonl(lines),
                ..
            }) = self.next()?
            else {
                break;
            };
            for row in &lines.chunk.rows {
                if count == most {
                    break;
                }
                count += 1;
                last = row.at.locator;
            }
        }
        Ok((count, last))
    }
}

// === impl Chunk ===

impl Chunk {
    fn push(&mut self, range: Range<usize>, locator: u64, too_long: bool) {
        let row = self.next;
        self.next += 1;
        self.rows.push(Line {
            range,
            at: At { row, locator },
            too_long,
        });
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let complete = self.rows.iter().filter(|row| !row.too_long);
        complete.map(|row| &self.buffer[row.range.clone()])
    }
}

// === impl Lines ===

impl Lines {
    pub(crate) fn len(&self) -> usize {
        self.chunk.rows.len()
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The namespace and the id of a row, if it has an id that can be read.
    pub(crate) fn key(&mut self, index: usize) -> Option<(Option<&str>, &str)> {
        let line = &self.chunk.rows[index];
        if line.too_long {
            return None;
        }
        let line = &self.chunk.buffer[line.range.clone()];
        key(line, &self.keys, &self.canonical, &mut self.scratch)
    }

    pub(crate) fn text(&self, index: usize) -> &[u8] {
        &self.chunk.buffer[self.chunk.rows[index].range.clone()]
    }

    pub(crate) fn row(&mut self, index: usize) -> Row<'_> {
        let Line {
            ref range,
            at,
            too_long,
        } = self.chunk.rows[index];
        let raw = &self.chunk.buffer[range.clone()];
        let content = if too_long {
            Err(Reject::new(
                Reason::LineTooLong,
                "",
                "the line is longer than 8 MiB, the most that is read of one record",
            ))
        } else {
            parse(
                raw,
                &self.keys,
                &self.canonical,
                &mut self.scratch,
                &mut self.changes,
            )
        };
        Row {
            at,
            content: content.map_err(|reject| BadRow {
                reject,
                raw: handed_back(raw, &self.keys),
                namespace: None,
            }),
        }
    }
}
