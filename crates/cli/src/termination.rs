//! One line for the scheduler on how a load ended: Kubernetes shows it as the pod's termination message.

use std::path::Path;

use vecload::{ExitCode, Report};

/// What Kubernetes keeps of a message, in bytes.
const MOST: usize = 4096;
/// What of it is left for the reason, whatever else is in it.
const REASON: usize = 2048;

/// Writes the line. That it cannot be written changes nothing about the load.
pub(crate) fn leave(path: &Path, outcome: &Result<Report, (ExitCode, String)>) {
    if let Err(error) = std::fs::write(path, line(outcome)) {
        tracing::warn!(path = %path.display(), %error, "the termination message could not be written");
    }
}

fn line(outcome: &Result<Report, (ExitCode, String)>) -> String {
    let message = match outcome {
        Ok(report) => {
            let reason = report.stop_reason.as_ref();
            serde_json::json!({
                "exit_code": report.exit_code,
                "reason": reason.map(|reason| reason.code),
                "message": reason.map_or_else(|| report.summary(), |reason| cut(&reason.message)),
                "run_id": report.run_id, "shard": report.shard,
                "loaded": report.records_loaded, "rejected": report.records_rejected,
                "remaining": report.records_remaining, "superseded": report.records_superseded,
                "unread": report.unread,
            })
        }
        Err((code, message)) => {
            serde_json::json!({"exit_code": code, "reason": "refused", "message": cut(message)})
        }
    };
    let line = message.to_string();
    debug_assert!(line.len() <= MOST, "{line}");
    line
}

/// The beginning of a text, so short that its JSON fits.
fn cut(text: &str) -> String {
    let mut bytes = 0;
    let fits = |c: &char| {
        // As JSON writes it at the most.
        bytes += if c.is_control() {
            6
        } else {
            c.len_utf8().max(2)
        };
        bytes <= REASON
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a refusal with a message of any length, with characters that JSON writes longer.
    /// Guarantees: the line is JSON and not longer than what Kubernetes keeps.
    #[test]
    fn a_line_is_never_too_long() {
        for text in [
            "short",
            &"\u{1}".repeat(9999),
            &"\"".repeat(9999),
            &"\u{1f980}".repeat(9999),
        ] {
            let line = line(&Err((ExitCode::Refused, text.to_owned())));
            assert!(line.len() <= MOST, "{}", line.len());
            let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(object["exit_code"], 3);
            let message = object["message"].as_str().expect("a text");
            assert!(text.starts_with(message) && !message.is_empty());
        }
    }
}
