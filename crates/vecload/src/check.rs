//! A plan of a load, without loading: what was understood, what would be rejected, what it would cost.
//!
//! The rows go through the same reader, rules and encoder as in a load; only nothing is kept and
//! nothing is sent. A quick check looks at the first rows of each input and scales up; a full one
//! looks at all, and its counts equal those of the load.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use vecload_pinecone::{
    IndexShape, Limits, MetadataPolicy, Scratch, append, check_namespace, measure, namespace_bytes,
};
use vecload_record::{Reason, RecordRef, Reject};
use vecload_source::{Format, InputKind, Part, Plan, SourceError, Split};

use crate::namespace::{DEFAULT_NAMESPACE, wire_name};

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

/// What a load would take, scaled up where not all rows were looked at.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Estimate {
    /// Records that would be loaded.
    pub records: u64,
    /// Requests, where each namespace has the memory it wants.
    pub requests: u64,
    /// Records in each.
    pub records_per_request: f64,
    /// Bytes of all requests.
    pub bytes: u64,
    /// Seconds at the ceilings of the namespaces and the total rate.
    pub seconds_at_ceilings: f64,
    /// Seconds over an uplink of 12.5 MB/s (100 Mbit/s).
    pub seconds_at_100_mbit: f64,
    /// What INV-6 allows, in bytes.
    pub memory_bound_bytes: u64,
    /// Write units if every record is new.
    pub write_units_min: u64,
    /// Write units if every record replaces one of its size.
    pub write_units_max: u64,
    /// Their price at `write_unit_price`, in US dollars.
    pub cost_usd_min: f64,
    /// The same for the larger number.
    pub cost_usd_max: f64,
}

/// Pinecone's own bulk import, which reads Parquet from a bucket.
#[derive(Debug, Clone, Serialize)]
pub struct Import {
    /// Whether the inputs as they are could be imported, once they are in a bucket.
    pub possible: bool,
    /// What stands in the way, and what is to be known.
    pub reasons: Vec<String>,
    /// Its price at `import_price`, in US dollars.
    pub cost_usd: f64,
}

/// The rates and prices that an estimate needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceilings {
    pub(crate) namespace_bytes: Option<f64>,
    pub(crate) namespace_requests: Option<f64>,
    pub(crate) total_bytes: Option<f64>,
    /// The byte budget.
    pub(crate) memory: u64,
    pub(crate) memory_bound_bytes: u64,
    /// US dollars for a million write units.
    pub(crate) write_unit_price: f64,
    /// US dollars for a GB.
    pub(crate) import_price: f64,
}

/// The rules that records must keep.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) shape: IndexShape,
    pub(crate) limits: Limits,
    pub(crate) policy: MetadataPolicy,
}

/// What the rows of some splits came to.
#[derive(Debug, Default)]
struct Tally {
    inputs: BTreeMap<u32, InputTally>,
    namespaces: BTreeMap<String, NamespaceTally>,
    rejects: BTreeMap<Reason, Rejected>,
    changes: BTreeMap<(String, String), u64>,
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

/// Looks at the rows of a plan as a load would.
pub(crate) fn check(
    rules: &Rules,
    plan: &Plan,
    default_namespace: &str,
    full: bool,
    workers: usize,
    ceilings: &Ceilings,
) -> Result<CheckReport, SourceError> {
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
    let tallies: Vec<Result<Tally, SourceError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut tally = Tally::default();
                    let next = || {
                        portions
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop()
                    };
                    while let Some(portion) = next() {
                        tally.take(rules, plan, default_namespace, &portion)?;
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
    Ok(all.into_report(plan, full, ceilings, rules.limits.request_bytes))
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
    ) -> Result<(), SourceError> {
        let mut scratch = Scratch::new(rules.policy);
        let mut out = Vec::new();
        let mut left = portion.rows;
        for split in portion.splits {
            let input = &plan.inputs[split.input as usize];
            let mut reader = plan.open(split)?;
            while let Some(records) = reader.next()? {
                if left == 0 {
                    return Ok(());
                }
                let rows = records
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                left -= rows as u64;
                for index in 0..rows {
                    let row = records.row(index);
                    let seen = self.inputs.entry(split.input).or_default();
                    seen.rows += 1;
                    seen.bytes = seen.bytes.max(row.at.locator);
                    let outcome = match &row.content {
                        Err(bad) => Err((default_namespace.to_owned(), bad.reject.clone())),
                        Ok(record) => {
                            let name = record.namespace.unwrap_or(default_namespace);
                            rules
                                .judge(record, name, &mut scratch, &mut out)
                                .map(|()| name.to_owned())
                                .map_err(|reject| (name.to_owned(), reject))
                        }
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
    }

    fn into_report(self, plan: &Plan, full: bool, ceilings: &Ceilings, cap: usize) -> CheckReport {
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
        let estimate = estimate(&self.namespaces, scale, ceilings, cap);
        let rows = inputs.iter().map(|input| input.rows).sum();
        CheckReport {
            schema_version: crate::report::SCHEMA_VERSION,
            full,
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

fn estimate(
    namespaces: &BTreeMap<String, NamespaceTally>,
    scale: f64,
    ceilings: &Ceilings,
    cap: usize,
) -> Estimate {
    // With many namespaces at once each has only its share of the budget to fill a request in.
    let share = ceilings.memory as f64 / namespaces.len().max(1) as f64;
    let (mut records, mut requests, mut bytes, mut slowest) = (0.0, 0.0, 0.0, 0.0_f64);
    for seen in namespaces.values().filter(|seen| seen.records > 0) {
        let all_bytes = seen.bytes as f64 * scale;
        // As large as they were seen where they were filled, otherwise as large as they will get.
        let request = (seen.bytes as f64 / seen.requests as f64 * scale.max(1.0))
            .min(cap as f64)
            .min(share);
        let filled = if seen.requests > 1 {
            (seen.bytes as f64 / seen.requests as f64).min(share)
        } else {
            request
        };
        let all_requests = (all_bytes / filled.max(1.0)).ceil().max(1.0);
        records += seen.records as f64 * scale;
        requests += all_requests;
        bytes += all_bytes;
        let by_bytes = ceilings
            .namespace_bytes
            .map_or(0.0, |rate| all_bytes / rate);
        let by_requests = ceilings
            .namespace_requests
            .map_or(0.0, |rate| all_requests / rate);
        slowest = slowest.max(by_bytes).max(by_requests);
    }
    let total = ceilings.total_bytes.map_or(0.0, |rate| bytes / rate);
    // One unit for each kilobyte of a request, five at least.
    let units = (bytes / 1000.0).max(5.0 * requests);
    let price = |units: f64| units / 1e6 * ceilings.write_unit_price;
    Estimate {
        records: records.round() as u64,
        requests: requests.round() as u64,
        records_per_request: if requests > 0.0 {
            records / requests
        } else {
            0.0
        },
        bytes: bytes.round() as u64,
        seconds_at_ceilings: slowest.max(total),
        seconds_at_100_mbit: bytes / 12.5e6,
        memory_bound_bytes: ceilings.memory_bound_bytes,
        write_units_min: units.round() as u64,
        write_units_max: (units + bytes / 1000.0).round() as u64,
        cost_usd_min: price(units),
        cost_usd_max: price(units + bytes / 1000.0),
    }
}

/// Whether Pinecone's bulk import takes these inputs, by its documented fences.
fn import(plan: &Plan, estimate: &Estimate, ceilings: &Ceilings) -> Import {
    let mut reasons = Vec::new();
    let mut possible = true;
    let mut against = |is_so: bool, reason: &str| {
        if is_so {
            possible = false;
            reasons.push(reason.to_owned());
        }
    };
    let all = || plan.inputs.iter();
    against(
        all().any(|input| input.format != Format::Parquet || input.kind == InputKind::Stream),
        "it reads Parquet files only",
    );
    against(
        (0..plan.inputs.len()).any(|input| !plan.mapping(input as u32).is_import_schema()),
        "it takes the columns id, values, sparse_values and metadata (JSON text) only",
    );
    against(
        all().any(|input| input.bytes > 10_000_000_000),
        "it takes files of at most 10 GB",
    );
    reasons.push("the files must be in a bucket, one directory for each namespace".to_owned());
    reasons.push("the namespaces must not exist yet".to_owned());
    reasons
        .push("it needs a Standard or Enterprise plan, and takes ten minutes at least".to_owned());
    Import {
        possible,
        reasons,
        cost_usd: estimate.bytes as f64 / 1e9 * ceilings.import_price,
    }
}

impl CheckReport {
    /// Rows that would be rejected, of those that were looked at.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejects.values().map(|rejected| rejected.count).sum()
    }
}
