//! The byte budget (INV-6): every batch buffer of a run, from its first row to its settlement.
//!
//! A [`Buffer`] is leased in a size class and gives its bytes back when it is dropped, wherever that
//! happens: a sealed batch carries it inside its `Bytes`, so the lease ends with the last reference.
//! Free buffers are kept for reuse; they count against the same budget and make room when a lease
//! needs it, so a run in steady state allocates nothing and idle memory never adds to the bound.
//!
//! Only CPU workers wait here, and only for what the senders hold: a sealed batch is settled whatever
//! happens, an open one only when its worker goes on. So a worker with open batches is told to seal
//! some where no settlement could make the room that it lacks. One namespace may hold at most half of
//! the budget while others have work, so that a throttled one cannot stop the rest. Why not a
//! semaphore: it knows neither classes nor namespaces nor who holds what, and its permits would have
//! to be kept in step with a separate pool.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::namespace::Namespace;

/// The smallest buffer: a record of a common dimension.
const SMALLEST: usize = 4 << 10;

/// What a batch costs beside its buffer, in bytes: the task that delivers it (2.3 KB), its parts on
/// the heap, and what the allocator keeps free between small buffers of different sizes. It is
/// charged, since with thousands of namespaces batches are small and many. The last part can only be
/// measured (`benches/README.md`, memory): with 3 KiB, 5,000 namespaces were up to 10 MB above INV-6.
pub(crate) const PER_BATCH: usize = 5 << 10;

/// How long nothing may be settled until a namespace is taken for being in the way.
const PATIENCE: Duration = Duration::from_millis(250);

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
    total: Held,
    /// What each namespace holds, by its number.
    namespaces: Vec<Held>,
    /// Namespaces that hold bytes now.
    holders: usize,
    /// The numbers of those that are behind: the service takes so little of them that a reader who waits for
    /// them holds up the others.
    behind: Vec<usize>,
    /// Bytes of the free buffers.
    idle: usize,
    /// Free buffers by class.
    free: Vec<Vec<Vec<u8>>>,
    closed: bool,
    peak: usize,
}

/// Bytes that are leased.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// By open batches.
    open: usize,
    /// By sealed ones.
    sealed: usize,
    is_behind: bool,
}

/// What a caller is ready to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// Room for any namespace that is not behind.
    All,
    /// Any room.
    Namespace,
}

/// Why a lease was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There is no room, and there would be none if all that is sealed were settled: open batches
    /// hold it.
    Full,
    /// The same for the namespace's half: its own open batches hold it.
    Share,
    /// The namespace is behind, and the caller does not want to wait for it.
    Behind,
    /// The run is stopping.
    Closed,
}

/// A leased buffer. Its memory returns to the budget when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    class: usize,
    is_sealed: bool,
    namespace: Arc<Namespace>,
    memory: Arc<Memory>,
}

// === impl Held ===

impl Held {
    fn all(self) -> usize {
        self.open + self.sealed
    }

    fn of(&mut self, is_sealed: bool) -> &mut usize {
        if is_sealed {
            &mut self.sealed
        } else {
            &mut self.open
        }
    }
}

// === impl State ===

impl State {
    fn is_behind(&self, namespace: &Namespace) -> bool {
        self.behind.contains(&namespace.index)
    }

    /// What is sealed for namespaces that are behind.
    fn sealed_behind(&self) -> usize {
        let sealed = self.behind.iter();
        sealed.map(|index| self.namespaces[*index].sealed).sum()
    }

    /// Namespaces of which next to nothing is left have caught up.
    fn forget_behind(&mut self, left: usize) {
        let namespaces = &mut self.namespaces;
        self.behind.retain(|index| {
            let held = &mut namespaces[*index];
            held.is_behind = held.sealed > left;
            held.is_behind
        });
    }

    /// Changes what is held, in the total and in a namespace.
    fn change(&mut self, namespace: &Namespace, change: impl Fn(&mut Held)) {
        if self.namespaces.len() <= namespace.index {
            self.namespaces.resize(namespace.index + 1, Held::default());
        }
        let held = &mut self.namespaces[namespace.index];
        self.holders -= usize::from(held.all() > 0);
        change(held);
        self.holders += usize::from(held.all() > 0);
        change(&mut self.total);
    }
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
            total: total.max(2 * (largest + PER_BATCH)),
            classes,
            state: Mutex::new(State {
                free,
                ..State::default()
            }),
            released: Condvar::new(),
        })
    }

    /// Leases a buffer that holds at least `bytes`, waiting for as long as settlements can make room.
    /// A caller that holds no open batch waits in any case: nothing that another one lacks is his. One that does
    /// not want to wait for the namespace is told where others could go on without it.
    pub(crate) fn lease(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        bytes: usize,
        holds_open: bool,
        waits_for: WaitsFor,
    ) -> Result<Buffer, Denied> {
        let class = self.class_of(bytes);
        let charge = self.charge(class);
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Denied::Closed);
            }
            if self.room(&state, namespace, charge, Held::all).is_ok() {
                return Ok(self.take(&mut state, namespace, class, false));
            }
            if waits_for == WaitsFor::All && state.is_behind(namespace) {
                return Err(Denied::Behind);
            }
            if holds_open {
                self.room(&state, namespace, charge, |held| held.open)?;
                if state.total.open + self.stuck(&state) + charge > self.total {
                    return Err(Denied::Full);
                }
            }
            let (woken, waited) = self
                .released
                .wait_timeout(state, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if waited.timed_out() {
                self.find_behind(&mut state);
            }
        }
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
        self.take(&mut state, namespace, class, true)
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
        self.lock().total.all()
    }

    /// Takes a buffer of the class out of the budget, freeing idle ones where they are in the way.
    fn take(
        self: &Arc<Self>,
        state: &mut State,
        namespace: &Arc<Namespace>,
        class: usize,
        is_sealed: bool,
    ) -> Buffer {
        let charge = self.charge(class);
        let reused = state.free[class].pop();
        if reused.is_some() {
            state.idle -= self.classes[class];
        }
        for (capacity, free) in self.classes.iter().zip(&mut state.free).rev() {
            while state.total.all() + state.idle + charge > self.total && free.pop().is_some() {
                state.idle -= capacity;
            }
        }
        let bytes = reused.unwrap_or_else(|| Vec::with_capacity(self.classes[class]));
        state.change(namespace, |held| *held.of(is_sealed) += charge);
        state.peak = state.peak.max(state.total.all() + state.idle);
        Buffer {
            bytes,
            class,
            is_sealed,
            namespace: Arc::clone(namespace),
            memory: Arc::clone(self),
        }
    }

    /// Whether there is room for a buffer beside what `counted` counts of what is held.
    fn room(
        &self,
        state: &State,
        namespace: &Namespace,
        charge: usize,
        counted: impl Fn(Held) -> usize,
    ) -> Result<(), Denied> {
        let held = state.namespaces.get(namespace.index).copied();
        let held = held.unwrap_or_default();
        let others = state.holders - usize::from(held.all() > 0);
        let share = if others == 0 {
            self.total
        } else {
            self.total / 2
        };
        if counted(held) + charge > share.max(charge) {
            return Err(Denied::Share);
        }
        if counted(state.total) + charge > self.total {
            return Err(Denied::Full);
        }
        Ok(())
    }

    /// Nothing was settled for a while: looks for the namespace that is in the way.
    fn find_behind(&self, state: &mut State) {
        let most = (0..state.namespaces.len())
            .filter(|index| !state.namespaces[*index].is_behind)
            .max_by_key(|index| state.namespaces[*index].sealed);
        let Some(index) = most else { return };
        let sealed = state.namespaces[index].sealed;
        let of_others = state.total.sealed - sealed - state.sealed_behind();
        // Alone it is in nobody's way, and with as much sealed for the others it is not what they wait for.
        if state.holders > 1 && sealed >= self.total / 8 && of_others < self.total / 4 {
            state.namespaces[index].is_behind = true;
            state.behind.push(index);
        }
    }

    /// What namespaces that are behind hold by right, which is not to be waited for: of what one held
    /// before there were others only its half.
    fn stuck(&self, state: &State) -> usize {
        let sealed = state.behind.iter();
        sealed
            .map(|index| state.namespaces[*index].sealed.min(self.total / 2))
            .sum()
    }

    /// What a buffer of the class takes out of the budget, in bytes.
    fn charge(&self, class: usize) -> usize {
        self.classes[class] + PER_BATCH
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

    /// The bytes that are leased.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.classes[self.class]
    }

    /// The number of bytes written.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// From now on the senders have it.
    pub(crate) fn seal(&mut self) {
        let charge = self.memory.charge(self.class);
        let mut state = self.memory.lock();
        state.change(&self.namespace, |held| {
            *held.of(self.is_sealed) -= charge;
            *held.of(true) += charge;
        });
        drop(state);
        self.is_sealed = true;
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
        let charge = self.memory.charge(self.class);
        let mut state = self.memory.lock();
        state.change(&self.namespace, |held| *held.of(self.is_sealed) -= charge);
        state.forget_behind(self.memory.total / 16);
        // Beyond the budget only after a split; then the memory goes back to the allocator.
        if state.total.all() + state.idle + capacity <= self.memory.total {
            state.idle += capacity;
            state.free[self.class].push(bytes);
        }
        drop(state);
        self.memory.released.notify_all();
    }
}

#[cfg(test)]
mod tests;
