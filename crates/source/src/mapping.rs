//! Which column or key holds which part of a record, and how that is told.
//!
//! A name that the user states is taken or is an error that offers the names there are. Where nothing
//! is stated the usual name counts, and where that is missing one of the names that other writers use.
//! Two such names are an error: a guess would load the wrong vector without a word.

use std::fmt::{self, Display};

/// The columns (Parquet) or keys (JSONL) that hold the parts of a record; `None` is to be found by
/// the names in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The id. Every input has it.
    pub id: Option<String>,
    /// The dense vector.
    pub values: Option<String>,
    /// The sparse vector.
    pub sparse_values: Option<String>,
    /// The metadata: JSON text, an object, a struct or a map.
    pub metadata: Option<String>,
    /// The columns that are the metadata, one field each, instead of one that holds it; `*` alone is
    /// all that hold nothing else.
    pub metadata_columns: Vec<String>,
    /// The namespace. Every input has it where it is stated.
    pub namespace: Option<String>,
    /// Whether a column that is called `namespace` counts where none is stated.
    pub own_namespaces: bool,
}

/// What the columns of an input were taken for; it shows as one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    taken: Vec<Taken>,
    /// The columns that hold no part of a record.
    not_read: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    part: &'static str,
    columns: Vec<String>,
    /// The type and, of a vector, its length; empty where it says nothing.
    form: String,
}

/// How metadata as JSON text shows in a mapping.
const IMPORT_METADATA: &str = "text";

/// The parts of a record that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Id,
    Values,
    Sparse,
    SparseIndices,
    Metadata,
    Namespace,
}

/// What a column is called, and whether its type fits the role that is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) fits: bool,
}

// === impl Columns ===

impl Default for Columns {
    fn default() -> Self {
        Self {
            id: None,
            values: None,
            sparse_values: None,
            metadata: None,
            metadata_columns: Vec::new(),
            namespace: None,
            own_namespaces: true,
        }
    }
}

impl Columns {
    pub(crate) fn stated(&self, role: Role) -> Option<&str> {
        match role {
            Role::Id => self.id.as_deref(),
            Role::Values => self.values.as_deref(),
            Role::Sparse => self.sparse_values.as_deref(),
            Role::SparseIndices => None,
            Role::Metadata => self.metadata.as_deref(),
            Role::Namespace => self.namespace.as_deref(),
        }
    }

    /// Whether all columns that hold nothing else are the metadata.
    pub(crate) fn all_are_metadata(&self) -> bool {
        self.metadata_columns == ["*"]
    }

    /// Fails if the settings say two things.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.metadata.is_some() && !self.metadata_columns.is_empty() {
            return Err("the metadata is one column or several: give --metadata-column or --metadata-columns, not both".into());
        }
        Ok(())
    }

    /// Finds the column of a role among those there are. A stated one that is missing, and two that
    /// may be meant, are errors.
    pub(crate) fn find(&self, role: Role, all: &[Candidate<'_>]) -> Result<Option<usize>, String> {
        let place = |name: &str| all.iter().position(|column| column.name == name);
        if let Some(name) = self.stated(role) {
            let found = place(name).ok_or_else(|| no_column(name, role, all))?;
            return expect_one(found, all).map(Some);
        }
        if role == Role::Namespace && !self.own_namespaces {
            return Ok(None);
        }
        let (usual, others) = role.names();
        if let Some(found) = place(usual) {
            // A column that is only called so by chance is left alone.
            let counts = all[found].fits || role != Role::Namespace;
            return match counts {
                true => expect_one(found, all).map(Some),
                false => Ok(None),
            };
        }
        let named: Vec<usize> = others.iter().filter_map(|name| place(name)).collect();
        let fitting: Vec<usize> = named
            .iter()
            .copied()
            .filter(|place| all[*place].fits)
            .collect();
        match (fitting.as_slice(), named.as_slice()) {
            ([one], _) => expect_one(*one, all).map(Some),
            // For the error to name its type.
            ([], [one]) if matches!(role, Role::Id | Role::Values) => Ok(Some(*one)),
            ([], _) => Ok(None),
            ([first, second, ..], _) => Err(format!(
                "both {:?} and {:?} may hold {}; say which with {}",
                all[*first].name,
                all[*second].name,
                role.what(),
                role.flag()
            )),
        }
    }
}

fn expect_one(place: usize, all: &[Candidate<'_>]) -> Result<usize, String> {
    let name = all[place].name;
    match all.iter().filter(|column| column.name == name).count() {
        1 => Ok(place),
        _ => Err(format!("there are two columns {name:?}; rename one")),
    }
}

// === impl Role ===

impl Role {
    /// The usual name, and those of other writers.
    pub(crate) fn names(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Id => ("id", &["_id", "doc_id", "vector_id", "uuid", "pk"]),
            Self::Values => (
                "values",
                &[
                    "vector",
                    "embedding",
                    "embeddings",
                    "dense_values",
                    "dense_embedding",
                    "dense_vector",
                ],
            ),
            Self::Sparse => (
                "sparse_values",
                &[
                    "sparseValues",
                    "sparse_vector",
                    "sparse_embedding",
                    "sparse",
                ],
            ),
            Self::SparseIndices => ("sparse_indices", &["sparseIndices"]),
            Self::Metadata => ("metadata", &["payload", "properties"]),
            Self::Namespace => ("namespace", &[]),
        }
    }

    /// The part of a record, as reports call it.
    pub(crate) fn part(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Values => "values",
            Self::Sparse | Self::SparseIndices => "sparse_values",
            Self::Metadata => "metadata",
            Self::Namespace => "namespace",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Id => "the id",
            Self::Values => "the vector",
            Self::Sparse => "the sparse vector",
            Self::SparseIndices => "the indices of the sparse vector",
            Self::Metadata => "the metadata",
            Self::Namespace => "the namespace",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Id => "--id-column",
            Self::Values => "--vector-column",
            Self::Sparse | Self::SparseIndices => "--sparse-column",
            Self::Metadata => "--metadata-column",
            Self::Namespace => "--namespace-column",
        }
    }
}

/// Says which columns there are instead, and which may be meant.
pub(crate) fn no_column(name: &str, role: Role, all: &[Candidate<'_>]) -> String {
    // With more columns than these a list helps nobody.
    const LISTED: usize = 20;
    let names: Vec<&str> = all.iter().map(|column| column.name).collect();
    let similar = |found: &&&str| {
        let (found, wanted) = (found.to_lowercase(), name.to_lowercase());
        strsim::osa_distance(&found, &wanted) <= (wanted.chars().count() / 3).clamp(1, 3)
    };
    let (usual, others) = role.names();
    let is_usual = |found: &&&str| **found == usual || others.contains(found);
    let meant = names
        .iter()
        .find(similar)
        .or_else(|| names.iter().find(is_usual));
    let listed = names[..names.len().min(LISTED)].join(", ");
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let advice = match meant {
        Some(meant) => format!("did you mean {meant:?}"),
        None => format!(
            "name the one that holds {} with {}",
            role.what(),
            role.flag()
        ),
    };
    format!(
        "there is no column {name:?} for {}; the columns are {listed}{more}; {advice}",
        role.what()
    )
}

// === impl Mapping ===

impl Mapping {
    pub(crate) fn take(&mut self, role: Role, columns: Vec<String>, form: impl Into<String>) {
        self.taken.push(Taken {
            part: role.part(),
            columns,
            form: form.into(),
        });
    }

    pub(crate) fn leave(&mut self, column: impl Into<String>) {
        self.not_read.push(column.into());
    }

    /// Whether these are the columns of Pinecone's own import, and no others: `id`, `values`,
    /// `sparse_values`, and `metadata` as text.
    #[must_use]
    pub fn is_import_schema(&self) -> bool {
        self.not_read.is_empty()
            && self.taken.iter().all(|taken| {
                let is_usual = taken.columns == [taken.part] && taken.part != "namespace";
                is_usual && (taken.part != "metadata" || taken.form == IMPORT_METADATA)
            })
    }

    /// The columns that hold no part of a record.
    #[must_use]
    pub fn not_read(&self) -> &[String] {
        &self.not_read
    }
}

impl Display for Mapping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, taken) in self.taken.iter().enumerate() {
            let between = if place == 0 { "" } else { ", " };
            write!(out, "{between}{} <- {}", taken.part, Listed(&taken.columns))?;
            if !taken.form.is_empty() {
                write!(out, " ({})", taken.form)?;
            }
        }
        if !self.not_read.is_empty() {
            write!(out, "; not read: {}", Listed(&self.not_read))?;
        }
        Ok(())
    }
}

/// Names, on one line whatever is in them.
struct Listed<'a>(&'a [String]);

impl Display for Listed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.0.iter().enumerate() {
            let between = if place == 0 { "" } else { ", " };
            let plain = !name.is_empty()
                && name.chars().all(|c| {
                    !c.is_control() && !c.is_whitespace() && !matches!(c, ',' | ';' | '"')
                });
            match plain {
                true => write!(out, "{between}{name}")?,
                false => write!(out, "{between}{name:?}")?,
            }
        }
        Ok(())
    }
}
