//! Bytes changed by chance, as damage and malice change them.

use rand::{Rng, RngExt as _};

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
pub fn overwrite(bytes: &mut [u8], range: std::ops::Range<usize>, random: &mut impl Rng) {
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(range.clone());
        bytes[at] ^= random.random_range(1..=u8::MAX);
    }
}

#[cfg(test)]
mod tests {
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
}
