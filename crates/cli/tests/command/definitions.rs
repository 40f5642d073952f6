//! Completions and man pages: made of the same definitions as the parser.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::process::{run, stderr};

/// Scenario: a completion script for each shell; that for bash is read by bash, where there is one.
/// Guarantees: each has the subcommands and a flag of `load`; a shell that is unknown is wrong usage.
#[test]
fn each_shell_completes() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&folder, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        for word in [
            "load",
            "report",
            "completions",
            "replicas",
            "namespace-column",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn();
        if let (Ok(mut bash), "bash") = (bash, shell) {
            let mut input = bash.stdin.take().expect("piped");
            input.write_all(script.as_bytes()).expect("written");
            drop(input);
            assert!(bash.wait().expect("ended").success());
        }
    }
    let unknown = run(&folder, &["completions", "tcsh"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
}

/// Scenario: the man page of the command, of `load`, and of what is no command.
/// Guarantees: they are roff with the flags and the exit codes of the help; what is unknown is wrong usage.
#[test]
fn each_command_has_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = |arguments: &[&str]| {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let all = page(&["man"]);
    assert!(
        all.contains(".TH vecload 1") && all.contains("vecload\\-load(1)"),
        "{all}"
    );
    let load = page(&["man", "load"]);
    assert!(load.contains(".TH vecload-load 1"), "{load}");
    let help = page(&["load", "--help"]);
    let words = help.split_whitespace();
    let flags: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() > 40, "{flags:?}");
    let plain = load.replace('\\', "");
    for flag in flags {
        let name = flag.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
        assert!(plain.contains(name), "{name}");
    }
    assert!(load.contains("Exit codes:"), "{load}");
    let unknown = run(&folder, &["man", "unload"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
}
