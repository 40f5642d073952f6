//! From arguments to inputs.
//!
//! Files, directories, globs and `-`, in the order given; a directory's or a glob's files sorted by
//! name, level by level. In a directory only what is named as data is taken: others (a README, a
//! `metadata.json`) are left out with a warning, and hidden names, our own run directories and the
//! test queries of pinecone-datasets without one. What is named itself is told by its content where
//! its name does not tell. A file that stands there twice, under whatever name, is taken once.
//!
//! URLs name objects, and prefixes as if these were directories; the same rules hold for both.

mod content;
mod objects;
mod patterns;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

pub use self::content::{Compression, Format};
use self::{
    content::{Named, read_head},
    patterns::{Wanted, expand, is_glob},
};
use crate::{
    SourceError, SourceErrorKind,
    store::{Object, Stores, is_url},
};

/// How to find inputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discovery {
    /// The format of all files; `None` goes by name, then by content.
    pub format: Option<Format>,
    /// Of the files of directories and globs only those that one of these patterns matches, if there
    /// are any. One with a `/` is put to the path, others to the name.
    pub include: Vec<String>,
    /// Of the files of directories and globs none that one of these patterns matches.
    pub exclude: Vec<String>,
    /// A file of further arguments, one in each line (or ended by NUL).
    pub files_from: Option<PathBuf>,
    /// Whether the directory that a file stands in is the namespace of its rows, as in the layout of
    /// Pinecone's import.
    pub namespace_from_dir: bool,
    /// Further certificates that stores are trusted by, in PEM form.
    pub ca_file: Option<PathBuf>,
}

/// A file, object or stream to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The name that people and reports see: the path as it was given, or the URL without its query.
    pub name: String,
    /// Where it is.
    pub origin: Origin,
    /// Its format.
    pub format: Format,
    /// How it is compressed as a whole.
    pub compression: Compression,
    /// Its size in bytes; 0 for a stream.
    pub bytes: u64,
    /// Where its rows belong that name no namespace, where its directory says so.
    pub namespace: Option<String>,
    /// The directory that it was found in, if that is below the one that was named.
    pub directory: Option<String>,
}

/// Where an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file, which can be opened as often as it takes.
    File(PathBuf),
    /// A version of an object in a store, of which any part can be read.
    Object(Object),
    /// The standard input, which is read once, in order.
    Stdin,
}

/// Finds the files that `arguments` name.
///
/// # Errors
///
/// If a file or directory is missing, cannot be read, or is in no format that is read, if a directory
/// has no data, or if a pattern is none or stands for nothing.
pub fn discover(arguments: &[String], discovery: &Discovery) -> Result<Vec<Input>, SourceError> {
    let pattern = |error| SourceError::new(SourceErrorKind::Unsupported, "a pattern", error);
    let mut search = Search {
        discovery,
        wanted: Wanted::new(&discovery.include, &discovery.exclude).map_err(pattern)?,
        stores: None,
        inputs: Vec::new(),
        known: HashSet::new(),
        left_out: Vec::new(),
    };
    for argument in arguments {
        search.argument(argument)?;
    }
    if let Some(list) = &discovery.files_from {
        for argument in lines_of(list)? {
            search.argument(&argument)?;
        }
    }
    Ok(search.inputs)
}

/// The arguments that a file lists.
fn lines_of(list: &Path) -> Result<Vec<String>, SourceError> {
    let text = fs::read_to_string(list).map_err(|error| cannot("read", list, &error))?;
    let end = if text.contains('\0') { '\0' } else { '\n' };
    let lines = text.split(end).map(|line| line.trim_end_matches('\r'));
    Ok(lines
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect())
}

struct Search<'a> {
    discovery: &'a Discovery,
    wanted: Wanted,
    /// Made when the first URL is met.
    stores: Option<Stores>,
    inputs: Vec<Input>,
    /// Files and directories that were met, by their real paths; objects by their names.
    known: HashSet<PathBuf>,
    /// Files of the directory at hand that are not taken for data.
    left_out: Vec<String>,
}

// === impl Input ===

impl Input {
    /// Whether it is read once, in order, and cannot be read again.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.origin == Origin::Stdin
    }

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

impl Search<'_> {
    fn argument(&mut self, argument: &str) -> Result<(), SourceError> {
        if argument == "-" {
            return self.stream();
        }
        if is_url(argument) {
            return self.url(argument);
        }
        let path = Path::new(argument);
        if is_glob(argument) && fs::symlink_metadata(path).is_err() {
            return self.glob(argument);
        }
        if metadata(path)?.is_dir() {
            self.root(path)
        } else {
            self.named(path)
        }
    }

    /// The standard input.
    fn stream(&mut self) -> Result<(), SourceError> {
        if !self.known.insert(PathBuf::from("-")) {
            return Ok(());
        }
        self.inputs.push(Input {
            name: "-".to_owned(),
            origin: Origin::Stdin,
            format: self.discovery.format.unwrap_or(Format::Jsonl),
            compression: Compression::None,
            bytes: 0,
            namespace: None,
            directory: None,
        });
        Ok(())
    }

    /// A pattern: it must stand for some data.
    fn glob(&mut self, glob: &str) -> Result<(), SourceError> {
        let paths = expand(glob)
            .map_err(|error| SourceError::new(SourceErrorKind::Unsupported, glob, error))?;
        let mut found = 0;
        for path in &paths {
            let metadata = metadata(path)?;
            if metadata.is_dir() {
                found += self.directory(path, None)?;
            } else {
                found += self.within(path, &metadata, None, true)?;
            }
        }
        self.warn_of_left_out();
        if found > 0 {
            return Ok(());
        }
        let message = match paths.len() {
            0 => "there is no such file".to_owned(),
            count => {
                format!("none of the {count} paths that it matches is or has Parquet or JSONL")
            }
        };
        Err(SourceError::new(SourceErrorKind::Empty, glob, message))
    }

    fn warn_of_left_out(&mut self) {
        for name in self.left_out.drain(..) {
            tracing::warn!(input = %name, "not taken for data; name the file, or state the format");
        }
    }

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
        match self.directory(path, None)? {
            0 => empty(self.nothing_in("directory")),
            _ => {
                self.warn_of_left_out();
                Ok(())
            }
        }
    }

    /// Why a directory or prefix gave nothing.
    fn nothing_in(&self, kind: &str) -> String {
        let others = match self.left_out.as_slice() {
            [] => String::new(),
            [first, rest @ ..] => format!(
                "; not taken for data: {first}{} (name the file, or state the format)",
                match rest.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                }
            ),
        };
        format!("there is no Parquet or JSONL file in this {kind}{others}")
    }

    /// Takes the files below a directory, which is called `below` if it is not one that was named; says
    /// how many there are, known ones included.
    fn directory(&mut self, path: &Path, below: Option<&str>) -> Result<usize, SourceError> {
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
            if is_hidden(&name) {
                continue;
            }
            let metadata = metadata(&entry)?;
            if metadata.is_dir() {
                let is_run = is_run_directory(&entry).map_err(failed)?;
                let is_test = is_dataset && name == "queries";
                if !is_run && !is_test {
                    found += self.directory(&entry, Some(&name))?;
                }
            } else {
                found += self.within(&entry, &metadata, below, false)?;
            }
        }
        Ok(found)
    }

    /// Takes a file that was found in a directory or by a glob, if it is data that is wanted; says how
    /// many it took.
    fn within(
        &mut self,
        path: &Path,
        metadata: &fs::Metadata,
        below: Option<&str>,
        by_glob: bool,
    ) -> Result<usize, SourceError> {
        if !self.wanted.has(path) {
            return Ok(0);
        }
        let format = if metadata.is_file() {
            self.format_within(path, by_glob, || content(path))?
        } else {
            None
        };
        let Some(format) = format else {
            self.left_out.push(show(path));
            return Ok(0);
        };
        self.take(path, metadata, format, below)?;
        Ok(1)
    }

    /// The format of a file that was found in a directory or by a glob, if it is data.
    fn format_within(
        &self,
        path: &Path,
        by_glob: bool,
        content: impl FnOnce() -> Result<Option<Format>, SourceError>,
    ) -> Result<Option<Format>, SourceError> {
        match (Named::of(path), self.discovery.format) {
            (Named::Unsupported(advice), _) => Err(unsupported(path, advice)),
            (Named::Format(named), Some(stated)) => Ok((named == stated).then_some(stated)),
            (Named::Format(format), None) => Ok(Some(format)),
            // Of a directory it may be about the data rather than the data.
            (Named::Json, _) => Ok(by_glob.then_some(Format::Jsonl)),
            (Named::Other { .. }, Some(stated)) => Ok(Some(stated)),
            (Named::Other { has_ending: true }, None) if !by_glob => Ok(None),
            // Spark's and Hadoop's `part-00000`.
            (Named::Other { .. }, None) => content(),
        }
    }

    /// The format of a file that was given by name.
    fn format_named(
        &self,
        path: &Path,
        content: impl FnOnce() -> Result<Option<Format>, SourceError>,
    ) -> Result<Format, SourceError> {
        Ok(match (self.discovery.format, Named::of(path)) {
            (Some(stated), _) => stated,
            (None, Named::Format(format)) => format,
            (None, Named::Json) => Format::Jsonl,
            (None, Named::Unsupported(advice)) => return Err(unsupported(path, advice)),
            (None, Named::Other { .. }) => content()?.ok_or_else(|| {
                unsupported(
                    path,
                    "neither its name nor its content is of Parquet or JSONL; state the format if it is",
                )
            })?,
        })
    }

    /// A file that was given by name.
    fn named(&mut self, path: &Path) -> Result<(), SourceError> {
        let metadata = metadata(path)?;
        if !metadata.is_file() {
            return Err(unsupported(
                path,
                "it is a pipe, a socket or a device, which cannot be opened twice; give - and redirect it into the standard input",
            ));
        }
        let format = self.format_named(path, || content(path))?;
        self.take(path, &metadata, format, None)
    }

    fn take(
        &mut self,
        path: &Path,
        metadata: &fs::Metadata,
        format: Format,
        below: Option<&str>,
    ) -> Result<(), SourceError> {
        let real = fs::canonicalize(path).map_err(|error| cannot("find", path, &error))?;
        let parent = real.parent().and_then(Path::file_name);
        let parent = parent.map(|name| name.to_string_lossy().into_owned());
        if !self.known.insert(real) {
            return Ok(());
        }
        let compression = match format {
            Format::Parquet => Compression::None,
            Format::Jsonl => {
                Compression::of_file(path).map_err(|error| cannot("read", path, &error))?
            }
        };
        self.inputs.push(Input {
            name: show(path),
            origin: Origin::File(path.to_owned()),
            format,
            compression,
            bytes: metadata.len(),
            namespace: parent.filter(|_| self.discovery.namespace_from_dir),
            directory: below.map(str::to_owned),
        });
        Ok(())
    }
}

fn content(path: &Path) -> Result<Option<Format>, SourceError> {
    let head = read_head(path).map_err(|error| cannot("read", path, &error))?;
    Ok(Format::of_content(&head))
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

fn metadata(path: &Path) -> Result<fs::Metadata, SourceError> {
    fs::metadata(path).map_err(|error| cannot("find", path, &error))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// Whether a name is one that writers give to what is no data. The directory of the default namespace in
/// Pinecone's import is data.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_']) && name != "__default__"
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> SourceError {
    SourceError::io(show(path), &format!("{what} it"), error)
}

fn unsupported(path: &Path, message: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Unsupported, show(path), message)
}

#[cfg(test)]
mod tests;
