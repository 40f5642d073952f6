//! The event loop: replicas that ask their pacer as a lane does, and requests on their way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use vecload_local_index::{Model, OutageKind};

use super::{ClientsPart, Reply, Scenario};
use crate::backoff::Backoff;
use crate::lane::{Link, Passage, Passed};
use crate::pacer::{LOOK, Outcome, Pacer, Rates, Turn};
use crate::units::ByteRate;

/// One answer, or failure, of a replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) client: usize,
    pub(super) sent: f64,
    pub(super) at: f64,
    pub(super) bytes: f64,
    pub(super) reply: Reply,
    pub(super) attempts: u32,
}

/// What happened in a run.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) done: Vec<Done>,
    /// When each replica began and ended.
    pub(super) active: Vec<(f64, f64)>,
}

#[derive(Debug)]
struct Batch {
    bytes: f64,
    backoff: Backoff,
    attempts: u32,
}

#[derive(Debug)]
struct Request {
    client: usize,
    sent: f64,
    back: f64,
    /// When its time is up.
    expires: f64,
    passage: Passage,
    batch: Batch,
}

#[derive(Debug)]
enum Event {
    /// A replica may have something to do.
    Look(usize),
    /// A batch of a replica has waited long enough.
    Again(usize, Batch),
    Arrives(Request),
    Done(Request, Reply),
}

#[derive(Debug)]
struct Client {
    pacer: Pacer,
    random: StdRng,
    round_trip: f64,
    stop: f64,
    /// Batches that have waited and are to be sent again, or the next fresh one.
    again: VecDeque<Batch>,
    link: Link,
    /// Since when it has waited for room in the link.
    held_since: Option<Instant>,
    /// The next time at which it looks anyway.
    looks_at: f64,
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    origin: Instant,
    server: Model,
    /// When the link has passed on all that it took.
    link_free: f64,
    clients: Vec<Client>,
    /// By time (the bits of a number that is not negative are in its order) and number.
    events: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: HashMap<u64, Event>,
    number: u64,
    log: Log,
}

/// Runs a scenario.
pub(super) fn run(scenario: &Scenario, seed: u64) -> Log {
    let part = &scenario.clients;
    let origin = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let given = |list: &[f64], index: usize, or: f64| list.get(index).copied().unwrap_or(or);
    let rates = Rates {
        replicas: part.replicas,
        ..Rates::ADAPTIVE
    };
    let mut simulation = Simulation {
        scenario,
        origin,
        server: Model::new(&scenario.server, seed),
        link_free: 0.0,
        clients: Vec::new(),
        events: BinaryHeap::new(),
        waiting: HashMap::new(),
        number: 0,
        log: Log {
            done: Vec::new(),
            active: Vec::new(),
        },
    };
    for index in 0..part.replicas as usize {
        let start = given(&part.starts, index, random.random_range(0.0..2.0));
        let stop = given(&part.stops, index, scenario.run.seconds + 1.0);
        let mut random = StdRng::seed_from_u64(seed * 1000 + index as u64);
        let seeded = StdRng::seed_from_u64(random.random());
        let begins = origin + Duration::from_secs_f64(start);
        let pacer = match part.hint {
            None => Pacer::new(&rates, begins, seeded),
            Some(hint) => Pacer::with_hint(&rates, ByteRate(Some(hint)), begins, seeded),
        };
        simulation.clients.push(Client {
            pacer,
            random,
            round_trip: given(&part.round_trips, index, 0.03),
            stop,
            again: VecDeque::new(),
            link: Link::new(
                Duration::from_secs_f64(part.attempt_seconds),
                (1.2 * part.batch_bytes) as usize,
            ),
            held_since: None,
            looks_at: f64::INFINITY,
        });
        simulation.log.active.push((start, stop));
        simulation.push(start, Event::Look(index));
    }
    simulation.run();
    simulation.log
}

impl Client {
    /// Takes the next fresh batch, in as many parts as a lane has it cut into when its turn comes.
    fn take_fresh(&mut self, part: &ClientsPart) {
        let bytes = part.batch_bytes * self.random.random_range(0.8..1.2);
        let parts = if part.are_cut {
            self.pacer.parts(bytes as usize)
        } else {
            1
        };
        for _ in 0..parts {
            self.again.push_back(Batch {
                bytes: bytes / parts as f64,
                backoff: Backoff::new(),
                attempts: 0,
            });
        }
    }
}

impl Simulation<'_> {
    fn run(&mut self) {
        while let Some(Reverse((now, number))) = self.events.pop() {
            let now = f64::from_bits(now);
            if now > self.scenario.run.seconds {
                return;
            }
            match self.waiting.remove(&number).expect("pushed once") {
                Event::Look(client) => {
                    if self.clients[client].looks_at <= now {
                        self.clients[client].looks_at = f64::INFINITY;
                    }
                    self.look(now, client);
                }
                Event::Again(client, batch) => {
                    self.clients[client].again.push_back(batch);
                    self.look(now, client);
                }
                Event::Arrives(request) => self.arrives(now, request),
                Event::Done(request, reply) => self.done(now, request, reply),
            }
        }
    }

    fn push(&mut self, at: f64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at.to_bits(), self.number)));
        self.waiting.insert(self.number, event);
    }

    fn instant(&self, at: f64) -> Instant {
        self.origin + Duration::from_secs_f64(at)
    }

    /// Sends what may go, and sees to it that the replica looks again.
    fn look(&mut self, now: f64, index: usize) {
        let at = self.instant(now);
        loop {
            let client = &mut self.clients[index];
            if now >= client.stop {
                return;
            }
            let wait = match client.pacer.turn(at) {
                Turn::Now => None,
                Turn::At(ready) => Some((ready - at).min(LOOK)),
                Turn::Full => Some(LOOK),
            };
            if let Some(wait) = wait {
                let next = now + wait.as_secs_f64().max(1e-6);
                if next < client.looks_at {
                    client.looks_at = next;
                    self.push(next, Event::Look(index));
                }
                return;
            }
            if client.again.is_empty() {
                client.take_fresh(&self.scenario.clients);
            }
            let bytes = client.again[0].bytes as usize;
            if !client.link.has_room(bytes) {
                // The next answer makes room.
                client.held_since.get_or_insert(at);
                return;
            }
            if let Some(since) = client.held_since.take() {
                client.pacer.held_up(since, at);
            }
            let batch = client.again.pop_front().expect("one at least");
            client.pacer.charge(at, bytes);
            self.send(now, index, batch);
        }
    }

    fn send(&mut self, now: f64, index: usize, mut batch: Batch) {
        batch.attempts += 1;
        let link = self.scenario.server.link_bytes_per_second;
        let at = self.instant(now);
        let client = &mut self.clients[index];
        let passage = client.link.enter(at, batch.bytes as usize);
        let expires = now + client.link.patience().as_secs_f64();
        let half = client.round_trip * 0.5 * client.random.random_range(0.85..1.15);
        let mut arrives = now + half;
        if let Some(speed) = link {
            self.link_free = self.link_free.max(now) + batch.bytes / speed;
            arrives = self.link_free + half;
        }
        let request = Request {
            client: index,
            sent: now,
            back: half,
            expires,
            passage,
            batch,
        };
        match self.scenario.server.outage_within(now, arrives).copied() {
            None => self.push(arrives, Event::Arrives(request)),
            Some(outage) => match outage.kind {
                OutageKind::Hole => self.push(expires, Event::Done(request, Reply::Silence)),
                // It waits for its connection.
                OutageKind::Accept if outage.from <= now && outage.to + half < expires => {
                    self.push(outage.to + half, Event::Arrives(request));
                }
                OutageKind::Accept if outage.from <= now => {
                    self.push(expires, Event::Done(request, Reply::Silence));
                }
                OutageKind::Reset if outage.from <= now => {
                    self.push(now + 2.0 * half, Event::Done(request, Reply::Unavailable));
                }
                OutageKind::Reset | OutageKind::Accept => {
                    let at = outage.from + half;
                    self.push(at, Event::Done(request, Reply::Unavailable));
                }
            },
        }
    }

    fn arrives(&mut self, now: f64, request: Request) {
        let (reply, done) = self.server.arrives(now, "", request.batch.bytes);
        let reply = match reply {
            vecload_local_index::Reply::Taken => Reply::Taken,
            vecload_local_index::Reply::Throttled(_) => Reply::Throttled,
            vecload_local_index::Reply::Unavailable => Reply::Unavailable,
            vecload_local_index::Reply::Refused(_) => {
                panic!("a scenario of one namespace refuses it")
            }
        };
        let back = done + request.back;
        let expires = request.expires;
        match self.scenario.server.outage_within(now, back).copied() {
            Some(outage) if outage.kind == OutageKind::Hole => {
                self.push(expires, Event::Done(request, Reply::Silence));
            }
            Some(outage) => {
                let at = outage.from.max(now) + request.back;
                self.push(at, Event::Done(request, Reply::Unavailable));
            }
            None if back > expires => self.push(expires, Event::Done(request, Reply::Silence)),
            None => self.push(back, Event::Done(request, reply)),
        }
    }

    fn done(&mut self, now: f64, request: Request, reply: Reply) {
        let (at, sent) = (self.instant(now), self.instant(request.sent));
        let index = request.client;
        let client = &mut self.clients[index];
        let mut batch = request.batch;
        let (outcome, passed) = match reply {
            Reply::Taken => (Outcome::Acknowledged, Passed::Through),
            Reply::Throttled => (Outcome::Throttled, Passed::Through),
            Reply::Unavailable => (Outcome::Failed, Passed::Unknown),
            Reply::Silence => (Outcome::Failed, Passed::TimedOut),
        };
        client.link.leave(at, &request.passage, passed);
        let bytes = batch.bytes as usize;
        client.pacer.answered(at, sent, bytes, Some(outcome));
        self.log.done.push(Done {
            client: index,
            sent: request.sent,
            at: now,
            bytes: batch.bytes,
            reply,
            attempts: batch.attempts,
        });
        if reply != Reply::Taken {
            let wait = batch.backoff.next(None, &mut client.random).as_secs_f64();
            self.push(now + wait, Event::Again(index, batch));
        }
        self.look(now, index);
    }
}
