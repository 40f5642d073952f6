//! A plan of a load, without loading: what was understood, what would be rejected, what it would cost.
//!
//! The rows go through the same reader, rules and encoder as in a load; only nothing is kept and
//! nothing is sent. A quick check looks at the first rows of each input and scales up; a full one
//! looks at all, and its counts equal those of the load.

mod estimate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use vecload_pinecone::{
    IndexShape, Limits, MetadataPolicy, Scratch, append, check_namespace, measure, namespace_bytes,
};
use vecload_record::{Reason, RecordRef, Reject};
use vecload_source::{Part, Plan, Split};

pub(crate) use self::estimate::Ceilings;
pub use self::estimate::{Estimate, Import};
use self::estimate::{estimate, import};
use crate::namespace::{DEFAULT_NAMESPACE, wire_name};
use crate::prescan::{PrescanError, VerdictReader, Verdicts, scanned_bytes};
use crate::rows::RowSet;
use crate::settings::DuplicatePolicy;
use crate::worker::duplicate_id;

/// How many rows of each input a quick check looks at.
pub(crate) const QUICK_ROWS: u64 = 10_000;
/// How many examples are kept of each reason.
const EXAMPLES: usize = 3;
/// How many namespaces are named; the others are counted.
const NAMED_NAMESPACES: usize = 20;

/// What a load would do.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The version of the report's form.
    pub schema_version: u32,
    /// Whether all rows were looked at.
    pub full: bool,
    /// The index that a load would make, where it is asked to and there is none of the name.
    pub index_made: Option<String>,
    /// The inputs, in the order of reading.
    pub inputs: Vec<CheckedInput>,
    /// Directories that look like namespaces and were not taken for them.
    pub ignored_directories: Vec<String>,
    /// Rows of all inputs, where all of them state it or all were looked at.
    pub rows: Option<u64>,
    /// Rows that `--limit` leaves out, of inputs that state their number; they are not among `rows`.
    pub rows_filtered: u64,
    /// Rows that were looked at.
    pub rows_checked: u64,
    /// Of these, the rows that would be loaded.
    pub records_good: u64,
    /// The rest, by reason.
    pub rejects: BTreeMap<&'static str, Rejected>,
    /// What becomes of rows whose id a later row has.
    pub duplicates: DuplicatePolicy,
    /// Bytes of the inputs that a load reads first to find such rows.
    pub prescan_bytes: u64,
    /// Rows that would not be loaded since a later one has their id, where all rows were looked at for
    /// it.
    pub records_superseded: Option<u64>,
    /// Ids of which no record would be loaded, since the last one with that id would be rejected; where
    /// all rows were looked at for it.
    pub ids_without_version: Option<u64>,
    /// What would be done to metadata fields: how often, by field and action.
    pub metadata_changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// How many namespaces there are.
    pub namespaces: u64,
    /// The largest of them, with the rows that were seen.
    pub largest_namespaces: Vec<(String, u64)>,
    /// What the load would take.
    pub estimate: Estimate,
    /// Whether Pinecone's own bulk import would do.
    pub import: Import,
}

/// One input.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedInput {
    /// The input as it was named.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows, where it states them or all were looked at.
    pub rows: Option<u64>,
    /// What its columns were taken for.
    pub mapping: String,
}

/// Rows that would be rejected for one reason.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// Some of them: file, place and message.
    pub examples: Vec<String>,
}

/// The rules that records must keep.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) shape: IndexShape,
    pub(crate) limits: Limits,
    pub(crate) policy: MetadataPolicy,
    pub(crate) duplicates: DuplicatePolicy,
}

/// What the rows of some splits came to.
#[derive(Debug, Default)]
struct Tally {
    inputs: BTreeMap<u32, InputTally>,
    namespaces: BTreeMap<String, NamespaceTally>,
    rejects: BTreeMap<Reason, Rejected>,
    changes: BTreeMap<(String, String), u64>,
    superseded: u64,
    ids_without_version: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct InputTally {
    rows: u64,
    good: u64,
    /// How far into the file the rows reach, in bytes, where that is known.
    bytes: u64,
    to_the_end: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct NamespaceTally {
    rows: u64,
    records: u64,
    bytes: u64,
    requests: u64,
    open_bytes: usize,
    open_records: usize,
}

/// Some splits of one input, and how many rows of them to look at.
#[derive(Debug)]
struct Portion<'a> {
    splits: &'a [Split],
    rows: u64,
}

/// Looks at the rows of a plan as a load would. Which of them are superseded is known to a full check,
/// where that matters.
pub(crate) fn check(
    rules: &Rules,
    plan: &Plan,
    default_namespace: &str,
    full: bool,
    verdicts: Option<&Arc<Verdicts>>,
    workers: usize,
    ceilings: &Ceilings,
) -> Result<CheckReport, PrescanError> {
    let mut portions: Vec<Portion<'_>> = if full {
        let rows = u64::MAX;
        plan.splits
            .chunks(1)
            .map(|splits| Portion { splits, rows })
            .collect()
    } else {
        let rows = QUICK_ROWS;
        plan.splits
            .chunk_by(|a, b| a.input == b.input)
            .map(|splits| Portion { splits, rows })
            .collect()
    };
    // Taken from the end, so that examples come from the beginning.
    portions.reverse();
    let portions = Mutex::new(portions);
    let tallies: Vec<Result<Tally, PrescanError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut tally = Tally::default();
                    let mut verdicts = verdicts.map(VerdictReader::new);
                    let next = || {
                        portions
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop()
                    };
                    while let Some(portion) = next() {
                        tally.take(rules, plan, default_namespace, &portion, verdicts.as_mut())?;
                    }
                    Ok(tally)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all.merge(tally?);
    }
    Ok(all.into_report(plan, full, verdicts.is_some(), rules, ceilings))
}

// === impl Rules ===

impl Rules {
    /// Whether a record would be sent; then `out` is its wire form alone.
    pub(crate) fn judge(
        &self,
        record: &RecordRef<'_>,
        namespace: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Reject> {
        out.clear();
        check_namespace(namespace)?;
        let measured = measure(record, &self.shape, scratch)?;
        self.limits.check_alone(&measured, wire_name(namespace))?;
        append(record, &measured, scratch, out)
    }
}

// === impl Tally ===

impl Tally {
    fn take(
        &mut self,
        rules: &Rules,
        plan: &Plan,
        default_namespace: &str,
        portion: &Portion<'_>,
        mut verdicts: Option<&mut VerdictReader>,
    ) -> Result<(), PrescanError> {
        let mut scratch = Scratch::new(rules.policy);
        let mut out = Vec::new();
        let mut left = portion.rows;
        for split in portion.splits {
            let input = &plan.inputs[split.input as usize];
            let mut reader = plan.open(split)?;
            let mut first = 0;
            while let Some(records) = reader.next()? {
                if left == 0 {
                    return Ok(());
                }
                let rows = records
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                left -= rows as u64;
                let numbers = first..first + rows as u64;
                first = numbers.end;
                let superseded = match &mut verdicts {
                    Some(verdicts) => verdicts.superseded(split.id, numbers.clone())?,
                    None => RowSet::default(),
                };
                for (index, number) in numbers.enumerate() {
                    let seen = self.inputs.entry(split.input).or_default();
                    seen.rows += 1;
                    if superseded.contains(number) && rules.duplicates == DuplicatePolicy::Last {
                        self.superseded += 1;
                        let key = records.key(index);
                        let named = key.and_then(|key| key.namespace);
                        self.namespace(named.unwrap_or(default_namespace)).rows += 1;
                        continue;
                    }
                    let row = records.row(index);
                    seen.bytes = seen.bytes.max(row.at.locator);
                    let named = match &row.content {
                        Ok(record) => record.namespace,
                        Err(bad) => bad.namespace,
                    };
                    let name = named.unwrap_or(default_namespace);
                    let outcome = match &row.content {
                        _ if superseded.contains(number) => Err((name.to_owned(), duplicate_id())),
                        Err(bad) => Err((name.to_owned(), bad.reject.clone())),
                        Ok(record) => rules
                            .judge(record, name, &mut scratch, &mut out)
                            .map(|()| name.to_owned())
                            .map_err(|reject| (name.to_owned(), reject)),
                    };
                    match outcome {
                        Ok(name) => {
                            seen.good += 1;
                            for (field, change) in scratch.changes() {
                                self.change(field, change.name(), 1);
                            }
                            let closing = namespace_bytes(wire_name(&name));
                            self.namespace(&name)
                                .pack(out.len(), closing, &rules.limits);
                        }
                        Err((name, reject)) => {
                            self.namespace(&name).rows += 1;
                            let place = match split.part {
                                Part::RowGroup { .. } => "row",
                                Part::ByteRange { .. } => "byte",
                            };
                            let place = format!("{}, {place} {}", input.name, row.at.locator);
                            self.reject(&reject, &place);
                            if let Some(verdicts) = &mut verdicts {
                                let supersedes = verdicts.supersedes(split.id, number)?;
                                self.ids_without_version += u64::from(supersedes > 0);
                            }
                        }
                    }
                }
                for (field, action, times) in records.changes() {
                    self.change(field, action, times);
                }
                if rows < records.len() {
                    return Ok(());
                }
            }
            if let Some(seen) = self.inputs.get_mut(&split.input) {
                seen.to_the_end = split.id == portion.splits[portion.splits.len() - 1].id;
            }
        }
        Ok(())
    }

    fn namespace(&mut self, name: &str) -> &mut NamespaceTally {
        let name = match wire_name(name) {
            "" => DEFAULT_NAMESPACE,
            name => name,
        };
        if !self.namespaces.contains_key(name) {
            self.namespaces
                .insert(name.to_owned(), NamespaceTally::default());
        }
        self.namespaces.entry(name.to_owned()).or_default()
    }

    fn change(&mut self, field: &str, action: &str, times: u64) {
        let key = (field.to_owned(), action.to_owned());
        *self.changes.entry(key).or_default() += times;
    }

    fn reject(&mut self, reject: &Reject, place: &str) {
        let rejected = self.rejects.entry(reject.reason).or_default();
        rejected.count += 1;
        if rejected.examples.len() < EXAMPLES {
            rejected.examples.push(format!("{place}: {reject}"));
        }
    }

    fn merge(&mut self, other: Self) {
        for (input, seen) in other.inputs {
            let all = self.inputs.entry(input).or_default();
            all.rows += seen.rows;
            all.good += seen.good;
            all.bytes = all.bytes.max(seen.bytes);
            all.to_the_end |= seen.to_the_end;
        }
        for (name, seen) in other.namespaces {
            let all = self.namespaces.entry(name).or_default();
            all.rows += seen.rows;
            all.records += seen.records;
            all.bytes += seen.bytes;
            all.requests += seen.requests;
        }
        for (reason, seen) in other.rejects {
            let all = self.rejects.entry(reason).or_default();
            all.count += seen.count;
            let room = EXAMPLES.saturating_sub(all.examples.len());
            all.examples.extend(seen.examples.into_iter().take(room));
        }
        for (change, times) in other.changes {
            *self.changes.entry(change).or_default() += times;
        }
        self.superseded += other.superseded;
        self.ids_without_version += other.ids_without_version;
    }

    fn into_report(
        self,
        plan: &Plan,
        full: bool,
        has_verdicts: bool,
        rules: &Rules,
        ceilings: &Ceilings,
    ) -> CheckReport {
        let mut inputs = Vec::new();
        let mut estimated = 0.0;
        for (number, input) in plan.inputs.iter().enumerate() {
            let seen = self
                .inputs
                .get(&(number as u32))
                .copied()
                .unwrap_or_default();
            let stated: Option<u64> = plan
                .splits
                .iter()
                .filter(|split| split.input as usize == number)
                .map(|split| split.rows)
                .sum();
            let rows = if full || seen.to_the_end {
                Some(seen.rows)
            } else {
                stated
            };
            let scale = match rows {
                Some(rows) => rows as f64 / seen.rows.max(1) as f64,
                None => input.bytes as f64 / seen.bytes.max(1) as f64,
            };
            estimated += seen.good as f64 * scale.max(1.0);
            inputs.push(CheckedInput {
                path: input.name.clone(),
                bytes: input.bytes,
                rows,
                mapping: plan.mapping(number as u32).to_string(),
            });
        }
        let good: u64 = self.inputs.values().map(|seen| seen.good).sum();
        let scale = estimated / good.max(1) as f64;
        let mut largest: Vec<(String, u64)> = self
            .namespaces
            .iter()
            .map(|(name, seen)| (name.clone(), seen.rows))
            .collect();
        largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        largest.truncate(NAMED_NAMESPACES);
        let estimate = estimate(
            &self.namespaces,
            scale,
            ceilings,
            rules.limits.request_bytes,
        );
        let rows = inputs.iter().map(|input| input.rows).sum();
        CheckReport {
            schema_version: crate::report::SCHEMA_VERSION,
            full,
            index_made: None,
            ignored_directories: plan
                .ignored_directories()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            rows,
            rows_filtered: plan
                .filtered()
                .iter()
                .filter_map(|filtered| filtered.rows)
                .sum(),
            rows_checked: self.inputs.values().map(|seen| seen.rows).sum(),
            records_good: good,
            rejects: self
                .rejects
                .into_iter()
                .map(|(reason, rejected)| (reason.name(), rejected))
                .collect(),
            duplicates: rules.duplicates,
            prescan_bytes: match rules.duplicates {
                DuplicatePolicy::Any => 0,
                DuplicatePolicy::Last | DuplicatePolicy::Reject => scanned_bytes(plan),
            },
            records_superseded: has_verdicts.then_some(self.superseded),
            ids_without_version: has_verdicts.then_some(self.ids_without_version),
            metadata_changes: nested(self.changes),
            namespaces: self.namespaces.len() as u64,
            largest_namespaces: largest,
            import: import(plan, &estimate, ceilings),
            estimate,
            inputs,
        }
    }
}

// === impl NamespaceTally ===

impl NamespaceTally {
    /// Adds a record to the open request, as the batcher would.
    fn pack(&mut self, bytes: usize, closing: usize, limits: &Limits) {
        let full = self.open_bytes + bytes + closing > limits.request_bytes
            || self.open_records >= limits.request_records;
        if full || self.open_records == 0 {
            self.requests += 1;
            self.bytes += closing as u64;
            (self.open_bytes, self.open_records) = (0, 0);
        }
        self.open_bytes += bytes;
        self.open_records += 1;
        self.rows += 1;
        self.records += 1;
        self.bytes += bytes as u64;
    }
}

fn nested(changes: BTreeMap<(String, String), u64>) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut fields: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for ((field, action), times) in changes {
        fields.entry(field).or_default().insert(action, times);
    }
    fields
}

impl CheckReport {
    /// Rows that would be rejected, of those that were looked at.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejects.values().map(|rejected| rejected.count).sum()
    }
}
