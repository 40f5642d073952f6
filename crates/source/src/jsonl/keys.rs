//! Which key holds what: decided from the first records of an input, for all of it.

use std::collections::HashSet;

use super::cursor::{Cursor, Flaw};
use crate::{
    Columns, Mapping,
    mapping::{Candidate, Role, no_column},
};

/// How many records are looked at.
const LOOKED_AT: usize = 100;

/// The keys that hold the parts of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) values: String,
    pub(super) sparse: String,
    /// The other way to write the key of the sparse vector.
    pub(super) sparse_also: Option<&'static str>,
    pub(super) metadata: MetadataKeys,
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MetadataKeys {
    /// The key of an object.
    Whole(String),
    /// The keys that are the metadata.
    Some(Vec<String>),
    /// All keys that hold nothing else, but for these.
    AllBut(Vec<String>),
}

/// What was seen of a key.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    /// Anything but null.
    is_known: bool,
    is_name: bool,
    is_vector: bool,
    is_object: bool,
    /// A filter can be put to it.
    is_plain: bool,
    /// The lengths of vectors.
    lengths: HashSet<usize>,
}

/// A value, as far as it matters here.
enum Kind {
    Null,
    Name,
    Bool,
    Vector(usize),
    Texts,
    Object,
    Other,
}

// === impl Keys ===

impl Keys {
    /// The keys of dead letters, and of records of which nothing is known.
    pub(super) fn canonical() -> Self {
        let usual = |role: Role| role.names().0.to_owned();
        Self {
            id: usual(Role::Id),
            values: usual(Role::Values),
            sparse: usual(Role::Sparse),
            sparse_also: Some("sparseValues"),
            metadata: MetadataKeys::Whole(usual(Role::Metadata)),
            namespace: Some(usual(Role::Namespace)),
        }
    }

    /// Finds the keys in the first of `records`: those that are stated, else those that have names in
    /// use.
    pub(super) fn find<'a>(
        records: impl Iterator<Item = &'a [u8]>,
        columns: &Columns,
    ) -> Result<(Self, Mapping), String> {
        columns.check()?;
        let mut seen: Vec<Seen> = Vec::new();
        for record in records.take(LOOKED_AT) {
            // What cannot be read is a reject later on, and tells nothing here.
            let _ = survey(record, &mut seen);
        }
        let has_split = seen
            .iter()
            .any(|key| is_indices(&key.name) && key.is_vector);
        let find = |role: Role| {
            let fits = |key: &Seen| match role {
                Role::Id | Role::Namespace => key.is_name,
                Role::Values => key.is_vector,
                Role::Sparse => key.is_object || (has_split && key.is_vector),
                Role::Metadata => key.is_object,
                Role::SparseIndices => false,
            };
            let all: Vec<Candidate<'_>> = seen
                .iter()
                .map(|key| Candidate {
                    name: &key.name,
                    fits: fits(key),
                })
                .collect();
            if let Some(name) = columns.stated(role) {
                let is_there = seen.is_empty() || seen.iter().any(|key| key.name == name);
                if !is_there && matches!(role, Role::Id | Role::Values) {
                    return Err(no_column(name, role, &all).replace("column", "key"));
                }
                // Other keys may be missing in the first records.
                return Ok(Some(name.to_owned()));
            }
            let found = columns.find(role, &all)?;
            Ok(found.map(|place| all[place].name.to_owned()))
        };
        let usual = Self::canonical();
        let mut keys = Self {
            id: find(Role::Id)?.unwrap_or(usual.id),
            values: find(Role::Values)?.unwrap_or(usual.values),
            sparse: find(Role::Sparse)?.unwrap_or_else(|| usual.sparse.clone()),
            sparse_also: None,
            metadata: usual.metadata,
            namespace: find(Role::Namespace)?,
        };
        if columns.sparse_values.is_none()
            && matches!(keys.sparse.as_str(), "sparse_values" | "sparseValues")
        {
            keys.sparse = usual.sparse;
            keys.sparse_also = usual.sparse_also;
        }
        if keys.namespace.is_none()
            && columns.own_namespaces
            && !seen.iter().any(|key| key.name == "namespace")
        {
            keys.namespace = usual.namespace;
        }
        let metadata = find(Role::Metadata)?;
        keys.metadata = if columns.all_are_metadata() {
            MetadataKeys::AllBut(Vec::new())
        } else if !columns.metadata_columns.is_empty() {
            MetadataKeys::Some(columns.metadata_columns.clone())
        } else if let Some(name) = metadata {
            MetadataKeys::Whole(name)
        } else {
            let free = || seen.iter().filter(|key| !keys.has(&key.name));
            // Keys of pinecone-datasets that are no metadata, a namespace that does not count, and
            // what no filter can be put to.
            let is_other = |key: &Seen| {
                matches!(key.name.as_str(), "blob" | "namespace") || (key.is_known && !key.is_plain)
            };
            match free().any(|key| !is_other(key)) {
                true => MetadataKeys::AllBut(
                    free()
                        .filter(|key| is_other(key))
                        .map(|key| key.name.clone())
                        .chain(["blob".to_owned(), "namespace".to_owned()])
                        .collect(),
                ),
                false => keys.metadata,
            }
        };
        let mapping = keys.mapping(&seen);
        Ok((keys, mapping))
    }

    /// Whether a key holds a part of a record other than its metadata.
    fn has(&self, key: &str) -> bool {
        key == self.id
            || key == self.values
            || key == self.sparse
            || self.sparse_also == Some(key)
            || is_indices(key)
            || self.namespace.as_deref() == Some(key)
            || key == super::line::REJECT
    }

    /// Whether a key that holds no other part of a record is one of those that are the metadata.
    pub(super) fn is_flat_metadata(&self, key: &str) -> bool {
        !matches!(self.metadata, MetadataKeys::Whole(_))
            && self.metadata.has(key)
            && key != super::line::REJECT
    }

    fn mapping(&self, seen: &[Seen]) -> Mapping {
        let mut mapping = Mapping::default();
        let known = |name: &str| seen.iter().find(|key| key.name == name);
        mapping.take(Role::Id, vec![self.id.clone()], "");
        let sparse: Vec<String> = seen
            .iter()
            .map(|key| key.name.as_str())
            .filter(|name| {
                *name == self.sparse || self.sparse_also == Some(*name) || is_indices(name)
            })
            .map(str::to_owned)
            .collect();
        if let Some(values) = known(&self.values) {
            let lengths = Vec::from_iter(&values.lengths);
            let form = match lengths.as_slice() {
                [length] => format!("list, {length}"),
                _ => "list".to_owned(),
            };
            mapping.take(Role::Values, vec![self.values.clone()], form);
        } else if sparse.is_empty() {
            mapping.take(Role::Values, vec![self.values.clone()], "");
        }
        if !sparse.is_empty() {
            mapping.take(Role::Sparse, sparse, "");
        }
        let others = || {
            let is_role = |key: &&Seen| !self.has(&key.name);
            seen.iter().filter(is_role).map(|key| &key.name)
        };
        let metadata: Vec<String> = others()
            .filter(|name| self.metadata.has(name))
            .cloned()
            .collect();
        if !metadata.is_empty() {
            mapping.take(Role::Metadata, metadata, "");
        }
        if let Some(namespace) = self.namespace.as_deref().and_then(known) {
            mapping.take(Role::Namespace, vec![namespace.name.clone()], "");
        }
        for name in others().filter(|name| !self.metadata.has(name)) {
            mapping.leave(name);
        }
        mapping
    }
}

// === impl MetadataKeys ===

impl MetadataKeys {
    /// Whether a key that holds no other part of a record is or has metadata.
    pub(super) fn has(&self, key: &str) -> bool {
        match self {
            Self::Whole(name) => name == key,
            Self::Some(names) => names.iter().any(|name| name == key),
            Self::AllBut(names) => names.iter().all(|name| name != key),
        }
    }
}

/// Whether a key holds the indices of a sparse vector whose values are a list.
pub(super) fn is_indices(key: &str) -> bool {
    matches!(key, "sparse_indices" | "sparseIndices")
}

/// Adds what a record shows of its keys.
fn survey(record: &[u8], seen: &mut Vec<Seen>) -> Result<(), Flaw> {
    let Ok(text) = str::from_utf8(record) else {
        return Ok(());
    };
    let mut found = Vec::new();
    let (mut scratch, mut floats) = (String::new(), Vec::new());
    let mut cursor = Cursor::new(text);
    cursor.expect(b'{')?;
    let mut more = !cursor.take(b'}');
    while more {
        scratch.clear();
        let key = cursor.string(&mut scratch)?.of(text, &scratch).to_owned();
        cursor.expect(b':')?;
        let kind = Kind::of(&mut cursor, &mut floats)?;
        // A dead letter: its keys are canonical whatever those of other records are.
        if key == super::line::REJECT {
            return Ok(());
        }
        found.push((key, kind));
        more = cursor.more(b'}')?;
    }
    for (key, kind) in found {
        let place = seen.iter().position(|known| known.name == key);
        let known = match place {
            Some(place) => &mut seen[place],
            None => {
                seen.push(Seen {
                    name: key,
                    ..Seen::default()
                });
                let last = seen.len() - 1;
                &mut seen[last]
            }
        };
        known.is_known |= !matches!(kind, Kind::Null);
        known.is_plain |= matches!(kind, Kind::Name | Kind::Bool | Kind::Texts);
        match kind {
            Kind::Name => known.is_name = true,
            Kind::Object => known.is_object = true,
            Kind::Vector(length) => {
                known.is_vector = true;
                known.lengths.insert(length);
            }
            Kind::Null | Kind::Bool | Kind::Texts | Kind::Other => {}
        }
    }
    Ok(())
}

// === impl Kind ===

impl Kind {
    /// The kind of the value at the cursor, which is passed over.
    fn of(cursor: &mut Cursor<'_>, floats: &mut Vec<f32>) -> Result<Self, Flaw> {
        let first = cursor.peek();
        let start = cursor.at();
        let mut list = cursor.clone();
        if first == Some(b'[') && list.floats(floats).is_ok() && !floats.is_empty() {
            *cursor = list;
            return Ok(Self::Vector(floats.len()));
        }
        cursor.skip(1)?;
        Ok(match first {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'{') => Self::Object,
            Some(b'[') => {
                let items = cursor.text()[start + 1..cursor.at()].trim_start();
                match items.starts_with(['"', ']']) {
                    true => Self::Texts,
                    false => Self::Other,
                }
            }
            _ => Self::Name,
        })
    }
}
