//! Records as other writers shape them, bit for bit; and documents cut anywhere.

use std::collections::BTreeMap;

use super::*;

/// Reads lines with the keys that are found in them; what was done to fields besides.
fn read_as_found(
    text: &str,
    columns: &Columns,
) -> (Vec<Owned>, BTreeMap<(String, &'static str), u64>) {
    let (_file, input) = file(text.as_bytes());
    let settings = PlanSettings {
        columns: columns.clone(),
        ..PlanSettings::default()
    };
    let opened = JsonlInput::open(&input, &settings, None).unwrap();
    let mut reader = opened.read(&input, 0..input.bytes).unwrap();
    let (mut rows, mut changes) = (Vec::new(), BTreeMap::new());
    while let Some(records) = reader.next().unwrap() {
        rows.extend((0..records.len()).map(|index| own(records.row(index))));
        for (field, action, times) in records.changes() {
            *changes.entry((field.to_owned(), action)).or_default() += times;
        }
    }
    (rows, changes)
}

/// Scenario: sparse vectors in every form: an object of lists, weights by index, two lists; called as
/// others call them.
/// Guarantees: they are the same indices and the same float32 bits, in the order of the input.
#[test]
fn forms_of_sparse_vectors() {
    let expected = Some((vec![7, 4_294_967_295, 0], bits([0.5, -1e-3, 0.1])));
    for (key, value) in [
        (
            "sparse_values",
            r#"{"indices":[7,4294967295,0],"values":[0.5,-1e-3,0.1]}"#,
        ),
        (
            "sparseValues",
            r#"{"values":[0.5,-1e-3,0.1],"indices":[7,4294967295,0]}"#,
        ),
        ("sparse_vector", r#"{"7":0.5,"4294967295":-1e-3,"0":0.1}"#),
        (
            "sparse_embedding",
            r#"{ "7" : 0.5 , "4294967295":-1e-3,"0":0.1 }"#,
        ),
        (
            "sparse",
            r#"{"indices":[7,4294967295,0],"values":[0.5,-1e-3,0.1]}"#,
        ),
        (
            "sparse_indices",
            r#"[7,4294967295,0],"sparse_values":[0.5,-1e-3,0.1]"#,
        ),
        (
            "sparse_values",
            r#"[0.5,-1e-3,0.1],"sparse_indices":[7,4294967295,0]"#,
        ),
    ] {
        let line = format!(r#"{{"id":"a","{key}":{value}}}"#);
        let (rows, changes) = read_as_found(&line, &Columns::default());
        assert_eq!(rows[0].content.as_ref().unwrap().sparse, expected, "{line}");
        assert!(changes.is_empty());
    }
    for value in [
        r#"{"7":0.5,"indices":[1],"values":[1]}"#,
        r#"{"indices":[1]}"#,
        r#"{"4294967296":0.5}"#,
        r#"[0.5]"#,
        r#"{"indices":[1],"values":[1]},"sparse_indices":[2]"#,
        r#"{"7":0.5,"7":0.5}"#,
    ] {
        let line = format!(r#"{{"id":"a","sparse_values":{value}}}"#);
        let (rows, _) = read_as_found(&line, &Columns::default());
        let (reason, ..) = rows[0].content.clone().unwrap_err();
        let is_named = matches!(reason, Reason::InvalidSparse | Reason::Malformed);
        assert!(is_named, "{line}: {reason}");
    }
}

/// Scenario: metadata as keys of the record, found without a flag, all of them and some by name; a
/// dead letter among them.
/// Guarantees: their text is put together as it stands; what is passed over is counted by key, and the
/// dead letter is read as one.
#[test]
fn metadata_in_keys() {
    let text = r#"{"id":"a","title":"\u00e9","values":[1],"year": 1984.50 ,"blob":[],"tags":["x", "y"],"deep":{"a":[1]}}
{"id":"b","values":[2],"year":null,"t\"":true}
{"id":"c","values":[3]}
{"id":"d","values":[4],"metadata":{"k":1},"title":"x","_reject":{"reason":"refused"}}
{"id":"e","values":[5],"year":NaN}"#;
    let metadata = |rows: &[Owned]| -> Vec<Option<String>> {
        let records = rows.iter().filter_map(|row| row.content.as_ref().ok());
        records.map(|record| record.metadata.clone()).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    let (rows, changes) = read_as_found(text, &Columns::default());
    let expected = [
        some(r#"{"title":"\u00e9","year":1984.50,"tags":["x", "y"]}"#),
        some(r#"{"year":null,"t\"":true}"#),
        None,
        some(r#"{"k":1}"#),
    ];
    assert_eq!(metadata(&rows), expected);
    let (reason, ..) = rows[4].content.clone().unwrap_err();
    assert_eq!(reason, Reason::InvalidMetadata);
    let counted: Vec<_> = changes.into_iter().collect();
    let expected = ["blob", "deep"].map(|key| ((key.to_owned(), "not_read"), 1));
    assert_eq!(counted, expected);

    let asked = |names: &[&str]| Columns {
        metadata_columns: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Columns::default()
    };
    let (rows, changes) = read_as_found(text, &asked(&["*"]));
    let all = r#"{"title":"\u00e9","year":1984.50,"blob":[],"tags":["x", "y"],"deep":{"a":[1]}}"#;
    assert_eq!(metadata(&rows)[0], some(all));
    assert!(changes.is_empty());
    let (rows, changes) = read_as_found(text, &asked(&["tags"]));
    assert_eq!(metadata(&rows)[..2], [some(r#"{"tags":["x", "y"]}"#), None]);
    assert_eq!(changes[&("year".to_owned(), "not_read")], 2);
}

fn element() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        Just("-1.5e3".to_owned()),
        Just("null".to_owned()),
        Just(r#""\\\"]}é""#.to_owned()),
        "[a-z\\\\\"\\[\\]{}, é]{0,20}"
            .prop_map(|text| serde_json::json!({ "id": text }).to_string()),
        prop::collection::vec(any::<i16>(), 0..20).prop_map(|values| format!("[{values:?}, {{}}]")),
    ]
}

proptest! {
    /// Scenario: a list of any values between any white space, read in blocks of any size.
    /// Guarantees: exactly the values come out, each where it stands.
    #[test]
    fn a_document_is_cut_at_any_byte(
        elements in prop::collection::vec((element(), "[ \n\t\r]{0,3}"), 0..20),
        block in 1_usize..40,
        is_list in any::<bool>(),
    ) {
        let mut text = String::new();
        let mut expected = Vec::new();
        for (element, space) in &elements {
            if is_list && !expected.is_empty() {
                text.push(',');
            }
            text.push_str(space);
            expected.push((text.len() as u64, element.clone()));
            text.push_str(element);
            text.push_str(if is_list { space } else { "\n" });
        }
        if is_list {
            text.push_str("] ");
        }
        let (_file, input) = file(text.as_bytes());
        let limits = Limits { block, ..Limits::default() };
        let bytes = Bytes::open(&input, 0..1).unwrap();
        let mut cutter = ElementCutter::new("x", bytes, limits, 0, is_list);
        let mut chunk = Chunk::default();
        let mut found = Vec::new();
        loop {
            chunk.rows.clear();
            cutter.fill(&mut chunk).unwrap();
            if chunk.rows.is_empty() {
                break;
            }
            for row in &chunk.rows {
                let text = String::from_utf8(chunk.buffer[row.range.clone()].to_vec()).unwrap();
                found.push((row.at.locator, text));
            }
        }
        prop_assert_eq!(found, expected);
    }
}
