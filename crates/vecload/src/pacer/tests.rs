use super::*;
use proptest::prelude::*;
use rand::SeedableRng as _;

fn pacer(pacing: Pacing, bytes: Option<f64>, requests: Option<f64>, replicas: u32) -> Pacer {
    let rates = Rates {
        pacing,
        bytes: Some(ByteRate(bytes)),
        requests: Some(RequestRate(requests)),
        replicas,
    };
    Pacer::new(&rates, Instant::now(), StdRng::seed_from_u64(1))
}

/// Sends as fast as the pacer lets, and returns how many bytes and requests went in `seconds`.
fn send_for(mut pacer: Pacer, seconds: f64, bytes: usize) -> (usize, usize) {
    let start = pacer.origin;
    let (mut now, mut sent, mut requests) = (start, 0, 0);
    loop {
        match pacer.turn(now) {
            Turn::Now => {
                pacer.charge(now, bytes);
                pacer.answered(now, now, bytes, Some(Outcome::Acknowledged));
                sent += bytes;
                requests += 1;
            }
            Turn::At(at) => now = at,
            Turn::Full => unreachable!("each is answered at once"),
        }
        if (now - start).as_secs_f64() >= seconds {
            return (sent, requests);
        }
    }
}

/// Scenario: large requests, small requests, no limit on one side, and four replicas; at fixed pacing.
/// Guarantees: whichever limit is the tighter one holds, is used up, and is divided.
#[test]
fn fixed_pacing_uses_its_ceilings() {
    let fixed = |bytes, requests, replicas| pacer(Pacing::Fixed, bytes, requests, replicas);
    let (bytes, _) = send_for(fixed(Some(50e6), Some(100.0), 1), 10.0, 2_000_000);
    assert!((498_000_000..=502_000_000).contains(&bytes), "{bytes}");
    let (_, requests) = send_for(fixed(Some(50e6), Some(100.0), 1), 10.0, 1_000);
    assert!((998..=1_001).contains(&requests), "{requests}");
    let (_, requests) = send_for(fixed(None, Some(100.0), 1), 1.0, 2_000_000);
    assert!((99..=101).contains(&requests), "{requests}");
    let (bytes, _) = send_for(fixed(Some(50e6), None, 4), 1.0, 1_000);
    // With the credit of an idle pacer.
    assert!((12_490_000..=12_630_000).contains(&bytes), "{bytes}");
}

/// Scenario: nothing is set.
/// Guarantees: fixed pacing takes the documented ceilings as its limit, adaptive pacing does not.
#[test]
fn documented_ceilings_are_limits_of_fixed_pacing_only() {
    let unset = |pacing| Rates {
        pacing,
        ..Rates::ADAPTIVE
    };
    let new = |pacing| Pacer::new(&unset(pacing), Instant::now(), StdRng::seed_from_u64(1));
    let (bytes, _) = send_for(new(Pacing::Fixed), 60.0, 1_000_000);
    assert!((2_998_000_000..=3_001_000_000).contains(&bytes), "{bytes}");
    let (bytes, _) = send_for(new(Pacing::Adaptive), 60.0, 1_000_000);
    assert!(bytes > 6_000_000_000, "{bytes}");
}

/// Scenario: each request waits a millisecond for its place, as it does on any real machine; or twenty.
/// Guarantees: the law grows in the first case, and in the second it takes nothing for room.
#[test]
fn only_a_wait_that_the_credit_does_not_cover_holds_the_law() {
    let rate_after = |wait: Duration| {
        let mut pacer = Pacer::new(&Rates::ADAPTIVE, Instant::now(), StdRng::seed_from_u64(1));
        let mut now = pacer.origin;
        while now < pacer.origin + Duration::from_secs(10) {
            match pacer.turn(now) {
                Turn::Now => {
                    pacer.held_up(now, now + wait);
                    now += wait;
                    pacer.charge(now, 1_000_000);
                    pacer.answered(now, now, 1_000_000, Some(Outcome::Acknowledged));
                }
                Turn::At(at) => now = at.min(now + LOOK),
                Turn::Full => unreachable!("each is answered at once"),
            }
        }
        pacer.rate().expect("adaptive")
    };
    assert!(rate_after(Duration::from_millis(1)) > 100e6);
    assert_eq!(rate_after(Duration::from_millis(20)), 25e6);
}

/// Scenario: the server asks for a pause of two seconds, then of one.
/// Guarantees: nothing goes before the longer pause is over.
#[test]
fn a_pause_is_kept() {
    let mut pacer = pacer(Pacing::Adaptive, Some(1e6), None, 1);
    let now = pacer.origin;
    pacer.pause_until(now + Duration::from_secs(2));
    pacer.pause_until(now + Duration::from_secs(1));
    assert!(matches!(pacer.turn(now), Turn::At(at) if at >= now + Duration::from_secs(2)));
}

/// Scenario: every attempt fails for half a minute, the last ones sent while nothing was answered any
/// more; then one is answered.
/// Guarantees: few probes go meanwhile, and afterwards it begins below the old rate.
#[test]
fn an_outage_costs_a_few_probes() {
    let mut pacer = Pacer::new(&Rates::ADAPTIVE, Instant::now(), StdRng::seed_from_u64(1));
    let start = pacer.origin;
    let rate = pacer.rate().expect("adaptive");
    let (mut now, mut sent) = (start, 0);
    let outage = Duration::from_secs(30);
    while now < start + outage {
        match pacer.turn(now) {
            Turn::Now => {
                pacer.charge(now, 1_000_000);
                pacer.answered(now + LOOK, now, 1_000_000, Some(Outcome::Failed));
                sent += 1;
            }
            Turn::At(at) => now = at.min(now + LOOK),
            Turn::Full => unreachable!("each fails at once"),
        }
    }
    assert!(pacer.is_probing());
    // A second at the full rate until it opens, then one every few seconds.
    assert!((10..60).contains(&sent), "{sent} attempts");
    pacer.charge(now, 1_000_000);
    pacer.answered(now + LOOK, now, 1_000_000, Some(Outcome::Throttled));
    assert!(!pacer.is_probing());
    assert!(pacer.rate().expect("adaptive") < 0.3 * rate);
}

/// Scenario: refusals of requests that were sent before the last cut, and refusals after it.
/// Guarantees: the former change nothing, the latter cut once the window is measured.
#[test]
fn late_refusals_do_not_count_twice() {
    let mut pacer = Pacer::new(&Rates::ADAPTIVE, Instant::now(), StdRng::seed_from_u64(1));
    let start = pacer.origin;
    let at = |millis| start + Duration::from_millis(millis);
    for _ in 0..20 {
        pacer.charge(start, 1_000_000);
    }
    pacer.answered(at(100), start, 1_000_000, Some(Outcome::Throttled));
    let cut = pacer.rate();
    for _ in 0..18 {
        pacer.answered(at(110), start, 1_000_000, Some(Outcome::Throttled));
    }
    assert_eq!(pacer.rate(), cut);
    pacer.charge(at(150), 1_000_000);
    pacer.answered(at(200), at(150), 1_000_000, Some(Outcome::Throttled));
    assert_eq!(pacer.rate(), cut, "it is measured first");
    pacer.answered(at(2000), start, 1_000_000, Some(Outcome::Answered));
    assert!(pacer.rate() < cut);
}

proptest! {
    /// Scenario: requests of any sizes with idle times between them and any answers, at both pacings.
    /// Guarantees: in no span does more go than the rate, the credit and one request allow (INV-7).
    #[test]
    fn a_set_rate_is_never_exceeded(
        adaptive: bool,
        steps in prop::collection::vec((1_usize..2_000_000, 0_u64..200_000_000, 0_u8..8), 2..100),
    ) {
        let rate = 5e6;
        let pacing = if adaptive { Pacing::Adaptive } else { Pacing::Fixed };
        let mut pacer = pacer(pacing, Some(2.0 * rate), None, 2);
        let mut now = pacer.origin;
        let mut sent: Vec<(Instant, usize)> = Vec::new();
        for (bytes, idle, answer) in steps {
            now += Duration::from_nanos(idle);
            while let Turn::At(at) = pacer.turn(now) {
                now = at.min(now + LOOK).max(now + Duration::from_nanos(1));
            }
            pacer.charge(now, bytes);
            let outcome = match answer {
                0 => Outcome::Throttled,
                1 => Outcome::Failed,
                _ => Outcome::Acknowledged,
            };
            pacer.answered(now, now, bytes, Some(outcome));
            sent.push((now, bytes));
        }
        for from in 0..sent.len() {
            let mut total = 0.0;
            for (time, bytes) in &sent[from..] {
                let allowed = rate * ((*time - sent[from].0).as_secs_f64() + CREDIT) + 1.0;
                // The last request may start at any time within the span.
                prop_assert!(total <= allowed, "{total} bytes where {allowed} are allowed");
                total += *bytes as f64;
            }
        }
    }
}
