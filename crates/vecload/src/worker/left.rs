//! Rows that a worker left for later, in bounded memory.

use vecload_source::Split;

use crate::rows::RowSet;

/// Rows that were left for later, by split.
#[derive(Debug, Default)]
pub(crate) struct Left {
    splits: Vec<(Split, RowSet)>,
    /// The runs of all sets.
    runs: usize,
}

/// The most runs of rows that a worker leaves, of 16 bytes each: beyond them it waits.
const MOST_LEFT: usize = 1 << 17;

// === impl Left ===

impl Left {
    /// Whether another row may be left.
    pub(crate) fn has_room(&self) -> bool {
        self.runs < MOST_LEFT
    }

    /// Leaves a row, which comes after all that were left of its split.
    pub(crate) fn leave(&mut self, split: &Split, row: u64) {
        match self.splits.last_mut() {
            Some((last, rows)) if last.id == split.id => {
                self.runs += usize::from(rows.end() < row);
                rows.insert(row, row + 1);
            }
            _ => {
                let mut rows = RowSet::default();
                rows.insert(row, row + 1);
                self.splits.push((split.clone(), rows));
                self.runs += 1;
            }
        }
    }

    /// All that was left.
    pub(crate) fn take(&mut self) -> Vec<(Split, RowSet)> {
        self.runs = 0;
        std::mem::take(&mut self.splits)
    }
}
