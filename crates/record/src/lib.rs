//! The vocabulary between files and targets.
//!
//! A source lends a [`RecordRef`]: everything that one record says, borrowed from the pages, arrays
//! or line it was read from. A target measures and encodes it. Nothing here allocates per record,
//! knows a file format, or knows a service; the crate has no dependencies.
//!
//! [`At`] says where in the input a record stood, [`RowRun`] which rows a request holds. Rows are
//! numbered within their split, from 0, and every row has a number, also one that is rejected: it is
//! by these numbers that progress is kept.

mod reject;

pub use reject::{Reason, Reject};

/// One record, borrowed from where it was read.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// What is to be done with the record.
    pub operation: Operation,
    /// The namespace that the record itself names, if it names one.
    pub namespace: Option<&'a str>,
    /// The id, exactly as the input has it.
    pub id: &'a str,
    /// The dense vector.
    pub dense: Option<Dense<'a>>,
    /// The sparse vector.
    pub sparse: Option<Sparse<'a>>,
    /// The metadata.
    pub metadata: Metadata<'a>,
}

/// What is to be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Operation {
    /// Write the whole record; one with the same id is replaced.
    #[default]
    Upsert,
}

/// A dense vector of float32 values.
///
/// The byte forms hold little-endian IEEE-754 values, four bytes each: what a plain Parquet page
/// holds and what the wire carries, so that a row can be copied without looking at its numbers.
#[derive(Debug, Clone, Copy)]
pub enum Dense<'a> {
    /// Values as numbers.
    Floats(&'a [f32]),
    /// Values as bytes in one or two pieces; two where a row straddles two pages (the second is
    /// empty otherwise). Each piece is a whole number of values.
    Bytes(&'a [u8], &'a [u8]),
}

impl<'a> Dense<'a> {
    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Bytes(first, second) => (first.len() + second.len()) / 4,
        }
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values, one by one.
    pub fn iter(&self) -> impl Iterator<Item = f32> + 'a {
        let (floats, first, second): (&'a [f32], &'a [u8], &'a [u8]) = match *self {
            Self::Floats(values) => (values, &[], &[]),
            Self::Bytes(first, second) => (&[], first, second),
        };
        let from_bytes = |bytes: &'a [u8]| {
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|value| f32::from_le_bytes(*value))
        };
        floats
            .iter()
            .copied()
            .chain(from_bytes(first))
            .chain(from_bytes(second))
    }
}

/// A sparse vector: `values[i]` stands at dimension `indices[i]`.
///
/// The two may differ in length; that is a defect of the record, which the rules of the target name.
#[derive(Debug, Clone, Copy)]
pub struct Sparse<'a> {
    /// The dimensions that have a value.
    pub indices: &'a [u32],
    /// Their values.
    pub values: &'a [f32],
}

/// The metadata of a record, in the form in which the input has it.
#[derive(Debug, Clone, Copy, Default)]
pub enum Metadata<'a> {
    /// The record has none.
    #[default]
    Absent,
    /// The text of a JSON object. It has not been checked.
    Json(&'a str),
    /// Typed fields, from columns.
    Fields(&'a [Field<'a>]),
}

/// A field of typed metadata.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The key.
    pub name: &'a str,
    /// The value.
    pub value: FieldValue<'a>,
}

/// The value of a field of typed metadata.
#[derive(Debug, Clone, Copy)]
pub enum FieldValue<'a> {
    /// A null.
    Null,
    /// A string.
    Text(&'a str),
    /// A number.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// A list of strings.
    TextList(&'a [&'a str]),
    /// The text of any JSON value: what has no form of its own here, nested ones above all.
    Json(&'a str),
}

/// Where in the input a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The row's number within its split, from 0.
    pub row: u64,
    /// Where a person finds it: the row's number in the file (Parquet, from 0) or the byte offset at
    /// which its line begins (JSONL).
    pub locator: u64,
}

/// A run of consecutive rows of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowRun {
    /// The split's number in the plan.
    pub split: u32,
    /// The first row, numbered within the split.
    pub first: u64,
    /// How many rows; never 0.
    pub len: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the same values as numbers, as one piece of bytes and as two.
    /// Guarantees: all forms of a dense vector hold the same values.
    #[test]
    fn the_forms_of_a_dense_vector_are_equal() {
        let values = [1.0_f32, -2.5, f32::MIN_POSITIVE, 1e30];
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        for dense in [
            Dense::Floats(&values),
            Dense::Bytes(&bytes, &[]),
            Dense::Bytes(&bytes[..4], &bytes[4..]),
        ] {
            assert_eq!(dense.len(), 4);
            assert!(dense.iter().eq(values));
        }
        assert!(Dense::Floats(&[]).is_empty());
    }
}
