//! The names of records that a namespace holds too much.
//!
//! The ids of the namespace are listed, and those are named that the run did not load. Neither set needs to fit into
//! memory: both are sorted by a keyed hash, on disk if need be, and what was listed stands in a scratch file, from
//! which the first few names are read back. The service gives a hundred ids at a time, one page after the other, so
//! that a listing has a bound.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_source::{Plan, SourceError};

use super::report::{Count, Difference, VerifyReport};
use super::{Prover, Records};
use crate::asking::{Patience, Unanswered, ask};
use crate::namespace::{DEFAULT_NAMESPACE, wire_name};
use crate::prescan::{self, Item, KeyHasher, Merge, Sorter, Spill, SpillError, nameless_file};
use crate::rows::RowSet;
use crate::stop::StopReason;

/// How many are named.
pub(super) const NAMED: usize = 10;
/// How many ids are listed at the most: 10,000 pages.
const LISTED_AT_MOST: u64 = 1_000_000;
/// Pages that wait until they are taken.
const PAGES: usize = 16;

/// Ids of a namespace, by its name on the wire.
type Page = (Arc<str>, Vec<String>);

/// An id, by the hash of its key. One that was loaded sorts before those that were listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sighting {
    key: u128,
    /// Where it stands among the listed ones, counted from 1; 0 if it was loaded.
    listed: u64,
}

/// Finds what was listed and not loaded.
struct Finder {
    plan: Arc<Plan>,
    /// Of each split the rows that were loaded.
    loaded: Vec<RowSet>,
    default_namespace: String,
    /// The namespaces that are looked at, by their names on the wire.
    namespaces: BTreeSet<Arc<str>>,
    folder: PathBuf,
    /// Nobody waits for it any more.
    is_cancelled: Arc<AtomicBool>,
}

/// What was listed and not loaded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extras {
    found: u64,
    /// The first of them: namespaces by their names on the wire, and ids.
    first: Vec<(String, String)>,
}

/// Listed ids in a file without a name.
struct Listed {
    out: BufWriter<File>,
    end: u64,
}

/// Why they cannot be told.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("the source cannot be read again: {0}")]
    Source(#[from] SourceError),
    #[error("{}", .0.of_folder())]
    Spill(#[from] SpillError),
    #[error("the scratch directory cannot be used: {0}")]
    Io(#[from] io::Error),
}

// === impl Prover ===

impl Prover<'_> {
    /// Names records of namespaces that were empty before and hold more than was loaded.
    pub(super) async fn name_extras(
        &self,
        records: &Records<'_>,
        report: &mut VerifyReport,
    ) -> Result<(), StopReason> {
        let namespaces = report.namespaces.iter();
        let namespaces: BTreeSet<Arc<str>> = namespaces
            .filter(|(_, count)| has_extras(count))
            .map(|(name, _)| Arc::from(wire_name(name)))
            .collect();
        if namespaces.is_empty() {
            return Ok(());
        }
        let Records::Source { plan, winners } = records else {
            let why = "the standard input cannot be read again, so the ids that were loaded are not known";
            report.extra_ids_unknown = Some(why.to_owned());
            return Ok(());
        };
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let finder = Finder {
            plan: Arc::clone(plan),
            loaded: winners.clone(),
            default_namespace: self.rules.default_namespace.clone(),
            namespaces: namespaces.clone(),
            folder: self.scratch.clone(),
            is_cancelled: Arc::clone(&is_cancelled),
        };
        let (pages_in, pages) = async_channel::bounded(PAGES);
        let finding = tokio::task::spawn_blocking(move || finder.find(&pages));
        let listed = self.list(namespaces, LISTED_AT_MOST, &pages_in).await;
        drop(pages_in);
        let found = tokio::select! {
            biased;
            () = self.stop.stopped() => {
                is_cancelled.store(true, Ordering::Relaxed);
                return Err(self.stopped());
            }
            found = finding => found,
        };
        report.extra_ids_unknown = listed?;
        match found.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(extras) => take_down(extras, report),
            Err(why) => report.extra_ids_unknown = Some(why.to_string()),
        }
        Ok(())
    }

    /// Lists the ids of namespaces, and says why it did not come to the end of them, if so.
    async fn list(
        &self,
        namespaces: BTreeSet<Arc<str>>,
        most: u64,
        pages: &async_channel::Sender<Page>,
    ) -> Result<Option<String>, StopReason> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let deadline = Instant::now() + self.patience;
        let mut listed = 0;
        for namespace in namespaces {
            let mut after: Option<String> = None;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if listed >= most {
                    return Ok(Some(format!(
                        "{listed} ids were listed, the most that are, and there are more"
                    )));
                }
                if left.is_zero() {
                    return Ok(Some(self.out_of_time(listed)));
                }
                let patience = Patience {
                    stop: self.stop,
                    attempt: self.attempt_timeout,
                    all: left,
                };
                let question = |timeout| self.client.list(&namespace, after.clone(), timeout);
                let page = match ask(patience, &mut random, question).await {
                    Ok(page) => page,
                    Err(Unanswered::Stopping) => return Err(self.stopped()),
                    Err(Unanswered::Refused(reason)) => {
                        return Ok(Some(format!(
                            "the index does not list ids: {}",
                            reason.message
                        )));
                    }
                    Err(Unanswered::TimedOut(failure)) => {
                        let late = self.out_of_time(listed);
                        return Ok(Some(format!("{late}; the last failure: {failure}")));
                    }
                };
                listed += page.ids.len() as u64;
                // Where the finder has failed it says why.
                if pages
                    .send((Arc::clone(&namespace), page.ids))
                    .await
                    .is_err()
                {
                    return Ok(None);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(None)
    }

    fn out_of_time(&self, listed: u64) -> String {
        format!(
            "{listed} ids were listed within {:?} (--verify-timeout), and there are more",
            self.patience
        )
    }
}

/// Whether a namespace was empty before and holds more than was loaded. Where it held records these are not told
/// from others.
fn has_extras(count: &Count) -> bool {
    count.before == Some(0) && count.at_most.is_some_and(|most| count.found > most)
}

/// Takes down what was found.
fn take_down(extras: Extras, report: &mut VerifyReport) {
    report.extra_ids_found = extras.found;
    for (namespace, id) in extras.first {
        let namespace = match &*namespace {
            "" => DEFAULT_NAMESPACE.to_owned(),
            _ => namespace,
        };
        report.differs(Difference {
            namespace,
            id: Some(id),
            field: "record".to_owned(),
            expected: "nothing".to_owned(),
            found: "a record that the run did not load".to_owned(),
            source: None,
        });
    }
}

// === impl Finder ===

impl Finder {
    /// Takes pages until the last sender is gone. Runs on a thread that may wait.
    fn find(self, pages: &async_channel::Receiver<Page>) -> Result<Extras, Unknown> {
        let spill = Spill::new(&self.folder);
        let hasher = KeyHasher::default();
        let mut sorter = Sorter::new(&spill, prescan::MEMORY / 2);
        let mut listed = Listed::new(nameless_file(&self.folder)?);
        let names: Vec<&str> = self.namespaces.iter().map(|name| &**name).collect();
        while let Ok((namespace, ids)) = pages.recv_blocking() {
            let number = names.partition_point(|name| *name < &*namespace) as u32;
            for id in ids {
                let key = hasher.hash(&namespace, &id);
                let listed = listed.push(number, &id)?;
                sorter.push(Sighting { key, listed })?;
            }
        }
        let mut extras = Extras::default();
        if listed.end == 0 {
            return Ok(extras);
        }
        let listed = listed.finish()?;
        self.read_loaded(&hasher, &mut sorter)?;
        let mut known = None;
        for sighting in Merge::new(&spill, vec![sorter], prescan::MEMORY / 4)? {
            if self.is_cancelled.load(Ordering::Relaxed) {
                break;
            }
            let Sighting { key, listed: place } = sighting?;
            // An id of a page that came twice is the same one.
            if known.replace(key) == Some(key) || place == 0 {
                continue;
            }
            extras.found += 1;
            if extras.first.len() < NAMED {
                let (number, id) = read_listed(&listed, place)?;
                let namespace = names.get(number as usize).copied();
                extras
                    .first
                    .push((namespace.unwrap_or_default().to_owned(), id));
            }
        }
        Ok(extras)
    }

    /// Reads the ids that were loaded into these namespaces.
    fn read_loaded(
        &self,
        hasher: &KeyHasher,
        sorter: &mut Sorter<Sighting>,
    ) -> Result<(), Unknown> {
        for (split, rows) in self.plan.splits.iter().zip(&self.loaded) {
            if rows.len() == 0 {
                continue;
            }
            let mut reader = self.plan.open_keys(split)?;
            let mut row = 0;
            while let Some(mut keys) = reader.next()? {
                if self.is_cancelled.load(Ordering::Relaxed) {
                    return Ok(());
                }
                for index in 0..keys.len() {
                    if let Some(key) = keys.get(index)
                        && rows.contains(row + index as u64)
                    {
                        let namespace = key.namespace.unwrap_or(&self.default_namespace);
                        if self.namespaces.contains(wire_name(namespace)) {
                            let key = hasher.hash(namespace, key.id);
                            sorter.push(Sighting { key, listed: 0 })?;
                        }
                    }
                }
                row += keys.len() as u64;
            }
        }
        Ok(())
    }
}

// === impl Listed ===

impl Listed {
    fn new(file: File) -> Self {
        Self {
            out: BufWriter::new(file),
            end: 0,
        }
    }

    /// Writes an id of the namespace with that number, and says where it stands.
    fn push(&mut self, namespace: u32, id: &str) -> io::Result<u64> {
        let place = self.end + 1;
        self.out.write_all(&namespace.to_le_bytes())?;
        self.out.write_all(&(id.len() as u32).to_le_bytes())?;
        self.out.write_all(id.as_bytes())?;
        self.end += 8 + id.len() as u64;
        Ok(place)
    }

    fn finish(self) -> io::Result<File> {
        self.out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
    }
}

/// The id that stands there, with the number of its namespace.
fn read_listed(file: &File, place: u64) -> io::Result<(u32, String)> {
    let offset = place - 1;
    let number = |at| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at)?;
        io::Result::Ok(u32::from_le_bytes(bytes))
    };
    let namespace = number(offset)?;
    let mut id = vec![0; number(offset + 4)? as usize];
    file.read_exact_at(&mut id, offset + 8)?;
    Ok((namespace, String::from_utf8_lossy(&id).into_owned()))
}

impl Item for Sighting {
    const BYTES: usize = 24;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.to_le_bytes());
        out.extend_from_slice(&self.listed.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let (mut key, mut listed) = ([0; 16], [0; 8]);
        key.copy_from_slice(&bytes[..16]);
        listed.copy_from_slice(&bytes[16..24]);
        Self {
            key: u128::from_le_bytes(key),
            listed: u64::from_le_bytes(listed),
        }
    }
}

#[cfg(test)]
mod tests;
