//! A file system that remembers every operation and forgets, at a crash, what was not synced.

use std::collections::HashMap;
use std::io::{self, BufRead, Cursor};
use std::sync::{Arc, Mutex};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::checkpoint::Disk;

#[derive(Debug, Clone)]
enum Operation {
    Append(String, Vec<u8>),
    Sync(String),
    Truncate(String, u64),
    Replace(String, Vec<u8>),
    Remove(String),
}

/// The operations so far; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Forgetful {
    before: HashMap<String, Vec<u8>>,
    operations: Arc<Mutex<Vec<Operation>>>,
}

/// Files that can only be read.
#[derive(Debug)]
pub(super) struct Files(HashMap<String, Vec<u8>>);

impl From<Files> for Forgetful {
    fn from(files: Files) -> Self {
        Self {
            before: files.0,
            operations: Arc::default(),
        }
    }
}

impl Files {
    /// The length of a file; 0 if there is none.
    pub(super) fn length(&self, name: &str) -> usize {
        self.0.get(name).map_or(0, Vec::len)
    }
}

impl Forgetful {
    pub(super) fn operations(&self) -> usize {
        self.operations.lock().expect("no panic").len()
    }

    /// What is on the disk when the power goes after so many operations.
    pub(super) fn after_crash(&self, operations: usize, random: &mut StdRng) -> Files {
        // Of each file its content and how much of it is durable.
        let mut files: HashMap<String, (Vec<u8>, usize)> = self
            .before
            .iter()
            .map(|(name, bytes)| (name.clone(), (bytes.clone(), bytes.len())))
            .collect();
        for operation in &self.operations.lock().expect("no panic")[..operations] {
            match operation.clone() {
                Operation::Append(name, bytes) => files.entry(name).or_default().0.extend(bytes),
                Operation::Sync(name) => {
                    if let Some((bytes, synced)) = files.get_mut(&name) {
                        *synced = bytes.len();
                    }
                }
                Operation::Truncate(name, length) => {
                    if let Some((bytes, synced)) = files.get_mut(&name) {
                        bytes.truncate(length as usize);
                        *synced = bytes.len();
                    }
                }
                Operation::Replace(name, bytes) => {
                    let length = bytes.len();
                    files.insert(name, (bytes, length));
                }
                Operation::Remove(name) => drop(files.remove(&name)),
            }
        }
        let survive = |(mut bytes, synced): (Vec<u8>, usize), random: &mut StdRng| {
            let unsynced = bytes.len() - synced;
            match random.random_range(0..3) {
                0 => bytes.truncate(synced + random.random_range(0..=unsynced)),
                // The length is there and a page is not.
                1 if unsynced > 0 => {
                    let from = synced + random.random_range(0..unsynced);
                    let to = from + random.random_range(0..=bytes.len() - from);
                    bytes[from..to].fill(0);
                }
                _ => {}
            }
            bytes
        };
        let mut names: Vec<_> = files.into_iter().collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let survivors = names
            .into_iter()
            .map(|(name, file)| (name, survive(file, random)));
        Files(survivors.collect())
    }

    fn note(&self, operation: Operation) {
        self.operations.lock().expect("no panic").push(operation);
    }
}

impl Disk for Forgetful {
    fn read(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        unreachable!("a checkpoint that is written is not read");
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn BufRead>> {
        unreachable!("a checkpoint that is written is not read");
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.note(Operation::Append(name.to_owned(), bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.note(Operation::Sync(name.to_owned()));
        Ok(())
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        self.note(Operation::Truncate(name.to_owned(), bytes));
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.note(Operation::Replace(name.to_owned(), bytes.to_vec()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.note(Operation::Remove(name.to_owned()));
        Ok(())
    }
}

impl Disk for Files {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn BufRead>> {
        let bytes = self.0.get(name).cloned().unwrap_or_default();
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn append(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        unreachable!("files after a crash are only read");
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        unreachable!("files after a crash are only read");
    }

    fn truncate(&mut self, _: &str, _: u64) -> io::Result<()> {
        unreachable!("files after a crash are only read");
    }

    fn replace(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        unreachable!("files after a crash are only read");
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        unreachable!("files after a crash are only read");
    }
}
