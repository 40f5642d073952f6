use std::collections::HashSet;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};
use vecload_proto::{SparseValues, UpsertRequest, Vector};
use vecload_record::{Field, FieldValue, Metadata, Sparse};

use super::*;
use crate::{FRAME_PREFIX, Limits, begin, cut, decode_record, namespace_bytes, record_id, seal};

/// A record as its owner.
#[derive(Debug, Clone)]
struct Owned {
    id: String,
    dense: Option<Vec<f32>>,
    /// Where the bytes of the dense vector are parted.
    parted: Option<usize>,
    sparse: Option<(Vec<u32>, Vec<f32>)>,
    metadata: Option<Vec<(String, Kind)>>,
    form: Form,
}

/// The form in which the metadata come.
#[derive(Debug, Clone, Copy)]
enum Form {
    Compact,
    Pretty,
    /// Each character that is not ASCII as an escape.
    Escaped,
    Fields,
}

fn finite() -> impl Strategy<Value = f32> {
    any::<u32>()
        .prop_map(f32::from_bits)
        .prop_filter("refused", |value| value.is_finite())
}

fn kind() -> impl Strategy<Value = Kind> {
    let text = prop_oneof![any::<String>(), "[a-z \"\\\\\n]{0,300}"];
    prop_oneof![
        text.clone().prop_map(Kind::StringValue),
        any::<bool>().prop_map(Kind::BoolValue),
        any::<i32>().prop_map(|value| Kind::NumberValue(f64::from(value))),
        any::<f64>()
            .prop_filter("refused", |value| value.is_finite())
            .prop_map(Kind::NumberValue),
        vec(text, 0..5).prop_map(|texts| {
            let values = texts.into_iter().map(|text| Value {
                kind: Some(Kind::StringValue(text)),
            });
            Kind::ListValue(ListValue {
                values: values.collect(),
            })
        }),
    ]
}

fn metadata() -> impl Strategy<Value = Vec<(String, Kind)>> {
    let key = prop_oneof![4 => "[a-z_]{0,12}", 1 => any::<String>()]
        .prop_filter("refused", |key| !key.starts_with('$'));
    let entries = btree_map(key, kind(), 0..6).prop_map(|entries| entries.into_iter().collect());
    Strategy::prop_shuffle(entries)
}

fn owned() -> impl Strategy<Value = Owned> {
    let dense = prop_oneof![
        vec(finite(), 1..20),
        vec(finite(), 30..70),
        vec(finite(), 4090..4100)
    ]
    .prop_map(|mut values| {
        // One that is not zero.
        values[0] = 1.5;
        values
    })
    .boxed();
    let sparse = vec((prop_oneof![any::<u32>(), 0..300_u32], finite()), 1..50)
        .prop_map(|mut pairs| {
            let mut seen = HashSet::new();
            pairs.retain(|(index, _)| seen.insert(*index));
            pairs.into_iter().unzip()
        })
        .boxed();
    let vectors = prop_oneof![
        (dense.clone(), Just(None)).prop_map(|(dense, sparse)| (Some(dense), sparse)),
        sparse.clone().prop_map(|sparse| (None, Some(sparse))),
        (dense, sparse).prop_map(|(dense, sparse)| (Some(dense), Some(sparse))),
    ];
    let form = prop_oneof![
        Just(Form::Compact),
        Just(Form::Pretty),
        Just(Form::Escaped),
        Just(Form::Fields)
    ];
    let id = prop_oneof!["[\\x01-\\x7f]{1,20}", "[a-z]{120,512}"];
    (
        id,
        vectors,
        any::<Option<prop::sample::Index>>(),
        prop::option::of(metadata()),
        form,
    )
        .prop_map(|(id, (dense, sparse), parted, metadata, form)| Owned {
            parted: parted.and_then(|at| dense.as_ref().map(|values| at.index(values.len() + 1))),
            id,
            dense,
            sparse,
            metadata,
            form,
        })
}

impl Owned {
    /// The message that prost would send.
    fn message(&self) -> Vector {
        let value = |kind: &Kind| Value {
            kind: Some(kind.clone()),
        };
        Vector {
            id: self.id.clone(),
            values: self.dense.clone().unwrap_or_default(),
            metadata: self.metadata.as_ref().map(|entries| Struct {
                fields: entries
                    .iter()
                    .map(|(key, kind)| (key.clone(), value(kind)))
                    .collect(),
            }),
            sparse_values: self
                .sparse
                .clone()
                .map(|(indices, values)| SparseValues { indices, values }),
        }
    }

    /// The metadata as JSON, keys in their order.
    fn json(&self) -> Option<String> {
        let part = |kind: &Kind| match kind {
            Kind::StringValue(text) => serde_json::to_string(text).unwrap(),
            Kind::NumberValue(value)
                if value.fract() == 0.0 && value.abs() < 1e9 && *value != 0.0 =>
            {
                format!("{value}")
            }
            Kind::NumberValue(value) => serde_json::to_string(value).unwrap(),
            Kind::BoolValue(value) => value.to_string(),
            Kind::ListValue(list) => {
                let texts: Vec<String> = list
                    .values
                    .iter()
                    .map(|value| match &value.kind {
                        Some(Kind::StringValue(text)) => serde_json::to_string(text).unwrap(),
                        _ => unreachable!(),
                    })
                    .collect();
                format!("[{}]", texts.join(self.comma()))
            }
            _ => unreachable!(),
        };
        let entries = self.metadata.as_ref()?.iter();
        let entries: Vec<_> = entries
            .map(|(key, kind)| {
                let colon = if matches!(self.form, Form::Pretty) {
                    "\t: "
                } else {
                    ":"
                };
                format!(
                    "{}{colon}{}",
                    serde_json::to_string(key).unwrap(),
                    part(kind)
                )
            })
            .collect();
        let text = format!("{{{}}}", entries.join(self.comma()));
        Some(match self.form {
            Form::Pretty => format!("\r\n {text} \n"),
            Form::Escaped => escaped(&text),
            _ => text,
        })
    }

    fn comma(&self) -> &'static str {
        if matches!(self.form, Form::Pretty) {
            " ,\n "
        } else {
            ","
        }
    }

    /// Lends the record, in one of the forms in which a source may have it.
    fn lend<T>(&self, then: impl FnOnce(&RecordRef<'_>) -> T) -> T {
        let bytes: Vec<u8> = self
            .dense
            .iter()
            .flatten()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let json = self.json();
        let texts: Vec<Vec<&str>> = self
            .metadata
            .iter()
            .flatten()
            .map(|(_, kind)| match kind {
                Kind::ListValue(list) => list
                    .values
                    .iter()
                    .map(|value| match &value.kind {
                        Some(Kind::StringValue(text)) => text.as_str(),
                        _ => unreachable!(),
                    })
                    .collect(),
                _ => Vec::new(),
            })
            .collect();
        let fields: Vec<Field<'_>> = self
            .metadata
            .iter()
            .flatten()
            .zip(&texts)
            .map(|((name, kind), texts)| Field {
                name,
                value: match kind {
                    Kind::StringValue(text) => FieldValue::Text(text),
                    Kind::NumberValue(value) => FieldValue::Number(*value),
                    Kind::BoolValue(value) => FieldValue::Bool(*value),
                    _ => FieldValue::TextList(texts),
                },
            })
            .collect();
        then(&RecordRef {
            operation: Operation::Upsert,
            namespace: None,
            id: &self.id,
            dense: self.dense.as_deref().map(|values| match self.parted {
                None => Dense::Floats(values),
                Some(at) => Dense::Bytes(&bytes[..4 * at], &bytes[4 * at..]),
            }),
            sparse: self
                .sparse
                .as_ref()
                .map(|(indices, values)| Sparse { indices, values }),
            metadata: match (&json, self.form) {
                (None, _) => Metadata::Absent,
                (Some(_), Form::Fields) => Metadata::Fields(&fields),
                (Some(json), _) => Metadata::Json(json),
            },
        })
    }

    /// Appends the record and checks its measure.
    fn append(&self, scratch: &mut Scratch, out: &mut Vec<u8>) {
        self.lend(|record| {
            let measured = measure(record, &IndexShape::default(), scratch).unwrap();
            let start = out.len();
            append(record, &measured, scratch, out).unwrap();
            assert_eq!(out.len() - start, measured.bytes());
        });
    }
}

fn escaped(json: &str) -> String {
    let mut out = String::new();
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04X}"));
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Scenario: any record, in each form in which a source may have it, after another.
    /// Guarantees: prost decodes its own message from the bytes, which are prost's own where a map has one key at most; the measure is exact.
    #[test]
    fn a_record_is_what_prost_would_send(first in owned(), second in owned()) {
        let mut scratch = Scratch::default();
        for owned in [first, second] {
            let mut out = Vec::new();
            owned.append(&mut scratch, &mut out);
            let message = owned.message();
            prop_assert_eq!(out[0], 0x0a);
            prop_assert_eq!(&Vector::decode_length_delimited(&out[1..]).unwrap(), &message);
            if owned.metadata.as_ref().is_none_or(|entries| entries.len() < 2) {
                prop_assert_eq!(&out[1..], &message.encode_length_delimited_to_vec());
            }
            prop_assert_eq!(out.len(), 1 + message.encode_length_delimited_to_vec().len());
        }
    }

    /// Scenario: a frame of a few records, and every range cut from it.
    /// Guarantees: frame and cuts are complete requests with the right records; ids and records are read back.
    #[test]
    fn frames_and_their_cuts(records in vec(owned(), 1..6), namespace in "[a-z]{0,3}|[a-z]{128,140}") {
        let (mut frame, mut ends, mut scratch) = (vec![1, 2, 3], Vec::new(), Scratch::default());
        begin(&mut frame);
        for record in &records {
            record.append(&mut scratch, &mut frame);
            ends.push(u32::try_from(frame.len()).unwrap());
        }
        let before = frame.len();
        seal(&namespace, &mut frame);
        prop_assert_eq!(frame.len() - before, namespace_bytes(&namespace));
        let request = |records: &[Owned]| UpsertRequest {
            vectors: records.iter().map(Owned::message).collect(),
            namespace: namespace.clone(),
        };
        let open = |frame: &[u8]| {
            assert_eq!(frame[0], 0);
            assert_eq!(frame[1..5], u32::try_from(frame.len() - FRAME_PREFIX).unwrap().to_be_bytes());
            UpsertRequest::decode(&frame[FRAME_PREFIX..]).unwrap()
        };
        prop_assert_eq!(open(&frame), request(&records));
        prop_assert_eq!(&cut(&frame, &ends, 0..records.len()), &frame);
        for start in 0..records.len() {
            for end in start + 1..=records.len() {
                prop_assert_eq!(open(&cut(&frame, &ends, start..end)), request(&records[start..end]));
            }
        }
        for (number, record) in records.iter().enumerate() {
            let start = if number == 0 { FRAME_PREFIX } else { ends[number - 1] as usize };
            let bytes = &frame[start..ends[number] as usize];
            prop_assert_eq!(record_id(bytes), Some(record.id.as_str()));
            // A dead letter, read again, becomes the same record.
            let letter = decode_record(bytes).unwrap();
            let again = Owned {
                dense: letter.get("values").map(floats),
                sparse: letter.get("sparse_values").map(|sparse| (
                    serde_json::from_value(sparse["indices"].clone()).unwrap(),
                    floats(&sparse["values"]),
                )),
                metadata: None,
                ..record.clone()
            };
            let json = letter.get("metadata").map(ToString::to_string);
            let mut out = Vec::new();
            again.lend(|record| {
                let record = RecordRef { metadata: json.as_deref().map_or(Metadata::Absent, Metadata::Json), ..*record };
                let measured = measure(&record, &IndexShape::default(), &mut scratch).unwrap();
                append(&record, &measured, &scratch, &mut out).unwrap();
            });
            prop_assert_eq!(Vector::decode_length_delimited(&out[1..]).unwrap(), record.message());
        }
    }

    /// Scenario: a value that is not finite at any place of a vector in any form.
    /// Guarantees: not_finite, with the place in the message, and the buffer as it was.
    #[test]
    fn a_value_that_is_not_finite(mut record in owned(), at in any::<prop::sample::Index>(), bad in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::from_bits(0xff80_0001))]) {
        let (values, field) = match (&mut record.dense, &mut record.sparse) {
            (Some(values), _) => (values, "values"),
            (None, Some((_, values))) => (values, "sparse_values"),
            _ => unreachable!(),
        };
        let at = at.index(values.len());
        values[at] = bad;
        let mut scratch = Scratch::default();
        let mut out = vec![7; 100];
        let reject = record.lend(|record| {
            let measured = measure(record, &IndexShape::default(), &mut scratch).unwrap();
            append(record, &measured, &scratch, &mut out).unwrap_err()
        });
        prop_assert_eq!((reject.reason, reject.field.as_str()), (Reason::NotFinite, field));
        let place = format!("position {at} ");
        prop_assert!(reject.message.contains(&place), "{}", reject);
        prop_assert_eq!(out, vec![7; 100]);
    }
}

fn floats(values: &serde_json::Value) -> Vec<f32> {
    let values = values.as_array().unwrap().iter();
    values
        .map(|value| value.to_string().parse().unwrap())
        .collect()
}

fn plain<'a>(id: &'a str, values: &'a [f32], metadata: Metadata<'a>) -> RecordRef<'a> {
    RecordRef {
        operation: Operation::Upsert,
        namespace: None,
        id,
        dense: Some(Dense::Floats(values)),
        sparse: None,
        metadata,
    }
}

/// Scenario: the record that an official client was seen to send.
/// Guarantees: the frame is the same, byte for byte.
#[test]
fn the_captured_frame() {
    let record = plain("a", &[0.1, 0.2], Metadata::Json(r#"{"x":1}"#));
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    begin(&mut out);
    let measured = measure(&record, &IndexShape::default(), &mut scratch).unwrap();
    append(&record, &measured, &scratch, &mut out).unwrap();
    seal("ns1", &mut out);
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "00000000260a1f0a01611208cdcccc3dcdcc4c3e1a100a0e0a0178120911000000000000f03f12036e7331"
    );
}

/// Scenario: dense values around the least that the service takes for a number.
/// Guarantees: all_zero exactly where none reaches 1e-8, whatever the sign, and the buffer as it was.
#[test]
fn nothing_but_zeros() {
    let below = f32::from_bits(LEAST.to_bits() - 1);
    let mut scratch = Scratch::default();
    for (values, refused) in [
        (&[0.0, -0.0][..], true),
        (&[below, -below], true),
        (&[0.0, LEAST], false),
        (&[-LEAST, 0.0], false),
        (&[f32::MAX, 0.0], false),
    ] {
        let record = plain("a", values, Metadata::Absent);
        let mut out = vec![1];
        let measured = measure(&record, &IndexShape::default(), &mut scratch).unwrap();
        let reject = append(&record, &measured, &scratch, &mut out).err();
        assert_eq!(
            reject.map(|reject| reject.reason),
            refused.then_some(Reason::AllZero),
            "{values:?}"
        );
        assert_eq!(out.len(), if refused { 1 } else { 1 + measured.bytes() });
    }
}

/// Scenario: a record that breaks rules of id, vector and metadata at once, and one with only the last.
/// Guarantees: measuring applies the rules of id and vector first, and those of metadata too.
#[test]
fn measuring_applies_all_rules() {
    let mut scratch = Scratch::default();
    let shape = IndexShape {
        dimension: Some(3),
        ..IndexShape::default()
    };
    let reason = |record: &RecordRef<'_>, scratch: &mut Scratch| {
        measure(record, &shape, scratch).unwrap_err().reason
    };
    let nested = Metadata::Json(r#"{"a":{}}"#);
    assert_eq!(
        reason(&plain("", &[1.0], nested), &mut scratch),
        Reason::MissingId
    );
    assert_eq!(
        reason(&plain("a", &[1.0], nested), &mut scratch),
        Reason::WrongDimension
    );
    assert_eq!(
        reason(&plain("a", &[1.0; 3], nested), &mut scratch),
        Reason::InvalidMetadata
    );
}

/// Scenario: a record against a cap below its size, at it, and with a namespace that makes it too large.
/// Guarantees: record_too_large exactly where record and namespace do not fit into a request.
#[test]
fn a_record_alone_against_a_lowered_cap() {
    let mut scratch = Scratch::default();
    let record = plain("a", &[1.0; 10], Metadata::Absent);
    let measured = measure(&record, &IndexShape::default(), &mut scratch).unwrap();
    let limits = |request_bytes| Limits {
        request_bytes,
        ..Limits::default()
    };
    assert_eq!(Limits::default().check_alone(&measured, "n"), Ok(()));
    assert_eq!(limits(measured.bytes()).check_alone(&measured, ""), Ok(()));
    for (bytes, namespace) in [(measured.bytes() - 1, ""), (measured.bytes(), "n")] {
        let reject = limits(bytes).check_alone(&measured, namespace).unwrap_err();
        assert_eq!(reject.reason, Reason::RecordTooLarge);
    }
}

/// Scenario: lengths around each step of a varint.
/// Guarantees: the length that is counted is the one that prost writes.
#[test]
fn varints() {
    for value in [
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        u32::MAX as usize,
    ] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        put_varint(value, &mut ours);
        prost::encoding::encode_varint(value as u64, &mut theirs);
        assert_eq!(ours, theirs);
        assert_eq!(varint_len(value), ours.len());
    }
}
