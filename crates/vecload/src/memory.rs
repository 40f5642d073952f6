//! The byte budget (INV-6): every batch buffer of a run, from its first row to its settlement.
//!
//! A [`Buffer`] is leased in a size class and gives its bytes back when it is dropped, wherever that
//! happens: a sealed batch carries it inside its `Bytes`, so the lease ends with the last reference.
//! Free buffers are kept for reuse; they count against the same budget and make room when a lease
//! needs it, so a run in steady state allocates nothing and idle memory never adds to the bound.
//!
//! Only CPU workers wait here. One namespace may hold at most half of the budget while others have
//! work, so that a throttled one cannot stop the rest. Why not a semaphore: it knows neither classes
//! nor namespaces, and its permits would have to be kept in step with a separate pool.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::namespace::Namespace;

/// The smallest buffer: a few records of common dimensions. 5,000 interleaved namespaces at this
/// size just fit the default budget.
const SMALLEST: usize = 8 << 10;

/// The byte budget of a run and its free buffers.
#[derive(Debug)]
pub(crate) struct Memory {
    total: usize,
    /// Capacities of the size classes, ascending; the last holds the largest request.
    classes: Vec<usize>,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    leased: usize,
    idle: usize,
    /// Free buffers by class.
    free: Vec<Vec<Vec<u8>>>,
    /// Namespaces that hold bytes now.
    holders: usize,
    closed: bool,
    peak: usize,
}

/// Why a lease was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There is no room now; sealing and sending something will make room.
    Full,
    /// The run is stopping.
    Closed,
}

/// A leased buffer. Its memory returns to the budget when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    class: usize,
    namespace: Arc<Namespace>,
    memory: Arc<Memory>,
}

// === impl Memory ===

impl Memory {
    /// A budget of `total` bytes for frames of up to `largest` bytes.
    ///
    /// # Panics
    /// Never; a budget below two of the largest frames is raised to that, since less could not make
    /// progress. The settings refuse such values before.
    pub(crate) fn new(total: usize, largest: usize) -> Arc<Self> {
        let mut classes = Vec::new();
        let mut capacity = SMALLEST.min(largest);
        while capacity < largest {
            classes.push(capacity);
            capacity *= 2;
        }
        classes.push(largest);
        let free = classes.iter().map(|_| Vec::new()).collect();
        Arc::new(Self {
            total: total.max(2 * largest),
            classes,
            state: Mutex::new(State {
                free,
                ..State::default()
            }),
            released: Condvar::new(),
        })
    }

    /// Leases a buffer that holds at least `bytes`, if there is room.
    pub(crate) fn try_lease(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        bytes: usize,
    ) -> Result<Buffer, Denied> {
        let class = self.class_of(bytes);
        let state = self.lock();
        self.lease_in(state, namespace, class)
    }

    /// Leases a buffer, waiting until there is room. The caller holds no open batch: what it waits
    /// for is in the hands of the senders.
    pub(crate) fn lease(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        bytes: usize,
    ) -> Result<Buffer, Denied> {
        let class = self.class_of(bytes);
        let needed = self.classes[class];
        let mut state = self.lock();
        while !state.closed && !self.has_room(&state, namespace, needed) {
            state = self
                .released
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.lease_in(state, namespace, class)
    }

    /// Leases beyond the budget if need be: for the parts of a batch that is being split, whose
    /// whole is freed right after. At most one batch for each request in flight.
    pub(crate) fn lease_for_split(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        bytes: usize,
    ) -> Buffer {
        let class = self.class_of(bytes);
        let mut state = self.lock();
        self.take(&mut state, namespace, class)
    }

    /// The size of the buffer that a lease of `bytes` would give.
    pub(crate) fn leased_for(&self, bytes: usize) -> usize {
        self.classes[self.class_of(bytes)]
    }

    /// Makes every waiting and later [`Memory::lease`] fail.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.released.notify_all();
    }

    /// The most that was held at once, free buffers included, in bytes.
    #[cfg(test)]
    pub(crate) fn peak(&self) -> usize {
        self.lock().peak
    }

    /// What is leased now, in bytes.
    #[cfg(test)]
    pub(crate) fn leased(&self) -> usize {
        self.lock().leased
    }

    fn lease_in(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        namespace: &Arc<Namespace>,
        class: usize,
    ) -> Result<Buffer, Denied> {
        if state.closed {
            return Err(Denied::Closed);
        }
        if !self.has_room(&state, namespace, self.classes[class]) {
            return Err(Denied::Full);
        }
        Ok(self.take(&mut state, namespace, class))
    }

    /// Takes a buffer of the class out of the budget, freeing idle ones where they are in the way.
    fn take(
        self: &Arc<Self>,
        state: &mut State,
        namespace: &Arc<Namespace>,
        class: usize,
    ) -> Buffer {
        let capacity = self.classes[class];
        let bytes = if let Some(buffer) = state.free[class].pop() {
            state.idle -= capacity;
            buffer
        } else {
            let mut largest_first = self.classes.len();
            while state.leased + state.idle + capacity > self.total && largest_first > 0 {
                largest_first -= 1;
                while state.leased + state.idle + capacity > self.total {
                    let Some(buffer) = state.free[largest_first].pop() else {
                        break;
                    };
                    state.idle -= self.classes[largest_first];
                    drop(buffer);
                }
            }
            Vec::with_capacity(capacity)
        };
        state.leased += capacity;
        state.peak = state.peak.max(state.leased + state.idle);
        if namespace.hold(capacity) == 0 {
            state.holders += 1;
        }
        Buffer {
            bytes,
            class,
            namespace: Arc::clone(namespace),
            memory: Arc::clone(self),
        }
    }

    fn has_room(&self, state: &State, namespace: &Namespace, capacity: usize) -> bool {
        let held = namespace.held();
        let others = state.holders - usize::from(held > 0);
        let share = if others == 0 {
            self.total
        } else {
            self.total / 2
        };
        state.leased + capacity <= self.total && held + capacity <= share.max(capacity)
    }

    fn class_of(&self, bytes: usize) -> usize {
        let class = self.classes.partition_point(|capacity| *capacity < bytes);
        debug_assert!(
            class < self.classes.len(),
            "no frame is larger than the cap"
        );
        class.min(self.classes.len() - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Buffer ===

impl Buffer {
    /// The bytes, to append to.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many bytes may be appended before the buffer is full.
    pub(crate) fn room(&self) -> usize {
        self.memory.classes[self.class] - self.bytes.len()
    }

    /// The number of bytes written.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Moves what is written into a larger buffer.
    pub(crate) fn move_into(self, mut larger: Self) -> Self {
        larger.bytes.clear();
        larger.bytes.extend_from_slice(&self.bytes);
        larger
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let capacity = self.memory.classes[self.class];
        let mut state = self.memory.lock();
        state.leased -= capacity;
        if self.namespace.release(capacity) == 0 {
            state.holders -= 1;
        }
        // Beyond the budget only after a split; then the memory goes back to the allocator.
        if state.leased + state.idle + capacity <= self.memory.total {
            state.idle += capacity;
            state.free[self.class].push(bytes);
        }
        drop(state);
        self.memory.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespaces;
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    fn namespaces() -> (Arc<Namespace>, Arc<Namespace>) {
        let all = Namespaces::default();
        (all.get("a"), all.get("b"))
    }

    /// Scenario: one namespace alone, then a second one beside it.
    /// Guarantees: alone it may hold all; beside another at most half.
    #[test]
    fn a_namespace_holds_at_most_half_beside_another() {
        let memory = Memory::new(8 * MIB, MIB);
        let (a, b) = namespaces();
        let mut held: Vec<Buffer> = (0..7)
            .map(|_| memory.try_lease(&a, MIB).expect("room"))
            .collect();
        held.push(memory.try_lease(&b, MIB).expect("the eighth"));
        assert_eq!(memory.try_lease(&a, MIB).unwrap_err(), Denied::Full);
        held.truncate(5);
        held.push(memory.try_lease(&b, MIB).expect("room"));
        assert_eq!(memory.try_lease(&a, 1).unwrap_err(), Denied::Full);
        held.truncate(3);
        held.push(memory.try_lease(&b, MIB).expect("room"));
        assert!(memory.try_lease(&a, MIB).is_ok());
    }

    /// Scenario: large buffers come back, then small ones are wanted.
    /// Guarantees: free buffers never keep the total above the budget.
    #[test]
    fn free_buffers_make_room() {
        let memory = Memory::new(4 * MIB, MIB);
        let (a, _) = namespaces();
        let large: Vec<Buffer> = (0..4)
            .map(|_| memory.try_lease(&a, MIB).expect("room"))
            .collect();
        drop(large);
        let small: Vec<Buffer> = (0..4 * MIB / SMALLEST)
            .map(|_| memory.try_lease(&a, 1).expect("room"))
            .collect();
        assert_eq!(memory.leased(), 4 * MIB);
        assert_eq!(memory.peak(), 4 * MIB);
        drop(small);
        assert_eq!(memory.leased(), 0);
    }

    /// Scenario: a worker waits for room while another thread frees some, and one while the run stops.
    /// Guarantees: both wake; the second one is told why.
    #[test]
    fn waiting_ends_with_room_or_with_the_run() {
        let memory = Memory::new(2 * MIB, MIB);
        let (a, _) = namespaces();
        let held = [
            memory.try_lease(&a, MIB).expect("room"),
            memory.try_lease(&a, MIB).expect("room"),
        ];
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.lease(&a, MIB).map(drop));
            drop(held);
            assert_eq!(waiting.join().expect("no panic"), Ok(()));
            memory.close();
            assert_eq!(memory.lease(&a, MIB).map(drop), Err(Denied::Closed));
        });
    }

    proptest! {
        /// Scenario: leases and returns in any order and size, over two namespaces.
        /// Guarantees: the budget is never exceeded, and all of it comes back.
        #[test]
        fn the_budget_holds(steps in prop::collection::vec((any::<bool>(), 1..MIB, any::<prop::sample::Index>()), 1..200)) {
            let memory = Memory::new(6 * MIB, MIB);
            let (a, b) = namespaces();
            let mut held = Vec::new();
            for (first, bytes, index) in steps {
                let namespace = if first { &a } else { &b };
                match memory.try_lease(namespace, bytes) {
                    Ok(buffer) => {
                        prop_assert!(buffer.room() >= bytes);
                        held.push(buffer);
                    }
                    Err(_) if held.is_empty() => prop_assert!(false, "an empty budget refuses"),
                    Err(_) => drop(held.swap_remove(index.index(held.len()))),
                }
                prop_assert!(memory.peak() <= 6 * MIB);
            }
            held.clear();
            prop_assert_eq!(memory.leased(), 0);
            prop_assert_eq!(a.held() + b.held(), 0);
        }
    }
}
