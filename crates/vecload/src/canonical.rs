//! A record as the JSON object that a dead letter holds.

use serde_json::{Map, Number, Value, json};
use vecload_record::{Field, FieldValue, Metadata, RecordRef};

/// The record in canonical form: `id, values, sparse_values, metadata`, each where it has it. A value
/// that JSON cannot hold (NaN, an infinity) is written as text. In metadata, where any text would do,
/// it is the whole object that becomes text; so the record is refused again until it is mended.
pub(crate) fn canonical(record: &RecordRef<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(record.id));
    if let Some(dense) = record.dense {
        object.insert("values".to_owned(), floats(dense.iter()));
    }
    if let Some(sparse) = record.sparse {
        object.insert(
            "sparse_values".to_owned(),
            json!({"indices": sparse.indices, "values": floats(sparse.values.iter().copied())}),
        );
    }
    match record.metadata {
        Metadata::Absent => {}
        Metadata::Json(text) => {
            // Text that is no JSON is kept as the text it is.
            let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            object.insert("metadata".to_owned(), value);
        }
        Metadata::Fields(fields) => {
            object.insert("metadata".to_owned(), typed(fields));
        }
    }
    object
}

fn floats(values: impl Iterator<Item = f32>) -> Value {
    // Through f64, whose shortest text reads back to the same f32.
    values.map(|value| number(f64::from(value))).collect()
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| json!(value.to_string()), Value::Number)
}

fn typed(fields: &[Field<'_>]) -> Value {
    let is_finite = |field: &Field<'_>| match field.value {
        FieldValue::Number(value) => value.is_finite(),
        _ => true,
    };
    let json = |value: &FieldValue<'_>| match *value {
        FieldValue::Null => Value::Null,
        FieldValue::Text(text) => json!(text),
        FieldValue::Number(value) => number(value),
        FieldValue::Bool(value) => json!(value),
        FieldValue::TextList(list) => json!(list),
        FieldValue::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
    };
    if fields.iter().all(is_finite) {
        let object = fields
            .iter()
            .map(|field| (field.name.to_owned(), json(&field.value)));
        return Value::Object(object.collect());
    }
    let fields: Vec<String> = fields
        .iter()
        .map(|field| match field.value {
            FieldValue::Number(value) if !is_finite(field) => {
                format!("{}:{}", json!(field.name), word(value))
            }
            _ => format!("{}:{}", json!(field.name), json(&field.value)),
        })
        .collect();
    Value::String(format!("{{{}}}", fields.join(",")))
}

/// What writers of JSON that is none call a number that is not finite.
fn word(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecload_record::{Dense, Operation, Sparse};

    /// Scenario: a record with everything, among it what JSON cannot say.
    /// Guarantees: nothing is left out, numbers read back to the same bits, and metadata that JSON
    /// cannot say is text that says it.
    #[test]
    fn nothing_is_left_out() {
        let fields = [
            Field {
                name: "n",
                value: FieldValue::Number(f64::NAN),
            },
            Field {
                name: "l",
                value: FieldValue::TextList(&["a", "b"]),
            },
            Field {
                name: "j",
                value: FieldValue::Json("{\"x\": 1}"),
            },
        ];
        let values = [0.1_f32, f32::NAN, f32::MIN_POSITIVE];
        let record = RecordRef {
            operation: Operation::Upsert,
            namespace: None,
            id: "a",
            dense: Some(Dense::Floats(&values)),
            sparse: Some(Sparse {
                indices: &[7],
                values: &[0.5],
            }),
            metadata: Metadata::Fields(&fields),
        };
        let object = Value::Object(canonical(&record));
        assert_eq!(
            object["values"][0].as_f64().map(|value| value as f32),
            Some(0.1)
        );
        assert_eq!(object["values"][1], "NaN");
        assert_eq!(
            object["sparse_values"],
            json!({"indices": [7], "values": [0.5]})
        );
        assert_eq!(object["metadata"], r#"{"n":NaN,"l":["a","b"],"j":{"x":1}}"#);
        let record = RecordRef {
            metadata: Metadata::Fields(&fields[1..]),
            ..record
        };
        assert_eq!(
            Value::Object(canonical(&record))["metadata"],
            json!({"l": ["a", "b"], "j": {"x": 1}})
        );
    }

    /// Scenario: metadata that is no JSON.
    /// Guarantees: its text is kept.
    #[test]
    fn metadata_that_is_no_json_is_kept_as_text() {
        let record = RecordRef {
            operation: Operation::Upsert,
            namespace: None,
            id: "a",
            dense: None,
            sparse: None,
            metadata: Metadata::Json("{\"x\": "),
        };
        assert_eq!(canonical(&record)["metadata"], "{\"x\": ");
    }
}
