//! Records of an open batch whose ids later records of it have.
//!
//! They are only marked while the batch is filled, so that appending stays appending, and taken out when it is
//! sealed. Until then they take their room.

use vecload_record::RowRun;

use super::{OpenBatch, push_row, row_of};

impl OpenBatch {
    /// The wire form of one record.
    pub(crate) fn record(&self, index: u32) -> &[u8] {
        let start = match index {
            0 => self.head,
            _ => self.ends[index as usize - 1],
        };
        &self.buffer.as_ref()[start as usize..self.ends[index as usize] as usize]
    }

    /// Gives up a record, since a later one has its id. Says which row it was.
    pub(crate) fn supersede(&mut self, record: u32) -> RowRun {
        self.superseded.push(record);
        row_of(&self.rows, record as usize)
    }

    /// Takes out what was given up.
    pub(super) fn take_out_superseded(&mut self) {
        if self.superseded.is_empty() {
            return;
        }
        let mut superseded = std::mem::take(&mut self.superseded);
        superseded.sort_unstable();
        let kept = |record: &u32| superseded.binary_search(record).is_err();

        let records = self.ends.len() as u32;
        let mut rows = Vec::new();
        let mut ends = Vec::with_capacity(self.ends.len());
        let mut locators = Vec::with_capacity(self.ends.len());
        let bytes = self.buffer.bytes_mut();
        let (mut start, mut written) = (self.head, self.head);
        let numbers = self.rows.iter().flat_map(|run| {
            (run.first..run.first + u64::from(run.len)).map(|number| (run.split, number))
        });
        for (record, (split, row)) in (0..records).zip(numbers) {
            let end = self.ends[record as usize];
            if kept(&record) {
                bytes.copy_within(start as usize..end as usize, written as usize);
                written += end - start;
                ends.push(written);
                locators.push(self.locators[record as usize]);
                push_row(&mut rows, split, row);
            }
            start = end;
        }
        bytes.truncate(written as usize);
        (self.rows, self.ends, self.locators) = (rows, ends, locators);

        for fields in self.changes.values_mut() {
            for changed in fields.values_mut() {
                changed.retain(kept);
                for record in changed.iter_mut() {
                    *record -= superseded.partition_point(|out| out < record) as u32;
                }
            }
            fields.retain(|_, changed| !changed.is_empty());
        }
    }
}
