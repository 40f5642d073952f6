//! The command that a user types next, made of the one that was typed.

use std::borrow::Cow;

use vecload::{NextCommand, without_secrets};

/// Flags that say how this attempt was to begin; with what follows them where that is their value.
const OF_THIS_ATTEMPT: [(&str, bool); 3] = [
    ("--run-dir", true),
    ("--resume", true),
    ("--retry-rejects", false),
];

/// The text of the next command, quoted for a shell. Signed URLs are without their signatures.
pub(crate) fn next_command(typed: &[String], next: NextCommand<'_>) -> String {
    let mut words: Vec<Cow<'_, str>> = Vec::new();
    let mut rest = typed.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let flag = OF_THIS_ATTEMPT.iter().find(|(name, _)| {
            let value = word.strip_prefix(name);
            value.is_some_and(|value| value.is_empty() || value.starts_with('='))
        });
        match flag {
            None => words.push(without_secrets(word)),
            Some((name, true)) if word == *name => drop(rest.next()),
            Some(_) => {}
        }
    }
    match next {
        NextCommand::Continue(path) => {
            words.extend(["--run-dir".into(), path.to_string_lossy()]);
        }
        NextCommand::Anew => words.extend(["--resume".into(), "never".into()]),
    }
    let quoted = words.iter().map(|word| {
        // A shell cannot be given a NUL, so none was typed.
        shlex::try_quote(word).unwrap_or_else(|_| word.as_ref().into())
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Scenario: commands with and without the flags of this attempt, and words that a shell would split.
    /// Guarantees: the next command differs in those flags only, and a shell reads the same words.
    #[test]
    fn the_next_command_is_the_same_but_for_the_run() {
        let next = |typed: &str, next| {
            let typed = shlex::split(typed).expect("words");
            next_command(&typed, next)
        };
        let run = NextCommand::Continue(Path::new("runs/my run"));
        assert_eq!(
            next("vecload load 'a b.jsonl' --local ./x", run),
            "vecload load 'a b.jsonl' --local ./x --run-dir 'runs/my run'"
        );
        assert_eq!(
            next(
                "vecload load 'https://a/b.parquet?sig=sesame' a?b",
                NextCommand::Anew
            ),
            "vecload load https://a/b.parquet 'a?b' --resume never"
        );
        let typed =
            "vecload load a --resume never --run-dir=old --retry-rejects --run-dir old --workers 2";
        assert_eq!(
            next(typed, run),
            "vecload load a --workers 2 --run-dir 'runs/my run'"
        );
        assert_eq!(
            next(typed, NextCommand::Anew),
            "vecload load a --workers 2 --resume never"
        );
    }
}
