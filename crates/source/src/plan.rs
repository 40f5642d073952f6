//! From inputs to splits.
//!
//! A split is what one worker reads in one go: a row group of a Parquet file or a range of bytes of a
//! JSONL file. The plan holds what is needed to open any of them (the footers of Parquet files, read
//! once) and is the same for the same inputs and settings, so that a run that is continued finds its
//! splits again by their numbers.
//!
//! JSONL files are not read to be planned: a range owns the lines that begin in it, so that any
//! offset serves as a boundary.

use crate::{
    SourceError,
    discover::{Format, Input},
    jsonl,
    parquet::{HEADERS, ParquetInput},
    reader::SplitReader,
};

/// The columns (Parquet) or keys (JSONL) that hold the parts of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The id. Every input has it.
    pub id: String,
    /// The dense vector.
    pub values: String,
    /// The sparse vector.
    pub sparse_values: String,
    /// The metadata.
    pub metadata: String,
    /// The namespace, if records name their own.
    pub namespace: Option<String>,
}

/// How to plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSettings {
    /// Where the parts of a record are.
    pub columns: Columns,
    /// How many bytes of a JSONL file make a split.
    pub split_bytes: u64,
    /// Whether to read columns of Parquet files that unpack to more than a thousand times their size.
    pub allow_large: bool,
}

/// What is to be read, in an order that does not change.
#[derive(Debug)]
pub struct Plan {
    /// The inputs, in order.
    pub inputs: Vec<Input>,
    /// The splits, in the order of inputs and of rows; a split's number is its place here.
    pub splits: Vec<Split>,
    columns: Columns,
    /// Of each input what opening a split needs.
    opened: Vec<Opened>,
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
    /// The lines of a JSONL file that begin in `start..end`.
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
    Jsonl,
}

// === impl Columns ===

impl Default for Columns {
    fn default() -> Self {
        Self {
            id: "id".into(),
            values: "values".into(),
            sparse_values: "sparse_values".into(),
            metadata: "metadata".into(),
            namespace: None,
        }
    }
}

impl Columns {
    /// The columns of dead letters: the canonical ones, and the namespace of each record.
    pub(crate) fn of_dead_letters() -> Self {
        Self {
            namespace: Some("namespace".into()),
            ..Self::default()
        }
    }
}

// === impl PlanSettings ===

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            columns: Columns::default(),
            split_bytes: 64 << 20,
            allow_large: false,
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Plans the reading of `inputs`. Opens each Parquet file and reads its footer.
    ///
    /// # Errors
    ///
    /// If an input cannot be read, is damaged, or does not have the columns.
    pub fn new(inputs: Vec<Input>, settings: &PlanSettings) -> Result<Self, SourceError> {
        let mut plan = Self {
            inputs: Vec::with_capacity(inputs.len()),
            splits: Vec::new(),
            columns: settings.columns.clone(),
            opened: Vec::with_capacity(inputs.len()),
        };
        let mut headers = HEADERS;
        for input in inputs {
            let opened = match input.format {
                Format::Parquet => {
                    let opened = ParquetInput::open(&input, settings, &mut headers)?;
                    for group in opened.row_groups() {
                        plan.push(group.part, group.bytes, Some(group.rows));
                    }
                    Opened::Parquet(Box::new(opened))
                }
                Format::Jsonl => {
                    let step = settings.split_bytes.max(1);
                    let mut start = 0;
                    while start < input.bytes {
                        let end = start.saturating_add(step).min(input.bytes);
                        plan.push(Part::ByteRange { start, end }, end - start, None);
                        start = end;
                    }
                    Opened::Jsonl
                }
            };
            plan.inputs.push(input);
            plan.opened.push(opened);
        }
        Ok(plan)
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

    /// How many rows there are, if that is known without reading them.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        self.splits
            .iter()
            .try_fold(0_u64, |sum, split| Some(sum.saturating_add(split.rows?)))
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
            Opened::Jsonl => 0,
        });
        pages.max().unwrap_or(0)
    }

    /// Opens a split of this plan for reading.
    ///
    /// # Errors
    ///
    /// If the input cannot be opened or is no longer what it was when the plan was made.
    ///
    /// # Panics
    ///
    /// If the split is not of this plan.
    pub fn open(&self, split: &Split) -> Result<SplitReader, SourceError> {
        let input = &self.inputs[split.input as usize];
        match (&self.opened[split.input as usize], split.part) {
            (Opened::Parquet(opened), Part::RowGroup { index, first_row }) => opened
                .read(input, index, first_row)
                .map(SplitReader::parquet),
            (Opened::Jsonl, Part::ByteRange { start, end }) => {
                jsonl::Reader::open(input, &self.columns, start..end).map(SplitReader::jsonl)
            }
            (_, part) => panic!("split {} with {part:?} is not of this plan", split.id),
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
mod tests {
    use std::fs;

    use super::*;
    use crate::{Discovery, discover};

    /// Scenario: JSONL files, an empty one among them, planned twice and read split by split.
    /// Guarantees: splits are numbered in order and cover each file once; both plans are equal; every
    /// row is read once.
    #[test]
    fn splits_cover_the_inputs() {
        let root = tempfile::TempDir::new().unwrap();
        for (name, rows) in [("a.jsonl", 40), ("b.jsonl", 0), ("c.jsonl", 7)] {
            let lines: String = (0..rows).map(|row| format!("{{\"id\":{row}}}\n")).collect();
            fs::write(root.path().join(name), lines).unwrap();
        }
        let argument = root.path().to_str().unwrap().to_owned();
        let inputs = discover(&[argument], &Discovery::default()).unwrap();
        let settings = PlanSettings {
            split_bytes: 50,
            ..PlanSettings::default()
        };
        let plan = Plan::new(inputs.clone(), &settings).unwrap();
        assert_eq!(plan.splits, Plan::new(inputs, &settings).unwrap().splits);
        assert_eq!(plan.rows(), None);
        assert_eq!(
            plan.bytes(),
            plan.inputs.iter().map(|input| input.bytes).sum::<u64>()
        );
        let mut ids = Vec::new();
        for (number, split) in (0..).zip(&plan.splits) {
            assert_eq!(split.id, number);
            let mut reader = plan.open(split).unwrap();
            while let Some(records) = reader.next().unwrap() {
                for index in 0..records.len() {
                    let id = records.row(index).content.unwrap().id.to_owned();
                    ids.push((split.input, id));
                }
            }
        }
        let expected = [(0, 40), (2, 7)];
        let expected = expected.into_iter().flat_map(|(input, rows): (u32, u32)| {
            (0..rows).map(move |row| (input, row.to_string()))
        });
        assert!(ids.into_iter().eq(expected));
    }
}
