use std::{fs, io::Write};

use flate2::{Compression as Level, write::GzEncoder};
use tempfile::TempDir;
use vecload_record::Dense;

use super::*;
use crate::{Columns, Discovery, discover};

/// Scenario: JSONL files, an empty one among them, planned twice and read split by split.
/// Guarantees: splits are numbered in order and cover each file once; both plans are equal; every
/// row is read once.
#[test]
fn splits_cover_the_inputs() {
    let root = TempDir::new().unwrap();
    for (name, rows) in [("a.jsonl", 40), ("b.jsonl", 0), ("c.jsonl", 7)] {
        let lines: String = (0..rows).map(|row| format!("{{\"id\":{row}}}\n")).collect();
        fs::write(root.path().join(name), lines).unwrap();
    }
    let argument = root.path().to_str().unwrap().to_owned();
    let inputs = discover(&[argument], &Discovery::default()).unwrap();
    let settings = PlanSettings {
        split_bytes: 50,
        ..PlanSettings::default()
    };
    let plan = Plan::new(inputs.clone(), &settings).unwrap();
    assert_eq!(plan.splits, Plan::new(inputs, &settings).unwrap().splits);
    assert_eq!(plan.rows(), None);
    assert_eq!(
        plan.bytes(),
        plan.inputs.iter().map(|input| input.bytes).sum::<u64>()
    );
    let mut ids = Vec::new();
    for (number, split) in (0..).zip(&plan.splits) {
        assert_eq!(split.id, number);
        let mut reader = plan.open(split).unwrap();
        while let Some(records) = reader.next().unwrap() {
            for index in 0..records.len() {
                let id = records.row(index).content.unwrap().id.to_owned();
                ids.push((split.input, id));
            }
        }
    }
    let expected = [(0, 40), (2, 7)];
    let expected = expected
        .into_iter()
        .flat_map(|(input, rows): (u32, u32)| (0..rows).map(move |row| (input, row.to_string())));
    assert!(ids.into_iter().eq(expected));
}

/// A row: its input, the offset or row it stands at, its namespace, and what it says or is handed
/// back as: id and the bits of the vector, or the raw row.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    input: u32,
    locator: u64,
    namespace: Option<String>,
    content: Result<(String, Vec<u32>), String>,
}

fn found(reader: &mut SplitReader, input: u32) -> Result<Vec<Found>, SourceError> {
    let mut rows = Vec::new();
    while let Some(records) = reader.next()? {
        for index in 0..records.len() {
            let row = records.row(index);
            assert_eq!(row.at.row, rows.len() as u64);
            let (namespace, content) = match row.content {
                Ok(record) => {
                    let values = record.dense.iter().flat_map(Dense::iter);
                    let values = values.map(f32::to_bits).collect();
                    (record.namespace, Ok((record.id.to_owned(), values)))
                }
                Err(bad) => (
                    bad.namespace,
                    Err(String::from_utf8_lossy(&bad.raw).into_owned()),
                ),
            };
            rows.push(Found {
                input,
                locator: row.at.locator,
                namespace: namespace.map(str::to_owned),
                content,
            });
        }
    }
    Ok(rows)
}

fn read(plan: &Plan) -> Result<Vec<Found>, SourceError> {
    let mut rows = Vec::new();
    for split in &plan.splits {
        rows.extend(found(&mut plan.open(split)?, split.input)?);
    }
    Ok(rows)
}

/// Writes files, discovers and plans them.
fn plan_of(
    files: &[(&str, &[u8])],
    settings: &PlanSettings,
) -> (TempDir, Result<Plan, SourceError>) {
    let root = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(root.path().join(name), content).unwrap();
    }
    let arguments: Vec<String> = files
        .iter()
        .map(|(name, _)| root.path().join(name).to_str().unwrap().to_owned())
        .collect();
    let inputs = discover(&arguments, &Discovery::default()).unwrap();
    let plan = Plan::new(inputs, settings);
    (root, plan)
}

fn stream_of(bytes: &[u8], settings: &PlanSettings) -> Result<Plan, SourceError> {
    let inputs = discover(&["-".to_owned()], &Discovery::default()).unwrap();
    Plan::with_stdin(inputs, settings, Box::new(io::Cursor::new(bytes.to_vec())))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn lines(rows: std::ops::Range<usize>) -> Vec<u8> {
    rows.map(|row| format!("{{\"id\":\"{row}\",\"values\":[{row}.5,0.1]}}\n"))
        .collect::<String>()
        .into_bytes()
}

fn ids(rows: &[Found]) -> Vec<String> {
    let ids = rows.iter().map(|row| row.content.clone().unwrap().0);
    ids.collect()
}

/// Scenario: the same lines plain, in two members of gzip, in two frames of zstd, under names that say
/// so and names that do not, and as a stream in each form.
/// Guarantees: the same rows at the same offsets; a compressed file is one split.
#[test]
fn compressed_lines() {
    let all = lines(0..50_000);
    let cut = 1_234_567;
    let gz = [gzip(&all[..cut]), gzip(&all[cut..])].concat();
    let zst = [&all[..cut], &all[cut..]].map(|part| zstd::bulk::compress(part, 3).unwrap());
    let zst = zst.concat();
    let settings = PlanSettings::default();
    let (_root, plan) = plan_of(&[("a.jsonl", &all)], &settings);
    let expected = read(&plan.unwrap()).unwrap();
    assert_eq!(expected.len(), 50_000);
    for (name, bytes) in [
        ("a.jsonl.gz", &gz),
        ("a.ndjson.zst", &zst),
        ("a.jsonl", &gz),
        ("a.gz", &zst),
        ("a", &gz),
    ] {
        let (_root, plan) = plan_of(&[(name, bytes)], &settings);
        let plan = plan.unwrap();
        assert_eq!((plan.splits.len(), plan.bytes()), (1, bytes.len() as u64));
        assert_eq!(read(&plan).unwrap(), expected, "{name}");
    }
    for bytes in [&all, &gz, &zst] {
        let plan = stream_of(bytes, &settings).unwrap();
        assert_eq!(read(&plan).unwrap(), expected);
    }
}

/// Scenario: compressed files that are cut or whose bytes are damaged.
/// Guarantees: an error says where; what stands before has been read.
#[test]
fn damaged_compressed_files() {
    let all = lines(0..100_000);
    for mut bytes in [gzip(&all), zstd::bulk::compress(&all, 3).unwrap()] {
        bytes.truncate(bytes.len() - 9);
        let (_root, plan) = plan_of(&[("a.gz", &bytes)], &PlanSettings::default());
        let plan = plan.unwrap();
        let mut reader = plan.open(&plan.splits[0]).unwrap();
        assert!(!reader.next().unwrap().unwrap().is_empty());
        let error = loop {
            match reader.next() {
                Ok(records) => assert!(records.is_some(), "the damage went unseen"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), SourceErrorKind::Corrupt);
        assert!(
            error.to_string().contains("cannot be unpacked from here"),
            "{error}"
        );
    }
}

/// Scenario: records in a JSON array, in an object of vectors with its namespace before, after and
/// absent, and one after the other over several lines; pretty-printed or not; with a bad one; as a
/// file, compressed, and as a stream.
/// Guarantees: each record arrives with its offset and namespace; a bad one costs itself only.
#[test]
fn documents() {
    let records = [
        "{\"id\": \"a\",\n \"values\": [1.5, 0.1]}",
        "{\"id\":\"]}\\\"\\\\\",\"values\":[2]}",
        "{\"id\":\"c\",\"values\":[NaN]}",
        "7",
        "{\"id\":\"d\"}",
    ];
    let listed = records.join(" ,\n");
    let table = [
        (format!("\u{feff} [{listed}]\n"), None),
        (
            format!("{{\"vectors\":[{listed}],\"namespace\":\"n\"}}"),
            Some("n"),
        ),
        (
            format!("{{ \"namespace\" : \"n\", \"vectors\" : [ {listed} ] }} "),
            Some("n"),
        ),
        (format!("{{\"vectors\":[{listed}]}}"), None),
        (records.join("\n"), None),
    ];
    for (text, namespace) in table {
        let expected: Vec<Found> = records
            .iter()
            .zip([
                Ok(("a".to_owned(), vec![1.5_f32.to_bits(), 0.1_f32.to_bits()])),
                Ok(("]}\"\\".to_owned(), vec![2.0_f32.to_bits()])),
                Err(records[2].replace("NaN", "\"NaN\"")),
                Err("7".to_owned()),
                Ok(("d".to_owned(), vec![])),
            ])
            .map(|(record, content)| Found {
                input: 0,
                locator: text.find(record).unwrap() as u64,
                namespace: namespace.map(str::to_owned),
                content,
            })
            .collect();
        let settings = PlanSettings::default();
        for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
            let (_root, plan) = plan_of(&[("a.json", &bytes)], &settings);
            assert_eq!(read(&plan.unwrap()).unwrap(), expected, "{text}");
            let plan = stream_of(&bytes, &settings).unwrap();
            assert_eq!(read(&plan).unwrap(), expected, "{text}");
        }
    }
    for empty in ["[]", "{\"vectors\":[]}", "", " \n"] {
        let (_root, plan) = plan_of(&[("a.json", empty.as_bytes())], &PlanSettings::default());
        assert_eq!(read(&plan.unwrap()).unwrap(), []);
    }
}

/// Scenario: a document of many megabytes, with a record that is too long to be kept.
/// Guarantees: about a block is held at a time; the long one is a bad row, and the rest arrives.
#[test]
fn a_large_document() {
    let mut text = b"[".to_vec();
    for row in 0..20_000 {
        text.extend(format!("{{\"id\":\"{row}\",\"values\":[0.{row}]}},\n").bytes());
    }
    text.extend(b"{\"id\":\"");
    text.extend(vec![b'x'; 20 << 20]);
    text.extend(b"\"},{\"id\":\"last\"}]");
    let (_root, plan) = plan_of(&[("a.json", &text)], &PlanSettings::default());
    let rows = read(&plan.unwrap()).unwrap();
    assert_eq!(rows.len(), 20_002);
    assert_eq!(rows[20_000].content.as_ref().unwrap_err().len(), 1024);
    assert_eq!(rows[20_001].content, Ok(("last".to_owned(), vec![])));
    let numbered = rows[..20_000].iter().enumerate();
    for (row, found) in numbered {
        let value: f32 = format!("0.{row}").parse().unwrap();
        assert_eq!(found.content, Ok((row.to_string(), vec![value.to_bits()])));
    }
}

/// Scenario: documents that end too early, go on after their end, or have no comma where one belongs.
/// Guarantees: each is an error of the input with its place, after the records before it.
#[test]
fn broken_documents() {
    for (text, before) in [
        ("[{\"id\":\"a\"}", 1),
        ("[{\"id\":\"a\"},{\"id\":", 1),
        ("[{\"id\":\"a\"} {\"id\":\"b\"}]", 1),
        ("[{\"id\":\"a\"},]", 1),
        ("[{\"id\":\"a\"}] more", 1),
        ("{\"vectors\":[{\"id\":\"a\"}]", 1),
        ("{\"vectors\":[{\"id\":\"a\"}]}{\"vectors\":[]}", 1),
    ] {
        let settings = PlanSettings {
            columns: Columns {
                own_namespaces: false,
                ..Columns::default()
            },
            ..PlanSettings::default()
        };
        let (_root, plan) = plan_of(&[("a.json", text.as_bytes())], &settings);
        let plan = plan.unwrap();
        let mut reader = plan.open(&plan.splits[0]).unwrap();
        let mut rows = 0;
        let error = loop {
            match reader.next() {
                Ok(Some(records)) => rows += records.len(),
                Ok(None) => panic!("nothing is wrong with {text}"),
                Err(error) => break error,
            }
        };
        assert_eq!(
            (error.kind(), rows),
            (SourceErrorKind::Corrupt, before),
            "{text}"
        );
    }
}

/// Scenario: a stream that is looked at, read, and opened again; a stream of Parquet; a large document
/// in a stream whose namespace comes last.
/// Guarantees: looking takes nothing away; the second reading and what cannot be right is refused.
#[test]
fn streams() {
    let text = lines(0..200_000);
    let plan = stream_of(&text, &PlanSettings::default()).unwrap();
    assert_eq!((plan.rows(), plan.bytes()), (None, 0));
    let peeked = found(&mut plan.peek(&plan.splits[0]).unwrap(), 0).unwrap();
    assert!((100..50_000).contains(&peeked.len()), "{}", peeked.len());
    let rows = read(&plan).unwrap();
    assert_eq!(rows.len(), 200_000);
    assert_eq!(rows[..peeked.len()], peeked);
    let again = plan.open(&plan.splits[0]).unwrap_err();
    assert_eq!(again.kind(), SourceErrorKind::Changed);

    let error = stream_of(b"PAR1....PAR1", &PlanSettings::default()).unwrap_err();
    assert!(error.to_string().contains("name the file"), "{error}");
    let listed: Vec<String> = (0..400_000)
        .map(|row| format!("{{\"id\":\"{row}\"}}"))
        .collect();
    let document = format!("{{\"vectors\":[{}],\"namespace\":\"n\"}}", listed.join(","));
    // More than is looked at before records are sent.
    let document = document.replace(
        "{\"id\":\"0\"}",
        &format!("{{\"id\":\"{}\"}}", "x".repeat(9 << 20)),
    );
    let error = stream_of(document.as_bytes(), &PlanSettings::default()).unwrap_err();
    assert!(error.to_string().contains("give --namespace"), "{error}");
}

/// Scenario: files and documents, plain and compressed, with every limit around their borders.
/// Guarantees: exactly the first rows in input order are read, whatever the splits; the plan knows how
/// many that are and what is left out.
#[test]
fn a_limit_takes_the_first_rows() {
    let document = format!(
        "[{}]",
        String::from_utf8(lines(10..15))
            .unwrap()
            .trim_end()
            .replace('\n', ",")
    );
    let packed = gzip(&lines(15..20));
    let files: &[(&str, &[u8])] = &[
        ("a.jsonl", &lines(0..10)),
        ("b.json", document.as_bytes()),
        ("c.jsonl.gz", &packed),
    ];
    for limit in 0..23 {
        let settings = PlanSettings {
            limit: Some(limit),
            split_bytes: 70,
            ..PlanSettings::default()
        };
        let (_root, plan) = plan_of(files, &settings);
        let plan = plan.unwrap();
        let rows = read(&plan).unwrap();
        let expected: Vec<String> = (0..limit.min(20)).map(|row| row.to_string()).collect();
        assert_eq!(ids(&rows), expected);
        assert_eq!(plan.rows(), Some(expected.len() as u64));
        let left_out = plan
            .filtered()
            .iter()
            .any(|filtered| *filtered != Filtered::NOTHING);
        assert_eq!(left_out, limit < 20, "{limit}");
    }
    let settings = PlanSettings {
        limit: Some(3),
        ..PlanSettings::default()
    };
    let plan = stream_of(&lines(0..10), &settings).unwrap();
    assert_eq!(ids(&read(&plan).unwrap()), ["0", "1", "2"]);
}

/// Scenario: keys as other writers call them, in the first lines of a file: split and mapped sparse
/// vectors, flat metadata, a namespace; then names that are wrong, and two that may be meant.
/// Guarantees: one line says what was taken for what, and what cannot be told is refused with the flag.
#[test]
fn keys_of_others() {
    let table = [
        (
            r#"{"_id":1,"embedding":[0.5,1],"payload":{"a":1},"blob":{"x":1}}"#,
            "id <- _id, values <- embedding (list, 2), metadata <- payload; not read: blob",
        ),
        (
            r#"{"doc_id":"a","vector":[1],"title":"x","year":1984,"tags":["t"],"deep":{"x":1},"others":[1,2]}"#,
            "id <- doc_id, values <- vector (list, 1), metadata <- title, year, tags; not read: deep, others",
        ),
        (
            r#"{"id":"a","sparse_indices":[1],"sparse_values":[0.5],"namespace":"n"}"#,
            "id <- id, sparse_values <- sparse_indices, sparse_values, namespace <- namespace",
        ),
        (
            r#"{"id":"a","values":[1],"sparseValues":{"indices":[1],"values":[2]},"metadata":null}"#,
            "id <- id, values <- values (list, 1), sparse_values <- sparseValues, metadata <- metadata",
        ),
        (
            r#"{"pk":"a","sparse":{"7":0.5}}"#,
            "id <- pk, sparse_values <- sparse",
        ),
    ];
    for (line, expected) in table {
        let (_root, plan) = plan_of(&[("a.jsonl", line.as_bytes())], &PlanSettings::default());
        assert_eq!(plan.unwrap().mapping(0).to_string(), expected);
    }
    let stated = PlanSettings {
        columns: Columns {
            values: Some("embeding".into()),
            ..Columns::default()
        },
        ..PlanSettings::default()
    };
    let line = br#"{"id":"a","embedding":[1]}"#;
    let (_root, plan) = plan_of(&[("a.jsonl", line)], &stated);
    let error = plan.unwrap_err().to_string();
    assert!(error.contains(r#"did you mean "embedding""#), "{error}");
    let line = br#"{"id":"a","embedding":[1],"vector":[2]}"#;
    let (_root, plan) = plan_of(&[("a.jsonl", line)], &PlanSettings::default());
    let error = plan.unwrap_err().to_string();
    assert!(error.contains("say which with --vector-column"), "{error}");
}

/// Scenario: the layout of Pinecone's import, with and without its directories as namespaces.
/// Guarantees: rows and bad rows belong to their directory, or the plan tells which were ignored.
#[test]
fn directories_as_namespaces() {
    let root = TempDir::new().unwrap();
    for (name, line) in [("a", "{\"id\":\"1\"}"), ("b", "{}"), ("year=2024", "{}")] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("0.jsonl"), line).unwrap();
    }
    let argument = [root.path().to_str().unwrap().to_owned()];
    let plan = |namespace_from_dir| {
        let discovery = Discovery {
            namespace_from_dir,
            ..Discovery::default()
        };
        Plan::new(
            discover(&argument, &discovery).unwrap(),
            &PlanSettings::default(),
        )
        .unwrap()
    };
    let names = |plan: &Plan| -> Vec<_> {
        let rows = read(plan).unwrap().into_iter();
        rows.map(|row| row.namespace).collect()
    };
    let ignored = plan(false);
    assert_eq!(ignored.ignored_directories(), ["a", "b"]);
    assert_eq!(names(&ignored), [None, None, None]);
    let taken = plan(true);
    assert!(taken.ignored_directories().is_empty());
    let expected = ["a", "b", "year=2024"].map(|name| Some(name.to_owned()));
    assert_eq!(names(&taken), expected);
}

/// Scenario: lines that are no records, most of them with an id that can be read; a limit in their midst; a
/// namespace of the directory.
/// Guarantees: a key is told wherever there is an id, whatever else is wrong; an id that is missing, empty or in
/// a line that breaks off is none; rows keep their numbers, and what the limit leaves out has no key.
#[test]
fn keys_of_rows() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("films");
    fs::create_dir(&folder).unwrap();
    let rows = [
        (r#"{"id":"a","values":[1,"x"]}"#, Some(("films", "a"))),
        (r#"{"values":[1],"namespace":"b","id":7}"#, Some(("b", "7"))),
        (r#"{"id":"","values":[1]}"#, None),
        (r#"{"id":null,"values":[1]}"#, None),
        (r#"{"values":[1]}"#, None),
        (r#"{"id":"torn","val"#, None),
        (r#"{"values":[1,2"#, None),
        (r#"{"values":[1,,],"id":"d"}"#, Some(("films", "d"))),
        (
            r#"{"values":[[1],"]"],"m":{"l":["]"]},"id":"e"}"#,
            Some(("films", "e")),
        ),
        (r#"{"id":"\u0061b","values":[]}"#, Some(("films", "ab"))),
        (r#"{"_reject":{},"namespace":"","id":"c"}"#, Some(("", "c"))),
        (r#"{"id":"left out"}"#, None),
    ];
    let lines: String = rows.iter().map(|(line, _)| format!("{line}\n")).collect();
    fs::write(folder.join("a.jsonl"), lines).unwrap();
    let argument = root.path().to_str().unwrap().to_owned();
    let discovery = Discovery {
        namespace_from_dir: true,
        ..Discovery::default()
    };
    let settings = PlanSettings {
        limit: Some(11),
        ..PlanSettings::default()
    };
    let plan = Plan::new(discover(&[argument], &discovery).unwrap(), &settings).unwrap();
    let split = &plan.splits[0];
    assert_eq!(plan.key_bytes(split), split.bytes);
    let mut reader = plan.open_keys(split).unwrap();
    let mut keys = reader.next().unwrap().unwrap();
    assert!(!keys.is_empty());
    let found: Vec<_> = (0..keys.len())
        .map(|row| {
            keys.get(row)
                .map(|key| (key.namespace.unwrap().to_owned(), key.id.to_owned()))
        })
        .collect();
    let expected = rows[..11]
        .iter()
        .map(|(_, key)| key.map(|(namespace, id)| (namespace.to_owned(), id.to_owned())));
    assert!(found.into_iter().eq(expected), "{plan:?}");
    assert!(reader.next().unwrap().is_none());
}
