//! Whether the inputs have what the index takes, as their first rows show.

use vecload_pinecone::IndexShape;
use vecload_source::{Plan, SourceError};

use super::LoadError;

/// What the first rows of the inputs show.
pub(super) enum FirstRows {
    /// There is no row at all.
    None,
    /// There are rows; the dimension of the first one that has a dense vector, if any of them has.
    Some(Option<u32>),
}

/// Looks at the first block of rows that there is.
pub(super) fn first_rows(plan: &Plan) -> Result<FirstRows, SourceError> {
    for split in &plan.splits {
        let mut reader = plan.peek(split)?;
        let Some(records) = reader.next()? else {
            continue;
        };
        let dimension = (0..records.len()).find_map(|index| {
            let dense = records.row(index).content.ok()?.dense?;
            Some(dense.len() as u32)
        });
        return Ok(FirstRows::Some(dimension));
    }
    Ok(FirstRows::None)
}

/// Checks the first vector against the index, and gives an index that has no dimension yet the one
/// of the first vector, as its first write will.
pub(super) fn fit(
    mut shape: IndexShape,
    found: Option<u32>,
    target: &str,
) -> Result<IndexShape, LoadError> {
    match (shape.dimension, found) {
        (Some(index), Some(found)) if index != found => Err(LoadError::refused(format!(
            "the vectors have {found} dimensions and the index {target} has {index}; \
             choose another index or another vector column"
        ))),
        (None, Some(found)) => {
            shape.dimension = Some(found);
            Ok(shape)
        }
        _ => Ok(shape),
    }
}
