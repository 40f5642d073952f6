//! What the lanes wait for: the answer to "what limits this run?".
//!
//! At any time each lane waits for at most one thing, or for nothing; so does a batch that has no turn yet. Time goes in equal parts to all
//! the things that are waited for; while no lane waits for anything the input is what limits: the
//! processors, where they are busy, else the reading. So the parts add up to the time that has passed,
//! however many lanes there are. They are kept for the whole run and for its last seconds.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use metrics::counter;
use tokio::time::Instant;

use crate::namespace::Namespace;
use crate::telemetry::Metric;
use crate::usage;

/// "Now" is the time since one or two of these.
const WINDOW: Duration = Duration::from_secs(5);

/// The processors limit the input from this part of what its threads could use.
const BUSY: f64 = 0.8;

/// What limits a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// No batch is ready.
    Reader,
    /// No batch is ready since the processors are busy. Not waited for, but told from the former.
    Cpu,
    /// The namespace's ceiling: the rate that was set, or the one at which the service begins to refuse.
    NamespaceRate,
    /// The service refuses well below the ceiling, or asked for a pause.
    Throttling,
    /// The service, or the way to it, has become slow.
    Latency,
    /// Requests in flight: the setting, or the cap that follows from rate and latency.
    InFlight,
    /// The uplink: so much stands in it that an attempt would take too long.
    Network,
    /// The limit on all namespaces together.
    TotalRate,
    /// The service does not answer.
    Outage,
    /// The order of a stream: an earlier record with the same id is not settled, or may still be written.
    Order,
}

/// What limits a run, and which namespace it is where namespaces are limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedBy {
    /// `reader`, `cpu`, `namespace_rate`, `throttling`, `latency`, `in_flight`, `network`,
    /// `total_rate`, `outage` or `order`.
    pub limit: &'static str,
    /// The namespace that waited longest for its rate.
    pub namespace: Option<String>,
}

/// Time by what was waited for.
#[derive(Debug)]
pub(crate) struct Waits(Mutex<State>);

/// A lane that waits for something, while it lives.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    limit: Limit,
    /// The one whose own limit it is.
    namespace: Option<&'a Arc<Namespace>>,
    since: Instant,
}

#[derive(Debug)]
struct State {
    /// Processors that reading and encoding can use.
    threads: f64,
    since: Instant,
    /// Lanes that wait now.
    waiting: [u32; Limit::ALL.len()],
    /// Whole seconds that the metrics know of.
    counted: [u64; Limit::ALL.len()],
    run: Times,
    /// The window before this one, and this one.
    windows: [Times; 2],
}

/// Times by what was waited for, from some time on.
#[derive(Debug, Clone)]
struct Times {
    began: Instant,
    /// The process's CPU time when they began, in seconds.
    cpu: f64,
    seconds: [f64; Limit::ALL.len()],
    /// Seconds in which namespaces waited for their rate, by number.
    namespaces: HashMap<usize, (Arc<Namespace>, f64)>,
}

// === impl Limit ===

impl Limit {
    pub(crate) const ALL: [Self; 10] = [
        Self::Reader,
        Self::Cpu,
        Self::NamespaceRate,
        Self::Throttling,
        Self::Latency,
        Self::InFlight,
        Self::Network,
        Self::TotalRate,
        Self::Outage,
        Self::Order,
    ];

    /// The name in reports and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Cpu => "cpu",
            Self::NamespaceRate => "namespace_rate",
            Self::Throttling => "throttling",
            Self::Latency => "latency",
            Self::InFlight => "in_flight",
            Self::Network => "network",
            Self::TotalRate => "total_rate",
            Self::Outage => "outage",
            Self::Order => "order",
        }
    }

    /// Whether it is a matter of one namespace.
    const fn is_of_namespace(self) -> bool {
        matches!(self, Self::NamespaceRate | Self::Throttling)
    }
}

// === impl Waits ===

impl Waits {
    /// Nothing is waited for; that many threads read and encode.
    pub(crate) fn new(now: Instant, threads: usize) -> Self {
        let times = Times::new(now, usage::cpu_seconds());
        let processors = available_parallelism().map_or(threads, NonZero::get);
        Self(Mutex::new(State {
            threads: threads.min(processors) as f64,
            since: now,
            waiting: [0; Limit::ALL.len()],
            counted: [0; Limit::ALL.len()],
            run: times.clone(),
            windows: [times.clone(), times],
        }))
    }

    /// A lane begins to wait, until the returned value is dropped.
    pub(crate) fn wait<'a>(
        &'a self,
        limit: Limit,
        namespace: Option<&'a Arc<Namespace>>,
    ) -> Waiting<'a> {
        let since = Instant::now();
        let mut state = self.lock();
        state.pass(since);
        state.waiting[limit as usize] += 1;
        Waiting {
            waits: self,
            limit,
            namespace: namespace.filter(|_| limit.is_of_namespace()),
            since,
        }
    }

    /// What took the most time in the whole run.
    pub(crate) fn of_run(&self) -> LimitedBy {
        let now = Instant::now();
        let mut state = self.lock();
        state.pass(now);
        let threads = state.threads;
        state.run.greatest(now, usage::cpu_seconds(), threads)
    }

    /// What took the most time in the last seconds.
    pub(crate) fn of_now(&self) -> LimitedBy {
        let now = Instant::now();
        let mut state = self.lock();
        state.pass(now);
        let [before, current] = &state.windows;
        let times = before.clone().with(current);
        times.greatest(now, usage::cpu_seconds(), state.threads)
    }

    /// Seconds by what was waited for, over the whole run. No lane waits for `cpu`: it is in `reader`.
    pub(crate) fn seconds(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let mut state = self.lock();
        state.pass(Instant::now());
        let seconds = state.run.seconds;
        let waited_for = Limit::ALL.into_iter().filter(|limit| *limit != Limit::Cpu);
        waited_for.map(move |limit| (limit.name(), seconds[limit as usize]))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.waits.lock();
        state.pass(now);
        state.waiting[self.limit as usize] -= 1;
        if let Some(namespace) = self.namespace {
            let waited = now.saturating_duration_since(self.since).as_secs_f64();
            state.run.waited(namespace, waited);
            state.windows[1].waited(namespace, waited);
        }
    }
}

// === impl State ===

impl State {
    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        let lanes: u32 = self.waiting.iter().sum();
        for limit in Limit::ALL {
            let index = limit as usize;
            let part = match (lanes, limit) {
                (0, Limit::Reader) => passed,
                (0, _) => 0.0,
                _ => passed * f64::from(self.waiting[index]) / f64::from(lanes),
            };
            self.run.seconds[index] += part;
            self.windows[1].seconds[index] += part;
            let whole = self.run.seconds[index] as u64;
            if whole > self.counted[index] {
                counter!(Metric::Wait.name(), "reason" => limit.name())
                    .increment(whole - self.counted[index]);
                self.counted[index] = whole;
            }
        }
        if now.saturating_duration_since(self.windows[1].began) >= WINDOW {
            self.windows.swap(0, 1);
            self.windows[1] = Times::new(now, usage::cpu_seconds());
        }
    }
}

// === impl Times ===

impl Times {
    fn new(began: Instant, cpu: f64) -> Self {
        Self {
            began,
            cpu,
            seconds: [0.0; Limit::ALL.len()],
            namespaces: HashMap::new(),
        }
    }

    fn waited(&mut self, namespace: &Arc<Namespace>, seconds: f64) {
        let entry = self.namespaces.entry(namespace.index);
        entry.or_insert_with(|| (Arc::clone(namespace), 0.0)).1 += seconds;
    }

    /// These times and later ones.
    fn with(mut self, later: &Self) -> Self {
        for (sum, seconds) in self.seconds.iter_mut().zip(later.seconds) {
            *sum += seconds;
        }
        for (namespace, seconds) in later.namespaces.values() {
            self.waited(namespace, *seconds);
        }
        self
    }

    /// What took the most time, given the process's CPU time now.
    fn greatest(&self, now: Instant, cpu: f64, threads: f64) -> LimitedBy {
        let seconds = |limit: &Limit| self.seconds[*limit as usize];
        let all = Limit::ALL.into_iter();
        let greatest = all.max_by(|one, other| seconds(one).total_cmp(&seconds(other)));
        let passed = now.saturating_duration_since(self.began).as_secs_f64();
        let limit = match greatest.unwrap_or(Limit::Reader) {
            Limit::Reader if cpu - self.cpu >= BUSY * threads * passed => Limit::Cpu,
            limit => limit,
        };
        let longest = self
            .namespaces
            .values()
            .max_by(|(_, one), (_, other)| one.total_cmp(other));
        LimitedBy {
            limit: limit.name(),
            namespace: longest
                .filter(|_| limit.is_of_namespace())
                .map(|(namespace, _)| namespace.name().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespaces;
    use tokio::time::advance;

    /// Scenario: two lanes wait for different things, then one of them, then none.
    /// Guarantees: time is shared among what is waited for, and the parts add up to what has passed.
    #[tokio::test(start_paused = true)]
    async fn the_parts_add_up() {
        let pass = |seconds| advance(Duration::from_secs(seconds));
        let waits = Waits::new(Instant::now(), 1);
        pass(1).await;
        let network = waits.wait(Limit::Network, None);
        pass(2).await;
        let latency = waits.wait(Limit::Latency, None);
        pass(4).await;
        drop(network);
        pass(5).await;
        drop(latency);
        pass(1).await;
        assert_eq!(waits.of_run().limit, "latency");
        let seconds: HashMap<&str, f64> = waits.seconds().collect();
        assert_eq!(seconds["network"], 2.0 + 2.0);
        assert_eq!(seconds["latency"], 2.0 + 5.0);
        assert_eq!(seconds["reader"], 2.0);
        assert_eq!(seconds.values().sum::<f64>(), 13.0);
    }

    /// Scenario: a minute of throttling in one namespace and a little in another, then half a minute in
    /// which nothing is waited for.
    /// Guarantees: the run was limited by the first namespace, and it is the reader now.
    #[tokio::test(start_paused = true)]
    async fn now_is_not_the_whole_run() {
        let waits = Waits::new(Instant::now(), 1);
        let namespaces = Namespaces::default();
        let (a, b) = (namespaces.get("a"), namespaces.get("b"));
        for (namespace, seconds) in [(&a, 60), (&b, 1)] {
            let waiting = waits.wait(Limit::Throttling, Some(namespace));
            advance(Duration::from_secs(seconds)).await;
            drop(waiting);
        }
        let limited = |limit, namespace: Option<&str>| LimitedBy {
            limit,
            namespace: namespace.map(str::to_owned),
        };
        for _ in 0..30 {
            advance(Duration::from_secs(1)).await;
            waits.of_now();
        }
        assert_eq!(waits.of_run(), limited("throttling", Some("a")));
        assert_eq!(waits.of_now(), limited("reader", None));
    }

    /// Scenario: nothing is waited for during ten seconds, of which two threads computed for 12 or 18.
    /// Guarantees: the processors are named where they are busy, else the reader.
    #[tokio::test(start_paused = true)]
    async fn busy_processors_are_told_from_a_slow_reader() {
        let began = Instant::now();
        let mut times = Times::new(began, 5.0);
        times.seconds[Limit::Reader as usize] = 10.0;
        let now = began + Duration::from_secs(10);
        assert_eq!(times.greatest(now, 5.0 + 12.0, 2.0).limit, "reader");
        assert_eq!(times.greatest(now, 5.0 + 18.0, 2.0).limit, "cpu");
    }
}
