//! One record of every defect.

use serde_json::json;

use super::POISON;

/// A record as both formats can have it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: Option<String>,
    pub(super) values: Option<Vec<Option<f64>>>,
    pub(super) sparse: Option<(Vec<i64>, Vec<f32>)>,
    /// JSON text.
    pub(super) metadata: Option<String>,
    pub(super) namespace: Option<String>,
}

/// A defect: its name, the reason it is rejected for, and a record that has it and no other.
pub(super) type Kind = (&'static str, &'static str, Row);

impl Row {
    pub(super) fn good(id: impl Into<String>) -> Self {
        Self {
            id: Some(id.into()),
            values: Some([1.0, 2.0, -0.5, 0.25].map(Some).to_vec()),
            sparse: Some((vec![7, 3], vec![0.5, -1.5])),
            metadata: Some("{\"whole\":true}".to_owned()),
            namespace: None,
        }
    }

    /// The record as a line of JSONL, as Python would write it.
    pub(super) fn line(&self) -> String {
        let number = |value: f64| match value {
            value if value.is_nan() => "NaN".to_owned(),
            value if value.is_infinite() => "Infinity".to_owned(),
            value => format!("{value:?}"),
        };
        let list = |values: Vec<String>| format!("[{}]", values.join(","));
        let values = self.values.as_ref().map(|values| {
            let values = values.iter();
            list(
                values
                    .map(|value| value.map_or_else(|| "null".to_owned(), number))
                    .collect(),
            )
        });
        let sparse = self.sparse.as_ref().map(|(indices, values)| {
            let values = values.iter().map(|value| number(f64::from(*value)));
            let values = list(values.collect());
            format!("{{\"indices\":{indices:?},\"values\":{values}}}")
        });
        let fields = [
            ("id", self.id.as_ref().map(|id| json!(id).to_string())),
            ("values", values),
            ("sparse_values", sparse),
            ("metadata", self.metadata.clone()),
            (
                "namespace",
                self.namespace.as_ref().map(|name| json!(name).to_string()),
            ),
        ];
        let fields: Vec<String> = fields
            .into_iter()
            .filter_map(|(name, text)| Some(format!("\"{name}\":{}", text?)))
            .collect();
        format!("{{{}}}", fields.join(","))
    }
}

/// One record of every defect that both formats can have.
pub(super) fn kinds() -> Vec<Kind> {
    let good = |name: &str| Row::good(format!("bad-{name}"));
    let id = |id: Option<&str>| Row {
        id: id.map(str::to_owned),
        ..good("")
    };
    let values = |name: &str, values: Vec<f64>| Row {
        values: Some(values.into_iter().map(Some).collect()),
        ..good(name)
    };
    let sparse = |name: &str, indices: Vec<i64>, values: Vec<f32>| Row {
        sparse: Some((indices, values)),
        ..good(name)
    };
    let metadata = |name: &str, text: &str| Row {
        metadata: Some(text.to_owned()),
        ..good(name)
    };
    let text = |length: usize| format!("{{\"text\":\"{}\"}}", "x".repeat(length));
    let names = |name: &str| Row {
        namespace: Some(name.to_owned()),
        ..good(&format!("namespace-{}", name.len()))
    };
    let without = |name: &str| Row {
        values: None,
        sparse: None,
        ..good(name)
    };
    let null_value = Row {
        values: Some(vec![Some(1.0), None, Some(2.0), Some(3.0)]),
        ..good("null-value")
    };
    vec![
        ("id-null", "missing_id", id(None)),
        ("id-empty", "missing_id", id(Some(""))),
        ("id-long", "invalid_id", id(Some(&"x".repeat(513)))),
        ("id-not-ascii", "invalid_id", id(Some("käse"))),
        ("id-nul", "invalid_id", id(Some("a\0b"))),
        ("no-vector", "missing_vector", without("no-vector")),
        (
            "empty-vector",
            "missing_vector",
            values("empty-vector", vec![]),
        ),
        ("short", "wrong_dimension", values("short", vec![1.0; 3])),
        (
            "20001",
            "wrong_dimension",
            values("20001", vec![1.0; 20_001]),
        ),
        ("null-value", "malformed", null_value),
        (
            "nan",
            "not_finite",
            values("nan", vec![1.0, f64::NAN, 1.0, 1.0]),
        ),
        (
            "infinite",
            "not_finite",
            values("infinite", vec![f64::INFINITY; 4]),
        ),
        (
            "beyond-f32",
            "not_finite",
            values("beyond-f32", vec![1.0, 1.0, -3.5e38, 1.0]),
        ),
        ("zeros", "all_zero", values("zeros", vec![0.0; 4])),
        (
            "tiny",
            "all_zero",
            values("tiny", vec![9e-9, -9e-9, 0.0, 1e-40]),
        ),
        (
            "sparse-lengths",
            "invalid_sparse",
            sparse("sparse-lengths", vec![1, 2], vec![0.5]),
        ),
        (
            "sparse-empty",
            "invalid_sparse",
            sparse("sparse-empty", vec![], vec![]),
        ),
        (
            "sparse-2049",
            "invalid_sparse",
            sparse("sparse-2049", (0..2_049).collect(), vec![0.5; 2_049]),
        ),
        (
            "sparse-u32",
            "invalid_sparse",
            sparse("sparse-u32", vec![1 << 32], vec![0.5]),
        ),
        (
            "sparse-below",
            "invalid_sparse",
            sparse("sparse-below", vec![-1], vec![0.5]),
        ),
        (
            "sparse-twice",
            "invalid_sparse",
            sparse("sparse-twice", vec![5, 3, 5], vec![0.5; 3]),
        ),
        (
            "sparse-nan",
            "not_finite",
            sparse("sparse-nan", vec![5], vec![f32::NAN]),
        ),
        (
            "nested",
            "invalid_metadata",
            metadata("nested", "{\"a\":{\"b\":1}}"),
        ),
        (
            "numbers",
            "invalid_metadata",
            metadata("numbers", "{\"a\":[1,2]}"),
        ),
        (
            "null-in-list",
            "invalid_metadata",
            metadata("null-in-list", "{\"a\":[\"x\",null]}"),
        ),
        (
            "dollar",
            "invalid_metadata",
            metadata("dollar", "{\"$a\":1}"),
        ),
        (
            "key-twice",
            "invalid_metadata",
            metadata("key-twice", "{\"a\":1,\"a\":1}"),
        ),
        (
            "metadata-nan",
            "invalid_metadata",
            metadata("metadata-nan", "{\"a\":NaN}"),
        ),
        (
            "metadata-1e999",
            "invalid_metadata",
            metadata("metadata-1e999", "{\"a\":1e999}"),
        ),
        (
            "no-object",
            "invalid_metadata",
            metadata("no-object", "[\"a\"]"),
        ),
        (
            "metadata-large",
            "metadata_too_large",
            metadata("metadata-large", &text(40_960)),
        ),
        (
            "record-large",
            "record_too_large",
            metadata("record-large", &text(40_000)),
        ),
        (
            "namespace-long",
            "invalid_namespace",
            names(&"x".repeat(513)),
        ),
        ("namespace-not-ascii", "invalid_namespace", names("käse")),
        ("refused", "refused", good(&format!("{POISON}-pill"))),
    ]
}

/// Lines that only JSONL can have.
pub(super) fn broken_lines() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let line = |text: &str| text.as_bytes().to_vec();
    vec![
        ("cut", "malformed", line("{\"id\":\"cut\",\"values\":[1,2")),
        ("no-json", "malformed", line("no JSON at all")),
        ("no-record", "malformed", line("[1,2]")),
        ("nothing", "missing_id", line("{}")),
        (
            "id-number",
            "malformed",
            line("{\"id\":1.5,\"values\":[1,2,3,4]}"),
        ),
        (
            "id-twice",
            "malformed",
            line("{\"id\":\"a\",\"id\":\"b\",\"values\":[1,2,3,4]}"),
        ),
        (
            "texts",
            "malformed",
            line("{\"id\":\"texts\",\"values\":[\"1\",2,3,4]}"),
        ),
        (
            "1e999",
            "not_finite",
            line("{\"id\":\"1e999\",\"values\":[1e999,2,3,4]}"),
        ),
        (
            "utf-8",
            "malformed",
            b"{\"id\":\"\xff\",\"values\":[1,2,3,4]}".to_vec(),
        ),
        ("long", "line_too_long", vec![b'x'; (8 << 20) + 1]),
    ]
}

pub(super) fn good_row(number: usize) -> Row {
    Row {
        metadata: Some(format!(
            "{{\"n\":{number},\"gone\":null,\"large\":9007199254740993}}"
        )),
        ..Row::good(format!("good-{number}"))
    }
}
