//! The prescan's core against a plain map, and its file against damage.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use vecload_corpus::mutation::{for_each_seed, mutate};

use super::verdicts::Summary;
use super::*;
use crate::stop::{ExitCode, StopReason};

const SUBJECT: u128 = 0x1234_5678_9abc_def0;

/// A row: its namespace, its id, its place.
type Seen = (&'static str, u32, Place);

fn scratch_file() -> File {
    tempfile::tempfile().expect("a file")
}

/// Gives the rows to so many sorters in turn and judges them.
fn judged(rows: &[Seen], memory: usize, scanners: usize) -> (Arc<Verdicts>, Arc<Spill>) {
    let folder = tempfile::tempdir().expect("a folder");
    let spill = Spill::new(folder.path());
    let hasher = KeyHasher::default();
    let mut seen: Vec<Sightings> = (0..scanners)
        .map(|_| Sightings::new(&spill, hasher.clone(), memory, scanners))
        .collect();
    for (number, (namespace, id, place)) in rows.iter().enumerate() {
        seen[number % scanners]
            .see(namespace, &id.to_string(), *place)
            .expect("taken");
    }
    let verdicts = judge(
        &spill,
        seen,
        memory,
        &Stop::default(),
        SUBJECT,
        scratch_file(),
    )
    .expect("judged");
    let left = std::fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 0, "the scratch file has no name");
    (Arc::new(verdicts), spill)
}

/// Of each row that is not alone with its key, how many it supersedes.
fn model(rows: &[Seen]) -> HashMap<Place, u64> {
    let mut by_key: HashMap<(&str, u32), Vec<Place>> = HashMap::new();
    for (namespace, id, place) in rows {
        let namespace = if *namespace == "__default__" {
            ""
        } else {
            namespace
        };
        by_key.entry((namespace, *id)).or_default().push(*place);
    }
    let mut model = HashMap::new();
    for mut places in by_key.into_values().filter(|places| places.len() > 1) {
        places.sort();
        let earlier = places.len() as u64 - 1;
        model.extend(places.pop().map(|last| (last, earlier)));
        model.extend(places.into_iter().map(|place| (place, 0)));
    }
    model
}

fn assert_like_model(rows: &[Seen], verdicts: &Arc<Verdicts>) {
    let model = model(rows);
    let mut reader = VerdictReader::new(verdicts);
    for (_, _, place) in rows {
        let expected = model.get(place).copied();
        let superseded = reader
            .superseded(place.split, place.row..place.row + 1)
            .expect("readable");
        assert_eq!(superseded.len() == 1, expected == Some(0), "{place:?}");
        let supersedes = reader.supersedes(place.split, place.row);
        assert_eq!(
            supersedes.expect("readable"),
            expected.unwrap_or(0),
            "{place:?}"
        );
    }
    let superseded = model
        .values()
        .filter(|supersedes| **supersedes == 0)
        .count() as u64;
    let ids = model.len() as u64 - superseded;
    assert_eq!(verdicts.summary(), Summary { superseded, ids });
}

/// Rows of up to five splits with few ids, so that most are duplicates; in any order.
fn rows() -> impl Strategy<Value = Vec<Seen>> {
    let namespace = prop::sample::select(vec!["", "__default__", "a", "b"]);
    let row = (namespace, 0_u32..30, 0_u32..5);
    prop::collection::vec(row, 0..300)
        .prop_map(|rows| {
            let mut next = [0; 5];
            let place = |split: u32, next: &mut [u64; 5]| {
                let row = next[split as usize];
                next[split as usize] += 1;
                Place { split, row }
            };
            rows.into_iter()
                .map(|(namespace, id, split)| (namespace, id, place(split, &mut next)))
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

proptest! {
    /// Scenario: rows in any order, given to several scanners with memory for none, few or all of them.
    /// Guarantees: the verdicts are those of a plain map, whatever is spilled and merged in several passes;
    /// the default namespace is one under both its names, and no other namespace is.
    #[test]
    fn verdicts_equal_a_plain_map(rows in rows(), memory in prop::sample::select(vec![0, 300, 5000, 1 << 20]), scanners in 1_usize..4) {
        let (verdicts, spill) = judged(&rows, memory, scanners);
        assert_like_model(&rows, &verdicts);
        prop_assert!(spill.spilled() > 0 || memory > 300 || rows.len() < 30);
    }

    /// Scenario: a range of rows is asked for that begins and ends anywhere.
    /// Guarantees: exactly the superseded rows of that range are in the set.
    #[test]
    fn ranges_are_cut_anywhere(rows in rows(), split in 0_u32..5, first in 0_u64..80, len in 0_u64..80) {
        let (verdicts, _) = judged(&rows, 1 << 20, 1);
        let found = VerdictReader::new(&verdicts).superseded(split, first..first + len).expect("readable");
        let model = model(&rows);
        for row in 0..200 {
            let is_superseded = model.get(&Place { split, row }) == Some(&0);
            prop_assert_eq!(found.contains(row), is_superseded && (first..first + len).contains(&row));
        }
    }
}

/// Scenario: one id in each of 20,000 rows, far apart, in two splits, with memory for a few hundred.
/// Guarantees: all but the last row are superseded, over many blocks of the file; the last one knows how many;
/// memory stays within its bound.
#[test]
fn one_id_in_every_row() {
    let mut rows: Vec<Seen> = (0..20_000_u64)
        .map(|number| {
            let split = (number / 10_000) as u32;
            (
                "",
                7,
                Place {
                    split,
                    row: number * 1000,
                },
            )
        })
        .collect();
    rows.shuffle(&mut StdRng::seed_from_u64(3));
    let memory = 1 << 18;
    let (verdicts, spill) = judged(&rows, memory, 2);
    let mut reader = VerdictReader::new(&verdicts);
    let first = reader.superseded(0, 0..u64::MAX).expect("readable");
    let second = reader.superseded(1, 0..u64::MAX).expect("readable");
    assert_eq!((first.len(), second.len()), (10_000, 9_999));
    assert_eq!(reader.supersedes(1, 19_999_000).expect("readable"), 19_999);
    assert_eq!(
        reader.superseded(2, 0..u64::MAX).expect("readable").len(),
        0
    );
    // A chunk on its way to the disk comes on top for each scanner.
    assert!(spill.peak() <= memory + 3 * (64 << 10), "{}", spill.peak());
    assert!(spill.spilled() > 20_000 * 28);
}

/// Scenario: a million ids in random order, of which one in twenty was there before, with a sixteenth of
/// the memory that they take.
/// Guarantees: the verdicts are exact, and the prescan's own buffers stay within their bound.
/// (50 million: `VECLOAD_PRESCAN_IDS=50000000 cargo test --release -p vecload --lib a_million_ids -- --nocapture`)
#[test]
fn a_million_ids() {
    let ids: u64 = std::env::var("VECLOAD_PRESCAN_IDS")
        .map_or(1_000_000, |text| text.parse().expect("a number"));
    let memory = if ids > 1_000_000 { MEMORY } else { 2 << 20 };
    let folder = tempfile::tempdir().expect("a folder");
    let spill = Spill::new(folder.path());
    let mut random = StdRng::seed_from_u64(11);
    let mut seen = Sightings::new(&spill, KeyHasher::default(), memory, 1);
    // Row `n` has the id `n`, or every so often that of an earlier row that has its own.
    let mut is_first: Vec<bool> = Vec::new();
    let mut last_of: HashMap<u64, (u64, u64)> = HashMap::new();
    let mut superseded = Vec::new();
    let started = tokio::time::Instant::now();
    for row in 0..ids {
        let mut id = row;
        if row > 0 && random.random_bool(0.05) {
            id = random.random_range(0..row);
            while !is_first[id as usize] {
                id = random.random_range(0..row);
            }
        }
        is_first.push(id == row);
        if id != row {
            let (last, earlier) = last_of.get(&id).copied().unwrap_or((id, 0));
            superseded.push(last);
            last_of.insert(id, (row, earlier + 1));
        }
        let place = Place { split: 0, row };
        seen.see("", &format!("document-{id}"), place)
            .expect("taken");
    }
    let scanned = started.elapsed();
    let verdicts = judge(
        &spill,
        vec![seen],
        memory,
        &Stop::default(),
        SUBJECT,
        scratch_file(),
    )
    .expect("judged");
    let verdicts = Arc::new(verdicts);
    println!(
        "{ids} ids: seen in {scanned:?}, judged after {:?}, {} MB spilled, {} MB of memory at most, {} MB of verdicts",
        started.elapsed(),
        spill.spilled() / 1_000_000,
        spill.peak() / 1_000_000,
        verdicts.file().metadata().expect("a file").len() / 1_000_000,
    );
    assert!(spill.peak() <= memory + (64 << 10), "{}", spill.peak());
    let mut reader = VerdictReader::new(&verdicts);
    superseded.sort_unstable();
    assert_eq!(verdicts.summary().superseded, superseded.len() as u64);
    for row in &superseded {
        let found = reader.superseded(0, *row..row + 1).expect("readable");
        assert_eq!(found.len(), 1, "row {row}");
    }
    let mut winners: Vec<_> = last_of.into_values().collect();
    winners.sort_unstable();
    for (last, earlier) in winners {
        assert_eq!(
            reader.supersedes(0, last).expect("readable"),
            earlier,
            "row {last}"
        );
    }
}

/// A file of verdicts over two splits, as bytes.
fn written() -> Vec<u8> {
    let rows: Vec<Seen> = (0..40_u64)
        .map(|row| {
            (
                "",
                (row % 15) as u32,
                Place {
                    split: (row / 20) as u32,
                    row: row % 20,
                },
            )
        })
        .collect();
    let (verdicts, _) = judged(&rows, 1 << 20, 1);
    let mut file = verdicts.file().try_clone().expect("a file");
    let mut bytes = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut bytes).expect("readable");
    bytes
}

fn opened(bytes: &[u8], subject: u128) -> Result<Verdicts, NoVerdicts> {
    let mut file = scratch_file();
    file.write_all(bytes).expect("written");
    Verdicts::open(file, subject)
}

/// Scenario: a file of verdicts is cut at every byte, has every bit flipped, has more at its end, is changed
/// by chance a thousand times, and is asked for other inputs.
/// Guarantees: whole it is read again as it was; anything else is refused, and nothing panics.
#[test]
fn a_damaged_file_has_no_verdicts() {
    let bytes = written();
    let whole = opened(&bytes, SUBJECT).expect("whole");
    assert_eq!(whole.summary().superseded, 25);
    assert!(matches!(
        opened(&bytes, SUBJECT + 1),
        Err(NoVerdicts::OtherSubject)
    ));
    for end in 0..bytes.len() {
        assert!(
            matches!(opened(&bytes[..end], SUBJECT), Err(NoVerdicts::Damaged)),
            "cut at {end}"
        );
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(opened(&flipped, SUBJECT), Err(NoVerdicts::Damaged)),
            "bit {bit}"
        );
    }
    let more = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(opened(&more, SUBJECT), Err(NoVerdicts::Damaged)));
    for_each_seed(0..1000, move |seed| {
        let mut changed = bytes.clone();
        mutate(&mut changed, &mut StdRng::seed_from_u64(seed));
        let is_damaged = matches!(opened(&changed, SUBJECT), Err(NoVerdicts::Damaged));
        assert_eq!(is_damaged, changed != bytes, "seed {seed}");
    });
}

/// Scenario: a file is damaged after it was opened.
/// Guarantees: the rows of the damaged block are an error, not a guess.
#[test]
fn damage_that_comes_later_is_an_error() {
    let mut file = scratch_file();
    file.write_all(&written()).expect("written");
    let other = file.try_clone().expect("a file");
    let verdicts = Arc::new(Verdicts::open(file, SUBJECT).expect("whole"));
    other.write_all_at(&[0xff], 14).expect("written");
    let mut reader = VerdictReader::new(&verdicts);
    assert!(reader.superseded(0, 0..20).is_err());
    assert!(reader.superseded(1, 0..20).is_ok());
}

/// Scenario: more is to be spilled than any disk holds; the scratch directory is a file.
/// Guarantees: the errors name the directory, the first one also what is missing and what to do.
#[test]
fn no_room_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let spill = Spill::new(folder.path());
    let error = spill.expect_room(u64::MAX - 1).expect_err("no room");
    let words = error.to_string();
    assert!(
        words.contains(&folder.path().display().to_string()),
        "{words}"
    );
    assert!(words.contains("--scratch-dir"), "{words}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let error = Spill::new(&file).expect_room(1).expect_err("a file");
    assert!(error.to_string().contains("file"), "{error}");
}

/// Scenario: a prescan of a file is stopped before its first row, and one is not.
/// Guarantees: the first one ends as stopped and leaves no verdicts; the second one tells of all that it reads.
#[tokio::test]
async fn a_prescan_can_be_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("a.jsonl");
    std::fs::write(&input, "{\"id\":1}\n{\"id\":2}\n{\"id\":1}\n").expect("written");
    let settings = crate::settings::Settings::default();
    let inputs = [input.display().to_string()];
    let plan = Arc::new(crate::inputs::plan(&inputs, &settings).expect("a plan"));
    let (read_in, read) = std::sync::mpsc::channel();
    let scan = |stop: Stop| {
        let read_in = read_in.clone();
        crate::pipeline::prescan(crate::pipeline::Prescan {
            plan: Arc::clone(&plan),
            default_namespace: "".into(),
            workers: 2,
            stop: Arc::new(stop),
            time_limit: None,
            spill: Spill::new(folder.path()),
            subject: SUBJECT,
            file: scratch_file(),
            on_read: Arc::new(move |rows, bytes| {
                read_in.send((rows, bytes)).expect("heard");
            }),
        })
    };
    let stopping = Stop::default();
    stopping.stop(StopReason::new("signal", ExitCode::Interrupted, "enough"));
    let stopped = scan(stopping).await.expect_err("stopped");
    assert!(matches!(stopped, PrescanError::Stopped), "{stopped}");
    assert_eq!(read.try_iter().count(), 0);
    let verdicts = scan(Stop::default()).await.expect("found");
    assert_eq!(
        verdicts.summary(),
        Summary {
            superseded: 1,
            ids: 1
        }
    );
    let told = read
        .try_iter()
        .fold((0, 0), |sum, read| (sum.0 + read.0, sum.1 + read.1));
    assert_eq!(told, (3, scanned_bytes(&plan)));
}
