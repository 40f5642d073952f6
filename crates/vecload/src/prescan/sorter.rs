//! Sorts more than memory holds: sorted runs, on disk where there are several, and their merge.
//!
//! Why not partitions by hash: an id that stands in every row would fill one of them, whatever their
//! number. Runs are as long as memory allows, whatever is in them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::spill::{Held, Spill, SpillError};

/// What is read or written at once.
const CHUNK: usize = 64 << 10;
/// The least that is read at once of each run; it decides how many are merged at once.
const LEAST_CHUNK: usize = 16 << 10;

/// Something that is sorted, of a fixed size on disk.
pub(crate) trait Item: Copy + Ord + std::fmt::Debug {
    /// Its size on disk in bytes.
    const BYTES: usize;

    /// Appends it.
    fn write(self, out: &mut Vec<u8>);

    /// Reads it from `BYTES` bytes.
    fn read(bytes: &[u8]) -> Self;
}

/// Takes items in any order.
#[derive(Debug)]
pub(crate) struct Sorter<T> {
    spill: Arc<Spill>,
    /// How many items are held in memory.
    capacity: usize,
    open: Vec<T>,
    held: Option<Held>,
    runs: Vec<Run>,
}

/// Sorted items on disk.
#[derive(Debug, Clone, Copy)]
struct Run {
    offset: u64,
    bytes: u64,
}

/// Gives the items of several sorters in order.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    sources: Vec<Source<T>>,
    /// The next item of each source, with the source's number.
    heap: BinaryHeap<Reverse<(T, usize)>>,
}

#[derive(Debug)]
enum Source<T> {
    Memory {
        items: std::vec::IntoIter<T>,
        _held: Option<Held>,
    },
    Disk {
        spill: Arc<Spill>,
        rest: Run,
        buffer: Vec<u8>,
        at: usize,
        /// How much is read at once: whole items.
        chunk: usize,
        _held: Held,
    },
}

// === impl Sorter ===

impl<T: Item> Sorter<T> {
    /// A sorter that holds so many bytes in memory.
    pub(crate) fn new(spill: &Arc<Spill>, memory: usize) -> Self {
        Self {
            spill: Arc::clone(spill),
            capacity: (memory / size_of::<T>()).max(1),
            open: Vec::new(),
            held: None,
            runs: Vec::new(),
        }
    }

    /// Takes an item.
    pub(crate) fn push(&mut self, item: T) -> Result<(), SpillError> {
        if self.open.len() == self.capacity {
            self.write_run()?;
        }
        if self.held.is_none() {
            // All at once: pages that are not written to are none.
            self.held = Some(self.spill.hold(self.capacity * size_of::<T>()));
            self.open.reserve_exact(self.capacity);
        }
        self.open.push(item);
        Ok(())
    }

    fn write_run(&mut self) -> Result<(), SpillError> {
        self.open.sort_unstable();
        let bytes = (self.open.len() * T::BYTES) as u64;
        self.runs
            .push(write_run(&self.spill, bytes, self.open.drain(..).map(Ok))?);
        Ok(())
    }
}

/// Writes a run of so many bytes.
fn write_run<T: Item>(
    spill: &Arc<Spill>,
    bytes: u64,
    items: impl Iterator<Item = Result<T, SpillError>>,
) -> Result<Run, SpillError> {
    let offset = spill.reserve(bytes)?;
    let _held = spill.hold(CHUNK);
    let mut at = offset;
    let mut chunk = Vec::with_capacity(CHUNK + T::BYTES);
    for item in items {
        item?.write(&mut chunk);
        if chunk.len() >= CHUNK {
            spill.write(&chunk, at)?;
            at += chunk.len() as u64;
            chunk.clear();
        }
    }
    spill.write(&chunk, at)?;
    Ok(Run { offset, bytes })
}

// === impl Merge ===

impl<T: Item> Merge<T> {
    /// Merges what the sorters took, reading with so many bytes of memory.
    pub(crate) fn new(
        spill: &Arc<Spill>,
        sorters: Vec<Sorter<T>>,
        memory: usize,
    ) -> Result<Self, SpillError> {
        let mut runs = Vec::new();
        let mut in_memory = Vec::new();
        for mut sorter in sorters {
            runs.append(&mut sorter.runs);
            sorter.open.sort_unstable();
            in_memory.push(Source::Memory {
                items: sorter.open.into_iter(),
                _held: sorter.held,
            });
        }
        let at_once = (memory / LEAST_CHUNK).max(2);
        while runs.len() > at_once {
            let some: Vec<Run> = runs.drain(..at_once).collect();
            let bytes = some.iter().map(|run| run.bytes).sum();
            let merged = Self::of(Self::disk(spill, &some, memory)?)?;
            runs.push(write_run(spill, bytes, merged)?);
        }
        let mut sources = Self::disk(spill, &runs, memory)?;
        sources.append(&mut in_memory);
        Self::of(sources)
    }

    fn disk(spill: &Arc<Spill>, runs: &[Run], memory: usize) -> Result<Vec<Source<T>>, SpillError> {
        let each = (memory / runs.len().max(1)).min(CHUNK) / T::BYTES;
        let chunk = each.max(1) * T::BYTES;
        let open = |run: &Run| Source::Disk {
            spill: Arc::clone(spill),
            rest: *run,
            buffer: Vec::with_capacity(chunk),
            at: 0,
            chunk,
            _held: spill.hold(chunk),
        };
        Ok(runs.iter().map(open).collect())
    }

    fn of(sources: Vec<Source<T>>) -> Result<Self, SpillError> {
        let mut merge = Self {
            heap: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        for number in 0..merge.sources.len() {
            merge.refill(number)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, number: usize) -> Result<(), SpillError> {
        if let Some(item) = self.sources[number].next()? {
            self.heap.push(Reverse((item, number)));
        }
        Ok(())
    }
}

impl<T: Item> Iterator for Merge<T> {
    type Item = Result<T, SpillError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((item, number)) = self.heap.pop()?;
        Some(self.refill(number).map(|()| item))
    }
}

// === impl Source ===

impl<T: Item> Source<T> {
    fn next(&mut self) -> Result<Option<T>, SpillError> {
        match self {
            Self::Memory { items, .. } => Ok(items.next()),
            Self::Disk {
                spill,
                rest,
                buffer,
                at,
                chunk,
                ..
            } => {
                if *at == buffer.len() {
                    let bytes = rest.bytes.min(*chunk as u64);
                    if bytes == 0 {
                        return Ok(None);
                    }
                    buffer.resize(bytes as usize, 0);
                    spill.read(buffer, rest.offset)?;
                    rest.offset += bytes;
                    rest.bytes -= bytes;
                    *at = 0;
                }
                let item = T::read(&buffer[*at..*at + T::BYTES]);
                *at += T::BYTES;
                Ok(Some(item))
            }
        }
    }
}
