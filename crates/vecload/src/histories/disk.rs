//! A disk in memory that the process can be killed at, between any two operations, and that forgets what was
//! not synced when the power goes.

use std::collections::HashMap;
use std::io::{self, BufRead, Cursor};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::checkpoint::Disk;

/// Clones share the files.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    /// Of each file its content and how much of it is durable.
    files: HashMap<String, (Vec<u8>, usize)>,
    /// How many operations there are until the process is killed, if it will be.
    left: Option<u32>,
}

impl MemoryDisk {
    /// The process will be killed after so many operations, or not at all.
    pub(super) fn kill_after(&self, operations: Option<u32>) {
        self.lock().left = operations;
    }

    /// Forgets some of what was not synced.
    pub(super) fn cut_power(&self, random: &mut StdRng) {
        let mut names: Vec<String> = self.lock().files.keys().cloned().collect();
        names.sort();
        for name in names {
            let mut disk = self.lock();
            if let Some((bytes, synced)) = disk.files.get_mut(&name) {
                bytes.truncate(random.random_range(*synced..=bytes.len()));
                *synced = bytes.len();
            }
        }
    }

    /// Does an operation, or half of it where the process is killed at it.
    fn operate(
        &self,
        operation: impl FnOnce(&mut HashMap<String, (Vec<u8>, usize)>),
    ) -> io::Result<()> {
        let mut disk = self.lock();
        match &mut disk.left {
            Some(0) => return Err(io::Error::other("killed")),
            Some(left) => *left -= 1,
            None => {}
        }
        operation(&mut disk.files);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().expect("no panic")
    }
}

impl Disk for MemoryDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().files.get(name).map(|file| file.0.clone()))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn BufRead>> {
        Ok(Box::new(Cursor::new(self.read(name)?.unwrap_or_default())))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // In two operations, so that a kill can leave half of it.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for part in [first, second] {
            self.operate(|files| {
                files
                    .entry(name.to_owned())
                    .or_default()
                    .0
                    .extend_from_slice(part);
            })?;
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.operate(|files| {
            if let Some((bytes, synced)) = files.get_mut(name) {
                *synced = bytes.len();
            }
        })
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.operate(|files| {
            if let Some((bytes, synced)) = files.get_mut(name) {
                bytes.truncate(length as usize);
                *synced = bytes.len();
            }
        })
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.operate(|files| {
            files.insert(name.to_owned(), (bytes.to_vec(), bytes.len()));
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.operate(|files| {
            files.remove(name);
        })
    }
}
