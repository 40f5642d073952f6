//! The disk beneath the prescan and other sorting: one file without a name, and a count of the memory that is held.
//!
//! The file is unlinked as soon as it is open, so that nothing is left behind however the process
//! ends. It holds hashes and row numbers, no ids.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::statvfs::statvfs;

/// What is left free on the disk: for the checkpoint, dead letters, and whoever else is there.
const LEFT_FREE: u64 = 64 << 20;

/// A scratch file, made when it is first needed. Ranges of it are given out once and written by their
/// owners, from several threads.
#[derive(Debug)]
pub(crate) struct Spill {
    folder: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    end: AtomicU64,
    held: AtomicUsize,
    peak: AtomicUsize,
}

/// Memory that counts as held until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    spill: Arc<Spill>,
}

/// The scratch directory does not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpillError {
    #[error(
        "the search for duplicate ids cannot use {}: {error}; name another directory with --scratch-dir, or \
         skip the search with --duplicates any",
        folder.display()
    )]
    Io { folder: PathBuf, error: io::Error },
    #[error(
        "the search for duplicate ids needs {needed} bytes more in {}, where {free} are free and {LEFT_FREE} are \
         to stay so; name another directory with --scratch-dir, or skip the search with --duplicates any",
        folder.display()
    )]
    NoRoom {
        folder: PathBuf,
        needed: u64,
        free: u64,
    },
}

// === impl SpillError ===

impl SpillError {
    /// What is wrong with the directory, whatever it was to be used for.
    pub(crate) fn of_folder(&self) -> String {
        match self {
            Self::Io { folder, error } => format!("{} cannot be used: {error}", folder.display()),
            Self::NoRoom {
                folder,
                needed,
                free,
            } => {
                let folder = folder.display();
                format!(
                    "{needed} bytes more are needed in {folder}, where {free} are free and {LEFT_FREE} are to stay so"
                )
            }
        }
    }
}

// === impl Spill ===

impl Spill {
    /// A spill in a directory.
    pub(crate) fn new(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.to_owned(),
            file: Mutex::new(None),
            end: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    /// Makes the directory if need be, and fails if it has no room for so many bytes.
    pub(crate) fn expect_room(&self, bytes: u64) -> Result<(), SpillError> {
        let io = |error: io::Error| self.error(error);
        fs::create_dir_all(&self.folder).map_err(io)?;
        if bytes == 0 {
            return Ok(());
        }
        let disk = statvfs(&self.folder).map_err(|error| io(error.into()))?;
        #[allow(
            clippy::useless_conversion,
            reason = "the types differ between systems"
        )]
        let free = u64::from(disk.blocks_available()).saturating_mul(disk.fragment_size().into());
        if free < bytes.saturating_add(LEFT_FREE) {
            return Err(SpillError::NoRoom {
                folder: self.folder.clone(),
                needed: bytes,
                free,
            });
        }
        Ok(())
    }

    /// Gives out a range of so many bytes, for which there is room, and says where it begins.
    pub(super) fn reserve(&self, bytes: u64) -> Result<u64, SpillError> {
        self.expect_room(bytes)?;
        Ok(self.end.fetch_add(bytes, Ordering::Relaxed))
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), SpillError> {
        let written = self
            .file()
            .and_then(|file| file.write_all_at(bytes, offset));
        written.map_err(|error| self.error(error))
    }

    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), SpillError> {
        let read = self
            .file()
            .and_then(|file| file.read_exact_at(bytes, offset));
        read.map_err(|error| self.error(error))
    }

    /// Counts memory as held.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(held, Ordering::Relaxed);
        Held {
            bytes,
            spill: Arc::clone(self),
        }
    }

    /// The most memory that was held at once, in bytes.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// How much was spilled, in bytes.
    pub(crate) fn spilled(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let made = Arc::new(nameless_file(&self.folder)?);
        *file = Some(Arc::clone(&made));
        Ok(made)
    }

    fn error(&self, error: io::Error) -> SpillError {
        SpillError::Io {
            folder: self.folder.clone(),
            error,
        }
    }
}

/// A file in a directory that is gone when it is closed.
pub(crate) fn nameless_file(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    // Other processes, on other machines too, may use the directory at the same time: the name is drawn,
    // and a file that is there is never opened.
    let path = folder.join(format!(".prescan-{:032x}", rand::random::<u128>()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

// === impl Held ===

impl Drop for Held {
    fn drop(&mut self) {
        self.spill.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
