//! Which column holds what, and whether it can be read.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    basic::Type as Physical,
    errors::ParquetError,
    file::metadata::{ColumnChunkMetaData, RowGroupMetaData},
    schema::types::{SchemaDescriptor, Type, TypePtr},
};

use crate::{Columns, Input, SourceError, SourceErrorKind};

/// The columns of a record among the top-level columns of a file.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    pub(super) id: Role,
    pub(super) values: Option<Role>,
    pub(super) sparse_values: Option<Role>,
    pub(super) metadata: Option<Role>,
    pub(super) namespace: Option<Role>,
}

/// A top-level column.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) name: String,
    /// Its place among the top-level columns.
    root: usize,
}

/// What people call the columns; offered where the one looked for is missing.
const ID_NAMES: &[&str] = &["id", "_id", "doc_id", "vector_id", "uuid", "pk"];
const VALUES_NAMES: &[&str] = &[
    "values",
    "vector",
    "embedding",
    "embeddings",
    "dense_values",
    "dense_embedding",
    "dense_vector",
];

// === impl Roles ===

impl Roles {
    /// Finds the columns by name. There must be an id and a vector.
    pub(super) fn find(
        input: &Input,
        schema: &SchemaDescriptor,
        columns: &Columns,
    ) -> Result<Self, SourceError> {
        let fields = schema.root_schema().get_fields();
        let find = |name: &str| {
            let mut found = fields.iter().enumerate().filter(|(_, f)| f.name() == name);
            let role = found.next().map(|(root, _)| Role {
                name: name.to_owned(),
                root,
            });
            if found.next().is_some() {
                return Err(unsupported(
                    input,
                    format!("there are two columns {name:?}; rename one"),
                ));
            }
            Ok(role)
        };
        let missing =
            |name: &str, what, usual| unsupported(input, no_column(name, what, usual, fields));
        let id = find(&columns.id)?.ok_or_else(|| missing(&columns.id, "the id", ID_NAMES))?;
        let values = find(&columns.values)?;
        let sparse_values = find(&columns.sparse_values)?;
        if values.is_none() && sparse_values.is_none() {
            return Err(missing(&columns.values, "the vector", VALUES_NAMES));
        }
        let namespace = match &columns.namespace {
            Some(name) => {
                Some(find(name)?.ok_or_else(|| missing(name, "the namespace", &["namespace"]))?)
            }
            None => None,
        };
        Ok(Self {
            id,
            values,
            sparse_values,
            metadata: find(&columns.metadata)?,
            namespace,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Role> {
        let optional = [
            &self.values,
            &self.sparse_values,
            &self.metadata,
            &self.namespace,
        ];
        std::iter::once(&self.id).chain(optional.into_iter().flatten())
    }

    /// The places of the columns among the top-level ones.
    pub(super) fn roots(&self) -> impl Iterator<Item = usize> {
        self.all().map(|role| role.root)
    }

    /// The column chunks of a row group that are read, and how wide a value is in memory if all are
    /// alike.
    pub(super) fn chunks<'a>(
        &'a self,
        group: &'a RowGroupMetaData,
    ) -> impl Iterator<Item = (Option<u64>, &'a ColumnChunkMetaData)> {
        let schema = group.schema_descr();
        group
            .columns()
            .iter()
            .enumerate()
            .filter(move |(leaf, _)| {
                let root = schema.get_column_root_idx(*leaf);
                self.roots().any(|wanted| wanted == root)
            })
            .map(|(_, column)| {
                let width = match column.column_type() {
                    Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => None,
                    Physical::INT64 | Physical::DOUBLE => Some(8),
                    _ => Some(4),
                };
                (width, column)
            })
    }

    /// The schema with the columns of text as plain bytes, to be checked row by row.
    pub(super) fn text_as_bytes(
        &self,
        schema: &SchemaDescriptor,
    ) -> Result<Arc<SchemaDescriptor>, ParquetError> {
        let root = schema.root_schema();
        let mut fields = root.get_fields().to_vec();
        let text = [
            Some(&self.id),
            self.metadata.as_ref(),
            self.namespace.as_ref(),
        ];
        for role in text.into_iter().flatten() {
            let field = &mut fields[role.root];
            if is_text(field) {
                let info = field.get_basic_info();
                let plain = Type::primitive_type_builder(field.name(), Physical::BYTE_ARRAY)
                    .with_repetition(info.repetition())
                    .with_id(info.has_id().then(|| info.id()))
                    .build()?;
                *field = TypePtr::new(plain);
            }
        }
        let root = Type::group_type_builder(root.name())
            .with_fields(fields)
            .build()?;
        Ok(Arc::new(SchemaDescriptor::new(TypePtr::new(root))))
    }

    /// The schema with the columns of bytes as views, which lend the bytes of a page without a copy.
    pub(super) fn bytes_as_views(&self, schema: &Schema) -> SchemaRef {
        let fields = schema.fields().iter().map(|field| {
            let field: &Field = field;
            let is_ours = self.all().any(|role| role.name == *field.name());
            if is_ours && *field.data_type() == DataType::Binary {
                field.clone().with_data_type(DataType::BinaryView)
            } else {
                field.clone()
            }
        });
        let fields: Vec<Field> = fields.collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    /// Fails if a column has a type that its role cannot have.
    pub(super) fn expect_supported(
        &self,
        input: &Input,
        schema: &Schema,
    ) -> Result<(), SourceError> {
        let expect = |role: &Role, supported: fn(&DataType) -> bool, wanted: &str| {
            let found = schema.field(role.root).data_type();
            if supported(found) {
                return Ok(());
            }
            Err(unsupported(
                input,
                format!("column {:?} is {found}, not {wanted}", role.name),
            ))
        };
        expect(&self.id, is_name, "text or integers")?;
        if let Some(role) = &self.values {
            expect(role, is_floats, "a list of floats")?;
        }
        if let Some(role) = &self.sparse_values {
            expect(
                role,
                is_sparse,
                "a struct of `indices`, a list of integers, and `values`, a list of floats",
            )?;
        }
        if let Some(role) = &self.metadata {
            expect(role, is_bytes, "JSON text")?;
        }
        if let Some(role) = &self.namespace {
            expect(role, is_name, "text or integers")?;
        }
        Ok(())
    }
}

/// Whether a column is text in a form that is bytes underneath. (Decimals are bytes too.)
fn is_text(field: &Type) -> bool {
    use parquet::basic::{ConvertedType, LogicalType, Repetition};
    let info = field.get_basic_info();
    field.is_primitive()
        && info.has_repetition()
        && info.repetition() != Repetition::REPEATED
        && field.get_physical_type() == Physical::BYTE_ARRAY
        && matches!(
            info.converted_type(),
            ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM
        )
        && matches!(
            info.logical_type_ref(),
            None | Some(LogicalType::String | LogicalType::Json | LogicalType::Enum)
        )
}

fn is_bytes(found: &DataType) -> bool {
    // A column of nothing but nulls has no type.
    matches!(found, DataType::BinaryView | DataType::Null)
}

fn is_name(found: &DataType) -> bool {
    *found == DataType::BinaryView || found.is_integer()
}

fn is_floats(found: &DataType) -> bool {
    matches!(found, DataType::List(item) if item.data_type().is_floating())
}

fn is_sparse(found: &DataType) -> bool {
    let DataType::Struct(fields) = found else {
        return false;
    };
    let part = |name: &str| fields.find(name).map(|(_, field)| field.data_type());
    let indices = matches!(
        part("indices"),
        Some(DataType::List(item)) if item.data_type().is_integer()
    );
    indices && part("values").is_some_and(is_floats)
}

/// Says which columns there are instead, and which may be meant.
fn no_column(name: &str, what: &str, usual: &[&str], fields: &[TypePtr]) -> String {
    // With more columns than these a list helps nobody.
    const LISTED: usize = 20;
    let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
    let similar = |found: &&&str| {
        let (found, wanted) = (found.to_lowercase(), name.to_lowercase());
        strsim::osa_distance(&found, &wanted) <= (wanted.len() / 3).clamp(1, 3)
    };
    let meant = names
        .iter()
        .find(similar)
        .or_else(|| names.iter().find(|found| usual.contains(found)));
    let listed = names[..names.len().min(LISTED)].join(", ");
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let advice = match meant {
        Some(meant) => format!("did you mean {meant:?}"),
        None => format!("name the one that holds {what}"),
    };
    format!("there is no column {name:?} for {what}; the columns are {listed}{more}; {advice}")
}

fn unsupported(input: &Input, message: String) -> SourceError {
    SourceError::new(SourceErrorKind::Unsupported, &input.name, message)
}
