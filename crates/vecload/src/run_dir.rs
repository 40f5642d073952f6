//! The directory that holds everything of a run.
//!
//! ```text
//! lock                   held by the process that works on the run
//! plan                   what the run is of: JSON, written last, so that where it is the rest is too
//! baseline               what the index held before: JSON, written before anything is sent
//! checkpoint/            what is settled
//! prescan                which rows later ones supersede
//! rejected-N.jsonl       the dead letters
//! report.json            how the run stands
//! ```
//!
//! It is readable by its owner alone: dead letters hold whole records. A file is replaced by writing
//! beside it, syncing and renaming, so that a reader never sees half of one.
//!
//! One in an object store is a local one for the life of the process, and a [`Mirror`] keeps it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use rand::{Rng, RngExt as _};
use serde::Serialize;
use serde_json::Value;
use vecload_source::StoreFolder;

use crate::baseline::Counts;
use crate::checkpoint::{FOLDER, State};
use crate::mirror::{self, Mirror, MirrorError, Point};

/// Where runs are kept that name no directory.
pub(crate) const RUNS: &str = "vecload-runs";

const LOCK: &str = "lock";
pub(crate) const PLAN: &str = "plan";
pub(crate) const BASELINE: &str = "baseline";
pub(crate) const REPORT: &str = "report.json";
pub(crate) const PRESCAN: &str = "prescan";
const NEW_PRESCAN: &str = "prescan.new";

/// The directory of one run, which this process alone works in.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// What it is called: its path, or its URL.
    name: PathBuf,
    /// Keeps it in a store, where it is in one.
    mirror: Option<Arc<Mutex<Mirror>>>,
    /// Released when the process ends, however it does.
    _lock: Flock<File>,
}

/// Why a directory cannot be the one of this run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRunDir {
    #[error("the run directory {} cannot be made: {error}", path.display())]
    Unusable { path: PathBuf, error: io::Error },
    #[error("{} is in use by another vecload (process {process}); wait for it, or stop it", path.display())]
    Locked { path: PathBuf, process: String },
    #[error("{} holds no run", path.display())]
    NoRun { path: PathBuf },
    #[error(
        "{} is in an object store, where only `vecload load` reads and continues runs; load with --verify, and see the \
         report that --report or --json gives", path.display()
    )]
    InStore { path: PathBuf },
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error("{} holds other files ({file}); name a new or an empty directory", path.display())]
    Foreign { path: PathBuf, file: String },
}

// === impl NoRunDir ===

impl NoRunDir {
    /// Why there is no run in a directory that has no plan.
    pub(crate) fn none_in(path: PathBuf) -> Self {
        if path.to_string_lossy().contains("://") {
            Self::InStore { path }
        } else {
            Self::NoRun { path }
        }
    }
}

// === impl RunDir ===

impl RunDir {
    /// Takes the directory, which is made if need be. It has a run, or nothing but what is left of
    /// one that never began.
    pub(crate) fn take(path: PathBuf) -> Result<Self, NoRunDir> {
        let lock = match make(&path).and_then(|()| lock(&path)) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                let process = fs::read_to_string(path.join(LOCK)).unwrap_or_default();
                let process = process.trim().to_owned();
                return Err(NoRunDir::Locked { path, process });
            }
            Err(error) => return Err(NoRunDir::Unusable { path, error }),
        };
        match foreign_file(&path) {
            Ok(None) => Ok(Self {
                name: path.clone(),
                mirror: None,
                path,
                _lock: lock,
            }),
            Ok(Some(file)) => {
                let _ = fs::remove_file(path.join(LOCK));
                Err(NoRunDir::Foreign { path, file })
            }
            Err(error) => Err(NoRunDir::Unusable { path, error }),
        }
    }

    /// Fetches a directory that is in a store into a new local one below `scratch`. It is this process's once it
    /// is saved.
    pub(crate) fn fetch(folder: StoreFolder, scratch: &Path) -> Result<Self, NoRunDir> {
        let name = PathBuf::from(folder.name());
        let local = format!("vecload-run-{:016x}", rand::random::<u64>());
        let dir = Self::take(scratch.join(local))?;
        let mirror = Mirror::fetch(folder, &dir.path)?;
        Ok(Self {
            name,
            mirror: Some(Arc::new(Mutex::new(mirror))),
            ..dir
        })
    }

    /// What it is called: its path, or its URL.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    /// What keeps it in a store, where it is in one.
    pub(crate) fn mirror(&self) -> Option<Arc<Mutex<Mirror>>> {
        self.mirror.clone()
    }

    /// Keeps the files in the store, and the state if one is given, where the directory is in a store.
    pub(crate) fn save(&self, state: Option<&State>) -> Result<(), MirrorError> {
        let Some(mirror) = &self.mirror else {
            return Ok(());
        };
        let point = state.map(Point::of).transpose();
        let mut mirror = mirror::lock(mirror);
        let point = point.map_err(|error| mirror.io(error))?;
        mirror.save(point.as_ref())
    }

    /// Takes the directory of a run that is there.
    pub(crate) fn of_run(path: PathBuf) -> Result<Self, NoRunDir> {
        match path.join(PLAN).try_exists() {
            Ok(true) => Self::take(path),
            Ok(false) => Err(NoRunDir::none_in(path)),
            Err(error) => Err(NoRunDir::Unusable { path, error }),
        }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The place of the report.
    pub(crate) fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// What the run is of, if it has begun.
    pub(crate) fn plan(&self) -> io::Result<Option<Vec<u8>>> {
        plan_of(&self.path)
    }

    /// Writes down what the run is of. With it the run has begun.
    pub(crate) fn write_plan(&self, plan: &[u8]) -> io::Result<()> {
        replace(&self.path.join(PLAN), plan)
    }

    /// What was found of superseded rows, if that was looked for to the end.
    pub(crate) fn prescan(&self) -> io::Result<Option<File>> {
        match File::open(self.path.join(PRESCAN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    /// An empty file for what will be found of superseded rows. It counts once it is kept.
    pub(crate) fn new_prescan(&self) -> io::Result<File> {
        own_file()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path.join(NEW_PRESCAN))
    }

    /// Keeps the file that [`RunDir::new_prescan`] gave, durably, in place of an older one.
    pub(crate) fn keep_prescan(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        let path = self.path.join(PRESCAN);
        fs::rename(self.path.join(NEW_PRESCAN), &path)?;
        sync_folder(&path)
    }

    /// What the index held before the run, if that is written down. Where it is not, nothing was sent.
    pub(crate) fn baseline(&self) -> io::Result<Option<Counts>> {
        let bytes = read_if_there(&self.path.join(BASELINE))?;
        bytes
            .map(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from))
            .transpose()
    }

    /// Writes down what the index holds before the run sends anything.
    pub(crate) fn write_baseline(&self, counts: &Counts) -> io::Result<()> {
        replace(&self.path.join(BASELINE), &serde_json::to_vec(counts)?)
    }

    /// Whether the run's report says that it is complete.
    pub(crate) fn is_reported_complete(&self) -> io::Result<bool> {
        let report = report_of(&self.path)?.unwrap_or_default();
        let report: Value = serde_json::from_slice(&report).unwrap_or_default();
        Ok(report["status"] == "complete")
    }

    /// Sets a field of the run's report, if it has one.
    pub(crate) fn add_to_report(&self, field: &str, value: &impl Serialize) -> io::Result<()> {
        let Some(report) = report_of(&self.path)? else {
            return Ok(());
        };
        let mut report: Value = serde_json::from_slice(&report)?;
        report[field] = serde_json::to_value(value)?;
        let mut text = serde_json::to_vec_pretty(&report)?;
        text.push(b'\n');
        replace(&self.report(), &text)
    }

    /// Removes everything of a run that was refused before anything was sent.
    pub(crate) fn discard(self) -> io::Result<()> {
        if let Some(mirror) = &self.mirror {
            // The local files go with the mirror.
            return mirror::lock(mirror).discard().map_err(io::Error::other);
        }
        // The plan first: without it the rest is nothing.
        for file in [PLAN, BASELINE, REPORT, PRESCAN, NEW_PRESCAN] {
            match fs::remove_file(self.path.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::remove_dir_all(self.path.join(FOLDER))?;
        fs::remove_file(self.path.join(LOCK))?;
        // An empty directory that was there before is as good as none.
        fs::remove_dir(&self.path)
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path.join(FOLDER))
}

/// Takes the lock; none if another process has it.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let file = own_file()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0)?;
            writeln!(lock, "{}", std::process::id())?;
            Ok(Some(lock))
        }
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// A file that is not ours in a directory where no run has begun.
fn foreign_file(path: &Path) -> io::Result<Option<String>> {
    if path.join(PLAN).try_exists()? {
        return Ok(None);
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if ![LOCK, FOLDER, "plan.new"].contains(&name.as_str()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The runs below a directory, by name: their directories and plans.
pub(crate) fn runs_below(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut runs = Vec::new();
    for path in paths {
        if let Some(plan) = read_if_there(&path.join(PLAN))? {
            runs.push((path, plan));
        }
    }
    Ok(runs)
}

/// What the run in a directory is of, if there is a run.
pub(crate) fn plan_of(run: &Path) -> io::Result<Option<Vec<u8>>> {
    read_if_there(&run.join(PLAN))
}

/// The report of the run in a directory, if it has one.
pub(crate) fn report_of(run: &Path) -> io::Result<Option<Vec<u8>>> {
    read_if_there(&run.join(REPORT))
}

/// When the run in a directory last wrote down what is settled, if that can be told.
pub(crate) fn checkpoint_written(run: &Path) -> Option<Timestamp> {
    let entries = fs::read_dir(run.join(FOLDER)).ok()?;
    let written = entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok());
    written.max()?.try_into().ok()
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// A name for a run that sorts by time: `20261121T101502-7f3a9c`.
pub(crate) fn new_run_id(now: Timestamp, random: &mut impl Rng) -> String {
    let suffix: u32 = random.random_range(0..1 << 24);
    format!("{}-{suffix:06x}", now.strftime("%Y%m%dT%H%M%S"))
}

/// How files of a run are opened for writing: made for their owner alone, and never through a symbolic
/// link, which somebody may have put in their place.
pub(crate) fn own_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    options
}

/// Replaces a file as a whole, durably.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = own_file()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)
}

/// Makes the entry of a file in its directory durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use std::os::unix::fs::PermissionsExt as _;

    /// Scenario: a new directory below a missing one, while it is taken, after it, and with a stranger's file.
    /// Guarantees: it is made for its owner alone; of two takers one gets it; other files are left alone.
    #[test]
    fn a_directory_has_one_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs").join("a");
        let dir = RunDir::take(path.clone()).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refused = RunDir::take(path.clone()).expect_err("taken");
        let words = refused.to_string();
        assert!(
            words.contains(&format!("process {}", std::process::id())),
            "{words}"
        );
        drop(dir);
        RunDir::take(path.clone()).expect("left alone, it is free");
        fs::write(path.join("thesis.tex"), "x").expect("written");
        let refused = RunDir::take(path.clone()).expect_err("not ours");
        assert!(refused.to_string().contains("thesis.tex"), "{refused}");
        let dir = RunDir {
            _lock: lock(&path).expect("a lock").expect("free"),
            path: path.clone(),
            name: path.clone(),
            mirror: None,
        };
        dir.write_plan(b"{}").expect("written");
        drop(dir);
        let dir = RunDir::take(path).expect("with a run in it, other files do not matter");
        assert_eq!(dir.plan().expect("readable").as_deref(), Some(&b"{}"[..]));
    }

    /// Scenario: a run is discarded, and a file is replaced twice.
    /// Guarantees: nothing is left of the run, its prescan included; the file has its last content and nothing is beside it.
    #[test]
    fn what_is_discarded_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = RunDir::take(folder.path().join("a")).expect("made");
        dir.write_plan(b"{}").expect("written");
        assert!(dir.prescan().expect("readable").is_none());
        let prescan = dir.new_prescan().expect("made");
        dir.keep_prescan(&prescan).expect("kept");
        assert!(dir.prescan().expect("readable").is_some());
        dir.new_prescan().expect("another one");
        dir.discard().expect("discarded");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
        let file = folder.path().join("report.json");
        replace(&file, b"one").expect("written");
        replace(&file, b"two").expect("replaced");
        assert_eq!(fs::read(&file).expect("readable"), b"two");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    /// Scenario: symbolic links to a file of somebody else in all places where files of a run are written.
    /// Guarantees: that file is never written to: the writing is refused, or the link itself is replaced.
    #[test]
    fn no_link_is_followed() {
        use crate::checkpoint::{Disk as _, RunDisk};
        let folder = tempfile::tempdir().expect("a folder");
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        let link = |path: &Path| std::os::unix::fs::symlink(&victim, path).expect("linked");
        let linked = folder.path().join("locked");
        make(&linked).expect("made");
        link(&linked.join(LOCK));
        RunDir::take(linked).expect_err("its lock is a link");

        let dir = RunDir::take(folder.path().join("run")).expect("made");
        link(&dir.path().join("plan.new"));
        dir.write_plan(b"{}").expect_err("a link");
        link(&dir.path().join(NEW_PRESCAN));
        dir.new_prescan().expect_err("a link");
        link(&dir.path().join("rejected-1.jsonl"));
        let mut disk = RunDisk::new(dir.path());
        disk.append("rejected-1.jsonl", b"{}").expect_err("a link");
        disk.truncate("rejected-1.jsonl", 0).expect_err("a link");
        link(&dir.report());
        replace(&dir.report(), b"{}").expect("replaced");
        assert_eq!(fs::read(&victim).expect("readable"), b"precious");
        assert_eq!(fs::read(dir.report()).expect("readable"), b"{}");
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
