//! `vecload bench`: loads, repeated over a grid of settings, as one JSON document.
//!
//! A load of a bench is a load: the same settings, the same library, a run directory of its own, which
//! goes with it. What is measured is told for each load and as medians; nothing is judged.

pub(crate) mod arguments;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use vecload::{Bytes, ExitCode, Load, Machine, Progress, Report, Settings};
use vecload_corpus::{Corpus, NAMESPACE_COLUMN, codec};

use self::arguments::BenchArguments;
use crate::load::{Embedded, print_config, settings};
use crate::signals::Signals;
use crate::{fail, logging, print, say};

/// The version of the document.
const SCHEMA_VERSION: u32 = 1;

type Refusal = (ExitCode, String);

/// One combination of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    in_flight: usize,
    request_bytes: Bytes,
}

/// One load.
struct Measured {
    cell: Cell,
    /// Its number among those of the cell that count; none for a warm-up.
    repeat: Option<u64>,
    report: Report,
    cpu_seconds: f64,
    series: Vec<Value>,
}

/// Measures, and prints what was measured.
pub(crate) async fn bench(arguments: BenchArguments) -> ExitCode {
    let settings = match settings(&arguments.load) {
        Ok(settings) => settings,
        Err(error) => {
            fail(&error.to_string());
            return ExitCode::Usage;
        }
    };
    if arguments.load.print_config {
        return print_config(&settings);
    }
    logging::start(settings.log_format, arguments.load.verbosity);
    match run(&arguments, settings).await {
        Ok(code) => code,
        Err((code, message)) => {
            fail(&message);
            code
        }
    }
}

async fn run(arguments: &BenchArguments, mut settings: Settings) -> Result<ExitCode, Refusal> {
    let scratch = tempfile::tempdir().map_err(|error| {
        (
            ExitCode::Refused,
            format!("no temporary directory: {error}"),
        )
    })?;
    let synthetic = arguments.load.inputs.is_empty() && settings.files_from.is_none();
    let inputs = if synthetic {
        let file = write(&arguments.corpus, &arguments.form, &scratch)?;
        if arguments.corpus.namespaces > 0 {
            settings.namespace_column = Some(NAMESPACE_COLUMN.to_owned());
        }
        vec![file.display().to_string()]
    } else {
        arguments.load.inputs.clone()
    };
    // Before the target's address takes the place of a directory.
    let stated = settings.clone();
    let embedded = Embedded::of(&mut settings).await?;
    let measured = measure(arguments, &settings, &inputs, &scratch).await;
    if let Some((embedded, _)) = embedded {
        embedded.close().await?;
    }
    let measured = measured?;
    let document = json!({
        "schema_version": SCHEMA_VERSION,
        "vecload_version": env!("CARGO_PKG_VERSION"),
        "machine": Machine::this(),
        "settings": stated,
        "inputs": if synthetic { Value::Null } else { json!(inputs) },
        "corpus": synthetic.then(|| of_corpus(&arguments.corpus, &arguments.form)),
        "cells": cells(arguments, &settings).into_iter().map(|cell| summary(cell, &measured)).collect::<Vec<_>>(),
        "loads": measured.iter().map(Measured::document).collect::<Vec<_>>(),
    });
    let document = format!("{document:#}");
    match &arguments.output {
        None => print(&document),
        Some(path) => std::fs::write(path, document + "\n").map_err(|error| {
            let message = format!("{} cannot be written: {error}", path.display());
            (ExitCode::Refused, message)
        })?,
    }
    // A load that fell short is the last one.
    Ok(measured
        .last()
        .map_or(ExitCode::Complete, |last| last.report.exit_code))
}

/// Loads every cell as often as it is wanted; stops after a load that fell short.
async fn measure(
    arguments: &BenchArguments,
    settings: &Settings,
    inputs: &[String],
    scratch: &TempDir,
) -> Result<Vec<Measured>, Refusal> {
    let mut signals =
        Signals::listen().map_err(|error| (ExitCode::Bug, format!("signals: {error}")))?;
    let mut all = Vec::new();
    for cell in cells(arguments, settings) {
        for number in 0..arguments.warm_up + arguments.repeats {
            let run_dir = scratch.path().join("run");
            let builder = Load::builder().inputs(inputs.iter().cloned()).with(|load| {
                *load = settings.clone();
                load.in_flight = cell.in_flight;
                load.request_bytes = cell.request_bytes;
                load.run_dir = Some(run_dir.clone());
            });
            let stop = builder.stop_handle();
            let sampling = tokio::spawn(sample(
                builder.progress(),
                Duration::from_millis(arguments.sample_ms),
            ));
            let cpu_before = Machine::process_cpu_seconds();
            let mut load = std::pin::pin!(builder.run());
            let report = tokio::select! {
                report = &mut load => report,
                code = signals.next() => {
                    say("stopping: requests under way are finished; a second signal ends at once");
                    stop.interrupt();
                    tokio::select! {
                        report = &mut load => report,
                        _ = signals.next() => std::process::exit(code),
                    }
                }
            };
            let cpu_seconds = Machine::process_cpu_seconds() - cpu_before;
            let report = report.map_err(|error| (error.exit_code, error.to_string()))?;
            let series = sampling
                .await
                .map_err(|error| (ExitCode::Bug, format!("sampling: {error}")))?;
            std::fs::remove_dir_all(&run_dir)
                .map_err(|error| (ExitCode::Refused, format!("{}: {error}", run_dir.display())))?;
            let repeat = number.checked_sub(arguments.warm_up);
            if !arguments.load.verbosity.is_quiet() {
                say(&format!(
                    "in-flight {}, request-bytes {}, {}: {}",
                    cell.in_flight,
                    cell.request_bytes,
                    repeat.map_or("warm-up".to_owned(), |repeat| format!(
                        "repeat {}",
                        repeat + 1
                    )),
                    report.summary()
                ));
            }
            let is_whole = report.exit_code == ExitCode::Complete;
            all.push(Measured {
                cell,
                repeat,
                report,
                cpu_seconds,
                series,
            });
            if !is_whole {
                return Ok(all);
            }
        }
    }
    Ok(all)
}

fn cells(arguments: &BenchArguments, settings: &Settings) -> Vec<Cell> {
    let or_own = |values: &[usize]| match values {
        [] => vec![settings.in_flight],
        values => values.to_vec(),
    };
    let sizes = match arguments.request_bytes.as_slice() {
        [] => vec![settings.request_bytes],
        sizes => sizes.to_vec(),
    };
    let combined = or_own(&arguments.in_flight)
        .into_iter()
        .flat_map(|in_flight| {
            sizes.iter().map(move |request_bytes| Cell {
                in_flight,
                request_bytes: *request_bytes,
            })
        });
    combined.collect()
}

/// The points of a load's time series, until the load is over.
async fn sample(mut progress: watch::Receiver<Progress>, every: Duration) -> Vec<Value> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut series = Vec::new();
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = progress.changed() => match changed {
                Ok(()) => continue,
                // Nobody can publish any more.
                Err(_) => is_over = true,
            },
        }
        let now = progress.borrow().clone();
        series.push(json!({
            "seconds": begun.elapsed().as_secs_f64(),
            "records_read": now.books.read,
            "records_loaded": now.books.loaded,
            "bytes": now.bytes,
            "requests": now.attempts,
            "requests_throttled": now.throttled,
        }));
    }
    series
}

fn write(corpus: &Corpus, form: &str, scratch: &TempDir) -> Result<PathBuf, Refusal> {
    let refused = |error: &dyn std::fmt::Display| {
        (
            ExitCode::Refused,
            format!("the synthetic corpus cannot be written: {error}"),
        )
    };
    let end = if form == "jsonl" { "jsonl" } else { "parquet" };
    let file = scratch.path().join(format!("corpus.{end}"));
    let mut parquet = vecload_corpus::ParquetForm::default();
    if form != "jsonl" {
        parquet.codec = codec(form).map_err(|error| refused(&error))?;
    }
    corpus
        .write(&file, parquet)
        .map_err(|error| refused(&error))?;
    Ok(file)
}

fn of_corpus(corpus: &Corpus, form: &str) -> Value {
    json!({
        "records": corpus.records,
        "dimension": corpus.dimension,
        "metadata_bytes": corpus.metadata_bytes,
        "namespaces": corpus.namespaces,
        "seed": corpus.seed,
        "form": form,
    })
}

/// The medians of a cell.
fn summary(cell: Cell, all: &[Measured]) -> Value {
    let counted: Vec<&Measured> = all
        .iter()
        .filter(|one| one.cell == cell && one.repeat.is_some())
        .collect();
    let spread = |figure: &dyn Fn(&Measured) -> f64| {
        let mut figures: Vec<f64> = counted.iter().map(|one| figure(one)).collect();
        figures.sort_by(f64::total_cmp);
        json!({
            "median": figures.get(figures.len() / 2),
            "least": figures.first(),
            "most": figures.last(),
        })
    };
    json!({
        "in_flight": cell.in_flight,
        "request_bytes": cell.request_bytes.0,
        "repeats": counted.len(),
        "records_per_second": spread(&|one| one.report.records_per_second),
        "bytes_per_second": spread(&|one| one.report.bytes_per_second),
        "cpu_seconds_per_million_records": spread(&|one| {
            one.cpu_seconds * 1e6 / one.report.records_loaded as f64
        }),
    })
}

// === impl Measured ===

impl Measured {
    fn document(&self) -> Value {
        let report = &self.report;
        json!({
            "in_flight": self.cell.in_flight,
            "request_bytes": self.cell.request_bytes.0,
            "warm_up": self.repeat.is_none(),
            "exit_code": report.exit_code,
            "stop_reason": report.stop_reason,
            "started_at": report.started_at,
            "duration_seconds": report.duration_seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_rss_bytes": report.peak_rss_bytes,
            "records_read": report.records_read,
            "records_loaded": report.records_loaded,
            "records_rejected": report.records_rejected,
            "records_remaining": report.records_remaining,
            "requests_ok": report.requests_ok,
            "requests_throttled": report.requests_throttled,
            "retries": report.retries,
            "bytes_sent": report.bytes_sent,
            "records_per_second": report.records_per_second,
            "bytes_per_second": report.bytes_per_second,
            "request_latency_ms": report.request_latency_ms,
            "series": self.series,
        })
    }
}
