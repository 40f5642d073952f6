//! A batch of decoded rows: it lends records, and shows a bad row as JSON.

use std::borrow::Cow;

use bumpalo::Bump;
use vecload_record::{At, Operation, Reason, RecordRef, Reject, Sparse};

use super::columns::{Decoded, Flaw};
use crate::{
    BadRow, Row,
    changes::{Changes, NOT_READ, ROUNDED},
};

/// A batch of rows; empty before the first is read.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    decoded: Option<Decoded>,
    /// The number of the first row, in the split and in the file.
    first: u64,
    first_locator: u64,
    scratch: Scratch,
    /// Holds the fields of the row that is lent.
    arena: Bump,
    pub(crate) changes: Changes,
    not_read: Vec<String>,
}

/// What values are converted into that cannot be lent as they are.
#[derive(Debug, Default)]
struct Scratch {
    id: String,
    namespace: String,
    metadata: String,
    values: Vec<f32>,
    indices: Vec<u32>,
    weights: Vec<f32>,
}

// === impl Batch ===

impl Batch {
    /// No rows yet, of a file of which these columns are not read.
    pub(super) fn new(not_read: &[String]) -> Self {
        Self {
            not_read: not_read.to_vec(),
            ..Self::default()
        }
    }

    /// Counts the values that are passed over in so many rows.
    pub(crate) fn count_not_read(&mut self, rows: u64) {
        for column in &self.not_read {
            self.changes.add(column, NOT_READ, rows);
        }
    }

    pub(super) fn clear(&mut self) {
        self.decoded = None;
    }

    /// Takes the next rows; the first has these numbers in the split and in the file.
    pub(super) fn fill(&mut self, decoded: Decoded, first: u64, first_locator: u64) {
        self.decoded = Some(decoded);
        self.first = first;
        self.first_locator = first_locator;
    }

    pub(crate) fn len(&self) -> usize {
        self.decoded.as_ref().map_or(0, |decoded| decoded.rows)
    }

    /// The namespace and the id of a row, if it has an id that can be read.
    pub(crate) fn key(&mut self, index: usize) -> Option<(Option<&str>, &str)> {
        let decoded = self.decoded.as_ref()?;
        let id = decoded.id.get(index, &mut self.scratch.id).ok()??;
        let namespace = match &decoded.namespace {
            Some(names) => names.get(index, &mut self.scratch.namespace).ok()?,
            None => None,
        };
        Some((namespace, id))
    }

    pub(crate) fn row(&mut self, index: usize) -> Row<'_> {
        let decoded = match &self.decoded {
            Some(decoded) if index < decoded.rows => decoded,
            _ => panic!("there is no row {index} in a batch of {}", self.len()),
        };
        self.arena.reset();
        let content = record(
            decoded,
            index,
            &mut self.scratch,
            &self.arena,
            &mut self.changes,
        );
        Row {
            at: At {
                row: self.first + index as u64,
                locator: self.first_locator.saturating_add(index as u64),
            },
            content: content.map_err(|reject| BadRow {
                reject,
                raw: Cow::Owned(json(decoded, index).into_bytes()),
                namespace: None,
            }),
        }
    }
}

fn record<'a>(
    decoded: &'a Decoded,
    row: usize,
    scratch: &'a mut Scratch,
    arena: &'a Bump,
    changes: &mut Changes,
) -> Result<RecordRef<'a>, Reject> {
    let of = |field: &'static str| move |flaw: Flaw| Reject::new(flaw.reason, field, flaw.message);
    let id = decoded.id.get(row, &mut scratch.id).map_err(of("id"))?;
    let Some(id) = id else {
        return Err(Reject::new(Reason::MissingId, "id", "the id is null"));
    };
    let namespace = match &decoded.namespace {
        Some(names) => names
            .get(row, &mut scratch.namespace)
            .map_err(of("namespace"))?,
        None => None,
    };
    let values = match &decoded.values {
        Some(vectors) => vectors
            .get(row, &mut scratch.values)
            .map_err(of("values"))?,
        None => None,
    };
    let metadata = decoded
        .metadata
        .get(row, &mut scratch.metadata, arena, changes)
        .map_err(|(field, flaw)| Reject::new(flaw.reason, field, flaw.message))?;
    let sparse = match &decoded.sparse {
        Some(sparse) if sparse.has(row) => {
            let indices = sparse
                .indices
                .get(row, &mut scratch.indices)
                .map_err(of("sparse_values.indices"))?;
            let values = sparse
                .values
                .get(row, &mut scratch.weights)
                .map_err(of("sparse_values.values"))?;
            match (indices, values) {
                (Some(indices), Some((values, rounded))) => {
                    if rounded {
                        changes.add("sparse_values", ROUNDED, 1);
                    }
                    Some(Sparse { indices, values })
                }
                // Writers that cannot make a struct null make its parts so.
                (None, None) => None,
                _ => {
                    return Err(Reject::new(
                        Reason::InvalidSparse,
                        "sparse_values",
                        "a sparse vector has both indices and values, and one is null",
                    ));
                }
            }
        }
        _ => None,
    };
    if let Some((_, true)) = values {
        changes.add("values", ROUNDED, 1);
    }
    Ok(RecordRef {
        operation: Operation::Upsert,
        namespace,
        id,
        dense: values.map(|(dense, _)| dense),
        sparse,
        metadata,
    })
}

/// The row as a JSON object with the canonical keys, as far as it can be told.
fn json(decoded: &Decoded, row: usize) -> String {
    let quoted = |text: String| serde_json::Value::String(text).to_string();
    let sparse = decoded.sparse.as_ref().filter(|sparse| sparse.has(row));
    let sparse = sparse.map(|sparse| {
        let or_null = |json: Option<String>| json.unwrap_or_else(|| "null".to_owned());
        format!(
            r#"{{"indices":{},"values":{}}}"#,
            or_null(sparse.indices.json(row)),
            or_null(sparse.values.json(row))
        )
    });
    let values = decoded
        .values
        .as_ref()
        .and_then(|vectors| vectors.json(row));
    let namespace = decoded
        .namespace
        .as_ref()
        .and_then(|names| names.shown(row));
    let fields = [
        ("id", decoded.id.shown(row).map(quoted)),
        ("values", values),
        ("sparse_values", sparse),
        ("metadata", decoded.metadata.json(row)),
        ("namespace", namespace.map(quoted)),
    ];
    let fields: Vec<String> = fields
        .into_iter()
        .filter_map(|(key, json)| Some(format!("{key:?}:{}", json?)))
        .collect();
    format!("{{{}}}", fields.join(","))
}
