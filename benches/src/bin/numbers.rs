//! What it costs to read the vectors of JSONL, against `serde_json`.
//!
//! ```text
//! cargo build --release -p vecload-benches
//! target/release/numbers [--records N] [--dimension N] [--pairs N]
//! ```
//!
//! Two ways in turn over the same file in the page cache, in both forms that numbers come in: the
//! shortest decimal that is the f32 (`0.2004`) and the f64 that it is, with up to 17 digits, as Python
//! writes it. `vecload` visits every record as a worker does; `serde_json` parses line by line into an
//! id and a list of f32. Each value is compared with what the standard library makes of its text.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, value_parser};
use serde::Deserialize;
use vecload_benches::Failure;
use vecload_benches::client::own_cpu;
use vecload_benches::figures::Quartiles;
use vecload_benches::records;
use vecload_corpus::Corpus;
use vecload_record::Dense;

/// What is read of a line.
#[derive(Deserialize)]
struct Line<'a> {
    id: &'a str,
    values: Vec<f32>,
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let number = |name: &'static str, default: &'static str| {
        let arg = Arg::new(name).long(name).default_value(default);
        arg.value_parser(value_parser!(u64))
    };
    let matches = clap::Command::new("numbers")
        .about("Measures the reading of JSONL vectors")
        .arg(number("records", "5000"))
        .arg(number("dimension", "768"))
        .arg(number("pairs", "9"))
        .get_matches();
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();

    let dir = tempfile::tempdir()?;
    let shortest = dir.path().join("shortest.jsonl");
    let corpus = Corpus {
        records: number("records"),
        dimension: number("dimension") as usize,
        metadata_bytes: 0,
        namespaces: 0,
        seed: 1,
    };
    corpus.write(&shortest, Default::default())?;
    let double = dir.path().join("double.jsonl");
    fs::write(&double, as_doubles(&fs::read_to_string(&shortest)?)?)?;

    println!("| form | what | median | quartiles |");
    println!("|---|---|---|---|");
    for (form, file) in [("shortest", &shortest), ("17 digits", &double)] {
        let expected = values_by(file, by_std)?;
        let (ours, theirs) = (values_by(file, by_vecload)?, values_by(file, by_serde)?);
        if ours != expected {
            return Err(format!("{form}: vecload reads other values").into());
        }
        let others = theirs.iter().zip(&expected).filter(|(a, b)| a != b).count();
        let each = 1e9 / expected.len() as f64;
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..number("pairs") {
            for (way, costs) in [by_vecload, by_serde].into_iter().zip(&mut costs) {
                let before = own_cpu()?;
                way(file, &mut |values| {
                    std::hint::black_box(values);
                })?;
                costs.push((own_cpu()? - before).as_secs_f64() * each);
            }
        }
        println!(
            "| {form} | vecload, ns a number | {} |",
            Quartiles::of(&costs[0])
        );
        println!(
            "| {form} | serde_json, ns a number; {others} of {} values are not the nearest | {} |",
            expected.len(),
            Quartiles::of(&costs[1])
        );
        let ratios = Quartiles::of_ratios(&costs[1], &costs[0]);
        println!("| {form} | serde_json / vecload | {ratios} |");
    }
    Ok(())
}

/// The same records with each value as the f64 that it is.
fn as_doubles(lines: &str) -> Result<String, Failure> {
    let mut text = String::new();
    for line in lines.lines() {
        let line: Line<'_> = serde_json::from_str(line)?;
        write!(text, "{{\"id\":\"{}\",\"values\":[", line.id)?;
        for (at, value) in line.values.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(text, "{comma}{}", f64::from(*value))?;
        }
        text.push_str("]}\n");
    }
    Ok(text)
}

// === The ways ===

/// Shows each vector of a file.
type Way = fn(&Path, &mut dyn FnMut(&[f32])) -> Result<(), Failure>;

/// The bits of all values of a file.
fn values_by(file: &Path, way: Way) -> Result<Vec<u32>, Failure> {
    let mut bits = Vec::new();
    way(file, &mut |values| {
        bits.extend(values.iter().map(|value| value.to_bits()));
    })?;
    Ok(bits)
}

fn by_vecload(file: &Path, show: &mut dyn FnMut(&[f32])) -> Result<(), Failure> {
    records::each(file, |record| match record.dense {
        Some(Dense::Floats(values)) => {
            show(values);
            Ok(ControlFlow::Continue(()))
        }
        _ => Err("a record has no list of floats".into()),
    })
}

fn by_serde(file: &Path, show: &mut dyn FnMut(&[f32])) -> Result<(), Failure> {
    for line in fs::read_to_string(file)?.lines() {
        let line: Line<'_> = serde_json::from_str(line)?;
        std::hint::black_box(line.id);
        show(&line.values);
    }
    Ok(())
}

/// What each text is, exactly.
fn by_std(file: &Path, show: &mut dyn FnMut(&[f32])) -> Result<(), Failure> {
    for line in fs::read_to_string(file)?.lines() {
        let list = line.split_once("\"values\":[").map(|(_, rest)| rest);
        let list = list.and_then(|rest| rest.split_once(']'));
        let (list, _) = list.ok_or("a line has no list")?;
        let values: Result<Vec<f32>, _> = list.split(',').map(str::parse).collect();
        show(&values?);
    }
    Ok(())
}
