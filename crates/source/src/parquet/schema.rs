//! Which column holds what, and whether it can be read.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    basic::Type as Physical,
    errors::ParquetError,
    file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData},
    schema::types::{SchemaDescriptor, Type, TypePtr},
};

use super::accepted::{
    is_floats, is_integers, is_metadata, is_name, is_plain_value, is_sparse, is_value, is_vector,
    shown,
};
use crate::{
    Columns, Input, Mapping, SourceError, SourceErrorKind,
    mapping::{Candidate, Role, no_column},
};

/// The columns of a record among the top-level columns of a file.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    pub(super) id: Column,
    pub(super) values: Option<Column>,
    pub(super) sparse: Option<SparseColumns>,
    pub(super) metadata: MetadataColumns,
    pub(super) namespace: Option<Column>,
}

/// A top-level column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its place among the top-level columns.
    pub(super) root: usize,
}

#[derive(Debug, Clone)]
pub(super) enum SparseColumns {
    /// A struct of `indices` and `values`.
    Struct(Column),
    /// A column for each.
    Split { indices: Column, values: Column },
}

#[derive(Debug, Clone)]
pub(super) enum MetadataColumns {
    Absent,
    /// One column: JSON text, a struct or a map.
    Whole(Column),
    /// A field for each column.
    Fields(Vec<Column>),
}

/// The top-level columns of a file, and what may be said of them.
struct Finder<'a> {
    input: &'a Input,
    columns: &'a Columns,
    schema: &'a Schema,
}

// === impl Roles ===

impl Roles {
    /// Finds the columns: those that are stated, else those that have names in use. There must be an
    /// id and a vector.
    pub(super) fn find(
        input: &Input,
        schema: &Schema,
        columns: &Columns,
    ) -> Result<Self, SourceError> {
        let finder = Finder {
            input,
            columns,
            schema,
        };
        columns.check().map_err(|error| unsupported(input, error))?;
        let id = finder
            .find(Role::Id, is_name)?
            .ok_or_else(|| finder.missing(Role::Id))?;
        finder.expect(&id, is_name, "text, integers or a UUID")?;
        let sparse = finder.sparse()?;
        let values = finder.find(Role::Values, is_vector)?;
        if let Some(column) = &values {
            finder.expect(
                column,
                is_vector,
                "a list of floats, or packed float32 as bytes",
            )?;
        } else if sparse.is_none() {
            return Err(finder.missing(Role::Values));
        }
        let namespace = finder.find(Role::Namespace, is_name)?;
        if let Some(column) = &namespace {
            finder.expect(column, is_name, "text, integers or a UUID")?;
        }
        let mut roles = Self {
            id,
            values,
            sparse,
            metadata: MetadataColumns::Absent,
            namespace,
        };
        roles.metadata = finder.metadata(&roles)?;
        Ok(roles)
    }

    /// The columns of a row's key alone.
    pub(super) fn of_keys(&self) -> Self {
        Self {
            id: self.id.clone(),
            values: None,
            sparse: None,
            metadata: MetadataColumns::Absent,
            namespace: self.namespace.clone(),
        }
    }

    /// What the columns were taken for. The length of vectors is told where the footer tells it.
    pub(super) fn mapping(&self, schema: &Schema, footer: &ParquetMetaData) -> Mapping {
        let mut mapping = Mapping::default();
        let form = |column: &Column| shown(schema.field(column.root).data_type());
        mapping.take(Role::Id, vec![self.id.name.clone()], "");
        if let Some(column) = &self.values {
            let form = match dimension(schema, footer, column) {
                Some(dimension) => format!("{}, {dimension}", form(column)),
                None => form(column),
            };
            mapping.take(Role::Values, vec![column.name.clone()], form);
        }
        match &self.sparse {
            Some(SparseColumns::Struct(column)) => {
                mapping.take(Role::Sparse, vec![column.name.clone()], "");
            }
            Some(SparseColumns::Split { indices, values }) => {
                let names = vec![indices.name.clone(), values.name.clone()];
                mapping.take(Role::Sparse, names, "");
            }
            None => {}
        }
        match &self.metadata {
            MetadataColumns::Absent => {}
            MetadataColumns::Whole(column) => {
                mapping.take(Role::Metadata, vec![column.name.clone()], form(column));
            }
            MetadataColumns::Fields(columns) => {
                let names = columns.iter().map(|column| column.name.clone()).collect();
                mapping.take(Role::Metadata, names, "");
            }
        }
        if let Some(column) = &self.namespace {
            mapping.take(Role::Namespace, vec![column.name.clone()], "");
        }
        for (root, field) in schema.fields().iter().enumerate() {
            if self.roots().all(|taken| taken != root) {
                mapping.leave(field.name());
            }
        }
        mapping
    }

    fn all(&self) -> impl Iterator<Item = &Column> {
        let optional = [self.values.as_ref(), self.namespace.as_ref()];
        let sparse = match &self.sparse {
            None => [None, None],
            Some(SparseColumns::Struct(column)) => [Some(column), None],
            Some(SparseColumns::Split { indices, values }) => [Some(indices), Some(values)],
        };
        let metadata = match &self.metadata {
            MetadataColumns::Absent => &[],
            MetadataColumns::Whole(column) => std::slice::from_ref(column),
            MetadataColumns::Fields(columns) => columns.as_slice(),
        };
        std::iter::once(&self.id)
            .chain(optional.into_iter().flatten())
            .chain(sparse.into_iter().flatten())
            .chain(metadata)
    }

    /// The places of the columns among the top-level ones.
    pub(super) fn roots(&self) -> impl Iterator<Item = usize> {
        self.all().map(|column| column.root)
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

    /// The schema with all text of the columns read as plain bytes, to be checked row by row.
    pub(super) fn text_as_bytes(
        &self,
        schema: &SchemaDescriptor,
    ) -> Result<Arc<SchemaDescriptor>, ParquetError> {
        let root = schema.root_schema();
        let mut fields = root.get_fields().to_vec();
        for column in self.all() {
            fields[column.root] = plain(&fields[column.root])?;
        }
        let root = Type::group_type_builder(root.name())
            .with_fields(fields)
            .build()?;
        Ok(Arc::new(SchemaDescriptor::new(TypePtr::new(root))))
    }

    /// The schema with the columns of bytes as views, which lend the bytes of a page without a copy.
    pub(super) fn bytes_as_views(&self, schema: &Schema) -> SchemaRef {
        let fields = schema.fields().iter().enumerate().map(|(root, field)| {
            let field: &Field = field;
            let is_ours = self.roots().any(|ours| ours == root);
            if is_ours && *field.data_type() == DataType::Binary {
                field.clone().with_data_type(DataType::BinaryView)
            } else {
                field.clone()
            }
        });
        let fields: Vec<Field> = fields.collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }
}

// === impl Finder ===

impl Finder<'_> {
    /// The columns there are; those of a type that `fits` can be found without being stated.
    fn candidates(&self, fits: impl Fn(&DataType) -> bool) -> Vec<Candidate<'_>> {
        let fields = self.schema.fields().iter();
        fields
            .map(|field| Candidate {
                name: field.name(),
                fits: fits(field.data_type()),
            })
            .collect()
    }

    fn find(
        &self,
        role: Role,
        fits: impl Fn(&DataType) -> bool,
    ) -> Result<Option<Column>, SourceError> {
        let found = self
            .columns
            .find(role, &self.candidates(fits))
            .map_err(|error| unsupported(self.input, error))?;
        Ok(found.map(|root| self.column(root)))
    }

    fn column(&self, root: usize) -> Column {
        Column {
            name: self.schema.field(root).name().clone(),
            root,
        }
    }

    fn missing(&self, role: Role) -> SourceError {
        let (usual, _) = role.names();
        unsupported(
            self.input,
            no_column(usual, role, &self.candidates(|_| true)),
        )
    }

    fn expect(
        &self,
        column: &Column,
        fits: impl Fn(&DataType) -> bool,
        wanted: &str,
    ) -> Result<(), SourceError> {
        let found = self.schema.field(column.root).data_type();
        if fits(found) {
            return Ok(());
        }
        Err(unsupported(
            self.input,
            format!("column {:?} is {found}, not {wanted}", column.name),
        ))
    }

    /// The sparse vector: a struct, or a list of values beside one of indices.
    fn sparse(&self) -> Result<Option<SparseColumns>, SourceError> {
        let indices = self.find(Role::SparseIndices, is_integers)?;
        let fits = |found: &DataType| is_sparse(found) || (indices.is_some() && is_floats(found));
        let Some(values) = self.find(Role::Sparse, fits)? else {
            return Ok(None);
        };
        let is_list = is_floats(self.schema.field(values.root).data_type());
        if let (Some(indices), true) = (indices, is_list) {
            self.expect(&indices, is_integers, "a list of integers")?;
            return Ok(Some(SparseColumns::Split { indices, values }));
        }
        self.expect(
            &values,
            is_sparse,
            "a struct of `indices`, a list of integers, and `values`, a list of floats",
        )?;
        Ok(Some(SparseColumns::Struct(values)))
    }

    /// The metadata: the columns that are stated, else the one there is, else all columns that hold
    /// nothing else and that a filter can be put to.
    fn metadata(&self, others: &Roles) -> Result<MetadataColumns, SourceError> {
        let is_free = |root: &usize| others.roots().all(|taken| taken != *root);
        let free = (0..self.schema.fields().len()).filter(is_free);
        let named = &self.columns.metadata_columns;
        let fields: Vec<Column> = if self.columns.all_are_metadata() {
            free.map(|root| self.column(root)).collect()
        } else if named.is_empty() {
            if let Some(column) = self.find(Role::Metadata, is_metadata)? {
                self.expect(&column, is_metadata, "JSON text, a struct or a map of text")?;
                return Ok(MetadataColumns::Whole(column));
            }
            free.map(|root| self.column(root))
                .filter(|column| {
                    // Columns of pinecone-datasets that are no metadata, and a namespace that does
                    // not count.
                    let is_other = matches!(column.name.as_str(), "blob" | "namespace");
                    !is_other && is_plain_value(self.schema.field(column.root).data_type())
                })
                .collect()
        } else {
            let all = self.candidates(|_| true);
            named
                .iter()
                .map(|name| {
                    let root = all.iter().position(|column| column.name == name);
                    root.map(|root| self.column(root)).ok_or_else(|| {
                        unsupported(self.input, no_column(name, Role::Metadata, &all))
                    })
                })
                .collect::<Result<_, _>>()?
        };
        for column in &fields {
            self.expect(column, is_value, "of a type that metadata can hold")?;
            let same = |other: &&Column| other.name == column.name;
            if fields.iter().filter(same).count() > 1 {
                let message = format!("there are two columns {:?}; rename one", column.name);
                return Err(unsupported(self.input, message));
            }
        }
        Ok(match fields.is_empty() {
            true => MetadataColumns::Absent,
            false => MetadataColumns::Fields(fields),
        })
    }
}

/// The length of the vectors, if the footer shows that all may have one.
fn dimension(schema: &Schema, footer: &ParquetMetaData, column: &Column) -> Option<u64> {
    if let DataType::FixedSizeBinary(bytes) = schema.field(column.root).data_type() {
        return u64::try_from(*bytes / 4).ok();
    }
    if !is_floats(schema.field(column.root).data_type()) {
        return None;
    }
    let mut dimension = None;
    for group in footer.row_groups() {
        let descriptor = group.schema_descr();
        let leaf = (0..group.num_columns())
            .find(|leaf| descriptor.get_column_root_idx(*leaf) == column.root)?;
        let rows = group.num_rows().unsigned_abs();
        let values = group.column(leaf).num_values().unsigned_abs();
        if rows == 0 {
            continue;
        }
        let per_row = (values % rows == 0).then_some(values / rows)?;
        if *dimension.get_or_insert(per_row) != per_row {
            return None;
        }
    }
    dimension
}

/// The type with text as plain bytes, on every level.
fn plain(field: &TypePtr) -> Result<TypePtr, ParquetError> {
    let info = field.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if is_text(field) {
        let plain = Type::primitive_type_builder(field.name(), Physical::BYTE_ARRAY)
            .with_repetition(info.repetition())
            .with_id(id)
            .build()?;
        return Ok(TypePtr::new(plain));
    }
    if field.is_primitive() {
        return Ok(TypePtr::clone(field));
    }
    let fields = field.get_fields().iter().map(plain);
    let group = Type::group_type_builder(field.name())
        .with_repetition(info.repetition())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_fields(fields.collect::<Result<_, _>>()?)
        .with_id(id)
        .build()?;
    Ok(TypePtr::new(group))
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

fn unsupported(input: &Input, message: String) -> SourceError {
    SourceError::new(SourceErrorKind::Unsupported, &input.name, message)
}
