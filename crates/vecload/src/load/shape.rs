//! Whether the inputs have what the index takes, as their first rows show.
//!
//! One bad row in front says nothing about a corpus, so a load is refused only where many rows agree
//! that it is the wrong one; and an index without a dimension gets that of a row that it would take.

use vecload_pinecone::{IndexShape, Scratch, VectorType};
use vecload_record::RecordRef;
use vecload_source::{Plan, SourceError};

use super::{LoadError, limits, policy};
use crate::check::Rules;
use crate::settings::Settings;

/// How many rows with a vector must all disagree with the index for the load to be refused.
const DISAGREEING: usize = 100;
/// How many rows are looked at, whatever is in them: ten times the rejects at which a load stops
/// unless told otherwise.
const LOOKED_AT: usize = 10_000;

/// Whether the inputs have any row.
pub(super) fn has_rows(plan: &Plan) -> Result<bool, SourceError> {
    for split in &plan.splits {
        if plan.peek(split)?.next()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks the first vectors against the index, and gives an index that has no dimension yet the one
/// of the first row that it would take, as its first write will.
pub(super) fn fit(
    mut shape: IndexShape,
    plan: &Plan,
    settings: &Settings,
    target: &str,
) -> Result<IndexShape, LoadError> {
    if shape.vector_type == Some(VectorType::Sparse) {
        return Ok(shape);
    }
    let Some(dimension) = shape.dimension else {
        shape.dimension = first_dimension(plan, settings)?;
        return Ok(shape);
    };
    match disagreement(plan, dimension)? {
        None => Ok(shape),
        Some(Disagreement { rows, found }) => Err(LoadError::refused(format!(
            "the vectors have {found} dimensions and the index {target} has {dimension} \
             (none of the first {rows} fits); choose another index or another vector column"
        ))),
    }
}

/// The dimension of the first row that keeps all rules; none where that row is sparse.
fn first_dimension(plan: &Plan, settings: &Settings) -> Result<Option<u32>, SourceError> {
    let rules = Rules {
        shape: IndexShape::default(),
        limits: limits(settings),
        policy: policy(settings),
        duplicates: settings.duplicates,
    };
    let (mut scratch, mut out) = (Scratch::new(rules.policy), Vec::new());
    let mut found = None;
    look(plan, |record| {
        let namespace = record.namespace.unwrap_or(&settings.namespace);
        let judged = rules.judge(record, namespace, &mut scratch, &mut out);
        if judged.is_ok() {
            found = record.dense.map(|dense| dense.len() as u32);
        }
        judged.is_err()
    })?;
    Ok(found)
}

/// Vectors of which none has the index's dimension.
struct Disagreement {
    /// How many.
    rows: usize,
    /// The dimension of the first one.
    found: usize,
}

/// Looks for a vector that has the dimension of the index.
fn disagreement(plan: &Plan, dimension: u32) -> Result<Option<Disagreement>, SourceError> {
    let mut others: Option<Disagreement> = None;
    let mut agrees = false;
    look(plan, |record| {
        let Some(dense) = record.dense.filter(|dense| !dense.is_empty()) else {
            return true;
        };
        agrees = dense.len() == dimension as usize;
        let others = others.get_or_insert(Disagreement {
            rows: 0,
            found: dense.len(),
        });
        others.rows += 1;
        !agrees && others.rows < DISAGREEING
    })?;
    Ok(others.filter(|_| !agrees))
}

/// Shows the first records, in the order of the plan, for as long as `more` is wanted.
fn look(plan: &Plan, mut more: impl FnMut(&RecordRef<'_>) -> bool) -> Result<(), SourceError> {
    let mut left = LOOKED_AT;
    for split in &plan.splits {
        let mut reader = plan.peek(split)?;
        while let Some(records) = reader.next()? {
            for index in 0..records.len().min(left) {
                if let Ok(record) = records.row(index).content
                    && !more(&record)
                {
                    return Ok(());
                }
            }
            left = left.saturating_sub(records.len());
            if left == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}
