//! Pages that the writer of the tests does not write: rows that straddle pages, and pages that lie.

use bytes::Bytes;
use parquet::{
    column::writer::ColumnCloseResult, file::metadata::ColumnChunkMetaData,
    schema::types::SchemaDescriptor,
};
use proptest::{prelude::*, sample::Index};

use super::{super::hybrid::tests::hybrid, both_readers::read_both_ways, *};

/// A row of the vector column.
type List = Option<Vec<Option<f32>>>;

/// How the pages of a column chunk are written.
#[derive(Debug, Clone)]
struct Crafting {
    /// Whether lists and elements can be null. Both can or neither.
    nullable: bool,
    is_zstd: bool,
    /// After how many values pages end, cyclically; those of version 2 end with the row.
    ends: Vec<usize>,
    pages: Vec<Form>,
    runs: Vec<(bool, usize)>,
    lie: Option<(Index, Lie)>,
}

#[derive(Debug, Clone, Copy)]
struct Form {
    is_v2: bool,
    has_dictionary: bool,
    /// In which a page of version 2 stands after its levels.
    is_compressed: bool,
}

/// What a page states that is not so.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// More values than there are, or fewer.
    Values(i32),
    /// Rows and nulls, of version 2.
    Rows(i32),
    Nulls(i32),
    /// Longer levels, or shorter.
    RepetitionBytes(i32),
    DefinitionBytes(i32),
    /// Wider indices, or narrower.
    Width(u8),
    /// An encoding.
    Encoding(i32),
    LevelEncoding(i32),
    /// The size of the page as it is unpacked.
    Unpacked(i32),
    /// A page that ends earlier.
    Cut(usize),
    /// Entries of the dictionary.
    Entries(i32),
    /// Another level somewhere.
    Level(Index),
    /// Values in the footer.
    FooterValues(i64),
    /// A checksum of the page.
    Checksum(i32),
}

/// A value, its levels, and whether a row begins with it.
struct Entry {
    repetition: u32,
    definition: u32,
    value: Option<f32>,
}

fn entries(rows: &[List], nullable: bool) -> Vec<Entry> {
    let level = |nullable_level, level| if nullable { nullable_level } else { level };
    let mut entries = Vec::new();
    for row in rows {
        let none = |definition| Entry {
            repetition: 0,
            definition,
            value: None,
        };
        match row {
            None => entries.push(none(0)),
            Some(values) if values.is_empty() => entries.push(none(level(1, 0))),
            Some(values) => entries.extend(values.iter().enumerate().map(|(at, value)| Entry {
                repetition: u32::from(at > 0),
                definition: level(2 + u32::from(value.is_some()), 1),
                value: *value,
            })),
        }
    }
    entries
}

/// Fields of a struct in Thrift's compact protocol: number and value, an integer or a struct.
fn thrift(fields: &[(u8, Result<i32, Vec<u8>>)]) -> Vec<u8> {
    let (mut bytes, mut last) = (Vec::new(), 0);
    for (id, value) in fields {
        bytes.push((id - last) << 4 | if value.is_ok() { 5 } else { 12 });
        last = *id;
        match value {
            Ok(number) => {
                let mut zigzag = ((number << 1) ^ (number >> 31)).cast_unsigned();
                while zigzag >= 0x80 {
                    bytes.push(zigzag as u8 | 0x80);
                    zigzag >>= 7;
                }
                bytes.push(zigzag as u8);
            }
            Err(fields) => bytes.extend(fields),
        }
    }
    bytes.push(0);
    bytes
}

const PLAIN: i32 = 0;
const RLE: i32 = 3;
const RLE_DICTIONARY: i32 = 8;

struct Chunk<'a> {
    crafting: &'a Crafting,
    dictionary: Vec<u32>,
    bytes: Vec<u8>,
}

impl Chunk<'_> {
    fn page(&mut self, kind: i32, unpacked: usize, stored: &[u8], id: u8, header: Vec<u8>) {
        let checksum = match self.crafting.lie {
            Some((_, Lie::Checksum(checksum))) => Some((4, Ok(checksum))),
            _ => None,
        };
        let fields = [
            (1, Ok(kind)),
            (2, Ok(unpacked as i32)),
            (3, Ok(stored.len() as i32)),
        ];
        let fields = fields.into_iter().chain(checksum);
        let fields: Vec<_> = fields.chain([(id, Err(header))]).collect();
        self.bytes.extend(thrift(&fields));
        self.bytes.extend(stored);
    }

    fn stored(&self, bytes: &[u8]) -> Vec<u8> {
        if self.crafting.is_zstd {
            return zstd::bulk::compress(bytes, 1).unwrap();
        }
        bytes.to_vec()
    }

    fn dictionary_page(&mut self, lie: Option<Lie>) {
        let mut entries = self.dictionary.len() as i32;
        if let Some(Lie::Entries(by)) = lie {
            entries = entries.wrapping_add(by);
        }
        let bytes: Vec<u8> = self
            .dictionary
            .iter()
            .flat_map(|bits| bits.to_le_bytes())
            .collect();
        let header = thrift(&[(1, Ok(entries)), (2, Ok(PLAIN))]);
        self.page(2, bytes.len(), &self.stored(&bytes), 7, header);
    }

    fn data_page(&mut self, entries: &[Entry], form: Form, lie: Option<Lie>) {
        let runs = &self.crafting.runs;
        let mut levels: Vec<u32> = entries.iter().map(|entry| entry.repetition).collect();
        if let Some(Lie::Level(index)) = lie {
            levels[index.index(entries.len())] ^= 1;
        }
        let repetition = hybrid(&levels, 1, runs);
        let levels: Vec<u32> = entries.iter().map(|entry| entry.definition).collect();
        let width = if self.crafting.nullable { 2 } else { 1 };
        let definition = hybrid(&levels, width, runs);
        let values = entries
            .iter()
            .filter_map(|entry| entry.value.map(f32::to_bits));
        let mut encoding = PLAIN;
        let mut data: Vec<u8> = if form.has_dictionary {
            encoding = RLE_DICTIONARY;
            let place = |bits| self.dictionary.iter().position(|it| *it == bits).unwrap() as u32;
            let places: Vec<u32> = values.map(place).collect();
            let width = self.dictionary.len().ilog2() + 1;
            let mut width_byte = width as u8;
            if let Some(Lie::Width(other)) = lie {
                width_byte = other;
            }
            std::iter::once(width_byte)
                .chain(hybrid(&places, width, runs))
                .collect()
        } else {
            values.flat_map(u32::to_le_bytes).collect()
        };
        let mut count = entries.len() as i32;
        let mut rows = entries.iter().filter(|entry| entry.repetition == 0).count() as i32;
        let mut nulls = entries.iter().filter(|entry| entry.value.is_none()).count() as i32;
        let mut lengths = [repetition.len() as i32, definition.len() as i32];
        let (mut level_encoding, mut unpacked_by) = (RLE, 0);
        match lie {
            Some(Lie::Values(by)) => count = count.wrapping_add(by),
            Some(Lie::Rows(by)) => rows = rows.wrapping_add(by),
            Some(Lie::Nulls(by)) => nulls = nulls.wrapping_add(by),
            Some(Lie::RepetitionBytes(by)) => lengths[0] = lengths[0].wrapping_add(by),
            Some(Lie::DefinitionBytes(by)) => lengths[1] = lengths[1].wrapping_add(by),
            Some(Lie::Encoding(other)) => encoding = other,
            Some(Lie::LevelEncoding(other)) => level_encoding = other,
            Some(Lie::Unpacked(by)) => unpacked_by = by,
            Some(Lie::Cut(by)) => data.truncate(data.len().saturating_sub(by)),
            _ => {}
        }
        if form.is_v2 {
            let levels = [repetition, definition].concat();
            let unpacked = levels.len() + data.len();
            let data = if form.is_compressed {
                self.stored(&data)
            } else {
                data
            };
            let mut header = thrift(&[
                (1, Ok(count)),
                (2, Ok(nulls)),
                (3, Ok(rows)),
                (4, Ok(encoding)),
                (5, Ok(lengths[1])),
                (6, Ok(lengths[0])),
            ]);
            header.pop();
            header.extend([1 << 4 | if form.is_compressed { 1 } else { 2 }, 0]);
            let unpacked = unpacked.wrapping_add_signed(unpacked_by as isize);
            self.page(3, unpacked, &[levels, data].concat(), 8, header);
        } else {
            let counted = |levels: &[u8], length: i32| [&length.to_le_bytes(), levels].concat();
            let bytes = [
                counted(&repetition, lengths[0]),
                counted(&definition, lengths[1]),
                data,
            ]
            .concat();
            let header = thrift(&[
                (1, Ok(count)),
                (2, Ok(encoding)),
                (3, Ok(level_encoding)),
                (4, Ok(level_encoding)),
            ]);
            let unpacked = bytes.len().wrapping_add_signed(unpacked_by as isize);
            self.page(0, unpacked, &self.stored(&bytes), 5, header);
        }
    }
}

/// The pages of a column chunk of `rows`, and where the data pages begin.
fn chunk(rows: &[List], crafting: &Crafting) -> (Vec<u8>, usize) {
    let entries = entries(rows, crafting.nullable);
    let mut dictionary: Vec<u32> = entries
        .iter()
        .filter_map(|entry| entry.value.map(f32::to_bits))
        .chain([0])
        .collect();
    dictionary.sort_unstable();
    dictionary.dedup();
    let mut chunk = Chunk {
        crafting,
        dictionary,
        bytes: Vec::new(),
    };
    let ends = crafting.ends.iter().map(|end| end % entries.len());
    let mut ends: Vec<usize> = ends.collect();
    ends.push(entries.len());
    ends.sort_unstable();
    let lying = crafting
        .lie
        .map(|(page, lie)| (page.index(ends.len()), lie));
    let mut first = 0;
    if crafting.pages.iter().any(|form| form.has_dictionary) {
        chunk.dictionary_page(lying.map(|(_, lie)| lie));
        first = chunk.bytes.len();
    }
    let mut from = 0;
    for (number, (end, form)) in ends
        .into_iter()
        .zip(crafting.pages.iter().cycle())
        .enumerate()
    {
        // A page of version 2 goes from row to row.
        let goes_on = |at: &usize| entries.get(*at).is_some_and(|entry| entry.repetition > 0);
        let form = Form {
            is_v2: form.is_v2 && !goes_on(&from),
            ..*form
        };
        let end = match form.is_v2 {
            true => (end..).find(|at| !goes_on(at)).unwrap(),
            false => end,
        };
        if end > from {
            let lie = lying
                .filter(|(page, _)| *page == number)
                .map(|(_, lie)| lie);
            chunk.data_page(&entries[from..end], form, lie);
            from = end;
        }
    }
    (chunk.bytes, first)
}

/// A file of `rows`, whose vector column is crafted, and where that stands in it.
fn file(rows: &[List], crafting: &Crafting) -> (Vec<u8>, Range<usize>) {
    let [list, element] = match crafting.nullable {
        true => ["optional", "optional"],
        false => ["required", "required"],
    };
    let schema = format!(
        "message m {{ required binary id (UTF8); {list} group values (LIST) {{
            repeated group list {{ {element} float element; }} }} }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut file = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut file, Arc::clone(&schema), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let names: Vec<ByteArray> = (0..rows.len())
        .map(|row| ByteArray::from(format!("row {row}").as_str()))
        .collect();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<ByteArrayType>()
        .write_batch(&names, None, None)
        .unwrap();
    column.close().unwrap();
    let (pages, first) = chunk(rows, crafting);
    let mut values = entries(rows, crafting.nullable).len() as i64;
    if let Some((_, Lie::FooterValues(by))) = crafting.lie {
        values += by;
    }
    let codec = match crafting.is_zstd {
        true => parquet::basic::Compression::ZSTD(Default::default()),
        false => parquet::basic::Compression::UNCOMPRESSED,
    };
    let metadata = ColumnChunkMetaData::builder(SchemaDescriptor::new(schema).column(1))
        .set_compression(codec)
        .set_num_values(values)
        .set_total_compressed_size(pages.len() as i64)
        .set_total_uncompressed_size(pages.len() as i64)
        .set_dictionary_page_offset((first > 0).then_some(0))
        .set_data_page_offset(first as i64)
        .build()
        .unwrap();
    let close = ColumnCloseResult {
        bytes_written: pages.len() as u64,
        rows_written: rows.len() as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    let length = pages.len();
    group
        .append_column(&Bytes::from(pages.clone()), close)
        .unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let at = file
        .windows(length)
        .position(|bytes| bytes == pages)
        .unwrap();
    (file, at..at + length)
}

fn crafting() -> impl Strategy<Value = Crafting> {
    let form =
        any::<(bool, bool, bool)>().prop_map(|(is_v2, has_dictionary, is_compressed)| Form {
            is_v2,
            has_dictionary,
            is_compressed,
        });
    (
        any::<(bool, bool)>(),
        proptest::collection::vec(0_usize..1000, 0..12),
        proptest::collection::vec(form, 1..6),
        proptest::collection::vec((any::<bool>(), 1_usize..12), 0..20),
    )
        .prop_map(|((nullable, is_zstd), ends, pages, runs)| Crafting {
            nullable,
            is_zstd,
            ends,
            pages,
            runs,
            lie: None,
        })
}

/// Lists of one length.
fn plain_rows() -> impl Strategy<Value = Vec<List>> {
    (1_usize..24, 1_usize..20).prop_flat_map(|(rows, length)| {
        let value = prop_oneof![
            any::<u32>().prop_map(f32::from_bits),
            (0_u8..4).prop_map(f32::from)
        ];
        let list = proptest::collection::vec(value.prop_map(Some), length).prop_map(Some);
        proptest::collection::vec(list, rows)
    })
}

fn lie() -> impl Strategy<Value = Lie> {
    let by = || {
        prop_oneof![
            Just(1),
            Just(-1),
            -64..64,
            Just(i32::MAX),
            Just(i32::MIN),
            Just(1 << 24)
        ]
    };
    prop_oneof![
        by().prop_map(Lie::Values),
        by().prop_map(Lie::Rows),
        by().prop_map(Lie::Nulls),
        by().prop_map(Lie::RepetitionBytes),
        by().prop_map(Lie::DefinitionBytes),
        any::<u8>().prop_map(Lie::Width),
        (0_u8..34).prop_map(Lie::Width),
        (-1..12).prop_map(Lie::Encoding),
        (-1..12).prop_map(Lie::LevelEncoding),
        (-64..64).prop_map(Lie::Unpacked),
        (1_usize..20).prop_map(Lie::Cut),
        by().prop_map(Lie::Entries),
        any::<Index>().prop_map(Lie::Level),
        (-64_i64..64).prop_map(Lie::FooterValues),
        any::<i32>().prop_map(Lie::Checksum),
    ]
}

/// Scenario: a list of 17 values and a null, so 18 levels for two rows, with a page that ends after
/// nine values; and two lists of 3 and 5 values in pages of 4.
/// Guarantees: no row is given out before it is known to end there, and each arrives as it is.
#[test]
fn lengths_that_only_look_right() {
    let list = |length: usize| Some(vec![Some(0.5); length]);
    for (rows, cut) in [([list(17), None], 9), ([list(3), list(5)], 4)] {
        let mut chunks = Vec::new();
        for is_v2 in [false, true] {
            let form = Form {
                is_v2,
                has_dictionary: false,
                is_compressed: false,
            };
            let crafting = Crafting {
                nullable: true,
                is_zstd: false,
                ends: vec![cut],
                pages: vec![form],
                runs: Vec::new(),
                lie: None,
            };
            let found = read_both_ways(&file(&rows, &crafting).0, &crafting);
            assert_eq!(found.straight, 0);
            chunks.push(found.vectors());
        }
        let expected = rows.map(|row| row.map(|row| bits(row.into_iter().flatten())));
        assert_eq!(chunks, [expected.to_vec(), expected.to_vec()]);
    }
}

proptest! {
    /// Scenario: lists of one length, their pages cut anywhere, of either version, plain or with a
    /// dictionary from page to page, levels and indices in runs of any kind.
    /// Guarantees: all vectors are read straight from the pages, with their bits, those too that
    /// stand on two pages or on many.
    #[test]
    fn rows_that_straddle_pages(rows in plain_rows(), crafting in crafting()) {
        let (bytes, _) = file(&rows, &crafting);
        let found = read_both_ways(&bytes, &crafting);
        prop_assert!(found.is_whole());
        prop_assert_eq!(found.straight, 1);
        let expected = rows.into_iter().map(|row| row.map(|row| bits(row.into_iter().flatten())));
        prop_assert!(found.vectors().into_iter().eq(expected));
    }

    /// Scenario: the same, with a row that is null, or of another length, or has a null.
    /// Guarantees: both readers say the same of every row.
    #[test]
    fn rows_that_are_not_plain(
        mut rows in plain_rows(),
        mut crafting in crafting(),
        at in any::<Index>(),
        kind in 0..4,
    ) {
        crafting.nullable = true;
        let at = at.index(rows.len());
        match (&mut rows[at], kind) {
            (row, 0) => *row = None,
            (Some(values), 1) => values[0] = None,
            (Some(values), 2) => values.push(Some(1.5)),
            (Some(values), _) => values.truncate(values.len() - 1),
            (None, _) => {}
        }
        let (bytes, _) = file(&rows, &crafting);
        let found = read_both_ways(&bytes, &crafting);
        prop_assert!(found.is_whole());
        prop_assert!(rows.len() == 1 || found.straight == 0);
    }

    /// Scenario: a page that states what is not so: counts, lengths of levels, widths, encodings, sizes,
    /// a checksum.
    /// Guarantees: it is read as the arrow reader reads it, or is the same error of the row group; a
    /// checksum always is one.
    #[test]
    fn pages_that_lie(
        rows in plain_rows(),
        mut crafting in crafting(),
        page in any::<Index>(),
        lie in lie(),
    ) {
        crafting.lie = Some((page, lie));
        let (bytes, _) = file(&rows, &crafting);
        let found = read_both_ways(&bytes, &crafting);
        prop_assert!(!(found.is_whole() && matches!(lie, Lie::Checksum(_))));
    }

    /// Scenario: some bytes of the pages of vectors changed.
    /// Guarantees: they are read as the arrow reader reads them, or are the same error.
    #[test]
    fn pages_that_are_damaged(
        rows in plain_rows(),
        crafting in crafting(),
        changes in proptest::collection::vec((any::<Index>(), 1_u8..), 1..4),
    ) {
        let (mut bytes, pages) = file(&rows, &crafting);
        for (at, byte) in changes {
            bytes[pages.start + at.index(pages.len())] ^= byte;
        }
        read_both_ways(&bytes, &crafting);
    }
}
