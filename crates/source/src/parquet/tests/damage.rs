//! Files that are damaged, that lie, or that change.

use std::fs;

use bytes::Bytes;
use parquet::{
    basic::{Compression, ZstdLevel},
    file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter},
};

use super::*;

/// The file's bytes with another footer.
fn with_footer(bytes: &[u8], change: impl FnOnce(ParquetMetaData) -> ParquetMetaData) -> Vec<u8> {
    let whole = Bytes::from(bytes.to_vec());
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&whole)
        .unwrap();
    let length = bytes.len() - 8;
    let footer = u32::from_le_bytes(bytes[length..length + 4].try_into().unwrap()) as usize;
    let mut changed = bytes[..length - footer].to_vec();
    ParquetMetaDataWriter::new(&mut changed, &change(metadata))
        .finish()
        .unwrap();
    changed
}

/// Scenario: a file cut at every length, a text file, and an encrypted one.
/// Guarantees: each is an error of its kind; a cut file is never taken for a shorter one.
#[test]
fn files_that_are_not_whole() {
    let bytes = plain(vec![("id", ids(&["a"])), ("values", vectors(1))]);
    for length in 0..bytes.len() {
        let kind = error(&bytes[..length]).kind();
        let expected = match length {
            0..4 => SourceErrorKind::Unsupported,
            _ => SourceErrorKind::Corrupt,
        };
        assert_eq!(kind, expected, "{length} bytes");
    }
    let text = b"{\"id\":\"a\",\"values\":[1]}\n";
    assert_eq!(error(text).kind(), SourceErrorKind::Unsupported);
    let mut encrypted = bytes;
    encrypted.truncate(encrypted.len() - 4);
    encrypted.extend_from_slice(b"PARE");
    assert_eq!(error(&encrypted).kind(), SourceErrorKind::Unsupported);
}

/// Scenario: footers that state more or fewer rows than there are, in a row group or in the file.
/// Guarantees: each is an error; no row is silently missing.
#[test]
fn lying_footers() {
    let bytes = plain(vec![("id", ids(&["a", "b", "c"])), ("values", vectors(3))]);
    assert_eq!(records(&with_footer(&bytes, |metadata| metadata)).len(), 3);
    for rows in [-1, 2, 4, i64::MAX] {
        let lying = with_footer(&bytes, |metadata| {
            let group = metadata.row_group(0).clone().into_builder();
            let group = group.set_num_rows(rows).build().unwrap();
            let file = metadata.file_metadata();
            let file = FileMetaData::new(
                file.version(),
                rows,
                None,
                None,
                file.schema_descr_ptr(),
                None,
            );
            ParquetMetaData::new(file, vec![group])
        });
        let error = error(&lying);
        assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{rows}");
        assert_eq!(error.place(), Place::RowGroup(0), "{rows}: {error}");
    }
    let lying = with_footer(&bytes, |metadata| {
        let group = metadata.row_group(0).clone().into_builder();
        let group = group.set_num_rows(2).build().unwrap();
        metadata.into_builder().set_row_groups(vec![group]).build()
    });
    assert_eq!(error(&lying).kind(), SourceErrorKind::Corrupt);
}

/// Scenario: a column that unpacks from a few KB to 65 MiB.
/// Guarantees: where a page may take 64 MiB it is refused with the way out, and read when that is taken.
#[test]
fn a_bomb_is_refused() {
    let huge = format!("{{\"k\":\"{}\"}}", "a".repeat(65 << 20));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .build();
    let bytes = write(
        vec![
            ("id", ids(&["a"])),
            ("values", vectors(1)),
            ("metadata", ids(&[&huge])),
        ],
        properties,
    );
    let strict = PlanSettings {
        max_page: 64 << 20,
        ..settings()
    };
    let error = read(&bytes, &strict).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unsupported);
    assert_eq!(error.place(), Place::RowGroup(0));
    let allowed = PlanSettings {
        max_page: 66 << 20,
        ..settings()
    };
    assert_eq!(read(&bytes, &allowed).unwrap().len(), 1);
}

/// Scenario: a file that was replaced by a longer one after it was found, and one that vanished.
/// Guarantees: opening a split says so.
#[test]
fn a_changed_file_is_an_error() {
    let bytes = plain(vec![("id", ids(&["a"])), ("values", vectors(1))]);
    let (file, input) = input(&bytes);
    let plan = Plan::new(vec![input], &settings()).unwrap();
    fs::write(file.path(), [&bytes[..], b"more"].concat()).unwrap();
    let error = plan.open(&plan.splits[0]).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Changed);
    drop(file);
    let error = plan.open(&plan.splits[0]).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NotFound);
}
