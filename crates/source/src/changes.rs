//! What was done to fields while rows were read: rounded, or not read at all.

use std::collections::HashMap;

/// How many names are counted apart; keys of hostile lines are without number.
const NAMES: usize = 1000;

/// Stands for the names beyond [`NAMES`].
const OTHERS: &str = "(other fields)";

/// A number that is not had back exactly from what was made of it.
pub(crate) const ROUNDED: &str = "number_rounded";

/// A field that holds no part of a record.
pub(crate) const NOT_READ: &str = "not_read";

/// Changes by field and action.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Kept when they are back at 0, so that no name is allocated twice.
    counts: HashMap<&'static str, HashMap<String, u64>>,
}

// === impl Changes ===

impl Changes {
    pub(crate) fn add(&mut self, field: &str, action: &'static str, times: u64) {
        let fields = self.counts.entry(action).or_default();
        if let Some(count) = fields.get_mut(field) {
            *count += times;
        } else {
            let name = if fields.len() < NAMES { field } else { OTHERS };
            *fields.entry(name.to_owned()).or_default() += times;
        }
    }

    /// Forgets all counts.
    pub(crate) fn clear(&mut self) {
        for fields in self.counts.values_mut() {
            fields.values_mut().for_each(|count| *count = 0);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        self.counts.iter().flat_map(|(action, fields)| {
            fields
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(field, count)| (field.as_str(), *action, *count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: more names than are counted apart, then a new block.
    /// Guarantees: nothing goes uncounted, memory is bounded, and counts begin anew.
    #[test]
    fn names_are_bounded_and_counts_are_not() {
        let mut changes = Changes::default();
        for name in 0..NAMES + 50 {
            changes.add(&name.to_string(), NOT_READ, 2);
        }
        changes.add("0", ROUNDED, 1);
        assert_eq!(changes.iter().map(|change| change.2).sum::<u64>(), 2101);
        let others = changes.iter().find(|change| change.0 == OTHERS);
        assert_eq!(others, Some((OTHERS, NOT_READ, 100)));
        changes.clear();
        assert_eq!(changes.iter().count(), 0);
    }
}
