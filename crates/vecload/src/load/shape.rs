//! Whether the inputs have what the index takes, as their first rows show.
//!
//! One bad row in front says nothing about a corpus, so a load is refused only where many rows agree
//! that it is the wrong one; and an index without a dimension gets that of a row that it would take.

use vecload_pinecone::{IndexShape, Metric, NewKind, Scratch, VectorType};
use vecload_record::{Reason, RecordRef};
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
    if let (Some(wanted), Some(found)) = (settings.metric.map(Metric::from), shape.metric)
        && wanted != found
    {
        return Err(LoadError::refused(format!(
            "the index {target} has the metric {} and --metric asks for {}; choose another index, or leave --metric out",
            found.name(),
            wanted.name()
        )));
    }
    if shape.dimension.is_none() && shape.vector_type != Some(VectorType::Sparse) {
        shape.dimension = good(plan, settings, 1)?.and_then(|good| good.dimension);
        return Ok(shape);
    }
    match disagreement(plan, settings, shape)? {
        None => Ok(shape),
        Some(Disagreement { rows, what }) => Err(LoadError::refused(match (what, shape) {
            (
                What::Dimension(found),
                IndexShape {
                    dimension: Some(dimension),
                    ..
                },
            ) => format!(
                "the vectors have {found} dimensions and the index {target} has {dimension} \
                 (none of the first {rows} fits); choose another index or another vector column"
            ),
            (What::Dimension(_), _) => format!("the vectors are too long for the index {target}"),
            (What::Kind(message), _) => format!(
                "the records do not fit the index {target}: {message} (none of the first {rows} fits); \
                 choose another index or another vector column"
            ),
        })),
    }
}

/// The kind of index that takes what the inputs hold, as their first rows show that would be loaded.
pub(super) fn kind_of(plan: &Plan, settings: &Settings) -> Result<NewKind, LoadError> {
    let Some(good) = good(plan, settings, DISAGREEING)? else {
        return Err(LoadError::refused(
            "no index can be made: none of the first records could be loaded, so its dimension is not known; \
             `vecload check` says why",
        ));
    };
    let wanted = settings.metric.map(Metric::from);
    let alone = |what: &str, wanted: Metric| {
        Err(LoadError::refused(format!(
            "{what}, and an index takes them with the metric dotproduct only; --metric asks for {}",
            wanted.name()
        )))
    };
    match (good.dimension, good.has_sparse, wanted) {
        (None, _, Some(wanted @ (Metric::Cosine | Metric::Euclidean))) => {
            alone("the records have sparse vectors alone", wanted)
        }
        (None, ..) => Ok(NewKind::Sparse),
        (Some(_), true, Some(wanted @ (Metric::Cosine | Metric::Euclidean))) => alone(
            "the records have sparse values beside dense vectors",
            wanted,
        ),
        (Some(dimension), has_sparse, wanted) => Ok(NewKind::Dense {
            dimension,
            metric: wanted.unwrap_or(match has_sparse {
                true => Metric::DotProduct,
                // What embedding models are most often made for, and what the service's guides begin with.
                false => Metric::Cosine,
            }),
        }),
    }
}

/// Rows that keep all rules.
struct Good {
    /// The dimension of the first one; none where that is sparse.
    dimension: Option<u32>,
    /// Whether any has a sparse vector.
    has_sparse: bool,
}

/// The first rows that keep all rules, so many at the most.
fn good(plan: &Plan, settings: &Settings, rows: usize) -> Result<Option<Good>, SourceError> {
    let rules = rules(IndexShape::default(), settings);
    let (mut scratch, mut out) = (Scratch::new(rules.policy), Vec::new());
    let (mut found, mut left) = (None::<Good>, rows);
    look(plan, |record| {
        let namespace = record.namespace.unwrap_or(&settings.namespace);
        let judged = rules.judge(record, namespace, &mut scratch, &mut out);
        if judged.is_ok() {
            let good = found.get_or_insert_with(|| Good {
                dimension: dense(record).map(|values| values as u32),
                has_sparse: false,
            });
            good.has_sparse |= record.sparse.is_some();
            left -= 1;
        }
        left > 0
    })?;
    Ok(found)
}

/// Records of which none has the vectors that the index takes.
struct Disagreement {
    /// How many.
    rows: usize,
    /// In what the first one differs.
    what: What,
}

/// In what a record differs from what the index takes.
enum What {
    /// It has so many values.
    Dimension(usize),
    /// Its vectors are of another kind, in words.
    Kind(String),
}

/// Looks for a record whose vectors are such as the index takes.
fn disagreement(
    plan: &Plan,
    settings: &Settings,
    shape: IndexShape,
) -> Result<Option<Disagreement>, SourceError> {
    let rules = rules(shape, settings);
    let (mut scratch, mut out) = (Scratch::new(rules.policy), Vec::new());
    let mut others: Option<Disagreement> = None;
    let mut agrees = false;
    look(plan, |record| {
        // What else is wrong with a record says nothing about the index.
        if dense(record).is_none() && record.sparse.is_none() {
            return true;
        }
        let namespace = record.namespace.unwrap_or(&settings.namespace);
        let what = match rules.judge(record, namespace, &mut scratch, &mut out) {
            Ok(_) => {
                agrees = true;
                return false;
            }
            Err(reject) => match reject.reason {
                Reason::WrongDimension => What::Dimension(dense(record).unwrap_or_default()),
                Reason::MissingVector | Reason::UnsupportedVector => What::Kind(reject.message),
                _ => return true,
            },
        };
        let others = others.get_or_insert(Disagreement { rows: 0, what });
        others.rows += 1;
        others.rows < DISAGREEING
    })?;
    Ok(others.filter(|_| !agrees))
}

fn rules(shape: IndexShape, settings: &Settings) -> Rules {
    Rules {
        shape,
        limits: limits(settings),
        policy: policy(settings),
        duplicates: settings.duplicates,
    }
}

/// The number of values of a dense vector, where there is one.
fn dense(record: &RecordRef<'_>) -> Option<usize> {
    let values = record.dense.map(|dense| dense.len());
    values.filter(|values| *values > 0)
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
