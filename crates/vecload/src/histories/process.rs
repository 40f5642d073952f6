//! A process of the run: it reads, sends, hears of answers and writes down, until it is done or killed.

use std::collections::HashMap;

use rand::RngExt as _;
use vecload_record::RowRun;

use super::world::{Bug, Defect, Killed, World, letter};
use crate::checkpoint::{Checkpoint, Entry, Rows, State};
use crate::digest::Digest;
use crate::events::ReadRows;
use crate::namespace::{Namespaces, wire_name};
use crate::prescan::{Place, VerdictReader};
use crate::rows::RowSet;

/// Rows in a request, and requests under way.
const REQUEST: usize = 3;
const IN_FLIGHT: usize = 4;

/// A process of the run.
pub(super) struct Process<'a> {
    pub(super) world: &'a mut World,
    pub(super) state: State,
    checkpoint: Checkpoint,
    verdicts: Option<VerdictReader>,
    namespaces: Namespaces,
    /// Of each split the next row to be read.
    next: Vec<u64>,
    open: HashMap<&'static str, Vec<Place>>,
    waiting: Vec<Vec<Place>>,
    pub(super) in_flight: Vec<Vec<Place>>,
}

impl<'a> Process<'a> {
    pub(super) fn new(
        world: &'a mut World,
        state: State,
        checkpoint: Checkpoint,
        verdicts: Option<VerdictReader>,
    ) -> Self {
        Self {
            next: vec![0; world.rows.len()],
            state,
            checkpoint,
            verdicts,
            namespaces: Namespaces::default(),
            open: HashMap::new(),
            waiting: Vec::new(),
            in_flight: Vec::new(),
            world,
        }
    }

    pub(super) fn run(&mut self) -> Result<(), Killed> {
        let done = self.state.ledger.done();
        loop {
            self.world.pass_time();
            let unread: Vec<usize> = (0..self.next.len())
                .filter(|split| self.next[*split] < self.world.rows[*split].len() as u64)
                .collect();
            let is_read = unread.is_empty();
            if is_read {
                self.waiting
                    .extend(self.open.drain().map(|(_, places)| places));
            }
            if !self.in_flight.is_empty() && (is_read || self.world.random.random_bool(0.5)) {
                self.answer()?;
            } else if !self.waiting.is_empty() && self.in_flight.len() < IN_FLIGHT {
                self.send()?;
            } else if !is_read {
                let split = unread[self.world.random.random_range(0..unread.len())];
                let settled = &done[split].settled;
                self.read(split, |row| settled.contains(row))?;
            } else if self.in_flight.is_empty() {
                return self.checkpoint.finish(&self.state).map_err(|_| Killed);
            }
            if self.world.random.random_bool(0.1) {
                self.checkpoint.sync(&self.state).map_err(|_| Killed)?;
            }
        }
    }

    /// Reads the next row of a split.
    fn read(&mut self, split: usize, is_settled: impl Fn(u64) -> bool) -> Result<(), Killed> {
        let number = self.next[split];
        self.next[split] += 1;
        if is_settled(number) {
            return Ok(());
        }
        let place = Place {
            split: split as u32,
            row: number,
        };
        let row = self.world.row(place);
        self.state.ledger.read(&ReadRows {
            split: place.split,
            end: number + 1,
            block_end: number + 1,
            changes: Vec::new(),
            namespaces: vec![(self.namespaces.get(row.namespace), 1)],
        });
        let superseded = match &mut self.verdicts {
            Some(verdicts) => verdicts.superseded(place.split, number..number + 1),
            None => Ok(RowSet::default()),
        };
        if superseded.expect("readable").contains(number) {
            let entry = Entry::Superseded {
                namespace: row.namespace.to_owned(),
                rows: Rows(vec![run(place)]),
            };
            return self.settle(&entry);
        }
        match row.defect {
            Defect::Own => self.reject(place),
            Defect::None | Defect::Refused => {
                let open = self.open.entry(wire_name(row.namespace)).or_default();
                open.push(place);
                if open.len() == REQUEST {
                    let full = std::mem::take(open);
                    self.waiting.push(full);
                }
                Ok(())
            }
        }
    }

    fn send(&mut self) -> Result<(), Killed> {
        let which = self.world.random.random_range(0..self.waiting.len());
        let places = self.waiting.swap_remove(which);
        if self.world.bug == Bug::MarkAtSend {
            let done = self.state.ledger.done();
            let is_new = |place: &&Place| !done[place.split as usize].settled.contains(place.row);
            let unmarked: Vec<Place> = places.iter().filter(is_new).copied().collect();
            self.settle(&loaded(&unmarked))?;
        }
        self.in_flight.push(places);
        Ok(())
    }

    /// A request ends in one way or another.
    fn answer(&mut self) -> Result<(), Killed> {
        let which = self.world.random.random_range(0..self.in_flight.len());
        let mut places = self.in_flight.swap_remove(which);
        let refused = places
            .iter()
            .position(|place| self.world.is_refused(*place));
        if let Some(refused) = refused {
            let refused = places.remove(refused);
            if !places.is_empty() {
                self.waiting.push(places);
            }
            return self.reject(refused);
        }
        if places.is_empty() {
            return Ok(());
        }
        let writes = self.world.writes(&places);
        match self.world.random.random_range(0..100) {
            0..60 => {
                self.world.service.store.extend(writes);
                self.world.service.acknowledged.extend(&places);
                return self.acknowledged(&places);
            }
            // Applied and not answered, applied later, lost, refused for its rate.
            60..70 => self.world.service.store.extend(writes),
            70..80 => self.world.write_late(writes),
            _ => {}
        }
        self.waiting.push(places);
        Ok(())
    }

    fn acknowledged(&mut self, places: &[Place]) -> Result<(), Killed> {
        match self.world.bug {
            Bug::MarkAtSend => Ok(()),
            Bug::HighestAcknowledged => {
                let place = places.iter().max().expect("not empty");
                let settled = self.state.ledger.done()[place.split as usize]
                    .settled
                    .clone();
                let before = (0..=place.row).filter(|row| !settled.contains(*row));
                let split = place.split;
                let before: Vec<Place> = before.map(|row| Place { split, row }).collect();
                self.settle(&loaded(&before))
            }
            _ => self.settle(&loaded(places)),
        }
    }

    fn reject(&mut self, place: Place) -> Result<(), Killed> {
        let supersedes = match &mut self.verdicts {
            Some(verdicts) => verdicts.supersedes(place.split, place.row),
            None => Ok(0),
        };
        let supersedes = supersedes.expect("readable");
        let line = letter(place, supersedes);
        let entry = |letters| Entry::Rejected {
            namespace: self.world.row(place).namespace.to_owned(),
            split: place.split,
            row: place.row,
            reason: "all_zero".to_owned(),
            supersedes,
            changes: Vec::new(),
            letters,
        };
        if self.world.bug == Bug::LetterAfterJournal {
            let entry = entry(self.state.letters.after(&line));
            self.checkpoint.append(&entry).map_err(|_| Killed)?;
            let written = self.checkpoint.dead_letter(&self.state, &line);
            written.map_err(|_| Killed)?;
            return self.apply(&entry);
        }
        let letters = self.checkpoint.dead_letter(&self.state, &line);
        let entry = entry(letters.map_err(|_| Killed)?);
        self.settle(&entry)
    }

    fn settle(&mut self, entry: &Entry) -> Result<(), Killed> {
        self.apply(entry)?;
        self.checkpoint.append(entry).map_err(|_| Killed)
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), Killed> {
        self.state.apply(entry).map_err(|error| {
            self.world.violation = Some(error.to_string());
            Killed
        })
    }
}

fn run(place: Place) -> RowRun {
    RowRun {
        split: place.split,
        first: place.row,
        len: 1,
    }
}

fn loaded(places: &[Place]) -> Entry {
    Entry::Loaded {
        namespace: "films".to_owned(),
        rows: Rows(places.iter().copied().map(run).collect()),
        bytes: 100,
        lsn: None,
        digest: Digest::default(),
        changes: Vec::new(),
    }
}
