//! Bytes changed by chance, as damage and malice change them.

use std::ops::Range;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rand::{Rng, RngExt as _};

/// What a file that chance has changed may take: beyond it, its reader hangs.
const HANG: Duration = Duration::from_secs(5);
/// What the process may have taken after all of them.
const MEMORY: u64 = 1 << 30;

/// What stands at the edges of numbers, in text, in Thrift and in lengths.
const EDGES: [&[u8]; 12] = [
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"1e999",
    b"\"",
    b"[[[[",
    b"{\"id\":",
    b"\xef\xbb\xbf",
];

/// Changes some of the bytes, one to four times: a bit, a byte, a piece written over, put in, taken out,
/// doubled, or the end cut off.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    for _ in 0..random.random_range(1..=4) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        let end = at + random.random_range(0..=(bytes.len() - at).min(64));
        let edge = EDGES[random.random_range(0..EDGES.len())];
        match random.random_range(0..8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => {
                let end = bytes.len().min(at + edge.len());
                bytes.splice(at..end, edge.iter().copied());
            }
            3 => drop(bytes.splice(at..at, edge.iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => random.fill(&mut bytes[at..end]),
            _ => bytes.truncate(at),
        }
    }
}

/// Changes bytes in place, at least one, and no others than those in `range`, which is not empty.
pub fn overwrite(bytes: &mut [u8], range: Range<usize>, random: &mut impl Rng) {
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(range.clone());
        bytes[at] ^= random.random_range(1..=u8::MAX);
    }
}

/// Runs `body` with each seed, which is to read what chance has made of sound bytes with it.
///
/// # Panics
///
/// A seed panics, or takes more than five seconds, or the process has taken more than 1 GiB (where it can be told).
/// The seed is named.
pub fn for_each_seed(seeds: Range<u64>, body: impl Fn(u64) + Send + 'static) {
    watch(seeds, HANG, body);
}

fn watch(seeds: Range<u64>, limit: Duration, body: impl Fn(u64) + Send + 'static) {
    let (begun, begins) = channel();
    let worker = std::thread::spawn(move || {
        for seed in seeds {
            // Who listens no longer has given up on an earlier seed.
            if begun.send(seed).is_err() {
                return;
            }
            body(seed);
        }
    });
    let mut last = None;
    let end = loop {
        match begins.recv_timeout(limit) {
            Ok(seed) => last = Some(seed),
            Err(end) => break end,
        }
    };
    // It cannot be stopped, and is left behind.
    assert!(
        end != RecvTimeoutError::Timeout,
        "seed {last:?} takes longer than {limit:?}"
    );
    assert!(worker.join().is_ok(), "seed {last:?}");
    let peak = peak_bytes().unwrap_or(0);
    assert!(peak < MEMORY, "the process has taken {peak} bytes");
}

/// The most memory that this process had, as Linux tells it.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rand::SeedableRng as _;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    /// Scenario: 2,000 seeds, of bytes of every length from none on.
    /// Guarantees: nothing panics; a seed gives the same bytes again; most are not the ones there were.
    #[test]
    fn a_seed_is_a_mutation() {
        let mut changed = 0;
        for seed in 0..2000_u64 {
            let sound: Vec<u8> = (0..seed % 100).map(|byte| byte as u8).collect();
            let mutated = || {
                let mut bytes = sound.clone();
                mutate(&mut bytes, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
                bytes
            };
            assert_eq!(mutated(), mutated(), "seed {seed}");
            changed += u32::from(mutated() != sound);
        }
        assert!(changed > 1800, "{changed}");
    }

    /// Scenario: bodies that end, that panic at the seed 3, that hang at it, and that take a gigabyte.
    /// Guarantees: the first one is run with every seed in order; the others fail, with the seed.
    #[test]
    fn seeds_are_watched() {
        let (run, ran) = channel();
        for_each_seed(0..5, move |seed| run.send(seed).unwrap());
        assert!(ran.iter().eq(0..5));
        let (_open, never) = channel::<()>();
        let fails = |limit, body: Box<dyn Fn(u64) + Send>| {
            let failed = catch_unwind(AssertUnwindSafe(|| watch(0..5, limit, body)));
            failed.unwrap_err().downcast::<String>().unwrap()
        };
        let words = fails(HANG, Box::new(|seed| assert!(seed < 3)));
        assert!(words.contains("seed Some(3)"), "{words}");
        let words = fails(
            HANG / 25,
            Box::new(move |seed| {
                if seed == 3 {
                    let _ = never.recv();
                }
            }),
        );
        assert!(words.contains("seed Some(3) takes longer"), "{words}");
        let words = fails(
            HANG,
            Box::new(|_| {
                std::hint::black_box(vec![1_u8; 1 << 30]);
            }),
        );
        assert!(words.contains("has taken"), "{words}");
    }
}
