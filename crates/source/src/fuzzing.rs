//! What every file is held to, whatever its bytes are. The fuzz targets (`fuzz/`) and the seeded mutations of the
//! tests ask the same of the readers; nobody else sees it.

use crate::reader::Records;
use crate::{Input, Plan, PlanSettings, Row, SourceError, Split};

/// The namespace and the id of a row, if it has an id.
type Key = Option<(Option<String>, String)>;

/// Plans inputs and reads all rows of them, and all keys alone; gives how many rows there are.
///
/// # Errors
///
/// An input is refused.
///
/// # Panics
///
/// The rows are not as many as was said, a row has not the key of its record, or the keys alone are not those of the
/// rows.
pub fn read_whole(
    inputs: Vec<Input>,
    settings: &PlanSettings,
    mut each: impl FnMut(Row<'_>),
) -> Result<u64, SourceError> {
    let plan = Plan::new(inputs, settings)?;
    let mut count = 0;
    for split in &plan.splits {
        let mut reader = plan.open(split)?;
        let mut keys = Vec::new();
        while let Some(records) = reader.next()? {
            for index in 0..records.len() {
                keys.push(checked_key(records, index));
                each(records.row(index));
            }
        }
        assert_eq!(keys_alone(&plan, split)?, keys);
        assert!(plan.key_bytes(split) <= split.bytes);
        let rows = keys.len() as u64;
        assert!(split.rows.is_none_or(|stated| stated == rows));
        count += rows;
    }
    assert!(plan.rows().is_none_or(|stated| stated == count));
    Ok(count)
}

/// The keys of a split, read without the rest.
fn keys_alone(plan: &Plan, split: &Split) -> Result<Vec<Key>, SourceError> {
    let mut reader = plan.open_keys(split)?;
    let mut found = Vec::new();
    while let Some(mut keys) = reader.next()? {
        for index in 0..keys.len() {
            let key = keys.get(index);
            found.push(key.map(|key| (key.namespace.map(str::to_owned), key.id.to_owned())));
        }
    }
    Ok(found)
}

/// The key of a row, owned. It must be that of the record, where the row is one.
pub(crate) fn checked_key(records: &mut Records, index: usize) -> Key {
    let owned = |namespace: Option<&str>, id: &str| (namespace.map(str::to_owned), id.to_owned());
    let key = records.key(index).map(|key| owned(key.namespace, key.id));
    if let Ok(record) = records.row(index).content {
        let of_record = (!record.id.is_empty()).then(|| owned(record.namespace, record.id));
        assert_eq!(key, of_record);
    }
    key
}
