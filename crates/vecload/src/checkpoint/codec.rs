//! The two files of a checkpoint as bytes.
//!
//! ```text
//! snapshot: | "vlsnapsh" | version u32 | generation u64 | xxh3 u64 | state (postcard) |
//! journal:  | "vljournl" | version u32 | generation u64 | xxh3 u64 | record | record | ...
//! record:   | length u32 | xxh3 u64 | entry (postcard) |
//! ```
//!
//! All numbers are little-endian. A record's checksum is seeded with the generation and its number,
//! so that no record is taken for one that stood elsewhere, and a torn tail is found wherever it
//! was torn.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::entry::Entry;
use super::recover::State;

/// The version of both forms. A reader refuses every other one.
pub(crate) const VERSION: u32 = 3;

const SNAPSHOT: &[u8; 8] = b"vlsnapsh";
const JOURNAL: &[u8; 8] = b"vljournl";
/// Magic, version, generation, checksum.
pub(crate) const HEAD: usize = 8 + 4 + 8 + 8;
/// Length and checksum of a record.
const RECORD_HEAD: usize = 4 + 8;

/// What the head of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    version: u32,
    generation: u64,
    checksum: u64,
}

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSnapshot {
    #[error("it is damaged")]
    Damaged,
    #[error("it is of version {0} and this vecload reads version {VERSION}")]
    Version(u32),
}

/// The readable part of a journal.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) entries: Vec<Entry>,
    /// Bytes after the last good record.
    pub(crate) lost_bytes: u64,
}

// === impl Head ===

impl Head {
    fn write(magic: &[u8; 8], generation: u64, checksum: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD);
        bytes.extend_from_slice(magic);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn read<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let rest = bytes.strip_prefix(magic)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let head = Self {
            version: u32::from_le_bytes(*version),
            generation: u64::from_le_bytes(*generation),
            checksum: u64::from_le_bytes(*checksum),
        };
        Some((head, rest))
    }
}

/// A snapshot's bytes.
pub(crate) fn encode_snapshot(state: &State, generation: u64) -> postcard::Result<Vec<u8>> {
    Ok(seal_snapshot(&postcard::to_stdvec(state)?, generation))
}

/// A snapshot of what is a state by its checksum.
pub(crate) fn seal_snapshot(payload: &[u8], generation: u64) -> Vec<u8> {
    let checksum = xxh3_64_with_seed(payload, generation);
    let mut bytes = Head::write(SNAPSHOT, generation, checksum);
    bytes.extend_from_slice(payload);
    bytes
}

/// The state that a snapshot holds, and its generation.
pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<(State, u64), BadSnapshot> {
    let (head, payload) = Head::read(SNAPSHOT, bytes).ok_or(BadSnapshot::Damaged)?;
    if head.version != VERSION {
        return Err(BadSnapshot::Version(head.version));
    }
    if xxh3_64_with_seed(payload, head.generation) != head.checksum {
        return Err(BadSnapshot::Damaged);
    }
    let state: State = postcard::from_bytes(payload).map_err(|_| BadSnapshot::Damaged)?;
    Ok((state, head.generation))
}

/// The bytes with which a journal begins.
pub(crate) fn encode_journal_head(generation: u64) -> Vec<u8> {
    Head::write(JOURNAL, generation, head_checksum(VERSION, generation))
}

/// The bytes of a journal's record with that number.
pub(crate) fn encode_record(
    entry: &Entry,
    generation: u64,
    number: u64,
) -> postcard::Result<Vec<u8>> {
    let payload = postcard::to_stdvec(entry)?;
    Ok(seal_record(&payload, generation, number))
}

fn seal_record(payload: &[u8], generation: u64, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_HEAD + payload.len());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let checksum = xxh3_64_with_seed(payload, record_seed(generation, number));
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A journal of what are entries by their checksums.
#[cfg(any(test, fuzzing))]
pub(crate) fn seal_journal(payloads: &[Vec<u8>], generation: u64) -> Vec<u8> {
    let mut bytes = encode_journal_head(generation);
    for (number, payload) in (0..).zip(payloads) {
        bytes.extend(seal_record(payload, generation, number));
    }
    bytes
}

/// The entries of a journal up to the first bad one. A journal of another generation is an old one
/// and has none; one of an unknown version is refused.
pub(crate) fn decode_journal(bytes: &[u8], generation: u64) -> Result<Journal, u32> {
    let all_lost = Journal {
        entries: Vec::new(),
        lost_bytes: bytes.len() as u64,
    };
    let Some((head, mut rest)) = Head::read(JOURNAL, bytes) else {
        return Ok(all_lost);
    };
    if head.checksum != head_checksum(head.version, head.generation) {
        return Ok(all_lost);
    }
    if head.version != VERSION {
        return Err(head.version);
    }
    if head.generation != generation {
        return Ok(Journal::default());
    }
    let mut entries = Vec::new();
    while let Some((entry, after)) = decode_record(rest, generation, entries.len() as u64) {
        entries.push(entry);
        rest = after;
    }
    Ok(Journal {
        entries,
        lost_bytes: rest.len() as u64,
    })
}

fn decode_record(bytes: &[u8], generation: u64, number: u64) -> Option<(Entry, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (payload, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let sum = xxh3_64_with_seed(payload, record_seed(generation, number));
    if sum != u64::from_le_bytes(*checksum) {
        return None;
    }
    Some((postcard::from_bytes(payload).ok()?, after))
}

fn head_checksum(version: u32, generation: u64) -> u64 {
    xxh3_64_with_seed(&version.to_le_bytes(), generation)
}

fn record_seed(generation: u64, number: u64) -> u64 {
    generation.rotate_left(32) ^ number
}
