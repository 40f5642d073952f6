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
    let inputs = discover(
        &arguments,
        &Discovery {
            format,
            ..Discovery::default()
        },
    )?;
    Ok(inputs
        .into_iter()
        .map(|input| {
            let Origin::File(path) = &input.origin else {
                panic!("{input:?}");
            };
            assert_eq!(input.bytes, fs::metadata(path).unwrap().len());
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
        ("d/__default__/0.parquet", ""),
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
        "d/__default__/0.parquet",
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
        ("d/a.txt", ""),
        ("d/about.json", ""),
        ("d/b.parquet", ""),
    ]);
    let found = |name| found_in(&root, &[name], None).unwrap()[0].1;
    assert_eq!(found("lines.json"), Format::Jsonl);
    assert_eq!(found("data.bin"), Format::Parquet);
    let stated = |name| found_in(&root, &[name], Some(Format::Jsonl)).unwrap();
    assert_eq!(stated("x.txt"), [("x.txt".into(), Format::Jsonl)]);
    assert_eq!(stated("data.bin"), [("data.bin".into(), Format::Jsonl)]);
    assert_eq!(stated("d"), [("d/a.txt".into(), Format::Jsonl)]);
}

/// Scenario: what cannot be an input.
/// Guarantees: each is an error of its kind that says what was found and what to do.
#[test]
fn refusals() {
    let root = tree(&[
        ("x.txt", "text"),
        ("bz/a.jsonl.bz2", ""),
        ("a.parquet.gz", ""),
        ("empty/", ""),
        ("words/a.json", "{}"),
        ("words/b.csv", ""),
        ("run/report.json", "{\"vecload_version\":\"0.1.0\"}"),
    ]);
    let table = [
        ("none", SourceErrorKind::NotFound, "cannot find it"),
        ("x.txt", SourceErrorKind::Unsupported, "state the format"),
        ("bz", SourceErrorKind::Unsupported, "compress it with gzip"),
        (
            "bz/a.jsonl.bz2",
            SourceErrorKind::Unsupported,
            "compress it with gzip",
        ),
        (
            "a.parquet.gz",
            SourceErrorKind::Unsupported,
            "decompress it first",
        ),
        ("*.txt", SourceErrorKind::Empty, "none of the 1 paths"),
        ("*.none", SourceErrorKind::Empty, "there is no such file"),
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

/// Scenario: globs of names and of directories, with hidden names; further arguments in a file.
/// Guarantees: they stand for what a shell would give, sorted, and only for data.
#[test]
fn globs_and_lists() {
    let root = tree(&[
        ("d/1/b.parquet", ""),
        ("d/1/a.jsonl", ""),
        ("d/1/notes.md", ""),
        ("d/2/c.jsonl", ""),
        ("d/2/deep/e.jsonl", ""),
        ("d/.hidden/x.jsonl", ""),
        ("d/_tmp.jsonl", ""),
        ("d/records.json", "[]"),
        ("odd[1].jsonl", ""),
    ]);
    let table: [(&str, &[&str]); 7] = [
        ("d/*/*.jsonl", &["d/1/a.jsonl", "d/2/c.jsonl"]),
        (
            "d/**/*.jsonl",
            &["d/1/a.jsonl", "d/2/c.jsonl", "d/2/deep/e.jsonl"],
        ),
        (
            "d/{1,2}",
            &[
                "d/1/a.jsonl",
                "d/1/b.parquet",
                "d/2/c.jsonl",
                "d/2/deep/e.jsonl",
            ],
        ),
        ("d/1/[a-b]*", &["d/1/a.jsonl", "d/1/b.parquet"]),
        ("d/*.json", &["d/records.json"]),
        (
            "d/?/*",
            &[
                "d/1/a.jsonl",
                "d/1/b.parquet",
                "d/2/c.jsonl",
                "d/2/deep/e.jsonl",
            ],
        ),
        ("odd[1].jsonl", &["odd[1].jsonl"]),
    ];
    for (glob, expected) in table {
        assert_eq!(names(&root, &[glob]), expected, "{glob}");
    }
    let base = root.path().to_str().unwrap();
    for end in ["\n", "\0"] {
        let list = root.path().join("list");
        let lines = [
            format!("{base}/d/2"),
            String::new(),
            format!("{base}/d/*/b.*"),
        ];
        fs::write(&list, lines.join(end)).unwrap();
        let discovery = Discovery {
            files_from: Some(list),
            ..Discovery::default()
        };
        let found = discover(&[], &discovery).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|input| input.name.replace(base, ""))
            .collect();
        assert_eq!(
            found,
            ["/d/2/c.jsonl", "/d/2/deep/e.jsonl", "/d/1/b.parquet"]
        );
    }
}

/// Scenario: patterns of names and of paths that are wanted and not wanted; a pattern that is none.
/// Guarantees: they choose among the files of directories and leave a file that is named alone.
#[test]
fn wanted_files() {
    let root = tree(&[
        ("d/a.jsonl", ""),
        ("d/b.jsonl", ""),
        ("d/old/a.jsonl", ""),
        ("d/old/c.jsonl", ""),
    ]);
    let base = root.path().to_str().unwrap();
    let chosen = |argument: &str, include: &[&str], exclude: &[&str]| {
        let owned = |patterns: &[&str]| patterns.iter().map(|glob| (*glob).to_owned()).collect();
        let discovery = Discovery {
            include: owned(include),
            exclude: owned(exclude),
            ..Discovery::default()
        };
        let found = discover(&[format!("{base}/{argument}")], &discovery)?;
        let names = found.iter().map(|input| input.name.replace(base, ""));
        Ok::<_, SourceError>(names.collect::<Vec<_>>())
    };
    let found = chosen("d", &["a.*"], &[]).unwrap();
    assert_eq!(found, ["/d/a.jsonl", "/d/old/a.jsonl"]);
    let found = chosen("d", &[], &["old/*", "b*"]).unwrap();
    assert_eq!(found, ["/d/a.jsonl"]);
    assert_eq!(
        chosen("d/b.jsonl", &["a.*"], &["b*"]).unwrap(),
        ["/d/b.jsonl"]
    );
    let error = chosen("d", &["["], &[]).unwrap_err();
    assert!(error.to_string().contains("it is no pattern"), "{error}");
}

/// Scenario: the standard input named twice; a named pipe; a link that leads to itself.
/// Guarantees: the input is one stream; the pipe is refused with what to do; the link is an error.
#[test]
fn streams_and_pipes() {
    let found = discover(&["-".to_owned(), "-".to_owned()], &Discovery::default()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].origin, Origin::Stdin);
    let root = tree(&[("d/", "")]);
    let pipe = root.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let error = refusal(&root, "pipe");
    assert!(
        error.to_string().contains("give - and redirect it"),
        "{error}"
    );
    symlink(root.path().join("d/loop"), root.path().join("d/loop")).unwrap();
    assert_eq!(refusal(&root, "d").kind(), SourceErrorKind::Unreadable);
}
