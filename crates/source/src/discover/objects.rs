//! Objects: what URLs stand for. A bucket has no directories, but its keys are read as paths.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{
    Compression, Format, Input, Origin, Search, SourceError, SourceErrorKind, cannot,
    content::HEAD_BYTES,
    is_hidden,
    patterns::{is_glob, matcher},
    unsupported,
};
use crate::store::{Fault, Object, StoreUrl, Stores, without_secrets};

impl Search<'_> {
    /// A URL: of an object, of a prefix, or a pattern.
    pub(super) fn url(&mut self, argument: &str) -> Result<(), SourceError> {
        let name = without_secrets(argument).into_owned();
        let fault = |fault: Fault| SourceError::fault(&name, &fault);
        let url = match StoreUrl::parse(argument) {
            Ok(Some(url)) => url,
            Ok(None) => return Err(unsupported(Path::new(&name), "it is no URL")),
            Err(error) => return Err(fault(error)),
        };
        let stores = self.stores()?;
        let is_prefix = url.key().is_empty() || url.key().ends_with('/');
        if url.has_no_listing() {
            if is_prefix {
                return Err(unsupported(
                    Path::new(&name),
                    "web servers do not list what they have; name each file, or list their URLs in a file for --files-from",
                ));
            }
            return match stores.find(&url).map_err(fault)? {
                Some(object) => self.named_object(object),
                None => Err(self.no_object(&name)),
            };
        }
        if !is_prefix && let Some(object) = stores.find(&url).map_err(fault)? {
            return self.named_object(object);
        }
        if is_glob(url.key()) {
            return self.object_glob(&stores, &url, &name);
        }
        let found = self.prefix(stores.list(&url).map_err(fault)?, url.key())?;
        match found {
            None => Err(self.no_object(&name)),
            Some(0) => Err(SourceError::new(
                SourceErrorKind::Empty,
                name,
                self.nothing_in("prefix"),
            )),
            Some(_) => {
                self.warn_of_left_out();
                Ok(())
            }
        }
    }

    fn no_object(&self, name: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::NotFound,
            name,
            "there is no such object, nor any below it",
        )
    }

    fn stores(&mut self) -> Result<Stores, SourceError> {
        if let Some(stores) = &self.stores {
            return Ok(stores.clone());
        }
        let stores = Stores::new(self.discovery.ca_file.as_ref()).map_err(|message| {
            SourceError::new(SourceErrorKind::Unreadable, "object stores", message)
        })?;
        Ok(self.stores.insert(stores).clone())
    }

    /// A pattern: it must stand for some data.
    fn object_glob(
        &mut self,
        stores: &Stores,
        url: &StoreUrl,
        name: &str,
    ) -> Result<(), SourceError> {
        let unsupported = |message| SourceError::new(SourceErrorKind::Unsupported, name, message);
        let matcher = matcher(url.key()).map_err(unsupported)?;
        let parts: Vec<&str> = url.key().split('/').collect();
        let fixed = parts.iter().take_while(|part| !is_glob(part)).count();
        let start = parts[..fixed].join("/");
        let objects = stores
            .list(&url.with_key(&start))
            .map_err(|fault| SourceError::fault(name, &fault))?;
        let (mut matched, mut found) = (0, 0);
        for (object, _) in in_order(objects, &start) {
            // A match of what would be a directory takes what is below it.
            let is_whole = matcher.is_match(object.path());
            let mut above = object.path().ancestors().skip(1);
            if !is_whole && !above.any(|path| matcher.is_match(path)) {
                continue;
            }
            matched += 1;
            found += self.object_within(object, None, is_whole)?;
        }
        self.warn_of_left_out();
        match (found, matched) {
            (0, 0) => Err(SourceError::new(
                SourceErrorKind::Empty,
                name,
                "there is no such object",
            )),
            (0, count) => Err(SourceError::new(
                SourceErrorKind::Empty,
                name,
                format!("none of the {count} objects that it matches is Parquet or JSONL"),
            )),
            _ => Ok(()),
        }
    }

    /// Takes the data below a prefix and says how many objects that are; `None` where there are no objects.
    fn prefix(&mut self, objects: Vec<Object>, prefix: &str) -> Result<Option<usize>, SourceError> {
        if objects.is_empty() {
            return Ok(None);
        }
        let objects = in_order(objects, prefix);
        let runs = self.runs_among(&objects)?;
        // The parents of `documents`, beside which pinecone-datasets has its test queries.
        let datasets: HashSet<Vec<String>> = objects
            .iter()
            .flat_map(|(_, below)| levels(below, "documents"))
            .map(<[String]>::to_vec)
            .collect();
        let mut found = 0;
        for (object, below) in objects {
            let folders = &below[..below.len().saturating_sub(1)];
            let is_test = levels(folders, "queries").any(|parent| datasets.contains(parent));
            if is_test || runs.iter().any(|run| object.path().starts_with(run)) {
                continue;
            }
            let directory = below.len().checked_sub(2).map(|last| below[last].clone());
            found += self.object_within(object, directory.as_deref(), false)?;
        }
        Ok(Some(found))
    }

    /// The directories among these objects that are run directories, which hold what a load leaves behind.
    fn runs_among(&self, objects: &[(Object, Vec<String>)]) -> Result<Vec<PathBuf>, SourceError> {
        let mut runs = Vec::new();
        for (object, _) in objects {
            let path = object.path();
            let Some(folder) = path.parent() else {
                continue;
            };
            if let Some(all) = path
                .ancestors()
                .skip(1)
                .find(|above| above.ends_with("vecload-runs"))
            {
                runs.push(all.to_owned());
            } else if path.ends_with("report.json") || path.ends_with("plan") {
                let head = head(object)?;
                if memchr::memmem::find(&head, b"vecload").is_some() {
                    runs.push(folder.to_owned());
                }
            }
        }
        Ok(runs)
    }

    /// Takes an object that was found below a prefix or by a pattern, if it is data that is wanted; says how
    /// many it took.
    fn object_within(
        &mut self,
        object: Object,
        below: Option<&str>,
        by_glob: bool,
    ) -> Result<usize, SourceError> {
        let name = object.name().to_owned();
        let path = Path::new(&name);
        if !self.wanted.has(path) {
            return Ok(0);
        }
        let content = || Ok(Format::of_content(&head(&object)?));
        let Some(format) = self.format_within(path, by_glob, content)? else {
            // What stands for a directory is an object of no bytes.
            if object.bytes() > 0 {
                self.left_out.push(name);
            }
            return Ok(0);
        };
        self.take_object(object, format, below)?;
        Ok(1)
    }

    /// An object that was given by name.
    fn named_object(&mut self, object: Object) -> Result<(), SourceError> {
        let name = object.name().to_owned();
        let content = || Ok(Format::of_content(&head(&object)?));
        let format = self.format_named(Path::new(&name), content)?;
        self.take_object(object, format, None)
    }

    fn take_object(
        &mut self,
        object: Object,
        format: Format,
        below: Option<&str>,
    ) -> Result<(), SourceError> {
        if !self.known.insert(object.name().into()) {
            return Ok(());
        }
        let compression = match format {
            Format::Parquet => Compression::None,
            Format::Jsonl => Compression::of_content(&head(&object)?),
        };
        let parent = object.path().parent().and_then(Path::file_name);
        let parent = parent.map(|name| name.to_string_lossy().into_owned());
        self.inputs.push(Input {
            name: object.name().to_owned(),
            format,
            compression,
            bytes: object.bytes(),
            namespace: parent.filter(|_| self.discovery.namespace_from_dir),
            directory: below.map(str::to_owned),
            origin: Origin::Object(object),
        });
        Ok(())
    }
}

/// Objects level by level as files of directories are, without hidden ones; each with its path below the prefix.
fn in_order(objects: Vec<Object>, prefix: &str) -> Vec<(Object, Vec<String>)> {
    let prefix = prefix.trim_end_matches('/');
    let mut found: Vec<_> = objects
        .into_iter()
        .filter_map(|object| {
            let below = object.path().strip_prefix(prefix).ok()?;
            let parts: Vec<String> = below
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            (!parts.iter().any(|part| is_hidden(part))).then_some((object, parts))
        })
        .collect();
    found.sort_by(|one, other| one.1.cmp(&other.1));
    found
}

/// What stands before each part of that name.
fn levels<'a>(path: &'a [String], name: &str) -> impl Iterator<Item = &'a [String]> {
    (0..path.len())
        .filter(move |level| path[*level] == name)
        .map(|level| &path[..level])
}

fn head(object: &Object) -> Result<bytes::Bytes, SourceError> {
    object
        .read(0..HEAD_BYTES)
        .map_err(|error| cannot("read", Path::new(object.name()), &error))
}
