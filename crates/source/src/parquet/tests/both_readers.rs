//! The pages and the arrow reader say the same.

use arrow_array::{Float32Array, ListArray};
use arrow_buffer::OffsetBuffer;
use parquet::{
    basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel},
    file::properties::WriterVersion,
    schema::types::ColumnPath,
};

use super::{super::group::Columns, *};

/// What a file was read to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) rows: Vec<Found>,
    error: Option<(SourceErrorKind, Place, String)>,
    /// How many row groups there were, and of how many all vectors came from the pages.
    groups: usize,
    pub(super) straight: usize,
}

impl Reading {
    /// Reads a file by its pages where they allow it, or by the arrow reader alone.
    pub(super) fn of(bytes: &[u8], by_arrow: bool) -> Self {
        let mut reading = Self::default();
        if let Err(error) = reading.take(bytes, by_arrow) {
            reading.error = Some((error.kind(), error.place(), error.to_string()));
        }
        reading
    }

    fn take(&mut self, bytes: &[u8], by_arrow: bool) -> Result<(), SourceError> {
        let (_file, input) = input(bytes);
        let file = ParquetInput::open(&input, &settings(), &mut 0)?;
        for group in file.row_groups() {
            let Part::RowGroup { index, first_row } = group.part else {
                unreachable!("a part of a Parquet file");
            };
            let mut reader = file.read(&input, index, first_row)?;
            let rows = reader.group.as_mut().unwrap();
            if by_arrow {
                rows.leave_pages().unwrap();
            }
            let mut is_straight = matches!(rows.columns, Columns::Split { .. });
            while let Some(records) = reader.next()? {
                for row in 0..records.len() {
                    self.rows.push(own(records.row(row)));
                }
                let columns = &reader.group.as_ref().unwrap().columns;
                is_straight &= matches!(columns, Columns::Split { .. });
            }
            self.groups += 1;
            self.straight += usize::from(is_straight);
        }
        Ok(())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.error.is_none()
    }

    /// The bits of each row's vector, of a file without a bad row.
    pub(super) fn vectors(&self) -> Vec<Option<Vec<u32>>> {
        let content = self.rows.iter().map(|row| row.content.as_ref().unwrap());
        content.map(|record| record.values.clone()).collect()
    }
}

/// Reads a file both ways: what they say of the same rows is the same, and so is the error; before an
/// error one may have come further. Gives what was read by the pages.
pub(super) fn read_both_ways(bytes: &[u8], label: &dyn std::fmt::Debug) -> Reading {
    let pages = Reading::of(bytes, false);
    let arrow = Reading::of(bytes, true);
    assert_eq!(arrow.straight, 0);
    assert_eq!(pages.error, arrow.error, "{label:?}");
    let common = match pages.error {
        None => pages.rows.len().max(arrow.rows.len()),
        Some(_) => pages.rows.len().min(arrow.rows.len()),
    };
    for row in 0..common {
        assert_eq!(pages.rows.get(row), arrow.rows.get(row), "{label:?}");
    }
    pages
}

/// The lists of a generated file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    /// All of one length, no null.
    Plain,
    NullLists,
    NullElements,
    Ragged,
    Empty,
    /// Of different lengths, which are one in the mean.
    EvenInTheMean,
}

#[derive(Debug, Clone, Copy)]
enum Written {
    Plain,
    Dictionary,
    /// A dictionary that is full after some pages.
    Mixed,
    ByteStreamSplit,
}

#[derive(Debug)]
struct Case {
    content: Content,
    list: DataType,
    nullable: bool,
    written: Written,
    page_rows: usize,
    group_rows: usize,
    version: WriterVersion,
    codec: Compression,
    dimension: usize,
}

const ROWS: usize = 40;

fn row(content: Content, row: usize, dimension: usize) -> Option<Vec<Option<f32>>> {
    let value = |at: usize| {
        // Every kind of float, NaNs with a payload among them; some come again.
        let bits = ((row * dimension + at) as u32 % 97).wrapping_mul(0x9e37_79b9);
        Some(f32::from_bits(bits))
    };
    let length = match content {
        Content::NullLists if row % 13 == 11 => return None,
        Content::Ragged => (row * 7) % 5,
        Content::Empty => 0,
        Content::EvenInTheMean if row == 20 => dimension - 1,
        Content::EvenInTheMean if row == 23 => dimension + 1,
        _ => dimension,
    };
    let mut values: Vec<_> = (0..length).map(value).collect();
    if content == Content::NullElements && row % 13 == 11 {
        values[dimension / 2] = None;
    }
    Some(values)
}

fn written(case: &Case) -> Vec<u8> {
    let rows: Vec<_> = (0..ROWS)
        .map(|at| row(case.content, at, case.dimension))
        .collect();
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
        &case.list
    else {
        unreachable!("a list");
    };
    let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
    let lists = ListArray::new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(
            rows.iter()
                .flatten()
                .flatten()
                .copied()
                .collect::<Float32Array>(),
        ),
        Some(NullBuffer::from_iter(rows.iter().map(Option::is_some))).filter(|_| case.nullable),
    );
    let names: StringArray = (0..ROWS).map(|at| Some(format!("row {at}"))).collect();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("values", case.list.clone(), case.nullable),
    ]));
    let lists: ArrayRef = Arc::new(lists);
    let columns: Vec<ArrayRef> = vec![Arc::new(names), cast(&lists, &case.list)];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let path = ["values", "list", item.name()].map(str::to_owned);
    let path = ColumnPath::from(path.to_vec());
    let mut properties = WriterProperties::builder()
        .set_compression(case.codec)
        .set_max_row_group_row_count(Some(case.group_rows))
        .set_data_page_row_count_limit(case.page_rows)
        .set_write_batch_size(case.page_rows.min(64))
        .set_writer_version(case.version)
        .set_dictionary_enabled(matches!(case.written, Written::Dictionary | Written::Mixed));
    match case.written {
        Written::Mixed => properties = properties.set_dictionary_page_size_limit(64),
        Written::ByteStreamSplit => {
            properties = properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
        }
        Written::Plain => properties = properties.set_column_encoding(path, Encoding::PLAIN),
        Written::Dictionary => {}
    }
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn cases() -> impl Iterator<Item = Case> {
    let item = |nullable| Arc::new(Field::new("element", DataType::Float32, nullable));
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
    ];
    let contents = [
        Content::Plain,
        Content::NullLists,
        Content::NullElements,
        Content::Ragged,
        Content::Empty,
        Content::EvenInTheMean,
    ];
    let encodings = [
        Written::Plain,
        Written::Dictionary,
        Written::Mixed,
        Written::ByteStreamSplit,
    ];
    let mut number = 0;
    let mut cases = Vec::new();
    for content in contents {
        for written in encodings {
            for (form, has_null_lists, has_null_elements) in [
                ("list", true, true),
                ("list", false, true),
                ("list", true, false),
                ("list", false, false),
                ("large", true, true),
                ("fixed", true, true),
                ("fixed", false, false),
            ] {
                let is_even = matches!(
                    content,
                    Content::Plain | Content::NullLists | Content::NullElements
                );
                if (content == Content::NullLists && !has_null_lists)
                    || (content == Content::NullElements && !has_null_elements)
                    || (form == "fixed" && !is_even)
                {
                    continue;
                }
                for page_rows in [1, 3, 20_000] {
                    for group_rows in [7, 64] {
                        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                            number += 1;
                            let dimension = [1, 5, 8, 37][number % 4];
                            let item = item(has_null_elements);
                            cases.push(Case {
                                content,
                                list: match form {
                                    "list" => DataType::List(item),
                                    "large" => DataType::LargeList(item),
                                    _ => DataType::FixedSizeList(item, dimension as i32),
                                },
                                nullable: has_null_lists,
                                written,
                                page_rows,
                                group_rows,
                                version,
                                codec: codecs[(number / 4) % codecs.len()],
                                dimension,
                            });
                        }
                    }
                }
            }
        }
    }
    cases.into_iter()
}

/// Scenario: files in every combination of content, encoding, type of list, page size, row-group size
/// and page version, with all codecs and several dimensions in turn; each read by its pages and by the
/// arrow reader.
/// Guarantees: both give the same records, bit for bit. Plain and dictionary pages of lists of one
/// length are read straight; a null, a list of another length and other encodings are not.
#[test]
fn both_readers_agree() {
    let mut straight = 0;
    for case in cases() {
        let bytes = written(&case);
        let found = read_both_ways(&bytes, &case);
        assert!(found.is_whole(), "{case:?}: {:?}", found.error);
        assert_eq!(found.rows.len(), ROWS, "{case:?}");
        let is_plain = case.content == Content::Plain;
        match case.written {
            Written::ByteStreamSplit => assert_eq!(found.straight, 0, "{case:?}"),
            _ if is_plain => assert_eq!(found.straight, found.groups, "{case:?}"),
            _ => assert!(found.straight < found.groups, "{case:?}"),
        }
        straight += found.straight;
        if is_plain {
            let expected = (0..ROWS).map(|at| row(case.content, at, case.dimension).unwrap());
            let expected = expected.map(|row| Some(bits(row.into_iter().flatten())));
            assert!(found.vectors().into_iter().eq(expected), "{case:?}");
        }
    }
    assert!(straight > 500, "{straight}");
}
