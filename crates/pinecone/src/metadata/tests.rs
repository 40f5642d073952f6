use proptest::prelude::*;
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};

use super::*;

mod nested;

fn convert(metadata: Metadata<'_>) -> Result<StructBuffer, Reject> {
    let mut buffer = StructBuffer::default();
    buffer.convert(metadata)?;
    Ok(buffer)
}

fn fields(buffer: &StructBuffer) -> Vec<(String, Option<Kind>)> {
    let fields = Struct::decode(buffer.wire()).unwrap().fields;
    fields
        .into_iter()
        .map(|(key, Value { kind })| (key, kind))
        .collect()
}

fn reject(text: &str) -> (Reason, String, String) {
    let reject = convert(Metadata::Json(text)).unwrap_err();
    (reject.reason, reject.field, reject.message)
}

/// Scenario: every kind of value that the service takes, with whitespace wherever JSON allows it.
/// Guarantees: each becomes the Value of its kind.
#[test]
fn each_kind_of_value() {
    let text = " { \"a\" : \"x\" , \"b\":-1.5e1,\"c\":true,\n\"d\" : false, \"e\": [ ] , \"f\" : [ \"p\" , \"q\\n\" ], \"\":\"\", \"_g\": 0, \"\u{e9}\": 1 }\t";
    let buffer = convert(Metadata::Json(text)).unwrap();
    let list = |texts: &[&str]| {
        let values = texts.iter().map(|text| Value {
            kind: Some(Kind::StringValue((*text).to_owned())),
        });
        Some(Kind::ListValue(prost_types::ListValue {
            values: values.collect(),
        }))
    };
    let expected = [
        ("", Some(Kind::StringValue(String::new()))),
        ("_g", Some(Kind::NumberValue(0.0))),
        ("a", Some(Kind::StringValue("x".to_owned()))),
        ("b", Some(Kind::NumberValue(-15.0))),
        ("c", Some(Kind::BoolValue(true))),
        ("d", Some(Kind::BoolValue(false))),
        ("e", list(&[])),
        ("f", list(&["p", "q\n"])),
        ("\u{e9}", Some(Kind::NumberValue(1.0))),
    ];
    assert_eq!(
        fields(&buffer),
        expected.map(|(key, kind)| (key.to_owned(), kind))
    );
}

/// Scenario: no metadata, a null, an empty object, no fields.
/// Guarantees: an absent object stays absent and an empty one stays empty.
#[test]
fn nothing_and_the_empty_object() {
    let mut buffer = StructBuffer::default();
    for (metadata, present) in [
        (Metadata::Absent, false),
        (Metadata::Json(" null\n"), false),
        (Metadata::Json("{}"), true),
        (Metadata::Json(" { } "), true),
        (Metadata::Fields(&[]), true),
    ] {
        assert_eq!(buffer.convert(metadata), Ok(present), "{metadata:?}");
        assert!(buffer.wire().is_empty());
    }
}

/// Scenario: values of kinds that the service refuses.
/// Guarantees: invalid_metadata that names the key and shows the value's first bytes.
#[test]
fn values_that_the_service_refuses() {
    for (text, key, found) in [
        (r#"{"ok":1,"price":{"usd":10}}"#, "price", r#"'{"usd":10}'"#),
        (
            r#"{"price":{"currency":"usd"},"b":1}"#,
            "price",
            r#"'{"currency":"usd...'"#,
        ),
        (r#"{"a":{"b":"}"},"c":1}"#, "a", r#"'{"b":"}"}'"#),
        (r#"{"years":[1,2]}"#, "years", "'[1,2]'"),
        (r#"{"mixed":["a",1]}"#, "mixed", r#"'["a",1]'"#),
        (r#"{"deep":[[["a"]]]}"#, "deep", r#"'[[["a"]]]'"#),
        (r#"{"gap":["a",null]}"#, "gap", r#"'["a",null]'"#),
        (r#"{"yes":["a",true]}"#, "yes", r#"'["a",true]'"#),
        (r#"{"n":{"é":"ééééééééé"}}"#, "n", "...'"),
    ] {
        let (reason, field, message) = reject(text);
        assert_eq!(
            (reason, field),
            (Reason::InvalidMetadata, format!("metadata.{key}")),
            "{text}"
        );
        assert!(
            message.contains(ALLOWED) && message.contains(found),
            "{message}"
        );
    }
}

/// Scenario: keys that the service or JSON forbids.
/// Guarantees: a key with a dollar and a key that stands twice, escaped or null or not, are named.
#[test]
fn keys_that_are_refused() {
    for (text, key, word) in [
        (r#"{"a":1,"$b":2}"#, "$b", "start with `$`"),
        (r#"{"\u0024b":null}"#, "$b", "start with `$`"),
        (r#"{"a":1,"b":2,"a":1}"#, "a", "twice"),
        (r#"{"a":1,"\u0061":1}"#, "a", "twice"),
        (r#"{"a":null,"a":1}"#, "a", "twice"),
        (r#"{"":1,"":1}"#, "", "twice"),
    ] {
        let (reason, field, message) = reject(text);
        assert_eq!(
            (reason, field),
            (Reason::InvalidMetadata, format!("metadata.{key}")),
            "{text}"
        );
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(
        fields(&convert(Metadata::Json(r#"{"a$":1,"aa":1}"#)).unwrap()).len(),
        2
    );
}

/// Scenario: text that is not JSON, or no object.
/// Guarantees: invalid_metadata that says what is missing where.
#[test]
fn text_that_is_no_object() {
    for (text, word) in [
        ("", "a JSON object, got ''"),
        ("[1]", "a JSON object, got '[1]'"),
        ("\"a\"", "a JSON object, got '\"a\"'"),
        ("nul", "a JSON object, got 'nul'"),
        ("null x", "a JSON object, got 'null x'"),
        ("{", "a string is missing at byte 1"),
        ("{a:1}", "a string is missing at byte 1"),
        (r#"{"a"}"#, "`:` is missing at byte 4"),
        (r#"{"a":}"#, "a value is missing at byte 5"),
        (r#"{"a":tru}"#, "true is missing at byte 5"),
        (r#"{"a":1"#, "`,` or `}` is missing at byte 6"),
        (r#"{"a":1,}"#, "a string is missing at byte 7"),
        (r#"{"a":["b",]}"#, "a string is missing at byte 10"),
        (r#"{"a":["b""#, "`,` or `]` is missing at byte 9"),
        (r#"{"a":1} {"#, "the end of the text is missing at byte 8"),
        (r#"{"a":01}"#, "the end of the number is missing at byte 6"),
        (r#"{"a":NaN}"#, "a value is missing at byte 5"),
    ] {
        let (reason, field, message) = reject(text);
        assert_eq!(
            (reason, field.as_str()),
            (Reason::InvalidMetadata, "metadata"),
            "{text}"
        );
        assert!(message.contains(word), "{text}: {message}");
    }
}

/// Scenario: nulls under both policies, in text and in fields.
/// Guarantees: dropped ones are told by key and are not sent; rejected ones name the key.
#[test]
fn nulls() {
    let one = [
        Field {
            name: "a",
            value: FieldValue::Null,
        },
        Field {
            name: "b",
            value: FieldValue::Bool(true),
        },
        Field {
            name: "c",
            value: FieldValue::Json(" null "),
        },
    ];
    for metadata in [
        Metadata::Json(r#"{"a":null,"b":true,"c":null}"#),
        Metadata::Fields(&one),
    ] {
        let buffer = convert(metadata).unwrap();
        assert_eq!(
            fields(&buffer),
            [("b".to_owned(), Some(Kind::BoolValue(true)))]
        );
        assert_eq!(
            buffer.changes().collect::<Vec<_>>(),
            [("a", Change::NullDropped), ("c", Change::NullDropped)]
        );
        let mut strict = StructBuffer::new(MetadataPolicy {
            on_null: OnNull::Reject,
            ..MetadataPolicy::default()
        });
        assert_eq!(strict.convert(metadata).unwrap_err().field, "metadata.a");
    }
}

/// Scenario: a record with changes, then one without.
/// Guarantees: what is told belongs to the last record alone.
#[test]
fn changes_are_those_of_the_last_record() {
    let mut buffer = StructBuffer::default();
    buffer
        .convert(Metadata::Json(r#"{"a":null,"big":9007199254740993}"#))
        .unwrap();
    assert_eq!(
        buffer.changes().collect::<Vec<_>>(),
        [("a", Change::NullDropped), ("big", Change::NumberRounded)]
    );
    buffer.convert(Metadata::Absent).unwrap();
    assert_eq!(buffer.changes().count(), 0);
}

/// Scenario: numbers beyond a float64, as text and as fields, and fields with broken text.
/// Guarantees: they are rejected by key.
#[test]
fn numbers_and_texts_that_cannot_be_sent() {
    let (reason, field, message) = reject(r#"{"n":-1e400}"#);
    assert_eq!(
        (reason, field.as_str()),
        (Reason::InvalidMetadata, "metadata.n")
    );
    assert!(message.contains("-1e400"));
    for value in [
        FieldValue::Number(f64::NAN),
        FieldValue::Number(f64::INFINITY),
        FieldValue::Json(""),
        FieldValue::Json("1 2"),
        FieldValue::Json("{}"),
    ] {
        let reject = convert(Metadata::Fields(&[Field { name: "n", value }]))
            .err()
            .unwrap();
        assert_eq!(
            (reject.reason, reject.field.as_str()),
            (Reason::InvalidMetadata, "metadata.n"),
            "{value:?}"
        );
    }
}

/// Scenario: metadata of exactly the most bytes, and of one more; on the wire, and as JSON with escapes.
/// Guarantees: the larger of the two sizes decides, to the byte, in text and in fields.
#[test]
fn the_most_metadata() {
    // On the wire `{"a":"x..."}` takes 15 bytes besides the text; as JSON 8, and two for each quote.
    for (text, fits) in [
        ("x".repeat(40_960 - 15), true),
        ("x".repeat(40_960 - 14), false),
        ("\"".repeat((40_960 - 8) / 2), true),
        ("\"".repeat((40_960 - 8) / 2 + 1), false),
    ] {
        let json = serde_json::json!({ "a": text }).to_string();
        let field = [Field {
            name: "a",
            value: FieldValue::Text(&text),
        }];
        for metadata in [Metadata::Json(&json), Metadata::Fields(&field)] {
            let reason = convert(metadata)
                .err()
                .map(|reject| (reject.reason, reject.field));
            let expected = (!fits).then(|| (Reason::MetadataTooLarge, "metadata".to_owned()));
            assert_eq!(reason, expected);
        }
    }
}

/// Scenario: several keys of each kind, as text and as fields.
/// Guarantees: the length as compact JSON is that of serde_json's text.
#[test]
fn the_length_as_compact_json() {
    let json = r#"{"a":"é\"","b":[],"c":["x","y\n"],"d":true,"e":false,"f":1.5,"g":-12.25}"#;
    let buffer = convert(Metadata::Json(
        &json.replace(',', " ,\n").replace(':', " : "),
    ))
    .unwrap();
    assert_eq!(buffer.compact, json.len());
    let field = |name, value| Field { name, value };
    let fields = [
        field("a", FieldValue::Text("é\"")),
        field("b", FieldValue::TextList(&[])),
        field("c", FieldValue::TextList(&["x", "y\n"])),
        field("d", FieldValue::Bool(true)),
        field("e", FieldValue::Bool(false)),
        field("f", FieldValue::Number(1.5)),
        field("g", FieldValue::Number(-12.25)),
    ];
    assert_eq!(
        convert(Metadata::Fields(&fields)).unwrap().compact,
        json.len()
    );
}

/// Scenario: integers, fractions and extremes.
/// Guarantees: their length is that of the text that common writers make of them, give or take a sign of the exponent.
#[test]
fn the_length_of_a_number() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (7.0, "7"),
        (-10.0, "-10"),
        (999_999_999_999_999.0, "999999999999999"),
        (0.1, "0.1"),
        (-1234.5, "-1234.5"),
        (1e300, "1e300"),
    ] {
        assert_eq!(number_len(value), text.len(), "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Scenario: JSON objects with a character put in, taken out or replaced at any place.
    /// Guarantees: what is taken is JSON for serde_json and has the same keys; what is called "not JSON" is not JSON for it.
    #[test]
    fn broken_text_as_serde_json_sees_it(
        value in prop_oneof![
            "\\{(\"[a-c]\":(\"[a-z\\\\\\\\\"/u0-9]{0,8}\"|-?[0-9.eE+-]{1,6}|true|false|null|\\[(\"a\",?)*\\]|\\{\\}),? ?){0,3}\\}",
            Just(r#"{"a":"x\u00e9\n","b":[ "p","q"],"c":-1.5e3,"d":true}"#.to_owned()),
        ],
        at in any::<prop::sample::Index>(),
        new in prop_oneof![Just(None), "[\\[\\]{}\",:\\\\0-9a-e \u{1}\u{e9}]".prop_map(Some)],
        keep in any::<bool>(),
    ) {
        let mut text: Vec<String> = value.chars().map(String::from).collect();
        let at = at.index(text.len());
        let old = std::mem::replace(&mut text[at], new.unwrap_or_default());
        if keep {
            text.insert(at, old);
        }
        let text = text.concat();
        crate::fuzzing::metadata(&text);
    }
}
