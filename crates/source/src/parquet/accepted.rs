//! Which types of columns can be which part of a record, and what they are called.

use arrow_schema::DataType;

/// Text, integers, or a UUID: what can be an id or a namespace.
pub(super) fn is_name(found: &DataType) -> bool {
    is_text(found) || found.is_integer() || *found == DataType::FixedSizeBinary(16)
}

pub(super) fn is_text(found: &DataType) -> bool {
    matches!(found, DataType::Utf8 | DataType::Binary)
}

/// A list of floats, or bytes that are packed ones.
pub(super) fn is_vector(found: &DataType) -> bool {
    match found {
        DataType::Binary => true,
        DataType::FixedSizeBinary(bytes) => bytes % 4 == 0,
        found => is_floats(found),
    }
}

pub(super) fn is_floats(found: &DataType) -> bool {
    matches!(found, DataType::List(item) if item.data_type().is_floating())
}

pub(super) fn is_integers(found: &DataType) -> bool {
    matches!(found, DataType::List(item) if item.data_type().is_integer())
}

/// A struct of `indices` and `values`.
pub(super) fn is_sparse(found: &DataType) -> bool {
    let DataType::Struct(fields) = found else {
        return false;
    };
    let part = |name: &str| fields.find(name).map(|(_, field)| field.data_type());
    part("indices").is_some_and(is_integers) && part("values").is_some_and(is_floats)
}

/// What can be metadata as a whole.
pub(super) fn is_metadata(found: &DataType) -> bool {
    match found {
        // A column of nothing but nulls has no type.
        DataType::Utf8 | DataType::Binary | DataType::Null => true,
        DataType::Struct(fields) => fields.iter().all(|field| is_value(field.data_type())),
        found => is_map(found),
    }
}

/// A map from text to what metadata can hold.
fn is_map(found: &DataType) -> bool {
    match found {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) => {
                entry.len() == 2 && is_text(entry[0].data_type()) && is_value(entry[1].data_type())
            }
            _ => false,
        },
        _ => false,
    }
}

/// What can be the value of a metadata field, nested or not.
pub(super) fn is_value(found: &DataType) -> bool {
    match found {
        DataType::List(item) => is_value(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_value(field.data_type())),
        found => is_scalar(found) || is_map(found),
    }
}

/// What services filter by: text, numbers, booleans, lists of text.
pub(super) fn is_plain_value(found: &DataType) -> bool {
    match found {
        DataType::List(item) => is_text(item.data_type()),
        found => is_scalar(found),
    }
}

fn is_scalar(found: &DataType) -> bool {
    is_name(found)
        || found.is_floating()
        || matches!(
            found,
            DataType::Null
                | DataType::Boolean
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
                | DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Time32(_)
                | DataType::Time64(_)
        )
}

/// The name of a type, as people write it.
pub(super) fn shown(found: &DataType) -> String {
    match found {
        DataType::Utf8 => "text".to_owned(),
        DataType::Binary => "bytes".to_owned(),
        DataType::FixedSizeBinary(bytes) => format!("bytes[{bytes}]"),
        DataType::List(item) => format!("list<{}>", shown(item.data_type())),
        DataType::Struct(_) => "struct".to_owned(),
        DataType::Map(..) => "map".to_owned(),
        DataType::Float16 => "float16".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        found => found.to_string().to_lowercase(),
    }
}
