//! What a run comes to, in the figures of the table.

use super::clients::Log;
use super::{Reply, Scenario};

/// The figures of a run, or means over runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Bytes taken by the bytes that could have been, in percent, after the warm-up.
    pub(crate) utilisation: f64,
    /// Requests refused for their rate, in percent of those answered, after the warm-up.
    pub(crate) refused: f64,
    /// Jain's index of the bytes of the replicas that were there all the time.
    pub(crate) jain: f64,
    /// Seconds until 95 % of the ceiling, as a mean of five seconds.
    pub(crate) ramp: f64,
    /// The longest of the recoveries to 90 %, in seconds.
    pub(crate) recovery: f64,
    /// Attempts without an answer.
    pub(crate) failed: f64,
    pub(crate) p99: f64,
    /// The most attempts of a batch.
    pub(crate) attempts: f64,
}

// === impl Figures ===

impl Figures {
    pub(super) fn of(scenario: &Scenario, log: &Log) -> Self {
        let (run, server) = (&scenario.run, &scenario.server);
        let seconds = run.seconds as usize;
        let is_out = |second: usize| {
            server
                .outages
                .iter()
                .any(|outage| second >= outage.from as usize && (second as f64) < outage.to)
        };
        let capacity: Vec<f64> = (0..seconds)
            .map(|second| {
                let quota = server.capacity(second as f64 + 0.5) * (1.0 - server.errors);
                run.ceiling.map_or(quota, |ceiling| quota.min(ceiling))
            })
            .collect();
        let mut taken = vec![0.0; seconds];
        let mut of_each = vec![0.0; log.active.len()];
        let mut latencies = Vec::new();
        let (mut ok, mut refused, mut failed, mut attempts) = (0.0, 0.0, 0.0, 0);
        for done in &log.done {
            let counts = done.at >= run.warm_seconds;
            attempts = attempts.max(done.attempts);
            match done.reply {
                Reply::Taken => {
                    taken[(done.at as usize).min(seconds - 1)] += done.bytes;
                    if counts {
                        ok += 1.0;
                        of_each[done.client] += done.bytes;
                        latencies.push(done.at - done.sent);
                    }
                }
                Reply::Throttled if counts => refused += 1.0,
                Reply::Throttled => {}
                Reply::Unavailable | Reply::Silence => failed += 1.0,
            }
        }
        let counted: Vec<usize> = (run.warm_seconds as usize..seconds)
            .filter(|second| !is_out(*second))
            .collect();
        let sum = |of: &[f64]| counted.iter().map(|second| of[*second]).sum::<f64>();
        let reaches = |from: usize, over: usize, part: f64| {
            (from..seconds - over)
                .find(|second| {
                    let range = *second..*second + over;
                    taken[range.clone()].iter().sum::<f64>()
                        >= part * capacity[range].iter().sum::<f64>()
                })
                .map_or(f64::INFINITY, |second| second as f64)
        };
        latencies.sort_by(f64::total_cmp);
        let rank = (latencies.len() as f64 * 0.99) as usize;
        Self {
            utilisation: 100.0 * sum(&taken) / sum(&capacity),
            refused: 100.0 * refused / f64::max(refused + ok, 1.0),
            jain: jain(log, &of_each, run.warm_seconds, run.seconds),
            ramp: reaches(0, 5, 0.95) + 5.0,
            recovery: run
                .recover_from
                .iter()
                .map(|from| reaches(*from as usize, 3, 0.9) - from + 1.0)
                .fold(0.0, f64::max),
            failed,
            p99: latencies.get(rank).copied().unwrap_or(0.0),
            attempts: f64::from(attempts),
        }
    }
}

fn jain(log: &Log, bytes: &[f64], from: f64, to: f64) -> f64 {
    let there: Vec<f64> = log
        .active
        .iter()
        .zip(bytes)
        .filter(|((start, stop), _)| *start <= from && *stop >= to)
        .map(|(_, bytes)| *bytes)
        .collect();
    let squares: f64 = there.iter().map(|bytes| bytes * bytes).sum();
    if squares == 0.0 {
        return 1.0;
    }
    there.iter().sum::<f64>().powi(2) / (there.len() as f64 * squares)
}

/// The means over several runs; of `attempts` the most.
pub(crate) fn mean(all: &[Figures]) -> Figures {
    let mean = |of: fn(&Figures) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    Figures {
        utilisation: mean(|figures| figures.utilisation),
        refused: mean(|figures| figures.refused),
        jain: mean(|figures| figures.jain),
        ramp: mean(|figures| figures.ramp),
        recovery: mean(|figures| figures.recovery),
        failed: mean(|figures| figures.failed),
        p99: mean(|figures| figures.p99),
        attempts: all
            .iter()
            .map(|figures| figures.attempts)
            .fold(0.0, f64::max),
    }
}
