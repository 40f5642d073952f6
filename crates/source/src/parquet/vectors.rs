//! Vectors straight from the pages of their column.
//!
//! The values of a PLAIN page of float32 are, in their order, the packed floats that the wire carries.
//! So they are lent as they stand in the page, and what a general reader of lists does to them (levels
//! written out, values copied, lists assembled) is left undone. Pages with a dictionary, which writers
//! put before PLAIN ones, are gathered.
//!
//! That is for the plain form alone: no row null, all lists of the length that the footer implies, no
//! element null, in data pages of version 1 or 2. Whatever is otherwise, be it another encoding or
//! damage, ends the reading here, and whoever reads has to go on with the arrow reader. This module
//! therefore has no errors of its own to tell.
//!
//! One page is held at a time: rows are given out up to the end of a page, and what a page has of its
//! last row, which may go on in the next one, is copied.

use std::mem;

use bytes::{Buf, Bytes};
use parquet::{
    basic::{Encoding, Type as Physical},
    column::page::{Page, PageReader},
    errors::ParquetError,
    file::{metadata::RowGroupMetaData, serialized_reader::SerializedPageReader},
};
use vecload_record::Dense;

use super::{
    CheckedPages,
    hybrid::{self, Run},
};

/// 1 MiB of values. No service takes longer vectors, and what is held of a row is to be bounded.
const MAX_DIMENSION: u64 = 1 << 18;

/// Reads the vectors of a row group.
pub(super) struct VectorPages {
    pages: SerializedPageReader<CheckedPages>,
    dimension: usize,
    /// The definition level of an element that is not null, and the bits that levels have.
    present: u32,
    level_bits: u32,
    /// float32 values; empty before there is a dictionary.
    dictionary: Bytes,
    page: Values,
    /// How many values of the page have not been given out.
    rest: usize,
    /// What earlier pages have of the next row.
    head: Vec<u8>,
}

/// The values of a page, from the first that has not been given out.
enum Values {
    Plain(Bytes),
    /// Runs of indices, of the first of which so many values have been given out.
    Indices {
        runs: Bytes,
        bits: u32,
        taken: usize,
    },
}

/// What comes next in a column chunk.
enum Turn {
    /// A page in the plain form.
    Plain,
    /// Something else.
    Other,
    End,
}

/// The parts of a data page.
struct DataPage {
    /// How many values it states, and rows if it does.
    count: usize,
    rows: Option<usize>,
    encoding: Encoding,
    repetition: Bytes,
    definition: Bytes,
    values: Bytes,
}

/// Vectors of one length, one after another.
#[derive(Debug)]
pub(super) struct Packed {
    /// The first part of the first vector, if it stands apart.
    head: Vec<u8>,
    data: Bytes,
    vector_bytes: usize,
}

// === impl VectorPages ===

impl VectorPages {
    /// Opens the vector column, the top-level one at `root`, if it is a list of float32 whose lists may
    /// all have one length.
    pub(super) fn open(
        pages: &CheckedPages,
        group: &RowGroupMetaData,
        root: usize,
    ) -> Result<Option<Self>, ParquetError> {
        let schema = group.schema_descr();
        let mut columns = group.columns().iter().enumerate();
        let Some((_, column)) = columns.find(|(leaf, _)| schema.get_column_root_idx(*leaf) == root)
        else {
            return Ok(None);
        };
        let leaf = column.column_descr();
        let values = column.num_values().unsigned_abs();
        let rows = group.num_rows().unsigned_abs();
        let dimension = values.checked_div(rows).unwrap_or(0);
        let may_be_plain = column.column_type() == Physical::FLOAT
            && leaf.max_rep_level() == 1
            && values == dimension * rows
            && (1..=MAX_DIMENSION).contains(&dimension)
            // A page need not be unpacked to find that out.
            && column.encodings().all(|it| it != Encoding::BYTE_STREAM_SPLIT);
        let (Ok(dimension), Ok(present), true) = (
            usize::try_from(dimension),
            u32::try_from(leaf.max_def_level()),
            may_be_plain,
        ) else {
            return Ok(None);
        };
        let pages = SerializedPageReader::new(
            pages.clone().into(),
            column,
            usize::try_from(rows).unwrap_or(usize::MAX),
            None,
        )?;
        Ok(Some(Self {
            pages,
            dimension,
            present,
            level_bits: u32::BITS - present.leading_zeros(),
            dictionary: Bytes::new(),
            page: Values::Plain(Bytes::new()),
            rest: 0,
            head: Vec::new(),
        }))
    }

    /// The vectors of the next rows: at least one, at most `most`, and no more than the page tells.
    /// `None` where they are not of the plain form; nothing is to be read after that.
    pub(super) fn next(&mut self, most: usize) -> Result<Option<Packed>, ParquetError> {
        loop {
            let missing = self.dimension - self.head.len() / 4;
            // That a row ends, the next value tells, which may be on the next page.
            if self.rest > missing {
                let others = (self.rest - missing - 1) / self.dimension;
                return Ok(self.packed(missing + others.min(most - 1) * self.dimension));
            }
            let rest = self.rest;
            let Some(part) = self.take(rest) else {
                return Ok(None);
            };
            self.head.extend_from_slice(&part);
            // It would hold its page while the next one is read.
            drop(part);
            match self.turn()? {
                Turn::Plain => {}
                Turn::End if missing == rest => return Ok(self.packed(0)),
                Turn::End | Turn::Other => return Ok(None),
            }
        }
    }

    /// Whether nothing follows what was given out.
    pub(super) fn is_at_end(&mut self) -> Result<bool, ParquetError> {
        let is_given_out = self.head.is_empty() && self.rest == 0;
        Ok(is_given_out && matches!(self.turn()?, Turn::End))
    }

    /// The head with the next `count` values of the page.
    fn packed(&mut self, count: usize) -> Option<Packed> {
        let data = self.take(count)?;
        Some(Packed {
            head: mem::take(&mut self.head),
            data,
            vector_bytes: self.dimension * 4,
        })
    }

    /// Takes the next `count` values of the page, which has them.
    fn take(&mut self, count: usize) -> Option<Bytes> {
        self.rest -= count;
        match &mut self.page {
            Values::Plain(values) => Some(values.split_to(count * 4)),
            Values::Indices { runs, bits, taken } => {
                gather(&self.dictionary, runs, *bits, taken, count).map(Bytes::from)
            }
        }
    }

    /// Turns to the next data page that has values.
    fn turn(&mut self) -> Result<Turn, ParquetError> {
        // Before the next is unpacked, so that there is one at a time.
        self.page = Values::Plain(Bytes::new());
        while let Some(page) = self.pages.get_next_page()? {
            let count = page.num_values() as usize;
            if let Page::DictionaryPage { buf, encoding, .. } = page {
                match floats(buf, count) {
                    Some(dictionary) if self.dictionary.is_empty() && is_plain(encoding) => {
                        self.dictionary = dictionary;
                    }
                    _ => return Ok(Turn::Other),
                }
            } else if count > 0 {
                let values = DataPage::new(page).and_then(|page| self.values(page));
                let Some(values) = values else {
                    return Ok(Turn::Other);
                };
                (self.page, self.rest) = (values, count);
                return Ok(Turn::Plain);
            }
        }
        Ok(Turn::End)
    }

    /// The values of a page, if its levels are those of the plain form.
    fn values(&self, mut page: DataPage) -> Option<Values> {
        let place = self.head.len() / 4 % self.dimension;
        let is_whole =
            |rows: usize| place == 0 && rows.checked_mul(self.dimension) == Some(page.count);
        if !page.rows.is_none_or(is_whole)
            || !hybrid::are_lists(&page.repetition, self.dimension, place, page.count)
            || !hybrid::are_all(&page.definition, self.level_bits, self.present, page.count)
        {
            return None;
        }
        match page.encoding {
            Encoding::PLAIN => floats(page.values, page.count).map(Values::Plain),
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                let bits = page.values.try_get_u8().ok()?.into();
                (bits <= u32::BITS).then_some(Values::Indices {
                    runs: page.values,
                    bits,
                    taken: 0,
                })
            }
            _ => None,
        }
    }
}

// === impl DataPage ===

impl DataPage {
    /// The parts of a page of values, if its levels are in the one encoding in use.
    fn new(page: Page) -> Option<Self> {
        match page {
            Page::DataPage {
                mut buf,
                num_values,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                ..
            } => {
                let mut levels = || {
                    let length = buf.try_get_u32_le().ok()?;
                    split_off_front(&mut buf, length)
                };
                Some(Self {
                    count: num_values as usize,
                    encoding,
                    rows: None,
                    repetition: levels()?,
                    definition: levels()?,
                    values: buf,
                })
            }
            Page::DataPageV2 {
                mut buf,
                num_values,
                encoding,
                num_nulls: 0,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => Some(Self {
                count: num_values as usize,
                encoding,
                rows: Some(num_rows as usize),
                repetition: split_off_front(&mut buf, rep_levels_byte_len)?,
                definition: split_off_front(&mut buf, def_levels_byte_len)?,
                values: buf,
            }),
            _ => None,
        }
    }
}

fn split_off_front(bytes: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = length as usize;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// What the encoding of a dictionary's values is called, now and formerly.
fn is_plain(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY)
}

/// So many float32 values, if there are as many.
fn floats(mut bytes: Bytes, count: usize) -> Option<Bytes> {
    let length = count.checked_mul(4)?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// The entries of `dictionary` that the next `count` indices name, if there are as many and it has all
/// of them. `taken` values of the first of the `runs` have been given out.
fn gather(
    dictionary: &[u8],
    runs: &mut Bytes,
    bits: u32,
    taken: &mut usize,
    count: usize,
) -> Option<Vec<u8>> {
    let (dictionary, _) = dictionary.as_chunks::<4>();
    let mut found: Vec<[u8; 4]> = Vec::with_capacity(count);
    while found.len() < count {
        let mut rest: &[u8] = runs;
        let run = hybrid::take_run(&mut rest, bits)?;
        let wanted = count - found.len();
        let length = match run {
            Run::Repeated { value, count } => {
                let some = count.saturating_sub(*taken).min(wanted);
                if some > 0 {
                    let entry = *dictionary.get(value as usize)?;
                    found.resize(found.len() + some, entry);
                }
                count
            }
            Run::Packed { bytes, count } => {
                let mut are_all_known = true;
                found.extend((*taken..count.min(*taken + wanted)).map(|index| {
                    let value = hybrid::unpacked(bytes, bits, index);
                    let entry = dictionary.get(value as usize).copied();
                    are_all_known &= entry.is_some();
                    entry.unwrap_or_default()
                }));
                if !are_all_known {
                    return None;
                }
                count
            }
        };
        *taken += wanted;
        if *taken >= length {
            let read = runs.len() - rest.len();
            runs.advance(read);
            *taken = 0;
        }
    }
    Some(found.into_flattened())
}

// === impl Packed ===

impl Packed {
    /// The vector of a row.
    pub(super) fn get(&self, row: usize) -> Dense<'_> {
        let bytes = self.vector_bytes;
        if self.head.is_empty() {
            return Dense::Bytes(&self.data[row * bytes..(row + 1) * bytes], &[]);
        }
        let end = (row + 1) * bytes - self.head.len();
        match row {
            0 => Dense::Bytes(&self.head, &self.data[..end]),
            _ => Dense::Bytes(&self.data[end - bytes..end], &[]),
        }
    }

    /// How many vectors there are.
    pub(super) fn len(&self) -> usize {
        (self.head.len() + self.data.len()) / self.vector_bytes
    }
}
