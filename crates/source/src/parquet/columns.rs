//! The columns of a batch, typed once, and the values of one row in them.
//!
//! Float32 values and uint32 indices are lent as they are; other types are converted row by row into
//! a scratch: integers exactly or not at all, f16 exactly, f64 to the nearest f32.

use std::{fmt::Write, ops::Range};

use arrow_array::{
    Array, ArrayRef, BinaryViewArray, Float16Array, Float32Array, Float64Array, Int64Array,
    ListArray, RecordBatch, StructArray, UInt32Array, UInt64Array,
    cast::AsArray,
    types::{Float16Type, Float32Type, Float64Type, Int64Type, UInt32Type, UInt64Type},
};
use arrow_schema::DataType;
use vecload_record::Reason;

use super::schema::{Role, Roles};

/// The columns of a batch.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) rows: usize,
    pub(super) id: Names,
    pub(super) values: Option<Lists<Floats>>,
    pub(super) sparse: Option<SparseColumn>,
    pub(super) metadata: Option<Names>,
    pub(super) namespace: Option<Names>,
}

/// Text, or integers that are taken as their text.
#[derive(Debug)]
pub(super) enum Names {
    Text(BinaryViewArray),
    Signed(Int64Array),
    Unsigned(UInt64Array),
    Null,
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
    structs: StructArray,
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
    /// The columns of `batch`, whose types have been found to be supported.
    pub(super) fn new(roles: &Roles, batch: &RecordBatch) -> Self {
        let column = |role: &Role| batch.column_by_name(&role.name).cloned();
        let optional = |role: &Option<Role>| role.as_ref().and_then(column);
        Self {
            rows: batch.num_rows(),
            id: column(&roles.id).map_or(Names::Null, |array| Names::new(&array)),
            values: optional(&roles.values).map(|array| Lists::new(&array, Floats::new)),
            sparse: optional(&roles.sparse_values).map(|array| SparseColumn::new(&array)),
            metadata: optional(&roles.metadata).map(|array| Names::new(&array)),
            namespace: optional(&roles.namespace).map(|array| Names::new(&array)),
        }
    }
}

// === impl Names ===

impl Names {
    fn new(array: &ArrayRef) -> Self {
        match array.data_type() {
            DataType::BinaryView => Self::Text(array.as_binary_view().clone()),
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
            _ => return Ok(None),
        };
        // Writing to a string does not fail.
        Ok(written.ok().map(|()| scratch.as_str()))
    }

    /// The text of a row for a person to read: bytes that are not UTF-8 are replaced.
    pub(super) fn shown(&self, row: usize) -> Option<String> {
        match self {
            Self::Text(text) if text.is_valid(row) => {
                Some(String::from_utf8_lossy(text.value(row)).into_owned())
            }
            Self::Signed(numbers) if numbers.is_valid(row) => Some(numbers.value(row).to_string()),
            Self::Unsigned(numbers) if numbers.is_valid(row) => {
                Some(numbers.value(row).to_string())
            }
            _ => None,
        }
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
    /// The values of a row, if it has any. What is not float32 is converted into `scratch`.
    pub(super) fn get<'a>(
        &'a self,
        row: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Result<Option<&'a [f32]>, Flaw> {
        let Some(range) = self.range(row) else {
            return Ok(None);
        };
        expect_no_null(self.items.array(), &range)?;
        scratch.clear();
        match &self.items {
            Floats::Single(values) => return Ok(Some(&values.values()[range])),
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
                    scratch.push(single);
                }
            }
        }
        Ok(Some(scratch))
    }

    /// The values of a row as JSON, as far as JSON has them, and `null` for others.
    pub(super) fn json(&self, row: usize) -> Option<String> {
        let range = self.range(row)?;
        let items = self.items.array();
        let list = |value: &dyn Fn(usize) -> f32| {
            let values = range
                .clone()
                .map(|at| items.is_valid(at).then(|| value(at)));
            serde_json::to_string(&values.collect::<Vec<_>>())
        };
        let json = match &self.items {
            Floats::Half(values) => list(&|at| values.value(at).to_f32()),
            Floats::Single(values) => list(&|at| values.value(at)),
            Floats::Double(values) => {
                let values = range
                    .clone()
                    .map(|at| items.is_valid(at).then(|| values.value(at)));
                serde_json::to_string(&values.collect::<Vec<_>>())
            }
        };
        json.ok()
    }
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
            structs,
        }
    }

    /// Whether a row has a sparse vector.
    pub(super) fn has(&self, row: usize) -> bool {
        self.structs.is_valid(row)
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
