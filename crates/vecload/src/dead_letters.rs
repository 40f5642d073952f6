//! Rejected records on disk, each with its reason, in a form that `load` reads again.
//!
//! ```text
//! {"id":..,"values":[..],"metadata":{..},"namespace":"..","_reject":{"file":..,"row":..,"reason":..,"message":..}}
//! ```
//!
//! `load` ignores `_reject`, so a mended file can be loaded as it is. A row that is not an object
//! keeps its bytes in `_reject.raw`, or in `_reject.raw_base64` where they are not UTF-8. Where the
//! lines go is the checkpoint's business.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use vecload_source::{Part, Split};

use crate::events::{Content, RejectedRow};

/// Where a row stands, in words of its file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Locator {
    /// The row's number in the file, from 0.
    Row(u64),
    /// The offset of its line in the file, in bytes.
    Offset(u64),
}

// === impl Locator ===

impl Locator {
    /// Of a row of a split, by the number that its reader gave.
    pub(crate) fn new(split: &Split, number: u64) -> Self {
        match split.part {
            Part::RowGroup { .. } => Self::Row(number),
            Part::ByteRange { .. } => Self::Offset(number),
        }
    }
}

/// The line of a rejected row, its newline included. It says how many earlier rows with its id are not
/// loaded either because of it, if there are any.
pub(crate) fn dead_letter(
    file: &str,
    locator: Locator,
    row: &RejectedRow,
    supersedes: u64,
) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&compose(file, locator, row, supersedes)?)?;
    line.push(b'\n');
    Ok(line)
}

/// One line: the fields of the record as the text they had, so that no number changes.
#[derive(Debug, Default, Serialize)]
struct Line(BTreeMap<String, Box<RawValue>>);

fn compose(
    file: &str,
    locator: Locator,
    row: &RejectedRow,
    supersedes: u64,
) -> serde_json::Result<Line> {
    let mut reject = Map::new();
    reject.insert("file".to_owned(), json!(file));
    match locator {
        Locator::Row(row) => reject.insert("row".to_owned(), json!(row)),
        Locator::Offset(offset) => reject.insert("offset".to_owned(), json!(offset)),
    };
    reject.insert("reason".to_owned(), json!(row.reject.reason.name()));
    if !row.reject.field.is_empty() {
        reject.insert("field".to_owned(), json!(row.reject.field));
    }
    reject.insert("message".to_owned(), json!(row.reject.message));
    if supersedes > 0 {
        reject.insert("supersedes".to_owned(), json!(supersedes));
    }

    let mut line = match &row.content {
        Content::Record(record) => Line(
            record
                .iter()
                .map(|(name, value)| Ok((name.clone(), to_raw_value(value)?)))
                .collect::<serde_json::Result<_>>()?,
        ),
        Content::Raw(raw) => serde_json::from_slice(raw).unwrap_or_else(|_| {
            match std::str::from_utf8(raw) {
                Ok(text) => reject.insert("raw".to_owned(), json!(text)),
                Err(_) => reject.insert(
                    "raw_base64".to_owned(),
                    json!(base64::engine::general_purpose::STANDARD.encode(raw)),
                ),
            };
            Line::default()
        }),
    };
    if let Some(before) = line.only_reject() {
        // All that an earlier run could tell of the record.
        for field in ["raw", "raw_base64"] {
            reject.extend(before.get(field).map(|raw| (field.to_owned(), raw.clone())));
        }
    }
    let namespace = to_raw_value(row.namespace.name())?;
    line.0.insert("namespace".to_owned(), namespace);
    let reject = to_raw_value(&Value::Object(reject))?;
    line.0.insert("_reject".to_owned(), reject);
    Ok(line)
}

impl Line {
    /// The reason that an earlier run gave, where there is nothing else.
    fn only_reject(&self) -> Option<Map<String, Value>> {
        let is_reject = |name: &String| name == "_reject";
        let has_more = self
            .0
            .keys()
            .any(|name| !is_reject(name) && name != "namespace");
        let before = self.0.get("_reject").filter(|_| !has_more)?;
        serde_json::from_str(before.get()).ok()
    }
}

impl<'de> Deserialize<'de> for Line {
    /// Takes an object whose keys differ; with a key twice, its raw form is the only one that keeps
    /// both.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Line;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object without a key twice")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Line, A::Error> {
                let mut line = Line::default();
                while let Some((name, value)) = fields.next_entry::<String, Box<RawValue>>()? {
                    if line.0.insert(name, value).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok(line)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespaces;
    use vecload_record::{Reason, Reject};

    fn rejected(content: Content) -> RejectedRow {
        RejectedRow {
            namespace: Namespaces::default().get("ns"),
            split: 0,
            row: 3,
            locator: 3,
            reject: Reject::new(Reason::AllZero, "values", "all values are zero"),
            changes: Vec::new(),
            content,
        }
    }

    /// Scenario: a record, a line that is no JSON, one that is no UTF-8, and a dead letter rejected again.
    /// Guarantees: each keeps all it had, with the reason and the place, and one reason only; where nothing
    /// but the earlier reason is there, its raw text stays.
    #[test]
    fn a_dead_letter_keeps_everything() {
        let record = json!({"id": "a", "values": [0.0]}).as_object().cloned();
        let line = dead_letter(
            "f.parquet",
            Locator::Row(3),
            &rejected(Content::Record(record.expect("an object"))),
            2,
        );
        assert_eq!(
            serde_json::from_slice::<Value>(&line.expect("a line")).expect("JSON"),
            json!({
                "id": "a", "values": [0.0], "namespace": "ns",
                "_reject": {"file": "f.parquet", "row": 3, "reason": "all_zero", "field": "values", "message": "all values are zero", "supersedes": 2},
            })
        );
        let raw = |bytes: &[u8]| {
            let row = rejected(Content::Raw(bytes.to_vec()));
            let line = dead_letter("f.jsonl", Locator::Offset(17), &row, 0).expect("a line");
            assert!(line.ends_with(b"\n"));
            serde_json::from_slice::<Value>(&line).expect("JSON")
        };
        let twice = raw(b"{\"id\": 1, \"id\": 2}");
        assert_eq!(twice["_reject"]["raw"], "{\"id\": 1, \"id\": 2}");
        assert_eq!(raw(b"{\"id\": \"a\"")["_reject"]["raw"], "{\"id\": \"a\"");
        assert_eq!(raw(b"{\"id\": \"a\"")["_reject"]["offset"], 17);
        assert_eq!(raw(b"\xff")["_reject"]["raw_base64"], "/w==");
        let again = raw(b"{\"id\": \"a\", \"_reject\": {\"raw\": \"old\"}}");
        assert_eq!(again["id"], "a");
        assert_eq!(again["_reject"]["raw"], Value::Null);
        let nothing_else =
            raw(b"{\"namespace\": \"n\", \"_reject\": {\"raw\": \"old\", \"row\": 7}}");
        assert_eq!(nothing_else["_reject"]["raw"], "old");
        assert_eq!(nothing_else["_reject"]["row"], Value::Null);
    }
}
