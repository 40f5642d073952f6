//! Records back from their wire bytes, for dead letters and for comparison.

use prost::Message as _;
use prost_types::{ListValue, Struct, value::Kind};
use serde_json::{Map, Number, Value, json};
use vecload_proto::Vector;

/// Why wire bytes are not a record.
#[derive(Debug, thiserror::Error)]
#[error("the bytes of a batch are not a record: {0}")]
pub struct DecodeError(String);

/// The id of one record's wire bytes, which are what stands between two ends of a frame.
#[must_use]
pub fn record_id(record: &[u8]) -> Option<&str> {
    let id = length_delimited(length_delimited(record)?.0)?.0;
    std::str::from_utf8(id).ok()
}

/// One record's wire bytes as the canonical dead letter: `id`, `values`, `sparse_values`, `metadata`.
/// Each number reads back to the same bits.
///
/// # Errors
///
/// If the bytes are not those of a record, or hold what JSON cannot.
pub fn decode_record(record: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    let vector = decode_vector(record)?;
    let mut letter = Map::new();
    letter.insert("id".to_owned(), Value::String(vector.id));
    if !vector.values.is_empty() {
        letter.insert("values".to_owned(), floats(&vector.values)?);
    }
    if let Some(sparse) = vector.sparse_values {
        let sparse = json!({ "indices": sparse.indices, "values": floats(&sparse.values)? });
        letter.insert("sparse_values".to_owned(), sparse);
    }
    if let Some(metadata) = vector.metadata {
        letter.insert("metadata".to_owned(), object(metadata)?);
    }
    Ok(letter)
}

/// One record's wire bytes as a message.
pub(crate) fn decode_vector(record: &[u8]) -> Result<Vector, DecodeError> {
    let Some((message, [])) = length_delimited(record) else {
        return Err(DecodeError("the length is wrong".to_owned()));
    };
    Vector::decode(message).map_err(|error| DecodeError(error.to_string()))
}

/// A value of the metadata as JSON, for people.
pub(crate) fn metadata_json(value: &prost_types::Value) -> String {
    match any(value.clone()) {
        Ok(json) => json.to_string(),
        Err(error) => error.0,
    }
}

/// What a tag of field 1 and a length enclose, and what comes after it.
fn length_delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes.strip_prefix(&[0x0a])?;
    let length = prost::encoding::decode_varint(&mut rest).ok()?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn floats(values: &[f32]) -> Result<Value, DecodeError> {
    values.iter().map(|value| float(*value)).collect()
}

/// The shortest decimal that reads back to the float, also where a reader takes it for a float64
/// first; the float64 of the same value where there is none such.
fn float(value: f32) -> Result<Value, DecodeError> {
    let shortest = value.to_string().parse::<f64>().ok();
    let number = shortest
        .filter(|wide| (*wide as f32).to_bits() == value.to_bits())
        .unwrap_or(f64::from(value));
    number_value(number)
}

fn number_value(value: f64) -> Result<Value, DecodeError> {
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| DecodeError(format!("{value} is a number that JSON does not have")))
}

fn object(metadata: Struct) -> Result<Value, DecodeError> {
    metadata
        .fields
        .into_iter()
        .map(|(key, value)| Ok((key, any(value)?)))
        .collect()
}

fn any(value: prost_types::Value) -> Result<Value, DecodeError> {
    /// Below it, a float64 is every integer exactly.
    const INTEGERS: f64 = 9_007_199_254_740_992.0;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Ok(Value::Null),
        Some(Kind::BoolValue(value)) => Ok(Value::Bool(value)),
        Some(Kind::StringValue(value)) => Ok(Value::String(value)),
        // Integers as people write them; -0 has no such form.
        Some(Kind::NumberValue(value))
            if value.fract() == 0.0
                && value.abs() < INTEGERS
                && (value != 0.0 || value.is_sign_positive()) =>
        {
            Ok(Value::from(value as i64))
        }
        Some(Kind::NumberValue(value)) => number_value(value),
        Some(Kind::StructValue(value)) => object(value),
        Some(Kind::ListValue(ListValue { values })) => values.into_iter().map(any).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(vector: &Vector) -> Vec<u8> {
        let mut out = vec![0x0a];
        vector.encode_length_delimited(&mut out).unwrap();
        out
    }

    /// Scenario: a record with everything, as prost encodes it.
    /// Guarantees: the dead letter has the canonical keys and the values that were sent.
    #[test]
    fn a_record_as_a_dead_letter() {
        let field = |kind| prost_types::Value { kind: Some(kind) };
        let vector = Vector {
            id: "it's".to_owned(),
            values: vec![0.1, -2.0, 16_777_216.0],
            sparse_values: Some(vecload_proto::SparseValues {
                indices: vec![7, u32::MAX],
                values: vec![0.25, 1e-20],
            }),
            metadata: Some(Struct {
                fields: [
                    (
                        "text".to_owned(),
                        field(Kind::StringValue("\u{e9}\"".to_owned())),
                    ),
                    ("year".to_owned(), field(Kind::NumberValue(1999.0))),
                    ("price".to_owned(), field(Kind::NumberValue(0.1))),
                    ("zero".to_owned(), field(Kind::NumberValue(-0.0))),
                    ("wide".to_owned(), field(Kind::NumberValue(1e300))),
                    ("yes".to_owned(), field(Kind::BoolValue(true))),
                    (
                        "tags".to_owned(),
                        field(Kind::ListValue(ListValue {
                            values: vec![field(Kind::StringValue("a".to_owned()))],
                        })),
                    ),
                ]
                .into(),
            }),
        };
        let record = bytes(&vector);
        assert_eq!(record_id(&record), Some("it's"));
        assert_eq!(
            serde_json::to_string(&decode_record(&record).unwrap()).unwrap(),
            r#"{"id":"it's","metadata":{"price":0.1,"tags":["a"],"text":"é\"","wide":1e+300,"year":1999,"yes":true,"zero":-0.0},"sparse_values":{"indices":[7,4294967295],"values":[0.25,1e-20]},"values":[0.1,-2.0,16777216.0]}"#
        );
    }

    /// Scenario: bytes that are cut off, have something after them, or are of another kind.
    /// Guarantees: an error or nothing, never a panic and never half a record.
    #[test]
    fn other_bytes_are_refused() {
        let record = bytes(&Vector {
            id: "a".to_owned(),
            values: vec![1.0],
            ..Vector::default()
        });
        for end in 0..record.len() {
            assert!(decode_record(&record[..end]).is_err(), "{end}");
        }
        let longer = [record.as_slice(), &[0]].concat();
        assert!(decode_record(&longer).is_err());
        for bytes in [
            &[][..],
            &[0x0a],
            &[0x12, 0],
            &[0x0a, 3, 0x0a, 1, 0xff],
            &[0x0a, 0xff, 0xff],
        ] {
            assert_eq!(record_id(bytes), None, "{bytes:?}");
        }
    }

    proptest::proptest! {
        /// Scenario: every kind of finite float32.
        /// Guarantees: its text reads back to the same bits, directly and by way of a float64.
        #[test]
        fn a_float_reads_back(bits in proptest::prelude::any::<u32>()) {
            let value = f32::from_bits(bits);
            proptest::prop_assume!(value.is_finite());
            let text = float(value).unwrap().to_string();
            proptest::prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), bits);
            proptest::prop_assert_eq!((text.parse::<f64>().unwrap() as f32).to_bits(), bits);
        }
    }
}
