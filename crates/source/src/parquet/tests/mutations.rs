//! Files that chance has changed.

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use flate2::Crc;
use parquet::{
    basic::Compression,
    file::{
        metadata::{ParquetMetaDataReader, ParquetMetaDataWriter},
        properties::WriterVersion,
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
use vecload_corpus::mutation::{for_each_seed, mutate, overwrite};

use super::{
    super::page_header::{PageHeader, PageKind},
    both_readers::Reading,
    properties::{Model, Writing, written},
    *,
};

/// The file with a checksum in each page header, and where its pages are, without their headers.
fn with_checksums(bytes: &[u8]) -> (Vec<u8>, Vec<Range<usize>>) {
    let whole = bytes::Bytes::from(bytes.to_vec());
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&whole)
        .unwrap();
    let (mut file, mut pages) = (b"PAR1".to_vec(), Vec::new());
    let mut groups = Vec::new();
    for group in metadata.row_groups() {
        let mut columns = Vec::new();
        for column in group.columns() {
            let (start, length) = column.byte_range();
            let (first, mut data) = (file.len(), None);
            let mut rest = &bytes[start as usize..(start + length) as usize];
            while !rest.is_empty() {
                let header = PageHeader::parse(rest).unwrap();
                let (head, after) = rest.split_at(header.bytes as usize);
                let (page, after) = after.split_at(header.stored as usize);
                rest = after;
                if header.kind == PageKind::Data {
                    data.get_or_insert(file.len());
                }
                // Field 4 goes between field 3 and the struct of the page's kind.
                let part = 1
                    + (0..3).fold(0, |at, _| {
                        at + 1 + head[at + 1..].iter().position(|byte| *byte < 0x80).unwrap() + 1
                    });
                let mut sum = Crc::new();
                sum.update(page);
                let sum = sum.sum().cast_signed();
                let mut zigzag = ((sum << 1) ^ (sum >> 31)).cast_unsigned();
                file.extend(&head[..part - 1]);
                file.push(0x15);
                while zigzag >= 0x80 {
                    file.push(zigzag as u8 | 0x80);
                    zigzag >>= 7;
                }
                file.push(zigzag as u8);
                file.push(head[part - 1] - 0x10);
                file.extend(&head[part..]);
                if !page.is_empty() {
                    pages.push(file.len()..file.len() + page.len());
                }
                file.extend(page);
            }
            let builder = column.clone().into_builder();
            let dictionary = column.dictionary_page_offset().map(|_| first as i64);
            let builder = builder
                .set_total_compressed_size((file.len() - first) as i64)
                .set_dictionary_page_offset(dictionary)
                .set_data_page_offset(data.unwrap() as i64);
            columns.push(builder.build().unwrap());
        }
        let group = group.clone().into_builder().set_column_metadata(columns);
        groups.push(group.build().unwrap());
    }
    let metadata = metadata.into_builder().set_row_groups(groups).build();
    ParquetMetaDataWriter::new(&mut file, &metadata)
        .finish()
        .unwrap();
    (file, pages)
}

/// Files in every codec, page version and form of list, with and without dictionaries.
fn forms() -> impl Iterator<Item = Vec<u8>> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ];
    let rows: Vec<Model> = (0..30_u8)
        .map(|row| Model {
            id: Some(format!("id {row}")),
            values: Some(
                (0..3)
                    .map(|at| Some(f32::from(row * 3 + at) / 7.0))
                    .collect(),
            ),
            sparse: (row % 3 > 0).then(|| (vec![1, 2 + i64::from(row)], vec![0.5, 0.25])),
            metadata: Some(format!("{{\"k\":{row}}}")),
        })
        .collect();
    (0..28).map(move |form| {
        let writing = Writing {
            compression: codecs[form % 7],
            list: form % 3,
            text: DataType::Utf8,
            group_rows: [12, 40][form % 2],
            page_rows: [4, 20, 9][form % 3],
            version: [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0][form / 7 % 2],
            dictionary: form / 14 == 0,
        };
        written(&rows, &writing)
    })
}

/// Scenario: 5,600 copies of 28 files whose pages, which have checksums, chance has changed.
/// Guarantees: every record that is read before the error is the one that was written; nothing panics, takes five
/// seconds, or a gigabyte.
#[test]
fn checksums_leave_no_wrong_record() {
    let forms: Vec<_> = forms().map(|bytes| with_checksums(&bytes)).collect();
    let whole: Vec<_> = forms
        .iter()
        .map(|(sound, _)| Reading::of(sound, false))
        .collect();
    for whole in &whole {
        assert!(whole.is_whole() && whole.rows.len() == 30, "{whole:?}");
    }
    for_each_seed(0..5600, move |seed| {
        let form = seed as usize % forms.len();
        let (sound, pages) = &forms[form];
        let random = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut changed = sound.clone();
        let page = pages[random.random_range(0..pages.len())].clone();
        overwrite(&mut changed, page, random);
        let found = Reading::of(&changed, random.random());
        let count = found.rows.len();
        assert!(found.rows == whole[form].rows[..count], "seed {seed}");
        // Changes may undo each other; else they are an error.
        assert_eq!(found.is_whole(), changed == *sound, "seed {seed}");
    });
}

/// Scenario: a bit in every byte of the pages of a file in each codec, which have checksums, is flipped, one at a time.
/// Guarantees: each is an error, after records as they were written.
#[test]
fn checksums_find_a_flipped_bit() {
    for (form, bytes) in forms().take(7).enumerate() {
        let (sound, pages) = with_checksums(&bytes);
        let whole = Reading::of(&sound, false);
        for at in pages.into_iter().flatten() {
            let mut changed = sound.clone();
            changed[at] ^= 1 << (at % 8);
            let found = Reading::of(&changed, at % 2 == 0);
            assert!(!found.is_whole(), "form {form}, byte {at}");
            let count = found.rows.len();
            assert!(found.rows == whole.rows[..count], "form {form}, byte {at}");
        }
    }
}

/// Scenario: 11,200 copies of 28 files, half of them with checksums, that chance has changed anywhere, half of them near
/// the end, where the footer is.
/// Guarantees: each is read or refused; nothing panics, takes five seconds, or a gigabyte.
#[test]
fn any_change_is_read_or_refused() {
    let forms: Vec<_> = forms()
        .flat_map(|bytes| [with_checksums(&bytes).0, bytes])
        .collect();
    let refused = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refused);
    for_each_seed(0..11_200, move |seed| {
        let random = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
        let sound = &forms[seed as usize % forms.len()];
        let from = match random.random() {
            true => 0,
            false => sound.len().saturating_sub(1500),
        };
        let mut tail = sound[from..].to_vec();
        mutate(&mut tail, random);
        let changed = [&sound[..from], &tail].concat();
        let is_refused = read(&changed, &settings()).is_err();
        count.fetch_add(u32::from(is_refused), Ordering::Relaxed);
    });
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused > 5600, "{refused}");
}
