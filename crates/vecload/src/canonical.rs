//! A record as the JSON object that a dead letter holds.

use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
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
            object.insert("metadata".to_owned(), value(text));
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
        FieldValue::Json(text) => self::value(text),
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

/// What a text says, or the text itself where a tree would say less: where it is no JSON, has a number
/// beyond float64 or a key twice.
fn value(text: &str) -> Value {
    match serde_json::from_str::<NoKeyTwice>(text) {
        Ok(NoKeyTwice(value)) => value,
        Err(_) => json!(text),
    }
}

/// A value in whose objects no key stands twice.
struct NoKeyTwice(Value);

impl<'de> Deserialize<'de> for NoKeyTwice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("JSON without a key twice")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(NoKeyTwice(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(list.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some((key, NoKeyTwice(value))) = fields.next_entry()? {
                    if object.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok(object.into())
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
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

    /// Scenario: metadata that is no JSON, has a number that is too large, or a key twice, also deep within.
    /// Guarantees: its text is kept; other metadata is what it says.
    #[test]
    fn metadata_that_a_tree_cannot_say_is_kept_as_text() {
        let metadata = |text: &'static str| {
            let record = RecordRef {
                operation: Operation::Upsert,
                namespace: None,
                id: "a",
                dense: None,
                sparse: None,
                metadata: Metadata::Json(text),
            };
            canonical(&record)["metadata"].clone()
        };
        for text in [
            "{\"x\": ",
            "{\"x\": 1e999}",
            "{\"x\": 1, \"x\": 1}",
            "{\"x\": [{\"y\": 1, \"y\": null}]}",
        ] {
            assert_eq!(metadata(text), text);
        }
        let all = "{\"x\":[null,true,-1,18446744073709551615,0.5,\"t\\n\",{\"y\":{}}]}";
        assert_eq!(metadata(all).to_string(), all);
    }
}
