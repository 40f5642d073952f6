//! How a record stands in the store.
//!
//! ```text
//! key    namespace number (u32, big-endian: a namespace is one range) | id
//! value  dense length u32 | sparse length u32 | metadata length u32, plus 1; 0: none
//!        dense f32... | sparse indices u32... | sparse values f32... | metadata (a Struct)
//! ```
//!
//! All numbers in the value are little-endian. The floats come first and as they are, so that a
//! search scans them without decoding anything.

use std::ops::Range;

use prost::Message as _;
use prost::encoding::decode_varint;
use prost_types::{Struct, Value};
use vecload_proto::{SparseValues, Vector};

const HEADER: usize = 12;

/// The key of a record.
pub(crate) fn key(namespace: u32, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + id.len());
    key.extend_from_slice(&namespace.to_be_bytes());
    key.extend_from_slice(id);
    key
}

/// The keys of a namespace.
pub(crate) fn keys(namespace: u32) -> Range<[u8; 4]> {
    // Numbers are given from 1 upwards, one at a time: the last is out of reach.
    namespace.to_be_bytes()..(namespace + 1).to_be_bytes()
}

/// The id in a key.
pub(crate) fn id(key: &[u8]) -> &[u8] {
    key.get(4..).unwrap_or_default()
}

/// Appends the value of a record.
pub(crate) fn encode(vector: &Vector, out: &mut Vec<u8>) {
    let metadata = vector.metadata.as_ref();
    let (indices, weights) = vector
        .sparse_values
        .as_ref()
        .map_or((&[][..], &[][..]), |sparse| {
            (sparse.indices.as_slice(), sparse.values.as_slice())
        });
    // Limits keep all lengths far below u32::MAX.
    let length = |length: usize| (length as u32).to_le_bytes();
    out.extend_from_slice(&length(vector.values.len()));
    out.extend_from_slice(&length(indices.len()));
    out.extend_from_slice(&length(metadata.map_or(0, |m| m.encoded_len() + 1)));
    out.extend(vector.values.iter().flat_map(|value| value.to_le_bytes()));
    out.extend(indices.iter().flat_map(|index| index.to_le_bytes()));
    out.extend(weights.iter().flat_map(|value| value.to_le_bytes()));
    if let Some(metadata) = metadata {
        out.extend_from_slice(&metadata.encode_to_vec());
    }
}

/// A stored record, lent by the store.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Little-endian f32.
    pub(crate) dense: &'a [u8],
    /// Little-endian u32.
    indices: &'a [u8],
    /// Little-endian f32, as many as indices.
    weights: &'a [u8],
    metadata: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    /// Reads a stored value; `None` if it is not one.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let length = |at: usize| {
            let bytes = value.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes) as usize)
        };
        let (dense, sparse, metadata) = (length(0)?, length(4)?, length(8)?);
        let rest = value.get(HEADER..)?;
        let (dense, rest) = rest.split_at_checked(dense * 4)?;
        let (indices, rest) = rest.split_at_checked(sparse * 4)?;
        let (weights, rest) = rest.split_at_checked(sparse * 4)?;
        let metadata = match metadata.checked_sub(1) {
            None => None,
            Some(length) => Some(rest.get(..length)?),
        };
        Some(Self {
            dense,
            indices,
            weights,
            metadata,
        })
    }

    pub(crate) fn dense_values(&self) -> Vec<f32> {
        floats(self.dense).collect()
    }

    /// The sparse values as pairs of index and weight.
    pub(crate) fn sparse(&self) -> impl Iterator<Item = (u32, f32)> + 'a {
        integers(self.indices).zip(floats(self.weights))
    }

    pub(crate) fn sparse_values(&self) -> Option<SparseValues> {
        if self.indices.is_empty() {
            return None;
        }
        Some(SparseValues {
            indices: integers(self.indices).collect(),
            values: floats(self.weights).collect(),
        })
    }

    /// The metadata; an error if the stored bytes are not a `Struct`.
    pub(crate) fn metadata(&self) -> Result<Option<Struct>, prost::DecodeError> {
        self.metadata.map(Struct::decode).transpose()
    }

    /// The metadata as far as a filter looks at it: of all other fields only the names are read, which is
    /// most of the time of a filtered search.
    pub(crate) fn metadata_fields(
        &self,
        names: &[&str],
    ) -> Result<Option<Struct>, prost::DecodeError> {
        let Some(metadata) = self.metadata else {
            return Ok(None);
        };
        let mut found = Struct::default();
        let mut rest = metadata;
        while !rest.is_empty() {
            let Some((name, value)) = entry(&mut rest) else {
                // Not as `encode` writes it, but perhaps a `Struct` all the same.
                return self.metadata();
            };
            if let Some(name) = names.iter().find(|known| known.as_bytes() == name) {
                let value = Value::decode(value)?;
                found.fields.insert((*name).to_owned(), value);
            }
        }
        Ok(Some(found))
    }

    pub(crate) fn vector(&self, id: String) -> Result<Vector, prost::DecodeError> {
        Ok(Vector {
            id,
            values: self.dense_values(),
            metadata: self.metadata()?,
            sparse_values: self.sparse_values(),
        })
    }
}

/// Takes an entry of an encoded `Struct`: its name, and its value still encoded.
fn entry<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    /// Field 1 and field 2, each with a length.
    const FIRST: u8 = 0x0a;
    const SECOND: u8 = 0x12;
    fn field<'a>(tag: u8, from: &mut &'a [u8]) -> Option<&'a [u8]> {
        *from = from.strip_prefix(&[tag])?;
        let length = usize::try_from(decode_varint(from).ok()?).ok()?;
        let (field, rest) = from.split_at_checked(length)?;
        *from = rest;
        Some(field)
    }
    let mut entry = field(FIRST, rest)?;
    // An empty name is not written.
    let name = match entry.first() {
        Some(&FIRST) => field(FIRST, &mut entry)?,
        _ => &[],
    };
    let value = field(SECOND, &mut entry)?;
    entry.is_empty().then_some((name, value))
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().map(|chunk| f32::from_le_bytes(*chunk))
}

fn integers(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().map(|chunk| u32::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;

    use super::*;

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    /// Scenario: metadata with an empty name, a long text, zero and a list; fields are asked for one by one, together and in vain.
    /// Guarantees: what is read of a field is what decoding all of the metadata gives.
    #[test]
    fn fields_are_those_of_the_whole() {
        let fields = [
            ("", value(Kind::BoolValue(true))),
            ("text", value(Kind::StringValue("x".repeat(300)))),
            ("number", value(Kind::NumberValue(0.0))),
            (
                "list",
                value(Kind::ListValue(prost_types::ListValue {
                    values: vec![value(Kind::StringValue(String::new()))],
                })),
            ),
        ];
        let metadata = Struct {
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        };
        let vector = Vector {
            values: vec![1.0],
            metadata: Some(metadata.clone()),
            ..Vector::default()
        };
        let mut stored = Vec::new();
        encode(&vector, &mut stored);
        let row = Row::parse(&stored).expect("a record");
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        for asked in [&names[..], &[], &["other"]]
            .into_iter()
            .chain(names.chunks(1))
        {
            let mut expected = metadata.clone();
            expected
                .fields
                .retain(|name, _| asked.contains(&name.as_str()));
            assert_eq!(row.metadata_fields(asked), Ok(Some(expected)));
        }
    }
}
