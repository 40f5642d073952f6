//! Group commit, without a thread: what waits when the writer comes is what it finds.

use std::sync::{Arc, RwLock};

use redb::Database;
use redb::backends::InMemoryBackend;

use super::*;
use crate::audit::Ledger;

fn shared() -> Shared {
    let database = Database::builder()
        .create_with_backend(InMemoryBackend::new())
        .expect("a database");
    let (_, state) = crate::store::load(&database, None, None).expect("a new store");
    Shared {
        database,
        state: RwLock::new(state),
        ledger: Arc::new(Ledger::new(true)),
        delayed: None,
    }
}

fn upsert(id: &str, values: &[f32]) -> (Job, oneshot::Receiver<Answer>) {
    let vector = Vector {
        id: id.to_owned(),
        values: values.to_vec(),
        ..Vector::default()
    };
    let shape = Shape::Dense(values.len() as u32);
    let (answer, written) = oneshot::channel();
    let job = Job {
        namespace: "n".to_owned(),
        change: Change::Upsert(Prepared::new(shape, vec![vector])),
        answer,
    };
    (job, written)
}

/// Scenario: 50 upserts wait when the writer comes; the third has another dimension than the first.
/// Guarantees: one commit for all; the third alone is refused, takes no LSN and leaves nothing.
#[test]
fn waiting_upserts_share_a_commit() {
    let shared = shared();
    let (jobs, queue) = async_channel::unbounded();
    let mut answers = Vec::new();
    for n in 0..50 {
        let values: &[f32] = if n == 2 { &[1.0; 3] } else { &[1.0; 2] };
        let (job, answer) = upsert(&n.to_string(), values);
        jobs.try_send(job).expect("room");
        answers.push(answer);
    }
    drop(jobs);
    run(&shared, &queue);
    let mut answers: Vec<Answer> = answers
        .into_iter()
        .map(|mut answer| answer.try_recv().expect("answered"))
        .collect();
    let refused = answers.remove(2).expect_err("another dimension");
    assert_eq!(
        refused.message,
        "Vector dimension 3 does not match the dimension of the index 2"
    );
    let lsns: Vec<u64> = answers.into_iter().map(|a| a.expect("taken").lsn).collect();
    assert_eq!(lsns, (1..=49).collect::<Vec<_>>());
    let audit = shared.ledger.snapshot();
    assert_eq!(audit.counts.commits, 1);
    assert_eq!(audit.writes_of("n", "49"), [49]);
    assert!(audit.writes_of("n", "2").is_empty());
    shared.read_state(|state| {
        assert_eq!(state.namespaces["n"].count, 49);
        assert_eq!(state.shape, Some(Shape::Dense(2)));
    });
}

/// Scenario: more bytes wait than one transaction takes.
/// Guarantees: the group is bounded: there are several commits, and every upsert is answered.
#[test]
fn groups_are_bounded() {
    let shared = shared();
    let (jobs, queue) = async_channel::unbounded();
    let values = vec![1.0; 20_000];
    let row = 12 + 4 * values.len();
    let count = 2 * GROUP_BYTES.div_ceil(row) + 1;
    let mut answers = Vec::new();
    for n in 0..count {
        let (job, answer) = upsert(&n.to_string(), &values);
        jobs.try_send(job).expect("room");
        answers.push(answer);
    }
    drop(jobs);
    run(&shared, &queue);
    assert_eq!(shared.ledger.snapshot().counts.commits, 3);
    for mut answer in answers {
        answer.try_recv().expect("answered").expect("taken");
    }
}
