//! From inputs to splits.
//!
//! A split is what one worker reads in one go: a row group of a Parquet file or a range of bytes of a
//! JSONL file. The plan holds what is needed to open any of them (the footers of Parquet files, read
//! once) and is the same for the same inputs and settings, so that a run that is continued finds its
//! splits again by their numbers.
//!
//! JSONL files are not read to be planned, but for their first lines, which tell the keys: a range
//! owns the lines that begin in it, so that any offset serves as a boundary. A limit of rows is the
//! exception: the rows that it lets through are counted, in order, and what is behind them is not in
//! the plan.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    sync::Arc,
};

use crate::{
    Columns, Mapping, SourceError, SourceErrorKind,
    discover::{Compression, Format, Input, Origin},
    jsonl::JsonlInput,
    parquet::{HEADERS, ParquetInput},
    reader::{KeyReader, SplitReader},
};

/// How to plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSettings {
    /// Where the parts of a record are.
    pub columns: Columns,
    /// How many bytes of a JSONL file make a split.
    pub split_bytes: u64,
    /// The most bytes that a page of a Parquet file may take, in the file or unpacked; and what a column
    /// of a row group may unpack to if that is more than a thousand times its size.
    pub max_page: u64,
    /// What timestamps and dates become in metadata.
    pub timestamps: Timestamps,
    /// How many rows to read of all inputs together, in their order; the rest is left out.
    pub limit: Option<u64>,
}

/// What timestamps and dates of Parquet files become in metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Timestamps {
    /// Seconds since 1970, a number: filters range over numbers.
    #[default]
    EpochSeconds,
    /// RFC 3339 text; what has no zone is taken as UTC.
    Rfc3339,
}

/// What is to be read, in an order that does not change.
#[derive(Debug)]
pub struct Plan {
    /// The inputs, in order.
    pub inputs: Vec<Input>,
    /// The splits, in the order of inputs and of rows; a split's number is its place here.
    pub splits: Vec<Split>,
    /// Of each input what opening a split needs.
    opened: Vec<Opened>,
    /// Of each input what the limit leaves out.
    filtered: Vec<Filtered>,
    /// The split that is not read to its end, and how many of its rows are.
    cut: Option<(u32, u64)>,
}

/// What of an input a limit leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filtered {
    /// How many rows, where that is known without reading them.
    pub rows: Option<u64>,
    /// How many bytes of the file, as far as that is known: not of one that is packed and was begun,
    /// nor of a stream.
    pub bytes: u64,
}

/// A part of an input: the unit of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Its number in the plan.
    pub id: u32,
    /// The number of its input.
    pub input: u32,
    /// Which part of the input.
    pub part: Part,
    /// How many bytes of the file are read for it.
    pub bytes: u64,
    /// How many rows it has, where that is known without reading it.
    pub rows: Option<u64>,
}

/// Which part of an input a split is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A row group of a Parquet file.
    RowGroup {
        /// Its number in the file, from 0.
        index: u32,
        /// The number in the file of its first row.
        first_row: u64,
    },
    /// The lines of a JSONL file that begin in `start..end`; all of a file that is compressed or is one
    /// document, and of a stream, whose end is not known.
    ByteRange {
        /// The first byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
}

#[derive(Debug)]
enum Opened {
    Parquet(Box<ParquetInput>),
    Jsonl(Box<JsonlInput>),
}

// === impl PlanSettings ===

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            columns: Columns::default(),
            split_bytes: 64 << 20,
            max_page: 256 << 20,
            timestamps: Timestamps::default(),
            limit: None,
        }
    }
}

// === impl Filtered ===

impl Filtered {
    /// Nothing is left out.
    pub const NOTHING: Self = Self {
        rows: Some(0),
        bytes: 0,
    };

    fn add(&mut self, rows: Option<u64>, bytes: u64) {
        self.rows = self
            .rows
            .zip(rows)
            .map(|(sum, rows)| sum.saturating_add(rows));
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

// === impl Plan ===

impl Plan {
    /// Plans the reading of `inputs`. Opens each Parquet file and reads its footer, and of each JSONL
    /// file the first lines.
    ///
    /// # Errors
    ///
    /// If an input cannot be read, is damaged, does not have the columns, or has two that may be meant.
    pub fn new(inputs: Vec<Input>, settings: &PlanSettings) -> Result<Self, SourceError> {
        Self::with_stdin(inputs, settings, Box::new(io::stdin()))
    }

    /// The same, with something else for the standard input.
    ///
    /// # Errors
    ///
    /// As [`Plan::new`].
    pub fn with_stdin(
        inputs: Vec<Input>,
        settings: &PlanSettings,
        stdin: Box<dyn Read + Send>,
    ) -> Result<Self, SourceError> {
        let mut plan = Self {
            inputs: Vec::with_capacity(inputs.len()),
            splits: Vec::new(),
            opened: Vec::with_capacity(inputs.len()),
            filtered: Vec::with_capacity(inputs.len()),
            cut: None,
        };
        let mut stdin = Some(stdin);
        let mut headers = HEADERS;
        let mut rest = settings.limit;
        for input in inputs {
            plan.filtered.push(Filtered::NOTHING);
            match input.format {
                Format::Parquet => {
                    if input.is_stream() {
                        return Err(SourceError::new(
                            SourceErrorKind::Unsupported,
                            &input.name,
                            "Parquet is not read from a stream, for its footer is at the end; name the file",
                        ));
                    }
                    let opened = ParquetInput::open(&input, settings, &mut headers)?;
                    for group in opened.row_groups() {
                        plan.push_rows(group.part, group.bytes, group.rows, &mut rest);
                    }
                    plan.opened.push(Opened::Parquet(Box::new(opened)));
                }
                Format::Jsonl => {
                    let stdin = stdin.take_if(|_| input.is_stream());
                    let opened = JsonlInput::open(&input, settings, stdin)?;
                    let step = match opened.has_ranges(&input) {
                        true => settings.split_bytes.max(1),
                        false => u64::MAX,
                    };
                    // A stream has a split although it has no size.
                    let size = if input.is_stream() {
                        u64::MAX
                    } else {
                        input.bytes
                    };
                    let mut start = 0;
                    while start < size {
                        let end = start.saturating_add(step).min(size);
                        plan.push_range(&input, &opened, start..end, &mut rest)?;
                        start = end;
                    }
                    plan.opened.push(Opened::Jsonl(Box::new(opened)));
                }
            }
            plan.inputs.push(input);
        }
        Ok(plan)
    }

    /// Adds a split of so many rows, or what the limit leaves of it.
    fn push_rows(&mut self, part: Part, bytes: u64, rows: u64, rest: &mut Option<u64>) {
        let taken = rest.map_or(rows, |rest| rest.min(rows));
        let left = rows - taken;
        if taken == 0 {
            self.filter(Some(left), bytes);
            return;
        }
        if left > 0 {
            self.filter(Some(left), 0);
            self.cut = Some((number(self.splits.len()), taken));
        }
        *rest = rest.map(|rest| rest - taken);
        self.push(part, bytes, Some(taken));
    }

    /// Adds a split of an unknown number of rows. With a limit they are counted; a stream is cut short
    /// while it is read, so that nothing can follow it.
    fn push_range(
        &mut self,
        input: &Input,
        opened: &JsonlInput,
        range: std::ops::Range<u64>,
        rest: &mut Option<u64>,
    ) -> Result<(), SourceError> {
        let part = Part::ByteRange {
            start: range.start,
            end: range.end,
        };
        let is_stream = input.is_stream();
        let bytes = if is_stream {
            0
        } else {
            range.end - range.start
        };
        let Some(limit) = *rest else {
            self.push(part, bytes, None);
            return Ok(());
        };
        if limit == 0 {
            self.filter(None, bytes);
            return Ok(());
        }
        if is_stream {
            self.cut = Some((number(self.splits.len()), limit));
            self.filter(None, 0);
            *rest = Some(0);
            self.push(part, bytes, None);
            return Ok(());
        }
        // One more tells whether any are left out.
        let more = limit.saturating_add(1);
        let end = range.end;
        let (found, last) = opened.read(input, range)?.count(more)?;
        if found > limit {
            let is_packed = input.compression != Compression::None;
            self.filter(
                None,
                if is_packed {
                    0
                } else {
                    end.saturating_sub(last)
                },
            );
            self.cut = Some((number(self.splits.len()), limit));
        }
        let taken = found.min(limit);
        *rest = Some(limit - taken);
        self.push(part, bytes, Some(taken));
        Ok(())
    }

    /// Adds a split of the input that is being planned.
    fn push(&mut self, part: Part, bytes: u64, rows: Option<u64>) {
        self.splits.push(Split {
            id: number(self.splits.len()),
            input: number(self.inputs.len()),
            part,
            bytes,
            rows,
        });
    }

    /// Leaves out a part of the input that is being planned.
    fn filter(&mut self, rows: Option<u64>, bytes: u64) {
        if let Some(filtered) = self.filtered.last_mut() {
            filtered.add(rows, bytes);
        }
    }

    /// What the columns were taken for: a line for each kind of input, with one of its inputs and how
    /// many there are. Most plans have one.
    #[must_use]
    pub fn mappings(&self) -> Vec<(&Mapping, &Input, usize)> {
        let mut found: Vec<(&Mapping, &Input, usize)> = Vec::new();
        for (input, opened) in self.inputs.iter().zip(&self.opened) {
            let mapping = opened.mapping();
            match found.iter_mut().find(|known| known.0 == mapping) {
                Some(known) => known.2 += 1,
                None => found.push((mapping, input, 1)),
            }
        }
        found
    }

    /// What the columns of an input were taken for.
    ///
    /// # Panics
    ///
    /// If there is no input of that number.
    #[must_use]
    pub fn mapping(&self, input: u32) -> &Mapping {
        self.opened[input as usize].mapping()
    }

    /// What the limit leaves out of each input.
    #[must_use]
    pub fn filtered(&self) -> &[Filtered] {
        &self.filtered
    }

    /// The directories below those named that may be meant as namespaces, as in the layout of
    /// Pinecone's import, and that were not taken for them. (Partitions such as `year=2024` and the
    /// `documents` of pinecone-datasets are none.)
    #[must_use]
    pub fn ignored_directories(&self) -> Vec<&str> {
        let ignored = self.inputs.iter().filter(|input| input.namespace.is_none());
        let names: BTreeSet<&str> = ignored
            .filter_map(|input| input.directory.as_deref())
            .filter(|name| !name.contains('=') && *name != "documents")
            .collect();
        names.into_iter().collect()
    }

    /// How many rows there are, if that is known without reading them.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        self.splits
            .iter()
            .try_fold(0_u64, |sum, split| Some(sum.saturating_add(split.rows?)))
    }

    /// The input that can be read but once, if there is one.
    #[must_use]
    pub fn stream(&self) -> Option<&Input> {
        self.inputs.iter().find(|input| input.is_stream())
    }

    /// How many bytes are read for all splits.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.splits
            .iter()
            .fold(0, |sum, split| sum.saturating_add(split.bytes))
    }

    /// The most bytes that one worker holds of pages, as they stand in the files and unpacked: of each
    /// column read the largest page, and of all inputs the one where these are largest. Of row groups
    /// whose page headers are too many to be read, the whole column counts.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        let pages = self.opened.iter().map(|opened| match opened {
            Opened::Parquet(opened) => opened.page_bytes(),
            // Lines have no pages; what is held of them is within what every worker may hold.
            Opened::Jsonl(opened) => opened.window(),
        });
        pages.max().unwrap_or(0)
    }

    /// Ends the waiting for object stores, now and later, with an error.
    pub fn abandon(&self) {
        for input in &self.inputs {
            if let Origin::Object(object) = &input.origin {
                object.stores().abandon();
            }
        }
    }

    /// Opens a split of this plan for reading. A stream can be opened once.
    ///
    /// # Errors
    ///
    /// If the input cannot be opened or is no longer what it was when the plan was made.
    ///
    /// # Panics
    ///
    /// If the split is not of this plan.
    pub fn open(&self, split: &Split) -> Result<SplitReader, SourceError> {
        self.reader(split, ParquetInput::read, JsonlInput::read)
    }

    /// Opens a split to read the keys of its rows only. The rows are those of [`Plan::open`].
    ///
    /// # Errors
    ///
    /// As [`Plan::open`]. A stream that has been read for its keys cannot be read again.
    ///
    /// # Panics
    ///
    /// As [`Plan::open`].
    pub fn open_keys(&self, split: &Split) -> Result<KeyReader, SourceError> {
        let reader = self.reader(split, ParquetInput::read_keys, JsonlInput::read)?;
        Ok(KeyReader::new(reader))
    }

    /// How many bytes of its file [`Plan::open_keys`] reads of a split.
    ///
    /// # Panics
    ///
    /// If the split is not of this plan.
    #[must_use]
    pub fn key_bytes(&self, split: &Split) -> u64 {
        match (&self.opened[split.input as usize], split.part) {
            (Opened::Parquet(opened), Part::RowGroup { index, .. }) => opened.key_bytes(index),
            _ => split.bytes,
        }
    }

    /// Opens a split to look at its first rows. Of a stream there are only those that have been read
    /// to make the plan, and it is as if they had not been.
    ///
    /// # Errors
    ///
    /// As [`Plan::open`].
    ///
    /// # Panics
    ///
    /// As [`Plan::open`].
    pub fn peek(&self, split: &Split) -> Result<SplitReader, SourceError> {
        self.reader(split, ParquetInput::read, JsonlInput::peek)
    }

    fn reader(
        &self,
        split: &Split,
        parquet: impl Fn(&ParquetInput, &Input, u32, u64) -> Result<crate::parquet::Reader, SourceError>,
        jsonl: impl Fn(
            &JsonlInput,
            &Input,
            std::ops::Range<u64>,
        ) -> Result<crate::jsonl::Reader, SourceError>,
    ) -> Result<SplitReader, SourceError> {
        let input = &self.inputs[split.input as usize];
        let opened = &self.opened[split.input as usize];
        let reader = match (opened, split.part) {
            (Opened::Parquet(opened), Part::RowGroup { index, first_row }) => {
                SplitReader::parquet(parquet(opened, input, index, first_row)?)
            }
            (Opened::Jsonl(opened), Part::ByteRange { start, end }) => {
                SplitReader::jsonl(jsonl(opened, input, start..end)?)
            }
            (_, part) => panic!("split {} with {part:?} is not of this plan", split.id),
        };
        let named = match opened {
            Opened::Jsonl(opened) => opened.namespace().cloned(),
            Opened::Parquet(_) => None,
        };
        let reader =
            reader.in_namespace(named.or_else(|| input.namespace.as_deref().map(Arc::from)));
        Ok(match self.cut {
            Some((cut, rows)) if cut == split.id => reader.limited(rows),
            _ => reader,
        })
    }
}

// === impl Opened ===

impl Opened {
    fn mapping(&self) -> &Mapping {
        match self {
            Self::Parquet(opened) => opened.mapping(),
            Self::Jsonl(opened) => opened.mapping(),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "2^32 splits of 64 MiB are more bytes than file systems hold"
)]
fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 splits")
}

#[cfg(test)]
mod tests;
