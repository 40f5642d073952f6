//! The rules of a record that need no look at its numbers, and what they depend on.
//!
//! They are the service's own, checked before a record is sent, because a request with one bad record
//! is refused as a whole and the answer names at most one of them. What is unknown about the index or
//! undocumented (zeros in a sparse vector) is left to the service, but for duplicate indices: whether
//! they would be added up, or which would win, no document says, and a record must mean one thing.

use vecload_record::{Dense, Reason, RecordRef, Reject, Sparse};

use crate::limits::Limits;

/// What the index takes; `None` is unknown, and its rule is left to the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexShape {
    /// The number of values of a dense vector.
    pub dimension: Option<u32>,
    /// The kind of vector that every record must have.
    pub vector_type: Option<VectorType>,
    /// The measure of distance, which decides whether a dense index takes sparse values too.
    pub metric: Option<Metric>,
}

/// The kind of vector that an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorType {
    /// Every record has a dense vector.
    Dense,
    /// Every record has a sparse vector and no dense one.
    Sparse,
}

/// The measure of distance of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The angle.
    Cosine,
    /// The straight distance.
    Euclidean,
    /// The dot product: the only one that adds sparse values to dense ones.
    DotProduct,
}

// === impl VectorType ===

impl VectorType {
    /// Reads the service's word for it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "dense" => Some(Self::Dense),
            "sparse" => Some(Self::Sparse),
            _ => None,
        }
    }

    /// The service's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

// === impl Metric ===

impl Metric {
    /// Reads the service's word for it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cosine" => Some(Self::Cosine),
            "euclidean" => Some(Self::Euclidean),
            "dotproduct" => Some(Self::DotProduct),
            _ => None,
        }
    }

    /// The service's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
            Self::DotProduct => "dotproduct",
        }
    }
}

/// Checks the name of a namespace. The empty one is the default namespace.
///
/// # Errors
///
/// [`Reason::InvalidNamespace`] where the service would refuse it.
pub fn check_namespace(name: &str) -> Result<(), Reject> {
    match name_defect(name, Limits::NAMESPACE_CHARS) {
        None => Ok(()),
        Some(defect) => Err(Reject::new(Reason::InvalidNamespace, "namespace", defect)),
    }
}

/// Checks everything but numbers and metadata. `sorted` is used to sort the indices of a sparse vector.
pub(crate) fn check(
    record: &RecordRef<'_>,
    shape: &IndexShape,
    sorted: &mut Vec<u32>,
) -> Result<(), Reject> {
    check_id(record.id)?;
    // The wire cannot tell an empty dense vector from none.
    let dense = record.dense.filter(|values| !values.is_empty());
    match (dense, record.sparse) {
        (None, None) => {
            return Err(Reject::new(
                Reason::MissingVector,
                "values",
                "there is neither a dense nor a sparse vector",
            ));
        }
        (None, Some(_)) if takes_dense(shape) => {
            return Err(Reject::new(
                Reason::MissingVector,
                "values",
                "there is only a sparse vector, and every record of a dense index must have a dense one",
            ));
        }
        _ => {}
    }
    if let Some(values) = dense {
        check_dense(values, shape)?;
    }
    if let Some(sparse) = record.sparse {
        check_sparse(sparse, shape, sorted)?;
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), Reject> {
    if id.is_empty() {
        return Err(Reject::new(Reason::MissingId, "id", "the id is empty"));
    }
    match name_defect(id, Limits::ID_CHARS) {
        None => Ok(()),
        Some(defect) => Err(Reject::new(Reason::InvalidId, "id", defect)),
    }
}

/// What is wrong with an id or a namespace: both are ASCII without NUL.
fn name_defect(name: &str, most: usize) -> Option<String> {
    if !name.is_ascii() {
        let found = name.chars().find(|char| !char.is_ascii())?;
        let offset = name.find(found)?;
        return Some(format!(
            "`{found}` at byte {offset} is not ASCII, which is all that the service takes"
        ));
    }
    if name.len() > most {
        return Some(format!(
            "it has {} characters, {most} are the most",
            name.len()
        ));
    }
    name.bytes()
        .position(|byte| byte == 0)
        .map(|offset| format!("the character at {offset} is NUL"))
}

fn takes_dense(shape: &IndexShape) -> bool {
    shape.vector_type == Some(VectorType::Dense)
        || (shape.vector_type.is_none() && shape.dimension.is_some())
}

fn check_dense(values: Dense<'_>, shape: &IndexShape) -> Result<(), Reject> {
    if shape.vector_type == Some(VectorType::Sparse) {
        return Err(Reject::new(
            Reason::UnsupportedVector,
            "values",
            "there is a dense vector, and the index is sparse",
        ));
    }
    let found = values.len();
    match shape.dimension {
        Some(dimension) if found != dimension as usize => Err(Reject::new(
            Reason::WrongDimension,
            "values",
            format!("the vector has {found} values, the index takes {dimension}"),
        )),
        _ if found > Limits::DIMENSION => Err(Reject::new(
            Reason::WrongDimension,
            "values",
            format!(
                "the vector has {found} values, {} are the most",
                Limits::DIMENSION
            ),
        )),
        _ => Ok(()),
    }
}

fn check_sparse(
    sparse: Sparse<'_>,
    shape: &IndexShape,
    sorted: &mut Vec<u32>,
) -> Result<(), Reject> {
    let reject = |message: String| Reject::new(Reason::InvalidSparse, "sparse_values", message);
    let (indices, values) = (sparse.indices.len(), sparse.values.len());
    if let (true, Some(metric @ (Metric::Cosine | Metric::Euclidean))) =
        (takes_dense(shape), shape.metric)
    {
        return Err(Reject::new(
            Reason::UnsupportedVector,
            "sparse_values",
            format!(
                "there are sparse values, and a dense index takes them with the metric dotproduct only, not {}",
                metric.name()
            ),
        ));
    }
    if indices != values {
        return Err(reject(format!("{indices} indices but {values} values")));
    }
    if values == 0 {
        return Err(reject(
            "the sparse vector is empty; leave it out where there is none".to_owned(),
        ));
    }
    if values > Limits::SPARSE_VALUES {
        return Err(reject(format!(
            "the sparse vector has {values} values, {} are the most",
            Limits::SPARSE_VALUES
        )));
    }
    match duplicate(sparse.indices, sorted) {
        None => Ok(()),
        Some(index) => Err(reject(format!(
            "the index {index} stands there twice; add its values up, or leave one of them out"
        ))),
    }
}

/// An index that stands there twice.
fn duplicate(indices: &[u32], sorted: &mut Vec<u32>) -> Option<u32> {
    // As most writers have them, and then none is there twice.
    if indices.is_sorted_by(|one, next| one < next) {
        return None;
    }
    sorted.clear();
    sorted.extend_from_slice(indices);
    sorted.sort_unstable();
    let twice = sorted.array_windows().find(|[one, next]| one == next)?;
    Some(twice[0])
}

#[cfg(test)]
mod tests;
