use super::*;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// A row of a stream, as it passes any bar.
fn row(seed: u64, namespace: &str, id: &str, row: u64) -> Sampled {
    Sampled {
        rank: xxh3_64_with_seed(id.as_bytes(), namespace_seed(seed, namespace)),
        id: id.to_owned(),
        kept: Kept {
            place: Place {
                input: 0,
                part: 0,
                row,
            },
            locator: Locator::Offset(100 * row),
            bytes: 80,
            hash: u128::from(row),
        },
    }
}

/// Something to keep, for tests of whatever carries it.
pub(crate) fn sampled(number: u64) -> Vec<Sampled> {
    let id = format!("r{}", number / 2);
    vec![row(7, "films", &id, number)]
}

/// All rows: namespaces and ids, of which some occur more than once.
fn rows(seed: u64, count: u64, ids: u64) -> Vec<(&'static str, Sampled)> {
    let mut random = StdRng::seed_from_u64(seed);
    let rows = (0..count).map(|number| {
        let namespace = ["", "a"][random.random_range(0..2)];
        let id = format!("r{}", random.random_range(0..ids));
        (namespace, row(seed, namespace, &id, number))
    });
    rows.collect()
}

/// What is kept by definition: of each key the last row, and of these the first ones by rank.
fn by_definition(seed: u64, rows: &[(&'static str, Sampled)]) -> KeySample {
    let mut last: BTreeMap<Key, Kept> = BTreeMap::new();
    for (namespace, sampled) in rows {
        let key = Key {
            rank: sampled.rank,
            namespace: (*namespace).to_owned(),
            id: sampled.id.clone(),
        };
        let kept = last.entry(key).or_insert(sampled.kept);
        if sampled.kept.place > kept.place {
            *kept = sampled.kept;
        }
    }
    KeySample {
        seed,
        kept: last.into_iter().take(KEPT).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Scenario: any rows, some ids more than once, in any order and pieces, some of them taken twice; the bar is looked at before each piece or now and then, and the sample is written and read on the way.
    /// Guarantees: what is kept is by definition: of each id the last row, of the ids those of the smallest ranks, and never more than there may be.
    #[test]
    fn the_sample_depends_on_the_rows_alone(
        seed: u64,
        count in 1_u64..6000,
        ids in 1_u64..5000,
        piece in 1_usize..700,
        patience in 1_usize..5,
    ) {
        let all = rows(seed, count, ids);
        let mut random = StdRng::seed_from_u64(!seed);
        let mut shuffled = all.clone();
        shuffled.shuffle(&mut random);
        shuffled.extend_from_within(..(count / 3) as usize);
        let mut sample = KeySample::new(seed);
        let mut bar = sample.bar();
        for (number, piece) in shuffled.chunks(piece).enumerate() {
            if number % patience == 0 {
                bar = sample.bar();
            }
            for (namespace, sampled) in piece {
                if sampled.rank <= bar {
                    sample.take(namespace, std::slice::from_ref(sampled));
                }
            }
            prop_assert!(sample.len() <= KEPT);
            let bytes = postcard::to_stdvec(&sample).expect("bytes");
            sample = postcard::from_bytes(&bytes).expect("a sample");
        }
        prop_assert_eq!(sample, by_definition(seed, &all));
    }
}

/// Scenario: 5,000 ids in order, sampled under fifty seeds.
/// Guarantees: early and late rows are kept equally often, every id is kept sometimes, and what passes the bar is a few times what is kept.
#[test]
fn every_id_has_its_chance() {
    let (mut times, mut passed) = (vec![0_u32; 5000], 0);
    for seed in 0..50 {
        let mut sample = KeySample::new(seed);
        for number in 0..5000 {
            let sampled = row(seed, "a", &format!("r{number}"), number);
            if sampled.rank <= sample.bar() {
                passed += 1;
                sample.take("a", &[sampled]);
            }
        }
        assert_eq!(sample.len(), KEPT);
        for (_, _, kept) in sample.first(usize::MAX) {
            times[kept.place.row as usize] += 1;
        }
    }
    // Binomial: the half of 50,000, with a deviation of 100.
    let early: u32 = times[..2500].iter().sum();
    assert!(early.abs_diff(25_000) < 500, "{early}");
    assert!(times.iter().all(|times| (1..30).contains(times)));
    // 1000 (1 + ln 5) each.
    assert!((125_000..136_000).contains(&passed), "{passed}");
}

/// Scenario: the largest ids and namespaces, as many as are kept.
/// Guarantees: what is kept takes no more than is stated.
#[test]
fn the_sample_has_a_bound() {
    let mut sample = KeySample::new(1);
    for number in 0..2 * KEPT as u64 {
        let id = format!("{number:0>512}");
        let namespace = "n".repeat(512);
        sample.take(&namespace, &[row(1, &namespace, &id, number)]);
    }
    let bytes = postcard::to_stdvec(&sample).expect("bytes").len();
    assert!(bytes < 1_100_000, "{bytes}");
}
