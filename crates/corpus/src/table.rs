//! Small tables of any columns, for tests of what a file may hold.

use std::sync::Arc;

use arrow_array::builder::{Float32Builder, Int64Builder, ListBuilder};
use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// Writes named columns, all of which may be null, as a Parquet file.
///
/// # Errors
///
/// If the columns differ in length, or have types that Parquet does not have.
pub fn parquet(
    columns: Vec<(&str, ArrayRef)>,
    properties: WriterProperties,
) -> Result<Vec<u8>, ParquetError> {
    let columns = columns.into_iter();
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

/// A column of texts.
#[must_use]
pub fn texts(rows: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(rows.to_vec()))
}

/// A column of lists of float32, any of which, and any of whose values, may be null.
pub fn lists<'a>(rows: impl IntoIterator<Item = Option<&'a [Option<f32>]>>) -> ArrayRef {
    let mut builder = ListBuilder::new(Float32Builder::new());
    for row in rows {
        if let Some(values) = row {
            builder.values().extend(values.iter().copied());
        }
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}

/// A column of sparse vectors, as structs of two lists, any of which may be null.
#[must_use]
pub fn sparse(rows: &[Option<(Vec<i64>, Vec<f32>)>]) -> ArrayRef {
    let mut indices = ListBuilder::new(Int64Builder::new());
    let mut values = ListBuilder::new(Float32Builder::new());
    for row in rows {
        let (i, v) = row.clone().unwrap_or_default();
        indices.values().append_slice(&i);
        values.values().append_slice(&v);
        indices.append(true);
        values.append(true);
    }
    let (indices, values) = (indices.finish(), values.finish());
    let fields = Fields::from(vec![
        Field::new("values", values.data_type().clone(), true),
        Field::new("indices", indices.data_type().clone(), true),
    ]);
    let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    Arc::new(StructArray::new(
        fields,
        vec![Arc::new(values), Arc::new(indices)],
        Some(nulls),
    ))
}
