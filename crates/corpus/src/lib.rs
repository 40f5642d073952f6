//! Seeded corpora of any size, as Parquet or JSONL.
//!
//! A record depends on the seed and its number alone, so a test can ask what record 4,711 is without
//! reading the file, and two formats of one corpus hold the same records. Values are uniform in
//! [-1, 1), which no codec shrinks much: files are as large as real embeddings'. Files are written in
//! pieces of one row group, so a corpus of any size takes little memory. Tests and
//! benches use it, `vecload bench` too.

pub mod crafted;
pub mod mutation;
pub mod table;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, ListArray, RecordBatch, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

/// The column that names a record's namespace.
pub const NAMESPACE_COLUMN: &str = "namespace";

/// Records by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// How many.
    pub records: u64,
    /// Values per vector.
    pub dimension: usize,
    /// Bytes of each record's metadata as JSON text; 0 is no metadata column. Below
    /// [`Corpus::LEAST_METADATA`] it is that.
    pub metadata_bytes: usize,
    /// How many namespaces the records go to, in turn; 0 is no namespace column.
    pub namespaces: u64,
    /// What all values depend on.
    pub seed: u64,
}

/// How a Parquet file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParquetForm {
    /// The codec of all pages.
    pub codec: Compression,
    /// Records per row group.
    pub row_group: usize,
}

impl Default for ParquetForm {
    fn default() -> Self {
        Self {
            codec: Compression::ZSTD(ZstdLevel::default()),
            row_group: 10_000,
        }
    }
}

/// A codec of Parquet by its name.
///
/// # Errors
///
/// There is no such codec.
pub fn codec(name: &str) -> Result<Compression, String> {
    Ok(match name {
        "none" => Compression::UNCOMPRESSED,
        "snappy" => Compression::SNAPPY,
        "gzip" => Compression::GZIP(GzipLevel::default()),
        "brotli" => Compression::BROTLI(BrotliLevel::default()),
        "lz4" => Compression::LZ4_RAW,
        "zstd" => Compression::ZSTD(ZstdLevel::default()),
        _ => return Err("it is none of none, snappy, gzip, brotli, lz4, zstd".to_owned()),
    })
}

// === impl Corpus ===

impl Corpus {
    /// The shortest metadata: a number and an empty text.
    pub const LEAST_METADATA: usize = 30;

    /// The id of a record.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        format!("r{number:08}")
    }

    /// The namespace of a record, if the corpus has any.
    #[must_use]
    pub fn namespace(&self, number: u64) -> Option<String> {
        (self.namespaces > 0).then(|| format!("ns{:05}", number % self.namespaces))
    }

    /// The vector of a record.
    #[must_use]
    pub fn values(&self, number: u64) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.dimension);
        self.append_values(number, &mut values);
        values
    }

    /// The metadata of a record as JSON text, if the corpus has any.
    #[must_use]
    pub fn metadata(&self, number: u64) -> Option<String> {
        if self.metadata_bytes == 0 {
            return None;
        }
        // As wide for every record below the billionth.
        let mut text = format!("{{\"number\":{},\"text\":\"", 100_000_000 + number);
        let letters = (b'a'..=b'z').cycle().skip((number % 26) as usize);
        let missing = self.metadata_bytes.saturating_sub(text.len() + 2);
        text.extend(letters.take(missing).map(char::from));
        text.push_str("\"}");
        Some(text)
    }

    /// Writes the corpus as JSONL where the file's name ends in `.jsonl`, as Parquet otherwise.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path, form: ParquetForm) -> Result<(), ParquetError> {
        if path.extension().is_some_and(|end| end == "jsonl") {
            return Ok(self.write_jsonl(path)?);
        }
        self.write_parquet(path, form)
    }

    /// Writes the corpus as Parquet: `id`, `values` as a list of float32, and `metadata` as JSON text
    /// and [`NAMESPACE_COLUMN`] where it has them.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_parquet(&self, path: &Path, form: ParquetForm) -> Result<(), ParquetError> {
        let element = Arc::new(Field::new("element", DataType::Float32, true));
        let mut fields = vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("values", DataType::List(Arc::clone(&element)), false),
        ];
        if self.metadata_bytes > 0 {
            fields.push(Field::new("metadata", DataType::Utf8, true));
        }
        if self.namespaces > 0 {
            fields.push(Field::new(NAMESPACE_COLUMN, DataType::Utf8, false));
        }
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(form.codec)
            .set_max_row_group_row_count(Some(form.row_group))
            .build();
        let mut writer =
            ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), Some(properties))?;
        let mut first = 0;
        while first < self.records {
            let end = self.records.min(first + form.row_group as u64);
            let columns = self.columns(first..end, &element)?;
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
            first = end;
        }
        writer.close()?;
        Ok(())
    }

    /// Writes the corpus as JSONL, one object per line, metadata as an object.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_jsonl(&self, path: &Path) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut values = Vec::with_capacity(self.dimension);
        for number in 0..self.records {
            values.clear();
            self.append_values(number, &mut values);
            write!(out, "{{\"id\":\"{}\",\"values\":", self.id(number))?;
            serde_json::to_writer(&mut out, &values)?;
            if let Some(metadata) = self.metadata(number) {
                write!(out, ",\"metadata\":{metadata}")?;
            }
            if let Some(namespace) = self.namespace(number) {
                write!(out, ",\"{NAMESPACE_COLUMN}\":\"{namespace}\"")?;
            }
            out.write_all(b"}\n")?;
        }
        out.flush()
    }

    fn append_values(&self, number: u64, values: &mut Vec<f32>) {
        // The generator mixes its seed, so neighbours are as unlike as strangers.
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed.rotate_left(32) ^ number);
        values.extend((0..self.dimension).map(|_| random.random_range(-1.0_f32..1.0)));
    }

    fn columns(
        &self,
        numbers: std::ops::Range<u64>,
        element: &Arc<Field>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let count = (numbers.end - numbers.start) as usize;
        let mut values = Vec::with_capacity(count * self.dimension);
        for number in numbers.clone() {
            self.append_values(number, &mut values);
        }
        let lists = ListArray::try_new(
            Arc::clone(element),
            OffsetBuffer::from_repeated_length(self.dimension, count),
            Arc::new(Float32Array::from(values)),
            None,
        )?;
        let texts = |text: &dyn Fn(u64) -> Option<String>| -> ArrayRef {
            Arc::new(numbers.clone().map(text).collect::<StringArray>())
        };
        let mut columns: Vec<ArrayRef> =
            vec![texts(&|number| Some(self.id(number))), Arc::new(lists)];
        if self.metadata_bytes > 0 {
            columns.push(texts(&|number| self.metadata(number)));
        }
        if self.namespaces > 0 {
            columns.push(texts(&|number| self.namespace(number)));
        }
        Ok(columns)
    }
}
