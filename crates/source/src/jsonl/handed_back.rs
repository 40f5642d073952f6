//! A bad line as a record to mend: under the canonical keys, in JSON that every reader takes.
//!
//! A dead letter is read by its canonical keys, so what stands under other keys is put under these. What
//! JSON does not have (`NaN`, a number beyond float64) is written as text, so that it is still there, is
//! still refused for the same reason, and can be mended. In metadata a text would be as good as any
//! value; so there it is the whole object that becomes text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    cursor::Cursor,
    keys::Keys,
    line::{Field, REJECT},
};

/// What JSON does not have and some writers write.
const NOT_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The line to hand back: as it is where it is canonical, or too broken for anything else.
pub(super) fn handed_back<'a>(line: &'a [u8], keys: &Keys) -> Cow<'a, [u8]> {
    let canonical = str::from_utf8(line)
        .ok()
        .filter(|line| !(is_json(line) && *keys == Keys::canonical()))
        .and_then(|line| canonical(line, keys));
    canonical.map_or(Cow::Borrowed(line), |text| Cow::Owned(text.into_bytes()))
}

/// The line under the canonical keys, if it is an object that has no key twice.
fn canonical(line: &str, keys: &Keys) -> Option<String> {
    let usual = Keys::canonical();
    let mut fields: BTreeMap<String, Cow<'_, str>> = BTreeMap::new();
    let mut metadata = String::new();
    let mut scratch = String::new();
    let mut cursor = Cursor::new(line);
    cursor.expect(b'{').ok()?;
    let mut more = !cursor.take(b'}');
    while more {
        scratch.clear();
        cursor.peek();
        let start = cursor.at();
        let key = cursor.string(&mut scratch).ok()?;
        let quoted = &line[start..cursor.at()];
        let key = key.of(line, &scratch);
        cursor.expect(b':').ok()?;
        let value = cursor.pass().ok()?;
        let name = match Field::of(key, keys) {
            Some(Field::SparseIndices) => Some("sparse_indices"),
            Some(field) => Some(field.name()),
            None if key == REJECT && *keys != usual => return canonical(line, &usual),
            None if key == REJECT => None,
            None if keys.is_flat_metadata(key) => {
                metadata.push(if metadata.is_empty() { '{' } else { ',' });
                metadata.extend([quoted, ":", value]);
                None
            }
            // It holds nothing here, and would hold something in a dead letter.
            None if Field::of(key, &usual).is_some() => None,
            None => Some(key),
        };
        if let Some(name) = name
            && fields
                .insert(name.to_owned(), Cow::Borrowed(value))
                .is_some()
        {
            return None;
        }
        more = cursor.more(b'}').ok()?;
    }
    cursor.end().ok()?;
    if !metadata.is_empty() {
        metadata.push('}');
        fields.insert("metadata".to_owned(), Cow::Owned(metadata));
    }
    let mut out = String::new();
    for (name, value) in fields {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&Value::String(name.clone()).to_string());
        out.push(':');
        out.push_str(&readable(&name, &value)?);
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    Some(out)
}

/// A value of that name in JSON that every reader takes, if that can be had.
fn readable<'a>(name: &str, value: &'a str) -> Option<Cow<'a, str>> {
    if is_json(value) {
        return Some(Cow::Borrowed(value));
    }
    let quoted = quoted(value);
    // A name of any kind would do.
    let is_name = matches!(name, "id" | "namespace");
    if is_name || !is_json(&quoted) {
        return None;
    }
    Some(Cow::Owned(match name {
        "metadata" => Value::String(value.to_owned()).to_string(),
        _ => quoted,
    }))
}

/// Whether `text` is JSON with numbers within float64, and not nested too deep.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

/// The text with each number that is not finite as a string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' | 'N' | 'I' => rest
                .find([',', ']', '}', ' ', '\t', '\r', '\n'])
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let is_beyond = || token.parse::<f64>().is_ok_and(f64::is_infinite);
        if first != '"' && (NOT_FINITE.contains(&token) || is_beyond()) {
            out.extend(["\"", token, "\""]);
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out
}

/// How long the string is that `text` begins with.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Columns;

    fn of(line: &str, keys: &Keys) -> String {
        String::from_utf8(handed_back(line.as_bytes(), keys).into_owned()).unwrap()
    }

    /// Scenario: lines under the canonical keys: sound JSON, with numbers that JSON does not have, with
    /// a key twice, cut off, no object, not UTF-8.
    /// Guarantees: what is sound or beyond help is handed back as it is; of the rest it is JSON, in which
    /// each such number is still to be seen, in metadata so that it cannot pass for a text.
    #[test]
    fn canonical_lines() {
        let keys = Keys::canonical();
        for line in [
            r#"{"values": [0, 0], "id": "a"}"#,
            r#"{"id":"a","id":"b","values":[NaN]}"#,
            r#"{"id":"a","values":[1,"#,
            r#"{"id":NaN,"values":[1]}"#,
            r#"{"id":"a","values":[1,,2]}"#,
            "no JSON",
        ] {
            assert_eq!(of(line, &keys), line);
        }
        assert!(matches!(
            handed_back(b"{\"id\":\"\xff\"}", &keys),
            Cow::Borrowed(_)
        ));
        let line = r#"{"id":"NaN, 1e999","values":[1, NaN,-Infinity ,1e999, -2],"other":1e999,"metadata":{"a\"":NaN}}"#;
        assert_eq!(
            of(line, &keys),
            r#"{"id":"NaN, 1e999","metadata":"{\"a\\\"\":NaN}","other":"1e999","values":[1, "NaN","-Infinity" ,"1e999", -2]}"#
        );
    }

    /// Scenario: lines of which other keys hold the parts of a record, flat metadata among them, and a
    /// dead letter among such lines.
    /// Guarantees: everything stands under the canonical keys, a key that would take the place of a part
    /// is left out, and the dead letter keeps what it has.
    #[test]
    fn lines_with_other_keys() {
        let line = r#"{"pk":7,"embedding":[0],"title":"x","year":1e999,"blob":{},"values":3,"sparse_indices":[1]}"#;
        let columns = Columns {
            id: Some("pk".into()),
            values: Some("embedding".into()),
            ..Columns::default()
        };
        let (mut keys, _) = Keys::find(std::iter::once(line.as_bytes()), &columns).unwrap();
        assert_eq!(
            of(line, &keys),
            r#"{"blob":{},"id":7,"metadata":"{\"title\":\"x\",\"year\":1e999,\"values\":3}","sparse_indices":[1],"values":[0]}"#
        );
        keys.metadata = super::super::keys::MetadataKeys::Some(vec!["title".into()]);
        assert_eq!(
            of(line, &keys),
            r#"{"blob":{},"id":7,"metadata":{"title":"x"},"sparse_indices":[1],"values":[0],"year":"1e999"}"#
        );
        let letter = r#"{"id":"a","pk":1,"values":[NaN],"_reject":{"raw":"x"}}"#;
        assert_eq!(of(letter, &keys), r#"{"id":"a","pk":1,"values":["NaN"]}"#);
    }
}
