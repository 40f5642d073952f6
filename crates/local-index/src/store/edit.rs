//! Changing and removing stored records, inside a transaction of the writer.

use prost_types::Struct;
use redb::ReadableTable as _;
use vecload_proto::{SparseValues, Vector};

use super::{Namespace, Row, Shape, StoreError, Visit, record, scan};
use crate::filter::Filter;
use crate::rules::{self, Refusal};
use crate::search::Metric;

/// The table of records, open for writing.
pub(super) type Records<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

/// Which records a change is about.
pub(crate) enum Target {
    Ids(Vec<String>),
    Matching(Filter),
    All,
}

/// What an update changes in a record.
pub(crate) struct Patch {
    pub(crate) values: Option<Vec<f32>>,
    pub(crate) sparse_values: Option<SparseValues>,
    pub(crate) set_metadata: Struct,
    pub(crate) metric: Metric,
    /// Only count the records that would be changed.
    pub(crate) dry_run: bool,
}

/// What a record counts in the size of its namespace.
pub(super) fn size(id: usize, value: usize) -> u64 {
    (id + value) as u64
}

pub(super) fn remove(
    records: &mut Records<'_>,
    row: &mut Namespace,
    target: &Target,
) -> Result<u64, StoreError> {
    let before = row.count;
    match target {
        Target::Ids(ids) => {
            for id in ids {
                let key = record::key(row.number, id.as_bytes());
                if let Some(old) = records.remove(key.as_slice())? {
                    row.count -= 1;
                    row.bytes -= size(id.len(), old.value().len());
                }
            }
        }
        Target::All => {
            let keys = record::keys(row.number);
            records
                .retain_in::<&[u8], _>(keys.start.as_slice()..keys.end.as_slice(), |_, _| false)?;
            (row.count, row.bytes) = (0, 0);
        }
        Target::Matching(filter) => {
            let ids = matching(records, row.number, filter)?;
            remove(records, row, &Target::Ids(ids))?;
        }
    }
    Ok(before - row.count)
}

/// Changes records in place; the inner error refuses the whole update.
pub(super) fn update(
    records: &mut Records<'_>,
    row: &mut Namespace,
    target: &Target,
    patch: &Patch,
) -> Result<Result<u64, Refusal>, StoreError> {
    let matched;
    let ids = match target {
        Target::Ids(ids) => ids,
        Target::Matching(filter) => {
            matched = matching(records, row.number, filter)?;
            &matched
        }
        Target::All => return Ok(Err(Refusal::invalid("Update needs an id or a filter"))),
    };
    if patch.dry_run {
        return Ok(Ok(ids.len() as u64));
    }
    // Two passes: only when every changed record keeps the rules is any of them written.
    let mut changed = Vec::with_capacity(ids.len());
    for id in ids {
        let key = record::key(row.number, id.as_bytes());
        let Some(old) = records.get(key.as_slice())? else {
            continue;
        };
        let mut vector = Row::parse(old.value())
            .and_then(|row| row.vector(id.clone()).ok())
            .ok_or_else(|| StoreError::damaged(&key))?;
        let shape = match &vector.values {
            values if values.is_empty() => Shape::Sparse,
            values => Shape::Dense(values.len() as u32),
        };
        let old_bytes = size(id.len(), old.value().len());
        patch.apply(&mut vector);
        if let Err(refusal) = rules::check_vector(&vector, shape, patch.metric) {
            return Ok(Err(refusal));
        }
        let mut value = Vec::new();
        record::encode(&vector, &mut value);
        row.bytes = row.bytes - old_bytes + size(id.len(), value.len());
        changed.push((key, value));
    }
    for (key, value) in &changed {
        records.insert(key.as_slice(), value.as_slice())?;
    }
    Ok(Ok(changed.len() as u64))
}

impl Patch {
    fn apply(&self, vector: &mut Vector) {
        if let Some(values) = &self.values {
            vector.values.clone_from(values);
        }
        if let Some(sparse) = &self.sparse_values {
            vector.sparse_values = Some(sparse.clone());
        }
        if !self.set_metadata.fields.is_empty() {
            let metadata = vector.metadata.get_or_insert_default();
            metadata.fields.extend(self.set_metadata.fields.clone());
        }
    }
}

/// The ids of the records that match a filter.
fn matching(
    records: &Records<'_>,
    number: u32,
    filter: &Filter,
) -> Result<Vec<String>, StoreError> {
    let keys = record::keys(number);
    let fields = filter.fields();
    let mut ids = Vec::new();
    let range = records.range::<&[u8]>(keys.start.as_slice()..keys.end.as_slice())?;
    scan(range, |id, row| {
        if filter.matches(row.metadata_fields(&fields)?.as_ref()) {
            // Ids are checked to be ASCII before they are stored.
            ids.push(String::from_utf8_lossy(id).into_owned());
        }
        Ok(Visit::Continue)
    })?;
    Ok(ids)
}
