//! The directory that holds everything of a run: its report and its dead letters.
//!
//! It is readable by its owner alone: dead letters hold whole records. A file is replaced by writing
//! beside it, syncing and renaming, so that a reader never sees half of one.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rand::{Rng, RngExt as _};

/// Where runs are kept that name no directory.
pub(crate) const RUNS: &str = "vecload-runs";

/// The directory of one run.
#[derive(Debug, Clone)]
pub(crate) struct RunDir {
    path: PathBuf,
}

// === impl RunDir ===

impl RunDir {
    /// Makes the directory, or takes an empty one.
    ///
    /// # Errors
    ///
    /// It cannot be made, or it holds something already.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read_dir(&path)?.next().is_some() {
                    return Err(io::Error::new(
                        io::ErrorKind::AlreadyExists,
                        "it holds another run; name a new directory",
                    ));
                }
            }
            other => other?,
        }
        Ok(Self { path })
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The place of the dead letters of this attempt.
    pub(crate) fn dead_letters(&self) -> PathBuf {
        self.path.join("rejected-1.jsonl")
    }

    /// The place of the report.
    pub(crate) fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }
}

/// A name for a run that sorts by time: `20261121T101502-7f3a9c`.
pub(crate) fn new_run_id(now: Timestamp, random: &mut impl Rng) -> String {
    let suffix: u32 = random.random_range(0..1 << 24);
    format!("{}-{suffix:06x}", now.strftime("%Y%m%dT%H%M%S"))
}

/// Replaces a file as a whole, durably.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use std::os::unix::fs::PermissionsExt as _;

    /// Scenario: a new directory below a missing one, the same one again, and one that holds a run.
    /// Guarantees: it is made for its owner alone, and another run's directory is refused.
    #[test]
    fn a_directory_holds_one_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs").join("a");
        let dir = RunDir::create(path.clone()).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        RunDir::create(path.clone()).expect("an empty one is taken");
        replace(&dir.report(), b"one").expect("written");
        replace(&dir.report(), b"two").expect("replaced");
        assert_eq!(fs::read(dir.report()).expect("readable"), b"two");
        assert_eq!(fs::read_dir(&path).expect("readable").count(), 1);
        let error = RunDir::create(path).expect_err("it holds a run");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    /// Scenario: two runs at the same second.
    /// Guarantees: their names differ and begin with the time.
    #[test]
    fn run_ids_sort_by_time() {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let now: Timestamp = "2026-11-21T10:15:02Z".parse().expect("a time");
        let ids = [new_run_id(now, &mut random), new_run_id(now, &mut random)];
        assert!(
            ids.iter().all(|id| id.starts_with("20261121T101502-")),
            "{ids:?}"
        );
        assert_ne!(ids[0], ids[1]);
    }
}
