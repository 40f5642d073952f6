//! Corpora as files, written once and kept for the next measurement.

use std::path::{Path, PathBuf};

use parquet::basic::Compression;
use tempfile::TempDir;
use vecload_corpus::{Corpus, ParquetForm, codec};

use crate::Failure;

/// A directory of corpora.
#[derive(Debug)]
pub struct Corpora {
    dir: PathBuf,
    /// Where the directory goes with this value.
    _scratch: Option<TempDir>,
}

impl Corpora {
    /// Corpora in a directory that stays, or in one that goes with this value.
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    pub fn new(dir: Option<&Path>) -> Result<Self, Failure> {
        let scratch = dir.is_none().then(tempfile::tempdir).transpose()?;
        let dir = dir.or(scratch.as_ref().map(TempDir::path));
        let dir = dir.unwrap_or(Path::new(".")).to_owned();
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            _scratch: scratch,
        })
    }

    /// The file of a corpus; it is written if it is not there yet. The form is `jsonl`, or a
    /// [`codec`] of Parquet.
    ///
    /// # Errors
    ///
    /// There is no such form, or the file cannot be written.
    pub fn file(&self, corpus: &Corpus, form: &str) -> Result<PathBuf, Failure> {
        let (codec, end) = match form {
            "jsonl" => (Compression::UNCOMPRESSED, "jsonl".to_owned()),
            _ => (codec(form)?, format!("{form}.parquet")),
        };
        let Corpus {
            records,
            dimension,
            metadata_bytes,
            namespaces,
            seed,
        } = corpus;
        let name = format!("{records}x{dimension}-m{metadata_bytes}-n{namespaces}-s{seed}.{end}");
        let file = self.dir.join(name);
        if !file.try_exists()? {
            let beside = self.dir.join(format!("unfinished.{end}"));
            let row_group = ParquetForm::default().row_group;
            corpus.write(&beside, ParquetForm { codec, row_group })?;
            std::fs::rename(&beside, &file)?;
        }
        Ok(file)
    }
}
