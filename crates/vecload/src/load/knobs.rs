//! What settings mean to the parts of a load.

use rand::rngs::StdRng;
use vecload_pinecone::{Limits, MetadataPolicy, OnNested, OnNull};

use crate::pacer::Rates;
use crate::pipeline::{Knobs, TimeLimit};
use crate::prescan;
use crate::settings::{DuplicatePolicy, NestedPolicy, NullPolicy, Settings};

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        request_bytes: settings.request_bytes.0 as usize,
        request_records: settings.request_records,
    }
}

pub(crate) fn policy(settings: &Settings) -> MetadataPolicy {
    MetadataPolicy {
        on_null: match settings.on_null {
            NullPolicy::Drop => OnNull::Drop,
            NullPolicy::Reject => OnNull::Reject,
        },
        on_nested: match settings.on_nested {
            NestedPolicy::Reject => OnNested::Reject,
            NestedPolicy::Flatten => OnNested::Flatten,
            NestedPolicy::Json => OnNested::Json,
        },
    }
}

pub(super) fn knobs(
    settings: &Settings,
    time_limit: Option<TimeLimit>,
    random: &mut StdRng,
) -> Knobs {
    Knobs {
        memory: settings.memory.0 as usize,
        workers: settings.worker_count(),
        in_flight: settings.in_flight,
        attempt_timeout: settings.attempt_timeout.0,
        quarantine: settings.quarantine(),
        max_stall: settings.max_stall.0,
        time_limit,
        rates: Rates {
            pacing: settings.pacing,
            bytes: settings.namespace_rate,
            requests: settings.namespace_requests,
            replicas: settings.replica_count(),
        },
        total_rate: settings.total_rate,
        seed: rand::RngExt::random(random),
    }
}

/// What INV-6 allows: the budget, what each worker reads, the prescan, and a constant.
pub(super) fn memory_bound(settings: &Settings, page_bytes: u64) -> u64 {
    const PER_WORKER: u64 = 8 << 20;
    const CONSTANT: u64 = 40_000_000;
    let workers = settings.worker_count() as u64;
    let reading = workers.saturating_mul(page_bytes.saturating_add(PER_WORKER));
    let prescan = match settings.duplicates {
        DuplicatePolicy::Any => 0,
        DuplicatePolicy::Last | DuplicatePolicy::Reject => prescan::MEMORY as u64,
    };
    settings
        .memory
        .0
        .saturating_add(reading)
        .saturating_add(prescan)
        .saturating_add(CONSTANT)
}
