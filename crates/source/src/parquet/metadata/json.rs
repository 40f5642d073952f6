//! Any value as JSON: nested metadata, and what people see of a bad row.

use std::fmt::Write;

use arrow_array::{Array, ArrayRef, Float16Array, Float32Array, Float64Array, cast::AsArray};
use arrow_schema::DataType;

use super::{Texts, decimal, range, time::Clock, widened};
use crate::{
    Timestamps,
    parquet::columns::{Flaw, put_uuid},
};

/// Fails if there is something within a value that [`put_json`] cannot write as JSON.
pub(super) fn check(array: &ArrayRef, at: usize) -> super::Result<()> {
    if array.is_null(at) {
        return Ok(());
    }
    match array.data_type() {
        DataType::Binary => Texts(ArrayRef::clone(array)).get(at).map(|_| ()),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            range(lists.value_offsets(), at).try_for_each(|at| check(lists.values(), at))
        }
        DataType::Struct(_) => {
            let mut columns = array.as_struct().columns().iter();
            columns.try_for_each(|column| check(column, at))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            range(map.value_offsets(), at).try_for_each(|at| {
                check(map.keys(), at)?;
                check(map.values(), at)
            })
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => match float(array, at) {
            Some(number) if !number.is_finite() => Err(Flaw {
                reason: vecload_record::Reason::InvalidMetadata,
                message: format!("{number} within a nested value"),
            }),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Writes a value. Numbers that JSON does not have are written by their names, so that the text XX
pub(in crate::parquet) fn put_json(
    array: &dyn Array,
    at: usize,
    times: Timestamps,
    out: &mut String,
) {
    if array.is_null(at) {
        out.push_str("null");
        return;
    }
    let list = |values: &ArrayRef, range: std::ops::Range<usize>, out: &mut String| {
        for (place, at) in range.enumerate() {
            out.push_str(if place == 0 { "" } else { "," });
            put_json(values, at, times, out);
        }
    };
    match array.data_type() {
        DataType::Boolean => out.push_str(match array.as_boolean().value(at) {
            true => "true",
            false => "false",
        }),
        DataType::Binary => put_text(array.as_binary::<i32>().value(at), out),
        DataType::BinaryView => put_text(array.as_binary_view().value(at), out),
        DataType::FixedSizeBinary(_) => {
            out.push('"');
            // Writing to a string does not fail.
            let _ = put_uuid(array.as_fixed_size_binary().value(at), out);
            out.push('"');
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            out.push('[');
            list(lists.values(), range(lists.value_offsets(), at), out);
            out.push(']');
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            out.push('{');
            for (place, (field, column)) in columns.enumerate() {
                out.push_str(if place == 0 { "" } else { "," });
                put_text(field.name().as_bytes(), out);
                out.push(':');
                put_json(column, at, times, out);
            }
            out.push('}');
        }
        DataType::Map(..) => {
            let map = array.as_map();
            out.push('{');
            for (place, at) in range(map.value_offsets(), at).enumerate() {
                out.push_str(if place == 0 { "" } else { "," });
                put_json(map.keys(), at, times, out);
                out.push(':');
                put_json(map.values(), at, times, out);
            }
            out.push('}');
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            out.push_str(&decimal(&array.slice(at, 1), 0));
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => match float(array, at) {
            Some(number) => put_number(number, out),
            None => out.push_str("null"),
        },
        found => put_other(array, at, found, times, out),
    }
}

/// Integers, and what is integers underneath.
fn put_other(array: &dyn Array, at: usize, found: &DataType, times: Timestamps, out: &mut String) {
    let value = array.slice(at, 1);
    let value = match found {
        DataType::Date32 | DataType::Time32(_) => widened(&value, &DataType::Int32),
        _ => value,
    };
    if *found == DataType::UInt64 {
        let number = value.as_primitive::<arrow_array::types::UInt64Type>();
        let _ = write!(out, "{}", number.value(0));
        return;
    }
    let count = widened(&value, &DataType::Int64);
    let count = count
        .as_primitive::<arrow_array::types::Int64Type>()
        .value(0);
    match Clock::of(found) {
        None => {
            let _ = write!(out, "{count}");
        }
        Some(clock) => match (times, clock.text(count), clock.seconds(count)) {
            (Timestamps::Rfc3339, Some(text), _) => put_text(text.as_bytes(), out),
            (_, _, Ok((seconds, _))) => put_number(seconds, out),
            (_, _, Err(_)) => out.push_str("null"),
        },
    }
}

fn float(array: &dyn Array, at: usize) -> Option<f64> {
    let any = array.as_any();
    if let Some(values) = any.downcast_ref::<Float64Array>() {
        return Some(values.value(at));
    }
    if let Some(values) = any.downcast_ref::<Float32Array>() {
        return Some(values.value(at).into());
    }
    let values = any.downcast_ref::<Float16Array>()?;
    Some(values.value(at).to_f64())
}

/// A number, as short as it can be had back; by its name where JSON does not have it.
fn put_number(number: f64, out: &mut String) {
    match number {
        number if number.is_nan() => out.push_str("NaN"),
        f64::INFINITY => out.push_str("Infinity"),
        f64::NEG_INFINITY => out.push_str("-Infinity"),
        number => out.push_str(&serde_json::to_string(&number).unwrap_or_default()),
    }
}

/// A string, quoted, [`marked`] where it is not UTF-8.
pub(super) fn put_text(text: &[u8], out: &mut String) {
    out.push('"');
    for chunk in text.utf8_chunks() {
        let quoted = serde_json::to_string(chunk.valid()).unwrap_or_default();
        let inner = quoted
            .strip_prefix('"')
            .and_then(|quoted| quoted.strip_suffix('"'));
        out.push_str(inner.unwrap_or_default());
        out.push_str(&marked(chunk.invalid()));
    }
    out.push('"');
}

/// Text in which bytes that are not UTF-8 stand as `\xff`. No JSON has that, so that the value cannot
/// pass for what it was.
pub(super) fn marked(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}
