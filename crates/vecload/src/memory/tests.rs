use super::*;
use crate::namespace::Namespaces;
use proptest::prelude::*;

const MIB: usize = 1 << 20;
/// The largest buffer here: it takes a MiB out of the budget.
const LARGEST: usize = MIB - PER_BATCH;

fn namespaces() -> [Arc<Namespace>; 3] {
    let all = Namespaces::default();
    ["a", "b", "c"].map(|name| all.get(name))
}

/// Scenario: one namespace alone, then a second one beside it.
/// Guarantees: alone it may hold all; beside another at most half.
#[test]
fn a_namespace_holds_at_most_half_beside_another() {
    let memory = Memory::new(8 * MIB, LARGEST);
    let [a, b, _] = namespaces();
    let mut held: Vec<Buffer> = (0..7).map(|_| open(&memory, &a, LARGEST)).collect();
    held.push(open(&memory, &b, LARGEST));
    assert_eq!(
        memory
            .lease(&a, LARGEST, true, WaitsFor::Namespace)
            .unwrap_err(),
        Denied::Share
    );
    held.truncate(5);
    held.push(open(&memory, &b, LARGEST));
    assert_eq!(
        memory.lease(&a, 1, true, WaitsFor::Namespace).unwrap_err(),
        Denied::Share
    );
    held.truncate(3);
    held.push(open(&memory, &b, LARGEST));
    assert!(memory.lease(&a, LARGEST, true, WaitsFor::Namespace).is_ok());
}

/// Scenario: large buffers come back, then small ones are wanted.
/// Guarantees: free buffers never keep the total above the budget.
#[test]
fn free_buffers_make_room() {
    let memory = Memory::new(4 * MIB, LARGEST);
    let [a, ..] = namespaces();
    let large: Vec<Buffer> = (0..4).map(|_| open(&memory, &a, LARGEST)).collect();
    drop(large);
    let each = SMALLEST + PER_BATCH;
    let small: Vec<Buffer> = (0..4 * MIB / each).map(|_| open(&memory, &a, 1)).collect();
    assert_eq!(memory.leased(), 4 * MIB / each * each);
    assert_eq!(
        memory.lease(&a, 1, true, WaitsFor::Namespace).unwrap_err(),
        Denied::Share
    );
    assert_eq!(memory.peak(), 4 * MIB);
    drop(small);
    assert_eq!(memory.leased(), 0);
}

/// Scenario: a worker without open batches waits for room while another thread frees some, and
/// while the run stops.
/// Guarantees: both wake; the second one is told why.
#[test]
fn waiting_ends_with_room_or_with_the_run() {
    let memory = Memory::new(2 * MIB, LARGEST);
    let [a, ..] = namespaces();
    let held = [open(&memory, &a, LARGEST), open(&memory, &a, LARGEST)];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            memory
                .lease(&a, LARGEST, false, WaitsFor::Namespace)
                .map(drop)
        });
        drop(held);
        assert_eq!(waiting.join().expect("no panic"), Ok(()));
        memory.close();
        assert_eq!(
            memory
                .lease(&a, LARGEST, false, WaitsFor::Namespace)
                .map(drop),
            Err(Denied::Closed)
        );
    });
}

/// Scenario: a worker with open batches lacks room, first where other open batches hold it, then
/// where a sealed one does, for the whole budget and for a namespace's half.
/// Guarantees: it is told to seal in the first case, and waits for the settlement in the second.
#[test]
fn only_settlements_are_waited_for() {
    let memory = Memory::new(4 * MIB, LARGEST);
    let [a, b, c] = namespaces();
    let mut first = [open(&memory, &a, LARGEST), open(&memory, &a, LARGEST)];
    let mut second = vec![open(&memory, &b, LARGEST)];
    // The half of namespace a, then the whole budget.
    assert_eq!(
        memory.lease(&a, 1, true, WaitsFor::Namespace).unwrap_err(),
        Denied::Share
    );
    second.push(open(&memory, &b, LARGEST));
    assert_eq!(
        memory.lease(&c, 1, true, WaitsFor::Namespace).unwrap_err(),
        Denied::Full
    );
    std::thread::scope(|scope| {
        first[0].seal();
        let waiting = scope.spawn(|| {
            memory
                .lease(&a, LARGEST, true, WaitsFor::Namespace)
                .map(drop)
        });
        drop(first);
        assert_eq!(waiting.join().expect("no panic"), Ok(()));
    });
    drop(second);
    assert_eq!(memory.leased(), 0);
}

/// Scenario: nothing is settled while one namespace holds half of the budget in sealed batches and two others have
/// open ones; then it catches up.
/// Guarantees: whoever does not want to wait for it is told that it is behind; another namespace is told to seal
/// instead of waiting for it; and it is no longer behind when next to nothing of it is left.
#[test]
fn a_namespace_in_the_way_is_behind() {
    let memory = Memory::new(16 * MIB, LARGEST);
    let [a, b, c] = namespaces();
    let mut slow: Vec<Buffer> = (0..8).map(|_| open(&memory, &a, LARGEST)).collect();
    let others: Vec<Buffer> = (0..8)
        .map(|number| open(&memory, if number % 2 == 0 { &b } else { &c }, LARGEST))
        .collect();
    slow.iter_mut().for_each(Buffer::seal);
    // It has to wait to find that out.
    let full = memory.lease(&b, LARGEST, true, WaitsFor::All).map(drop);
    assert_eq!(full, Err(Denied::Full));
    let behind = memory.lease(&a, 1, false, WaitsFor::All).map(drop);
    assert_eq!(behind, Err(Denied::Behind));
    slow.truncate(1);
    assert!(memory.lease(&a, LARGEST, true, WaitsFor::All).is_ok());
    slow.clear();
    assert!(memory.lock().behind.is_empty());
    drop(others);
}

fn open(memory: &Arc<Memory>, namespace: &Arc<Namespace>, bytes: usize) -> Buffer {
    memory
        .lease(namespace, bytes, true, WaitsFor::Namespace)
        .expect("room")
}

proptest! {
    /// Scenario: leases, seals and returns in any order and size, over two namespaces.
    /// Guarantees: the budget is never exceeded, and all of it comes back.
    #[test]
    fn the_budget_holds(steps in prop::collection::vec((any::<bool>(), 1..LARGEST, any::<prop::sample::Index>()), 1..200)) {
        let memory = Memory::new(6 * MIB, LARGEST);
        let [a, b, _] = namespaces();
        let mut held: Vec<Buffer> = Vec::new();
        for (first, bytes, index) in steps {
            let namespace = if first { &a } else { &b };
            // Nobody settles meanwhile, so it must not wait.
            let settled = held.iter().all(|buffer| !buffer.is_sealed);
            match settled.then(|| memory.lease(namespace, bytes, true, WaitsFor::Namespace)) {
                Some(Ok(buffer)) => {
                    prop_assert!(buffer.capacity() >= bytes);
                    held.push(buffer);
                }
                Some(Err(_)) if held.is_empty() => prop_assert!(false, "an empty budget refuses"),
                Some(Err(_)) => {
                    let any = index.index(held.len());
                    held[any].seal();
                }
                None => drop(held.swap_remove(index.index(held.len()))),
            }
            prop_assert!(memory.peak() <= 6 * MIB);
            let sealed: usize = held.iter().filter(|buffer| buffer.is_sealed).map(|buffer| buffer.capacity() + PER_BATCH).sum();
            prop_assert_eq!(memory.lock().total.sealed, sealed);
        }
        held.clear();
        prop_assert_eq!(memory.leased(), 0);
        prop_assert_eq!(memory.lock().holders, 0);
    }
}
