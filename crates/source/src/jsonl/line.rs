//! A line becomes a record: one pass, no tree, nothing allocated once the scratch has grown.
//!
//! Id, namespace and metadata are lent from the line itself, from the scratch where they have
//! escapes. Metadata is only known to be a JSON object; what is in it is for the target to judge.
//!
//! A line with the key `_reject` is a dead letter of an earlier run: its fields have the canonical
//! names and its namespace counts, whatever the columns of other lines are called.

use vecload_record::{Dense, Metadata, Operation, Reason, RecordRef, Reject, Sparse};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::cursor::{Cursor, Flaw, Text};
use crate::Columns;

/// The key that marks a dead letter.
const REJECT: &str = "_reject";

/// What is kept from line to line so as not to be allocated again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    values: Vec<f32>,
    indices: Vec<u32>,
    weights: Vec<f32>,
    text: String,
    /// Hashes of the keys that have no field in a record.
    others: Vec<u128>,
}

/// What a line was found to say; numbers are in the scratch.
#[derive(Debug, Default)]
struct Parsed {
    id: Option<Text>,
    namespace: Option<Text>,
    has_values: bool,
    has_sparse: bool,
    metadata: Option<Text>,
    /// It is a dead letter and was read no further.
    is_dead_letter: bool,
}

/// The fields of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Values,
    Sparse,
    Metadata,
    Namespace,
}

/// The record that `line` holds.
pub(super) fn parse<'a>(
    line: &'a [u8],
    columns: &Columns,
    scratch: &'a mut Scratch,
) -> Result<RecordRef<'a>, Reject> {
    let line = str::from_utf8(line).map_err(|error| {
        let message = format!("invalid UTF-8 at byte {} of the line", error.valid_up_to());
        Reject::new(Reason::Malformed, "", message)
    })?;
    let mut parsed = scratch.parse(line, columns, false)?;
    if parsed.is_dead_letter {
        parsed = scratch.parse(line, &Columns::of_dead_letters(), true)?;
    }
    let scratch = &*scratch;
    let text = |text: Text| text.of(line, &scratch.text);
    let Some(id) = parsed.id else {
        let message = format!("there is no {:?}, or it is null", columns.id);
        return Err(Reject::new(Reason::MissingId, "id", message));
    };
    Ok(RecordRef {
        operation: Operation::Upsert,
        namespace: parsed.namespace.map(text),
        id: text(id),
        dense: parsed.has_values.then_some(Dense::Floats(&scratch.values)),
        sparse: parsed.has_sparse.then_some(Sparse {
            indices: &scratch.indices,
            values: &scratch.weights,
        }),
        metadata: parsed
            .metadata
            .map_or(Metadata::Absent, |json| Metadata::Json(text(json))),
    })
}

// === impl Field ===

impl Field {
    fn of(key: &str, columns: &Columns) -> Option<Self> {
        if key == columns.id {
            Some(Self::Id)
        } else if key == columns.values {
            Some(Self::Values)
        } else if key == columns.metadata {
            Some(Self::Metadata)
        } else if key == columns.sparse_values
            || (key == "sparseValues" && columns.sparse_values == "sparse_values")
        {
            Some(Self::Sparse)
        } else if columns.namespace.as_deref() == Some(key) {
            Some(Self::Namespace)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Values => "values",
            Self::Sparse => "sparse_values",
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
    fn parse(
        &mut self,
        line: &str,
        columns: &Columns,
        is_dead_letter: bool,
    ) -> Result<Parsed, Reject> {
        self.text.clear();
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
            let key = cursor.string(&mut self.text)?;
            let key = key.of(line, &self.text);
            let field = Field::of(key, columns);
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
                None => self.others.push(xxh3_128_with_seed(key.as_bytes(), 0)),
            }
            self.text.truncate(mark);
            cursor.expect(b':')?;
            match field {
                Some(field) => self
                    .field(field, &mut cursor, &mut parsed)
                    .map_err(|flaw| field.reject(flaw))?,
                None => cursor.skip(1)?,
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
            Field::Sparse => {
                self.sparse(cursor)?;
                parsed.has_sparse = true;
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
                cursor.skip(1).map_err(|flaw| match flaw.reason {
                    // NaN and its like are told apart from other defects of the line.
                    Reason::NotFinite => Flaw {
                        reason: Reason::InvalidMetadata,
                        ..flaw
                    },
                    _ => flaw,
                })?;
                Ok(Text::Borrowed(start..cursor.at()))
            }
            _ => Err(Flaw {
                reason: Reason::InvalidMetadata,
                message: cursor.unexpected("an object").message,
            }),
        }
    }

    /// An object of `indices` and `values`.
    fn sparse(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        if cursor.peek() != Some(b'{') {
            return Err(cursor.unexpected("an object of indices and values"));
        }
        cursor.expect(b'{')?;
        let (mut has_indices, mut has_values) = (false, false);
        let mut more = !cursor.take(b'}');
        while more {
            let mark = self.text.len();
            let key = cursor.string(&mut self.text)?;
            let key = key.of(cursor.text(), &self.text);
            let seen = match key {
                "indices" => Some(&mut has_indices),
                "values" => Some(&mut has_values),
                _ => None,
            };
            let is_indices = key == "indices";
            if seen.is_none() {
                self.others.push(xxh3_128_with_seed(key.as_bytes(), 1));
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
                None => cursor.skip(2)?,
            }
            more = cursor.more(b'}')?;
        }
        if has_indices && has_values {
            Ok(())
        } else {
            Err(Flaw {
                reason: Reason::InvalidSparse,
                message: "a sparse vector has both indices and values".to_owned(),
            })
        }
    }
}
