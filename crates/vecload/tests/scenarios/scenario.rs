//! Scenarios as data: a corpus, settings, faults, and the figures that must come of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use vecload::{Load, Report, Settings};
use vecload_corpus::{Corpus, NAMESPACE_COLUMN, ParquetForm};
use vecload_local_index::{Conditions, Faults, Options};

use crate::books;
use crate::served::Served;

/// What stands in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    corpus: Records,
    /// Settings of the loader, by their names in `config/reference.toml`.
    #[serde(default)]
    settings: Settings,
    /// Faults of the server, as in `docs/local-index.md`.
    #[serde(default)]
    faults: Faults,
    /// Quotas, latency and outages of the server, as there too.
    server: Option<Conditions>,
    expect: Expected,
}

/// What is loaded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Records {
    records: u64,
    dimension: usize,
    #[serde(default)]
    metadata_bytes: usize,
    #[serde(default)]
    namespaces: u64,
    seed: u64,
    /// `jsonl` or `parquet`.
    format: String,
    /// Records per row group.
    #[serde(default = "ten_thousand")]
    row_group: usize,
}

/// What must come of it: figures by name, each with the least and the most that it may be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    exit_code: u8,
    /// Of the report.
    report: BTreeMap<String, (u64, u64)>,
    /// Of the server's audit.
    server: BTreeMap<String, (u64, u64)>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) corpus: Corpus,
    pub(crate) report: Report,
    pub(crate) served: Served,
    /// The dead letters, in the order in which they were written.
    pub(crate) dead_letters: Vec<Value>,
    _folder: TempDir,
}

fn ten_thousand() -> usize {
    10_000
}

impl Scenario {
    /// Plays the scenario of that name, and checks all that holds for every scenario: the figures of
    /// its file, the books, and that the index holds exactly the records that were not rejected and whose namespaces take writes.
    pub(crate) async fn play(name: &str) -> Outcome {
        let scenario = Self::read(name);
        let corpus = scenario.corpus.corpus();
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder
            .path()
            .join(format!("corpus.{}", scenario.corpus.format));
        let form = ParquetForm {
            row_group: scenario.corpus.row_group,
            ..ParquetForm::default()
        };
        corpus.write(&input, form).expect("written");
        let served = Served::start(Options {
            faults: scenario.faults.clone(),
            conditions: scenario.server.clone(),
            ..Options::default()
        })
        .await;
        let report = Load::builder()
            .settings(scenario.settings.clone())
            .with(|settings| {
                settings.namespace_column =
                    (corpus.namespaces > 0).then(|| NAMESPACE_COLUMN.to_owned());
            })
            .input(input.to_str().expect("UTF-8"))
            .host(&served.host)
            .run_dir(folder.path().join("run"))
            .run()
            .await
            .expect("begun");
        let outcome = Outcome {
            dead_letters: dead_letters(&report),
            corpus,
            report,
            served,
            _folder: folder,
        };
        scenario.check(&outcome);
        outcome
    }

    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/scenarios")
            .join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).expect("a scenario");
        toml::from_str(&text).expect("a scenario in TOML")
    }

    fn check(&self, outcome: &Outcome) {
        let report = &outcome.report;
        let summary = report.summary();
        assert_eq!(
            u8::from(report.exit_code),
            self.expect.exit_code,
            "{summary}"
        );
        books::balance(report);
        assert_figures("report", &self.expect.report, report);
        let audit = outcome.served.index.audit();
        assert_figures("server", &self.expect.server, &audit.counts);
        // INV-4.
        assert!(audit.counts.largest_request <= self.settings.request_bytes.0);
        assert!(audit.counts.most_records <= self.settings.request_records as u64);
        outcome.assert_content();
    }
}

impl Records {
    fn corpus(&self) -> Corpus {
        Corpus {
            records: self.records,
            dimension: self.dimension,
            metadata_bytes: self.metadata_bytes,
            namespaces: self.namespaces,
            seed: self.seed,
        }
    }
}

impl Outcome {
    /// The ids of the dead letters.
    pub(crate) fn rejected_ids(&self) -> BTreeSet<String> {
        self.dead_letters
            .iter()
            .map(|letter| letter["id"].as_str().expect("an id").to_owned())
            .collect()
    }

    /// The index holds every record but the rejected ones, bit for bit, and the report's namespaces
    /// have read what the corpus has for them.
    fn assert_content(&self) {
        let (corpus, index) = (&self.corpus, &self.served.index);
        let rejected = self.rejected_ids();
        assert_eq!(rejected.len() as u64, self.report.records_rejected);
        let mut by_namespace: BTreeMap<String, u64> = BTreeMap::new();
        let mut present = 0;
        for number in 0..corpus.records {
            let id = corpus.id(number);
            let namespace = corpus.namespace(number);
            let namespace = namespace.unwrap_or_else(|| "__default__".to_owned());
            let is_closed = self.report.namespaces[&namespace].closed.is_some();
            let found = index.record(&namespace, &id).expect("readable");
            *by_namespace.entry(namespace).or_default() += 1;
            assert_eq!(found.is_none(), rejected.contains(&id) || is_closed, "{id}");
            let Some(found) = found else { continue };
            present += 1;
            assert_eq!(found.values, corpus.values(number), "{id}");
            let metadata = found.metadata.map(|fields| json_of(fields.fields));
            let expected = corpus.metadata(number);
            assert_eq!(metadata.map(|object| object.to_string()), expected, "{id}");
        }
        // Nothing else is there.
        let counts: u64 = index
            .namespaces()
            .iter()
            .map(|name| index.count(name))
            .sum();
        assert_eq!(counts, present);
        let read: BTreeMap<String, u64> = self
            .report
            .namespaces
            .iter()
            .map(|(name, report)| (name.clone(), report.books.read))
            .collect();
        assert_eq!(read, by_namespace);
    }
}

/// The dead letters of a run.
pub(crate) fn dead_letters(report: &Report) -> Vec<Value> {
    let Some(file) = &report.rejected_file else {
        return Vec::new();
    };
    std::fs::read_to_string(file)
        .expect("readable")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn assert_figures(
    of: &str,
    expected: &BTreeMap<String, (u64, u64)>,
    found: &impl serde::Serialize,
) {
    let found = serde_json::to_value(found).expect("JSON");
    for (name, (least, most)) in expected {
        let figure = found[name].as_u64();
        let figure = figure.unwrap_or_else(|| panic!("the {of} has no figure {name}"));
        assert!(
            (least..=most).contains(&&figure),
            "the {of}'s {name} is {figure}, not within {least}..={most}"
        );
    }
}

/// Metadata as JSON, whole numbers as integers.
pub(crate) fn json_of(fields: BTreeMap<String, prost_types::Value>) -> Value {
    use prost_types::value::Kind;
    let value = |value: prost_types::Value| match value.kind {
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Value::from(number as i64)
        }
        Some(Kind::NumberValue(number)) => Value::from(number),
        Some(Kind::StringValue(text)) => Value::from(text),
        Some(Kind::BoolValue(value)) => Value::from(value),
        Some(Kind::ListValue(list)) => {
            let texts = list.values.into_iter().map(|item| match item.kind {
                Some(Kind::StringValue(text)) => text,
                other => panic!("{other:?} is no text"),
            });
            texts.collect()
        }
        other => panic!("{other:?} is no metadata"),
    };
    fields
        .into_iter()
        .map(|(name, field)| (name, value(field)))
        .collect()
}
