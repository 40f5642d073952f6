//! How fast the way to the service is, and what follows from it: bytes in flight and patience.
//!
//! A thin uplink is not an outage. Without this a request times out for no other reason than that many
//! share the link, is sent again, and makes it worse. So no more bytes are let into the link than it
//! moves within a part of an attempt's time, and an attempt's time grows with what stands before it.
//! On a link that is not thin neither is ever felt: the window opens with the first answer, and to
//! find the rate that the *service* allows is the pacer's part.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes may stand in the link for this part of an attempt's time, so that none times out when the
/// speed is half of what it was thought to be.
const PART_OF_ATTEMPT: f64 = 6.0;
/// The requests that may be in flight before the speed is known, and at the least afterwards.
const FIRST: f64 = 2.0;
/// An attempt may take this many times as long as the link needs for all that is in flight.
const PATIENCE: f64 = 4.0;
/// How often the patience doubles while attempts time out.
const DOUBLINGS: u32 = 2;

/// The link of a process, shared by all lanes.
#[derive(Debug)]
pub(crate) struct Link {
    attempt: Duration,
    largest: f64,
    in_flight: f64,
    /// Bytes that went through so far.
    delivered: f64,
    /// Bytes per second.
    speed: Option<f64>,
    timeouts: u32,
}

/// A request in the link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage {
    bytes: f64,
    sent: Instant,
    delivered_before: f64,
}

/// What became of a request, as far as the link is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    /// There was an answer: its bytes went through.
    Through,
    /// Its time was up.
    TimedOut,
    /// It says nothing.
    Unknown,
}

// === impl Link ===

impl Link {
    /// A link of unknown speed. An attempt is to take `attempt` where the link is no bottleneck.
    pub(crate) fn new(attempt: Duration, largest: usize) -> Self {
        Self {
            attempt,
            largest: largest as f64,
            in_flight: 0.0,
            delivered: 0.0,
            speed: None,
            timeouts: 0,
        }
    }

    /// Whether there is room for a request. There always is for one alone.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let least = if self.timeouts == 0 { FIRST } else { 1.0 };
        let reach = self.attempt.as_secs_f64() / PART_OF_ATTEMPT;
        let window = self
            .speed
            .map_or(0.0, |speed| speed * reach)
            .max(least * self.largest);
        self.in_flight == 0.0 || self.in_flight + bytes as f64 <= window
    }

    /// A request enters the link.
    pub(crate) fn enter(&mut self, now: Instant, bytes: usize) -> Passage {
        self.in_flight += bytes as f64;
        Passage {
            bytes: bytes as f64,
            sent: now,
            delivered_before: self.delivered,
        }
    }

    /// A request has left the link.
    pub(crate) fn leave(&mut self, now: Instant, passage: &Passage, passed: Passed) {
        self.in_flight -= passage.bytes;
        match passed {
            Passed::Through => {
                self.timeouts = 0;
                self.delivered += passage.bytes;
                self.measure(now, passage);
            }
            Passed::TimedOut => self.timeouts = (self.timeouts + 1).min(DOUBLINGS),
            Passed::Unknown => {}
        }
    }

    /// How long an attempt may take that is in the link now.
    pub(crate) fn patience(&self) -> Duration {
        let needed = self
            .speed
            .map_or(0.0, |speed| PATIENCE * self.in_flight / speed);
        // Whatever is measured: beyond this the stall limit decides.
        let most = 60.0 * self.attempt.as_secs_f64();
        let patience = self.attempt.as_secs_f64().max(needed.min(most));
        Duration::from_secs_f64(patience * 2_f64.powi(self.timeouts.cast_signed()))
    }

    /// All that went through from a request's beginning to its end, by the time that this took: right
    /// whether it was alone or one of many.
    fn measure(&mut self, now: Instant, passage: &Passage) {
        let took = now
            .saturating_duration_since(passage.sent)
            .as_secs_f64()
            .max(1e-6);
        let sample = (self.delivered - passage.delivered_before) / took;
        self.speed = Some(match self.speed {
            Some(speed) if sample < speed => speed + 0.1 * (sample - speed),
            _ => sample,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends requests of 2 MB for a time over a link that moves so many bytes per second; returns the
    /// bytes that were delivered, and whether any attempt took longer than its patience.
    fn send_over(speed: f64, latency: f64, seconds: f64) -> (f64, bool) {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let mut link = Link::new(Duration::from_secs(60), 2_000_000);
        let mut in_flight = std::collections::VecDeque::new();
        let (mut now, mut free, mut late) = (0.0_f64, 0.0_f64, false);
        while now < seconds {
            while link.has_room(2_000_000) {
                free = free.max(now) + 2e6 / speed;
                let passage = link.enter(at(now), 2_000_000);
                late |= free + latency - now > link.patience().as_secs_f64();
                in_flight.push_back((free + latency, passage));
            }
            let (done, passage) = in_flight.pop_front().expect("one at least");
            now = done;
            link.leave(at(now), &passage, Passed::Through);
        }
        (link.delivered, late)
    }

    /// Scenario: links from 0.1 to 100 MB/s with 100 ms of latency, with always something to send.
    /// Guarantees: each is used to 95 %, and no attempt has to time out.
    #[test]
    fn every_link_is_filled_and_nothing_times_out() {
        for speed in [0.1e6, 1.25e6, 12.5e6, 100e6] {
            let (delivered, late) = send_over(speed, 0.1, 400.0);
            assert!(delivered >= 0.95 * 400.0 * speed, "{speed}: {delivered}");
            assert!(!late, "{speed}");
        }
    }

    /// Scenario: a link so thin that the first attempts time out, one request at a time.
    /// Guarantees: patience grows until one passes, within bounds, and is normal again afterwards.
    #[test]
    fn patience_grows_while_attempts_time_out() {
        let now = Instant::now();
        let mut link = Link::new(Duration::from_secs(60), 2_000_000);
        for expected in [60, 120, 240, 240] {
            assert!(link.has_room(2_000_000));
            let passage = link.enter(now, 2_000_000);
            assert_eq!(link.patience(), Duration::from_secs(expected));
            assert_eq!(link.has_room(2_000_000), expected == 60);
            link.leave(now + link.patience(), &passage, Passed::TimedOut);
        }
        let passage = link.enter(now, 2_000_000);
        link.leave(now + Duration::from_secs(200), &passage, Passed::Through);
        let passage = link.enter(now, 2_000_000);
        assert_eq!(
            link.patience(),
            Duration::from_secs(800),
            "four times what it takes"
        );
        link.leave(now, &passage, Passed::Unknown);
        assert_eq!(link.patience(), Duration::from_secs(60));
    }
}
