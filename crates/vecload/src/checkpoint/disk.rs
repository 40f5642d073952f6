//! The few things that a checkpoint asks of a file system: a seam, so that tests can use one that
//! forgets what was not synced.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use crate::run_dir::{own_file, replace, sync_folder};

/// Files of a run, by their names within its directory.
pub(crate) trait Disk: fmt::Debug + Send {
    /// The content of a file, if there is such a file.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Opens a file for reading; one that is not there is empty.
    fn open(&self, name: &str) -> io::Result<Box<dyn BufRead>>;

    /// Appends to a file, which is made if need be.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Cuts a file that is longer, durably. One that is not there is left so.
    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()>;

    /// Replaces a file as a whole, durably.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file, if it is there.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// The files of a run in its directory.
#[derive(Debug)]
pub(crate) struct RunDisk {
    root: PathBuf,
    /// Files that are being appended to.
    open: HashMap<String, File>,
}

// === impl RunDisk ===

impl RunDisk {
    /// The files in a directory.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            open: HashMap::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Disk for RunDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        found(fs::read(self.path(name)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn BufRead>> {
        Ok(match found(File::open(self.path(name)))? {
            Some(file) => Box::new(BufReader::new(file)),
            None => Box::new(io::empty()),
        })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let file = match self.open.get_mut(name) {
            Some(file) => file,
            None => {
                let is_new = !path.try_exists()?;
                let file = own_file().create(true).append(true).open(&path)?;
                if is_new {
                    // The entry in the directory has to last as well as the content.
                    sync_folder(&path)?;
                }
                self.open.entry(name.to_owned()).or_insert(file)
            }
        };
        file.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        match self.open.get(name) {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let Some(file) = found(own_file().write(true).open(self.path(name)))? else {
            return Ok(());
        };
        if file.metadata()?.len() > bytes {
            file.set_len(bytes)?;
        }
        // Also where it has its length: what a killed process wrote may not be on the disk yet.
        file.sync_all()
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.path(name), bytes)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        found(fs::remove_file(self.path(name))).map(|_| ())
    }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
