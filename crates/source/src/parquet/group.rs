//! The decoded rows of a row group.
//!
//! The vectors come straight from their pages as long as these allow it, and all other columns from the
//! arrow reader, kept in step by row. From the first row whose vector the pages do not give, the arrow
//! reader reads all columns: the same rows, values and defects; and what is damage, it alone decides.
//! It starts over then and passes over what has been given out. (Starting at a row is no use: it would
//! trust the footer for the number of rows, which is to be checked.)

use std::mem;

use arrow_array::RecordBatch;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
};
use tracing::debug;

use super::{
    CheckedPages, batch_rows, guarded,
    schema::Roles,
    vectors::{Packed, VectorPages},
};

/// Reads a row group.
pub(super) struct RowGroup {
    /// What the file is called.
    name: String,
    pages: CheckedPages,
    metadata: ArrowReaderMetadata,
    roles: Roles,
    index: usize,
    /// How many rows have been given out.
    read: usize,
    pub(super) columns: Columns,
}

pub(super) enum Columns {
    /// All from the arrow reader, but for so many rows that have been given out.
    Arrow {
        reader: ParquetRecordBatchReader,
        passed: usize,
    },
    /// The vectors from their pages. Of the other columns, what has been decoded and not given out.
    Split {
        others: ParquetRecordBatchReader,
        decoded: Option<RecordBatch>,
        vectors: Box<VectorPages>,
    },
    /// Nothing, at the end and after an error.
    Closed,
}

/// Rows: their columns, and the vectors where those came apart.
pub(super) type Rows = (RecordBatch, Option<Packed>);

// === impl RowGroup ===

impl RowGroup {
    pub(super) fn open(
        name: String,
        pages: CheckedPages,
        metadata: ArrowReaderMetadata,
        roles: Roles,
        index: usize,
    ) -> Result<Self, ParquetError> {
        let mut group = Self {
            name,
            pages,
            metadata,
            roles,
            index,
            read: 0,
            columns: Columns::Closed,
        };
        group.columns = match group.vectors() {
            Some((root, vectors)) => Columns::Split {
                others: group.arrow(Some(root))?,
                decoded: None,
                vectors: Box::new(vectors),
            },
            None => Columns::Arrow {
                reader: group.arrow(None)?,
                passed: 0,
            },
        };
        Ok(group)
    }

    /// The vector column and its pages, if these may be in the plain form and nothing else is made of it.
    fn vectors(&self) -> Option<(usize, VectorPages)> {
        let root = self.roles.values.as_ref()?.root;
        if self.roles.roots().filter(|other| *other == root).count() > 1 {
            return None;
        }
        let group = self.metadata.metadata().row_group(self.index);
        let vectors = guarded(|| VectorPages::open(&self.pages, group, root));
        Some((root, vectors.ok()??))
    }

    /// The columns of a record by the arrow reader, without the one at `except`.
    fn arrow(&self, except: Option<usize>) -> Result<ParquetRecordBatchReader, ParquetError> {
        let schema = self.metadata.parquet_schema();
        let roots = self.roles.roots().filter(|root| Some(*root) != except);
        let projection = ProjectionMask::roots(schema, roots);
        let group = self.metadata.metadata().row_group(self.index);
        guarded(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(
                self.pages.clone(),
                self.metadata.clone(),
            )
            .with_row_groups(vec![self.index])
            .with_projection(projection)
            .with_batch_size(batch_rows(group, &self.roles))
            .build()
        })
    }

    /// The next rows, at least one; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Rows>, ParquetError> {
        self.pages.begin_batch();
        let next = match mem::replace(&mut self.columns, Columns::Closed) {
            Columns::Closed => Ok(None),
            Columns::Arrow { reader, passed } => self.next_of_all(reader, passed),
            Columns::Split {
                others,
                decoded,
                vectors,
            } => self.next_of_split(others, decoded, vectors),
        };
        // The decoder hands an error on as its text.
        next.map_err(|error| match self.pages.refusal() {
            Some(refusal) => ParquetError::External(Box::new(refusal)),
            None => error,
        })
    }

    fn next_of_all(
        &mut self,
        mut reader: ParquetRecordBatchReader,
        mut passed: usize,
    ) -> Result<Option<Rows>, ParquetError> {
        while let Some(batch) = next_batch(&mut reader)? {
            let rows = batch.num_rows();
            if rows <= passed {
                passed -= rows;
                self.pages.begin_batch();
                continue;
            }
            let batch = batch.slice(passed, rows - passed);
            self.columns = Columns::Arrow { reader, passed: 0 };
            return Ok(Some(self.given(batch, None)));
        }
        Ok(None)
    }

    fn next_of_split(
        &mut self,
        mut others: ParquetRecordBatchReader,
        decoded: Option<RecordBatch>,
        mut vectors: Box<VectorPages>,
    ) -> Result<Option<Rows>, ParquetError> {
        let decoded = match decoded {
            Some(decoded) => Some(decoded),
            None => next_batch(&mut others)?,
        };
        let Some(decoded) = decoded else {
            if let Ok(true) = guarded(|| vectors.is_at_end()) {
                return Ok(None);
            }
            drop((others, vectors));
            return self.next_of_rest();
        };
        let rows = decoded.num_rows();
        let Ok(Some(found)) = guarded(|| vectors.next(rows)) else {
            drop((others, decoded, vectors));
            return self.next_of_rest();
        };
        let count = found.len();
        self.columns = Columns::Split {
            others,
            decoded: (count < rows).then(|| decoded.slice(count, rows - count)),
            vectors,
        };
        Ok(Some(self.given(decoded.slice(0, count), Some(found))))
    }

    /// The next rows where the pages do not give the vectors.
    fn next_of_rest(&mut self) -> Result<Option<Rows>, ParquetError> {
        debug!(
            input = %self.name,
            row_group = self.index,
            row = self.read,
            "the arrow reader reads the vectors from here on"
        );
        self.leave_pages()?;
        self.next()
    }

    /// Leaves the pages, which are held no more, for the arrow reader.
    pub(super) fn leave_pages(&mut self) -> Result<(), ParquetError> {
        self.columns = Columns::Closed;
        self.pages.begin_again();
        self.columns = Columns::Arrow {
            reader: self.arrow(None)?,
            passed: self.read,
        };
        Ok(())
    }

    fn given(&mut self, batch: RecordBatch, vectors: Option<Packed>) -> Rows {
        self.read += batch.num_rows();
        (batch, vectors)
    }
}

impl std::fmt::Debug for RowGroup {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RowGroup")
            .field("index", &self.index)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// The next batch that has rows.
fn next_batch(reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, ParquetError> {
    loop {
        let batch = guarded(|| reader.next().transpose().map_err(ParquetError::from))?;
        if batch.as_ref().is_none_or(|batch| batch.num_rows() > 0) {
            return Ok(batch);
        }
    }
}
