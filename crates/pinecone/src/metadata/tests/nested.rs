use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::super::nested::DEPTH;
use super::*;

fn with(on_nested: OnNested, metadata: Metadata<'_>) -> Result<StructBuffer, Reject> {
    let mut buffer = StructBuffer::new(MetadataPolicy {
        on_nested,
        ..MetadataPolicy::default()
    });
    buffer.convert(metadata)?;
    Ok(buffer)
}

fn text(value: &str) -> Option<Kind> {
    Some(Kind::StringValue(value.to_owned()))
}

fn texts(values: &[&str]) -> Option<Kind> {
    let values = values.iter().map(|value| Value { kind: text(value) });
    Some(Kind::ListValue(prost_types::ListValue {
        values: values.collect(),
    }))
}

fn named<const N: usize>(fields: [(&str, Option<Kind>); N]) -> Vec<(String, Option<Kind>)> {
    fields.map(|(key, kind)| (key.to_owned(), kind)).to_vec()
}

const PRICE: &str = r#"{ "usd" : 1.50, "tax":{"rate" : 12345678901234567891 , "none":{}, "paid":null},"\u0061":["x"] }"#;
const PRICE_COMPACT: &str =
    r#"{"usd":1.50,"tax":{"rate":12345678901234567891,"none":{},"paid":null},"\u0061":["x"]}"#;
const YEARS: &str = r#"[ 1e3, "a \u00e9", null, [true, false], {"b" : 2} ]"#;
const YEARS_COMPACT: &str = r#"[1e3,"a \u00e9",null,[true,false],{"b":2}]"#;

/// One record with nested values of each kind, as text and as the fields of columns.
fn both_forms(then: impl Fn(Metadata<'_>)) {
    let object = format!(r#"{{"id": 7, "price" : {PRICE}, "years":{YEARS}, "tags": ["t"]}}"#);
    then(Metadata::Json(&object));
    let field = |name, value| Field { name, value };
    then(Metadata::Fields(&[
        field("id", FieldValue::Number(7.0)),
        field("price", FieldValue::Json(PRICE)),
        field("years", FieldValue::Json(YEARS)),
        field("tags", FieldValue::TextList(&["t"])),
    ]));
}

/// Scenario: nested objects and lists, in text and in fields, under the default.
/// Guarantees: the record is rejected by the first of them.
#[test]
fn nested_values_are_rejected_unless_asked_for() {
    both_forms(|metadata| {
        let reject = convert(metadata).unwrap_err();
        assert_eq!(
            (reject.reason, reject.field.as_str()),
            (Reason::InvalidMetadata, "metadata.price")
        );
    });
}

/// Scenario: the same, stored as JSON.
/// Guarantees: each is a string of the input's own tokens, a list of strings stays one, both fields are told.
#[test]
fn nested_values_as_json_text() {
    both_forms(|metadata| {
        let buffer = with(OnNested::Json, metadata).unwrap();
        let expected = named([
            ("id", Some(Kind::NumberValue(7.0))),
            ("price", text(PRICE_COMPACT)),
            ("tags", texts(&["t"])),
            ("years", text(YEARS_COMPACT)),
        ]);
        assert_eq!(fields(&buffer), expected);
        assert_eq!(
            buffer.changes().collect::<Vec<_>>(),
            [
                ("price", Change::StoredAsJson),
                ("years", Change::StoredAsJson)
            ]
        );
    });
}

/// Scenario: the same, flattened.
/// Guarantees: inner keys stand beside the others, lists of other things are text, each change is told by key.
#[test]
fn nested_objects_flattened() {
    both_forms(|metadata| {
        let buffer = with(OnNested::Flatten, metadata).unwrap();
        let expected = named([
            ("id", Some(Kind::NumberValue(7.0))),
            ("price.a", texts(&["x"])),
            (
                "price.tax.rate",
                Some(Kind::NumberValue(12_345_678_901_234_567_891.0)),
            ),
            ("price.usd", Some(Kind::NumberValue(1.5))),
            ("tags", texts(&["t"])),
            ("years", text(YEARS_COMPACT)),
        ]);
        assert_eq!(fields(&buffer), expected);
        assert_eq!(
            buffer.changes().collect::<Vec<_>>(),
            [
                ("price", Change::Flattened),
                ("price.tax.rate", Change::NumberRounded),
                ("price.tax.paid", Change::NullDropped),
                ("years", Change::StoredAsJson),
            ]
        );
    });
}

/// Scenario: keys that become the same when they are joined, and inner keys that stand twice.
/// Guarantees: invalid_metadata by the joined key, with both names as the input has them.
#[test]
fn keys_that_become_the_same() {
    for (object, key, words) in [
        (r#"{"a":{"b":1},"a.b":2}"#, "a.b", ["`b` in `a`", "`a.b`"]),
        (
            r#"{"a.b":2,"a":{"b":null}}"#,
            "a.b",
            ["`b` in `a`", "`a.b`"],
        ),
        (
            r#"{"a":{"b.c":1},"a.b":{"c":2}}"#,
            "a.b.c",
            ["`b.c` in `a`", "`c` in `a.b`"],
        ),
        (
            r#"{"a":{"b":{"c":1},"b.c":2}}"#,
            "a.b.c",
            ["`c` in `a.b`", "`b.c` in `a`"],
        ),
        // The shortest of several: the two objects themselves.
        (
            r#"{"a":{"b":{"c":1}},"a.b":{"c":2}}"#,
            "a.b",
            ["`b` in `a`", "`a.b`"],
        ),
        (r#"{"":{"b":1},".b":2}"#, ".b", ["`b` in ``", "`.b`"]),
        (r#"{"a":{"b":1,"b":2}}"#, "a.b", ["twice", ""]),
        (r#"{"a":{"b":1},"a":{"c":2}}"#, "a", ["twice", ""]),
    ] {
        let reject = with(OnNested::Flatten, Metadata::Json(object)).unwrap_err();
        assert_eq!(
            (reject.reason, reject.field),
            (Reason::InvalidMetadata, format!("metadata.{key}")),
            "{object}"
        );
        for word in words {
            assert!(
                reject.message.contains(word),
                "{object}: {}",
                reject.message
            );
        }
    }
}

/// Scenario: an outer key with a dollar, an inner one, and one in a value that is stored as text.
/// Guarantees: only the key that the service would refuse is refused.
#[test]
fn a_dollar_is_refused_where_a_sent_key_begins_with_it() {
    for on_nested in [OnNested::Flatten, OnNested::Json] {
        let outer = with(on_nested, Metadata::Json(r#"{"$a":{"b":1}}"#)).unwrap_err();
        assert_eq!(outer.field, "metadata.$a");
        with(on_nested, Metadata::Json(r#"{"a":{"$b":1}}"#)).unwrap();
    }
}

/// Scenario: nested values of which more than the most metadata would be sent, and less.
/// Guarantees: what is sent is measured, on the wire and as JSON with escapes, not what the input holds.
#[test]
fn what_is_sent_is_measured() {
    let spaces = " ".repeat(50_000);
    let roomy = format!(r#"{{"a":{{{spaces}"b":[1,{spaces}2]}}}}"#);
    let long = format!(r#"{{"a":{{"b":["{}"]}}}}"#, "x".repeat(41_000));
    // 36,000 bytes of text, of which the quotes take two each within a string.
    let quotes = format!(r#"{{"a":[1{}]}}"#, r#","""#.repeat(12_000));
    // Joined, the outer key stands in each inner one.
    let keys: Vec<String> = (0..30).map(|key| format!(r#""k{key}":1"#)).collect();
    let joined = format!(r#"{{"{}":{{{}}}}}"#, "o".repeat(2000), keys.join(","));
    for (on_nested, object, fits) in [
        (OnNested::Flatten, &roomy, true),
        (OnNested::Json, &roomy, true),
        (OnNested::Flatten, &long, false),
        (OnNested::Json, &long, false),
        (OnNested::Json, &quotes, false),
        (OnNested::Flatten, &joined, false),
        (OnNested::Json, &joined, true),
    ] {
        let reason = with(on_nested, Metadata::Json(object))
            .err()
            .map(|reject| reject.reason);
        assert_eq!(reason, (!fits).then_some(Reason::MetadataTooLarge));
    }
}

/// Scenario: nested values, flattened and as text.
/// Guarantees: the length as compact JSON is that of serde_json's text of what is sent.
#[test]
fn the_compact_length_is_of_what_is_sent() {
    let object = Metadata::Json(r#"{"a": {"b": [1, "\n"], "c": {"d": true}}}"#);
    let flat = json!({"a.b": r#"[1,"\n"]"#, "a.c.d": true}).to_string();
    let text = json!({"a": r#"{"b":[1,"\n"],"c":{"d":true}}"#}).to_string();
    for (on_nested, expected) in [(OnNested::Flatten, flat), (OnNested::Json, text)] {
        let buffer = with(on_nested, object).unwrap();
        assert_eq!(buffer.compact, expected.len(), "{expected}");
    }
}

/// Scenario: lists, and objects, within one another, as deep as serde_json reads, and deeper.
/// Guarantees: the deepest are taken, deeper ones are invalid_metadata and no overflow of the stack.
#[test]
fn depth_has_a_limit() {
    for (open, close) in [("[", "]"), (r#"{"":"#, "}")] {
        for depth in [DEPTH, DEPTH + 1, 100_000] {
            let inner = depth - 1;
            let object = format!(r#"{{"a":{}1{}}}"#, open.repeat(inner), close.repeat(inner));
            let readable = serde_json::from_str::<Json>(&object).is_ok();
            assert_eq!(readable, depth <= DEPTH, "{depth}");
            for on_nested in [OnNested::Flatten, OnNested::Json] {
                let reason = with(on_nested, Metadata::Json(&object))
                    .err()
                    .map(|reject| reject.reason);
                let expected = (!readable).then_some(Reason::InvalidMetadata);
                assert_eq!(reason, expected, "{depth} of {open}");
            }
        }
    }
}

/// Scenario: a long key around very many keys that hold nothing that is sent.
/// Guarantees: metadata_too_large, rather than gigabytes of joined keys.
#[test]
fn joined_keys_cannot_fill_the_memory() {
    let inner: Vec<String> = (0..100_000).map(|key| format!(r#""{key}":null"#)).collect();
    let object = format!(r#"{{"{}":{{{}}}}}"#, "k".repeat(40_000), inner.join(","));
    let mut buffer = StructBuffer::new(MetadataPolicy {
        on_nested: OnNested::Flatten,
        ..MetadataPolicy::default()
    });
    let reject = buffer.convert(Metadata::Json(&object)).unwrap_err();
    assert_eq!(reject.reason, Reason::MetadataTooLarge);
    assert!(
        buffer.keys.capacity() <= 4 << 20,
        "{}",
        buffer.keys.capacity()
    );
}

/// Scenario: broken text within a nested value, in text and in a field.
/// Guarantees: it is said not to be JSON, under either policy.
#[test]
fn broken_nested_text() {
    for value in [
        "{",
        r#"{"b"}"#,
        r#"{"b":}"#,
        r#"{"b":1"#,
        r#"{"b":1,}"#,
        "{1:2}",
        "{}}",
        "[1",
        "[1,]",
        "[1 2]",
        "[nul]",
        "[01]",
        r#"[1,"\x"]"#,
        "[1]]",
    ] {
        let object = format!(r#"{{"a":{value}}}"#);
        let field = [Field {
            name: "a",
            value: FieldValue::Json(value),
        }];
        for on_nested in [OnNested::Flatten, OnNested::Json] {
            for metadata in [Metadata::Json(&object), Metadata::Fields(&field)] {
                let reject = with(on_nested, metadata).unwrap_err();
                assert!(
                    reject.message.starts_with("it is not JSON"),
                    "{value}: {reject}"
                );
            }
        }
    }
}

/// Any JSON value, with keys that become the same now and then.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i32>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::String),
        prop::collection::vec(any::<String>(), 0..3).prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            3 => entries(inner),
        ]
    })
}

fn entries(inner: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
    let key = prop_oneof!["[ab.]{0,3}", "[a-z\"\u{e9}]{1,6}"];
    prop::collection::btree_map(key, inner, 0..4)
        .prop_map(|entries| Json::Object(entries.into_iter().collect()))
}

/// A tree's way to what is sent; `None` where two paths become the same key.
fn expected(object: &Json, on_nested: OnNested) -> Option<BTreeMap<String, Value>> {
    fn put(
        path: String,
        value: &Json,
        on_nested: OnNested,
        seen: &mut BTreeSet<String>,
        out: &mut BTreeMap<String, Value>,
    ) -> Option<()> {
        if !seen.insert(path.clone()) {
            return None;
        }
        let kind = match value {
            Json::Null => return Some(()),
            Json::Bool(value) => Some(Kind::BoolValue(*value)),
            Json::Number(value) => value.as_f64().map(Kind::NumberValue),
            Json::String(value) => text(value),
            Json::Array(values) if values.iter().all(Json::is_string) => {
                texts(&values.iter().filter_map(Json::as_str).collect::<Vec<_>>())
            }
            Json::Object(inner) if on_nested == OnNested::Flatten => {
                for (key, value) in inner {
                    put(format!("{path}.{key}"), value, on_nested, seen, out)?;
                }
                return Some(());
            }
            nested => text(&nested.to_string()),
        };
        out.insert(path, Value { kind });
        Some(())
    }
    let (mut seen, mut out) = (BTreeSet::new(), BTreeMap::new());
    for (key, value) in object.as_object()? {
        put(key.clone(), value, on_nested, &mut seen, &mut out)?;
    }
    Some(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Scenario: any object, compact or spaced out, as text or field by field, under each policy.
    /// Guarantees: prost decodes what a walk over a tree expects; keys that become the same, and nothing else, are rejected.
    #[test]
    fn any_nested_metadata(
        object in entries(any_json()),
        pretty in any::<bool>(),
        typed in any::<bool>(),
        on_nested in prop_oneof![Just(OnNested::Flatten), Just(OnNested::Json)],
    ) {
        let write = |value: &Json| {
            if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap()
        };
        let values: Vec<(&String, String)> =
            object.as_object().unwrap().iter().map(|(key, value)| (key, write(value))).collect();
        let columns: Vec<Field<'_>> = values
            .iter()
            .map(|(name, value)| Field { name, value: FieldValue::Json(value) })
            .collect();
        let whole = write(&object);
        let metadata = if typed { Metadata::Fields(&columns) } else { Metadata::Json(&whole) };
        match (with(on_nested, metadata), expected(&object, on_nested)) {
            (Ok(buffer), Some(expected)) => {
                prop_assert_eq!(Struct::decode(buffer.wire()).unwrap().fields, expected);
            }
            (Err(reject), None) => prop_assert!(reject.message.contains("once they are flattened"), "{}", reject),
            (found, expected) => prop_assert!(false, "{:?} {:?}", found.err(), expected),
        }
    }
}
