//! The wiring: the only place that spawns and makes channels.
//!
//! ```text
//!   splits ─▶ workers (CPU threads) ─①─▶ dispatch ─▶ a delivery for each batch ─②─▶ committer (thread)
//! ```
//!
//! Data only moves forward. Upstream go only backpressure (bounded channels, the byte budget) and
//! one stop. Every stage ends when the one before it has gone; so the end of the input, an error and
//! a stop all take the same way out, and whatever was acknowledged on the way is booked.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument as _, Span};
use vecload_source::Plan;

use crate::batch::{EncodedBatch, largest};
use crate::batcher::{Batcher, RequestCap};
use crate::checkpoint::{Checkpoint, State};
use crate::committer::{Committer, RunningReport, SYNC_EVERY};
use crate::delivery::{Prospects, Sending, jitter};
use crate::events::Event;
use crate::fence::Fence;
use crate::fingerprint::InputPrint;
use crate::lane::{Lane, Shared};
use crate::ledger::Books;
use crate::memory::Memory;
use crate::namespace::{Namespace, Namespaces};
use crate::pacer::{Pacer, Rates};
use crate::prescan::{
    self, KeyHasher, OnRead, PrescanError, Scanner, Sightings, Spill, VerdictReader, Verdicts,
};
use crate::settings::MaxRejects;
use crate::stall::Stall;
use crate::stop::{ExitCode, Stop, StopReason};
use crate::target::Target;
use crate::telemetry::{CheckpointAge, Metric, NamespaceLabels};
use crate::traffic::Traffic;
use crate::units::ByteRate;
use crate::worker::{Left, Worker};

/// What there is to do.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) default_namespace: String,
    pub(crate) max_rejects: MaxRejects,
    /// What the inputs were when the run was opened.
    pub(crate) prints: Arc<[InputPrint]>,
    /// Which rows are superseded; `None` where that was not looked for.
    pub(crate) verdicts: Option<Arc<Verdicts>>,
    /// Whether superseded rows are rejected instead of being passed over.
    pub(crate) reject_superseded: bool,
    /// Whether the rows of an id stay in order though it is not known which is the last one. Where it is so, one
    /// worker reads all.
    pub(crate) keep_order: bool,
}

/// How it is to be done; none of it changes the outcome.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    pub(crate) memory: usize,
    pub(crate) workers: usize,
    pub(crate) in_flight: usize,
    pub(crate) attempt_timeout: Duration,
    pub(crate) quarantine: Duration,
    pub(crate) max_stall: Duration,
    pub(crate) time_limit: Option<TimeLimit>,
    pub(crate) rates: Rates,
    pub(crate) total_rate: ByteRate,
    pub(crate) seed: u64,
}

/// How long an attempt may take, and when it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit {
    pub(crate) began: Instant,
    pub(crate) limit: Duration,
}

/// What a run needs from outside, and what it can be watched by.
pub(crate) struct Handles {
    pub(crate) stop: Arc<Stop>,
    pub(crate) traffic: Arc<Traffic>,
    /// What earlier attempts have settled, and where this one writes it down.
    pub(crate) progress: (State, Checkpoint),
    pub(crate) report: RunningReport,
    pub(crate) books: watch::Sender<Books>,
}

/// What a run leaves behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) state: State,
    /// Why namespaces were closed, by name.
    pub(crate) closed_namespaces: Vec<(String, String)>,
    /// The sum of what the pacers allow at the end, in bytes per second, if they limit it.
    pub(crate) final_rate: Option<f64>,
}

/// Batches that wait between the workers and the dispatcher: enough that neither waits for a
/// thread to wake. Their memory is the budget's.
const SEALED: usize = 16;
/// Events that wait for the committer.
const EVENTS: usize = 256;
/// How often the rates of the pacers are published.
const RATES_EVERY: Duration = Duration::from_secs(1);

/// Runs a job to its end.
pub(crate) async fn run<T: Target>(
    target: Arc<T>,
    job: Job,
    knobs: &Knobs,
    handles: Handles,
) -> Finished {
    let Handles {
        stop,
        traffic,
        progress,
        report,
        books,
    } = handles;
    let limits = target.limits();
    let memory = Memory::new(knobs.memory, largest(limits, target.opening_bytes()));
    let cap = Arc::new(RequestCap::new(limits.request_bytes));
    let namespaces = Arc::new(Namespaces::default());
    let stall = Arc::new(Stall::new(knobs.max_stall));

    let (split_in, splits) = async_channel::unbounded();
    let (sealed_in, sealed) = async_channel::bounded(SEALED);
    let (events_in, events) = async_channel::bounded(EVENTS);

    let done = progress.0.ledger.done().into();
    let is_continued = progress.0.attempts > 1;
    let loaded_before = progress.0.ledger.total().loaded > 0;
    for split in &job.plan.splits {
        if !progress.0.ledger.is_settled(split) {
            // Unbounded, and this function holds a receiver: it cannot fail.
            let _ = split_in.try_send(split.clone());
        }
    }
    drop(split_in);
    let verdicts = job.verdicts.as_ref().map(VerdictReader::new);
    let committer = Committer::new(
        Arc::clone(&job.plan),
        Arc::clone(&stop),
        job.max_rejects,
        verdicts.clone(),
        progress,
        report,
        books,
    );
    let (age, sampler) = (committer.age(), committer.sampler());
    // Threads and tasks know nothing of the span that says in their log lines which run it is.
    let span = Span::current();
    let committer = tokio::task::spawn_blocking({
        let span = span.clone();
        move || span.in_scope(|| committer.run(&events))
    });

    let mut workers = JoinSet::new();
    // What a process before this one sent, it sent before now.
    let sent_before_until = is_continued.then(|| Instant::now() + knobs.quarantine);
    let worker_count = if job.keep_order { 1 } else { knobs.workers };
    for _ in 0..worker_count {
        let mut batcher = Batcher::new(
            Arc::clone(&target),
            Arc::clone(&memory),
            Arc::clone(&cap),
            Arc::clone(&namespaces),
            sealed_in.clone(),
        );
        if job.keep_order {
            batcher.keep_order(Fence::new(sent_before_until));
        }
        let worker = Worker {
            plan: Arc::clone(&job.plan),
            batcher,
            default_namespace: job.default_namespace.clone(),
            stop: Arc::clone(&stop),
            prints: Arc::clone(&job.prints),
            done: Arc::clone(&done),
            verdicts: verdicts.clone(),
            reject_superseded: job.reject_superseded,
            splits: splits.clone(),
            left: Left::default(),
            events: events_in.clone(),
        };
        let span = span.clone();
        workers.spawn_blocking(move || span.in_scope(|| worker.run()));
    }
    drop((sealed_in, splits));
    let mut watchers = JoinSet::new();
    watchers.spawn(tick(events_in.clone(), age));
    if let Some(limit) = knobs.time_limit {
        limit.watch(&stop, &mut watchers);
    }

    let sending = Arc::new(Sending {
        target,
        memory: Arc::clone(&memory),
        cap,
        stop: Arc::clone(&stop),
        stall: Arc::clone(&stall),
        traffic,
        prospects: Prospects::new(loaded_before),
        quarantine: knobs.quarantine,
        sampler,
        random: jitter(knobs.seed),
        events: events_in,
    });
    watchers.spawn({
        let stop = Arc::clone(&stop);
        async move { stall.watch(&stop).await }.in_current_span()
    });
    watchers.spawn({
        let (stop, plan) = (Arc::clone(&stop), job.plan);
        async move {
            stop.stopped().await;
            memory.close();
            plan.abandon();
        }
    });

    // On the threads that send: a batch is not handed over by way of the thread that runs this. It ends with this.
    let mut dispatching = JoinSet::new();
    let dispatch = dispatch(sealed, sending, knobs.clone(), limits.request_bytes);
    dispatching.spawn(dispatch.in_current_span());
    let lanes: HashMap<_, _> = dispatching.join_all().await.into_iter().flatten().collect();
    report_panics(workers, &stop).await;
    watchers.shutdown().await;
    let state = committer.await.unwrap_or_else(|panic| {
        // The committer holds the books: without it there is nothing true left to say.
        std::panic::resume_unwind(panic.into_panic())
    });
    Finished {
        state,
        closed_namespaces: lanes
            .values()
            .filter_map(|lane| Some((lane.namespace.name().to_owned(), lane.closed()?.to_owned())))
            .collect(),
        final_rate: lanes.values().map(|lane| lane.rate()).sum(),
    }
}

/// What there is to find out before a job is begun.
pub(crate) struct Prescan {
    pub(crate) plan: Arc<Plan>,
    pub(crate) default_namespace: Arc<str>,
    pub(crate) workers: usize,
    pub(crate) stop: Arc<Stop>,
    pub(crate) time_limit: Option<TimeLimit>,
    pub(crate) spill: Arc<Spill>,
    /// A name for what is read.
    pub(crate) subject: u128,
    /// An empty file for the verdicts.
    pub(crate) file: File,
    pub(crate) on_read: OnRead,
}

/// Finds the rows that are superseded. Scanners read the keys of all splits, each for itself; then one
/// thread judges.
pub(crate) async fn prescan(scan: Prescan) -> Result<Verdicts, PrescanError> {
    let (split_in, splits) = async_channel::unbounded();
    for split in prescan::scanned(&scan.plan) {
        // Unbounded, and this function holds a receiver: it cannot fail.
        let _ = split_in.try_send(split.clone());
    }
    drop(split_in);
    let mut watchers = JoinSet::new();
    if let Some(limit) = scan.time_limit {
        limit.watch(&scan.stop, &mut watchers);
    }
    watchers.spawn({
        let (stop, plan) = (Arc::clone(&scan.stop), Arc::clone(&scan.plan));
        async move {
            stop.stopped().await;
            plan.abandon();
        }
    });
    let hasher = KeyHasher::default();
    let failed = Arc::default();
    let mut scanners = JoinSet::new();
    for _ in 0..scan.workers {
        let scanner = Scanner {
            plan: Arc::clone(&scan.plan),
            default_namespace: Arc::clone(&scan.default_namespace),
            seen: Sightings::new(&scan.spill, hasher.clone(), prescan::MEMORY, scan.workers),
            stop: Arc::clone(&scan.stop),
            failed: Arc::clone(&failed),
            splits: splits.clone(),
            on_read: Arc::clone(&scan.on_read),
        };
        scanners.spawn_blocking(move || scanner.run());
    }
    let (mut seen, mut failure) = (Vec::new(), None);
    for ended in scanners.join_all().await {
        match ended {
            Ok(found) => seen.push(found),
            // One that fails stops the others; its own reason counts.
            Err(PrescanError::Stopped) if failure.is_some() => {}
            Err(error) => failure = Some(error),
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let Prescan {
        stop,
        spill,
        subject,
        file,
        ..
    } = scan;
    let judging = tokio::task::spawn_blocking(move || {
        prescan::judge(&spill, seen, prescan::MEMORY, &stop, subject, file)
    });
    judging
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

// === impl TimeLimit ===

impl TimeLimit {
    /// Stops the run when its time is over: at once if it is, else by a task among `watchers`.
    fn watch(self, stop: &Arc<Stop>, watchers: &mut JoinSet<()>) {
        let limit = self.limit.as_secs_f64();
        let reason = StopReason::new(
            "max_duration",
            ExitCode::Interrupted,
            format!("the run took {limit} s (--max-duration)"),
        );
        let end = self.began + self.limit;
        if Instant::now() >= end {
            return stop.stop(reason);
        }
        let stop = Arc::clone(stop);
        watchers.spawn(async move {
            tokio::time::sleep_until(end).await;
            stop.stop(reason);
        });
    }
}

/// Wakes the committer every second, so that it makes durable what it has while nothing else happens, and says how
/// long ago it did.
async fn tick(events: async_channel::Sender<Event>, age: Arc<CheckpointAge>) {
    loop {
        age.publish();
        tokio::time::sleep(SYNC_EVERY).await;
        // Where the channel is full the committer is awake.
        let _ = events.try_send(Event::Tick);
    }
}

/// Gives each sealed batch to its namespace's lane, until there are no more and all are settled.
async fn dispatch<T: Target>(
    sealed: async_channel::Receiver<EncodedBatch>,
    sending: Arc<Sending<T>>,
    knobs: Knobs,
    largest: usize,
) -> HashMap<usize, Arc<Lane>> {
    let shared = Arc::new(Shared::new(
        knobs.in_flight,
        knobs.total_rate,
        largest,
        knobs.attempt_timeout,
        Arc::clone(sending.traffic.waits()),
    ));
    let labels = NamespaceLabels::default();
    let mut lanes: HashMap<usize, Arc<Lane>> = HashMap::new();
    let mut deliveries = JoinSet::new();
    let mut published = tokio::time::interval(RATES_EVERY);
    published.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let publish = |lanes: &HashMap<usize, Arc<Lane>>| {
        let rates = lanes.values();
        let rates = rates.filter_map(|lane| Some((lane.namespace.name(), lane.rate()?)));
        labels.publish_rates(rates);
    };
    // After the last batch was read many may still wait to be sent.
    let mut is_read = false;
    while !is_read || !deliveries.is_empty() {
        tokio::select! {
            _ = published.tick() => publish(&lanes),
            batch = sealed.recv(), if !is_read => {
                let Ok(batch) = batch else {
                    is_read = true;
                    continue;
                };
                let lane = lanes.entry(batch.namespace.index).or_insert_with(|| {
                    new_lane(&batch.namespace, &knobs, &shared)
                });
                let (lane, sending) = (Arc::clone(lane), Arc::clone(&sending));
                let delivery = async move { sending.deliver(&lane, batch).await };
                deliveries.spawn(delivery.in_current_span());
                metrics::gauge!(Metric::QueueBatches.name()).set(sealed.len() as f64);
            }
            Some(delivered) = deliveries.join_next() => stop_on_panic(delivered, &sending.stop),
        }
    }
    publish(&lanes);
    lanes
}

fn new_lane(namespace: &Arc<Namespace>, knobs: &Knobs, shared: &Arc<Shared>) -> Arc<Lane> {
    // Each lane has a stream of jitter of its own, so that the order of answers elsewhere does not
    // change it.
    let random = StdRng::seed_from_u64(knobs.seed.wrapping_add(namespace.index as u64));
    let pacer = Pacer::new(&knobs.rates, Instant::now(), random);
    Arc::new(Lane::new(Arc::clone(namespace), pacer, Arc::clone(shared)))
}

async fn report_panics(mut tasks: JoinSet<()>, stop: &Stop) {
    while let Some(ended) = tasks.join_next().await {
        stop_on_panic(ended, stop);
    }
}

/// A panic in a stage is a bug: the run stops, and says so.
fn stop_on_panic(ended: Result<(), tokio::task::JoinError>, stop: &Stop) {
    if let Err(error) = ended {
        stop.stop(StopReason::new(
            "bug",
            ExitCode::Bug,
            format!("a stage of the pipeline panicked: {error}; please report this"),
        ));
    }
}
