//! One history: rows, the service, and what they must come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Seek as _;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::time::Instant;

use super::disk::MemoryDisk;
use super::process::{Batch, Process};
use crate::checkpoint::{self, Checkpoint, Disk as _, State};
use crate::ledger::Ledger;
use crate::namespace::wire_name;
use crate::prescan::{self, KeyHasher, Place, Sightings, Spill, VerdictReader, Verdicts};
use crate::stop::Stop;

/// What is wrong with the program that is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    MarkAtSend,
    HighestAcknowledged,
    LetterAfterJournal,
    PrescanOffByOne,
    NamespaceLeftOut,
    NoPrescan,
    NoFence,
    FenceUntilSent,
    FenceTellsDefaultApart,
    FenceForgetsSettled,
    NoQuarantine,
    NoQuarantineAfterKill,
    EarlierSupersedes,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inputs {
    /// What can be read twice, and is.
    Files,
    /// What can be read once.
    Stream,
}

/// Kills in a history.
const KILLS: u32 = 4;
/// No write comes later than that after its client gave up.
pub(super) const LATEST: u64 = 30;
const NAMESPACES: [&str; 3] = ["", "__default__", "films"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    None,
    /// Seen before it is sent.
    Own,
    /// Seen by the service.
    Refused,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) namespace: &'static str,
    pub(super) id: u32,
    pub(super) defect: Defect,
}

pub(super) type Key = (&'static str, u32);

/// What the service has and will have.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) store: BTreeMap<Key, Place>,
    /// Writes that come later, and when.
    late: Vec<(u64, Vec<(Key, Place)>)>,
    pub(super) acknowledged: BTreeSet<Place>,
}

/// The process is gone.
pub(super) struct Killed;

/// Everything of a history that outlives a process, and what is kept from one history to the next.
pub(super) struct World {
    /// Only kept.
    spill: Arc<Spill>,
    verdicts_file: File,
    _folder: TempDir,
    pub(super) bug: Bug,
    pub(super) inputs: Inputs,
    pub(super) random: StdRng,
    pub(super) rows: Vec<Vec<Row>>,
    pub(super) service: Service,
    disk: MemoryDisk,
    /// Whether there is something to continue.
    begun: bool,
    /// Whether the process that runs continues something.
    pub(super) is_continued: bool,
    /// The power went, and no process has begun a checkpoint since.
    after_power_cut: bool,
    verdicts: Option<Arc<Verdicts>>,
    time: u64,
    began: Instant,
    pub(super) violation: Option<String>,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            spill: Spill::new(folder.path()),
            verdicts_file: tempfile::tempfile().expect("a file"),
            _folder: folder,
            bug: Bug::None,
            inputs: Inputs::Files,
            random: StdRng::seed_from_u64(0),
            rows: Vec::new(),
            service: Service::default(),
            disk: MemoryDisk::default(),
            begun: false,
            is_continued: false,
            after_power_cut: false,
            verdicts: None,
            time: 0,
            began: Instant::now(),
            violation: None,
        }
    }

    /// Plays a history and says which promise was broken, if one was.
    pub(super) fn play(&mut self, seed: u64, inputs: Inputs, bug: Bug) -> Result<(), String> {
        let mut random = StdRng::seed_from_u64(seed);
        let ids = random.random_range(1..20);
        let bad = random.random_range(0.0..0.2);
        let row = |random: &mut StdRng| Row {
            namespace: NAMESPACES[random.random_range(0..3)],
            id: random.random_range(0..ids),
            defect: match (random.random_bool(bad), random.random_bool(0.5)) {
                (false, _) => Defect::None,
                (true, true) => Defect::Own,
                (true, false) => Defect::Refused,
            },
        };
        let most_rows: &[usize] = match inputs {
            Inputs::Files => &[10, 10, 10],
            Inputs::Stream => &[30],
        };
        self.rows = most_rows
            .iter()
            .map(|most| {
                (0..random.random_range(0..*most))
                    .map(|_| row(&mut random))
                    .collect()
            })
            .collect();
        (self.bug, self.inputs, self.random) = (bug, inputs, random);
        self.service = Service::default();
        self.disk = MemoryDisk::default();
        (self.begun, self.after_power_cut) = (false, false);
        (self.verdicts, self.time, self.violation) = (None, 0, None);

        for kills in 0.. {
            let operations = self.random.random_range(0..40);
            self.disk.kill_after((kills < KILLS).then_some(operations));
            let ended = self.run_process();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            match ended {
                Ok(state) => return self.judge(&state),
                Err(Killed) => {
                    if self.random.random_bool(0.3) {
                        self.disk.cut_power(&mut self.random);
                        self.after_power_cut = true;
                    }
                    self.check_recovery()?;
                }
            }
        }
        Ok(())
    }

    fn run_process(&mut self) -> Result<State, Killed> {
        self.is_continued = self.begun;
        let (state, generation) = if self.begun {
            let recovered = checkpoint::recover(&self.disk).expect("a checkpoint");
            (recovered.state, recovered.generation)
        } else {
            // The last of three splits is of another input.
            let splits = (0..self.rows.len()).map(|split| u32::from(split == 2));
            (State::new(Ledger::of(splits.collect(), 2)), 0)
        };
        let disk = Box::new(self.disk.clone());
        let checkpoint = Checkpoint::begin(disk, &state, generation).map_err(|_| Killed)?;
        (self.begun, self.after_power_cut) = (true, false);
        let verdicts = match (self.inputs, self.bug) {
            (Inputs::Stream, _) | (_, Bug::NoPrescan) => None,
            _ => Some(VerdictReader::new(&self.search())),
        };
        let mut process = Process::new(self, state, checkpoint, verdicts);
        let ended = process.run();
        let (under_way, state) = (process.in_flight, process.state);
        for Batch { places, .. } in under_way {
            if places.iter().any(|place| self.is_refused(*place)) {
                continue;
            }
            let writes = self.writes(&places);
            match self.random.random_range(0..3) {
                0 => self.service.store.extend(writes),
                1 => self.write_late(writes),
                _ => {}
            }
        }
        ended.map(|()| state)
    }

    /// What the prescan finds, or found before and kept.
    fn search(&mut self) -> Arc<Verdicts> {
        if let Some(verdicts) = &self.verdicts {
            return Arc::clone(verdicts);
        }
        let memory = 4096;
        let mut seen = Sightings::new(&self.spill, KeyHasher::default(), memory, 1);
        for (split, rows) in (0..).zip(&self.rows) {
            for (number, row) in (0..).zip(rows) {
                let namespace = match self.bug {
                    Bug::NamespaceLeftOut => "",
                    _ => row.namespace,
                };
                let off = u64::from(self.bug == Bug::PrescanOffByOne);
                let place = Place {
                    split,
                    row: number + off,
                };
                let id = row.id.to_string();
                seen.see(namespace, &id, place).expect("taken");
            }
        }
        self.verdicts_file.set_len(0).expect("a file");
        self.verdicts_file.rewind().expect("a file");
        let file = self.verdicts_file.try_clone().expect("a file");
        let verdicts = prescan::judge(&self.spill, vec![seen], memory, &Stop::default(), 7, file);
        let verdicts = Arc::new(verdicts.expect("judged"));
        // A kill may come before it is kept.
        if self.random.random_bool(0.8) {
            self.verdicts = Some(Arc::clone(&verdicts));
        }
        verdicts
    }

    pub(super) fn row(&self, place: Place) -> Row {
        self.rows[place.split as usize][place.row as usize]
    }

    pub(super) fn is_refused(&self, place: Place) -> bool {
        self.row(place).defect == Defect::Refused
    }

    pub(super) fn writes(&self, places: &[Place]) -> Vec<(Key, Place)> {
        let key = |row: Row| (wire_name(row.namespace), row.id);
        places
            .iter()
            .map(|place| (key(self.row(*place)), *place))
            .collect()
    }

    pub(super) fn write_late(&mut self, writes: Vec<(Key, Place)>) {
        let due = self.time + self.random.random_range(1..LATEST);
        self.service.late.push((due, writes));
    }

    pub(super) fn pass_time(&mut self) {
        self.time += 1;
        let now = self.time;
        for (_, writes) in self.service.late.extract_if(.., |(due, _)| *due <= now) {
            self.service.store.extend(writes);
        }
    }

    /// The time now, for what asks the clock.
    pub(super) fn now(&self) -> Instant {
        self.after(0)
    }

    /// The time when so much more has passed.
    pub(super) fn after(&self, time: u64) -> Instant {
        self.began + Duration::from_secs(self.time + time)
    }

    /// By key the last row and how many rows there are before it, of the rows that count.
    fn last_rows(&self, counts: impl Fn(Place) -> bool) -> BTreeMap<Key, (Place, u64)> {
        let mut last: BTreeMap<Key, (Place, u64)> = BTreeMap::new();
        for (split, rows) in (0..).zip(&self.rows) {
            for (number, row) in (0..).zip(rows) {
                let place = Place { split, row: number };
                if !counts(place) {
                    continue;
                }
                let key = (wire_name(row.namespace), row.id);
                last.entry(key)
                    .and_modify(|seen| *seen = (place, seen.1 + 1))
                    .or_insert((place, 0));
            }
        }
        last
    }

    /// Only rows may be settled that are, and after a mere kill no record may count a missing letter.
    fn check_recovery(&mut self) -> Result<(), String> {
        self.disk.kill_after(None);
        if !self.begun {
            return Ok(());
        }
        let recovered = checkpoint::recover(&self.disk).map_err(|error| error.to_string())?;
        if recovered.cut_records > 0 && !self.after_power_cut {
            return Err("a record counts a dead letter that was not written (INV-5)".to_owned());
        }
        // In a stream a row that breaks the rules supersedes nothing.
        let is_stream = self.inputs == Inputs::Stream;
        let counts = |place| !is_stream || self.row(place).defect != Defect::Own;
        let last = self.last_rows(counts);
        let last: BTreeSet<Place> = last.values().map(|(place, _)| *place).collect();
        for (split, done) in (0..).zip(recovered.state.ledger.done()) {
            for row in (0..done.settled.end()).filter(|row| done.settled.contains(*row)) {
                let place = Place { split, row };
                let is_settled = self.service.acknowledged.contains(&place)
                    || !last.contains(&place)
                    || self.row(place).defect != Defect::None;
                if !is_settled {
                    return Err(format!(
                        "{place:?} is marked and was not acknowledged (INV-2)"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Holds a run that has ended against what it should have come to.
    fn judge(&mut self, state: &State) -> Result<(), String> {
        self.time = u64::MAX / 2;
        self.pass_time();
        match self.inputs {
            Inputs::Files => self.judge_files(state)?,
            Inputs::Stream => self.judge_stream(state)?,
        }
        state.ledger.check().map_err(|error| error.to_string())
    }

    /// Of files the outcome is known beforehand.
    fn judge_files(&self, state: &State) -> Result<(), String> {
        let (mut store, mut letters, mut superseded) = (BTreeMap::new(), Vec::new(), 0);
        for (key, (place, before)) in self.last_rows(|_| true) {
            superseded += before;
            match self.row(place).defect {
                Defect::None => drop(store.insert(key, place)),
                _ => letters.push(letter(place, before)),
            }
        }
        if self.service.store != store {
            return Err(format!(
                "the index has {:?} instead of {store:?} (INV-8)",
                self.service.store
            ));
        }
        letters.sort_unstable();
        let found = self.letters(state);
        if found != letters {
            return Err(format!(
                "the dead letters are {found:?} instead of {letters:?} (INV-5)"
            ));
        }
        let books = state.ledger.total();
        let counts = [books.read, books.loaded, books.superseded, books.rejected];
        let rows = self.rows.iter().map(Vec::len).sum::<usize>() as u64;
        let expected = [rows, store.len() as u64, superseded, letters.len() as u64];
        if counts != expected {
            return Err(format!(
                "the books say {counts:?} instead of {expected:?} (INV-1)"
            ));
        }
        Ok(())
    }

    /// Of a stream it is known but for rows that the service refused: what they superseded depends on how the
    /// rows fell into requests.
    fn judge_stream(&self, state: &State) -> Result<(), String> {
        let good = |place| self.row(place).defect == Defect::None;
        let last_good = self.last_rows(good);
        let last_taken = self.last_rows(|place| self.row(place).defect != Defect::Own);
        for (key, (place, _)) in &last_good {
            let found = self.service.store.get(key);
            let is_right = found == Some(place)
                || last_taken[key].0 != *place && found.is_none_or(|found| good(*found));
            if !is_right {
                return Err(format!(
                    "of {key:?} the index has {found:?} instead of {place:?} (INV-8)"
                ));
            }
        }
        let extra = self
            .service
            .store
            .keys()
            .find(|key| !last_good.contains_key(*key));
        if let Some(key) = extra {
            return Err(format!("the index has {key:?}, which was refused"));
        }
        // Each row that is bad has a letter, but for what a later one of its batch superseded.
        let letters = self.letters(state);
        let bad = |is_bad: fn(Defect) -> bool| -> BTreeSet<Vec<u8>> {
            let rows = self.rows[0]
                .iter()
                .zip(0..)
                .filter(|(row, _)| is_bad(row.defect));
            rows.map(|(_, row)| letter(Place { split: 0, row }, 0))
                .collect()
        };
        let distinct: BTreeSet<Vec<u8>> = letters.iter().cloned().collect();
        if distinct.len() != letters.len()
            || !distinct.is_superset(&bad(|defect| defect == Defect::Own))
            || !distinct.is_subset(&bad(|defect| defect != Defect::None))
        {
            return Err(format!("the dead letters are {letters:?} (INV-5)"));
        }
        let books = state.ledger.total();
        let rows = self.rows[0].len() as u64;
        if books.read != rows || books.loaded + books.superseded + books.rejected != rows {
            return Err(format!("the books say {books:?} of {rows} rows (INV-1)"));
        }
        // Nothing is superseded but by another row.
        let distinct = last_taken.len() as u64;
        if books.loaded + books.rejected < distinct || books.rejected != letters.len() as u64 {
            return Err(format!("the books say {books:?} of {distinct} ids (INV-1)"));
        }
        Ok(())
    }

    /// The dead letters, sorted.
    fn letters(&self, state: &State) -> Vec<Vec<u8>> {
        let found = self
            .disk
            .read(&state.letters_name())
            .expect("readable")
            .unwrap_or_default();
        let letters = found.split_inclusive(|byte| *byte == b'\n');
        let mut letters: Vec<Vec<u8>> = letters.map(<[u8]>::to_vec).collect();
        letters.sort_unstable();
        letters
    }
}

pub(super) fn letter(place: Place, supersedes: u64) -> Vec<u8> {
    format!("{}/{} supersedes {supersedes}\n", place.split, place.row).into_bytes()
}
