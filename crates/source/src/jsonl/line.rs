//! A line becomes a record: one pass, no tree, nothing allocated once the scratch has grown.
//!
//! Id, namespace and metadata are lent from the line itself, from the scratch where they have
//! escapes. Metadata is only known to be a JSON object; what is in it is for the target to judge.
//! Where keys of the record are the metadata, their text is put together to one object as it stands.
//!
//! A sparse vector is an object of `indices` and `values`, an object of weights by index, or the two
//! lists under keys of the record.
//!
//! A line with the key `_reject` is a dead letter of an earlier run: its fields have the canonical
//! names and its namespace counts, whatever the columns of other lines are called.

use std::ops::Range;

use vecload_record::{Dense, Metadata, Operation, Reason, RecordRef, Reject, Sparse};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{
    cursor::{Cursor, Flaw, Text},
    keys::{Keys, MetadataKeys, is_indices},
};
use crate::changes::{Changes, NOT_READ};

/// The key that marks a dead letter.
pub(super) const REJECT: &str = "_reject";

/// What is kept from line to line so as not to be allocated again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    values: Vec<f32>,
    indices: Vec<u32>,
    weights: Vec<f32>,
    text: String,
    /// The object of the keys that are metadata, without its end.
    fields: String,
    /// Where the keys stand in the line that are passed over.
    not_read: Vec<Range<usize>>,
    /// Hashes of the keys that have no field in a record.
    others: Vec<u128>,
}

/// What a line was found to say; numbers are in the scratch.
#[derive(Debug, Default)]
struct Parsed {
    id: Option<Text>,
    namespace: Option<Text>,
    has_values: bool,
    sparse: Parts,
    metadata: Option<Text>,
    /// It is a dead letter and was read no further.
    is_dead_letter: bool,
}

/// Which parts of a sparse vector there are.
#[derive(Debug, Default, Clone, Copy)]
struct Parts {
    indices: bool,
    values: bool,
}

/// How much of a line is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Record,
    /// Id and namespace; all else is passed over.
    Key,
}

/// The fields of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Values,
    Sparse,
    SparseIndices,
    Metadata,
    Namespace,
}

/// The record that `line` holds.
pub(super) fn parse<'a>(
    line: &'a [u8],
    keys: &Keys,
    canonical: &Keys,
    scratch: &'a mut Scratch,
    changes: &mut Changes,
) -> Result<RecordRef<'a>, Reject> {
    let line = str::from_utf8(line).map_err(|error| {
        let message = format!("invalid UTF-8 at byte {} of the line", error.valid_up_to());
        Reject::new(Reason::Malformed, "", message)
    })?;
    let parsed = scratch.parse_either(line, keys, canonical, Wanted::Record)?;
    if parsed.sparse.indices != parsed.sparse.values {
        return Err(Field::Sparse.reject(incomplete()));
    }
    if !scratch.fields.is_empty() {
        scratch.fields.push('}');
    }
    for key in scratch.not_read.drain(..) {
        changes.add(&line[key], NOT_READ, 1);
    }
    let scratch = &*scratch;
    let text = |text: Text| text.of(line, &scratch.text);
    let Some(id) = parsed.id else {
        let message = format!("there is no {:?}, or it is null", keys.id);
        return Err(Reject::new(Reason::MissingId, "id", message));
    };
    Ok(RecordRef {
        operation: Operation::Upsert,
        namespace: parsed.namespace.map(text),
        id: text(id),
        dense: parsed.has_values.then_some(Dense::Floats(&scratch.values)),
        sparse: parsed.sparse.values.then_some(Sparse {
            indices: &scratch.indices,
            values: &scratch.weights,
        }),
        metadata: match parsed.metadata {
            Some(json) => Metadata::Json(text(json)),
            None if scratch.fields.is_empty() => Metadata::Absent,
            None => Metadata::Json(&scratch.fields),
        },
    })
}

/// The namespace and the id that `line` holds, if there is an id that can be read.
pub(super) fn key<'a>(
    line: &'a [u8],
    keys: &Keys,
    canonical: &Keys,
    scratch: &'a mut Scratch,
) -> Option<(Option<&'a str>, &'a str)> {
    let line = str::from_utf8(line).ok()?;
    let parsed = scratch.parse_either(line, keys, canonical, Wanted::Key);
    let parsed = parsed.ok()?;
    let text = |text: Text| text.of(line, &scratch.text);
    Some((parsed.namespace.map(text), text(parsed.id?)))
}

fn incomplete() -> Flaw {
    Flaw {
        reason: Reason::InvalidSparse,
        message: "a sparse vector has both indices and values".to_owned(),
    }
}

// === impl Field ===

impl Field {
    pub(super) fn of(key: &str, keys: &Keys) -> Option<Self> {
        if key == keys.id {
            Some(Self::Id)
        } else if key == keys.values {
            Some(Self::Values)
        } else if matches!(&keys.metadata, MetadataKeys::Whole(name) if name == key) {
            Some(Self::Metadata)
        } else if key == keys.sparse || keys.sparse_also == Some(key) {
            Some(Self::Sparse)
        } else if keys.namespace.as_deref() == Some(key) {
            Some(Self::Namespace)
        } else if is_indices(key) {
            Some(Self::SparseIndices)
        } else {
            None
        }
    }

    /// Whether it is a part of the key of a row.
    fn is_of_key(self) -> bool {
        matches!(self, Self::Id | Self::Namespace)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Values => "values",
            Self::Sparse | Self::SparseIndices => "sparse_values",
            Self::Metadata => "metadata",
            Self::Namespace => "namespace",
        }
    }

    fn reject(self, flaw: Flaw) -> Reject {
        Reject::new(flaw.reason, self.name(), flaw.message)
    }
}

impl From<Flaw> for Reject {
    fn from(flaw: Flaw) -> Self {
        Self::new(flaw.reason, "", flaw.message)
    }
}

// === impl Scratch ===

impl Scratch {
    fn parse_either(
        &mut self,
        line: &str,
        keys: &Keys,
        canonical: &Keys,
        wanted: Wanted,
    ) -> Result<Parsed, Reject> {
        let parsed = self.parse(line, keys, false, wanted)?;
        match parsed.is_dead_letter {
            true => self.parse(line, canonical, true, wanted),
            false => Ok(parsed),
        }
    }

    fn parse(
        &mut self,
        line: &str,
        keys: &Keys,
        is_dead_letter: bool,
        wanted: Wanted,
    ) -> Result<Parsed, Reject> {
        self.text.clear();
        self.fields.clear();
        self.not_read.clear();
        self.others.clear();
        let mut parsed = Parsed::default();
        let mut seen = 0_u8;
        let mut cursor = Cursor::new(line);
        if cursor.peek() != Some(b'{') {
            return Err(cursor.unexpected("a JSON object").into());
        }
        cursor.expect(b'{')?;
        let mut more = !cursor.take(b'}');
        while more {
            let mark = self.text.len();
            cursor.peek();
            let start = cursor.at();
            let key = cursor.string(&mut self.text)?;
            let quoted = start..cursor.at();
            let key = key.of(line, &self.text);
            let field = Field::of(key, keys);
            let mut is_metadata = false;
            match field {
                Some(field) => {
                    let bit = 1 << field as u8;
                    if seen & bit != 0 {
                        return Err(field.reject(Flaw::malformed("the key stands twice")));
                    }
                    seen |= bit;
                }
                None if key == REJECT && !is_dead_letter => {
                    parsed.is_dead_letter = true;
                    return Ok(parsed);
                }
                None if wanted == Wanted::Key => {}
                None => {
                    self.others.push(xxh3_128_with_seed(key.as_bytes(), 0));
                    is_metadata = keys.is_flat_metadata(key);
                    if !is_metadata && !is_dead_letter {
                        self.not_read.push(quoted.start + 1..quoted.end - 1);
                    }
                }
            }
            self.text.truncate(mark);
            cursor.expect(b':')?;
            match field {
                Some(field) if wanted == Wanted::Record || field.is_of_key() => self
                    .field(field, &mut cursor, &mut parsed)
                    .map_err(|flaw| field.reject(flaw))?,
                _ => {
                    cursor.peek();
                    let start = cursor.at();
                    if is_metadata {
                        cursor.skip(1).map_err(in_metadata)?;
                        self.fields
                            .push(if self.fields.is_empty() { '{' } else { ',' });
                        self.fields.push_str(&line[quoted]);
                        self.fields.push(':');
                        self.fields.push_str(&line[start..cursor.at()]);
                    } else if wanted == Wanted::Key {
                        cursor.pass()?;
                    } else {
                        cursor.skip(1)?;
                    }
                }
            }
            more = cursor.more(b'}')?;
        }
        cursor.end()?;
        self.others.sort_unstable();
        if self.others.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Flaw::malformed("a key stands twice in one object").into());
        }
        Ok(parsed)
    }

    /// Takes the value of `field`.
    fn field(
        &mut self,
        field: Field,
        cursor: &mut Cursor<'_>,
        parsed: &mut Parsed,
    ) -> Result<(), Flaw> {
        if cursor.null() {
            return Ok(());
        }
        match field {
            Field::Id => parsed.id = Some(self.name(cursor)?),
            Field::Namespace => parsed.namespace = Some(self.name(cursor)?),
            Field::Values => {
                cursor.floats(&mut self.values)?;
                parsed.has_values = true;
            }
            Field::Sparse if cursor.peek() == Some(b'[') => {
                cursor.floats(&mut self.weights)?;
                parsed.sparse.values = true;
            }
            Field::Sparse => {
                if parsed.sparse.indices {
                    return Err(Flaw::malformed("the indices stand twice"));
                }
                self.sparse(cursor)?;
                parsed.sparse = Parts {
                    indices: true,
                    values: true,
                };
            }
            Field::SparseIndices => {
                if parsed.sparse.indices {
                    return Err(Flaw::malformed("the indices stand twice"));
                }
                cursor.indices(&mut self.indices)?;
                parsed.sparse.indices = true;
            }
            Field::Metadata => parsed.metadata = Some(self.metadata(cursor)?),
        }
        Ok(())
    }

    /// A string or an integer, the latter exactly as it is written.
    fn name(&mut self, cursor: &mut Cursor<'_>) -> Result<Text, Flaw> {
        match cursor.peek() {
            Some(b'"') => cursor.string(&mut self.text),
            Some(b'-' | b'0'..=b'9') => {
                let number = cursor.number()?;
                let digit = |byte: u8| byte.is_ascii_digit() || byte == b'-';
                if cursor.text()[number.clone()].bytes().all(digit) {
                    Ok(Text::Borrowed(number))
                } else {
                    Err(Flaw::malformed(
                        "a number that is not an integer; write it as a string",
                    ))
                }
            }
            _ => Err(cursor.unexpected("a string or an integer")),
        }
    }

    /// An object, or a string that holds one.
    fn metadata(&mut self, cursor: &mut Cursor<'_>) -> Result<Text, Flaw> {
        match cursor.peek() {
            Some(b'"') => cursor.string(&mut self.text),
            Some(b'{') => {
                let start = cursor.at();
                cursor.skip(1).map_err(in_metadata)?;
                Ok(Text::Borrowed(start..cursor.at()))
            }
            _ => Err(Flaw {
                reason: Reason::InvalidMetadata,
                message: cursor.unexpected("an object").message,
            }),
        }
    }

    /// An object of `indices` and `values`, or of weights by index.
    fn sparse(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        if cursor.peek() != Some(b'{') {
            return Err(cursor.unexpected("an object of indices and values"));
        }
        cursor.expect(b'{')?;
        self.indices.clear();
        self.weights.clear();
        let mut parts = Parts::default();
        let mut has_weights = false;
        let mut more = !cursor.take(b'}');
        while more {
            let mark = self.text.len();
            let key = cursor.string(&mut self.text)?;
            let key = key.of(cursor.text(), &self.text);
            let is_index = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
            let is_weight = is_index && !parts.indices && !parts.values;
            let seen = match key {
                "indices" => Some(&mut parts.indices),
                "values" => Some(&mut parts.values),
                _ => None,
            };
            let is_indices = key == "indices";
            if seen.is_none() {
                self.others.push(xxh3_128_with_seed(key.as_bytes(), 1));
            }
            if is_weight {
                self.indices.push(index(key)?);
                has_weights = true;
            } else if has_weights {
                return Err(Flaw {
                    reason: Reason::InvalidSparse,
                    message: format!("{key:?} stands among weights by index and is no index"),
                });
            }
            self.text.truncate(mark);
            cursor.expect(b':')?;
            match seen {
                Some(true) => return Err(Flaw::malformed("a key stands twice in one object")),
                Some(seen) => {
                    *seen = true;
                    if is_indices {
                        cursor.indices(&mut self.indices)?;
                    } else {
                        cursor.floats(&mut self.weights)?;
                    }
                }
                None if is_weight => self.weights.push(cursor.float()?),
                None => cursor.skip(2)?,
            }
            more = cursor.more(b'}')?;
        }
        match has_weights || (parts.indices && parts.values) {
            true => Ok(()),
            false => Err(incomplete()),
        }
    }
}

fn index(key: &str) -> Result<u32, Flaw> {
    key.parse().map_err(|_| Flaw {
        reason: Reason::InvalidSparse,
        message: format!("index {key:.40} is not an integer from 0 to 4294967295"),
    })
}

/// NaN and its like are told apart from other defects of the line.
fn in_metadata(flaw: Flaw) -> Flaw {
    match flaw.reason {
        Reason::NotFinite => Flaw {
            reason: Reason::InvalidMetadata,
            ..flaw
        },
        _ => flaw,
    }
}
