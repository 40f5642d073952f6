use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A directory with files; a path that ends with `/` is a directory.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    root
}

fn found_in(
    root: &TempDir,
    arguments: &[&str],
    format: Option<Format>,
) -> Result<Vec<(String, Format)>, SourceError> {
    let base = root.path().to_str().unwrap();
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| format!("{base}/{argument}"))
        .collect();
    let inputs = discover(&arguments, &Discovery { format })?;
    Ok(inputs
        .into_iter()
        .map(|input| {
            assert_eq!(input.bytes, fs::metadata(&input.path).unwrap().len());
            let name = input.name.strip_prefix(base).unwrap();
            (name.trim_start_matches('/').to_owned(), input.format)
        })
        .collect())
}

fn names(root: &TempDir, arguments: &[&str]) -> Vec<String> {
    let found = found_in(root, arguments, None).unwrap();
    found.into_iter().map(|(name, _)| name).collect()
}

fn refusal(root: &TempDir, argument: &str) -> SourceError {
    found_in(root, &[argument], None).unwrap_err()
}

/// Scenario: a directory of data, hidden names, run directories, test queries and other files.
/// Guarantees: data is found at every level, sorted by name, and nothing else.
#[test]
fn a_directory_is_searched() {
    let root = tree(&[
        ("d/b.parquet", ""),
        ("d/a/z.jsonl", ""),
        ("d/a.ndjson", ""),
        ("d/c/PART.PQ", ""),
        ("d/part-00000", "\n{\"id\":\"a\"}\n"),
        ("d/part-00001", "PAR1"),
        ("d/README", "text"),
        ("d/README.md", "{"),
        ("d/metadata.json", "{}"),
        ("d/.hidden.jsonl", ""),
        ("d/_SUCCESS", ""),
        ("d/_temporary/x.parquet", ""),
        ("d/.git/x.jsonl", ""),
        ("d/vecload-runs/1/rejected-0.jsonl", ""),
        ("d/run/report.json", "{\"vecload_version\":\"0.1.0\"}"),
        ("d/run/rejected-0.jsonl", ""),
        ("d/planned/plan", "{\"vecload\":1}"),
        ("d/planned/rejected-0.jsonl", ""),
        ("d/theirs/report.json", "{\"rows\":1}"),
        ("d/theirs/y.jsonl", ""),
        ("d/set/documents/1.parquet", ""),
        ("d/set/queries/1.parquet", ""),
        ("d/queries/1.parquet", ""),
    ]);
    let expected = [
        "d/a/z.jsonl",
        "d/a.ndjson",
        "d/b.parquet",
        "d/c/PART.PQ",
        "d/part-00000",
        "d/part-00001",
        "d/queries/1.parquet",
        "d/set/documents/1.parquet",
        "d/theirs/y.jsonl",
    ];
    assert_eq!(names(&root, &["d"]), expected);
}

/// Scenario: files and directories that name the same file in several ways, cycles of links among them.
/// Guarantees: they keep the order given, and each file is taken once, under its first name.
#[test]
fn a_file_is_taken_once() {
    let root = tree(&[("d/a.jsonl", ""), ("d/b.jsonl", ""), ("d/e/", "")]);
    symlink(root.path().join("d/b.jsonl"), root.path().join("d/c.jsonl")).unwrap();
    symlink(root.path().join("d"), root.path().join("d/e/up")).unwrap();
    let arguments = ["d/b.jsonl", "d/../d/b.jsonl", "d", "d", "d/a.jsonl"];
    assert_eq!(names(&root, &arguments), ["d/b.jsonl", "d/a.jsonl"]);
}

/// Scenario: files given by name whose name says nothing of their format, or something else.
/// Guarantees: content decides then; a stated format holds over both, in directories over other names.
#[test]
fn formats() {
    let root = tree(&[
        ("lines.json", "\u{feff} {\"id\":\"a\"}"),
        ("data.bin", "PAR1"),
        ("x.txt", "[]"),
        ("d/a.json", ""),
        ("d/b.parquet", ""),
    ]);
    let found = |name| found_in(&root, &[name], None).unwrap()[0].1;
    assert_eq!(found("lines.json"), Format::Jsonl);
    assert_eq!(found("data.bin"), Format::Parquet);
    let stated = |name| found_in(&root, &[name], Some(Format::Jsonl)).unwrap();
    assert_eq!(stated("x.txt"), [("x.txt".into(), Format::Jsonl)]);
    assert_eq!(stated("data.bin"), [("data.bin".into(), Format::Jsonl)]);
    assert_eq!(stated("d"), [("d/a.json".into(), Format::Jsonl)]);
}

/// Scenario: what cannot be an input.
/// Guarantees: each is an error of its kind that says what was found and what to do.
#[test]
fn refusals() {
    let root = tree(&[
        ("x.txt", "text"),
        ("gz/a.jsonl.gz", ""),
        ("empty/", ""),
        ("words/a.json", "{}"),
        ("words/b.csv", ""),
        ("run/report.json", "{\"vecload_version\":\"0.1.0\"}"),
    ]);
    let table = [
        ("none", SourceErrorKind::NotFound, "cannot find it"),
        ("x.txt", SourceErrorKind::Unsupported, "state the format"),
        ("gz", SourceErrorKind::Unsupported, "decompress it first"),
        (
            "gz/a.jsonl.gz",
            SourceErrorKind::Unsupported,
            "decompress it first",
        ),
        ("empty", SourceErrorKind::Empty, "no Parquet or JSONL file"),
        ("words", SourceErrorKind::Empty, "words/a.json and 1 more"),
        ("run", SourceErrorKind::Empty, "it is a run directory"),
    ];
    for (argument, kind, words) in table {
        let error = refusal(&root, argument);
        assert_eq!(error.kind(), kind, "{argument}");
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(discover(&[], &Discovery::default()).unwrap(), []);
    let device = discover(&["/dev/null".to_owned()], &Discovery::default()).unwrap_err();
    assert_eq!(device.kind(), SourceErrorKind::Unsupported);
}
