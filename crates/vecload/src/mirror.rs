//! A run directory in an object store: the files of a local one, kept in step.
//!
//! ```text
//! run.json                                   the manifest: who owns the run, and which objects its files are made of
//! plan/TAG  baseline/TAG  prescan/TAG        files as they were when they were written; a TAG is used once
//! report.json/TAG  checkpoint/snapshot/TAG
//! rejected-N.jsonl/OFFSET-TAG.jsonl          the dead letters, part by part
//! ```
//!
//! The manifest is the run. It is written on condition that nobody else has written it since, after every object
//! that it names, so it never counts a dead letter that is not there (INV-5), and of two owners the one that comes
//! second finds out and stops. What happened after the last manifest is forgotten, rows and books together: the
//! rows are sent again and counted once (INV-1, INV-2).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vecload_source::{ObjectVersion, StoreFolder};

use crate::checkpoint::{SNAPSHOT, State, letters_name, snapshot};
use crate::run_dir::{BASELINE, PLAN, PRESCAN, REPORT, own_file};
use crate::stop::{ExitCode, Stop, StopReason};

/// The version of the manifest. A reader refuses every other one.
const MANIFEST_VERSION: u32 = 1;
const MANIFEST: &str = "run.json";

/// Files that are replaced as a whole, but for the snapshot, which is taken from memory.
const WHOLE: [&str; 4] = [PLAN, BASELINE, PRESCAN, REPORT];

/// The last part of the dead letters is written anew with what follows as long as it is smaller, so that parts are few.
const PART_AT_LEAST: u64 = 1 << 20;

/// How often a reading begins anew before that is given up.
const TRIES: usize = 5;

/// How long is waited before a conditional write is tried again. The client repeats it by itself only where it is
/// certain that it was not taken.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The files of a run in a store, and its local copy.
#[derive(Debug)]
pub(crate) struct Mirror {
    folder: StoreFolder,
    local: PathBuf,
    /// As it is in the store; owner, epoch and sequence are this process's.
    manifest: Manifest,
    /// Of which version it is there; none where there is none.
    version: Option<ObjectVersion>,
    /// The whole files as they were sent or fetched.
    stamps: BTreeMap<&'static str, Stamp>,
    is_lost: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    manifest_version: u32,
    /// How many owners the run has had.
    epoch: u64,
    /// A random name.
    owner: String,
    /// How often the owner has tried to write it.
    sequence: u64,
    /// The files by name, each with its parts in order.
    files: BTreeMap<String, Vec<Part>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// Its key below the prefix.
    object: String,
    bytes: u64,
}

/// What tells one writing of a local file from another: each makes a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

/// The state of a run at one instant, as it is kept.
#[derive(Debug)]
pub(crate) struct Point {
    snapshot: Bytes,
    letters_file: u32,
    letters_end: u64,
}

/// Why the run in a store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    #[error(
        "another vecload has taken the run in {0}, so this one sends nothing; leave the run to it, or stop it and give \
         the command again"
    )]
    Taken(String),
    #[error("the run in {0} cannot be used: {1}")]
    Unusable(String, String),
    #[error("{0}: {1}; mend that and run the same command again")]
    Io(String, io::Error),
}

/// Keeps the state of a run that goes on, from a thread of its own. Dropping it waits until nothing is under way.
pub(crate) struct Keeper {
    points: Option<mpsc::SyncSender<Point>>,
    thread: Option<JoinHandle<()>>,
}

// === impl Manifest ===

impl Manifest {
    fn objects(&self) -> BTreeSet<&str> {
        let parts = self.files.values().flatten();
        parts.map(|part| part.object.as_str()).collect()
    }

    /// What objects are called that are written now; no other process and no other attempt has the name.
    fn tag(&self) -> String {
        format!("{:06}-{}-{:06}", self.epoch, self.owner, self.sequence)
    }
}

// === impl Point ===

impl Point {
    pub(crate) fn of(state: &State) -> io::Result<Self> {
        Ok(Self {
            snapshot: snapshot(state)?.into(),
            letters_file: state.letters_file,
            letters_end: state.letters.offset,
        })
    }
}

// === impl Mirror ===

impl Mirror {
    /// Fetches what a store has of a run into an empty local directory. In the store nothing changes.
    pub(crate) fn fetch(folder: StoreFolder, local: &Path) -> Result<Self, MirrorError> {
        let mut mirror = Self {
            folder,
            local: local.to_owned(),
            manifest: Manifest::default(),
            version: None,
            stamps: BTreeMap::new(),
            is_lost: false,
        };
        for _ in 0..TRIES {
            if mirror.fetch_once()? {
                mirror.manifest.manifest_version = MANIFEST_VERSION;
                mirror.manifest.epoch += 1;
                mirror.manifest.owner = format!("{:016x}", rand::random::<u64>());
                mirror.manifest.sequence = 0;
                return Ok(mirror);
            }
        }
        Err(mirror.unusable(
            "objects that its manifest names are missing, or another vecload is at work on it",
        ))
    }

    /// Whether all was there that the manifest names. An owner that is at work replaces objects.
    fn fetch_once(&mut self) -> Result<bool, MirrorError> {
        let found = self.folder.read(MANIFEST);
        let Some((text, version)) = found.map_err(|error| self.io(error))? else {
            return Ok(true);
        };
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| self.unusable(format!("its manifest {MANIFEST}: {error}")))?;
        if manifest.manifest_version != MANIFEST_VERSION {
            return Err(self.unusable(format!(
                "its manifest is of version {} and this vecload reads version {MANIFEST_VERSION}",
                manifest.manifest_version
            )));
        }
        for (name, parts) in &manifest.files {
            if !is_file_of_run(name) {
                return Err(self.unusable(format!("its manifest names a file {name:?}")));
            }
            let fetched = fetch_file(&self.folder, &self.local.join(name), parts);
            if !fetched.map_err(|error| self.io(error))? {
                return Ok(false);
            }
        }
        for name in WHOLE {
            let stamp = Stamp::of(&self.local.join(name)).map_err(|error| self.io(error))?;
            self.stamps.extend(stamp.map(|stamp| (name, stamp)));
        }
        self.manifest = manifest;
        self.version = Some(version);
        Ok(true)
    }

    /// Keeps the files as they are, and the state if one is given. The first time this takes the run over.
    pub(crate) fn save(&mut self, point: Option<&Point>) -> Result<(), MirrorError> {
        if self.is_lost {
            return Err(self.taken());
        }
        // Names of objects are not used again, whatever becomes of this attempt.
        self.manifest.sequence += 1;
        let mut next = self.manifest.clone();
        let stamps = self
            .send(point, &mut next)
            .map_err(|error| self.io(error))?;
        if next == self.manifest {
            return Ok(());
        }
        self.commit(next)?;
        self.stamps = stamps;
        Ok(())
    }

    /// Forgets a run that never sent anything.
    pub(crate) fn discard(&mut self) -> Result<(), MirrorError> {
        self.manifest.sequence += 1;
        let next = Manifest {
            files: BTreeMap::new(),
            ..self.manifest.clone()
        };
        self.commit(next)
    }

    /// Sends what is new, as objects of their own that count once they are named.
    fn send(
        &self,
        point: Option<&Point>,
        next: &mut Manifest,
    ) -> io::Result<BTreeMap<&'static str, Stamp>> {
        let mut stamps = self.stamps.clone();
        let tag = next.tag();
        for name in WHOLE {
            let path = self.local.join(name);
            let Some(stamp) = Stamp::of(&path)? else {
                continue;
            };
            if stamps.insert(name, stamp) == Some(stamp) {
                continue;
            }
            let mut file = File::open(&path)?;
            let (object, bytes) = (format!("{name}/{tag}"), file.metadata()?.len());
            self.folder.upload(&object, &mut file, 0..bytes)?;
            let parts = vec![Part { object, bytes }];
            next.files.insert(name.to_owned(), parts);
        }
        let Some(point) = point else {
            return Ok(stamps);
        };
        for number in 1..=point.letters_file {
            self.send_letters(point, number, next)?;
        }
        let object = format!("{SNAPSHOT}/{tag}");
        self.folder.write(&object, point.snapshot.clone())?;
        let bytes = point.snapshot.len() as u64;
        let parts = vec![Part { object, bytes }];
        next.files.insert(SNAPSHOT.to_owned(), parts);
        Ok(stamps)
    }

    fn send_letters(&self, point: &Point, number: u32, next: &mut Manifest) -> io::Result<()> {
        let name = letters_name(number);
        let mut file = match File::open(self.local.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let end = match number {
            number if number == point.letters_file => point.letters_end,
            _ => file.metadata()?.len(),
        };
        let mut parts = next.files.remove(&name).unwrap_or_default();
        let mut start: u64 = parts.iter().map(|part| part.bytes).sum();
        if start > end {
            // What was there is not what is counted.
            parts.clear();
            start = 0;
        }
        if start < end {
            if let Some(last) = parts.pop_if(|last| last.bytes < PART_AT_LEAST) {
                start -= last.bytes;
            }
            let object = format!("{name}/{start:016}-{}.jsonl", next.tag());
            self.folder.upload(&object, &mut file, start..end)?;
            let bytes = end - start;
            parts.push(Part { object, bytes });
        }
        if !parts.is_empty() {
            next.files.insert(name, parts);
        }
        Ok(())
    }

    /// Puts a manifest in place of the one that was found or written last, and removes what it names no more.
    fn commit(&mut self, next: Manifest) -> Result<(), MirrorError> {
        let text = serde_json::to_vec(&next).map_err(|error| self.io(error.into()))?;
        let text = Bytes::from(text);
        let Some(version) = self.put(&text).map_err(|error| self.io(error))? else {
            self.is_lost = true;
            remove(
                &self.folder,
                next.objects().difference(&self.manifest.objects()),
            );
            return Err(self.taken());
        };
        remove(
            &self.folder,
            self.manifest.objects().difference(&next.objects()),
        );
        self.version = Some(version);
        self.manifest = next;
        Ok(())
    }

    /// Writes the manifest if it is still ours; otherwise gives none.
    fn put(&self, text: &Bytes) -> io::Result<Option<ObjectVersion>> {
        let mut version = self.version.clone();
        let mut failed = None;
        for pause in PAUSES {
            let written = self
                .folder
                .write_if(MANIFEST, text.clone(), version.as_ref());
            match written {
                Ok(Some(version)) => return Ok(Some(version)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
            // It may have been written, by this or an earlier try, while the answer was lost.
            match self.folder.read(MANIFEST)? {
                Some((found, version)) if found == *text => return Ok(Some(version)),
                Some((found, ours)) if self.is_ours(&found) => version = Some(ours),
                Some((_, found)) if failed.is_some() && version.as_ref() == Some(&found) => {}
                None if failed.is_some() && version.is_none() => {}
                _ => return Ok(None),
            }
            self.folder.pause(pause)?;
        }
        Err(failed.unwrap_or_else(|| {
            io::Error::other(format!(
                "{MANIFEST} is refused again and again although nobody else has written it"
            ))
        }))
    }

    fn is_ours(&self, text: &[u8]) -> bool {
        serde_json::from_slice::<Manifest>(text)
            .is_ok_and(|manifest| manifest.owner == self.manifest.owner)
    }

    fn taken(&self) -> MirrorError {
        MirrorError::Taken(self.folder.name().to_owned())
    }

    fn unusable(&self, what: impl Into<String>) -> MirrorError {
        MirrorError::Unusable(self.folder.name().to_owned(), what.into())
    }

    pub(crate) fn io(&self, error: io::Error) -> MirrorError {
        MirrorError::Io(self.folder.name().to_owned(), error)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // The store has it. What cannot be removed is in a directory for what may be.
        let _ = fs::remove_dir_all(&self.local);
    }
}

/// Makes a file of its parts; whether all of them are there.
fn fetch_file(folder: &StoreFolder, path: &Path, parts: &[Part]) -> io::Result<bool> {
    let mut file = own_file()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    for part in parts {
        match folder.download(&part.object, &mut file)? {
            None => return Ok(false),
            Some(bytes) if bytes == part.bytes => {}
            Some(bytes) => {
                return Err(io::Error::other(format!(
                    "{} has {bytes} bytes, and {} were written",
                    part.object, part.bytes
                )));
            }
        }
    }
    file.sync_all()?;
    Ok(true)
}

/// Whether a manifest may name a file so: it is written to below the local directory.
fn is_file_of_run(name: &str) -> bool {
    let number = name.strip_prefix("rejected-");
    let number = number.and_then(|rest| rest.strip_suffix(".jsonl"));
    WHOLE.contains(&name)
        || name == SNAPSHOT
        || number.is_some_and(|number| number.parse().is_ok_and(|n| letters_name(n) == name))
}

/// Removes objects that nothing names. One that stays costs its bytes and harms nobody.
fn remove<'a>(folder: &StoreFolder, objects: impl Iterator<Item = &'a &'a str>) {
    for object in objects {
        if let Err(error) = folder.remove(object) {
            tracing::debug!(object, %error, "an object that is not needed any more stays");
        }
    }
}

// === impl MirrorError ===

impl MirrorError {
    /// What it means to a run that goes on.
    pub(crate) fn reason(&self) -> StopReason {
        StopReason::new("run_dir", ExitCode::Interrupted, self.to_string())
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some(Self {
                inode: found.ino(),
                modified: (found.mtime(), found.mtime_nsec()),
                bytes: found.len(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// Begins to keep what is offered. The run is stopped where that fails.
    pub(crate) fn start(mirror: Arc<Mutex<Mirror>>, stop: Arc<Stop>) -> io::Result<Self> {
        // Without room for any: what is offered is taken where the thread waits for it.
        let (points, offered) = mpsc::sync_channel::<Point>(0);
        let keep = move || {
            while let Ok(point) = offered.recv() {
                if let Err(error) = lock(&mirror).save(Some(&point)) {
                    stop.stop(error.reason());
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("vecload-mirror".to_owned());
        Ok(Self {
            points: Some(points),
            thread: Some(thread.spawn(keep)?),
        })
    }

    /// Keeps the state, unless an earlier one is still on its way.
    pub(crate) fn offer(&self, state: &State) -> io::Result<()> {
        let point = Point::of(state)?;
        if let Some(points) = &self.points {
            let _ = points.try_send(point);
        }
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.points.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The mirror; no panic leaves it half done, since what counts is in the store.
pub(crate) fn lock(mirror: &Mutex<Mirror>) -> std::sync::MutexGuard<'_, Mirror> {
    mirror.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
