//! The rules of a record that need no look at its numbers, and what they depend on.
//!
//! They are the service's own, checked before a record is sent, because a request with one bad record
//! is refused as a whole and the answer names at most one of them. What is unknown about the index or
//! undocumented (duplicate indices of a sparse vector, zeros in it) is left to the service.

use vecload_record::{Dense, Reason, RecordRef, Reject, Sparse};

use crate::limits::Limits;

/// What the index takes; `None` is unknown, and its rule is left to the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Checks everything but numbers and metadata.
pub(crate) fn check(record: &RecordRef<'_>, shape: &IndexShape) -> Result<(), Reject> {
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
        check_sparse(sparse, shape)?;
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

fn check_sparse(sparse: Sparse<'_>, shape: &IndexShape) -> Result<(), Reject> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use vecload_record::{Metadata, Operation};

    use super::*;

    const DENSE: Dense<'_> = Dense::Floats(&[1.0, 2.0]);
    const SPARSE: Sparse<'_> = Sparse {
        indices: &[4, 2],
        values: &[0.5, 1.5],
    };

    fn record<'a>(
        id: &'a str,
        dense: Option<Dense<'a>>,
        sparse: Option<Sparse<'a>>,
    ) -> RecordRef<'a> {
        RecordRef {
            operation: Operation::Upsert,
            namespace: None,
            id,
            dense,
            sparse,
            metadata: Metadata::Absent,
        }
    }

    fn shape(dimension: u32, vector_type: VectorType, metric: Metric) -> IndexShape {
        IndexShape {
            dimension: (dimension > 0).then_some(dimension),
            vector_type: Some(vector_type),
            metric: Some(metric),
        }
    }

    fn reason(record: &RecordRef<'_>, shape: &IndexShape) -> Option<(Reason, String)> {
        check(record, shape)
            .err()
            .map(|reject| (reject.reason, reject.field))
    }

    /// Scenario: ids at and beyond each limit.
    /// Guarantees: 1 to 512 ASCII characters without NUL pass; what does not is named by its reason.
    #[test]
    fn ids() {
        let unknown = IndexShape::default();
        let longest = "i".repeat(512);
        for id in ["a", " ", "\u{1}", "\u{7f}", "it's \"it\"", longest.as_str()] {
            assert_eq!(
                reason(&record(id, Some(DENSE), None), &unknown),
                None,
                "{id:?}"
            );
        }
        let too_long = "i".repeat(513);
        for (id, expected) in [
            ("", Reason::MissingId),
            ("caf\u{e9}", Reason::InvalidId),
            ("a\0b", Reason::InvalidId),
            (too_long.as_str(), Reason::InvalidId),
        ] {
            assert_eq!(
                reason(&record(id, Some(DENSE), None), &unknown),
                Some((expected, "id".to_owned())),
                "{id:?}"
            );
        }
    }

    /// Scenario: an id with a character that is not ASCII.
    /// Guarantees: the message shows the character and where it stands.
    #[test]
    fn the_character_at_fault_is_named() {
        let reject = check(
            &record("caf\u{e9}", Some(DENSE), None),
            &IndexShape::default(),
        )
        .unwrap_err();
        assert!(reject.message.contains("`\u{e9}` at byte 3"), "{reject}");
    }

    /// Scenario: namespaces at and beyond each limit.
    /// Guarantees: the default namespace and up to 512 ASCII characters pass, others do not.
    #[test]
    fn namespaces() {
        let longest = "n".repeat(512);
        for name in ["", "__default__", "a b", longest.as_str()] {
            assert_eq!(check_namespace(name), Ok(()));
        }
        let too_long = "n".repeat(513);
        for name in ["\u{fc}", "a\0", too_long.as_str()] {
            let reject = check_namespace(name).unwrap_err();
            assert_eq!(
                (reject.reason, reject.field.as_str()),
                (Reason::InvalidNamespace, "namespace")
            );
        }
    }

    /// Scenario: each kind of record against each kind of index.
    /// Guarantees: a record passes where the service takes it, and is rejected by the right reason where not.
    #[test]
    fn vectors_against_the_shape_of_the_index() {
        use Reason::{MissingVector, UnsupportedVector, WrongDimension};
        let unknown = IndexShape::default();
        let only_dimension = IndexShape {
            dimension: Some(2),
            ..IndexShape::default()
        };
        let dense = shape(2, VectorType::Dense, Metric::DotProduct);
        let cosine = shape(2, VectorType::Dense, Metric::Cosine);
        let other = shape(3, VectorType::Dense, Metric::Euclidean);
        let sparse = shape(0, VectorType::Sparse, Metric::DotProduct);
        let (none, both) = ((None, None), (Some(DENSE), Some(SPARSE)));
        let (d, s) = ((Some(DENSE), None), (None, Some(SPARSE)));
        let empty = (Some(Dense::Floats(&[])), Some(SPARSE));
        for (number, (vectors, shape, expected)) in [
            (none, &unknown, Some((MissingVector, "values"))),
            (d, &unknown, None),
            (s, &unknown, None),
            (both, &unknown, None),
            (s, &only_dimension, Some((MissingVector, "values"))),
            (d, &dense, None),
            (both, &dense, None),
            (s, &dense, Some((MissingVector, "values"))),
            (empty, &dense, Some((MissingVector, "values"))),
            (d, &other, Some((WrongDimension, "values"))),
            (both, &cosine, Some((UnsupportedVector, "sparse_values"))),
            (d, &sparse, Some((UnsupportedVector, "values"))),
            (both, &sparse, Some((UnsupportedVector, "values"))),
            (s, &sparse, None),
            (empty, &sparse, None),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(
                reason(&record("a", vectors.0, vectors.1), shape),
                expected.map(|(reason, field)| (reason, field.to_owned())),
                "row {number}"
            );
        }
    }

    /// Scenario: dense and sparse vectors at and beyond their longest.
    /// Guarantees: the limits hold for an index of unknown shape too.
    #[test]
    fn the_longest_vectors() {
        let unknown = IndexShape::default();
        let floats = vec![1.0; 20_001];
        let dense = |len| record("a", Some(Dense::Floats(&floats[..len])), None);
        assert_eq!(reason(&dense(20_000), &unknown), None);
        assert_eq!(
            reason(&dense(20_001), &unknown),
            Some((Reason::WrongDimension, "values".to_owned()))
        );
        let indices: Vec<u32> = (0..2049).collect();
        let sparse = |indices_len: usize, values_len: usize| {
            record(
                "a",
                None,
                Some(Sparse {
                    indices: &indices[..indices_len],
                    values: &floats[..values_len],
                }),
            )
        };
        assert_eq!(reason(&sparse(2048, 2048), &unknown), None);
        for (indices_len, values_len) in [(0, 0), (2049, 2049), (2, 1), (1, 2), (0, 1)] {
            assert_eq!(
                reason(&sparse(indices_len, values_len), &unknown),
                Some((Reason::InvalidSparse, "sparse_values".to_owned()))
            );
        }
    }
}
