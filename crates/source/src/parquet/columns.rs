//! The columns of a batch, typed once: names, vectors and sparse vectors, and one row's in them.
//!
//! Float32 values, packed or in lists, and uint32 indices are lent as they are; other types are
//! converted row by row into a scratch: integers exactly or not at all, f16 exactly, f64 to the
//! nearest f32, which is told where it is not the same number.

use std::{
    fmt::{Debug, Write},
    ops::Range,
};

use arrow_array::{
    Array, ArrayRef, BinaryViewArray, FixedSizeBinaryArray, Float16Array, Float32Array,
    Float64Array, Int64Array, ListArray, RecordBatch, StructArray, UInt32Array, UInt64Array,
    cast::AsArray,
    types::{Float16Type, Float32Type, Float64Type, Int64Type, UInt32Type, UInt64Type},
};
use arrow_schema::DataType;
use vecload_record::{Dense, Reason};

use super::{
    metadata::MetadataColumn,
    schema::{Column, MetadataColumns, Roles, SparseColumns},
    vectors::Packed,
};
use crate::Timestamps;

/// The columns of a batch.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) rows: usize,
    pub(super) id: Names,
    pub(super) values: Option<Vectors>,
    pub(super) sparse: Option<SparseColumn>,
    pub(super) metadata: MetadataColumn,
    pub(super) namespace: Option<Names>,
}

/// Text, or integers that are taken as their text.
#[derive(Debug)]
pub(super) enum Names {
    Text(BinaryViewArray),
    Signed(Int64Array),
    Unsigned(UInt64Array),
    Uuid(FixedSizeBinaryArray),
    Null,
}

/// Dense vectors.
#[derive(Debug)]
pub(super) enum Vectors {
    /// From the pages of their column.
    Packed(Packed),
    Lists(Lists<Floats>),
    /// Little-endian float32 values, packed.
    Bytes(BinaryViewArray),
    Fixed(FixedSizeBinaryArray),
}

/// Lists: of row `i` the items from `offsets[i]` to `offsets[i + 1]`.
#[derive(Debug)]
pub(super) struct Lists<T> {
    lists: ListArray,
    items: T,
}

#[derive(Debug)]
pub(super) enum Floats {
    Half(Float16Array),
    Single(Float32Array),
    Double(Float64Array),
}

#[derive(Debug)]
pub(super) enum Indices {
    Exact(UInt32Array),
    Signed(Int64Array),
    Unsigned(UInt64Array),
}

#[derive(Debug)]
pub(super) struct SparseColumn {
    /// `None` where each part is a column of its own.
    structs: Option<StructArray>,
    pub(super) indices: Lists<Indices>,
    pub(super) values: Lists<Floats>,
}

/// What is wrong with a value; the field is not known here.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) reason: Reason,
    pub(super) message: String,
}

// === impl Decoded ===

impl Decoded {
    /// The columns of `batch`, whose types have been found to be supported; `vectors` came apart.
    pub(super) fn new(
        roles: &Roles,
        batch: &RecordBatch,
        vectors: Option<Packed>,
        times: Timestamps,
    ) -> Self {
        let array = |column: &Column| match batch.column_by_name(&column.name) {
            Some(array) => ArrayRef::clone(array),
            None => unreachable!("column {:?} was asked for", column.name),
        };
        let metadata = match &roles.metadata {
            MetadataColumns::Absent => MetadataColumn::Absent,
            MetadataColumns::Whole(column) => MetadataColumn::whole(&array(column), times),
            MetadataColumns::Fields(columns) => {
                let columns = columns.iter();
                MetadataColumn::fields(
                    columns.map(|column| (column.name.as_str(), array(column))),
                    times,
                )
            }
        };
        Self {
            rows: batch.num_rows(),
            id: Names::new(&array(&roles.id)),
            values: vectors.map(Vectors::Packed).or_else(|| {
                let column = roles.values.as_ref();
                column.map(|column| Vectors::new(&array(column)))
            }),
            sparse: roles.sparse.as_ref().map(|sparse| match sparse {
                SparseColumns::Struct(column) => SparseColumn::new(&array(column)),
                SparseColumns::Split { indices, values } => SparseColumn {
                    structs: None,
                    indices: Lists::new(&array(indices), Indices::new),
                    values: Lists::new(&array(values), Floats::new),
                },
            }),
            metadata,
            namespace: roles
                .namespace
                .as_ref()
                .map(|column| Names::new(&array(column))),
        }
    }
}

// === impl Names ===

impl Names {
    pub(super) fn new(array: &ArrayRef) -> Self {
        match array.data_type() {
            DataType::BinaryView => Self::Text(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Self::Uuid(array.as_fixed_size_binary().clone()),
            DataType::Null => Self::Null,
            found if found.is_unsigned_integer() => {
                Self::Unsigned(widened(array, &DataType::UInt64).as_primitive().clone())
            }
            _ => Self::Signed(
                widened(array, &DataType::Int64)
                    .as_primitive::<Int64Type>()
                    .clone(),
            ),
        }
    }

    /// The text of a row, if it has one. Integers are written to `scratch`.
    pub(super) fn get<'a>(
        &'a self,
        row: usize,
        scratch: &'a mut String,
    ) -> Result<Option<&'a str>, Flaw> {
        scratch.clear();
        let written = match self {
            Self::Text(text) if text.is_valid(row) => {
                return str::from_utf8(text.value(row)).map(Some).map_err(|error| {
                    let at = error.valid_up_to();
                    Flaw::malformed(format!("invalid UTF-8 at byte {at} of it"))
                });
            }
            Self::Signed(numbers) if numbers.is_valid(row) => {
                write!(scratch, "{}", numbers.value(row))
            }
            Self::Unsigned(numbers) if numbers.is_valid(row) => {
                write!(scratch, "{}", numbers.value(row))
            }
            Self::Uuid(bytes) if bytes.is_valid(row) => put_uuid(bytes.value(row), scratch),
            _ => return Ok(None),
        };
        // Writing to a string does not fail.
        Ok(written.ok().map(|()| scratch.as_str()))
    }

    /// The bytes of a row's text, which need not be UTF-8. Of other types there are none.
    pub(super) fn bytes(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Text(text) => text.is_valid(row).then(|| text.value(row)),
            _ => None,
        }
    }

    /// The text of a row for a person to read: bytes that are not UTF-8 are replaced.
    pub(super) fn shown(&self, row: usize) -> Option<String> {
        if let Self::Text(_) = self {
            let text = self.bytes(row)?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        let mut scratch = String::new();
        self.get(row, &mut scratch).ok()?.map(str::to_owned)
    }
}

/// Sixteen bytes as the text of a UUID.
pub(super) fn put_uuid(bytes: &[u8], out: &mut impl Write) -> std::fmt::Result {
    for (place, byte) in bytes.iter().enumerate() {
        let hyphen = if matches!(place, 4 | 6 | 8 | 10) {
            "-"
        } else {
            ""
        };
        write!(out, "{hyphen}{byte:02x}")?;
    }
    Ok(())
}

// === impl Vectors ===

impl Vectors {
    fn new(array: &ArrayRef) -> Self {
        match array.data_type() {
            DataType::BinaryView => Self::Bytes(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Self::Fixed(array.as_fixed_size_binary().clone()),
            _ => Self::Lists(Lists::new(array, Floats::new)),
        }
    }

    /// The vector of a row, if it has one, and whether it was rounded.
    pub(super) fn get<'a>(
        &'a self,
        row: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Result<Option<(Dense<'a>, bool)>, Flaw> {
        let bytes = match self {
            Self::Packed(vectors) => return Ok(Some((vectors.get(row), false))),
            Self::Lists(lists) => {
                let found = lists.get(row, scratch)?;
                return Ok(found.map(|(values, rounded)| (Dense::Floats(values), rounded)));
            }
            Self::Bytes(_) | Self::Fixed(_) => self.bytes(row),
        };
        match bytes {
            Some(bytes) if bytes.len() % 4 != 0 => Err(Flaw::malformed(format!(
                "{} bytes are no whole number of float32 values",
                bytes.len()
            ))),
            bytes => Ok(bytes.map(|bytes| (Dense::Bytes(bytes, &[]), false))),
        }
    }

    fn bytes(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Packed(_) | Self::Lists(_) => None,
            Self::Bytes(bytes) => bytes.is_valid(row).then(|| bytes.value(row)),
            Self::Fixed(bytes) => bytes.is_valid(row).then(|| bytes.value(row)),
        }
    }

    /// The values of a row as JSON, those that it does not have as text.
    pub(super) fn json(&self, row: usize) -> Option<String> {
        let dense = match self {
            Self::Packed(vectors) => vectors.get(row),
            Self::Lists(lists) => return lists.json(row),
            Self::Bytes(_) | Self::Fixed(_) => Dense::Bytes(self.bytes(row)?, &[]),
        };
        Some(list(dense.iter().map(Some)))
    }
}

// === impl Lists ===

impl<T> Lists<T> {
    fn new(array: &ArrayRef, items: fn(&ArrayRef) -> T) -> Self {
        let lists = array.as_list::<i32>().clone();
        Self {
            items: items(lists.values()),
            lists,
        }
    }

    /// The items of a row, if it is not null. Offsets have been checked when the array was made.
    fn range(&self, row: usize) -> Option<Range<usize>> {
        let offsets = self.lists.value_offsets();
        let bound = |offset: i32| usize::try_from(offset).unwrap_or(0);
        self.lists
            .is_valid(row)
            .then(|| bound(offsets[row])..bound(offsets[row + 1]))
    }
}

impl Lists<Floats> {
    /// The values of a row, if it has any, and whether they were rounded. What is not float32 is
    /// converted into `scratch`.
    pub(super) fn get<'a>(
        &'a self,
        row: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Result<Option<(&'a [f32], bool)>, Flaw> {
        let Some(range) = self.range(row) else {
            return Ok(None);
        };
        expect_no_null(self.items.array(), &range)?;
        scratch.clear();
        let mut rounded = false;
        match &self.items {
            Floats::Single(values) => return Ok(Some((&values.values()[range], false))),
            Floats::Half(values) => {
                scratch.extend(values.values()[range].iter().map(|value| value.to_f32()));
            }
            Floats::Double(values) => {
                for (index, value) in values.values()[range].iter().enumerate() {
                    #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
                    let single = *value as f32;
                    if single.is_infinite() && value.is_finite() {
                        return Err(Flaw {
                            reason: Reason::NotFinite,
                            message: format!(
                                "value {index}: {value:e} is beyond the range of float32"
                            ),
                        });
                    }
                    rounded |= f64::from(single) != *value && !value.is_nan();
                    scratch.push(single);
                }
            }
        }
        Ok(Some((scratch, rounded)))
    }

    /// The values of a row as JSON: `null` for those that are, text for those that JSON does not have.
    pub(super) fn json(&self, row: usize) -> Option<String> {
        let range = self.range(row)?;
        let items = self.items.array();
        let valid = range.map(|at| items.is_valid(at).then_some(at));
        Some(match &self.items {
            Floats::Half(values) => list(valid.map(|at| Some(values.value(at?).to_f32()))),
            Floats::Single(values) => list(valid.map(|at| Some(values.value(at?)))),
            Floats::Double(values) => list(valid.map(|at| Some(values.value(at?)))),
        })
    }
}

/// Numbers as JSON, each as short as it can be had back.
fn list<T: Copy + Debug + Into<f64>>(values: impl Iterator<Item = Option<T>>) -> String {
    let texts = values.map(|value| match value {
        None => "null".to_owned(),
        Some(value) if value.into().is_finite() => format!("{value:?}"),
        Some(value) => format!("\"{value:?}\""),
    });
    format!("[{}]", texts.collect::<Vec<_>>().join(","))
}

impl Lists<Indices> {
    /// The indices of a row, if it has any. What is not uint32 is converted into `scratch`.
    pub(super) fn get<'a>(
        &'a self,
        row: usize,
        scratch: &'a mut Vec<u32>,
    ) -> Result<Option<&'a [u32]>, Flaw> {
        let Some(range) = self.range(row) else {
            return Ok(None);
        };
        expect_no_null(self.items.array(), &range)?;
        scratch.clear();
        if let Indices::Exact(indices) = &self.items {
            return Ok(Some(&indices.values()[range]));
        }
        for at in range {
            let index = self.items.value(at);
            scratch.push(u32::try_from(index).map_err(|_| Flaw {
                reason: Reason::InvalidSparse,
                message: format!("index {index} is not an integer from 0 to 4294967295"),
            })?);
        }
        Ok(Some(scratch))
    }

    /// The indices of a row as JSON, with `null` for those that are.
    pub(super) fn json(&self, row: usize) -> Option<String> {
        let items = self.items.array();
        let indices = self
            .range(row)?
            .map(|at| items.is_valid(at).then(|| self.items.value(at)));
        serde_json::to_string(&indices.collect::<Vec<_>>()).ok()
    }
}

// === impl Floats ===

impl Floats {
    fn new(array: &ArrayRef) -> Self {
        match array.data_type() {
            DataType::Float16 => Self::Half(array.as_primitive::<Float16Type>().clone()),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>().clone()),
            _ => Self::Single(array.as_primitive::<Float32Type>().clone()),
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Half(values) => values,
            Self::Single(values) => values,
            Self::Double(values) => values,
        }
    }
}

// === impl Indices ===

impl Indices {
    fn new(array: &ArrayRef) -> Self {
        match array.data_type() {
            DataType::UInt32 => Self::Exact(array.as_primitive::<UInt32Type>().clone()),
            found if found.is_unsigned_integer() => Self::Unsigned(
                widened(array, &DataType::UInt64)
                    .as_primitive::<UInt64Type>()
                    .clone(),
            ),
            _ => Self::Signed(
                widened(array, &DataType::Int64)
                    .as_primitive::<Int64Type>()
                    .clone(),
            ),
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Exact(indices) => indices,
            Self::Signed(indices) => indices,
            Self::Unsigned(indices) => indices,
        }
    }

    fn value(&self, at: usize) -> i128 {
        match self {
            Self::Exact(indices) => indices.value(at).into(),
            Self::Signed(indices) => indices.value(at).into(),
            Self::Unsigned(indices) => indices.value(at).into(),
        }
    }
}

// === impl SparseColumn ===

impl SparseColumn {
    fn new(array: &ArrayRef) -> Self {
        let structs = array.as_struct().clone();
        let part = |name: &str| {
            let (index, _) = structs.fields().find(name).unwrap_or_else(|| {
                unreachable!("the schema was found to have sparse vectors with {name}")
            });
            structs.column(index)
        };
        Self {
            indices: Lists::new(part("indices"), Indices::new),
            values: Lists::new(part("values"), Floats::new),
            structs: Some(structs),
        }
    }

    /// Whether a row has a sparse vector.
    pub(super) fn has(&self, row: usize) -> bool {
        self.structs
            .as_ref()
            .is_none_or(|structs| structs.is_valid(row))
    }
}

// === impl Flaw ===

impl Flaw {
    pub(super) fn malformed(message: String) -> Self {
        Self {
            reason: Reason::Malformed,
            message,
        }
    }
}

fn expect_no_null(items: &dyn Array, range: &Range<usize>) -> Result<(), Flaw> {
    let nulls = items.nulls().filter(|nulls| nulls.null_count() > 0);
    let null = nulls.and_then(|nulls| range.clone().find(|at| nulls.is_null(*at)));
    match null {
        None => Ok(()),
        Some(at) => Err(Flaw::malformed(format!(
            "value {} is null",
            at - range.start
        ))),
    }
}

/// Integers as a wider type, which holds them all.
#[expect(
    clippy::expect_used,
    reason = "integers cast to a wider type of the same sign"
)]
fn widened(array: &ArrayRef, to: &DataType) -> ArrayRef {
    arrow_cast::cast(array, to).expect("a wider integer type")
}
