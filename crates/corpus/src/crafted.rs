//! Parquet files whose pages and whose footer state what they like, and bombs of them.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

/// A page as a column chunk is to have it.
#[derive(Debug, Clone)]
pub struct CraftedPage {
    /// A data page or a dictionary.
    pub kind: PageType,
    /// Of a sound data page, which is of version 2 and not packed, the length of its levels of each kind.
    pub levels: Option<u32>,
    /// How many values its header states.
    pub values: u32,
    /// What its header states that it unpacks to, in bytes.
    pub unpacked: usize,
    /// What stands after its header.
    pub stored: Vec<u8>,
}

/// A column as a file is to have it.
#[derive(Debug, Clone)]
pub struct CraftedColumn {
    /// The codec that the footer states.
    pub codec: Compression,
    /// Its pages; a dictionary is the first.
    pub pages: Vec<CraftedPage>,
    /// How many values the footer states.
    pub values: i64,
    /// What the footer states that it unpacks to, in bytes.
    pub unpacked: i64,
}

/// A Parquet file of `rows`, of the columns `id` and `values`, a list of float: the one that is called `bad` is as
/// given, the other one is sound, with ids that are `a` and lists that are null.
///
/// # Errors
///
/// What is given cannot be written.
pub fn file(rows: u32, bad: &str, column: CraftedColumn) -> Result<Vec<u8>, ParquetError> {
    let schema = "message m { required binary id (UTF8);
        optional group values (LIST) { repeated group list { optional float element; } } }";
    let schema = Arc::new(parse_message_type(schema)?);
    let descriptor = SchemaDescriptor::new(Arc::clone(&schema));
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Default::default())?;
    let mut group = writer.next_row_group()?;
    let mut column = Some(column);
    for (leaf, name) in ["id", "values"].into_iter().enumerate() {
        let column = column
            .take_if(|_| name == bad)
            .unwrap_or_else(|| CraftedColumn::sound(name, rows));
        let has_dictionary = column
            .pages
            .iter()
            .any(|page| page.kind == PageType::DICTIONARY_PAGE);
        let (pages, first) = chunk(column.pages, has_dictionary)?;
        let metadata = ColumnChunkMetaData::builder(descriptor.column(leaf))
            .set_compression(column.codec)
            .set_num_values(column.values)
            .set_total_compressed_size(pages.len() as i64)
            .set_total_uncompressed_size(column.unpacked)
            .set_dictionary_page_offset(has_dictionary.then_some(0))
            .set_data_page_offset(first as i64)
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: pages.len() as u64,
            rows_written: rows.into(),
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        group.append_column(&Bytes::from(pages), close)?;
    }
    group.close()?;
    writer.close()?;
    Ok(file)
}

/// A Parquet file of 33 KB, one page of which says truly that it unpacks to 1 GiB.
///
/// # Errors
///
/// It cannot be packed or written.
pub fn bomb() -> Result<Vec<u8>, ParquetError> {
    const GIB: usize = 1 << 30;
    const BLOCK: usize = 1 << 20;
    let mut packed = zstd::Encoder::new(Vec::new(), 3)?;
    for _ in 0..GIB / BLOCK {
        packed.write_all(&[0; BLOCK])?;
    }
    let stored = packed.finish()?;
    let column = CraftedColumn {
        codec: Compression::ZSTD(ZstdLevel::default()),
        pages: vec![CraftedPage::packed(1, GIB, stored)],
        values: 1,
        unpacked: 1000,
    };
    file(1, "values", column)
}

/// A Parquet file whose footer claims a column of 200 GB.
///
/// # Errors
///
/// It cannot be written.
pub fn long_column() -> Result<Vec<u8>, ParquetError> {
    let mut column = CraftedColumn::sound("values", 1);
    column.unpacked = 200_000_000_000;
    file(1, "values", column)
}

/// A Parquet file of 22 bytes whose footer claims a list for which 200 GB would be taken.
#[must_use]
pub fn long_list() -> Vec<u8> {
    let metadata = b"\x15\x04\x19\xfc\xff\xff\xff\xff\x07\0";
    let length = (metadata.len() as u32).to_le_bytes();
    [b"PAR1", &metadata[..], &length, b"PAR1"].concat()
}

/// The pages of a chunk and where they are: the data pages, after the dictionary if there is one.
fn chunk(pages: Vec<CraftedPage>, has_dictionary: bool) -> Result<(Vec<u8>, usize), ParquetError> {
    let (mut bytes, mut first) = (Vec::new(), 0);
    for page in pages {
        let buf = Bytes::from(page.stored);
        let is_dictionary = page.kind == PageType::DICTIONARY_PAGE;
        let encoding = match has_dictionary && !is_dictionary {
            true => Encoding::RLE_DICTIONARY,
            false => Encoding::PLAIN,
        };
        let content = match page.levels {
            Some(levels) => Page::DataPageV2 {
                buf,
                num_values: page.values,
                encoding,
                num_nulls: if levels > 0 { page.values } else { 0 },
                num_rows: page.values,
                def_levels_byte_len: levels,
                rep_levels_byte_len: levels,
                is_compressed: false,
                statistics: None,
            },
            None if is_dictionary => Page::DictionaryPage {
                buf,
                num_values: page.values,
                encoding,
                is_sorted: false,
            },
            None => Page::DataPage {
                buf,
                num_values: page.values,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            },
        };
        let mut sink = TrackedWrite::new(&mut bytes);
        let mut writer = SerializedPageWriter::new(&mut sink);
        writer.write_page(CompressedPage::new(content, page.unpacked))?;
        drop(sink);
        if is_dictionary {
            first = bytes.len();
        }
    }
    Ok((bytes, first))
}

// === impl CraftedPage ===

impl CraftedPage {
    /// A data page of version 1.
    #[must_use]
    pub fn packed(values: u32, unpacked: usize, stored: Vec<u8>) -> Self {
        Self {
            kind: PageType::DATA_PAGE,
            levels: None,
            values,
            unpacked,
            stored,
        }
    }

    /// A sound page of so many rows of a column: ids that are `a`, or lists that are null.
    #[must_use]
    pub fn sound(column: &str, rows: u32) -> Self {
        let (levels, stored) = if column == "id" {
            (0, b"\x01\0\0\0a".repeat(rows as usize))
        } else {
            // A run of levels that are 0.
            let (mut run, mut rest) = (Vec::new(), rows << 1);
            while rest >= 0x80 {
                run.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            run.extend([rest as u8, 0]);
            (run.len() as u32, run.repeat(2))
        };
        Self {
            levels: Some(levels),
            ..Self::packed(rows, stored.len(), stored)
        }
    }
}

// === impl CraftedColumn ===

impl CraftedColumn {
    /// A column of one sound page.
    #[must_use]
    pub fn sound(column: &str, rows: u32) -> Self {
        let page = CraftedPage::sound(column, rows);
        Self {
            codec: Compression::UNCOMPRESSED,
            unpacked: page.stored.len() as i64,
            pages: vec![page],
            values: rows.into(),
        }
    }
}
