//! What the control plane says of an index, in either shape of the API.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::NewKind;
use crate::rules::{IndexShape, Metric, VectorType};

/// The names that a vector index has in its schema; a document index has others.
pub(super) const DENSE: &str = "_values";
pub(super) const SPARSE: &str = "_sparse_values";

/// What the control plane says of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDescription {
    /// Its name.
    pub name: String,
    /// Where it is reached: the private host where it has one. `http://` stands before it where the
    /// control plane itself was asked without TLS, as those on one's own machine are; empty as long as
    /// the index has none.
    pub host: String,
    /// Whether it takes requests.
    pub ready: bool,
    /// The service's word for its state: `Initializing`, `Ready`, `Terminating`...
    pub state: String,
    /// What it holds.
    pub kind: IndexKind,
}

/// The two kinds of index, fixed when one is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexKind {
    /// Vectors, as the Vectors API writes them.
    Vectors(IndexShape),
    /// Documents, with the names of some of their fields. The Vectors API cannot write them.
    Documents(Vec<String>),
}

/// An index in both shapes of the API.
#[derive(Deserialize)]
pub(super) struct Model {
    name: String,
    host: Option<String>,
    private_host: Option<String>,
    status: Status,
    schema: Option<Schema>,
    dimension: Option<u32>,
    metric: Option<String>,
    vector_type: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    ready: bool,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    fields: BTreeMap<String, Field>,
}

#[derive(Deserialize)]
struct Field {
    dimension: Option<u32>,
    metric: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(default)]
    indexes: Vec<Name>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

impl Model {
    pub(super) fn description(self, plaintext: bool) -> IndexDescription {
        let kind = self.kind();
        let hosts = [self.private_host, self.host].into_iter().flatten();
        let host = hosts
            .map(|host| bare(&host).to_owned())
            .find(|host| !host.is_empty());
        let host = host.unwrap_or_default();
        IndexDescription {
            name: self.name,
            host: match plaintext && !host.is_empty() {
                true => format!("http://{host}"),
                false => host,
            },
            ready: self.status.ready,
            state: self.status.state,
            kind,
        }
    }

    fn kind(&self) -> IndexKind {
        let metric = |name: &Option<String>| name.as_deref().and_then(Metric::from_name);
        let Some(Schema { fields }) = &self.schema else {
            let named = self.vector_type.as_deref().and_then(VectorType::from_name);
            let dimension = self.dimension.filter(|dimension| *dimension > 0);
            return IndexKind::Vectors(IndexShape {
                dimension,
                vector_type: named.or(dimension.map(|_| VectorType::Dense)),
                metric: metric(&self.metric),
            });
        };
        let others = fields
            .keys()
            .filter(|name| ![DENSE, SPARSE].contains(&name.as_str()));
        let others: Vec<String> = others.cloned().collect();
        if !others.is_empty() {
            return IndexKind::Documents(others);
        }
        IndexKind::Vectors(match (fields.get(DENSE), fields.get(SPARSE)) {
            (Some(dense), _) => IndexShape {
                dimension: dense.dimension,
                vector_type: Some(VectorType::Dense),
                metric: metric(&dense.metric),
            },
            (None, Some(_)) => NewKind::Sparse.shape(),
            (None, None) => IndexShape::default(),
        })
    }
}

/// A host without a scheme. That it has one is a peculiarity of some emulators, and it does not decide
/// whether a key is sent in plaintext.
fn bare(host: &str) -> &str {
    let host = host.split_once("://").map_or(host, |(_, host)| host);
    host.trim_end_matches('/')
}

impl Listed {
    pub(super) fn names(self) -> Vec<String> {
        self.indexes.into_iter().map(|index| index.name).collect()
    }
}
