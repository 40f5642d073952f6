//! Ids that occur again, as people see them.

use tempfile::TempDir;

use crate::process::{Server, report, run, stderr, write};
use crate::words::assert_words;

/// Six rows: `a` three times, `b` twice and the last time with a bad vector, `c` once.
const ROWS: &str = "{\"id\":\"a\",\"values\":[1,0]}\n{\"id\":\"a\",\"values\":[2,0],\"namespace\":\"\"}\n\
                    {\"id\":\"b\",\"values\":[3,0]}\n{\"id\":\"a\",\"values\":[4,0]}\n\
                    {\"id\":\"b\",\"values\":[0,0]}\n{\"id\":\"c\",\"values\":[5,0]}\n";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", ROWS);
    folder
}

/// Scenario: duplicates, one of them with a bad last row, are checked quickly, in full and under each policy, and
/// loaded.
/// Guarantees: a check says what is read for it and, in full, what was found; the load counts the same.
#[test]
fn a_check_tells_of_duplicates() {
    let folder = folder();
    for (name, more) in [
        ("check-duplicates-quick", &[][..]),
        ("check-duplicates-last", &["--full"]),
        (
            "check-duplicates-reject",
            &["--full", "--duplicates", "reject"],
        ),
        ("check-duplicates-any", &["--full", "--duplicates", "any"]),
    ] {
        let output = run(
            &folder,
            &[&["check", "corpus.jsonl", "--workers", "2"], more].concat(),
        );
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_words(name, &folder, &output);
    }
    let server = Server::start(&folder, &[]);
    let load = [
        "load",
        "corpus.jsonl",
        "--host",
        &server.host,
        "--run-dir",
        "run",
    ];
    let output = run(&folder, &load);
    assert_words("summary-duplicates", &folder, &output);
    assert_eq!(report(&folder.path().join("run"))["ids_without_version"], 1);
}
