//! The adaptive law: a rate in bytes per second that is steered by the refused fraction.
//!
//! ```text
//!   double to 0.9 of the share ─▶ +12 %/s ─▶ first refusal ─▶ cut, measure, cut again until clean ◀─┐
//!                                                  └─ then grow by small steps, faster after a calm ─┘
//! ```
//!
//! Refusals alone steer the rate; failures never do, they only feed the breaker. Latency brakes it.
//! The documented ceiling and the number of replicas scale the first rate and the steps, and give all
//! replicas one reference that pulls them to equal shares; they are no limits. The constants are those
//! of the simulated comparison (`docs/tuning.md` shows the table and the command that prints it).
//! Times are seconds since the pacer's beginning; time and randomness are handed in.

use std::collections::VecDeque;

use rand::{Rng, RngExt as _};

use super::breaker::Breaker;
use super::{CREDIT, Outcome};
use crate::waits::Limit;

/// The first rate, as a part of the share.
const START: f64 = 0.5;
/// Where doubling ends, as a part of the share.
const DOUBLING_ENDS: f64 = 0.9;
/// The time in which the rate doubles at the start, in seconds.
const DOUBLING: f64 = 0.7;
/// Growth per second from there until something first pushes back.
const EXPLORING: f64 = 0.12;
/// Growth per second afterwards, as a part of the share.
const STEP: f64 = 0.012;
/// The most that a step may be of the rate itself, so that a small rate is not thrown about.
const STEP_OF_RATE: f64 = 0.03;
/// The share of refused requests that the steps are steered to.
const REFUSED: f64 = 0.006;
/// Weight of one request in that steering.
const STEERING: f64 = 0.1;
/// The step's factor from steering.
const SCALE: (f64, f64) = (0.05, 1.5);
/// The cut at the first refusal: so much for each replica, up to so much, and at the very most.
const CUT: (f64, f64, f64) = (0.03, 0.20, 0.35);
/// The least time over which the refused fraction is measured, and the requests that it should hold.
const MEASURE: (f64, f64) = (0.4, 8.0);
/// The first and the longest time between two probes of a service that answers nothing, in seconds.
const PROBES: (f64, f64) = (0.25, 4.0);
/// Refusals in a row after a cut that mean a debt, which only silence pays.
const DEBT: u32 = 5;
/// Below this rate nothing is cut, in bytes per second; nor below one request a second of all replicas.
const LEAST_RATE: f64 = 0.2e6;
/// The latency, in seconds, up to which nothing is braked. The same on all replicas: a limit from each
/// one's own measurement alone favours those that came early.
const CALM_LATENCY: f64 = 0.5;
/// How much above its base the latency may be.
const LATENCY_FACTOR: f64 = 2.0;
/// The requests that are to go, as a part of the request limit: so many that the law learns from them,
/// and so few that requests of half the size stay below the limit.
const REQUESTS: f64 = 0.46;
/// The least pace, as a part of the share, by which requests become smaller.
const LEAST_PACE: f64 = 0.1;
/// The least that a request is made, in bytes: a little less than the documented ceilings and the least pace make it.
/// Where the user allows more requests, or where refusals do not depend on the rate, smaller ones would only be more.
const LEAST_REQUEST: f64 = 100e3;
/// The most requests in flight.
const IN_FLIGHT: f64 = 128.0;
/// A rate above this part of the share is the ceiling; below it the service throttles.
const AT_CEILING: f64 = 0.8;
/// The time between two looks at the rate, in seconds.
const TICK: f64 = 0.1;
/// The longest time that one look may count for: nothing grows over a pause.
const LONGEST_TICK: f64 = 0.5;

/// The law's state for one namespace.
#[derive(Debug)]
pub(super) struct Law {
    /// The documented ceiling divided by the replicas.
    share: f64,
    replicas: f64,
    /// What a request costs at the least at the share: the ceilings on bytes and requests in one currency.
    least_cost: f64,
    /// A limit that the user has set; growing beyond it would be growing blindly.
    most: f64,
    rate: f64,
    next: f64,
    /// Doubling goes on up to this rate.
    doubling_to: Option<f64>,
    /// Nothing has pushed back yet.
    is_untouched: bool,
    step_scale: f64,
    /// The last look at the rate.
    looked: f64,
    /// The last time anything pushed back.
    pushed: f64,
    /// What pushed back was latency, not a refusal.
    is_braked: bool,
    episode: Option<Episode>,
    refused_in_row: u32,
    /// Full stops in a row.
    stops: i32,
    /// Refusals of requests that were sent before do not count.
    fence: f64,
    /// When the rate, or the places in flight, last held something up.
    paced: f64,
    held: f64,
    latency: Option<Latency>,
    /// When a silence ended. Attempts that were sent before waited for its end, and say nothing of the
    /// latency. `None` once one that was sent later is acknowledged.
    stalled: Option<f64>,
    braked: f64,
    /// The mean cost of a request.
    cost: f64,
    acknowledged: VecDeque<(f64, f64)>,
    breaker: Breaker,
}

/// The measurement after a cut: what became of the requests sent within its window.
#[derive(Debug)]
struct Episode {
    from: f64,
    until: f64,
    ok: f64,
    refused: f64,
}

/// Seconds from sending to the acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Latency {
    smooth: f64,
    base: f64,
}

// === impl Law ===

impl Law {
    /// A law for one of `replicas` senders under ceilings of bytes and requests per second.
    pub(super) fn new(bytes: f64, requests: f64, replicas: u32, most: Option<f64>) -> Self {
        let share = bytes / f64::from(replicas);
        let most = most.unwrap_or(f64::INFINITY);
        Self {
            share,
            replicas: f64::from(replicas),
            least_cost: bytes / requests,
            most,
            rate: (START * share).min(most),
            next: f64::NEG_INFINITY,
            doubling_to: Some(DOUBLING_ENDS * share),
            is_untouched: true,
            step_scale: 1.0,
            looked: f64::NEG_INFINITY,
            pushed: 0.0,
            is_braked: false,
            episode: None,
            refused_in_row: 0,
            stops: 0,
            fence: f64::NEG_INFINITY,
            paced: f64::NEG_INFINITY,
            held: f64::NEG_INFINITY,
            latency: None,
            stalled: None,
            braked: f64::NEG_INFINITY,
            cost: 1e6,
            acknowledged: VecDeque::new(),
            breaker: Breaker::new(PROBES),
        }
    }

    /// The rate in bytes per second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// The most that a request should have, in bytes. Where refusals keep the pace below the share, large
    /// requests would be too few to learn from. Latency is no reason: what is slow for each request only
    /// becomes slower with smaller ones.
    pub(super) fn request_bytes(&self) -> f64 {
        if self.is_untouched || self.is_braked {
            return f64::INFINITY;
        }
        (self.pace() * self.least_cost / REQUESTS).max(LEAST_REQUEST)
    }

    /// The rate as a part of the share, for the sizes and costs of requests.
    fn pace(&self) -> f64 {
        (self.rate / self.share).max(LEAST_PACE)
    }

    /// What a request costs: never more of them than the request limit allows, whatever their size.
    fn cost_of(&self, bytes: f64) -> f64 {
        bytes.max(self.pace().min(1.0) * self.least_cost)
    }

    /// Whether the service is left alone but for probes.
    pub(super) fn is_probing(&self) -> bool {
        self.breaker.is_open()
    }

    /// What makes the rate what it is.
    pub(super) fn limit(&self) -> Limit {
        if self.breaker.is_open() {
            Limit::Outage
        } else if self.is_braked {
            Limit::Latency
        } else if self.is_untouched || self.rate > AT_CEILING * self.share {
            Limit::NamespaceRate
        } else {
            Limit::Throttling
        }
    }

    /// Whether requests take longer than they would without a queue.
    pub(super) fn is_slow(&self) -> bool {
        self.latency
            .is_some_and(|latency| latency.smooth > 0.75 * latency.threshold())
    }

    /// The earliest time at which a request may go.
    pub(super) fn ready_at(&self) -> f64 {
        self.next.max(self.breaker.probe_at())
    }

    /// The most requests in flight.
    pub(super) fn places(&self) -> usize {
        if self.breaker.is_open() {
            // Probes go one at a time, and what hangs must not hold them up.
            return usize::MAX;
        }
        let Some(latency) = self.latency else {
            return 8;
        };
        let places = (self.rate * latency.threshold() / self.cost + 2.0).ceil();
        places.clamp(2.0, IN_FLIGHT) as usize
    }

    /// A request waits for the rate.
    pub(super) fn waits_for_rate(&mut self, now: f64) {
        self.paced = now;
    }

    /// A request waits for something else: a place in flight, the uplink, a limit that was set.
    pub(super) fn waits_for_place(&mut self, now: f64) {
        self.held = now;
    }

    /// A request of that size goes now.
    pub(super) fn sent(&mut self, now: f64, bytes: f64, random: &mut impl Rng) {
        let cost = self.cost_of(bytes);
        self.next = self.next.max(now - CREDIT) + cost / self.rate;
        self.cost += 0.05 * (cost - self.cost);
        self.breaker.sent(now, random);
    }

    /// What became of a request that was sent at `sent`.
    pub(super) fn answered(
        &mut self,
        now: f64,
        sent: f64,
        bytes: f64,
        outcome: Outcome,
        random: &mut impl Rng,
    ) {
        if outcome == Outcome::Failed {
            let latency = self.latency.map_or(0.1, |latency| latency.smooth);
            self.breaker.failed(now, sent, latency, random);
            return;
        }
        if let (Some(latency), None) = (self.latency, self.stalled)
            && self.breaker.ends_silence(now, sent, latency.smooth)
        {
            self.stalled = Some(now);
        }
        if self.breaker.answered(now, sent) {
            self.resume(now);
        }
        match outcome {
            Outcome::Acknowledged => self.acknowledged(now, sent, bytes),
            Outcome::Throttled => self.throttled(now, sent, random),
            Outcome::Failed | Outcome::Answered => {}
        }
    }

    fn acknowledged(&mut self, now: f64, sent: f64, bytes: f64) {
        if let Some(episode) = &mut self.episode
            && episode.holds(sent)
        {
            episode.ok += 1.0;
        }
        if sent > self.fence {
            self.refused_in_row = 0;
        }
        self.step_scale = (self.step_scale * (STEERING * REFUSED).exp()).min(SCALE.1);
        self.acknowledged.push_back((now, self.cost_of(bytes)));
        self.forget(now);
        if self.stalled.is_some_and(|stalled| sent < stalled) {
            return;
        }
        self.stalled = None;
        self.latency = Some(match self.latency {
            None => Latency {
                smooth: now - sent,
                base: now - sent,
            },
            Some(Latency { smooth, base }) => {
                let smooth = smooth + 0.1 * (now - sent - smooth);
                Latency {
                    smooth,
                    base: base.min(smooth),
                }
            }
        });
    }

    fn throttled(&mut self, now: f64, sent: f64, random: &mut impl Rng) {
        self.step_scale = (self.step_scale * (-STEERING).exp()).max(SCALE.0);
        match &mut self.episode {
            None if sent > self.fence => {
                // Cut a little at once, then measure how much too fast this is.
                self.cut(now, self.cut_depth());
                self.refused_in_row = 0;
            }
            Some(episode) if sent >= episode.from => {
                episode.refused += f64::from(u8::from(episode.holds(sent)));
                self.refused_in_row += 1;
                if self.refused_in_row >= DEBT {
                    self.stop(now, random);
                }
            }
            _ => {}
        }
    }

    /// Looks at the measurements and lets the rate grow. To be called ten times a second while
    /// anything waits, and whenever something happens.
    pub(super) fn tick(&mut self, now: f64) {
        let elapsed = now - self.looked;
        if elapsed < TICK {
            return;
        }
        self.looked = now;
        if self.breaker.is_open() {
            return;
        }
        self.close_episode(now);
        let Some(latency) = self.latency else { return };
        self.grow(now, elapsed.min(LONGEST_TICK), latency);
        self.brake(now, latency);
    }

    /// Everything is refused although the rate was cut: a debt. Stop, then go on a little slower.
    fn stop(&mut self, now: f64, random: &mut impl Rng) {
        let factor = if self.stops == 0 { 0.95 } else { 0.8 };
        self.set_rate(self.rate * factor);
        let pause = 2_f64.powi(self.stops.min(3));
        self.stops += 1;
        self.next = self.next.max(now + random.random_range(0.5..1.0) * pause);
        self.refused_in_row = 0;
        self.measure(self.next);
        self.pushed = now;
    }

    /// Goes slower by that part, and measures what that does.
    fn cut(&mut self, now: f64, part: f64) {
        self.set_rate(self.rate * (1.0 - part));
        self.is_untouched = false;
        self.doubling_to = None;
        self.next = self.next.max(now) + self.cost / self.rate;
        self.measure(now);
        self.pushed = now;
        self.is_braked = false;
    }

    fn measure(&mut self, from: f64) {
        let (least, requests) = MEASURE;
        let window = (requests * self.cost / self.rate).max(least).min(4.0);
        self.episode = Some(Episode {
            from,
            until: from + window,
            ok: 0.0,
            refused: 0.0,
        });
    }

    fn close_episode(&mut self, now: f64) {
        // The last requests of the window need time to be answered.
        let patience = 1.2 * self.latency.map_or(0.2, |latency| latency.smooth);
        let Some(episode) = &self.episode else { return };
        if now < episode.until + patience {
            return;
        }
        if episode.refused > 0.0 {
            let fraction = episode.refused / (episode.ok + episode.refused + 1.0);
            self.cut(now, fraction.min(0.5).max(0.5 * self.cut_depth()));
        } else {
            self.episode = None;
            self.stops = 0;
            self.fence = now - 0.3;
        }
    }

    fn grow(&mut self, now: f64, elapsed: f64, latency: Latency) {
        let is_used = self.paced > now - 0.3;
        let is_held = self.held > now - 0.15;
        let is_slow = latency.smooth > 0.75 * latency.threshold();
        if self.episode.is_some() || !is_used || is_held || is_slow {
            return;
        }
        if let Some(end) = self.doubling_to {
            self.set_rate(self.rate * (elapsed / DOUBLING).exp2());
            if self.rate >= end {
                self.set_rate(end);
                self.doubling_to = None;
            }
        } else if self.is_untouched {
            self.set_rate(self.rate * (1.0 + EXPLORING * elapsed));
        } else {
            self.set_rate(self.rate + self.step(now) * elapsed);
        }
    }

    /// Growth per second.
    fn step(&self, now: f64) -> f64 {
        let step = STEP * self.share;
        // Those above their share grow slower than those below: so the shares become equal.
        let pull = (self.share / self.rate).powi(2).clamp(0.3, 3.0);
        let usual = self.step_scale * (step * pull).min(STEP_OF_RATE * self.rate);
        // After a calm, capacity may have become free. Time says so, and it is the same for all.
        let calm = 5.0 + 3.0 * self.replicas;
        let late = (now - self.pushed - calm) / calm;
        if late <= 0.0 {
            return usual;
        }
        let step = step.min(0.05 * self.rate);
        (usual.max(0.25 * step) + 12.0 * step * late.powi(2)).min(0.3 * self.rate)
    }

    fn brake(&mut self, now: f64, latency: Latency) {
        if latency.smooth <= latency.threshold()
            || now - self.braked <= (1.5 * latency.smooth).max(0.6)
        {
            return;
        }
        if self.places() <= 3 && now - self.braked < 5.0 + 2.0 * latency.smooth {
            // There is next to nothing in flight and it is slow all the same: it is not our queue.
            self.latency = Some(Latency {
                base: latency.smooth / 1.5,
                ..latency
            });
        } else {
            let goodput = self.goodput(now);
            let from = if goodput > 0.0 {
                self.rate.min(1.15 * goodput)
            } else {
                self.rate
            };
            self.set_rate(0.97 * from);
        }
        self.is_untouched = false;
        self.doubling_to = None;
        self.braked = now;
        self.pushed = now;
        self.is_braked = true;
    }

    /// The service answers again: begin slowly, and double back to where it was.
    fn resume(&mut self, now: f64) {
        self.doubling_to = Some(DOUBLING_ENDS * self.rate);
        self.set_rate(0.25 * self.rate);
        self.next = now;
        self.fence = now;
        self.episode = None;
    }

    /// The part that the first refusal of an episode cuts off: more where many share, and more for
    /// those above their share.
    fn cut_depth(&self) -> f64 {
        let (each, together, most) = CUT;
        let above = (self.rate / self.share).clamp(0.7, 2.5);
        ((each * self.replicas).min(together) * above).min(most)
    }

    /// What is acknowledged per second.
    fn goodput(&mut self, now: f64) -> f64 {
        self.forget(now);
        self.acknowledged.iter().map(|(_, cost)| cost).sum::<f64>() / self.goodput_window()
    }

    /// The seconds over which the goodput is taken: enough to hold some requests on a thin link.
    fn goodput_window(&self) -> f64 {
        (8.0 * self.cost / self.rate).clamp(1.0, 30.0)
    }

    fn forget(&mut self, now: f64) {
        let from = now - self.goodput_window();
        while self.acknowledged.front().is_some_and(|(at, _)| *at < from) {
            self.acknowledged.pop_front();
        }
    }

    fn set_rate(&mut self, rate: f64) {
        let least = LEAST_RATE.max(self.cost / self.replicas);
        self.rate = rate.max(least).min(self.most);
    }
}

// === impl Episode ===

impl Episode {
    fn holds(&self, sent: f64) -> bool {
        (self.from..self.until).contains(&sent)
    }
}

// === impl Latency ===

impl Latency {
    /// The latency from which on there is a queue.
    fn threshold(self) -> f64 {
        (LATENCY_FACTOR * self.base).max(CALM_LATENCY)
    }
}
