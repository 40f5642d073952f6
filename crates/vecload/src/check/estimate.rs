//! What a load would take and cost, and whether Pinecone's own import would do.

use std::collections::BTreeMap;

use serde::Serialize;
use vecload_source::{Format, Plan};

use super::NamespaceTally;

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

pub(super) fn estimate(
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
pub(super) fn import(plan: &Plan, estimate: &Estimate, ceilings: &Ceilings) -> Import {
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
        all().any(|input| input.format != Format::Parquet || input.is_stream()),
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
