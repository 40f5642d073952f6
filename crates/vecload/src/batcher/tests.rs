use super::*;
use crate::batch::largest;
use crate::memory::PER_BATCH;
use crate::target::scripted::{Answer, Scripted, read_frame};
use proptest::prelude::*;
use std::time::Duration;
use vecload_pinecone::{FRAME_PREFIX, Limits};
use vecload_record::{Dense, Metadata, Operation};

/// A row of a test: namespace, and sizes.
#[derive(Debug, Clone)]
struct Row {
    namespace: usize,
    dimension: usize,
    metadata: usize,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row =
        (0_usize..6, 1_usize..300, 0_usize..4000).prop_map(|(namespace, dimension, metadata)| {
            Row {
                namespace,
                dimension,
                metadata,
            }
        });
    prop::collection::vec(row, 1..150)
}

fn record<'a>(id: &'a str, values: &'a [f32], metadata: &'a str) -> RecordRef<'a> {
    RecordRef {
        operation: Operation::Upsert,
        namespace: None,
        id,
        dense: Some(Dense::Floats(values)),
        sparse: None,
        metadata: Metadata::Json(metadata),
    }
}

fn accepting(limits: Limits) -> Arc<Scripted> {
    Arc::new(Scripted::new(limits, |_| (Duration::ZERO, Answer::Ok)))
}

/// A batcher with a budget, and the other end of channel ①.
fn batcher(
    target: &Arc<Scripted>,
    memory: &Arc<Memory>,
    namespaces: &Arc<Namespaces>,
) -> (Batcher<Scripted>, async_channel::Receiver<EncodedBatch>) {
    let (sealed_in, sealed) = async_channel::unbounded();
    let cap = Arc::new(RequestCap::new(target.limits().request_bytes));
    let batcher = Batcher::new(
        Arc::clone(target),
        Arc::clone(memory),
        cap,
        Arc::clone(namespaces),
        sealed_in,
    );
    (batcher, sealed)
}

/// Pushes one row; the namespace is the text of its number.
fn push(batcher: &mut Batcher<Scripted>, number: usize, row: &Row) -> Result<(), NotTaken> {
    push_id(batcher, number, &number.to_string(), row).map(drop)
}

/// Pushes one row with an id. Says which one it supersedes.
fn push_id(
    batcher: &mut Batcher<Scripted>,
    number: usize,
    id: &str,
    row: &Row,
) -> Result<Option<u64>, NotTaken> {
    let values = vec![0.5; row.dimension];
    let metadata = format!("{{\"t\":\"{}\"}}", "x".repeat(row.metadata));
    let name = row.namespace.to_string();
    let slot = batcher.slot(&name);
    let at = At {
        row: number as u64,
        locator: 10 * number as u64,
    };
    let record = record(id, &values, &metadata);
    let superseded = batcher.push(&record, slot, 7, at, WaitsFor::Namespace)?;
    Ok(superseded.map(|run| run.first))
}

/// Checks that a batch is within the limits and that frame, rows and locators tell the same.
fn check(batch: &EncodedBatch, limits: Limits) {
    let (ids, namespace) = read_frame(&batch.frame);
    assert_eq!(namespace, &*batch.namespace.wire);
    assert!(
        batch.message_bytes() <= limits.request_bytes,
        "INV-4: bytes"
    );
    assert!(
        (1..=limits.request_records).contains(&ids.len()),
        "INV-4: records"
    );
    assert_eq!(batch.records(), ids.len());
    for (index, id) in ids.iter().enumerate() {
        let row: u64 = id.parse().expect("ids are row numbers");
        assert_eq!(batch.row(index).first, row);
        assert_eq!(batch.locators[index], 10 * row);
        assert_eq!(
            vecload_pinecone::record_id(batch.record(index)),
            Some(id.as_str())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Scenario: records of any size over several namespaces, with a budget of a few requests whose
    /// batches are settled as soon as the worker would wait.
    /// Guarantees: no row is lost or doubled, each goes to its namespace, in order; the limits and the
    /// budget hold, and all memory comes back.
    #[test]
    fn no_row_is_lost(rows in rows(), max_records in 1_usize..40, budget in 2_usize..8) {
        let limits = Limits { request_bytes: 20_000, request_records: max_records };
        let target = accepting(limits);
        let largest = largest(limits, FRAME_PREFIX);
        let budget = budget * (largest + PER_BATCH);
        let memory = Memory::new(budget, largest);
        let namespaces = Arc::new(Namespaces::default());
        let (mut batcher, sealed) = batcher(&target, &memory, &namespaces);
        // The senders: they settle each batch at once, on a thread of their own.
        let sender = std::thread::spawn(move || {
            let mut batches = Vec::new();
            while let Ok(batch) = sealed.recv_blocking() {
                check(&batch, limits);
                let (ids, namespace) = read_frame(&batch.frame);
                batches.push((namespace, ids));
            }
            batches
        });
        for (number, row) in rows.iter().enumerate() {
            prop_assert!(push(&mut batcher, number, row).is_ok());
        }
        prop_assert!(batcher.flush().is_ok());
        drop(batcher);
        let batches = sender.join().expect("no panic");
        for namespace in 0..6 {
            let expected: Vec<String> = rows
                .iter()
                .enumerate()
                .filter(|(_, row)| row.namespace == namespace)
                .map(|(number, _)| number.to_string())
                .collect();
            let name = namespace.to_string();
            let found: Vec<String> = batches
                .iter()
                .filter(|(wire, _)| *wire == name)
                .flat_map(|(_, ids)| ids.clone())
                .collect();
            prop_assert_eq!(found, expected);
        }
        prop_assert_eq!(memory.leased(), 0);
        prop_assert!(memory.peak() <= budget, "INV-6");
    }

    /// Scenario: rows of few ids in two namespaces, one of them by both its names, with a fence.
    /// Guarantees: of the rows of a batch with one id the last one is in it, with its row and its locator; the
    /// others are named as superseded, each once. A batch with an id of an earlier one waits for that.
    #[test]
    fn a_batch_holds_an_id_once(ids in prop::collection::vec((0_u8..12, 0_usize..3), 1..120), most in 1_usize..30) {
        let limits = Limits { request_bytes: 20_000, request_records: most };
        let target = accepting(limits);
        let memory = Memory::new(8_000_000, largest(limits, FRAME_PREFIX));
        let namespaces = Arc::new(Namespaces::default());
        let (mut batcher, sealed) = batcher(&target, &memory, &namespaces);
        batcher.keep_order(Fence::new(None));
        let names = ["", "__default__", "films"];
        let mut superseded = Vec::new();
        for (number, (id, name)) in ids.iter().enumerate() {
            let slot = batcher.slot(names[*name]);
            let at = At { row: number as u64, locator: 10 * number as u64 };
            let (id, values) = (id.to_string(), [number as f32 + 1.0]);
            let taken = batcher.push(&record(&id, &values, "{}"), slot, 7, at, WaitsFor::Namespace);
            superseded.extend(taken.expect("taken").map(|run| run.first));
        }
        prop_assert!(batcher.flush().is_ok());
        let mut batches = Vec::new();
        while let Ok(batch) = sealed.try_recv() {
            batches.push(batch);
        }
        let mut sent = Vec::new();
        let mut pending: Vec<(String, String)> = Vec::new();
        // All stay under way.
        for batch in &batches {
            let (in_batch, namespace) = read_frame(&batch.frame);
            prop_assert_eq!(batch.message_bytes() + 5, batch.frame.len());
            for (index, id) in in_batch.iter().enumerate() {
                let row = batch.row(index).first;
                prop_assert_eq!(&ids[row as usize].0.to_string(), id);
                prop_assert_eq!(batch.locators[index], 10 * row);
                // The vector says which row it is.
                let record = target.decode(batch.record(index)).expect("decoded");
                prop_assert_eq!(record["values"][0].as_f64(), Some(row as f64 + 1.0));
                prop_assert!(in_batch.iter().filter(|other| *other == id).count() == 1);
                sent.push(row);
            }
            let keys: Vec<_> = in_batch.into_iter().map(|id| (namespace.clone(), id)).collect();
            let conflicts = keys.iter().any(|key| pending.contains(key));
            let ticket = batch.ticket.as_ref().expect("a fence");
            prop_assert_eq!(ticket.is_open(Instant::now()), !conflicts);
            pending.extend(keys);
        }
        sent.extend(superseded);
        sent.sort_unstable();
        prop_assert_eq!(sent, (0..ids.len() as u64).collect::<Vec<_>>());
    }

    /// Scenario: a batch over rows with holes is cut at any place.
    /// Guarantees: the parts are frames of their own that hold each record once, with its row.
    #[test]
    fn a_cut_keeps_every_record(holes in prop::collection::vec(1_u64..4, 2..60), at: prop::sample::Index) {
        let limits = Limits::default();
        let target = accepting(limits);
        let memory = Memory::new(8_000_000, largest(limits, FRAME_PREFIX));
        let namespaces = Arc::new(Namespaces::default());
        let (mut batcher, sealed) = batcher(&target, &memory, &namespaces);
        let mut number = 0;
        for hole in &holes {
            number += *hole as usize;
            let row = Row { namespace: 1, dimension: 3, metadata: 5 };
            prop_assert!(push(&mut batcher, number, &row).is_ok());
        }
        prop_assert!(batcher.flush().is_ok());
        let whole = sealed.try_recv().expect("one batch");
        let middle = 1 + at.index(whole.records() - 1);
        let parts = [
            whole.cut(&*target, &memory, 0..middle),
            whole.cut(&*target, &memory, middle..whole.records()),
        ];
        for part in &parts {
            check(part, limits);
        }
        let ids = |batch: &EncodedBatch| read_frame(&batch.frame).0;
        prop_assert_eq!([ids(&parts[0]), ids(&parts[1])].concat(), ids(&whole));
        // Cutting a part again must give the same as cutting the whole.
        if middle > 1 {
            let again = parts[0].cut(&*target, &memory, 1..middle);
            check(&again, limits);
            prop_assert_eq!(&again.frame, &whole.cut(&*target, &memory, 1..middle).frame);
        }
    }
}

/// Scenario: two workers share a budget of two requests, each with more namespaces than fit, while
/// the senders are slower than both.
/// Guarantees: the sealing rules do not deadlock.
#[test]
fn two_workers_in_a_tiny_budget_do_not_deadlock() {
    let limits = Limits {
        request_bytes: 20_000,
        request_records: 1000,
    };
    let target = accepting(limits);
    let largest = largest(limits, FRAME_PREFIX);
    let budget = 2 * (largest + PER_BATCH);
    let memory = Memory::new(budget, largest);
    let namespaces = Arc::new(Namespaces::default());
    let (first, first_sealed) = batcher(&target, &memory, &namespaces);
    let (second, second_sealed) = batcher(&target, &memory, &namespaces);
    let delivered: usize = std::thread::scope(|scope| {
        for mut worker in [first, second] {
            scope.spawn(move || {
                for number in 0..2000 {
                    let row = Row {
                        namespace: number % 40,
                        dimension: 100,
                        metadata: 100,
                    };
                    push(&mut worker, number, &row).expect("taken");
                }
                worker.flush().expect("the senders are there");
            });
        }
        let senders = [first_sealed, second_sealed].map(|sealed| {
            scope.spawn(move || {
                let mut records = 0;
                while let Ok(batch) = sealed.recv_blocking() {
                    std::thread::yield_now();
                    records += batch.records();
                }
                records
            })
        });
        senders
            .into_iter()
            .map(|sender| sender.join().expect("no panic"))
            .sum()
    });
    assert_eq!(delivered, 4000);
    assert!(memory.peak() <= budget);
}

/// Scenario: two workers fill one namespace's requests, far faster than the senders settle them: those
/// keep all that they get until nothing more comes.
/// Guarantees: every request but each worker's last is full; a slow sender does not make them small.
#[test]
fn requests_are_full_however_slow_the_senders() {
    let limits = Limits {
        request_bytes: 20_000,
        request_records: 1000,
    };
    let target = accepting(limits);
    let largest = largest(limits, FRAME_PREFIX);
    let memory = Memory::new(8 * (largest + PER_BATCH), largest);
    let namespaces = Arc::new(Namespaces::default());
    let (first, first_sealed) = batcher(&target, &memory, &namespaces);
    let (second, second_sealed) = batcher(&target, &memory, &namespaces);
    let row = Row {
        namespace: 1,
        dimension: 100,
        metadata: 100,
    };
    let sizes = std::thread::scope(|scope| {
        for mut worker in [first, second] {
            let row = row.clone();
            scope.spawn(move || {
                for number in 0..2000 {
                    push(&mut worker, number, &row).expect("taken");
                }
                worker.flush().expect("the senders are there");
            });
        }
        let senders = [first_sealed, second_sealed].map(|sealed| {
            scope.spawn(move || {
                let (mut held, mut sizes) = (std::collections::VecDeque::new(), Vec::new());
                loop {
                    // The oldest is settled only where the worker can go no further without.
                    let next = sealed.try_recv().or_else(|_| {
                        held.pop_front();
                        std::thread::yield_now();
                        sealed.try_recv()
                    });
                    match next {
                        Ok(batch) => {
                            sizes.push(batch.message_bytes());
                            held.push_back(batch);
                        }
                        Err(async_channel::TryRecvError::Empty) => {}
                        Err(async_channel::TryRecvError::Closed) => return sizes,
                    }
                }
            })
        });
        senders.map(|sender| sender.join().expect("no panic"))
    });
    for sizes in sizes {
        let (_, all_but_last) = sizes.split_last().expect("some");
        let small: Vec<_> = all_but_last.iter().filter(|size| **size < 19_000).collect();
        assert!(small.is_empty(), "{small:?} of {}", sizes.len());
    }
}

/// Scenario: a record that no request can hold, and one for a namespace with a bad name.
/// Guarantees: both are refused by name, and the batch before them is not harmed.
#[test]
fn what_cannot_be_sent_is_refused() {
    let limits = Limits {
        request_bytes: 2_000,
        request_records: 10,
    };
    let target = accepting(limits);
    let memory = Memory::new(100_000, largest(limits, FRAME_PREFIX));
    let namespaces = Arc::new(Namespaces::default());
    let (mut batcher, sealed) = batcher(&target, &memory, &namespaces);
    let good = Row {
        namespace: 1,
        dimension: 10,
        metadata: 10,
    };
    push(&mut batcher, 0, &good).expect("taken");
    let large = Row {
        metadata: 3_000,
        ..good.clone()
    };
    let Err(NotTaken::Bad(reject)) = push(&mut batcher, 1, &large) else {
        panic!("the large record is taken");
    };
    assert_eq!(reject.reason, Reason::RecordTooLarge);
    let slot = batcher.slot("bad\u{0}name");
    let at = At { row: 2, locator: 0 };
    let Err(NotTaken::Bad(reject)) =
        batcher.push(&record("2", &[1.0], "{}"), slot, 7, at, WaitsFor::Namespace)
    else {
        panic!("the namespace is taken");
    };
    assert_eq!(reject.reason, Reason::InvalidNamespace);
    push(&mut batcher, 3, &good).expect("taken");
    batcher.flush().expect("sent");
    let batch = sealed.try_recv().expect("one batch");
    assert_eq!(read_frame(&batch.frame).0, ["0", "3"]);
    assert!(sealed.try_recv().is_err());
}

/// Scenario: the cap is lowered while a batch is open.
/// Guarantees: no later batch is larger than the lowered cap.
#[test]
fn a_lowered_cap_holds_from_then_on() {
    let limits = Limits {
        request_bytes: 20_000,
        request_records: 1000,
    };
    let target = accepting(limits);
    let memory = Memory::new(1 << 20, largest(limits, FRAME_PREFIX));
    let namespaces = Arc::new(Namespaces::default());
    let (mut batcher, sealed) = batcher(&target, &memory, &namespaces);
    let row = Row {
        namespace: 1,
        dimension: 100,
        metadata: 100,
    };
    for number in 0..100 {
        push(&mut batcher, number, &row).expect("taken");
    }
    batcher.cap.lower_to(5_000);
    batcher.cap.lower_to(9_000);
    let before = sealed.len();
    for number in 100..200 {
        push(&mut batcher, number, &row).expect("taken");
    }
    batcher.flush().expect("sent");
    let mut sizes = Vec::new();
    while let Ok(batch) = sealed.try_recv() {
        sizes.push(batch.message_bytes());
    }
    // The one that was open may be larger than the new cap, and it is sealed first.
    assert!(
        sizes[before + 1..].iter().all(|size| *size <= 5_000),
        "{sizes:?}"
    );
    assert!(sizes.len() > before + 5);
}
