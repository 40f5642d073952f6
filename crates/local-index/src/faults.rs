//! Seeded misbehaviour: what the server does wrong, how often, and the dice that decide it.
//!
//! One fate is drawn per upsert request when its headers arrive, with the same number of draws
//! whatever the outcome, and one life per connection when it is accepted. So the n-th request
//! always has the same fate, and the counts over n requests depend on the seed alone. The
//! generator is named (xoshiro256++), since `StdRng` may change with the version of `rand`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

/// How the server misbehaves; nothing by default.
///
/// `refuse`, `unavailable`, `reset`, `apply_without_answer` and `apply_late` are probabilities of exclusive
/// outcomes of one upsert request, so they add up to at most 1. `delay` is independent of them.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Seed of all decisions.
    pub seed: u64,
    /// Not applied, answered RESOURCE_EXHAUSTED with the service's text about the upsert rate.
    pub refuse: f64,
    /// Not applied, answered UNAVAILABLE.
    pub unavailable: f64,
    /// What `refuse` and `unavailable` answer comes from the layer in front of the service: over REST a
    /// plain text with 429 or 503, over gRPC UNAVAILABLE for both.
    pub front_layer: bool,
    /// Not applied; the stream is reset (RST_STREAM) without an answer.
    pub reset: f64,
    /// Answered (or not) only after [`delay_for`](Self::delay_for).
    pub delay: f64,
    /// How long a delayed request waits. In TOML a text such as `"250ms"`.
    #[serde(deserialize_with = "jiff::fmt::serde::unsigned_duration::required::deserialize")]
    pub delay_for: Duration,
    /// Applied and durable; then the stream is reset, or UNAVAILABLE is answered.
    pub apply_without_answer: f64,
    /// The answer is withheld as above, and the request is applied only after
    /// [`late_for`](Self::late_for), when its client has long given up: also where the same records were
    /// written again meanwhile.
    pub apply_late: f64,
    /// How long after its arrival a late request is applied. In TOML a text such as `"2s"`.
    #[serde(deserialize_with = "jiff::fmt::serde::unsigned_duration::required::deserialize")]
    pub late_for: Duration,
    /// Each connection is closed abruptly when it has carried `U(a, b)` requests (ends included)
    /// and another one arrives.
    pub cut_connection_after: Option<(u32, u32)>,
    /// What refuses every upsert from some moment on.
    pub ends: Option<Ending>,
    /// A record whose id contains this text fails its request with INVALID_ARGUMENT and a message
    /// that does not name the record: a rule that only the server knows.
    pub refuse_ids_containing: Option<String>,
    /// Answers to queries say that the index is so many writes of the namespace behind. What they
    /// return is not.
    pub indexed_behind: u64,
    /// Answers to queries do not say how far the index is, as those of dedicated read nodes.
    pub hide_indexed: bool,
    /// Ids are not listed, as by indexes that are not serverless: UNIMPLEMENTED.
    pub refuse_list: bool,
}

/// The end of all writes in the middle of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// How many upserts meet their usual fate before.
    pub after: u64,
    /// What has happened then.
    pub with: EndingKind,
}

/// Why no write is taken any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingKind {
    /// The write units of the month are used up: RESOURCE_EXHAUSTED, as for a rate.
    MonthlyQuota,
    /// The index is full: RESOURCE_EXHAUSTED.
    IndexFull,
    /// The key is no longer valid: UNAUTHENTICATED.
    RevokedKey,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 0,
            refuse: 0.0,
            unavailable: 0.0,
            front_layer: false,
            reset: 0.0,
            delay: 0.0,
            delay_for: Duration::ZERO,
            apply_without_answer: 0.0,
            apply_late: 0.0,
            late_for: Duration::ZERO,
            cut_connection_after: None,
            ends: None,
            refuse_ids_containing: None,
            indexed_behind: 0,
            hide_indexed: false,
            refuse_list: false,
        }
    }
}

impl Faults {
    /// Says what is wrong with these settings, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let exclusive = [
            ("refuse", self.refuse),
            ("unavailable", self.unavailable),
            ("reset", self.reset),
            ("apply_without_answer", self.apply_without_answer),
            ("apply_late", self.apply_late),
        ];
        for (name, value) in exclusive.into_iter().chain([("delay", self.delay)]) {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}; give a probability of 0 to 1"));
            }
        }
        let sum: f64 = exclusive.iter().map(|(_, value)| value).sum();
        // Decimal fractions that add up to 1 may exceed it in binary by a few ulps.
        if sum > 1.0 + 1e-9 {
            return Err(format!(
                "refuse, unavailable, reset, apply_without_answer and apply_late add up to {sum}; \
                 they exclude each other, so give at most 1 in all"
            ));
        }
        match self.cut_connection_after {
            Some((a, b)) if a > b => Err(format!(
                "cut_connection_after is ({a}, {b}); give the smaller number first"
            )),
            _ => Ok(()),
        }
    }
}

/// How an upsert request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Serve,
    Refuse,
    Unavailable,
    Ended(EndingKind),
    Reset(h2::Reason),
    ApplyThen(Silence),
    ApplyLate(Silence, Duration),
}

/// How the answer to an applied request is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    Reset(h2::Reason),
    Unavailable,
}

/// What was decided for one upsert request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) outcome: Outcome,
    pub(crate) delay: Option<Duration>,
}

/// Draws fates and lives.
#[derive(Debug)]
pub(crate) struct Dice {
    faults: Faults,
    /// How many fates were drawn, and the generator of the next one.
    requests: Mutex<(u64, Xoshiro256PlusPlus)>,
    connections: Mutex<Xoshiro256PlusPlus>,
}

impl Dice {
    pub(crate) fn new(faults: Faults) -> Self {
        // Two generators, so that the number of connections does not change the requests' fates.
        let requests = Xoshiro256PlusPlus::seed_from_u64(faults.seed);
        let connections = Xoshiro256PlusPlus::seed_from_u64(!faults.seed);
        Self {
            faults,
            requests: Mutex::new((0, requests)),
            connections: Mutex::new(connections),
        }
    }

    /// Draws what happens to the upsert request that has just arrived.
    pub(crate) fn fate(&self) -> Fate {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let (drawn, dice) = &mut *requests;
        let before = *drawn;
        *drawn += 1;
        let (which, late, how): (f64, f64, f64) = dice.random();
        drop(requests);
        let faults = &self.faults;
        let ended = faults.ends.filter(|ending| before >= ending.after);
        // Resets as proxies send them. REFUSED_STREAM promises that nothing was done, so an
        // applied request never gets it.
        let reset = if how < 0.5 {
            h2::Reason::INTERNAL_ERROR
        } else {
            h2::Reason::CANCEL
        };
        let silence = if how < 1.0 / 3.0 {
            Silence::Unavailable
        } else if how < 2.0 / 3.0 {
            Silence::Reset(h2::Reason::INTERNAL_ERROR)
        } else {
            Silence::Reset(h2::Reason::CANCEL)
        };
        let mut bound = 0.0;
        let outcome = [
            (faults.refuse, Outcome::Refuse),
            (faults.unavailable, Outcome::Unavailable),
            (faults.reset, Outcome::Reset(reset)),
            (faults.apply_without_answer, Outcome::ApplyThen(silence)),
            (
                faults.apply_late,
                Outcome::ApplyLate(silence, faults.late_for),
            ),
        ]
        .into_iter()
        .find_map(|(probability, outcome)| {
            bound += probability;
            (which < bound).then_some(outcome)
        });
        Fate {
            outcome: match ended {
                Some(ending) => Outcome::Ended(ending.with),
                None => outcome.unwrap_or(Outcome::Serve),
            },
            delay: (late < faults.delay).then_some(faults.delay_for),
        }
    }

    /// Draws how many requests the connection that was just accepted may carry.
    pub(crate) fn life(&self) -> Option<u32> {
        let (a, b) = self.faults.cut_connection_after?;
        let mut dice = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(dice.random_range(a..=b))
    }

    /// The log sequence number of which a query's answer says that it is indexed; none if it does not
    /// say it.
    pub(crate) fn said_indexed(&self, lsn: u64) -> Option<u64> {
        let behind = self.faults.indexed_behind;
        (!self.faults.hide_indexed).then_some(lsn.saturating_sub(behind))
    }

    /// Whether ids are not listed.
    pub(crate) fn refuses_list(&self) -> bool {
        self.faults.refuse_list
    }

    /// Whether refusals come from the layer in front of the service.
    pub(crate) fn has_front_layer(&self) -> bool {
        self.faults.front_layer
    }

    /// Whether an id is one that only the server knows to be bad.
    pub(crate) fn refuses_id(&self, id: &str) -> bool {
        self.faults
            .refuse_ids_containing
            .as_deref()
            .is_some_and(|part| id.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(faults: &Faults, count: usize) -> Vec<Fate> {
        let dice = Dice::new(faults.clone());
        (0..count).map(|_| dice.fate()).collect()
    }

    /// Scenario: 10,000 fates are drawn twice from one seed, and once from another.
    /// Guarantees: a seed repeats its fates exactly, another differs, and each outcome comes as often as asked.
    #[test]
    fn fates_follow_the_seed_and_the_probabilities() {
        let faults = Faults {
            seed: 7,
            refuse: 0.3,
            unavailable: 0.1,
            reset: 0.05,
            delay: 0.2,
            delay_for: Duration::from_millis(1),
            apply_without_answer: 0.1,
            apply_late: 0.1,
            late_for: Duration::from_secs(1),
            ..Faults::default()
        };
        let drawn = outcomes(&faults, 10_000);
        assert_eq!(drawn, outcomes(&faults, 10_000));
        let other = Faults {
            seed: 8,
            ..faults.clone()
        };
        assert_ne!(drawn, outcomes(&other, 10_000));
        let share = |test: &dyn Fn(&Fate) -> bool| {
            drawn.iter().filter(|fate| test(fate)).count() as f64 / 10_000.0
        };
        let near = |share: f64, asked: f64| (share - asked).abs() < 0.02;
        assert!(near(share(&|f| f.outcome == Outcome::Refuse), 0.3));
        assert!(near(share(&|f| f.outcome == Outcome::Unavailable), 0.1));
        assert!(near(
            share(&|f| matches!(f.outcome, Outcome::Reset(_))),
            0.05
        ));
        assert!(near(
            share(&|f| matches!(f.outcome, Outcome::ApplyThen(_))),
            0.1
        ));
        assert!(near(
            share(&|f| matches!(f.outcome, Outcome::ApplyLate(_, late) if late.as_secs() == 1)),
            0.1
        ));
        assert!(near(share(&|f| f.delay.is_some()), 0.2));
    }

    /// Scenario: probabilities out of range or adding up to more than 1, and a reversed range.
    /// Guarantees: each is refused by name; fractions that add up to exactly 1 are not.
    #[test]
    fn impossible_settings_are_refused() {
        let bad = |faults: Faults| faults.check().expect_err("refused");
        assert!(
            bad(Faults {
                refuse: -0.1,
                ..Faults::default()
            })
            .contains("refuse is -0.1"),
        );
        assert!(
            bad(Faults {
                delay: f64::NAN,
                ..Faults::default()
            })
            .contains("delay is NaN")
        );
        assert!(
            bad(Faults {
                refuse: 0.6,
                reset: 0.6,
                ..Faults::default()
            })
            .contains("add up to 1.2"),
        );
        assert!(
            bad(Faults {
                cut_connection_after: Some((9, 3)),
                ..Faults::default()
            })
            .contains("(9, 3)"),
        );
        let full = Faults {
            refuse: 0.1,
            unavailable: 0.2,
            reset: 0.3,
            apply_without_answer: 0.4,
            ..Faults::default()
        };
        assert_eq!(full.check(), Ok(()));
    }

    /// Scenario: a faults file as TOML, and one with a misspelt key.
    /// Guarantees: every key is read, durations as text; an unknown key is an error that names it.
    #[test]
    fn a_toml_file_holds_faults() {
        let faults: Faults = toml::from_str(
            "seed = 3\nrefuse = 0.3\ndelay = 0.1\ndelay_for = \"250ms\"\n\
             apply_late = 0.1\nlate_for = \"2s\"\n\
             cut_connection_after = [50, 500]\nrefuse_ids_containing = \"bad\"\n",
        )
        .expect("a good file");
        assert_eq!(faults.delay_for, Duration::from_millis(250));
        assert_eq!(faults.late_for, Duration::from_secs(2));
        assert_eq!(faults.cut_connection_after, Some((50, 500)));
        assert_eq!(faults.refuse_ids_containing.as_deref(), Some("bad"));
        let error = toml::from_str::<Faults>("refuze = 0.3\n").expect_err("misspelt");
        assert!(error.to_string().contains("refuze"), "{error}");
    }
}
