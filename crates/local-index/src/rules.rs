//! The service's limits and rules for what it is sent, with its own words and codes.
//!
//! Texts marked "own words" are not known verbatim: they say in the service's style what the rule
//! is. What is not known about a rule itself is decided here, with the reason beside it. Rules
//! that need only the message stand here; those that need the state of the index (which dimension,
//! which metric) take it as an argument, so that every rule can be tested alone.

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::{Code, Status};
use vecload_proto::{SparseValues, Vector};

use crate::search::Metric;
use crate::store::{Shape, StoreError};

/// "2 MB" of an encoded upsert. Whether the service means 2,000,000 or 2,097,152 is not known; the
/// documented batch sizes agree with the former, and the stricter server makes the safer client.
pub(crate) const MAX_REQUEST_BYTES: u64 = 2_000_000;
/// The decode limit of the service's gRPC layer, which is tonic's default.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
pub(crate) const MAX_UPSERT_RECORDS: usize = 1_000;
/// Of a fetch or a delete by ids.
pub(crate) const MAX_IDS: usize = 1_000;
pub(crate) const MAX_ID_CHARS: usize = 512;
pub(crate) const MAX_NAMESPACE_CHARS: usize = 512;
pub(crate) const MAX_DIMENSION: u32 = 20_000;
pub(crate) const MAX_SPARSE_VALUES: usize = 2_048;
/// Of one record, measured as its encoded `Struct`. How the service measures is not known.
pub(crate) const MAX_METADATA_BYTES: usize = 40_960;
pub(crate) const MAX_TOP_K: u32 = 10_000;
pub(crate) const MAX_RESULT_BYTES: usize = 4_000_000;
pub(crate) const MAX_LIST: u32 = 100;
pub(crate) const MAX_FETCH_BY_METADATA: u32 = 10_000;
/// "A vector whose values are all smaller than that is rejected as containing only zeros."
const SMALLEST_VALUE: f32 = 1e-8;

/// The name by which the default namespace is shown where the service shows names.
pub(crate) const DEFAULT_NAMESPACE: &str = "__default__";

/// What the service answers to a request that it does not carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::new(
            Code::Internal,
            format!("the local index's store failed: {error}"),
        )
    }
}

/// The name of a namespace as the service shows it.
pub(crate) fn shown(namespace: &str) -> &str {
    if namespace.is_empty() {
        DEFAULT_NAMESPACE
    } else {
        namespace
    }
}

/// `""` and `__default__` are one namespace; inside it is called `""`.
pub(crate) fn canonical(namespace: &str) -> &str {
    if namespace == DEFAULT_NAMESPACE {
        ""
    } else {
        namespace
    }
}

/// The text that the service's limit in bytes answers.
pub(crate) fn rate_text(index: &str) -> String {
    format!(
        "Request failed. You've reached the max upsert size limit per second for index {index}. \
         Pace your upserts or contact Pinecone Support \
         (https://app.pinecone.io/organizations/-/settings/support/ticket) to request a higher limit."
    )
}

/// The text that the service's limit in requests answers.
pub(crate) fn request_rate_text(namespace: &str, limit: f64) -> String {
    let namespace = shown(namespace);
    format!(
        "Request failed. You've reached the upsert QPS limit for namespace {namespace} ({limit} QPS). \
         Pace your upsert requests or contact Pinecone Support \
         (https://app.pinecone.io/organizations/-/settings/support/ticket) to request a higher limit."
    )
}

/// The service's refusal of writes to an alias: its reason, in own words.
pub(crate) fn alias_refusal(namespace: &str) -> Refusal {
    Refusal::invalid(format!(
        "Request failed. {} is a namespace alias and cannot be written to (WRITE_TO_ALIAS)",
        shown(namespace)
    ))
}

/// The text where an index has as many namespaces as it may have.
pub(crate) fn namespace_limit_refusal(index: &str) -> Refusal {
    Refusal::new(
        Code::PermissionDenied,
        format!(
            "Request failed. You've reached the max namespaces allowed in serverless index {index}. \
             To add more namespaces, upgrade your plan."
        ),
    )
}

/// Checks the length of an encoded upsert.
pub(crate) fn check_request_size(bytes: u64) -> Result<(), Refusal> {
    if bytes <= MAX_REQUEST_BYTES {
        return Ok(());
    }
    // The service says "3MB" of requests that are a little above 2 MB, so it rounds up.
    let megabytes = bytes.div_ceil(1_000_000);
    Err(Refusal::invalid(format!(
        "Request size {megabytes}MB exceeds the maximum supported size of 2MB"
    )))
}

pub(crate) fn check_record_count(count: usize) -> Result<(), Refusal> {
    match count {
        // REST says "Invalid request"; what gRPC says is not known. Own words.
        0 => Err(Refusal::invalid(
            "Invalid request: vectors must not be empty",
        )),
        // Own words.
        _ if count > MAX_UPSERT_RECORDS => Err(Refusal::invalid(format!(
            "Request contains {count} vectors, which exceeds the maximum of {MAX_UPSERT_RECORDS} vectors per upsert"
        ))),
        _ => Ok(()),
    }
}

/// Own words, after those for ids: the service's reasons are `NAMESPACE_TOO_LONG` and
/// `NAMESPACE_INVALID`, its texts are not known.
pub(crate) fn check_namespace(namespace: &str) -> Result<(), Refusal> {
    if !namespace.is_ascii() {
        return Err(Refusal::invalid(format!(
            "Namespace must be ASCII, but got '{namespace}'"
        )));
    }
    if namespace.contains('\0') {
        return Err(Refusal::invalid(
            "Namespace must not contain null character",
        ));
    }
    if namespace.len() > MAX_NAMESPACE_CHARS {
        return Err(Refusal::invalid(format!(
            "Namespace length is {}, which exceeds the limit of {MAX_NAMESPACE_CHARS} characters",
            namespace.len()
        )));
    }
    Ok(())
}

pub(crate) fn check_id(id: &str) -> Result<(), Refusal> {
    if id.is_empty() {
        // Own words.
        return Err(Refusal::invalid("Vector ID must not be empty"));
    }
    if !id.is_ascii() {
        return Err(Refusal::invalid(format!(
            "Vector ID must be ASCII, but got '{id}'"
        )));
    }
    if id.contains('\0') {
        return Err(Refusal::invalid(
            "Vector ID must not contain null character",
        ));
    }
    if id.len() > MAX_ID_CHARS {
        // Own words.
        return Err(Refusal::invalid(format!(
            "Vector ID length is {}, which exceeds the limit of {MAX_ID_CHARS} characters",
            id.len()
        )));
    }
    Ok(())
}

/// Ids of a fetch or a delete.
pub(crate) fn check_ids(ids: &[String]) -> Result<(), Refusal> {
    if ids.is_empty() {
        // Own words.
        return Err(Refusal::invalid("Invalid request: ids must not be empty"));
    }
    if ids.len() > MAX_IDS {
        // Own words.
        return Err(Refusal::invalid(format!(
            "Request contains {} ids, which exceeds the maximum of {MAX_IDS} ids per request",
            ids.len()
        )));
    }
    ids.iter().try_for_each(|id| check_id(id))
}

/// The kind of index that a record fits, which a new index takes from its first record.
pub(crate) fn shape_of(vector: &Vector) -> Result<Shape, Refusal> {
    if vector.values.is_empty() && vector.sparse_values.is_some() {
        return Ok(Shape::Sparse);
    }
    match u32::try_from(vector.values.len()) {
        Ok(dimension @ 1..=MAX_DIMENSION) => Ok(Shape::Dense(dimension)),
        // Own words: an index that was created has a dimension, so the service cannot meet this.
        _ => Err(Refusal::invalid(format!(
            "Vector dimension {} is not in the range of 1 to {MAX_DIMENSION}",
            vector.values.len()
        ))),
    }
}

pub(crate) fn check_dimension(length: usize, dimension: u32) -> Result<(), Refusal> {
    if length == dimension as usize {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Vector dimension {length} does not match the dimension of the index {dimension}"
    )))
}

/// Whether an index of this shape and metric can hold sparse values.
pub(crate) fn check_sparse_allowed(shape: Shape, metric: Metric) -> Result<(), Refusal> {
    if shape == Shape::Sparse || metric == Metric::Dotproduct {
        return Ok(());
    }
    Err(Refusal::invalid(
        "Index configuration does not support sparse values - only indexes that are sparse or \
         using dotproduct are supported",
    ))
}

/// Checks one record against the index that it is to enter.
pub(crate) fn check_vector(vector: &Vector, shape: Shape, metric: Metric) -> Result<(), Refusal> {
    check_id(&vector.id)?;
    match shape {
        Shape::Dense(dimension) => {
            check_dimension(vector.values.len(), dimension)?;
            check_dense(&vector.id, &vector.values)?;
        }
        Shape::Sparse if !vector.values.is_empty() => {
            return Err(Refusal::invalid(
                "Index configuration does not support dense values",
            ));
        }
        Shape::Sparse if vector.sparse_values.is_none() => {
            return Err(Refusal::invalid(
                "Sparse vector must contain at least one value",
            ));
        }
        Shape::Sparse => {}
    }
    if let Some(sparse) = &vector.sparse_values {
        check_sparse_allowed(shape, metric)?;
        check_sparse(sparse)?;
    }
    vector.metadata.as_ref().map_or(Ok(()), check_metadata)
}

/// Finite, and not all zero.
pub(crate) fn check_dense(id: &str, values: &[f32]) -> Result<(), Refusal> {
    // What the service does with NaN and infinity is not known. They would make every score
    // meaningless, so they are refused; own words.
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Refusal::invalid(format!(
            "Dense vectors must contain only finite values. Vector ID '{id}' contains a value that is not finite"
        )));
    }
    if values.iter().all(|value| value.abs() < SMALLEST_VALUE) {
        return Err(Refusal::invalid(format!(
            "Dense vectors must contain at least one non-zero value. Vector ID '{id}' contains only zeros"
        )));
    }
    Ok(())
}

/// Own words but for the first. Duplicate indices and zero values are let through: no rule against
/// them is known, and the order of indices is known to be free.
pub(crate) fn check_sparse(sparse: &SparseValues) -> Result<(), Refusal> {
    let (indices, values) = (sparse.indices.len(), sparse.values.len());
    if indices == 0 && values == 0 {
        return Err(Refusal::invalid(
            "Sparse vector must contain at least one value",
        ));
    }
    if indices != values {
        return Err(Refusal::invalid(format!(
            "Sparse vector must have as many indices as values, but got {indices} indices and {values} values"
        )));
    }
    if values > MAX_SPARSE_VALUES {
        return Err(Refusal::invalid(format!(
            "Sparse vector has {values} values, which exceeds the limit of {MAX_SPARSE_VALUES} values per vector"
        )));
    }
    if sparse.values.iter().any(|value| !value.is_finite()) {
        return Err(Refusal::invalid(
            "Sparse vector must contain only finite values",
        ));
    }
    Ok(())
}

/// Keys, value types and size of a record's metadata.
pub(crate) fn check_metadata(metadata: &Struct) -> Result<(), Refusal> {
    for (field, value) in &metadata.fields {
        if field.starts_with('$') {
            return Err(Refusal::invalid(format!(
                "Metadata field '{field}' cannot start with '$'"
            )));
        }
        if !is_metadata_value(value) {
            return Err(Refusal::invalid(format!(
                "Metadata value must be a string, number, boolean or list of strings, got '{}' for field '{field}'",
                excerpt(value)
            )));
        }
    }
    let bytes = metadata.encoded_len();
    if bytes > MAX_METADATA_BYTES {
        return Err(Refusal::invalid(format!(
            "Metadata size is {bytes} bytes, which exceeds the limit of {MAX_METADATA_BYTES} bytes per vector"
        )));
    }
    Ok(())
}

fn is_metadata_value(value: &Value) -> bool {
    match &value.kind {
        // JSON has no other numbers, and the service keeps metadata as JSON.
        Some(Kind::NumberValue(number)) => number.is_finite(),
        Some(Kind::StringValue(_) | Kind::BoolValue(_)) => true,
        Some(Kind::ListValue(list)) => list
            .values
            .iter()
            .all(|item| matches!(item.kind, Some(Kind::StringValue(_)))),
        Some(Kind::NullValue(_) | Kind::StructValue(_)) | None => false,
    }
}

/// A value as compact JSON, cut at 16 bytes as the service does.
pub(crate) fn excerpt(value: &Value) -> String {
    let mut text = json(value).to_string();
    if text.len() > 16 {
        text.truncate(text.floor_char_boundary(16));
        text.push_str("...");
    }
    text
}

/// A value as JSON; numbers are doubles, as the service keeps them.
pub(crate) fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(value)) => (*value).into(),
        Some(Kind::StringValue(value)) => value.as_str().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(fields)) => fields
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), json(value)))
            .collect(),
    }
}
