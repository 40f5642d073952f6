//! That a corpus is what it says it is, in both formats.

use std::fs::File;

use arrow_array::{Float32Array, ListArray, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use vecload_corpus::{Corpus, ParquetForm};

fn corpus() -> Corpus {
    Corpus {
        records: 25,
        dimension: 3,
        metadata_bytes: 64,
        namespaces: 4,
        seed: 7,
    }
}

/// Scenario: a corpus twice from one seed, and once from another.
/// Guarantees: a seed gives the same records, and metadata has the size that was asked for.
#[test]
fn a_seed_gives_the_same_records() {
    let other = Corpus {
        seed: 8,
        ..corpus()
    };
    for number in 0..25 {
        assert_eq!(corpus().values(number), corpus().values(number));
        assert_ne!(corpus().values(number), other.values(number));
        assert_eq!(corpus().metadata(number).map(|text| text.len()), Some(64));
    }
    let short = Corpus {
        metadata_bytes: 1,
        ..corpus()
    };
    let length = short.metadata(3).map(|text| text.len());
    assert_eq!(length, Some(Corpus::LEAST_METADATA));
}

/// Scenario: one corpus as Parquet of several row groups and as JSONL.
/// Guarantees: both hold the same records in the same order, as the corpus states them.
#[test]
fn both_formats_hold_the_same_records() {
    let corpus = corpus();
    let folder = tempfile::tempdir().expect("a folder");
    let (parquet, jsonl) = (
        folder.path().join("c.parquet"),
        folder.path().join("c.jsonl"),
    );
    let form = ParquetForm {
        row_group: 10,
        ..ParquetForm::default()
    };
    corpus.write_parquet(&parquet, form).expect("written");
    corpus.write_jsonl(&jsonl).expect("written");

    let lines: Vec<serde_json::Value> = std::fs::read_to_string(&jsonl)
        .expect("readable")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 25);
    for (number, line) in lines.iter().enumerate() {
        let number = number as u64;
        assert_eq!(line["id"], corpus.id(number));
        let values: Vec<f32> = serde_json::from_value(line["values"].clone()).expect("floats");
        assert_eq!(values, corpus.values(number));
        assert_eq!(
            line["metadata"].to_string(),
            corpus.metadata(number).expect("some")
        );
        assert_eq!(line["namespace"], corpus.namespace(number).expect("some"));
    }

    let file = File::open(&parquet).expect("readable");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    assert_eq!(reader.metadata().num_row_groups(), 3);
    let mut number = 0;
    for batch in reader.build().expect("Parquet") {
        let batch = batch.expect("a batch");
        let text = |column: usize, row: usize| {
            let column = batch.column(column).as_any().downcast_ref::<StringArray>();
            column.expect("text").value(row).to_owned()
        };
        for row in 0..batch.num_rows() {
            assert_eq!(text(0, row), corpus.id(number));
            let lists = batch.column(1).as_any().downcast_ref::<ListArray>();
            let values = lists.expect("lists").value(row);
            let values = values.as_any().downcast_ref::<Float32Array>();
            assert_eq!(values.expect("floats").values(), &corpus.values(number)[..]);
            assert_eq!(Some(text(2, row)), corpus.metadata(number));
            assert_eq!(Some(text(3, row)), corpus.namespace(number));
            number += 1;
        }
    }
    assert_eq!(number, 25);
}
