use super::*;
use crate::batch::largest;
use crate::batcher::Batcher;
use crate::fence::Fence;
use crate::lane::Shared;
use crate::memory::WaitsFor;
use crate::namespace::Namespaces;
use crate::pacer::{Pacer, Rates};
use crate::target::scripted::{Answer, Scripted, Seen, failure};
use crate::units::ByteRate;
use std::collections::BTreeSet;
use vecload_pinecone::{FRAME_PREFIX, Limits};
use vecload_record::{At, Dense, Metadata, Operation, RecordRef};

const RATE_TEXT: &str = "Request failed. You've reached the max upsert size limit per second for index i. Pace your upserts.";

/// A run of deliveries against a script.
struct Run {
    sending: Arc<Sending<Scripted>>,
    lane: Arc<Lane>,
    events: async_channel::Receiver<Event>,
    namespaces: Arc<Namespaces>,
}

impl Run {
    fn new(script: impl Fn(&Seen) -> (Duration, Answer) + Send + Sync + 'static) -> Self {
        let limits = Limits::default();
        let target = Arc::new(Scripted::new(limits, script));
        let (events_in, events) = async_channel::unbounded();
        let namespaces = Arc::new(Namespaces::default());
        let traffic = Arc::new(Traffic::new(1));
        let shared = Arc::new(Shared::new(
            8,
            ByteRate(None),
            limits.request_bytes,
            Duration::from_secs(60),
            Arc::clone(traffic.waits()),
        ));
        let pacer = Pacer::new(&Rates::ADAPTIVE, Instant::now(), StdRng::seed_from_u64(1));
        Self {
            lane: Arc::new(Lane::new(namespaces.get("ns"), pacer, shared)),
            sending: Arc::new(Sending {
                target,
                memory: Memory::new(40 << 20, largest(limits, FRAME_PREFIX)),
                cap: Arc::new(RequestCap::new(limits.request_bytes)),
                stop: Arc::new(Stop::default()),
                stall: Arc::new(Stall::new(Duration::from_secs(900))),
                traffic,
                prospects: Prospects::new(false),
                quarantine: Duration::from_secs(120),
                sampler: None,
                random: jitter(1),
                events: events_in,
            }),
            events,
            namespaces,
        }
    }

    /// A batch of records `0..records`, each of so many values.
    fn batch(&self, records: usize, values: usize) -> EncodedBatch {
        let (mut batcher, sealed) = self.batcher();
        fill(&mut batcher, records, values);
        batcher.flush().expect("sent");
        sealed.try_recv().expect("one batch")
    }

    fn batcher(&self) -> (Batcher<Scripted>, async_channel::Receiver<EncodedBatch>) {
        let (sealed_in, sealed) = async_channel::unbounded();
        let sending = &self.sending;
        let batcher = Batcher::new(
            Arc::clone(&sending.target),
            Arc::clone(&sending.memory),
            Arc::clone(&sending.cap),
            Arc::clone(&self.namespaces),
            sealed_in,
        );
        (batcher, sealed)
    }

    /// Delivers a batch of that many records, and gives the rows loaded and the rows rejected.
    async fn deliver(&self, records: usize) -> (BTreeSet<u64>, Vec<RejectedRow>) {
        self.deliver_batch(self.batch(records, 2)).await
    }

    /// Delivers a batch, and gives the rows loaded and the rows rejected.
    async fn deliver_batch(&self, batch: EncodedBatch) -> (BTreeSet<u64>, Vec<RejectedRow>) {
        self.sending.deliver(&self.lane, batch).await;
        let (mut loaded, mut rejected) = (BTreeSet::new(), Vec::new());
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Loaded(rows) => {
                    for run in rows.rows.iter() {
                        for row in run.first..run.first + u64::from(run.len) {
                            assert!(loaded.insert(row), "row {row} is loaded twice");
                        }
                    }
                }
                Event::Rejected(row) => rejected.push(*row),
                other => panic!("{other:?}"),
            }
        }
        let memory = &self.sending.memory;
        assert_eq!(memory.leased(), 0, "all memory comes back");
        (loaded, rejected)
    }

    fn stopped_with(&self) -> Option<(&'static str, ExitCode)> {
        let reason = self.sending.stop.reason()?;
        Some((reason.code, reason.exit_code))
    }
}

/// Pushes records `0..records`, each of so many values.
fn fill(batcher: &mut Batcher<Scripted>, records: usize, values: usize) {
    let slot = batcher.slot("ns");
    let values = vec![1.5; values];
    for number in 0..records {
        let id = format!("id-{number}");
        let record = RecordRef {
            operation: Operation::Upsert,
            namespace: None,
            id: &id,
            dense: Some(Dense::Floats(&values)),
            sparse: None,
            metadata: Metadata::Absent,
        };
        let at = At {
            row: number as u64,
            locator: number as u64,
        };
        batcher
            .push(&record, slot, 0, at, WaitsFor::Namespace)
            .expect("taken");
    }
}

fn fail(code: Code, message: &str) -> (Duration, Answer) {
    (
        Duration::from_millis(20),
        Answer::Fail(failure(code, message)),
    )
}

fn ok() -> (Duration, Answer) {
    (Duration::from_millis(20), Answer::Ok)
}

/// Scenario: a batch of 1.8 MB is throttled once, and then there is another one.
/// Guarantees: what was sent keeps its bytes (INV-3); the other one goes in parts for the lower pace, each of its
/// rows is loaded once, and all memory comes back.
#[tokio::test(start_paused = true)]
async fn a_batch_goes_in_parts_where_the_pace_is_low() {
    let run = Run::new(|seen| match seen.number {
        0 => fail(Code::ResourceExhausted, RATE_TEXT),
        _ => ok(),
    });
    for requests in [2, 4] {
        let before = run.sending.target.seen().len();
        let whole = run.batch(90, 5_000);
        let bytes = whole.message_bytes();
        let (loaded, rejected) = run.deliver_batch(whole).await;
        assert_eq!(loaded, (0..90).collect());
        assert!(rejected.is_empty());
        let seen = run.sending.target.seen().split_off(before);
        assert_eq!(seen.len(), requests);
        if requests == 2 {
            assert_eq!(seen[0].digest, seen[1].digest);
        } else {
            // Evenly, but for a record.
            assert!(seen.iter().all(|seen| seen.bytes <= bytes / 4 + 20_100));
        }
    }
}

/// Scenario: a request is throttled, unavailable, reset, timed out and acknowledged with a wrong count
/// before it succeeds.
/// Guarantees: each attempt sends the same bytes (INV-3), all rows are loaded once, and attempts,
/// retries and throttles are counted.
#[tokio::test(start_paused = true)]
async fn a_batch_survives_everything_that_passes() {
    let run = Run::new(|seen| match seen.number {
        0 => fail(Code::ResourceExhausted, RATE_TEXT),
        1 => fail(Code::Unavailable, "unavailable"),
        2 => fail(Code::Internal, "reset"),
        3 => (Duration::from_secs(100), Answer::Ok),
        4 => (Duration::ZERO, Answer::Count(7)),
        _ => ok(),
    });
    let (loaded, rejected) = run.deliver(10).await;
    assert_eq!((loaded.len(), rejected.len()), (10, 0));
    let seen = run.sending.target.seen();
    assert_eq!(seen.len(), 6);
    assert!(
        seen.iter().all(|request| request.digest == seen[0].digest),
        "INV-3"
    );
    let counts = run.sending.traffic.counts();
    assert_eq!(
        (counts.attempts, counts.retries, counts.throttled, counts.ok),
        (6, 5, 1, 1)
    );
    assert_eq!(run.stopped_with(), None);
}

/// Scenario: the service asks to come again in 7 seconds.
/// Guarantees: nothing is sent to the namespace before.
#[tokio::test(start_paused = true)]
async fn a_hint_is_honoured_by_the_whole_lane() {
    let run = Run::new(|seen| match seen.number {
        0 => {
            let mut refusal = failure(Code::ResourceExhausted, RATE_TEXT);
            refusal.pushback = Some(Pushback::Wait(Duration::from_secs(7)));
            (Duration::ZERO, Answer::Fail(refusal))
        }
        _ => ok(),
    });
    let (loaded, _) = run.deliver(3).await;
    assert_eq!(loaded.len(), 3);
    let seen = run.sending.target.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(7));
    assert!(seen[1].at - seen[0].at < Duration::from_secs(8));
}

/// Scenario: the service takes at most 400 bytes.
/// Guarantees: the batch is halved until it fits, nothing is sent twice as it was, every row is
/// loaded, and the cap of later batches is lowered.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_is_halved() {
    let run = Run::new(|seen| {
        if seen.bytes > 400 {
            fail(
                Code::InvalidArgument,
                "Request size 3MB exceeds the maximum supported size of 2MB",
            )
        } else {
            ok()
        }
    });
    let (loaded, rejected) = run.deliver(100).await;
    assert_eq!((loaded.len(), rejected.len()), (100, 0));
    assert!(run.sending.cap.get() <= 800, "{}", run.sending.cap.get());
    let seen = run.sending.target.seen();
    let digests: BTreeSet<u64> = seen.iter().map(|request| request.digest).collect();
    assert_eq!(digests.len(), seen.len(), "never the same again");
}

/// Scenario: some of 1,000 records are refused by the service; its message names none.
/// Guarantees: exactly those are rejected, with the service's words and their content, at the cost
/// of at most 2 log2(1000) further requests each.
#[tokio::test(start_paused = true)]
async fn bisection_finds_the_bad_records() {
    const BAD: [&str; 4] = ["id-0", "id-123", "id-124", "id-999"];
    let run = Run::new(|seen| {
        if seen.ids.iter().any(|id| BAD.contains(&id.as_str())) {
            fail(Code::InvalidArgument, "a record is not to my liking")
        } else {
            ok()
        }
    });
    let (loaded, rejected) = run.deliver(1000).await;
    assert_eq!(loaded.len(), 996);
    let mut rows: Vec<u64> = rejected.iter().map(|row| row.row).collect();
    rows.sort_unstable();
    assert_eq!(rows, [0, 123, 124, 999]);
    for row in &rejected {
        assert_eq!(row.reject.reason, Reason::Refused);
        assert_eq!(row.reject.message, "a record is not to my liking");
        let Content::Record(record) = &row.content else {
            panic!("{:?}", row.content);
        };
        assert_eq!(record["id"], format!("id-{}", row.row));
        assert_eq!(record["values"], serde_json::json!([1.5, 1.5]));
    }
    let most = 1 + BAD.len() * 2 * 10;
    assert!(run.sending.target.seen().len() <= most);
}

/// Scenario: the service names the record that it refuses; another message names one that is not there.
/// Guarantees: the named record is cut out at once, and a wrong name is not believed.
#[tokio::test(start_paused = true)]
async fn a_named_record_is_cut_out() {
    let run = Run::new(|seen| {
        if seen.ids.iter().any(|id| id == "id-500") {
            fail(
                Code::InvalidArgument,
                "Dense vectors must contain at least one non-zero value. Vector ID 'id-500' contains only zeros",
            )
        } else {
            ok()
        }
    });
    let (loaded, rejected) = run.deliver(1000).await;
    assert_eq!((loaded.len(), rejected.len()), (999, 1));
    assert_eq!(rejected[0].row, 500);
    assert_eq!(run.sending.target.seen().len(), 3);

    let run = Run::new(|seen| {
        if seen.ids.iter().any(|id| id == "id-2") {
            fail(
                Code::InvalidArgument,
                "Vector ID must be ASCII, but got 'id-4000'",
            )
        } else {
            ok()
        }
    });
    let (loaded, rejected) = run.deliver(4).await;
    assert_eq!((loaded.len(), rejected.len()), (3, 1));
    assert_eq!(rejected[0].row, 2);
}

/// Scenario: the key is revoked, the quota is used up, the namespace takes no writes, and the service
/// says not to come again.
/// Guarantees: after the verdict nothing more is sent, no row is rejected, and the run (or only the
/// namespace) stops with the right exit code.
#[tokio::test(start_paused = true)]
async fn verdicts_stop_at_once() {
    let stop = Some(("service", ExitCode::Service));
    let exhausted = Some(("exhausted", ExitCode::Service));
    let month = "Request failed. You've reached your write unit limit for the current month. To continue writing data, upgrade your plan.";
    let cases = [
        (Code::Unauthenticated, "Invalid API key", None, stop),
        (Code::ResourceExhausted, month, None, exhausted),
        (Code::Unavailable, "no", Some(Pushback::DoNotRetry), stop),
        (
            Code::PermissionDenied,
            "Request failed. You've reached the max namespaces allowed in serverless index i. To add more namespaces, upgrade your plan.",
            None,
            None,
        ),
    ];
    for (code, message, pushback, expected) in cases {
        let mut refusal = failure(code, message);
        refusal.pushback = pushback;
        let run = Run::new(move |_| (Duration::ZERO, Answer::Fail(refusal.clone())));
        let (loaded, rejected) = run.deliver(5).await;
        assert_eq!((loaded.len(), rejected.len()), (0, 0), "{message}");
        assert_eq!(run.sending.target.seen().len(), 1, "{message}");
        assert_eq!(run.stopped_with(), expected, "{message}");
        assert_eq!(run.lane.closed().is_some(), expected.is_none(), "{message}");
        // A later batch of the same namespace is not sent either.
        run.deliver(5).await;
        assert_eq!(run.sending.target.seen().len(), 1, "{message}");
    }
}

/// Scenario: the run is stopped while a batch waits to be tried again.
/// Guarantees: it ends at once, and its rows remain.
#[tokio::test(start_paused = true)]
async fn a_stop_wakes_a_waiting_batch() {
    let run = Arc::new(Run::new(|_| fail(Code::Unavailable, "unavailable")));
    let delivering = tokio::spawn({
        let run = Arc::clone(&run);
        async move { run.deliver(5).await }
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    let sent = run.sending.target.seen().len();
    run.sending.stop.stop(StopReason::new(
        "signal",
        ExitCode::Interrupted,
        "interrupted",
    ));
    let before = Instant::now();
    let (loaded, rejected) = delivering.await.expect("no panic");
    assert_eq!((loaded.len(), rejected.len()), (0, 0));
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(run.sending.target.seen().len(), sent);
}

/// Scenario: the same record stands in two batches; the first attempt of the first batch gets no definite answer.
/// Guarantees: the second batch is sent once the first is acknowledged and the quarantine is over, and not before;
/// after a definite refusal it need not wait longer than for the acknowledgement.
#[tokio::test(start_paused = true)]
async fn an_earlier_row_cannot_come_later() {
    let cases = [
        (Code::Unavailable, "no", 120),
        (Code::ResourceExhausted, RATE_TEXT, 0),
    ];
    for (code, words, quarantine) in cases {
        let run = Run::new(move |seen| match seen.number {
            0 => fail(code, words),
            _ => ok(),
        });
        let (mut batcher, sealed) = run.batcher();
        batcher.keep_order(Fence::new(None));
        let mut batch = || {
            fill(&mut batcher, 1, 2);
            batcher.flush().expect("sent");
            sealed.try_recv().expect("a batch")
        };
        let (first, second) = (batch(), batch());
        let began = Instant::now();
        let deliver = async |batch| {
            run.sending.deliver(&run.lane, batch).await;
            began.elapsed().as_secs_f64()
        };
        // The second one is ready first.
        let (second, first) = tokio::join!(deliver(second), deliver(first));
        let earliest = first.max(quarantine.into());
        let is_right = (earliest..earliest + 5.0).contains(&second);
        assert!(first < 60.0 && is_right, "{code:?}: {first}, {second}");
        assert_eq!(run.events.len(), 2);
    }
}
