//! The words that users see, as snapshots.

use std::fmt::Write as _;
use std::process::Output;

use tempfile::TempDir;

use crate::process::{Server, lines, run, stderr, write};

/// What a run said and exited with, without what differs from run to run.
pub(crate) fn assert_words(name: &str, folder: &TempDir, output: &Output) {
    assert_text(name, folder, &said(output));
}

fn said(output: &Output) -> String {
    let mut text = format!("exit {}\n", output.status.code().unwrap_or(-1));
    for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let bytes = String::from_utf8_lossy(bytes);
        let _ = write!(text, "--- {stream}\n{bytes}");
    }
    text
}

fn assert_text(name: &str, folder: &TempDir, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(&regex_of(&folder.path().display().to_string()), "[FOLDER]");
    settings.add_filter(r"\d{8}T\d{6}-[0-9a-f]{6}", "[RUN]");
    settings.add_filter(
        r"in [\d.]+s \([\d.]+ MB/s, \d+ records/s\)",
        "in [TIME] ([RATES])",
    );
    settings.add_filter(r"(seed \d+\)) in [\d.]+s", "$1 in [TIME]");
    settings.add_filter(r"continue: \S*vecload load", "continue: vecload load");
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]");
    settings.add_filter(r"request [0-9a-f]{16}", "request [ID]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[NOW]");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A path as a pattern.
fn regex_of(path: &str) -> String {
    path.replace('.', "\\.")
}

/// Scenario: the help of the command and of its subcommands.
/// Guarantees: what users read is what was reviewed.
#[test]
fn help() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help-load", &["load", "--help"]),
        ("help-verify", &["verify", "--help"]),
        ("help-serve", &["serve", "--help"]),
        ("help-bench", &["bench", "--help"]),
        ("help-report", &["report", "--help"]),
    ] {
        let output = run(&folder, arguments);
        assert!(output.stderr.is_empty(), "help belongs on stdout");
        assert_words(name, &folder, &output);
    }
}

/// Variables of the environment, and arguments.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// Scenario: usage and settings that are wrong, in flags, variables and files.
/// Guarantees: exit code 2, and one error that names the place, the value and what to do.
#[test]
fn wrong_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "unknown.toml", "namespace_rat = \"50MB/s\"\n");
    write(&folder, "wrong.toml", "memory = \"lots\"\n");
    write(&folder, "broken.toml", "memory = \n");
    write(&folder, "corpus.jsonl", &lines(1));
    let mut text = String::new();
    let cases: [Case<'_>; 16] = [
        (&[], &[]),
        (&[], &["lod"]),
        (&[], &["load", "--hots", "x"]),
        (&[], &["load", "corpus.jsonl"]),
        (&[], &["load", "--host", "http://127.0.0.1:1"]),
        (
            &[],
            &["load", "corpus.jsonl", "--local", "a", "--host", "b"],
        ),
        (
            &[],
            &["load", "corpus.jsonl", "--local", "a", "--memory", "lots"],
        ),
        (
            &[],
            &["load", "corpus.jsonl", "--local", "a", "--memory", "1MB"],
        ),
        (
            &[],
            &[
                "load",
                "corpus.jsonl",
                "--local",
                "a",
                "--max-rejects",
                "-1",
            ],
        ),
        (
            &[],
            &["load", "corpus.jsonl", "--local", "a", "--format", "csv"],
        ),
        (
            &[],
            &[
                "load",
                "corpus.jsonl",
                "--local",
                "a",
                "--config",
                "none.toml",
            ],
        ),
        (
            &[],
            &[
                "load",
                "corpus.jsonl",
                "--local",
                "a",
                "--config",
                "unknown.toml",
            ],
        ),
        (
            &[],
            &[
                "load",
                "corpus.jsonl",
                "--local",
                "a",
                "--config",
                "wrong.toml",
            ],
        ),
        (
            &[],
            &[
                "load",
                "corpus.jsonl",
                "--local",
                "a",
                "--config",
                "broken.toml",
            ],
        ),
        (
            &[("VECLOAD_WORKERS", "many")],
            &["load", "corpus.jsonl", "--local", "a"],
        ),
        (
            &[("VECLOAD_WORKER", "1")],
            &["load", "corpus.jsonl", "--local", "a"],
        ),
    ];
    for (variables, arguments) in cases {
        let mut command = crate::process::vecload(&folder);
        let output = command
            .args(arguments)
            .envs(variables.iter().copied())
            .output();
        let output = output.expect("the command runs");
        let _ = write!(text, "$");
        for (name, value) in variables {
            let _ = write!(text, " {name}={value}");
        }
        let _ = write!(
            text,
            " vecload {}\n{}\n",
            arguments.join(" "),
            said(&output)
        );
        assert_eq!(output.status.code(), Some(2), "{text}");
    }
    assert_text("wrong-settings", &folder, &text);
}

/// Scenario: the settings in force, from a file, the environment and a flag, with secrets.
/// Guarantees: all settings with their values, in TOML that can be given back; secrets are not shown.
#[test]
fn print_config() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "my.toml", "namespace = \"films\"\nworkers = 3\n");
    let mut command = crate::process::vecload(&folder);
    let output = command
        .args([
            "load",
            "--config",
            "my.toml",
            "--memory",
            "64MiB",
            "--print-config",
        ])
        .env("VECLOAD_WORKERS", "5")
        .env("PINECONE_API_KEY", "pcsk_canary")
        .output()
        .expect("the command runs");
    assert_words("print-config", &folder, &output);
}

/// Scenario: loads that end well, with rejects, with rejects that are allowed, and with too many.
/// Guarantees: the summary is the last line, before it stands what was rejected and where, and the exit
/// code says how it went.
#[test]
fn summaries() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "good.jsonl", &lines(10));
    let bad = lines(10) + "{\"id\":\"x\",\"values\":[1]}\n{\"id\":\"y\"}\nnot JSON\n";
    write(&folder, "bad.jsonl", &bad);
    write(
        &folder,
        "null.jsonl",
        "{\"id\":\"a\",\"values\":[1,2,3,4],\"metadata\":{\"year\":null,\"title\":\"Alien\"}}\n",
    );
    let into = |name: &str, arguments: &[&str]| {
        let input = format!("{name}.jsonl");
        let all = [
            &["load", &input, "--workers", "1", "--local", "index"][..],
            arguments,
        ];
        run(&folder, &all.concat())
    };
    assert_words("summary-good", &folder, &into("good", &[]));
    assert_words("summary-rejects", &folder, &into("bad", &[]));
    let allowed = into("bad", &["--exit-zero-on-rejects", "-q"]);
    assert_words("summary-rejects-allowed", &folder, &allowed);
    // Whether the good ones are sent before the stop or remain is a race.
    let mut too_many = said(&into("bad", &["--max-rejects", "2"]));
    for (loaded, remaining) in [(10, 0), (0, 10)] {
        let outcome = format!("loaded {loaded} records, rejected 3, remaining {remaining} ");
        too_many = too_many.replace(&outcome, "loaded N records, rejected 3, remaining N ");
    }
    assert_text("summary-too-many", &folder, &too_many);
    assert_words("summary-changes", &folder, &into("null", &[]));
}

/// Scenario: `serve` with a port that is taken, a directory that is served already, and broken faults.
/// Guarantees: one error that says what is wrong, exit code 3 or 2, nothing on stdout.
#[test]
fn servers_that_do_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder, &["--data-dir", "index"]);
    let port = server.host.rsplit(':').next().expect("a port").to_owned();
    write(&folder, "faults.toml", "refuse = 2.0\n");
    write(&folder, "typo.toml", "refse = 0.5\n");
    let mut text = String::new();
    for (arguments, code) in [
        (&["serve", "--port", port.as_str()][..], 3),
        (&["serve", "--data-dir", "index"], 3),
        (&["serve", "--faults", "faults.toml"], 3),
        (&["serve", "--faults", "typo.toml"], 2),
    ] {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        let shown = arguments.join(" ").replace(&port, "[PORT]");
        let said = stderr(&output).replace(&port, "[PORT]");
        let _ = write!(text, "$ vecload {shown}\n{said}\n");
    }
    assert_text("servers-that-do-not-start", &folder, &text);
}
