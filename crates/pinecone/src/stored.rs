//! A record as the index holds it, held against the bytes that were sent.
//!
//! Floats are compared by their bits and metadata numbers by theirs; the order of metadata keys and of
//! the elements of a sparse vector means nothing, and no metadata are the same as empty ones.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};
use vecload_proto::{SparseValues, Vector};

use crate::decode::{DecodeError, decode_vector, metadata_json};

/// The most characters of a value that a difference shows.
const SHOWN: usize = 120;

/// A record as the index holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord(Vector);

/// A field in which a stored record differs from what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// `id`, `values`, `values[17]`, `sparse_values`, `sparse_values[17]` (the dimension), or
    /// `metadata.genre`.
    pub field: String,
    /// What was sent; long values are cut.
    pub expected: String,
    /// What the index holds.
    pub found: String,
}

// === impl StoredRecord ===

impl From<Vector> for StoredRecord {
    fn from(vector: Vector) -> Self {
        Self(vector)
    }
}

impl StoredRecord {
    /// One record's wire bytes, which are what stands between two ends of a frame.
    ///
    /// # Errors
    ///
    /// If the bytes are not those of a record.
    pub fn from_wire(sent: &[u8]) -> Result<Self, DecodeError> {
        decode_vector(sent).map(Self)
    }

    /// The record as bytes that are the same for records of which [`Self::differences`] finds none: whatever the
    /// order of metadata keys and of sparse elements was. What is kept of a record that cannot be read again is a
    /// hash of these.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let sparse = by_dimension(self.0.sparse_values.as_ref());
        let sparse = (!sparse.is_empty()).then(|| SparseValues {
            indices: sparse.keys().copied().collect(),
            values: sparse.into_values().collect(),
        });
        let metadata = self.0.metadata.clone();
        // A `Struct` is in the order of its keys.
        let canonical = Vector {
            id: self.0.id.clone(),
            values: self.0.values.clone(),
            sparse_values: sparse,
            metadata: metadata.filter(|metadata| !metadata.fields.is_empty()),
        };
        canonical.encode_to_vec()
    }

    /// In which fields it differs from one record's wire bytes, which are what stands between two ends
    /// of a frame. Of the dense vector the first value that differs is named, of the sparse one too.
    ///
    /// # Errors
    ///
    /// If the bytes are not those of a record.
    pub fn differences(&self, sent: &[u8]) -> Result<Vec<FieldDifference>, DecodeError> {
        let sent = decode_vector(sent)?;
        let mut differences = Vec::new();
        if self.0.id != sent.id {
            differences.push(difference("id".to_owned(), &sent.id, &self.0.id));
        }
        differences.extend(dense(&sent.values, &self.0.values));
        differences.extend(sparse(
            sent.sparse_values.as_ref(),
            self.0.sparse_values.as_ref(),
        ));
        metadata(
            &sent.metadata.unwrap_or_default(),
            self.0.metadata.as_ref().unwrap_or(&Struct::default()),
            &mut differences,
        );
        Ok(differences)
    }
}

fn difference(field: String, expected: &str, found: &str) -> FieldDifference {
    FieldDifference {
        field,
        expected: shown(expected),
        found: shown(found),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
    }
}

fn dense(sent: &[f32], stored: &[f32]) -> Option<FieldDifference> {
    if sent.len() != stored.len() {
        let count = |values: &[f32]| format!("{} values", values.len());
        return Some(difference(
            "values".to_owned(),
            &count(sent),
            &count(stored),
        ));
    }
    let index = (0..sent.len()).find(|at| sent[*at].to_bits() != stored[*at].to_bits())?;
    Some(difference(
        format!("values[{index}]"),
        &float(sent[index]),
        &float(stored[index]),
    ))
}

/// A float with its bits, since two floats may have one decimal form in other people's tools.
fn float(value: f32) -> String {
    format!("{value} (0x{:08x})", value.to_bits())
}

fn sparse(sent: Option<&SparseValues>, stored: Option<&SparseValues>) -> Option<FieldDifference> {
    let (sent, stored) = (by_dimension(sent), by_dimension(stored));
    if sent.len() != stored.len() {
        let count = |values: &BTreeMap<u32, f32>| format!("{} values", values.len());
        return Some(difference(
            "sparse_values".to_owned(),
            &count(&sent),
            &count(&stored),
        ));
    }
    let (index, value) = sent
        .iter()
        .find(|(index, value)| stored.get(index).map(|f| f.to_bits()) != Some(value.to_bits()))?;
    let found = stored
        .get(index)
        .map_or_else(|| "nothing".to_owned(), |value| float(*value));
    Some(difference(
        format!("sparse_values[{index}]"),
        &float(*value),
        &found,
    ))
}

fn by_dimension(values: Option<&SparseValues>) -> BTreeMap<u32, f32> {
    let pairs = values.map(|sparse| sparse.indices.iter().zip(&sparse.values));
    let pairs = pairs.into_iter().flatten();
    pairs.map(|(index, value)| (*index, *value)).collect()
}

fn metadata(sent: &Struct, stored: &Struct, differences: &mut Vec<FieldDifference>) {
    let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), metadata_json);
    let added = stored
        .fields
        .iter()
        .filter(|(key, _)| !sent.fields.contains_key(*key));
    for (key, expected, found) in sent
        .fields
        .iter()
        .map(|(key, value)| (key, Some(value), stored.fields.get(key)))
        .chain(added.map(|(key, value)| (key, None, Some(value))))
    {
        let is_same = matches!((expected, found), (Some(a), Some(b)) if same(a, b));
        if !is_same {
            differences.push(difference(
                format!("metadata.{key}"),
                &text(expected),
                &text(found),
            ));
        }
    }
}

/// Whether two values are the same, numbers by their bits.
fn same(a: &Value, b: &Value) -> bool {
    match (&a.kind, &b.kind) {
        (Some(Kind::NumberValue(a)), Some(Kind::NumberValue(b))) => a.to_bits() == b.to_bits(),
        (Some(Kind::ListValue(a)), Some(Kind::ListValue(b))) => {
            a.values.len() == b.values.len()
                && a.values.iter().zip(&b.values).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::ListValue;

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn text(text: &str) -> Value {
        value(Kind::StringValue(text.to_owned()))
    }

    fn record() -> Vector {
        let list = vec![text("a"), text("b")];
        Vector {
            id: "r-1".to_owned(),
            values: vec![0.25, -1.0, f32::MIN_POSITIVE],
            sparse_values: Some(SparseValues {
                indices: vec![9, 2],
                values: vec![0.5, 1.5],
            }),
            metadata: Some(Struct {
                fields: [
                    ("genre".to_owned(), text("drama")),
                    ("year".to_owned(), value(Kind::NumberValue(0.0))),
                    (
                        "tags".to_owned(),
                        value(Kind::ListValue(ListValue { values: list })),
                    ),
                ]
                .into(),
            }),
        }
    }

    fn differences(sent: &Vector, stored: Vector) -> Vec<String> {
        let mut wire = vec![0x0a];
        sent.encode_length_delimited(&mut wire).unwrap();
        let found = StoredRecord(stored).differences(&wire).unwrap();
        found
            .into_iter()
            .map(|found| format!("{}: {} / {}", found.field, found.expected, found.found))
            .collect()
    }

    /// Scenario: the same record, with its sparse vector in another order and without empty metadata.
    /// Guarantees: no difference is found.
    #[test]
    fn the_same_record() {
        assert_eq!(differences(&record(), record()), [""; 0]);
        let mut stored = record();
        stored.sparse_values = Some(SparseValues {
            indices: vec![2, 9],
            values: vec![1.5, 0.5],
        });
        assert_eq!(differences(&record(), stored), [""; 0]);
        let none = |metadata| Vector {
            metadata,
            ..record()
        };
        let empty = differences(&none(Some(Struct::default())), none(None));
        assert_eq!(empty, [""; 0]);
    }

    /// Scenario: one change of each kind, down to one bit.
    /// Guarantees: each is found alone, named by its field, with what was sent and what is held.
    #[test]
    fn every_kind_of_change() {
        let changed = |change: &dyn Fn(&mut Vector)| {
            let mut stored = record();
            change(&mut stored);
            differences(&record(), stored)
        };
        let set = |stored: &mut Vector, key: &str, value| {
            let fields = &mut stored.metadata.as_mut().unwrap().fields;
            fields.insert(key.to_owned(), value);
        };
        let one_bit = |stored: &mut Vector| {
            stored.values[0] = f32::from_bits(stored.values[0].to_bits() ^ 1);
        };
        assert_eq!(
            changed(&one_bit),
            ["values[0]: 0.25 (0x3e800000) / 0.25000003 (0x3e800001)"]
        );
        assert_eq!(
            changed(&|stored| stored.values.truncate(2)),
            ["values: 3 values / 2 values"]
        );
        assert_eq!(
            changed(&|stored| stored.id = "r-2".to_owned()),
            ["id: r-1 / r-2"]
        );
        assert_eq!(
            changed(&|stored| stored.sparse_values.as_mut().unwrap().values[0] = -0.5),
            ["sparse_values[9]: 0.5 (0x3f000000) / -0.5 (0xbf000000)"]
        );
        assert_eq!(
            changed(&|stored| stored.sparse_values.as_mut().unwrap().indices[0] = 3),
            ["sparse_values[9]: 0.5 (0x3f000000) / nothing"]
        );
        assert_eq!(
            changed(&|stored| stored.sparse_values = None),
            ["sparse_values: 2 values / 0 values"]
        );
        assert_eq!(
            changed(&|stored| set(stored, "genre", text("comedy"))),
            ["metadata.genre: \"drama\" / \"comedy\""]
        );
        assert_eq!(
            changed(&|stored| set(stored, "year", value(Kind::NumberValue(-0.0)))),
            ["metadata.year: 0 / -0.0"]
        );
        assert_eq!(
            changed(&|stored| set(stored, "tags", text("a"))),
            ["metadata.tags: [\"a\",\"b\"] / \"a\""]
        );
        assert_eq!(
            changed(&|stored| set(stored, "new", text("x"))),
            ["metadata.new: nothing / \"x\""]
        );
        assert_eq!(
            changed(&|stored| stored.metadata = None),
            [
                "metadata.genre: \"drama\" / nothing",
                "metadata.tags: [\"a\",\"b\"] / nothing",
                "metadata.year: 0 / nothing"
            ]
        );
    }

    /// Scenario: a metadata text of a megabyte in which another character stands, of several bytes.
    /// Guarantees: what is shown is short and cut between characters.
    #[test]
    fn long_values_are_cut() {
        let long = "\u{e9}".repeat(1 << 19);
        let shown = shown(&long);
        assert_eq!(
            shown,
            format!("{}... (1048576 bytes)", "\u{e9}".repeat(SHOWN))
        );
    }
}
