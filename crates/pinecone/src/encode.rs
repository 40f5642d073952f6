//! Records to wire bytes: measured first, then appended to the request.
//!
//! ```text
//! 0a L  [0a L id] [12 L float32 LE ...] [1a L Struct] [22 L [0a L varint ...] [12 L float32 LE ...]]
//! ```
//!
//! The bytes are those that prost makes of the same message, but for the order of keys in the metadata.
//! Measuring looks at everything but the floats and turns the metadata into wire bytes; appending is
//! then a copy, and the pass over the copied floats that finds NaN, infinity and nothing but zeros.
//! Prost's way, an owned message that is walked twice, was measured several times slower.

use vecload_record::{Dense, Operation, Reason, RecordRef, Reject};

use crate::metadata::{Change, MetadataPolicy, StructBuffer};
use crate::rules::{self, IndexShape};

/// Buffers that are used again for each record. What they hold belongs to the record measured last.
#[derive(Debug, Default)]
pub struct Scratch {
    metadata: StructBuffer,
    /// The indices of a sparse vector, sorted.
    indices: Vec<u32>,
}

/// What is known of a record before it is appended.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// In the request, tag and length included.
    bytes: usize,
    /// The length that stands before the record.
    record: usize,
    /// Whether it has metadata; they may be empty.
    metadata: bool,
    /// The length of the sparse vector, and of its indices.
    sparse: usize,
    indices: usize,
}

mod tag {
    pub(super) const RECORD: u8 = 0x0a;
    pub(super) const ID: u8 = 0x0a;
    pub(super) const VALUES: u8 = 0x12;
    pub(super) const METADATA: u8 = 0x1a;
    pub(super) const SPARSE: u8 = 0x22;
    pub(super) const SPARSE_INDICES: u8 = 0x0a;
    pub(super) const SPARSE_VALUES: u8 = 0x12;
}

/// What is among some floats.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// An infinity or a NaN.
    non_finite: bool,
    /// A value that the service does not take for zero.
    non_zero: bool,
}

/// The service takes a dense vector for zero if no value reaches this.
const LEAST: f32 = 1e-8;

// === impl Scratch ===

impl Scratch {
    /// Buffers for records whose metadata are treated so.
    #[must_use]
    pub fn new(policy: MetadataPolicy) -> Self {
        Self {
            metadata: StructBuffer::new(policy),
            indices: Vec::new(),
        }
    }

    /// What was changed in the metadata of the record measured last: key and change. It counts once
    /// the record is appended.
    pub fn changes(&self) -> impl Iterator<Item = (&str, Change)> {
        self.metadata.changes()
    }
}

// === impl Measured ===

impl Measured {
    /// The number of bytes that the record adds to a request, tag and length included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Checks all rules that need no pass over the floats, converts the metadata, and gives the exact
/// number of bytes that the record adds to a request.
///
/// # Errors
///
/// The first rule that the record breaks.
pub fn measure(
    record: &RecordRef<'_>,
    shape: &IndexShape,
    scratch: &mut Scratch,
) -> Result<Measured, Reject> {
    debug_assert_eq!(record.operation, Operation::Upsert, "nothing else is sent");
    rules::check(record, shape, &mut scratch.indices)?;
    let metadata = scratch.metadata.convert(record.metadata)?;

    let mut length = field_len(record.id.len());
    if let Some(values) = record.dense.filter(|values| !values.is_empty()) {
        length += field_len(size_of::<f32>() * values.len());
    }
    if metadata {
        length += field_len(scratch.metadata.wire().len());
    }
    let (mut sparse, mut indices) = (0, 0);
    if let Some(vector) = record.sparse {
        indices = vector
            .indices
            .iter()
            .map(|index| varint_len(*index as usize))
            .sum();
        sparse = field_len(indices) + field_len(size_of_val(vector.values));
        length += field_len(sparse);
    }
    Ok(Measured {
        bytes: field_len(length),
        record: length,
        metadata,
        sparse,
        indices,
    })
}

/// Appends the record in wire form. `measured` and `scratch` are what [`measure`] made of this record.
///
/// # Errors
///
/// [`Reason::NotFinite`] or [`Reason::AllZero`], found while the floats are copied; `out` is then as
/// it was.
pub fn append(
    record: &RecordRef<'_>,
    measured: &Measured,
    scratch: &Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Reject> {
    let start = out.len();
    out.reserve(measured.bytes);
    let appended = append_fields(record, measured, scratch, out);
    if appended.is_err() {
        out.truncate(start);
    } else {
        debug_assert_eq!(
            out.len() - start,
            measured.bytes,
            "another record's measure"
        );
    }
    appended
}

fn append_fields(
    record: &RecordRef<'_>,
    measured: &Measured,
    scratch: &Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Reject> {
    put_header(tag::RECORD, measured.record, out);
    put_header(tag::ID, record.id.len(), out);
    out.extend_from_slice(record.id.as_bytes());
    if let Some(values) = record.dense.filter(|values| !values.is_empty()) {
        put_header(tag::VALUES, size_of::<f32>() * values.len(), out);
        let seen = match values {
            Dense::Floats(values) => put_floats(values, out),
            Dense::Bytes(first, second) => put_bytes(first, out).and(put_bytes(second, out)),
        };
        if seen.non_finite {
            return Err(not_finite("values", values.iter()));
        }
        if !seen.non_zero {
            return Err(Reject::new(
                Reason::AllZero,
                "values",
                "all values are smaller than 1e-8, which the service takes for zero and refuses",
            ));
        }
    }
    if measured.metadata {
        let wire = scratch.metadata.wire();
        put_header(tag::METADATA, wire.len(), out);
        out.extend_from_slice(wire);
    }
    if let Some(vector) = record.sparse {
        put_header(tag::SPARSE, measured.sparse, out);
        put_header(tag::SPARSE_INDICES, measured.indices, out);
        for index in vector.indices {
            put_varint(*index as usize, out);
        }
        put_header(tag::SPARSE_VALUES, size_of_val(vector.values), out);
        if put_floats(vector.values, out).non_finite {
            return Err(not_finite("sparse_values", vector.values.iter().copied()));
        }
    }
    Ok(())
}

/// Appends little-endian floats; says what is among them.
fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Seen {
    debug_assert_eq!(
        bytes.len() % size_of::<f32>(),
        0,
        "a piece has whole values"
    );
    out.extend_from_slice(bytes);
    Seen::of(bytes)
}

/// Appends floats; says what is among them.
fn put_floats(values: &[f32], out: &mut Vec<u8>) -> Seen {
    let start = out.len();
    out.resize(start + size_of_val(values), 0);
    let (slots, _) = out[start..].as_chunks_mut::<4>();
    for (slot, value) in slots.iter_mut().zip(values) {
        *slot = value.to_le_bytes();
    }
    Seen::of(&out[start..])
}

// === impl Seen ===

impl Seen {
    /// Without their sign, the bits of floats are ordered as the floats are, with infinity and then the
    /// NaNs above all numbers. So what is added to them carries into the sign bit if they reach
    /// something, and the sums of all of them, put together, tell of any: three instructions that every
    /// vector unit has.
    fn of(bytes: &[u8]) -> Self {
        const MAGNITUDE: u32 = i32::MAX.cast_unsigned();
        const SIGN: u32 = !MAGNITUDE;
        let (values, _) = bytes.as_chunks::<4>();
        let reaches = |values: &[[u8; 4]], least: u32| {
            let carried = values.iter().fold(0, |carried, value| {
                carried | ((u32::from_le_bytes(*value) & MAGNITUDE) + (SIGN - least))
            });
            carried & SIGN != 0
        };
        // One value that is large enough will do, and most are.
        let mut some = values.chunks(16);
        Self {
            non_finite: reaches(values, f32::INFINITY.to_bits()),
            non_zero: some.any(|values| reaches(values, LEAST.to_bits())),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            non_finite: self.non_finite || other.non_finite,
            non_zero: self.non_zero || other.non_zero,
        }
    }
}

fn not_finite(field: &str, mut values: impl Iterator<Item = f32>) -> Reject {
    let found = values
        .by_ref()
        .enumerate()
        .find(|(_, value)| !value.is_finite());
    let message = match found {
        Some((position, value)) => format!("the value at position {position} is {value}"),
        None => "a value is not finite".to_owned(),
    };
    Reject::new(Reason::NotFinite, field, message)
}

/// The bytes of a field with a one-byte tag and so many bytes of content.
pub(crate) fn field_len(content: usize) -> usize {
    1 + varint_len(content) + content
}

/// Writes a one-byte tag and the length of what follows.
pub(crate) fn put_header(tag: u8, content: usize, out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(content, out);
}

/// The bytes of a varint: seven bits each, at least one.
pub(crate) fn varint_len(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

pub(crate) fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests;
