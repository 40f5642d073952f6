//! A million random numbers through every path that numbers take, from file to index.
//!
//! What must arrive is computed here, from the bits or the text that was written, by means of the standard
//! library alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, Float16Array, Float32Array, Float64Array, Int64Array, ListArray,
    StringArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::Field;
use half::f16;
use parquet::file::properties::WriterProperties;
use prost_types::value::Kind;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use vecload::{ExitCode, Report};
use vecload_corpus::table;

use crate::books;
use crate::served::Served;

/// A million numbers: as many records as each has numbers.
const RECORDS: usize = 1_000;
const WIDTH: usize = 1_000;
const COUNT: usize = RECORDS * WIDTH;
const SEED: u64 = 0x6e75_6d62;

/// What loads the numbers of a file, and what it did.
struct Loaded {
    served: Served,
    report: Report,
}

impl Loaded {
    async fn of(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join(name);
        std::fs::write(&input, bytes).expect("written");
        let served = Served::plain().await;
        let report = served
            .load(&input, &folder.path().join("run"))
            .run()
            .await
            .expect("begun");
        books::balance(&report);
        assert_eq!(report.exit_code, ExitCode::Complete, "{report:#?}");
        Self { served, report }
    }

    /// The dense vector of the record of that number.
    fn values(&self, number: usize) -> Vec<f32> {
        let record = self.served.index.record("", &number.to_string());
        record.expect("readable").expect("there").values
    }

    /// Its sparse vector.
    fn sparse(&self, number: usize) -> (Vec<u32>, Vec<f32>) {
        let record = self.served.index.record("", &number.to_string());
        let sparse = record.expect("readable").expect("there").sparse_values;
        let sparse = sparse.expect("a sparse vector");
        (sparse.indices, sparse.values)
    }

    /// Its metadata.
    fn metadata(&self, number: usize) -> BTreeMap<String, prost_types::Value> {
        let record = self.served.index.record("", &number.to_string());
        let metadata = record.expect("readable").expect("there").metadata;
        metadata.expect("metadata").fields
    }

    /// The dense vectors hold these values, bit for bit.
    fn assert_dense(&self, label: &str, expected: &[f32]) {
        for (number, expected) in expected.chunks(WIDTH).enumerate() {
            assert_bits(label, number, &self.values(number), expected);
        }
    }

    /// How many records had a number of that field rounded.
    fn rounded(&self, field: &str) -> u64 {
        let changes = self.report.metadata_changes.get(field);
        changes
            .and_then(|changes| changes.get("number_rounded"))
            .copied()
            .unwrap_or(0)
    }
}

fn assert_bits(label: &str, number: usize, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{label}, record {number}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            found.to_bits(),
            expected.to_bits(),
            "{label}, seed {SEED:#x}, record {number}, value {place}: {found:e} for {expected:e}"
        );
    }
}

fn random() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(SEED)
}

/// Finite float32, any bits.
fn singles() -> Vec<f32> {
    let mut random = random();
    let bits = std::iter::repeat_with(|| f32::from_bits(random.random()));
    bits.filter(|value| value.is_finite()).take(COUNT).collect()
}

/// Float64 from below the range of float32 up to its end; some are float32, some lie halfway between two.
fn doubles() -> Vec<f64> {
    let mut random = random();
    let any = |random: &mut Xoshiro256PlusPlus| {
        let exponent: u64 = random.random_range(1023 - 160..1023 + 127);
        let bits: u64 = random.random();
        let value = f64::from_bits(bits & !(0x7ff << 52) | exponent << 52);
        match random.random_range(0..4) {
            0 => f64::from(value as f32),
            1 => f64::from_bits(value.to_bits() & !((1 << 29) - 1) | 1 << 28),
            _ => value,
        }
    };
    std::iter::repeat_with(|| any(&mut random))
        .take(COUNT)
        .collect()
}

/// With 17 digits, which tell every float64 from all others.
fn long_text(value: f64) -> String {
    format!("{value:.16e}")
}

fn ids() -> ArrayRef {
    let ids = (0..RECORDS).map(|number| Some(number.to_string()));
    Arc::new(ids.collect::<StringArray>())
}

fn lists(values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_repeated_length(WIDTH, RECORDS);
    Arc::new(ListArray::new(field, offsets, values, None))
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let columns = [vec![("id", ids())], columns].concat();
    table::parquet(columns, WriterProperties::default()).expect("columns")
}

/// Lines of records, of which each has its share of the texts; `rest` makes the other keys of them.
fn jsonl(texts: &[String], rest: impl Fn(usize, &[String]) -> String) -> Vec<u8> {
    let lines = texts.chunks(WIDTH).enumerate();
    let lines =
        lines.map(|(number, texts)| format!("{{\"id\":{number},{}}}\n", rest(number, texts)));
    lines.collect::<String>().into_bytes()
}

fn dense(_: usize, texts: &[String]) -> String {
    format!("\"values\":[{}]", texts.join(","))
}

/// Scenario: float32 of any bits, as lists and as bytes in Parquet, and as their shortest text in JSONL.
/// Guarantees: the same bits are in the index, and nothing counts as changed.
#[tokio::test(flavor = "multi_thread")]
async fn float32() {
    let values = singles();
    let list = lists(Arc::new(Float32Array::from(values.clone())));
    let bytes = values.chunks(WIDTH).map(|row| {
        let bytes = row.iter().flat_map(|value| value.to_le_bytes());
        bytes.collect::<Vec<u8>>()
    });
    let binary: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
    let texts: Vec<String> = values.iter().map(|value| format!("{value:e}")).collect();
    for (label, name, file) in [
        ("list", "a.parquet", parquet(vec![("values", list)])),
        ("binary", "a.parquet", parquet(vec![("values", binary)])),
        ("text", "a.jsonl", jsonl(&texts, dense)),
    ] {
        let loaded = Loaded::of(name, &file).await;
        loaded.assert_dense(label, &values);
        assert!(loaded.report.metadata_changes.is_empty(), "{label}");
    }
}

/// Scenario: finite float16 of any bits.
/// Guarantees: each arrives as the float32 of its value, by the definition of its bits.
#[tokio::test(flavor = "multi_thread")]
async fn float16() {
    let mut random = random();
    let bits = std::iter::repeat_with(|| random.random::<u16>());
    let bits: Vec<u16> = bits
        .filter(|bits| bits & 0x7c00 != 0x7c00)
        .take(COUNT)
        .collect();
    let value = |bits: u16| {
        let (exponent, fraction) = (
            i32::from(bits >> 10 & 0x1f),
            f64::from(bits & 0x3ff) / 1024.0,
        );
        let size = match exponent {
            0 => fraction * 2_f64.powi(-14),
            _ => (1.0 + fraction) * 2_f64.powi(exponent - 15),
        };
        (if bits >> 15 == 1 { -size } else { size }) as f32
    };
    let expected: Vec<f32> = bits.iter().copied().map(value).collect();
    let array = Float16Array::from_iter_values(bits.into_iter().map(f16::from_bits));
    let file = parquet(vec![("values", lists(Arc::new(array)))]);
    let loaded = Loaded::of("a.parquet", &file).await;
    loaded.assert_dense("float16", &expected);
    assert_eq!(loaded.rounded("values"), 0);
}

/// Scenario: float64 in Parquet, and with 17 digits in JSONL, some of them halfway between two float32.
/// Guarantees: each is rounded once, to the nearest, ties to even; of Parquet the records with a rounded value are counted.
#[tokio::test(flavor = "multi_thread")]
async fn float64() {
    let values = doubles();
    // Rust rounds to the nearest, ties to even.
    let expected: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let file = parquet(vec![(
        "values",
        lists(Arc::new(Float64Array::from(values.clone()))),
    )]);
    let loaded = Loaded::of("a.parquet", &file).await;
    loaded.assert_dense("float64", &expected);
    let is_rounded = |value: &f64| f64::from(*value as f32) != *value;
    let rounded = values
        .chunks(WIDTH)
        .filter(|row| row.iter().any(is_rounded));
    assert_eq!(loaded.rounded("values"), rounded.count() as u64);

    let texts: Vec<String> = values.iter().map(|value| long_text(*value)).collect();
    let expected: Vec<f32> = texts
        .iter()
        .map(|text| text.parse().expect("a number"))
        .collect();
    let loaded = Loaded::of("a.jsonl", &jsonl(&texts, dense)).await;
    loaded.assert_dense("17 digits", &expected);
}

/// Scenario: sparse vectors of random values at random indices, in Parquet and as text of 17 digits.
/// Guarantees: indices and the bits of the values are what was written, or the nearest float32 of the text.
#[tokio::test(flavor = "multi_thread")]
async fn sparse_values() {
    let mut random = random();
    // Apart from each other, so that none is there twice.
    let step = u32::MAX / WIDTH as u32;
    let index = |place: usize, random: &mut Xoshiro256PlusPlus| {
        (place % WIDTH) as u32 * step + random.random_range(0..step)
    };
    let indices: Vec<u32> = (0..COUNT).map(|place| index(place, &mut random)).collect();
    let values = singles();
    let rows: Vec<_> = indices
        .chunks(WIDTH)
        .zip(values.chunks(WIDTH))
        .map(|(indices, values)| {
            let indices = indices.iter().map(|index| i64::from(*index));
            Some((indices.collect(), values.to_vec()))
        })
        .collect();
    let file = parquet(vec![("sparse_values", table::sparse(&rows))]);
    let texts: Vec<String> = doubles().into_iter().map(long_text).collect();
    let nearest: Vec<f32> = texts
        .iter()
        .map(|text| text.parse().expect("a number"))
        .collect();
    let lines = jsonl(&texts, |number, texts| {
        let indices = &indices[number * WIDTH..][..WIDTH];
        format!(
            "\"sparse_values\":{{\"indices\":{indices:?},\"values\":[{}]}}",
            texts.join(",")
        )
    });
    for (label, name, file, expected) in [
        ("columns", "a.parquet", file, values),
        ("text", "a.jsonl", lines, nearest),
    ] {
        let loaded = Loaded::of(name, &file).await;
        for (number, expected) in expected.chunks(WIDTH).enumerate() {
            let (at, found) = loaded.sparse(number);
            assert_eq!(at, indices[number * WIDTH..][..WIDTH], "{label}");
            assert_bits(label, number, &found, expected);
        }
    }
}

/// Scenario: metadata of a thousand fields in each record: float64 of 17 digits as JSON; columns of float64 of
/// any finite bits and of integers of any size.
/// Guarantees: each field is the float64 that was written; of an integer it is the nearest one, and how
/// often that is another number is counted for its field.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_numbers() {
    let mut random = random();
    let bits = std::iter::repeat_with(|| f64::from_bits(random.random()));
    let values: Vec<f64> = bits.filter(|value| value.is_finite()).take(COUNT).collect();
    let assert_fields = |label: &str, loaded: &Loaded, expected: &dyn Fn(usize, usize) -> f64| {
        for number in 0..RECORDS {
            let fields = loaded.metadata(number);
            assert_eq!(fields.len(), WIDTH);
            for (name, value) in fields {
                let field: usize = name.parse().expect("a number");
                let expected = expected(number, field);
                assert!(
                    matches!(value.kind, Some(Kind::NumberValue(found)) if found.to_bits() == expected.to_bits()),
                    "{label}, seed {SEED:#x}, record {number}, field {field}: {value:?} for {expected:e}"
                );
            }
        }
    };

    let texts: Vec<String> = values.iter().map(|value| long_text(*value)).collect();
    let lines = jsonl(&texts, |_, texts| {
        let fields = texts.iter().enumerate();
        let fields = fields.map(|(field, text)| format!("\"{field}\":{text}"));
        let fields = fields.collect::<Vec<_>>().join(",");
        format!("\"values\":[1],\"metadata\":{{{fields}}}")
    });
    let loaded = Loaded::of("a.jsonl", &lines).await;
    assert_fields("JSON", &loaded, &|number, field| {
        values[number * WIDTH + field]
    });

    let mut random = self::random();
    // Of all magnitudes.
    let integers: Vec<i64> =
        std::iter::repeat_with(|| random.random::<i64>() >> random.random_range(0..63))
            .take(COUNT)
            .collect();
    let at = |number: usize, field: usize| number * WIDTH + field;
    let is_integer = |field: usize| field % 2 == 1;
    let columns = (0..WIDTH).map(|field| {
        let array: ArrayRef = if is_integer(field) {
            Arc::new(Int64Array::from_iter_values(
                (0..RECORDS).map(|number| integers[at(number, field)]),
            ))
        } else {
            Arc::new(Float64Array::from_iter_values(
                (0..RECORDS).map(|number| values[at(number, field)]),
            ))
        };
        (
            Arc::new(Field::new(
                field.to_string(),
                array.data_type().clone(),
                true,
            )),
            array,
        )
    });
    let metadata = StructArray::from(columns.collect::<Vec<_>>());
    let one = table::lists(std::iter::repeat_n(Some(&[Some(1.0)][..]), RECORDS));
    let file = parquet(vec![("values", one), ("metadata", Arc::new(metadata))]);
    let loaded = Loaded::of("a.parquet", &file).await;
    assert_fields(
        "columns",
        &loaded,
        &|number, field| match is_integer(field) {
            true => integers[at(number, field)] as f64,
            false => values[at(number, field)],
        },
    );
    for field in 0..WIDTH {
        let is_rounded = |number: &usize| {
            let integer = i128::from(integers[at(*number, field)]);
            is_integer(field) && (integer as f64) as i128 != integer
        };
        let expected = (0..RECORDS).filter(is_rounded).count() as u64;
        assert_eq!(
            loaded.rounded(&field.to_string()),
            expected,
            "field {field}"
        );
    }
}
