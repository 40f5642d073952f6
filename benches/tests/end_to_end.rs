//! The harness itself, on a corpus that takes no time.

use std::path::Path;
use std::process::Command;

/// Scenario: one counted round of all contenders but Python's over 2,000 records in each form, and a client of
/// one's own beside them.
/// Guarantees: every contender ends well and every record that one says it sent was counted by the
/// server, else the harness fails; each has its row, and each comparison its own. How fast they are is
/// not looked at.
#[test]
fn every_contender_is_counted() {
    let harness = Path::new(env!("CARGO_BIN_EXE_end_to_end"));
    assert!(
        harness.with_file_name("vecload").try_exists().unwrap(),
        "run the tests of the whole workspace: the harness needs the command"
    );
    let out = Command::new(harness)
        .args(["--records", "2000", "--jsonl-records", "2000"])
        .args(["--dimension", "32", "--pairs", "1"])
        .args(["--client", env!("CARGO_BIN_EXE_straightforward")])
        .output()
        .expect("the harness runs");
    let table = String::from_utf8(out.stdout).unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}\n{table}");
    for form in ["zstd", "none", "snappy", "jsonl"] {
        for what in [
            "vecload",
            "vecload, defaults",
            "straightforward Rust client",
        ] {
            let row = format!("| {form} | {what} | 2000 | ");
            assert!(table.contains(&row), "no {row:?} in\n{table}");
        }
        let row = format!("| {form} | straightforward Rust client / vecload, CPU | ");
        assert!(table.contains(&row), "no {row:?} in\n{table}");
    }
    assert_eq!(table.matches("/straightforward | 2000 | ").count(), 4);
    assert_eq!(
        table.matches("/straightforward / vecload, CPU | ").count(),
        4
    );
    assert!(!table.contains("NaN"), "{table}");
}
