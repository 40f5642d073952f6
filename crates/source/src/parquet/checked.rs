//! Pages that are read only once their headers have been looked at.
//!
//! The `parquet` crate takes memory by what a page's header states: it unpacks as much as that says, or
//! (gzip, brotli, LZ4 frames) as there is, whatever that says, and makes room for as many entries of a
//! dictionary. Here every header is read first, by [`PageHeader`], where the crate asks the file for it;
//! and no bytes of a page are given out whose header was not.

use std::{
    io::{Cursor, Read},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::{
    basic::{Compression, Type as Physical},
    errors::ParquetError,
    file::{
        metadata::RowGroupMetaData,
        reader::{ChunkReader, Length},
    },
};

use super::{
    Chunks,
    page_header::{PageHeader, PageKind},
    pages, range,
    schema::Roles,
};

/// A value of a list takes so much while its row is put together: two levels and itself.
const LIST_VALUE_BYTES: u64 = 4;

/// The pages of a row group's columns. Clones share what they know.
#[derive(Clone)]
pub(super) struct CheckedPages {
    chunks: Chunks,
    columns: Arc<[Column]>,
    max_page: u64,
    state: Arc<Mutex<State>>,
}

/// A column chunk.
struct Column {
    name: String,
    range: Range<u64>,
    codec: Compression,
    is_list: bool,
    /// What an entry of a dictionary takes at least.
    entry_bytes: u64,
}

#[derive(Default)]
struct State {
    /// Where pages are that will be asked for: their headers have been read.
    awaited: Vec<(u64, PageHeader)>,
    /// Of each column how many values the pages of this batch have.
    values: Vec<u64>,
    refusal: Option<PageRefusal>,
}

/// Why a page is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageRefusal {
    #[error(
        "a page of column {column} takes {bytes} bytes, more than the {most} of max_page; if you trust the file, allow larger pages"
    )]
    Page {
        column: String,
        bytes: u64,
        most: u64,
    },
    #[error(
        "lists of column {column} have {values} values or more, which take more than the {most} bytes of max_page; if you trust the file, allow larger pages"
    )]
    Lists {
        column: String,
        values: u64,
        most: u64,
    },
    #[error(
        "the header of a page of column {column} {what}; the file is damaged: write it again from its source"
    )]
    Lie { column: String, what: String },
}

// === impl CheckedPages ===

impl CheckedPages {
    /// The pages of the columns that `roles` are taken from.
    pub(super) fn new(
        chunks: Chunks,
        group: &RowGroupMetaData,
        roles: &Roles,
        max_page: u64,
    ) -> Self {
        let columns: Arc<[Column]> = roles
            .chunks(group)
            .map(|(_, column)| Column {
                name: column.column_path().to_string(),
                range: range(column),
                codec: column.compression(),
                is_list: column.column_descr().max_rep_level() > 0,
                entry_bytes: match column.column_type() {
                    Physical::BOOLEAN => 1,
                    Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 4,
                    Physical::INT64 | Physical::DOUBLE => 8,
                    Physical::INT96 => 12,
                    Physical::FIXED_LEN_BYTE_ARRAY => column
                        .column_descr()
                        .type_length()
                        .max(1)
                        .unsigned_abs()
                        .into(),
                },
            })
            .collect();
        Self {
            chunks,
            columns,
            max_page,
            state: Arc::default(),
        }
    }

    /// What follows is another batch of rows.
    pub(super) fn begin_batch(&self) {
        self.state().values.clear();
    }

    /// What follows is read by another reader.
    pub(super) fn begin_again(&self) {
        *self.state() = State::default();
    }

    /// Why the last page was not read, if it was refused here.
    pub(super) fn refusal(&self) -> Option<PageRefusal> {
        self.state().refusal.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The columns that have a byte: one, but for files that lie.
    fn columns_at(&self, position: u64) -> impl Iterator<Item = (usize, &Column)> {
        let columns = self.columns.iter().enumerate();
        columns.filter(move |(_, column)| column.range.contains(&position))
    }

    fn refuse(&self, refusal: PageRefusal) -> ParquetError {
        let error = ParquetError::General(refusal.to_string());
        self.state().refusal = Some(refusal);
        error
    }

    fn lie(&self, position: u64, what: impl Into<String>) -> ParquetError {
        let column = self.columns_at(position).next();
        self.refuse(PageRefusal::Lie {
            column: column
                .map(|(_, column)| column.name.clone())
                .unwrap_or_default(),
            what: what.into(),
        })
    }

    /// Reads the header at `start` and refuses what must not be unpacked; gives its bytes.
    fn check(&self, start: u64) -> Result<Vec<u8>, ParquetError> {
        let mut read = Vec::new();
        let header = pages::header(&self.chunks, start, self.chunks.len(), &mut read)?;
        let Some(header) = header else {
            return Err(self.lie(start, "cannot be read"));
        };
        for (index, column) in self.columns_at(start) {
            let name = || column.name.clone();
            let bytes = header.unpacked.max(header.stored);
            if bytes > self.max_page {
                return Err(self.refuse(PageRefusal::Page {
                    column: name(),
                    bytes,
                    most: self.max_page,
                }));
            }
            if most_unpacked(column.codec, header.stored).is_some_and(|most| header.unpacked > most)
            {
                let what = format!(
                    "states that its {} bytes unpack to {}, more than {} can",
                    header.stored, header.unpacked, column.codec
                );
                return Err(self.lie(start, what));
            }
            let dictionary_bytes = header.values.saturating_mul(column.entry_bytes);
            if header.kind == PageKind::Dictionary
                && dictionary_bytes > header.unpacked.max(header.stored)
            {
                let what = format!(
                    "states more entries, {}, than it has room for",
                    header.values
                );
                return Err(self.lie(start, what));
            }
            if header.kind == PageKind::Data && column.is_list {
                let values = {
                    let mut state = self.state();
                    state.values.resize(self.columns.len(), 0);
                    let values = &mut state.values[index];
                    *values = values.saturating_add(header.values);
                    *values
                };
                if values.saturating_mul(LIST_VALUE_BYTES) > self.max_page {
                    return Err(self.refuse(PageRefusal::Lists {
                        column: name(),
                        values,
                        most: self.max_page,
                    }));
                }
            }
        }
        if header.kind != PageKind::Index {
            let at = start.saturating_add(header.bytes);
            self.state().awaited.push((at, header));
        }
        read.truncate(usize::try_from(header.bytes)?);
        Ok(read)
    }
}

impl Length for CheckedPages {
    fn len(&self) -> u64 {
        self.chunks.len()
    }
}

impl ChunkReader for CheckedPages {
    /// A header, so that the crate reads the very bytes that were looked at.
    type T = Cursor<Vec<u8>>;

    /// Asked for where a header is; and once more where its page is, and then not read from, if the
    /// header was looked at ahead.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let is_awaited = self.state().awaited.iter().any(|(at, _)| *at == start);
        let header = match is_awaited {
            true => Vec::new(),
            false => self.check(start)?,
        };
        Ok(Cursor::new(header))
    }

    /// Asked for where a page is.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let header = {
            let awaited = &mut self.state().awaited;
            let found = awaited
                .iter()
                .position(|(at, header)| *at == start && header.stored == length as u64);
            found.map(|found| awaited.swap_remove(found).1)
        };
        let Some(header) = header else {
            return Err(self.lie(start, "cannot be told from what it is read by"));
        };
        let bytes = self.chunks.get_bytes(start, length)?;
        if header.is_packed {
            let packed = bytes
                .get(usize::try_from(header.plain)?..)
                .unwrap_or_default();
            let most = header.unpacked.saturating_sub(header.plain);
            for (_, column) in self.columns_at(start) {
                if unpacks_to_more(column.codec, packed, most) {
                    let what = format!("states {} bytes, and it unpacks to more", header.unpacked);
                    return Err(self.lie(start, what));
                }
            }
        }
        Ok(bytes)
    }
}

// === impl PageRefusal ===

impl PageRefusal {
    /// Whether the file may be sound, only too large.
    pub(super) fn is_of_size(&self) -> bool {
        !matches!(self, Self::Lie { .. })
    }
}

/// The most that so many bytes can unpack to, of codecs that are unpacked into zeros of the size that
/// is stated: a copy of 64 bytes takes 3 in snappy, and one of 255 takes 1 in LZ4.
fn most_unpacked(codec: Compression, stored: u64) -> Option<u64> {
    match codec {
        Compression::SNAPPY => Some(stored.saturating_mul(22)),
        Compression::LZ4 | Compression::LZ4_RAW => Some(stored.saturating_mul(255)),
        _ => None,
    }
}

/// Whether `packed` unpacks to more than `most` bytes, of codecs that the `parquet` crate unpacks to
/// their end whatever the header states. Damage is left to that crate to find.
fn unpacks_to_more(codec: Compression, packed: &[u8], most: u64) -> bool {
    match codec {
        Compression::GZIP(_) => has_more(MultiGzDecoder::new(packed), most),
        Compression::BROTLI(_) => has_more(brotli::Decompressor::new(packed, 4096), most),
        Compression::LZ4 => has_more(lz4_flex::frame::FrameDecoder::new(packed), most),
        _ => false,
    }
}

fn has_more(mut unpacked: impl Read, most: u64) -> bool {
    let mut buffer = [0; 16 << 10];
    let mut count = 0_u64;
    while count <= most {
        match unpacked.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(read) => count += read as u64,
        }
    }
    true
}
