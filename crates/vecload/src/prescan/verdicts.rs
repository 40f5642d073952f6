//! What the prescan found, as a file: which rows are superseded, and which supersede how many.
//!
//! ```text
//! | "vlprescn" | version u32 | block | block | ... | index | offset of the index u64 | xxh3 of the index u64 |
//! ```
//!
//! All numbers are little-endian; blocks and the index are postcard. Verdicts are in order, a block is
//! of one split, and the index has the first row and the checksum of each, so that the verdicts on any
//! rows are found without reading the others: what is held in memory is the index and one block for
//! each reader, however many duplicates there are. Every byte is under a checksum, and a file that is
//! damaged, of another version or of other inputs is none.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Place;
use crate::rows::RowSet;

/// The version of the form. Every other one is taken for damage: the verdicts are found again.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"vlprescn";
const HEAD: u64 = 8 + 4;
const TAIL: u64 = 8 + 8;
/// Verdicts in a block: some 12 KB on disk, and 64 KiB for a reader.
const BLOCK: usize = 4096;

/// What is known of a row whose id occurs more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verdict {
    pub(super) place: Place,
    /// How many rows this one supersedes, if it is the last one with its id; 0 if a later one has it.
    pub(super) supersedes: u64,
}

/// What a file of verdicts holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Rows whose id a later row has.
    pub(crate) superseded: u64,
    /// Ids that occur more than once.
    pub(crate) ids: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Index {
    /// What the verdicts are on.
    subject: u128,
    summary: Summary,
    blocks: Vec<BlockHead>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct BlockHead {
    split: u32,
    /// The first row of which it has a verdict, and the one after the last.
    first: u64,
    end: u64,
    offset: u64,
    bytes: u64,
    checksum: u64,
}

/// The verdicts of a run.
#[derive(Debug)]
pub(crate) struct Verdicts {
    file: File,
    index: Index,
}

/// Looks verdicts up; it remembers the block that it read last, for rows are mostly asked for in order.
#[derive(Debug, Clone)]
pub(crate) struct VerdictReader {
    verdicts: Arc<Verdicts>,
    block: Option<(usize, Vec<(u64, u64)>)>,
}

/// Why a file has no verdicts that count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoVerdicts {
    #[error("it is damaged or of another version")]
    Damaged,
    #[error("it is of other inputs or of another job")]
    OtherSubject,
    #[error(transparent)]
    Io(#[from] io::Error),
}

// === impl Verdicts ===

impl Verdicts {
    /// Writes verdicts, which come in order, into an empty file, and reads from it from now on.
    pub(super) fn write<E: From<io::Error>>(
        file: File,
        subject: u128,
        verdicts: impl Iterator<Item = Result<Verdict, E>>,
    ) -> Result<Self, E> {
        let mut out = BufWriter::new(&file);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        let mut index = Index {
            subject,
            summary: Summary::default(),
            blocks: Vec::new(),
        };
        let mut open: Vec<(u64, u64)> = Vec::with_capacity(BLOCK);
        let mut offset = HEAD;
        let mut verdicts = verdicts.peekable();
        while let Some(verdict) = verdicts.next() {
            let Verdict { place, supersedes } = verdict?;
            match supersedes {
                0 => index.summary.superseded += 1,
                _ => index.summary.ids += 1,
            }
            let split = place.split;
            open.push((place.row, supersedes));
            let goes_on = matches!(verdicts.peek(), Some(Ok(next)) if next.place.split == split);
            if open.len() == BLOCK || !goes_on {
                let head = write_block(&mut out, split, &mut open, offset)?;
                offset += head.bytes;
                index.blocks.push(head);
            }
        }
        let bytes = encoded(&index)?;
        out.write_all(&bytes)?;
        out.write_all(&offset.to_le_bytes())?;
        out.write_all(&xxh3_64_with_seed(&bytes, offset).to_le_bytes())?;
        out.flush()?;
        drop(out);
        Ok(Self { file, index })
    }

    /// Opens a file of verdicts on that subject. All of it is checked.
    pub(crate) fn open(file: File, subject: u128) -> Result<Self, NoVerdicts> {
        let size = file.metadata()?.len();
        let index_end = size.checked_sub(TAIL).filter(|end| *end >= HEAD);
        let index_end = index_end.ok_or(NoVerdicts::Damaged)?;
        let mut head = [0; HEAD as usize];
        file.read_exact_at(&mut head, 0)?;
        if !head.starts_with(MAGIC) || head[8..] != VERSION.to_le_bytes() {
            return Err(NoVerdicts::Damaged);
        }
        let number = |offset| -> io::Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(u64::from_le_bytes(bytes))
        };
        let (offset, checksum) = (number(index_end)?, number(index_end + 8)?);
        if !(HEAD..=index_end).contains(&offset) {
            return Err(NoVerdicts::Damaged);
        }
        let mut bytes = vec![0; (index_end - offset) as usize];
        file.read_exact_at(&mut bytes, offset)?;
        if xxh3_64_with_seed(&bytes, offset) != checksum {
            return Err(NoVerdicts::Damaged);
        }
        let index: Index = postcard::from_bytes(&bytes).map_err(|_| NoVerdicts::Damaged)?;
        if index.subject != subject {
            return Err(NoVerdicts::OtherSubject);
        }
        let verdicts = Self { file, index };
        for number in 0..verdicts.index.blocks.len() {
            match verdicts.block(number) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(NoVerdicts::Damaged);
                }
                block => drop(block?),
            }
        }
        Ok(verdicts)
    }

    /// How many there are.
    pub(crate) fn summary(&self) -> Summary {
        self.index.summary
    }

    /// The file, to be made durable.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The blocks that have verdicts on some of these rows.
    fn blocks(&self, split: u32, rows: &Range<u64>) -> Range<usize> {
        let blocks = &self.index.blocks;
        let from = blocks.partition_point(|head| (head.split, head.end) <= (split, rows.start));
        let to = blocks.partition_point(|head| (head.split, head.first) < (split, rows.end));
        from..to.max(from)
    }

    /// The rows of a block, each with how many it supersedes.
    fn block(&self, number: usize) -> io::Result<Vec<(u64, u64)>> {
        let damaged = || {
            let message = "the verdicts of the prescan are damaged; continue the run, and they are found again";
            io::Error::new(io::ErrorKind::InvalidData, message)
        };
        let head = self.index.blocks[number];
        let mut bytes = vec![0; usize::try_from(head.bytes).map_err(|_| damaged())?];
        self.file.read_exact_at(&mut bytes, head.offset)?;
        if xxh3_64_with_seed(&bytes, head.offset) != head.checksum {
            return Err(damaged());
        }
        let mut block: Vec<(u64, u64)> = postcard::from_bytes(&bytes).map_err(|_| damaged())?;
        let mut row = head.first;
        for (gap, _) in &mut block {
            row = row.checked_add(*gap).ok_or_else(damaged)?;
            *gap = row;
        }
        Ok(block)
    }
}

/// Writes what is open as a block; rows as their distances.
fn write_block(
    out: &mut impl io::Write,
    split: u32,
    open: &mut Vec<(u64, u64)>,
    offset: u64,
) -> io::Result<BlockHead> {
    let first = open.first().map_or(0, |(row, _)| *row);
    let end = open.last().map_or(0, |(row, _)| row + 1);
    let mut before = first;
    for (row, _) in open.iter_mut() {
        let gap = *row - before;
        before = std::mem::replace(row, gap);
    }
    let bytes = encoded(open)?;
    open.clear();
    out.write_all(&bytes)?;
    Ok(BlockHead {
        split,
        first,
        end,
        offset,
        bytes: bytes.len() as u64,
        checksum: xxh3_64_with_seed(&bytes, offset),
    })
}

fn encoded(value: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(io::Error::other)
}

// === impl VerdictReader ===

impl VerdictReader {
    /// A reader of these verdicts.
    pub(crate) fn new(verdicts: &Arc<Verdicts>) -> Self {
        Self {
            verdicts: Arc::clone(verdicts),
            block: None,
        }
    }

    /// Which of these rows of a split are superseded.
    pub(crate) fn superseded(&mut self, split: u32, rows: Range<u64>) -> io::Result<RowSet> {
        let mut superseded = RowSet::default();
        for number in self.verdicts.blocks(split, &rows) {
            let block = self.block(number)?;
            let from = block.partition_point(|(row, _)| *row < rows.start);
            let within = block[from..].iter().take_while(|(row, _)| *row < rows.end);
            for (row, supersedes) in within {
                if *supersedes == 0 {
                    superseded.insert(*row, row + 1);
                }
            }
        }
        Ok(superseded)
    }

    /// How many rows a row supersedes.
    pub(crate) fn supersedes(&mut self, split: u32, row: u64) -> io::Result<u64> {
        let Some(number) = self.verdicts.blocks(split, &(row..row + 1)).next() else {
            return Ok(0);
        };
        let block = self.block(number)?;
        let place = block.binary_search_by_key(&row, |(row, _)| *row);
        Ok(place.map_or(0, |place| block[place].1))
    }

    fn block(&mut self, number: usize) -> io::Result<&[(u64, u64)]> {
        let block = match self.block.take() {
            Some((known, block)) if known == number => block,
            _ => self.verdicts.block(number)?,
        };
        Ok(&self.block.insert((number, block)).1)
    }
}
