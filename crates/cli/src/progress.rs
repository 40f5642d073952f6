//! How far a load is: a bar on a terminal, a `key=value` line every few seconds otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as Style};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use vecload::{LogFormat, PrescanProgress, Progress, ProgressStyle, Settings};

use crate::arguments::Verbosity;
use crate::say;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often the bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Shows progress until the task that runs this is dropped.
pub(crate) async fn show(
    settings: &Settings,
    verbosity: Verbosity,
    progress: watch::Receiver<Progress>,
) {
    let is_terminal = std::io::stderr().is_terminal();
    match settings.progress {
        _ if verbosity.is_quiet() => std::future::pending().await,
        ProgressStyle::None => std::future::pending().await,
        // A bar and log lines would write over each other.
        ProgressStyle::Auto
            if is_terminal && verbosity.0 == 0 && settings.log_format == LogFormat::Text =>
        {
            bar(progress).await;
        }
        ProgressStyle::Auto | ProgressStyle::Plain => lines(progress, settings.log_format).await,
    }
}

async fn bar(mut progress: watch::Receiver<Progress>) {
    // What is said before records are read would be written into the bar.
    if progress.changed().await.is_err() {
        return;
    }
    let bar = Cleared(ProgressBar::with_draw_target(
        None,
        ProgressDrawTarget::stderr(),
    ));
    let mut ticks = interval(DRAW_EVERY);
    let start = Instant::now();
    let mut has_length = false;
    loop {
        ticks.tick().await;
        let now = progress.borrow().clone();
        if let Some(prescan) = now.prescan {
            bar.0.set_message(prescan_words(&prescan, start.elapsed()));
            bar.0.tick();
            continue;
        }
        if let (Some(rows), false) = (now.rows, has_length) {
            bar.0.set_length(rows);
            bar.0.set_style(
                Style::with_template("{percent:>3}% {wide_bar} {human_pos} rows, {msg}, eta {eta}")
                    .unwrap_or_else(|_| Style::default_bar()),
            );
            has_length = true;
        }
        let settled = now.books.loaded + now.books.rejected + now.books.superseded;
        bar.0.set_position(settled);
        bar.0.set_message(format!(
            "{:.1} MB/s, rejected {}, throttled {}, limited by {}",
            now.bytes as f64 / 1e6 / start.elapsed().as_secs_f64().max(0.1),
            now.books.rejected,
            now.throttled,
            limit(&now).replace('_', " "),
        ));
        bar.0.tick();
    }
}

async fn lines(progress: watch::Receiver<Progress>, format: LogFormat) {
    let start = Instant::now();
    let mut ticks = interval(LINE_EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        say(&line(&progress.borrow(), start.elapsed(), format));
    }
}

/// How far the search for duplicate ids is, for a person.
fn prescan_words(now: &PrescanProgress, elapsed: Duration) -> String {
    let left = prescan_seconds_left(now, elapsed)
        .map_or_else(String::new, |left| format!(", {left:.0} s left"));
    format!(
        "looking for duplicate ids: {} rows, {:.1} of {:.1} MB{left}",
        now.rows,
        now.bytes as f64 / 1e6,
        now.of_bytes as f64 / 1e6
    )
}

fn prescan_seconds_left(now: &PrescanProgress, elapsed: Duration) -> Option<f64> {
    let left = now.of_bytes.saturating_sub(now.bytes) as f64;
    (now.bytes > 0).then(|| elapsed.as_secs_f64() * left / now.bytes as f64)
}

fn prescan_line(now: &PrescanProgress, elapsed: Duration, format: LogFormat) -> String {
    let seconds = elapsed.as_secs_f64();
    let left = prescan_seconds_left(now, elapsed).map(f64::round);
    if format == LogFormat::Json {
        return serde_json::json!({
            "event": "prescan", "seconds": seconds.round(), "rows": now.rows, "bytes": now.bytes,
            "of_bytes": now.of_bytes, "seconds_left": left,
        })
        .to_string();
    }
    let left = left.map_or_else(|| "unknown".to_owned(), |left| left.to_string());
    format!(
        "prescan seconds={seconds:.0} rows={} bytes={} of_bytes={} seconds_left={left}",
        now.rows, now.bytes, now.of_bytes
    )
}

fn line(now: &Progress, elapsed: Duration, format: LogFormat) -> String {
    if let Some(prescan) = &now.prescan {
        return prescan_line(prescan, elapsed, format);
    }
    let seconds = elapsed.as_secs_f64();
    let rate = now.bytes as f64 / 1e6 / seconds.max(0.1);
    if format == LogFormat::Json {
        return serde_json::json!({
            "event": "progress", "seconds": seconds.round(), "read": now.books.read,
            "loaded": now.books.loaded, "rejected": now.books.rejected, "rows": now.rows,
            "mb_per_s": (rate * 10.0).round() / 10.0, "attempts": now.attempts, "throttled": now.throttled,
            "limited_by": limit(now), "limited_by_namespace": namespace(now),
        })
        .to_string();
    }
    let rows = now
        .rows
        .map_or_else(|| "unknown".to_owned(), |rows| rows.to_string());
    let namespace = namespace(now).map_or_else(String::new, |namespace| {
        format!(" limited_by_namespace={namespace:?}")
    });
    format!(
        "progress seconds={seconds:.0} rows={rows} read={} loaded={} rejected={} mb_per_s={rate:.1} attempts={} throttled={} limited_by={}{namespace}",
        now.books.read,
        now.books.loaded,
        now.books.rejected,
        now.attempts,
        now.throttled,
        limit(now)
    )
}

/// What limits the load now.
fn limit(now: &Progress) -> &'static str {
    let limited_by = now.limited_by.as_ref();
    limited_by.map_or("reader", |limited_by| limited_by.limit)
}

fn namespace(now: &Progress) -> Option<&str> {
    now.limited_by.as_ref()?.namespace.as_deref()
}

/// A bar that is taken off the terminal when it is dropped.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecload::{Books, LimitedBy};

    /// Scenario: a load of unknown length, before and after its duplicates are found.
    /// Guarantees: one line of `key=value`, or one JSON object; it says what is going on.
    #[test]
    fn a_line_is_for_machines_too() {
        let now = Progress {
            books: Books {
                read: 10,
                loaded: 5,
                rejected: 1,
                ..Books::default()
            },
            rows: None,
            bytes: 25_000_000,
            attempts: 4,
            throttled: 2,
            limited_by: Some(LimitedBy {
                limit: "throttling",
                namespace: Some("a b".to_owned()),
            }),
            prescan: None,
        };
        let five = Duration::from_secs(5);
        assert_eq!(
            line(&now, five, LogFormat::Text),
            "progress seconds=5 rows=unknown read=10 loaded=5 rejected=1 mb_per_s=5.0 attempts=4 throttled=2 limited_by=throttling limited_by_namespace=\"a b\""
        );
        let json: serde_json::Value =
            serde_json::from_str(&line(&now, five, LogFormat::Json)).expect("JSON");
        assert_eq!(json["event"], "progress");
        assert_eq!(json["mb_per_s"], 5.0);
        assert_eq!(json["limited_by_namespace"], "a b");
        let now = Progress {
            prescan: Some(PrescanProgress {
                rows: 7,
                bytes: 250,
                of_bytes: 1000,
            }),
            ..now
        };
        assert_eq!(
            line(&now, five, LogFormat::Text),
            "prescan seconds=5 rows=7 bytes=250 of_bytes=1000 seconds_left=15"
        );
        let json: serde_json::Value =
            serde_json::from_str(&line(&now, five, LogFormat::Json)).expect("JSON");
        assert_eq!(
            (&json["event"], &json["seconds_left"]),
            (&"prescan".into(), &15.0.into())
        );
    }
}
