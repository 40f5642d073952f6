//! The service as a model: a quota that is charged when a whole request has arrived, and a queue with
//! workers behind it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Conditions, NamespaceConditions, NamespaceRefusal, Quota};

/// A request that would wait longer than this is refused as overload, in seconds.
const LONGEST_QUEUE: f64 = 10.0;
/// The time to refuse, in seconds.
const REFUSING: f64 = 0.002;
/// The spread of service times (log-normal).
const SPREAD: f64 = 0.3;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply {
    /// It is carried out.
    Taken,
    /// It is beyond a limit.
    Throttled(Limit),
    /// It fails, whatever its rate.
    Unavailable,
    /// Its namespace takes no writes.
    Refused(NamespaceRefusal),
}

/// Which limit a request is beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Bytes per second, or what the queue holds.
    Bytes,
    /// So many requests per second.
    Requests(f64),
}

/// The state of a service under [`Conditions`]: pure, with time and seed handed in.
#[derive(Debug)]
pub struct Model {
    conditions: Conditions,
    namespaces: HashMap<String, Namespace>,
    random: StdRng,
}

/// What one namespace has left, and who works on it.
#[derive(Debug)]
struct Namespace {
    special: NamespaceConditions,
    tokens: f64,
    request_tokens: f64,
    /// When it was last asked.
    seen: f64,
    /// The second of the window, and the bytes taken in it.
    window: (f64, f64),
    /// When each worker is free, the earliest first (the bits of a number that is not negative are in its order).
    free: BinaryHeap<Reverse<u64>>,
}

// === impl Model ===

impl Model {
    /// A service that has been idle until second 0.
    pub fn new(conditions: &Conditions, seed: u64) -> Self {
        Self {
            conditions: conditions.clone(),
            namespaces: HashMap::new(),
            random: StdRng::seed_from_u64(seed ^ 0x5e41),
        }
    }

    /// A whole request of so many bytes arrives at a second, no earlier than the one before it: what
    /// becomes of it, and at which second that leaves the service.
    pub fn arrives(&mut self, now: f64, namespace: &str, bytes: f64) -> (Reply, f64) {
        let conditions = &self.conditions;
        let namespace = match self.namespaces.get_mut(namespace) {
            Some(namespace) => namespace,
            None => {
                let special = conditions.namespaces.get(namespace);
                let fresh = Namespace::new(conditions, special.copied().unwrap_or_default());
                self.namespaces.entry(namespace.to_owned()).or_insert(fresh)
            }
        };
        if let Some(refusal) = namespace.special.refuse {
            return (Reply::Refused(refusal), now + REFUSING);
        }
        let free = namespace.free.peek();
        let free = free.map_or(0.0, |Reverse(free)| f64::from_bits(*free));
        if let Err(limit) = namespace.admit(conditions, now, bytes) {
            return (Reply::Throttled(limit), now + REFUSING);
        }
        if free - now > LONGEST_QUEUE {
            return (Reply::Throttled(Limit::Bytes), now + REFUSING);
        }
        // Box and Muller, shifted so that the mean stays.
        let uniform: (f64, f64) = (1.0 - self.random.random::<f64>(), self.random.random());
        let normal = (-2.0 * uniform.0.ln()).sqrt() * (std::f64::consts::TAU * uniform.1).cos();
        let service = conditions.service_seconds * (SPREAD * normal - 0.5 * SPREAD * SPREAD).exp();
        let done = free.max(now) + service + bytes / conditions.worker_bytes_per_second;
        namespace.free.pop();
        namespace.free.push(Reverse(done.to_bits()));
        if self.random.random::<f64>() < conditions.errors {
            return (Reply::Unavailable, done);
        }
        (Reply::Taken, done)
    }
}

// === impl Namespace ===

impl Namespace {
    fn new(conditions: &Conditions, special: NamespaceConditions) -> Self {
        let mut namespace = Self {
            special,
            tokens: 0.0,
            request_tokens: 0.0,
            seen: 0.0,
            window: (-1.0, 0.0),
            free: vec![Reverse(0); conditions.workers].into(),
        };
        namespace.tokens = namespace.capacity(conditions, 0.0) * conditions.burst_seconds;
        let requests = namespace.requests_per_second(conditions);
        namespace.request_tokens = requests.map_or(0.0, most_requests);
        namespace
    }

    fn capacity(&self, conditions: &Conditions, now: f64) -> f64 {
        let own = self.special.bytes_per_second;
        own.unwrap_or_else(|| conditions.capacity(now))
    }

    fn requests_per_second(&self, conditions: &Conditions) -> Option<f64> {
        let own = self.special.requests_per_second;
        own.or(conditions.requests_per_second)
    }

    /// Charges a request, or says which limit it is beyond.
    fn admit(&mut self, conditions: &Conditions, now: f64, bytes: f64) -> Result<(), Limit> {
        let capacity = self.capacity(conditions, now);
        let elapsed = now - self.seen;
        self.seen = now;
        let full = capacity * conditions.burst_seconds;
        self.tokens = (self.tokens + elapsed * capacity).min(full);
        if let Some(rate) = self.requests_per_second(conditions) {
            let tokens = self.request_tokens + elapsed * rate;
            self.request_tokens = tokens.min(most_requests(rate));
            if self.request_tokens < 1.0 {
                return Err(Limit::Requests(rate));
            }
        }
        match conditions.quota {
            Quota::Window => {
                if self.window.0 < now.floor() {
                    self.window = (now.floor(), 0.0);
                }
                if self.window.1 + bytes > capacity {
                    return Err(Limit::Bytes);
                }
                self.window.1 += bytes;
            }
            Quota::Bucket if self.tokens < bytes => {
                if conditions.charge_refused {
                    self.tokens = (self.tokens - bytes).max(-full);
                }
                return Err(Limit::Bytes);
            }
            Quota::Bucket => self.tokens -= bytes,
        }
        self.request_tokens -= 1.0;
        Ok(())
    }
}

/// Requests that may come at once: those of a second, and one where a second has less than one.
fn most_requests(rate: f64) -> f64 {
    rate.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of requests of 1 MB that arrive at these seconds.
    fn replies(conditions: &Conditions, at: &[f64]) -> Vec<Reply> {
        let mut model = Model::new(conditions, 1);
        at.iter().map(|at| model.arrives(*at, "", 1e6).0).collect()
    }

    fn of(rate: f64) -> Conditions {
        Conditions {
            bytes_per_second: vec![[0.0, rate]],
            ..Conditions::default()
        }
    }

    const TAKEN: Reply = Reply::Taken;
    const BYTES: Reply = Reply::Throttled(Limit::Bytes);

    /// Scenario: 2 MB/s, requests of 1 MB, in each shape of the quota.
    /// Guarantees: a bucket gives its burst and then the rate, refused bytes cost where they are charged,
    /// and a window gives its share anew with each second.
    #[test]
    fn shapes_of_a_quota() {
        let bucket = of(2e6);
        let at = [0.0, 0.0, 0.0, 0.4, 0.5];
        assert_eq!(replies(&bucket, &at), [TAKEN, TAKEN, BYTES, BYTES, TAKEN]);
        let charged = Conditions {
            charge_refused: true,
            ..bucket.clone()
        };
        assert_eq!(
            replies(&charged, &[0.0, 0.0, 0.0, 0.5, 2.0]),
            [TAKEN, TAKEN, BYTES, BYTES, TAKEN]
        );
        let window = Conditions {
            quota: Quota::Window,
            ..bucket
        };
        assert_eq!(
            replies(&window, &[0.9, 0.9, 0.9, 1.0, 1.0, 1.9]),
            [TAKEN, TAKEN, BYTES, TAKEN, TAKEN, BYTES]
        );
    }

    /// Scenario: two requests per second; then a step of the quota; then another tenant.
    /// Guarantees: the limit in requests is named with its number, and the quota is that of the second.
    #[test]
    fn requests_and_steps() {
        let requests = Conditions {
            requests_per_second: Some(2.0),
            ..Conditions::default()
        };
        let limited = Reply::Throttled(Limit::Requests(2.0));
        assert_eq!(
            replies(&requests, &[0.0, 0.0, 0.0, 0.5]),
            [TAKEN, TAKEN, limited, TAKEN]
        );
        let window = |conditions| Conditions {
            quota: Quota::Window,
            ..conditions
        };
        let steps = window(Conditions {
            bytes_per_second: vec![[0.0, 1e6], [1.0, 2e6]],
            ..Conditions::default()
        });
        assert_eq!(
            replies(&steps, &[0.0, 0.5, 1.0, 1.5]),
            [TAKEN, BYTES, TAKEN, TAKEN]
        );
        let shared = window(Conditions {
            other_tenant: vec![[1.0, 2.0, 1.5e6]],
            ..of(2e6)
        });
        assert_eq!(replies(&shared, &[0.0, 1.0, 2.0]), [TAKEN, BYTES, TAKEN]);
    }

    /// Scenario: one namespace with a quota of its own, one that takes no writes, and others.
    /// Guarantees: each has its own tokens, and only the refused one is refused.
    #[test]
    fn namespaces_are_apart() {
        let mut conditions = of(1e6);
        let slow = NamespaceConditions {
            bytes_per_second: Some(0.5e6),
            ..NamespaceConditions::default()
        };
        let alias = NamespaceConditions {
            refuse: Some(NamespaceRefusal::Alias),
            ..NamespaceConditions::default()
        };
        conditions.namespaces = [("slow".to_owned(), slow), ("alias".to_owned(), alias)].into();
        let mut model = Model::new(&conditions, 1);
        assert_eq!(model.arrives(0.0, "a", 1e6).0, TAKEN);
        assert_eq!(model.arrives(0.0, "b", 1e6).0, TAKEN);
        assert_eq!(model.arrives(0.0, "a", 1e6).0, BYTES);
        assert_eq!(model.arrives(0.0, "slow", 1e6).0, BYTES);
        assert_eq!(model.arrives(0.0, "slow", 0.5e6).0, TAKEN);
        let refused = Reply::Refused(NamespaceRefusal::Alias);
        assert_eq!(model.arrives(0.0, "alias", 1.0).0, refused);
    }

    /// Scenario: ten requests at once for one worker and for ten.
    /// Guarantees: with one they leave one after the other; with ten, within the time of a few.
    #[test]
    fn latency_grows_with_load() {
        let last = |workers| {
            let conditions = Conditions {
                workers,
                ..Conditions::default()
            };
            let mut model = Model::new(&conditions, 1);
            let left = (0..10).map(|_| model.arrives(0.0, "", 1e6).1);
            left.fold(0.0, f64::max)
        };
        assert!(last(1) > 0.7 && last(10) < 0.3, "{} {}", last(1), last(10));
    }
}
