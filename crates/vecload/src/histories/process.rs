//! A process of the run: it reads, sends, hears of answers and writes down, until it is done or killed.

use std::collections::HashMap;
use std::sync::Arc;

use rand::RngExt as _;
use vecload_record::RowRun;

use super::world::{Bug, Defect, Inputs, Killed, LATEST, World, letter};
use crate::checkpoint::{Checkpoint, Entry, Rows, State, TextRead};
use crate::digest::Digest;
use crate::events::ReadRows;
use crate::fence::{Fence, Ticket};
use crate::namespace::{Namespaces, wire_name};
use crate::prescan::{Place, VerdictReader};
use crate::rows::RowSet;

/// Rows in a request, and requests under way.
const REQUEST: usize = 3;
const IN_FLIGHT: usize = 4;
/// Rows in a block of a stream.
const BLOCK: u64 = 5;

/// Rows that go in one request.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) places: Vec<Place>,
    ticket: Option<Arc<Ticket>>,
}

/// Rows that are to go in one request.
#[derive(Default)]
struct OpenBatch {
    places: Vec<Place>,
    superseded: Vec<u32>,
    ticket: Option<Ticket>,
}

/// A process of the run.
pub(super) struct Process<'a> {
    pub(super) world: &'a mut World,
    pub(super) state: State,
    checkpoint: Checkpoint,
    verdicts: Option<VerdictReader>,
    namespaces: Namespaces,
    /// Of each split the next row to be read.
    next: Vec<u64>,
    open: HashMap<&'static str, OpenBatch>,
    waiting: Vec<Batch>,
    pub(super) in_flight: Vec<Batch>,
    /// Of a stream.
    fence: Option<Fence>,
}

impl<'a> Process<'a> {
    pub(super) fn new(
        world: &'a mut World,
        state: State,
        checkpoint: Checkpoint,
        verdicts: Option<VerdictReader>,
    ) -> Self {
        let fence = (world.inputs == Inputs::Stream).then(|| fence(world));
        Self {
            fence,
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
                self.seal_all();
            }
            if !self.in_flight.is_empty() && (is_read || self.world.random.random_bool(0.5)) {
                self.answer()?;
            } else if self.in_flight.len() < IN_FLIGHT
                && let Some(which) = self.next_to_send()
            {
                self.send(which)?;
            } else if !is_read {
                let split = unread[self.world.random.random_range(0..unread.len())];
                let settled = &done[split].settled;
                self.read(split, |row| settled.contains(row))?;
            } else if self.in_flight.is_empty() && self.waiting.is_empty() {
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
        let place = Place {
            split: split as u32,
            row: number,
        };
        let row = self.world.row(place);
        if self.fence.is_some() {
            self.read_text(number)?;
            if self.is_fence_full() {
                return Ok(());
            }
        }
        self.next[split] += 1;
        if is_settled(number) {
            self.pass(place);
            return Ok(());
        }
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
                let mut open = self
                    .open
                    .remove(wire_name(row.namespace))
                    .unwrap_or_default();
                open.places.push(place);
                let superseded = self.enter(&mut open, place);
                if open.places.len() == REQUEST {
                    self.waiting.push(open.seal());
                } else {
                    self.open.insert(wire_name(row.namespace), open);
                }
                superseded.map_or(Ok(()), |superseded| {
                    self.settle(&Entry::Superseded {
                        namespace: row.namespace.to_owned(),
                        rows: Rows(vec![run(superseded)]),
                    })
                })
            }
        }
    }

    fn seal_all(&mut self) {
        let open = self.open.drain();
        self.waiting.extend(open.map(|(_, open)| open.seal()));
    }

    /// Writes down that a block of a stream was read, before any row of it is.
    fn read_text(&mut self, number: u64) -> Result<(), Killed> {
        let read = text_read(&self.state);
        if number < read {
            return Ok(());
        }
        let rows = (number + BLOCK).min(self.world.rows[0].len() as u64);
        let text = TextRead { rows, hash: 0 };
        self.settle(&Entry::TextRead { split: 0, text })
    }

    /// Whether the fence has no room for a row yet.
    fn is_fence_full(&mut self) -> bool {
        let now = self.world.now();
        let fence = self.fence.as_mut();
        let is_full = fence.is_some_and(|fence| fence.in_the_way(now).is_some());
        if is_full {
            self.seal_all();
        }
        is_full
    }

    fn key(&self, place: Place) -> Option<u64> {
        let row = self.world.row(place);
        let namespace = match self.world.bug {
            Bug::FenceTellsDefaultApart if row.namespace.is_empty() => "none",
            _ => row.namespace,
        };
        let id = row.id.to_string();
        self.fence.as_ref().map(|fence| fence.key(namespace, &id))
    }

    /// A settled row goes by.
    fn pass(&mut self, place: Place) {
        let now = self.world.now();
        if let (Some(key), Some(fence)) = (self.key(place), &mut self.fence)
            && fence.watches_settled(now)
            && self.world.bug != Bug::FenceForgetsSettled
        {
            fence.pass(key, now);
        }
    }

    /// Shows the fence the last row of a batch. Says which row is superseded.
    fn enter(&mut self, open: &mut OpenBatch, place: Place) -> Option<Place> {
        let now = self.world.now();
        let key = self.key(place)?;
        let fence = self.fence.as_mut()?;
        let ticket = open.ticket.get_or_insert_with(|| fence.open());
        let record = open.places.len() as u32 - 1;
        let earlier = fence.enter(key, ticket, record, now)?;
        let superseded = match self.world.bug {
            Bug::EarlierSupersedes => record,
            _ => earlier,
        };
        open.superseded.push(superseded);
        Some(open.places[superseded as usize])
    }

    /// Any of the batches that may be sent.
    fn next_to_send(&mut self) -> Option<usize> {
        let (now, bug) = (self.world.now(), self.world.bug);
        let may_go = |batch: &Batch| {
            let ticket = batch.ticket.as_ref();
            bug == Bug::NoFence || ticket.is_none_or(|ticket| ticket.is_open(now))
        };
        let ready: Vec<usize> = (0..self.waiting.len())
            .filter(|which| may_go(&self.waiting[*which]))
            .collect();
        if ready.is_empty() {
            return None;
        }
        Some(ready[self.world.random.random_range(0..ready.len())])
    }

    fn send(&mut self, which: usize) -> Result<(), Killed> {
        let mut batch = self.waiting.swap_remove(which);
        let places = &batch.places;
        if self.world.bug == Bug::FenceUntilSent {
            batch.ticket = None;
        }
        if self.world.bug == Bug::MarkAtSend {
            let done = self.state.ledger.done();
            let is_new = |place: &&Place| !done[place.split as usize].settled.contains(place.row);
            let unmarked: Vec<Place> = places.iter().filter(is_new).copied().collect();
            self.settle(&loaded(&unmarked))?;
        }
        self.in_flight.push(batch);
        Ok(())
    }

    /// A request ends in one way or another.
    fn answer(&mut self) -> Result<(), Killed> {
        let which = self.world.random.random_range(0..self.in_flight.len());
        let Batch { mut places, ticket } = self.in_flight.swap_remove(which);
        let refused = places
            .iter()
            .position(|place| self.world.is_refused(*place));
        if let Some(refused) = refused {
            let after = places.split_off(refused + 1);
            let refused = places.pop();
            // In parts, of which each goes for itself.
            for places in [places, after] {
                if !places.is_empty() {
                    let ticket = ticket.clone();
                    self.waiting.push(Batch { places, ticket });
                }
            }
            return self.reject(refused.expect("it is there"));
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
            80..90 => {}
            _ => {
                self.waiting.push(Batch { places, ticket });
                return Ok(());
            }
        }
        if self.world.bug != Bug::NoQuarantine
            && let Some(ticket) = &ticket
        {
            ticket.quarantine(self.world.after(LATEST));
        }
        self.waiting.push(Batch { places, ticket });
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

impl OpenBatch {
    fn seal(mut self) -> Batch {
        let mut record = 0..;
        self.places.retain(|_| {
            let record = record.next();
            !record.is_some_and(|record| self.superseded.contains(&record))
        });
        Batch {
            places: self.places,
            ticket: self.ticket.map(Arc::new),
        }
    }
}

/// The fence of a process that begins now, with so little room that there is none at times.
fn fence(world: &World) -> Fence {
    let is_watched = world.is_continued && world.bug != Bug::NoQuarantineAfterKill;
    Fence::holding(12, is_watched.then(|| world.after(LATEST)))
}

/// The rows of a stream that were read.
fn text_read(state: &State) -> u64 {
    let done = state.ledger.done();
    done[0].text.last().map_or(0, |text| text.rows)
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
        sampled: Vec::new(),
    }
}
