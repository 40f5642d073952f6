//! Whether shards are parts of one corpus, and which of them are missing.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::shard::Shard;

/// The shards of each load, by the job and their number.
fn sharded(found: &[Found]) -> BTreeMap<(&str, u32), Vec<(Shard, &Found)>> {
    let mut loads: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for run in found {
        if let Some(shard) = run.plan.shard() {
            let load = loads.entry((run.job.as_str(), shard.of())).or_default();
            load.push((shard, run));
        }
    }
    loads
}

/// Shards that cannot be parts of one corpus.
pub(super) fn misfits(found: &[Found]) -> Vec<String> {
    let mut misfits = Vec::new();
    let loads = sharded(found);
    if let [first, second, ..] = loads.values().collect::<Vec<_>>()[..]
        && let ([(a, one), ..], [(b, other), ..]) = (&first[..], &second[..])
    {
        let differences = other.plan.job.differences(&one.plan.job).join("; ");
        misfits.push(format!(
            "shard {b} ({}) is of another load than shard {a} ({}): {differences}",
            other.dir.display(),
            one.dir.display()
        ));
    }
    for shards in loads.values() {
        for pair in shards.windows(2) {
            let [(a, one), (b, other)] = pair else {
                continue;
            };
            let (name, plan) = (other.name(), &other.plan);
            let mut inputs = plan.inputs.iter().zip(&one.plan.inputs);
            if a == b {
                misfits.push(format!(
                    "there are two runs of shard {a}: {} and {}; name one of them",
                    one.dir.display(),
                    other.dir.display()
                ));
            } else if plan.inputs.len() != one.plan.inputs.len()
                || inputs.clone().any(|(b, a)| b.name != a.name)
            {
                misfits.push(format!("{name} found other inputs than shard {a}"));
            } else if let Some(what) = inputs.find_map(|(b, a)| b.difference_in_content(a)) {
                misfits.push(format!(
                    "{name} found another content than shard {a}: {what}"
                ));
            } else if plan.division != one.plan.division {
                misfits.push(format!(
                    "{name} divides the inputs in another way than shard {a}: they were begun by vecload {} and {}",
                    plan.vecload, one.plan.vecload
                ));
            }
        }
    }
    misfits
}

/// The shards of which there is no run.
pub(super) fn missing(found: &[Found]) -> Vec<String> {
    let mut missing = Vec::new();
    for ((_, of), shards) in sharded(found) {
        let here: BTreeSet<u32> = shards.iter().map(|(shard, _)| shard.index()).collect();
        let gone: Vec<String> = (0..of)
            .filter(|index| !here.contains(index))
            .map(|index| format!("{index}/{of}"))
            .collect();
        if let [first, more @ ..] = &gone[..] {
            let others = match more.len() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            missing.push(format!("there is no run of shard {first}{others}"));
        }
    }
    missing
}
