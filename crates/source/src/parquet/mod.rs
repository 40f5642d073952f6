//! Parquet: footers and row groups.
//!
//! A footer is read once, when the plan is made; a split is a row group, of which only the columns of
//! a record are decoded, in batches of about 1 MiB of vectors; those come straight from the pages where
//! they can. A file is read by its Parquet schema;
//! the Arrow schema that writers embed is left aside, so that large, fixed-size and view lists,
//! dictionaries and the like all arrive in one form.
//!
//! A file may be damaged or hostile. Nothing is allocated by a size that a footer states, and no page is
//! unpacked before its header was checked (`checked`); decoding
//! that panics (the `parquet` crate does, on some damage) is an error that names the row group; the
//! rows of a row group are counted against the footer. Text is read as bytes and checked row by row,
//! so that one bad string costs one row. Damage within a value goes unseen where the file has no
//! checksums.

mod accepted;
mod batch;
mod checked;
mod chunks;
mod columns;
mod group;
mod guard;
mod hybrid;
mod metadata;
mod page_header;
mod pages;
mod schema;
#[cfg(test)]
mod tests;
mod vectors;

use std::{io, ops::Range};

use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    errors::ParquetError,
    file::metadata::{
        ColumnChunkMetaData, PageIndexPolicy, ParquetStatisticsPolicy, RowGroupMetaData,
    },
};

pub use self::guard::hush_decoder_panics;
pub(crate) use self::{batch::Batch, pages::HEADERS};
use self::{
    checked::{CheckedPages, PageRefusal},
    chunks::Chunks,
    columns::Decoded,
    group::RowGroup,
    guard::guarded,
    schema::Roles,
};
use crate::{
    Input, Mapping, Part, Place, PlanSettings, Records, SourceError, SourceErrorKind, Timestamps,
    reader::Block, store::ahead_bytes,
};

/// What the vectors of a batch should take; and with them a batch, where they dominate.
const BATCH_BYTES: u64 = 1 << 20;

/// More rows than this in a batch cost memory (metadata is as wide as it likes) and gain nothing.
const MAX_BATCH_ROWS: u64 = 1024;

/// A column chunk that states to unpack to more than this many times its size, and to more than a page
/// may have, is a bomb; honest vectors of ordinary codecs stay below 10.
const MAX_EXPANSION: u64 = 1000;

/// A file whose footer has been read.
#[derive(Debug)]
pub(crate) struct ParquetInput {
    metadata: ArrowReaderMetadata,
    roles: Roles,
    mapping: Mapping,
    timestamps: Timestamps,
    groups: Vec<Group>,
    /// What the pages of the columns read take, of one row group at a time.
    page_bytes: u64,
    /// The most that a page may take.
    max_page: u64,
}

/// A row group, for the plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) part: Part,
    /// What the columns of a record take in the file.
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
}

/// Reads a row group.
#[derive(Debug)]
pub(crate) struct Reader {
    name: String,
    chunks: Chunks,
    place: Place,
    roles: Roles,
    timestamps: Timestamps,
    /// `None` at the end and after an error.
    group: Option<RowGroup>,
    first_row: u64,
    /// How many rows the footer states and how many were read.
    stated: u64,
    read: u64,
    records: Records,
}

// === impl ParquetInput ===

impl ParquetInput {
    /// Reads the footer and finds the columns. Takes from `headers` the page headers that it reads.
    pub(crate) fn open(
        input: &Input,
        settings: &PlanSettings,
        headers: &mut u32,
    ) -> Result<Self, SourceError> {
        let chunks = Chunks::of_footer(input)?;
        chunks.expect_parquet(input)?;
        let fail = |error| error_of(&input.name, &chunks, error);
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_page_index_policy(PageIndexPolicy::Skip)
            .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let load =
            |options: &ArrowReaderOptions| ArrowReaderMetadata::load(&chunks, options.clone());
        let metadata = guarded(|| load(&options)).map_err(fail)?;
        let roles = Roles::find(input, metadata.schema(), &settings.columns)?;
        let mapping = roles.mapping(metadata.schema(), metadata.metadata());
        // Once more with text as bytes: the schema cannot be exchanged in what has been read.
        let metadata = guarded(|| {
            let schema = roles.text_as_bytes(metadata.parquet_schema())?;
            let options = options.clone().with_parquet_schema(schema);
            let metadata = load(&options)?;
            let schema = roles.bytes_as_views(metadata.schema());
            let options = options.with_schema(schema);
            ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)
        })
        .map_err(fail)?;
        let groups = groups(input, settings, &metadata, &roles)?;
        let page_bytes = page_bytes(input, settings, &chunks, &metadata, &roles, headers)?;
        Ok(Self {
            metadata,
            roles,
            mapping,
            timestamps: settings.timestamps,
            groups,
            page_bytes,
            max_page: settings.max_page,
        })
    }

    /// What the columns were taken for.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The most that the pages of the columns read take while a row group is read.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// The row groups that have rows.
    pub(crate) fn row_groups(&self) -> &[Group] {
        &self.groups
    }

    /// Opens a row group.
    pub(crate) fn read(
        &self,
        input: &Input,
        index: u32,
        first_row: u64,
    ) -> Result<Reader, SourceError> {
        self.read_columns(&self.roles, input, index, first_row)
    }

    /// Opens the columns of the keys of a row group.
    pub(crate) fn read_keys(
        &self,
        input: &Input,
        index: u32,
        first_row: u64,
    ) -> Result<Reader, SourceError> {
        self.read_columns(&self.roles.of_keys(), input, index, first_row)
    }

    /// What the columns of the keys of a row group take in the file.
    pub(crate) fn key_bytes(&self, index: u32) -> u64 {
        let group = self.metadata.metadata().row_group(index as usize);
        self.roles
            .of_keys()
            .chunks(group)
            .map(|(_, column)| column.compressed_size().unsigned_abs())
            .fold(0, u64::saturating_add)
    }

    fn read_columns(
        &self,
        roles: &Roles,
        input: &Input,
        index: u32,
        first_row: u64,
    ) -> Result<Reader, SourceError> {
        let group = self.metadata.metadata().row_group(index as usize);
        let stated = group.num_rows();
        let chunks = Chunks::open(input, &ranges(roles, group))?;
        let place = Place::RowGroup(index);
        let pages = CheckedPages::new(chunks.clone(), group, roles, self.max_page);
        let group = RowGroup::open(
            input.name.clone(),
            pages,
            self.metadata.clone(),
            roles.clone(),
            index as usize,
        )
        .map_err(|error| error_of(&input.name, &chunks, error).at(place))?;
        Ok(Reader {
            name: input.name.clone(),
            chunks,
            place,
            roles: roles.clone(),
            timestamps: self.timestamps,
            group: Some(group),
            first_row,
            stated: stated.unsigned_abs(),
            read: 0,
            records: Records::new(Block::Parquet(Box::new(Batch::new(
                self.mapping.not_read(),
            )))),
        })
    }
}

/// The row groups of a file, their numbers checked against each other.
fn groups(
    input: &Input,
    settings: &PlanSettings,
    metadata: &ArrowReaderMetadata,
    roles: &Roles,
) -> Result<Vec<Group>, SourceError> {
    let corrupt = |message| SourceError::new(SourceErrorKind::Corrupt, &input.name, message);
    let metadata = metadata.metadata();
    let mut groups = Vec::new();
    let mut first_row = 0_u64;
    for (index, group) in (0_u32..).zip(metadata.row_groups()) {
        let place = Place::RowGroup(index);
        let rows = u64::try_from(group.num_rows()).map_err(|_| {
            corrupt(format!("the footer states {} rows", group.num_rows())).at(place)
        })?;
        let mut bytes = 0_u64;
        for (_, column) in roles.chunks(group) {
            let stated = column.uncompressed_size().unsigned_abs();
            let packed = column.compressed_size().unsigned_abs().max(1);
            bytes = bytes.saturating_add(packed);
            if stated > settings.max_page && stated / packed > MAX_EXPANSION {
                return Err(SourceError::new(
                    SourceErrorKind::Unsupported,
                    &input.name,
                    format!(
                        "column {} unpacks from {packed} to {stated} bytes, more than {MAX_EXPANSION}-fold and more than the {} of max_page; if you trust the file, allow larger pages",
                        column.column_path(),
                        settings.max_page
                    ),
                )
                .at(place));
            }
        }
        if rows > 0 {
            groups.push(Group {
                part: Part::RowGroup { index, first_row },
                bytes: bytes.min(input.bytes),
                rows,
            });
        }
        first_row = first_row.saturating_add(rows);
    }
    let stated = metadata.file_metadata().num_rows();
    if u64::try_from(stated) != Ok(first_row) {
        return Err(corrupt(format!(
            "the footer states {stated} rows and its row groups {first_row}"
        )));
    }
    Ok(groups)
}

/// Where the columns of a record stand in the file, as the footer states it.
fn ranges(roles: &Roles, group: &RowGroupMetaData) -> Vec<Range<u64>> {
    roles
        .chunks(group)
        .map(|(_, column)| range(column))
        .collect()
}

/// Where a column chunk stands in the file, as the footer states it.
fn range(column: &ColumnChunkMetaData) -> Range<u64> {
    let data = column.data_page_offset().unsigned_abs();
    let start = match column.dictionary_page_offset() {
        Some(offset) if offset > 0 => offset.unsigned_abs().min(data),
        _ => data,
    };
    start..start.saturating_add(column.compressed_size().unsigned_abs())
}

/// Of each column read the largest pages of any row group, together; and of an object what is read ahead. A page
/// that is larger than allowed is refused here already where its header is looked at.
fn page_bytes(
    input: &Input,
    settings: &PlanSettings,
    chunks: &Chunks,
    metadata: &ArrowReaderMetadata,
    roles: &Roles,
    headers: &mut u32,
) -> Result<u64, SourceError> {
    let mut most = Vec::new();
    let mut ahead = 0;
    for (index, group) in (0_u32..).zip(metadata.metadata().row_groups()) {
        if chunks.reads_ahead() {
            ahead = ahead_bytes(&ranges(roles, group)).max(ahead);
        }
        for (place, (_, column)) in roles.chunks(group).enumerate() {
            let pages::Sizes { held, largest } = pages::sizes(chunks, column, headers);
            if largest > settings.max_page {
                let refusal = PageRefusal::Page {
                    column: column.column_path().to_string(),
                    bytes: largest,
                    most: settings.max_page,
                };
                return Err(refused(&input.name, &refusal).at(Place::RowGroup(index)));
            }
            match most.get_mut(place) {
                Some(most) => *most = held.max(*most),
                None => most.push(held),
            }
        }
    }
    Ok(most.into_iter().fold(ahead, u64::saturating_add))
}

/// How many rows to decode at a time. What the footer states is only a hint for it.
fn batch_rows(group: &RowGroupMetaData, roles: &Roles) -> usize {
    let rows = group.num_rows().unsigned_abs().max(1);
    let bytes = roles.chunks(group).fold(0_u64, |sum, (width, column)| {
        let bytes = match width {
            // Numbers may be held as numbers of dictionary entries, which are smaller than they are.
            Some(width) => column.num_values().unsigned_abs().saturating_mul(width),
            None => column.uncompressed_size().unsigned_abs(),
        };
        sum.saturating_add(bytes)
    });
    let per_row = (bytes / rows).max(1);
    usize::try_from((BATCH_BYTES / per_row).clamp(1, MAX_BATCH_ROWS)).unwrap_or(1)
}

// === impl Reader ===

impl Reader {
    /// The next batch of rows.
    pub(crate) fn next(&mut self) -> Result<Option<&mut Records>, SourceError> {
        let Block::Parquet(batch) = &mut self.records.block else {
            return Ok(None);
        };
        // Before the next is decoded, so that there is one at a time.
        batch.clear();
        batch.changes.clear();
        let Some(mut group) = self.group.take() else {
            return Ok(None);
        };
        let next = group
            .next()
            .map_err(|error| error_of(&self.name, &self.chunks, error).at(self.place))?;
        let rows = next.as_ref().map_or(0, |(columns, _)| columns.num_rows()) as u64;
        let is_over = self.read + rows > self.stated;
        if is_over || (next.is_none() && self.read < self.stated) {
            return Err(SourceError::new(
                SourceErrorKind::Corrupt,
                &self.name,
                format!(
                    "the footer states {} rows, and there are {}",
                    self.stated,
                    if is_over {
                        "more".to_owned()
                    } else {
                        self.read.to_string()
                    }
                ),
            )
            .at(self.place));
        }
        let Some((columns, vectors)) = next else {
            return Ok(None);
        };
        batch.fill(
            Decoded::new(&self.roles, &columns, vectors, self.timestamps),
            self.read,
            self.first_row.saturating_add(self.read),
        );
        self.read += rows;
        self.group = Some(group);
        self.records.show_all();
        Ok(Some(&mut self.records))
    }
}

fn error_of(name: &str, chunks: &Chunks, error: ParquetError) -> SourceError {
    // What the decoder makes of it may be only its words.
    if let Some(fault) = chunks.fault() {
        return SourceError::fault(name, &fault);
    }
    match error {
        ParquetError::NYI(message) => SourceError::new(
            SourceErrorKind::Unsupported,
            name,
            format!("a feature of Parquet that is not read: {message}"),
        ),
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            // Unpacking reports damage as an I/O error too, of one of these kinds.
            Ok(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::Other
                ) =>
            {
                SourceError::io(name, "read it", &error)
            }
            Ok(error) => corrupt(name, &error.to_string()),
            Err(cause) => match cause.downcast::<PageRefusal>() {
                Ok(refusal) => refused(name, &refusal),
                Err(cause) => corrupt(name, &cause.to_string()),
            },
        },
        error => corrupt(name, &error.to_string()),
    }
}

fn refused(name: &str, refusal: &PageRefusal) -> SourceError {
    let kind = match refusal.is_of_size() {
        true => SourceErrorKind::Unsupported,
        false => SourceErrorKind::Corrupt,
    };
    SourceError::new(kind, name, refusal.to_string())
}

fn corrupt(name: &str, message: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Corrupt,
        name,
        format!("the file is damaged ({message}); write it again from its source"),
    )
}
