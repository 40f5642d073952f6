mod mutations;
mod shapes;

use std::{io::Write, ops::Range};

use proptest::prelude::*;
use tempfile::NamedTempFile;
use vecload_record::{Metadata, Reason};

use super::*;
use crate::{Columns, Format, Place, fuzzing::checked_key};

/// A row, owned: position, and the record or the reject's reason, field and raw line.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    locator: u64,
    content: Result<Record, (Reason, String, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Record {
    id: String,
    namespace: Option<String>,
    values: Option<Vec<u32>>,
    sparse: Option<(Vec<u32>, Vec<u32>)>,
    metadata: Option<String>,
}

fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

fn own(row: Row<'_>) -> Owned {
    Owned {
        locator: row.at.locator,
        content: match row.content {
            Ok(record) => Ok(Record {
                id: record.id.to_owned(),
                namespace: record.namespace.map(str::to_owned),
                values: record.dense.map(|dense| bits(dense.iter())),
                sparse: record
                    .sparse
                    .map(|sparse| (sparse.indices.to_vec(), bits(sparse.values.iter().copied()))),
                metadata: match record.metadata {
                    Metadata::Json(json) => Some(json.to_owned()),
                    _ => None,
                },
            }),
            Err(bad) => Err((bad.reject.reason, bad.reject.field, bad.raw.into_owned())),
        },
    }
}

fn file(bytes: &[u8]) -> (NamedTempFile, Input) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let input = Input {
        name: "lines.jsonl".into(),
        origin: crate::Origin::File(file.path().to_owned()),
        format: Format::Jsonl,
        compression: Compression::of_content(bytes),
        bytes: bytes.len() as u64,
        namespace: None,
        directory: None,
    };
    (file, input)
}

/// A reader of lines whose keys are those stated, else the usual ones.
fn open(
    input: &Input,
    columns: &Columns,
    range: Range<u64>,
    limits: Limits,
) -> Result<Reader, SourceError> {
    let (keys, _) = Keys::find(std::iter::empty(), columns).unwrap();
    let base = range.start.saturating_sub(1);
    let bytes = Bytes::open(input, base..u64::MAX)?;
    let cutter = LineCutter::new(&input.name, bytes, limits, base, range);
    Ok(Reader::new(
        &input.name,
        Cutter::Lines(cutter),
        &Arc::new(keys),
    ))
}

/// Reads a range to its end and checks that rows are numbered from 0.
fn read(input: &Input, columns: &Columns, range: Range<u64>, limits: Limits) -> Vec<Owned> {
    let mut reader = open(input, columns, range, limits).unwrap();
    let mut rows = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        assert!(!records.is_empty());
        for index in 0..records.len() {
            checked_key(records, index);
            let row = records.row(index);
            assert_eq!(row.at.row, rows.len() as u64);
            rows.push(own(row));
        }
    }
    rows
}

fn read_all(bytes: &[u8], columns: &Columns) -> Vec<Owned> {
    let (_file, input) = file(bytes);
    read(&input, columns, 0..input.bytes, Limits::default())
}

fn one(line: &str) -> Owned {
    let mut rows = read_all(line.as_bytes(), &Columns::default());
    assert_eq!(rows.len(), 1, "{line}");
    rows.remove(0)
}

/// Scenario: lines in every accepted form of every field.
/// Guarantees: they become the records that they say, escapes resolved and metadata untouched.
#[test]
fn accepted_forms() {
    let table = [
        (
            r#"{"id":"a","values":[1,-2.5e0, 3E-1 ],"metadata":{"k": [1, {"x":"\u00e9\\"}]}}"#,
            Record {
                id: "a".into(),
                values: Some(bits([1.0, -2.5, 0.3])),
                metadata: Some(r#"{"k": [1, {"x":"\u00e9\\"}]}"#.into()),
                ..Record::default()
            },
        ),
        (
            "\t{ \"metadata\" : null , \"values\" : null, \"id\" : 18446744073709551616 } ",
            Record {
                id: "18446744073709551616".into(),
                ..Record::default()
            },
        ),
        (
            r#"{"\u0069d":"\ud83d\ude00 \"x\"\n","metadata":"{\"k\":\"v\"}","values":[]}"#,
            Record {
                id: "😀 \"x\"\n".into(),
                values: Some(vec![]),
                metadata: Some(r#"{"k":"v"}"#.into()),
                ..Record::default()
            },
        ),
        (
            r#"{"id":"é","sparse_values":{"values":[0.5,1e-3],"indices":[7,4294967295]}}"#,
            Record {
                id: "é".into(),
                sparse: Some((vec![7, u32::MAX], bits([0.5, 1e-3]))),
                ..Record::default()
            },
        ),
        (
            r#"{"id":-7,"sparseValues":{"indices":[],"values":[],"x":0},"other":{"id":[true,"]"]},"namespace":"yes"}"#,
            Record {
                id: "-7".into(),
                namespace: Some("yes".into()),
                sparse: Some((vec![], vec![])),
                ..Record::default()
            },
        ),
    ];
    for (line, record) in table {
        assert_eq!(one(line).content, Ok(record), "{line}");
    }
}

/// Scenario: one line of every defect.
/// Guarantees: each is a bad row with its reason and field, and the line is handed back.
#[test]
fn defects() {
    use Reason::{InvalidMetadata, InvalidSparse, LineTooLong, Malformed, MissingId, NotFinite};
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"id":"a","x":{open}{close}}}"#)
    };
    let (deepest, too_deep) = (deep(128), deep(129));
    assert!(one(&deepest).content.is_ok());
    let long = format!(r#"{{"id":"{}"}}"#, "a".repeat(8 << 20));
    let table = [
        ("x", Malformed, ""),
        ("[]", Malformed, ""),
        ("{", Malformed, ""),
        (r#"{"id":"a"}{"id":"b"}"#, Malformed, ""),
        (r#"{"id":"a",}"#, Malformed, ""),
        (r#"{"id":"a" "values":[]}"#, Malformed, ""),
        (r#"{"id":"a","values":[1,2"#, Malformed, "values"),
        (r#"{"id":"a","metadata":{"k":"v"#, Malformed, "metadata"),
        (r#"{"values":[1]}"#, MissingId, "id"),
        (r#"{"id":null,"values":[1]}"#, MissingId, "id"),
        (r#"{"id":1.0}"#, Malformed, "id"),
        (r#"{"id":1e3}"#, Malformed, "id"),
        (r#"{"id":01}"#, Malformed, "id"),
        (r#"{"id":["a"]}"#, Malformed, "id"),
        (r#"{"id":"a","id":"a"}"#, Malformed, "id"),
        (r#"{"id":"a","\u0069d":null}"#, Malformed, "id"),
        (r#"{"id":"a","x":1,"y":2,"x":3}"#, Malformed, ""),
        (r#"{"id":"a\u12"}"#, Malformed, "id"),
        (r#"{"id":"\ud800"}"#, Malformed, "id"),
        (r#"{"id":"\x"}"#, Malformed, "id"),
        ("{\"id\":\"a\tb\"}", Malformed, "id"),
        ("{\"id\":\"a\0b\"}", Malformed, "id"),
        (r#"{"id":"a","values":"[1]"}"#, Malformed, "values"),
        (r#"{"id":"a","values":[1,null]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[[1]]}"#, Malformed, "values"),
        (r#"{"id":"a","values":["1"]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[1 2]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[1,]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[,1]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[01]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[.5]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[5.]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[5.e1]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[+5]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[-]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[1e]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[inf]}"#, Malformed, "values"),
        (r#"{"id":"a","values":[1,NaN]}"#, NotFinite, "values"),
        (r#"{"id":"a","values":[-Infinity]}"#, NotFinite, "values"),
        (r#"{"id":"a","values":[3.5e38]}"#, NotFinite, "values"),
        (r#"{"id":"a","values":[-1e999999999]}"#, NotFinite, "values"),
        (
            r#"{"id":"a","metadata":{"k":NaN}}"#,
            InvalidMetadata,
            "metadata",
        ),
        (r#"{"id":"a","metadata":[1]}"#, InvalidMetadata, "metadata"),
        (r#"{"id":"a","metadata":7}"#, InvalidMetadata, "metadata"),
        (r#"{"id":"a","metadata":{"k":01}}"#, Malformed, "metadata"),
        (
            r#"{"id":"a","sparse_values":[1]}"#,
            InvalidSparse,
            "sparse_values",
        ),
        (
            r#"{"id":"a","sparse_values":{"indices":[1]}}"#,
            InvalidSparse,
            "sparse_values",
        ),
        (
            r#"{"id":"a","sparse_values":{"indices":[-1],"values":[1]}}"#,
            InvalidSparse,
            "sparse_values",
        ),
        (
            r#"{"id":"a","sparse_values":{"indices":[4294967296],"values":[1]}}"#,
            InvalidSparse,
            "sparse_values",
        ),
        (
            r#"{"id":"a","sparse_values":{"indices":[1.5],"values":[1]}}"#,
            InvalidSparse,
            "sparse_values",
        ),
        (
            r#"{"id":"a","sparse_values":{"indices":[1],"indices":[1],"values":[1]}}"#,
            Malformed,
            "sparse_values",
        ),
        (
            r#"{"id":"a","sparse_values":null,"sparseValues":null}"#,
            Malformed,
            "sparse_values",
        ),
        (too_deep.as_str(), Malformed, ""),
        (long.as_str(), LineTooLong, ""),
    ];
    for (line, reason, field) in table {
        let is_long = reason == LineTooLong;
        let kept = if is_long { 1024 } else { line.len() };
        let raw = handed_back(&line.as_bytes()[..kept], &Keys::canonical()).into_owned();
        let found = one(line).content;
        let label = &line[..line.len().min(100)];
        assert_eq!(found, Err((reason, field.to_owned(), raw)), "{label}");
    }
}

/// Scenario: a line with a byte that is not UTF-8.
/// Guarantees: it is malformed, the message says where, and the raw bytes are handed back.
#[test]
fn invalid_utf8() {
    let line = b"{\"id\":\"\xff\"}";
    let (_file, input) = file(line);
    let mut reader = open(
        &input,
        &Columns::default(),
        0..input.bytes,
        Limits::default(),
    )
    .unwrap();
    let records = reader.next().unwrap().unwrap();
    let bad = records.row(0).content.unwrap_err();
    assert_eq!(bad.reject.reason, Reason::Malformed);
    assert_eq!(bad.reject.message, "invalid UTF-8 at byte 7 of the line");
    assert_eq!(*bad.raw, *line);
}

/// Scenario: a byte order mark, CRLF, blank lines, and no newline at the end.
/// Guarantees: blank lines are no rows, and every row is found by its offset.
#[test]
fn line_ends() {
    let text = b"\xef\xbb\xbf{\"id\":\"a\"}\r\n\r\n \t\n\n{\"id\":\"b\"}\n{\"id\":\"c\"}";
    let rows = read_all(text, &Columns::default());
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.locator, row.content.as_ref().unwrap().id.as_str()))
        .collect();
    assert_eq!(found, [(0, "a"), (21, "b"), (32, "c")]);
    assert_eq!(read_all(b"", &Columns::default()), []);
    assert_eq!(read_all(b"\xef\xbb\xbf\n\n", &Columns::default()), []);
}

/// Scenario: keys named by the user, then a dead letter among such lines.
/// Guarantees: the named keys are taken; a dead letter has the canonical ones and its namespace.
#[test]
fn named_columns_and_dead_letters() {
    let columns = Columns {
        id: Some("doc".into()),
        values: Some("v".into()),
        namespace: Some("tenant".into()),
        ..Columns::default()
    };
    let rows = read_all(
        br#"{"doc":"a","id":"x","v":[1],"tenant":5,"namespace":"x"}
{"id":"b","values":[2],"namespace":"n","_reject":{"reason":"refused"}}"#,
        &columns,
    );
    let record = |id: &str, value, namespace: &str| Record {
        id: id.into(),
        namespace: Some(namespace.into()),
        values: Some(bits([value])),
        ..Record::default()
    };
    assert_eq!(rows[0].content, Ok(record("a", 1.0, "5")));
    assert_eq!(rows[1].content, Ok(record("b", 2.0, "n")));
    let line = r#"{"namespace":"n","id":"b","values":[2],"_reject":{}}"#;
    assert_eq!(one(line).content, Ok(record("b", 2.0, "n")));
}

/// Scenario: lines of exactly the cap and one byte more, in blocks smaller and larger than that.
/// Guarantees: the cap itself is taken.
#[test]
fn the_cap_of_a_line() {
    let (_file, input) = file(b"{\"id\":\"a\"}\n{\"id\":\"bb\"}\n{\"id\":\"c\"}");
    for block in [3, 1000] {
        let limits = Limits {
            block,
            line: 10,
            kept: 4,
        };
        let rows = read(&input, &Columns::default(), 0..input.bytes, limits);
        let ids = |row: &Owned| row.content.clone().map(|record| record.id);
        let too_long = (Reason::LineTooLong, String::new(), b"{\"id".to_vec());
        assert_eq!(
            rows.iter().map(ids).collect::<Vec<_>>(),
            [Ok("a".into()), Err(too_long), Ok("c".into())]
        );
    }
}

/// Scenario: a line of 40 MiB between two others.
/// Guarantees: it is one bad row of 1 KiB, the next line is whole, and no more than the line cap and
/// a block is ever held.
#[test]
fn a_very_long_line_is_not_kept() {
    let mut text = b"{\"id\":\"a\"}\n".to_vec();
    text.resize(40 << 20, b'x');
    text.extend_from_slice(b"\n{\"id\":\"b\"}\n");
    let (_file, input) = file(&text);
    let mut reader = open(
        &input,
        &Columns::default(),
        0..input.bytes,
        Limits::default(),
    )
    .unwrap();
    let mut rows = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        for index in 0..records.len() {
            rows.push(own(records.row(index)));
        }
        let Block::Jsonl(lines) = &records.block else {
            panic!("a block of lines")
        };
        assert!(lines.chunk.buffer.capacity() <= 10 << 20);
    }
    assert_eq!(rows.len(), 3);
    let (reason, _, raw) = rows[1].content.clone().unwrap_err();
    assert_eq!((reason, raw.len()), (Reason::LineTooLong, 1024));
    assert_eq!(rows[2].content.as_ref().unwrap().id, "b");
}

/// Scenario: a file that is longer or shorter than when it was found.
/// Guarantees: opening it says so.
#[test]
fn a_changed_file_is_an_error() {
    let (_file, mut input) = file(b"{\"id\":\"a\"}\n");
    for bytes in [5, 50] {
        input.bytes = bytes;
        let error = open(&input, &Columns::default(), 0..bytes, Limits::default()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Changed);
    }
}

/// Scenario: a file that is cut while it is read.
/// Guarantees: an error names the place; the missing rows are not passed over in silence.
#[test]
fn a_file_that_is_cut_while_read_is_an_error() {
    let text = b"{\"id\":\"a\"}\n".repeat(10);
    let (cut, input) = file(&text);
    let limits = Limits {
        block: 11,
        ..Limits::default()
    };
    let mut reader = open(&input, &Columns::default(), 0..input.bytes, limits).unwrap();
    assert!(reader.next().unwrap().is_some());
    cut.as_file().set_len(11).unwrap();
    let error = reader.next().unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Changed);
    assert_eq!(error.place(), Place::Offset(11));
}

fn floats(text: &str) -> Vec<u32> {
    let mut values = Vec::new();
    cursor::Cursor::new(text).floats(&mut values).unwrap();
    bits(values)
}

/// Scenario: numbers halfway between two f32, which rounding by way of f64 gets wrong, and extremes.
/// Guarantees: each is the f32 nearest to its decimal digits.
#[test]
fn hard_numbers_are_exact() {
    for text in [
        "1.00000017881393432617187499",
        "1.00000017881393432617187500",
        "1.00000017881393432617187501",
        "7.038531e-26",
        "1.17549435e-38",
        "1e-45",
        "0.7e-45",
        "3.4028235e38",
        "340282356779733661637539395458142568447",
        "0.000000000000000000000000000000000000000000000000000001e54",
        "-0",
        "-0.0e5",
        "16777217",
        "8388609.5",
        "0.1000000014901161193847656250000000000000000000000000000000000001",
    ] {
        let expected = text.parse::<f32>().unwrap().to_bits();
        assert_eq!(floats(&format!("[{text}]")), [expected], "{text}");
    }
}

/// What stands between newlines in the generated files.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let record = (
        "[a-zé😀\"\\\\]{0,6}",
        proptest::collection::vec(any::<f32>(), 0..5),
    )
        .prop_map(|(id, values)| {
            let values: Vec<f32> = values.into_iter().filter(|v| v.is_finite()).collect();
            serde_json::json!({"id": id, "values": values, "metadata": {"k": "ü"}})
                .to_string()
                .into_bytes()
        });
    prop_oneof![
        6 => record,
        1 => Just(Vec::new()),
        1 => Just(b" \t".to_vec()),
        1 => (60_usize..300).prop_map(|length| vec![b'y'; length]),
        1 => proptest::collection::vec(any::<u8>(), 0..20)
            .prop_map(|bytes| bytes.into_iter().filter(|byte| *byte != b'\n').collect()),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop_oneof![Just("\n"), Just("\r\n")];
    (
        proptest::collection::vec((line(), ends), 0..12),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(lines, mark, last_newline)| {
            let mut text = if mark {
                b"\xef\xbb\xbf".to_vec()
            } else {
                Vec::new()
            };
            for (line, end) in lines {
                text.extend_from_slice(&line);
                text.extend_from_slice(end.as_bytes());
            }
            if !last_newline && text.last() == Some(&b'\n') {
                text.pop();
            }
            text
        })
}

proptest! {
    /// Scenario: a generated file, read whole in large blocks, then as two ranges with the boundary at
    /// every byte, in small blocks and with a small line cap.
    /// Guarantees: rows, their order, offsets and raw bytes are the same: no row is lost or read twice.
    #[test]
    fn a_split_at_any_byte_gives_the_same_rows(text in text(), block in 1_usize..200) {
        let (_file, input) = file(&text);
        let columns = Columns::default();
        let limits = Limits { block: 1 << 20, line: 100, kept: 20 };
        let whole = read(&input, &columns, 0..input.bytes, limits);
        let limits = Limits { block, ..limits };
        for boundary in 0..=input.bytes {
            let mut rows = read(&input, &columns, 0..boundary, limits);
            rows.extend(read(&input, &columns, boundary..input.bytes, limits));
            prop_assert_eq!(&rows, &whole, "boundary {}", boundary);
        }
    }

    /// Scenario: a generated file.
    /// Guarantees: its rows are its lines that are not blank, by an independent and plain reading.
    #[test]
    fn the_rows_are_the_lines(text in text()) {
        let rows = read_all(&text, &Columns::default());
        let mut expected = Vec::new();
        let mut offset = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let locator = offset;
            offset += line.len() as u64;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = if locator == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
            if line.iter().all(|byte| b" \t\r".contains(byte)) {
                continue;
            }
            let id = serde_json::from_slice::<serde_json::Value>(line)
                .ok()
                .and_then(|value| value["id"].as_str().map(str::to_owned));
            expected.push((locator, id.ok_or_else(|| line.to_vec())));
        }
        let rows: Vec<_> = rows
            .into_iter()
            .map(|row| (row.locator, row.content.map(|record| record.id).map_err(|bad| bad.2)))
            .collect();
        prop_assert_eq!(rows, expected);
    }

    /// Scenario: finite f32 of random bits, printed shortest, with 9 and with 17 digits, and random
    /// digits with exponents.
    /// Guarantees: the bits come back, or are those of the standard library's parser.
    #[test]
    fn numbers_are_exact(seeds in proptest::collection::vec(any::<u32>(), 200), digits in "-?[1-9][0-9]{0,30}(\\.[0-9]{1,30})?(e-?[0-9]{1,2})?") {
        let values: Vec<f32> = seeds.into_iter().map(f32::from_bits).filter(|v| v.is_finite()).collect();
        let list = |print: &dyn Fn(f32) -> String| {
            let numbers: Vec<String> = values.iter().map(|value| print(*value)).collect();
            format!("[{}]", numbers.join(", "))
        };
        let expected = bits(values.iter().copied());
        for text in [
            list(&|v| format!("{v}")),
            list(&|v| format!("{v:e}")),
            list(&|v| format!("{v:.8e}")),
            list(&|v| format!("{:.16e}", f64::from(v))),
        ] {
            prop_assert_eq!(floats(&text), expected.as_slice());
        }
        let expected = digits.parse::<f32>().unwrap();
        if expected.is_finite() {
            prop_assert_eq!(floats(&format!("[{digits}]")), [expected.to_bits()]);
        }
    }

    /// Scenario: any bytes, and JSON with bytes changed.
    /// Guarantees: nothing panics, and what is taken as a record is JSON by serde_json's judgement.
    #[test]
    fn hostile_lines(mut line in line(), change in any::<(prop::sample::Index, u8)>()) {
        if !line.is_empty() {
            let at = change.0.index(line.len());
            line[at] = change.1;
        }
        let mut scratch = Scratch::default();
        let (keys, mut changes) = (Keys::canonical(), Changes::default());
        if parse(&line, &keys, &keys, &mut scratch, &mut changes).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        }
    }
}
