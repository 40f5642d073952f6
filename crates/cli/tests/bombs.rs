//! Files that are to take memory, against the command. A program of its own: what the kernel kept as the peak of all
//! its children is of these alone.
//!
//! What the runs took is printed, for docs/hostile-input.md:
//! `cargo test -p vecload-cli --test bombs -- --nocapture`.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::process::{Command, Output};

use nix::sys::resource::{UsageWho, getrusage};
use tokio::time::Instant;
use vecload_corpus::crafted::{bomb, long_column, long_list};

/// What the command takes anyway, in a debug build, and much less than the bombs are to take.
const ALLOWED_BYTES: i64 = 64 << 20;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_vecload"))
        .env_clear()
        .current_dir(folder)
        .args(arguments)
        .output();
    output.expect("the command runs")
}

/// Scenario: a file of 33 KB that unpacks to 1 GiB, and footers that claim a column of 200 GB and a list of row
/// groups for which 200 GB would be taken, each checked, checked in full and loaded.
/// Guarantees: each is refused with exit code 3 and one error that names the file, the row group where there is one, the
/// column of the page, and what to do; nothing is loaded; the peak stays below 64 MiB.
#[test]
fn bombs_are_refused_in_little_memory() {
    let bomb = bomb().expect("written");
    assert!((30_000..36_000).contains(&bomb.len()), "{}", bomb.len());
    let cases = [
        (
            "bomb.parquet",
            bomb,
            &["row group 0", "column \"values", "1073741824", "max_page"][..],
        ),
        (
            "column.parquet",
            long_column().expect("written"),
            &["row group 0", "column \"values", "200000000000"],
        ),
        ("list.parquet", long_list(), &["damaged", "2147483647"]),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes, words) in cases {
        std::fs::write(folder.path().join(name), bytes).expect("written");
        for arguments in [
            &["check", name][..],
            &["check", "--full", name],
            &["load", name, "--local", "index", "--run-dir", "run"],
        ] {
            let begun = Instant::now();
            let output = run(folder.path(), arguments);
            println!("{arguments:?}: {:?}", begun.elapsed());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
            let errors: Vec<_> = said
                .lines()
                .filter(|line| line.starts_with("error: "))
                .collect();
            assert_eq!(errors.len(), 1, "{arguments:?}: {said}");
            for word in words.iter().chain([&name]) {
                assert!(errors[0].contains(word), "{arguments:?}, {word}: {said}");
            }
        }
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("known");
    // Linux counts kilobytes, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let peak = usage.max_rss() * unit;
    println!("peak of them all: {} kB", peak / 1024);
    assert!(peak < ALLOWED_BYTES, "{peak} bytes");
    // It is the command's.
    assert!(peak > 1 << 20, "{peak} bytes");
}
