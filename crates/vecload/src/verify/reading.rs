//! The rows to compare, read again from the source and put into the form in which they were sent.
//!
//! Only splits with such rows are read. Rows pass the same rules and the same encoder as in the load, so
//! what is compared is what was sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec;

use vecload_pinecone::{IndexShape, Limits, MetadataPolicy, Scratch, append, measure};
use vecload_record::{RecordRef, Reject};
use vecload_source::{Part, Plan, SourceError, Split, SplitReader};

use super::report::{Difference, Source};
use super::sample::Wanted;
use crate::namespace::{DEFAULT_NAMESPACE, wire_name};

/// The most bytes of records that one fetch asks for: its answer is as large, and decoded some times
/// that.
const BYTES_OF_FETCH: usize = 1_000_000;
/// The most bytes of records that wait for others of their namespace.
const BYTES_OPEN: usize = 16_000_000;

/// Records of one namespace that are fetched together.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// The name on the wire.
    pub(crate) namespace: Arc<str>,
    pub(crate) records: Vec<Expected>,
    bytes: usize,
}

/// A record as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) id: String,
    pub(crate) content: Content,
    pub(crate) source: Source,
}

/// What is known of a record.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Its wire form, tag and length included.
    Wire(Vec<u8>),
    /// A hash of what it holds, and the size of its wire form.
    Hash { hash: u128, bytes: usize },
}

/// What is read at one time.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) chunks: Vec<Chunk>,
    /// Rows that were loaded and would be rejected now: the source has changed.
    pub(crate) differences: Vec<Difference>,
}

/// The rules that a load applied.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) default_namespace: String,
    pub(crate) shape: IndexShape,
    pub(crate) policy: MetadataPolicy,
}

/// Reads the rows that are wanted, a block at a time.
#[derive(Debug)]
pub(crate) struct Reader {
    plan: Arc<Plan>,
    rules: Rules,
    wanted: vec::IntoIter<Wanted>,
    reading: Option<Reading>,
    scratch: Scratch,
    open: BTreeMap<Arc<str>, Chunk>,
    open_bytes: usize,
}

/// A split that is being read.
#[derive(Debug)]
struct Reading {
    wanted: Wanted,
    reader: SplitReader,
    /// The row that comes next.
    next: u64,
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(plan: Arc<Plan>, wanted: Vec<Wanted>, rules: Rules) -> Self {
        Self {
            plan,
            wanted: wanted.into_iter(),
            reading: None,
            scratch: Scratch::new(rules.policy),
            rules,
            open: BTreeMap::new(),
            open_bytes: 0,
        }
    }

    /// Reads a block. `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, SourceError> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => match self.wanted.next() {
                Some(wanted) => Reading {
                    reader: self.plan.open(&self.plan.splits[wanted.split as usize])?,
                    wanted,
                    next: 0,
                },
                None if self.open.is_empty() => return Ok(None),
                None => {
                    let open = std::mem::take(&mut self.open);
                    return Ok(Some(Piece {
                        chunks: open.into_values().collect(),
                        differences: Vec::new(),
                    }));
                }
            },
        };
        let mut piece = Piece::default();
        if self.read_block(&mut reading, &mut piece)? {
            self.reading = Some(reading);
        }
        Ok(Some(piece))
    }

    /// Reads a block of a split and says whether there is more to be read of it.
    fn read_block(
        &mut self,
        reading: &mut Reading,
        piece: &mut Piece,
    ) -> Result<bool, SourceError> {
        let plan = Arc::clone(&self.plan);
        let split = &plan.splits[reading.wanted.split as usize];
        let Some(records) = reading.reader.next()? else {
            return Ok(false);
        };
        let first = reading.next;
        reading.next += records.len() as u64;
        for index in 0..records.len() {
            if !reading.wanted.rows.contains(first + index as u64) {
                continue;
            }
            let row = records.row(index);
            let source = source(&plan, split, row.at.locator);
            match row.content {
                Ok(record) => self.take(&record, source, piece),
                Err(bad) => {
                    let namespace = bad.namespace.unwrap_or(&self.rules.default_namespace);
                    let changed = now_rejected(namespace, None, &bad.reject, source);
                    piece.differences.push(changed);
                }
            }
        }
        Ok(reading.next < reading.wanted.rows.end())
    }

    fn take(&mut self, record: &RecordRef<'_>, source: Source, piece: &mut Piece) {
        let name = record.namespace.unwrap_or(&self.rules.default_namespace);
        let mut wire = Vec::new();
        let encoded = measure(record, &self.rules.shape, &mut self.scratch)
            .and_then(|measured| append(record, &measured, &self.scratch, &mut wire));
        if let Err(reject) = encoded {
            let changed = now_rejected(name, Some(record.id), &reject, source);
            piece.differences.push(changed);
            return;
        }
        let name = wire_name(name);
        let name = match self.open.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        };
        let chunk = self
            .open
            .entry(Arc::clone(&name))
            .or_insert_with(|| Chunk::of(Arc::clone(&name)));
        self.open_bytes += wire.len();
        chunk.bytes += wire.len();
        chunk.records.push(Expected {
            id: record.id.to_owned(),
            content: Content::Wire(wire),
            source,
        });
        if chunk.is_full() {
            self.close(&name, piece);
        } else if self.open_bytes > BYTES_OPEN {
            let largest = self.open.values().max_by_key(|chunk| chunk.bytes);
            if let Some(name) = largest.map(|chunk| Arc::clone(&chunk.namespace)) {
                self.close(&name, piece);
            }
        }
    }

    fn close(&mut self, namespace: &str, piece: &mut Piece) {
        if let Some(chunk) = self.open.remove(namespace) {
            self.open_bytes -= chunk.bytes;
            piece.chunks.push(chunk);
        }
    }
}

// === impl Content ===

impl Content {
    /// The size of the wire form.
    fn bytes(&self) -> usize {
        match self {
            Self::Wire(wire) => wire.len(),
            Self::Hash { bytes, .. } => *bytes,
        }
    }
}

// === impl Chunk ===

impl Chunk {
    fn of(namespace: Arc<str>) -> Self {
        Self {
            namespace,
            ..Self::default()
        }
    }

    /// Records that belong to a namespace, in chunks.
    pub(crate) fn of_records(namespace: &Arc<str>, records: Vec<Expected>) -> Vec<Self> {
        let mut chunks = vec![Self::of(Arc::clone(namespace))];
        for record in records {
            if chunks.last().is_none_or(Self::is_full) {
                chunks.push(Self::of(Arc::clone(namespace)));
            }
            if let Some(chunk) = chunks.last_mut() {
                chunk.bytes += record.content.bytes();
                chunk.records.push(record);
            }
        }
        chunks
    }

    fn is_full(&self) -> bool {
        self.records.len() >= Limits::FETCH_IDS || self.bytes >= BYTES_OF_FETCH
    }

    /// The name that people see.
    pub(crate) fn name(&self) -> &str {
        match &*self.namespace {
            "" => DEFAULT_NAMESPACE,
            name => name,
        }
    }
}

fn source(plan: &Plan, split: &Split, locator: u64) -> Source {
    let file = plan.inputs[split.input as usize].name.clone();
    let (row, offset) = match split.part {
        Part::RowGroup { .. } => (Some(locator), None),
        Part::ByteRange { .. } => (None, Some(locator)),
    };
    Source { file, row, offset }
}

fn now_rejected(namespace: &str, id: Option<&str>, reject: &Reject, source: Source) -> Difference {
    let namespace = match wire_name(namespace) {
        "" => DEFAULT_NAMESPACE,
        name => name,
    };
    Difference {
        namespace: namespace.to_owned(),
        id: id.map(str::to_owned),
        field: "source".to_owned(),
        expected: "the record that was loaded".to_owned(),
        found: format!("a row that is rejected: {reject}"),
        source: Some(source),
    }
}
