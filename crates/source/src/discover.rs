//! From arguments to inputs.
//!
//! Files and directories, in the order given; a directory's files sorted by name, level by level. In
//! a directory only what is named as data is taken: others (a README, a `metadata.json`) are left
//! out with a warning, and hidden names, our own run directories and the test queries of
//! pinecone-datasets without one. A file that stands there twice, under whatever name, is taken once.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{SourceError, SourceErrorKind};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// A JSON object per line.
    Jsonl,
}

/// How to find inputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discovery {
    /// The format of all files; `None` goes by name, then by content.
    pub format: Option<Format>,
}

/// A file to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The name that people and reports see: the path as it was given.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Its size in bytes.
    pub bytes: u64,
}

/// How much of a file is looked at to tell what it is.
const HEAD_BYTES: u64 = 4096;

/// Finds the files that `arguments` name.
///
/// # Errors
///
/// If a file or directory is missing, cannot be read, or is in no format that is read, or if a
/// directory has no data.
pub fn discover(arguments: &[String], discovery: &Discovery) -> Result<Vec<Input>, SourceError> {
    let mut search = Search {
        format: discovery.format,
        inputs: Vec::new(),
        known: HashSet::new(),
        left_out: Vec::new(),
    };
    for argument in arguments {
        let path = Path::new(argument);
        if metadata(path)?.is_dir() {
            search.root(path)?;
        } else {
            search.named(path)?;
        }
    }
    Ok(search.inputs)
}

struct Search {
    format: Option<Format>,
    inputs: Vec<Input>,
    /// Files and directories that were met, by their real paths.
    known: HashSet<PathBuf>,
    /// Files of the directory at hand that are not taken for data.
    left_out: Vec<String>,
}

/// What a name tells of a file.
enum Named {
    Format(Format),
    /// A form that is known and not read; what to do instead.
    Unsupported(&'static str),
    /// Nothing; it has another ending, or none.
    Other {
        has_ending: bool,
    },
}

// === impl Format ===

impl Format {
    fn of_name(path: &Path) -> Named {
        let Some(ending) = path.extension() else {
            return Named::Other { has_ending: false };
        };
        match ending.to_string_lossy().to_ascii_lowercase().as_str() {
            "parquet" | "parq" | "pq" => Named::Format(Self::Parquet),
            "jsonl" | "ndjson" | "jsonlines" => Named::Format(Self::Jsonl),
            "gz" | "zst" | "bz2" | "xz" | "lz4" | "zip" => {
                Named::Unsupported("compressed files are not read: decompress it first")
            }
            _ => Named::Other { has_ending: true },
        }
    }

    fn of_content(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PAR1") {
            return Some(Self::Parquet);
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        (first == Some(&b'{')).then_some(Self::Jsonl)
    }
}

// === impl Input ===

impl Input {
    /// Fails if the file's size is no longer what it was.
    pub(crate) fn expect_size(&self, bytes: u64) -> Result<(), SourceError> {
        if bytes == self.bytes {
            return Ok(());
        }
        Err(SourceError::new(
            SourceErrorKind::Changed,
            &self.name,
            format!(
                "the file has {bytes} bytes and had {} when it was found; load it again when nothing writes to it",
                self.bytes
            ),
        ))
    }
}

// === impl Search ===

impl Search {
    /// A directory that was given by name: it must have data.
    fn root(&mut self, path: &Path) -> Result<(), SourceError> {
        let empty = |message: String| {
            Err(SourceError::new(
                SourceErrorKind::Empty,
                show(path),
                message,
            ))
        };
        if is_run_directory(path).map_err(|error| cannot("read", path, &error))? {
            return empty("it is a run directory; name its rejected-*.jsonl to load these".into());
        }
        let found = self.directory(path)?;
        let left_out = std::mem::take(&mut self.left_out);
        if found == 0 {
            let others = match left_out.as_slice() {
                [] => String::new(),
                [first, rest @ ..] => format!(
                    "; not taken for data: {first}{} (name the file, or state the format)",
                    match rest.len() {
                        0 => String::new(),
                        more => format!(" and {more} more"),
                    }
                ),
            };
            return empty(format!(
                "there is no Parquet or JSONL file in this directory{others}"
            ));
        }
        for name in left_out {
            tracing::warn!(input = %name, "not taken for data; name the file, or state the format");
        }
        Ok(())
    }

    /// Takes the files below a directory; says how many there are, known ones included.
    fn directory(&mut self, path: &Path) -> Result<usize, SourceError> {
        let failed = |error: io::Error| cannot("read", path, &error);
        // A directory that was read before has nothing new; in a cycle of links it would never end.
        if !self.known.insert(fs::canonicalize(path).map_err(failed)?) {
            return Ok(self.inputs.len());
        }
        let mut names = fs::read_dir(path)
            .map_err(failed)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<Vec<_>, io::Error>>()
            .map_err(failed)?;
        names.sort_unstable();
        let is_dataset = names.iter().any(|name| name == "documents");
        let mut found = 0;
        for name in names {
            let entry = path.join(&name);
            let name = name.to_string_lossy();
            if name.starts_with(['.', '_']) {
                continue;
            }
            let metadata = metadata(&entry)?;
            if metadata.is_dir() {
                let is_run = is_run_directory(&entry).map_err(failed)?;
                let is_test = is_dataset && name == "queries";
                if !is_run && !is_test {
                    found += self.directory(&entry)?;
                }
            } else if let Some(format) = self.format_within(&entry, &metadata)? {
                found += 1;
                self.take(&entry, &metadata, format)?;
            } else {
                self.left_out.push(show(&entry));
            }
        }
        Ok(found)
    }

    /// The format of a file that was found in a directory, if it is data.
    fn format_within(
        &self,
        path: &Path,
        metadata: &fs::Metadata,
    ) -> Result<Option<Format>, SourceError> {
        if !metadata.is_file() {
            return Ok(None);
        }
        match (Format::of_name(path), self.format) {
            (Named::Unsupported(advice), _) => Err(unsupported(path, advice)),
            (Named::Format(named), Some(stated)) => Ok((named == stated).then_some(stated)),
            (Named::Format(format), None) => Ok(Some(format)),
            (Named::Other { .. }, Some(stated)) => Ok(Some(stated)),
            (Named::Other { has_ending: true }, None) => Ok(None),
            // Spark's and Hadoop's `part-00000`.
            (Named::Other { has_ending: false }, None) => Ok(Format::of_content(&head(path)?)),
        }
    }

    /// A file that was given by name.
    fn named(&mut self, path: &Path) -> Result<(), SourceError> {
        let metadata = metadata(path)?;
        if !metadata.is_file() {
            return Err(unsupported(
                path,
                "it is neither a regular file nor a directory",
            ));
        }
        let format = match (self.format, Format::of_name(path)) {
            (Some(stated), _) => stated,
            (None, Named::Format(format)) => format,
            (None, Named::Unsupported(advice)) => return Err(unsupported(path, advice)),
            (None, Named::Other { .. }) => Format::of_content(&head(path)?).ok_or_else(|| {
                unsupported(
                    path,
                    "neither its name nor its content is of Parquet or JSONL; state the format if it is",
                )
            })?,
        };
        self.take(path, &metadata, format)
    }

    fn take(
        &mut self,
        path: &Path,
        metadata: &fs::Metadata,
        format: Format,
    ) -> Result<(), SourceError> {
        let real = fs::canonicalize(path).map_err(|error| cannot("find", path, &error))?;
        if self.known.insert(real) {
            self.inputs.push(Input {
                name: show(path),
                path: path.to_owned(),
                format,
                bytes: metadata.len(),
            });
        }
        Ok(())
    }
}

/// Whether a directory is one of ours, which hold what a load leaves behind: the folder of all runs,
/// or one run, told by its report or plan.
fn is_run_directory(path: &Path) -> io::Result<bool> {
    if path.file_name().is_some_and(|name| name == "vecload-runs") {
        return Ok(true);
    }
    for name in ["report.json", "plan"] {
        let file = path.join(name);
        if file.is_file() && memchr::memmem::find(&read_head(&file)?, b"vecload").is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

fn head(path: &Path) -> Result<Vec<u8>, SourceError> {
    read_head(path).map_err(|error| cannot("read", path, &error))
}

fn metadata(path: &Path) -> Result<fs::Metadata, SourceError> {
    fs::metadata(path).map_err(|error| cannot("find", path, &error))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> SourceError {
    SourceError::io(show(path), &format!("{what} it"), error)
}

fn unsupported(path: &Path, message: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Unsupported, show(path), message)
}

#[cfg(test)]
mod tests;
