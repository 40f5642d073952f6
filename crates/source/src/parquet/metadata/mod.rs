//! The metadata of a row: JSON text as it is, or typed fields from columns, a struct or a map.
//!
//! Integers and timestamps become float64, which is all that services keep; one that is not had back
//! from it is told. A timestamp or date is its seconds since 1970 (without a zone: in UTC), because
//! filters range over numbers, or RFC 3339 text; a time of day is its seconds. A decimal is the float64
//! nearest to it, and counts as rounded where writing that with the decimal's scale gives another one.
//! What has no form of its own is lent as JSON, for the target to judge.

mod json;
mod time;

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, ListArray,
    MapArray, StructArray, UInt64Array,
    cast::AsArray,
    types::{Decimal128Type, Decimal256Type},
};
use arrow_schema::DataType;
use bumpalo::Bump;
use vecload_record::{Field, FieldValue, Metadata, Reason};

pub(super) use self::json::put_json;
use self::time::Clock;
use super::columns::{Flaw, Names, put_uuid};
use crate::{
    Timestamps,
    changes::{Changes, ROUNDED},
};

/// The metadata of a batch.
#[derive(Debug)]
pub(super) enum MetadataColumn {
    Absent,
    /// The text of a JSON object.
    Json(Names),
    /// A field for each column.
    Fields(Vec<FieldColumn>),
    /// A field for each part of a struct.
    Struct(StructArray, Vec<FieldColumn>),
    /// A field for each entry.
    Map(Box<(MapArray, Texts, Values)>),
}

#[derive(Debug)]
pub(super) struct FieldColumn {
    name: String,
    values: Values,
}

/// Values, typed once.
#[derive(Debug)]
pub(super) struct Values {
    array: ArrayRef,
    kind: Kind,
    times: Timestamps,
}

#[derive(Debug)]
enum Kind {
    Null,
    Bool(BooleanArray),
    /// Numbers that a float64 holds exactly.
    Float(Float64Array),
    Signed(Int64Array),
    Unsigned(UInt64Array),
    Decimal,
    Time(Clock, Int64Array),
    Text(Texts),
    Uuid(FixedSizeBinaryArray),
    TextList(ListArray, Texts),
    Nested,
}

/// Bytes that should be text.
#[derive(Debug)]
pub(super) struct Texts(ArrayRef);

/// Why a value cannot be lent.
type Result<T> = std::result::Result<T, Flaw>;

// === impl MetadataColumn ===

impl MetadataColumn {
    /// One column that holds all metadata.
    pub(super) fn whole(array: &ArrayRef, times: Timestamps) -> Self {
        match array.data_type() {
            DataType::Struct(fields) => {
                let structs = array.as_struct().clone();
                let columns = fields.iter().zip(structs.columns());
                let columns = columns
                    .map(|(field, array)| FieldColumn::new(field.name(), array, times))
                    .collect();
                Self::Struct(structs, columns)
            }
            DataType::Map(..) => {
                let map = array.as_map().clone();
                let keys = Texts(ArrayRef::clone(map.keys()));
                let values = Values::new(map.values(), times);
                Self::Map(Box::new((map, keys, values)))
            }
            _ => Self::Json(Names::new(array)),
        }
    }

    /// A field for each column.
    pub(super) fn fields<'a>(
        columns: impl Iterator<Item = (&'a str, ArrayRef)>,
        times: Timestamps,
    ) -> Self {
        Self::Fields(
            columns
                .map(|(name, array)| FieldColumn::new(name, &array, times))
                .collect(),
        )
    }

    /// The metadata of a row. An error comes with the field it is in.
    pub(super) fn get<'a>(
        &'a self,
        row: usize,
        scratch: &'a mut String,
        arena: &'a Bump,
        changes: &mut Changes,
    ) -> std::result::Result<Metadata<'a>, (String, Flaw)> {
        let whole = |flaw| ("metadata".to_owned(), flaw);
        match self {
            Self::Absent => Ok(Metadata::Absent),
            Self::Json(text) => {
                let text = text.get(row, scratch).map_err(whole)?;
                Ok(text.map_or(Metadata::Absent, Metadata::Json))
            }
            Self::Struct(structs, _) if structs.is_null(row) => Ok(Metadata::Absent),
            Self::Struct(_, columns) | Self::Fields(columns) => {
                let fields = arena.alloc_slice_fill_copy(columns.len(), NOTHING);
                for (field, column) in fields.iter_mut().zip(columns) {
                    field.name = &column.name;
                    field.value = value(&column.name, &column.values, row, arena, changes)?;
                }
                Ok(Metadata::Fields(fields))
            }
            Self::Map(map) if map.0.is_null(row) => Ok(Metadata::Absent),
            Self::Map(map) => {
                let (map, keys, values) = &**map;
                let range = range(map.value_offsets(), row);
                let fields = arena.alloc_slice_fill_copy(range.len(), NOTHING);
                for (field, at) in fields.iter_mut().zip(range) {
                    field.name = keys.get(at).map_err(whole)?;
                    field.value = value(field.name, values, at, arena, changes)?;
                }
                Ok(Metadata::Fields(fields))
            }
        }
    }

    /// The metadata of a row as JSON for a person to read, if it has any: an object, or the text of
    /// what is none.
    pub(super) fn json(&self, row: usize) -> Option<String> {
        let text = self.text(row)?;
        Some(match crate::jsonl::is_object(&text) {
            true => text,
            false => serde_json::Value::String(text).to_string(),
        })
    }

    fn text(&self, row: usize) -> Option<String> {
        let mut out = String::new();
        match self {
            Self::Absent => return None,
            Self::Json(text) => return text.bytes(row).map(json::marked),
            Self::Struct(structs, _) if structs.is_null(row) => return None,
            Self::Map(map) if map.0.is_null(row) => return None,
            Self::Struct(_, columns) | Self::Fields(columns) => {
                for column in columns {
                    out.push(if out.is_empty() { '{' } else { ',' });
                    json::put_text(column.name.as_bytes(), &mut out);
                    out.push(':');
                    put_json(&column.values.array, row, column.values.times, &mut out);
                }
                out.push_str(if out.is_empty() { "{}" } else { "}" });
            }
            Self::Map(map) => put_json(&map.0, row, Timestamps::default(), &mut out),
        }
        Some(out)
    }
}

const NOTHING: Field<'_> = Field {
    name: "",
    value: FieldValue::Null,
};

/// A value, whose rounding is counted for the field `name`.
fn value<'a>(
    name: &str,
    values: &'a Values,
    at: usize,
    arena: &'a Bump,
    changes: &mut Changes,
) -> std::result::Result<FieldValue<'a>, (String, Flaw)> {
    let (value, rounded) = values
        .get(at, arena)
        .map_err(|flaw| (format!("metadata.{name}"), flaw))?;
    if rounded {
        changes.add(name, ROUNDED, 1);
    }
    Ok(value)
}

/// The items of a row. Offsets have been checked when the array was made.
fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let bound = |offset: i32| usize::try_from(offset).unwrap_or(0);
    bound(offsets[row])..bound(offsets[row + 1])
}

// === impl FieldColumn ===

impl FieldColumn {
    fn new(name: &str, array: &ArrayRef, times: Timestamps) -> Self {
        Self {
            name: name.to_owned(),
            values: Values::new(array, times),
        }
    }
}

// === impl Values ===

impl Values {
    fn new(array: &ArrayRef, times: Timestamps) -> Self {
        let cast = |to: &DataType| widened(array, to);
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Bool(array.as_boolean().clone()),
            DataType::UInt64 => Kind::Unsigned(array.as_primitive().clone()),
            DataType::Int64 => Kind::Signed(array.as_primitive().clone()),
            found if found.is_integer() || found.is_floating() => {
                Kind::Float(cast(&DataType::Float64).as_primitive().clone())
            }
            DataType::Decimal128(..) | DataType::Decimal256(..) => Kind::Decimal,
            DataType::Binary | DataType::BinaryView => Kind::Text(Texts(ArrayRef::clone(array))),
            DataType::FixedSizeBinary(_) => Kind::Uuid(array.as_fixed_size_binary().clone()),
            DataType::List(item) if *item.data_type() == DataType::Binary => {
                let lists = array.as_list::<i32>().clone();
                let texts = Texts(ArrayRef::clone(lists.values()));
                Kind::TextList(lists, texts)
            }
            found => match Clock::of(found) {
                Some(clock) => {
                    let counts = match found {
                        DataType::Date32 | DataType::Time32(_) => {
                            widened(&cast(&DataType::Int32), &DataType::Int64)
                        }
                        _ => cast(&DataType::Int64),
                    };
                    Kind::Time(clock, counts.as_primitive().clone())
                }
                None => Kind::Nested,
            },
        };
        Self {
            array: ArrayRef::clone(array),
            kind,
            times,
        }
    }

    /// A value, and whether it was rounded.
    fn get<'a>(&'a self, at: usize, arena: &'a Bump) -> Result<(FieldValue<'a>, bool)> {
        if self.array.is_null(at) || matches!(self.kind, Kind::Null) {
            return Ok((FieldValue::Null, false));
        }
        let exact = |value| Ok((value, false));
        match &self.kind {
            Kind::Null => exact(FieldValue::Null),
            Kind::Bool(values) => exact(FieldValue::Bool(values.value(at))),
            Kind::Float(values) => exact(FieldValue::Number(values.value(at))),
            Kind::Signed(values) => {
                let (number, rounded) = rounded(values.value(at).into());
                Ok((FieldValue::Number(number), rounded))
            }
            Kind::Unsigned(values) => {
                let (number, rounded) = rounded(values.value(at).into());
                Ok((FieldValue::Number(number), rounded))
            }
            Kind::Decimal => {
                let text = decimal(&self.array, at);
                let number = number(&text)?;
                let scale = text.split_once('.').map_or(0, |(_, digits)| digits.len());
                Ok((
                    FieldValue::Number(number),
                    format!("{number:.scale$}") != text,
                ))
            }
            Kind::Time(clock, counts) => clock.value(counts.value(at), self.times, arena),
            Kind::Text(texts) => exact(FieldValue::Text(texts.get(at)?)),
            Kind::Uuid(bytes) => {
                let mut text = bumpalo::collections::String::new_in(arena);
                // Writing to a string does not fail.
                let _ = put_uuid(bytes.value(at), &mut text);
                exact(FieldValue::Text(text.into_bump_str()))
            }
            Kind::TextList(lists, texts) => {
                let range = range(lists.value_offsets(), at);
                if range.clone().any(|at| texts.0.is_null(at)) {
                    return self.json(at, arena);
                }
                let list = arena.alloc_slice_fill_copy(range.len(), "");
                for (text, at) in list.iter_mut().zip(range) {
                    *text = texts.get(at)?;
                }
                exact(FieldValue::TextList(list))
            }
            Kind::Nested => self.json(at, arena),
        }
    }

    fn json<'a>(&self, at: usize, arena: &'a Bump) -> Result<(FieldValue<'a>, bool)> {
        let mut text = String::new();
        json::check(&self.array, at)?;
        put_json(&self.array, at, self.times, &mut text);
        Ok((FieldValue::Json(arena.alloc_str(&text)), false))
    }
}

// === impl Texts ===

impl Texts {
    fn get(&self, at: usize) -> Result<&str> {
        str::from_utf8(self.bytes(at)).map_err(|error| {
            Flaw::malformed(format!(
                "invalid UTF-8 at byte {} of it",
                error.valid_up_to()
            ))
        })
    }

    fn bytes(&self, at: usize) -> &[u8] {
        match self.0.data_type() {
            DataType::BinaryView => self.0.as_binary_view().value(at),
            _ => self.0.as_binary::<i32>().value(at),
        }
    }
}

/// The float64 nearest to an integer, and whether it is another number.
fn rounded(integer: i128) -> (f64, bool) {
    #[expect(clippy::cast_precision_loss, reason = "rounds to the nearest")]
    let number = integer as f64;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "beyond i64 and u64, not beyond i128"
    )]
    let back = number as i128;
    (number, back != integer)
}

/// The decimal as it is written, with all digits of its scale.
fn decimal(array: &ArrayRef, at: usize) -> String {
    match array.data_type() {
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value_as_string(at),
        _ => array.as_primitive::<Decimal128Type>().value_as_string(at),
    }
}

/// The float64 nearest to a decimal.
fn number(text: &str) -> Result<f64> {
    fast_float2::parse(text).map_err(|_| Flaw {
        reason: Reason::InvalidMetadata,
        message: format!("{text:.40} is not a number"),
    })
}

/// Numbers as a wider type, which holds them all.
#[expect(
    clippy::expect_used,
    reason = "numbers, and times as the integers underneath, cast to types that hold them"
)]
fn widened(array: &ArrayRef, to: &DataType) -> ArrayRef {
    arrow_cast::cast(array, to).expect("a wider type")
}
