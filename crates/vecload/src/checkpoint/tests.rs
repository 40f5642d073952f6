//! The checkpoint against damage and against a file system that forgets.

mod forgetful;

use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use vecload_corpus::mutation::{for_each_seed, mutate};
use vecload_record::RowRun;

use self::forgetful::{Files, Forgetful};
use super::codec::{
    BadSnapshot, HEAD, VERSION, encode_journal_head, encode_record, encode_snapshot,
};
use super::recover::{self, Refused};
use super::*;
use crate::digest::Digest;
use crate::fuzzing::{Left, recovered};
use crate::ledger::Ledger;
use crate::sampling::tests::sampled;

/// Splits of two inputs.
const SPLIT_INPUTS: [u32; 3] = [0, 0, 1];

fn empty() -> State {
    State::new(Ledger::of(SPLIT_INPUTS.to_vec(), 2))
}

/// What a random run settles: requests, rejects with their dead letters, ends of splits.
fn settlements(random: &mut StdRng, count: usize) -> Vec<(Entry, Option<Vec<u8>>)> {
    let mut open: Vec<RowRun> = (0..3)
        .flat_map(|split| (0..200).map(move |run| (split, run * 5)))
        .map(|(split, first)| RowRun {
            split,
            first,
            len: 5,
        })
        .collect();
    open.shuffle(random);
    let mut letters = Mark::default();
    (0..count)
        .map(|number| {
            let namespace = ["films", "__default__"][number % 2].to_owned();
            let changes = vec![FieldChange {
                field: "year".to_owned(),
                action: "null_dropped".to_owned(),
                times: 1,
            }];
            match random.random_range(0..10) {
                0..6 => {
                    let runs = random.random_range(1..4);
                    let entry = Entry::Loaded {
                        namespace,
                        rows: Rows(open.split_off(open.len() - runs)),
                        bytes: random.random_range(100..5000),
                        lsn: Some(number as u64),
                        digest: Digest::of("films", [&number.to_le_bytes()[..]].into_iter()),
                        changes,
                        sampled: sampled(number as u64),
                    };
                    (entry, None)
                }
                6..9 => {
                    let run = open.pop().expect("rows enough");
                    let line = format!("{{\"id\":\"{number}\",\"_reject\":{{}}}}\n").into_bytes();
                    letters = letters.after(&line);
                    let entry = Entry::Rejected {
                        namespace,
                        split: run.split,
                        row: run.first,
                        reason: "all_zero".to_owned(),
                        supersedes: number as u64 % 2,
                        changes,
                        letters,
                    };
                    (entry, Some(line))
                }
                _ => {
                    let split = random.random_range(0..3);
                    (Entry::SplitRead { split, rows: 1000 }, None)
                }
            }
        })
        .collect()
}

/// The states after 0, 1, 2, ... of the settlements, as recovery gives them.
fn states(settled: &[(Entry, Option<Vec<u8>>)]) -> Vec<State> {
    let mut state = empty();
    let mut states = vec![state.clone()];
    for (entry, _) in settled {
        state.apply(entry).expect("sound");
        let mut recovered = state.clone();
        recovered.ledger.forget_unsettled();
        states.push(recovered);
    }
    states
}

const GENERATION: u64 = 7;

/// A run of 50 settlements on disk: snapshot, journal, dead letters, and its states.
struct Written {
    snapshot: Vec<u8>,
    journal: Vec<u8>,
    /// Where each record ends in the journal.
    ends: Vec<usize>,
    letters: Vec<u8>,
    states: Vec<State>,
}

fn written() -> Written {
    let settled = settlements(&mut StdRng::seed_from_u64(4), 50);
    let mut journal = encode_journal_head(GENERATION);
    let (mut ends, mut letters) = (Vec::new(), Vec::new());
    for (number, (entry, line)) in settled.iter().enumerate() {
        journal.extend(encode_record(entry, GENERATION, number as u64).expect("encoded"));
        ends.push(journal.len());
        letters.extend(line.iter().flatten());
    }
    Written {
        snapshot: encode_snapshot(&empty(), GENERATION).expect("encoded"),
        journal,
        ends,
        letters,
        states: states(&settled),
    }
}

fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

/// Scenario: a journal of 50 records is cut at every byte.
/// Guarantees: recovery gives the state after exactly the records that are whole.
#[test]
fn a_torn_journal_gives_the_whole_records() {
    let run = written();
    for length in 0..=run.journal.len() {
        let got = recovered(&run.snapshot, &run.journal[..length], &run.letters).expect("a state");
        let whole = run.ends.iter().filter(|end| **end <= length).count();
        assert_eq!(got.state, run.states[whole], "cut at {length}");
        let kept = if whole == 0 {
            HEAD
        } else {
            run.ends[whole - 1]
        };
        if length >= HEAD {
            assert_eq!(got.lost_bytes as usize, length - kept);
        }
    }
}

/// Scenario: every bit of the journal is flipped, one at a time.
/// Guarantees: recovery gives the state before the damaged record and counts what is lost.
#[test]
fn a_flipped_journal_gives_an_earlier_state() {
    let run = written();
    for (bit, journal) in flips(&run.journal).enumerate() {
        let got = recovered(&run.snapshot, &journal, &run.letters).expect("a state");
        let whole = run.ends.iter().filter(|end| **end * 8 <= bit).count();
        assert_eq!(got.state, run.states[whole], "bit {bit}");
        assert!(got.lost_bytes > 0, "bit {bit} is counted");
    }
}

/// Scenario: a snapshot of 50 settlements is cut at every byte, every bit of it is flipped, and it is missing.
/// Guarantees: each is refused with words; nothing begins again from zero.
#[test]
fn a_bad_snapshot_is_refused() {
    let run = written();
    let snapshot = encode_snapshot(&run.states[50], GENERATION).expect("encoded");
    recovered(&snapshot, &[], &run.letters).expect("whole, it is good");
    let cut = (0..snapshot.len()).map(|length| snapshot[..length].to_vec());
    for bad in cut.chain(flips(&snapshot)) {
        let refused = recovered(&bad, &run.journal, &run.letters).expect_err("it is bad");
        assert!(matches!(refused, Refused::Snapshot(_)), "{refused}");
    }
}

/// Scenario: 3,000 times chance changes a snapshot, a journal or dead letters, beyond what a cut and a flip do.
/// Guarantees: recovery gives a state that the run has had, or refuses; nothing panics, takes five seconds, or a
/// gigabyte.
#[test]
fn any_change_gives_a_state_of_the_run_or_is_refused() {
    let run = written();
    let last = encode_snapshot(&run.states[50], GENERATION).expect("encoded");
    let refused = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refused);
    for_each_seed(0..3000, move |seed| {
        let [mut snapshot, mut journal, mut letters] = match seed % 2 {
            0 => [&run.snapshot, &run.journal, &run.letters].map(Clone::clone),
            _ => [last.clone(), Vec::new(), run.letters.clone()],
        };
        let changed = [&mut snapshot, &mut journal, &mut letters];
        let changed = changed
            .into_iter()
            .nth(seed as usize / 2 % 3)
            .expect("of three");
        mutate(changed, &mut StdRng::seed_from_u64(seed));
        match recovered(&snapshot, &journal, &letters) {
            Ok(got) => assert!(run.states.contains(&got.state), "seed {seed}"),
            Err(_) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused > 1000, "{refused}");
}

/// Scenario: 6,000 times chance changes a state or an entry, and the checksums are made right again.
/// Guarantees: it is decoded or refused; nothing panics, takes five seconds, or a gigabyte.
#[test]
fn a_checksum_is_not_trusted_with_the_process() {
    let sound = Left::sound().expect("encoded");
    sound.decode();
    for_each_seed(0..6000, move |seed| {
        let mut left = sound.clone();
        let part = seed as usize % 4;
        let changed = match part {
            0 => &mut left.state,
            _ => &mut left.records[part - 1],
        };
        mutate(changed, &mut StdRng::seed_from_u64(seed));
        left.decode();
    });
}

/// Scenario: a snapshot and a journal of a later version.
/// Guarantees: both are refused, naming the version.
#[test]
fn an_unknown_version_is_refused() {
    const LATER: u32 = VERSION + 1;
    let run = written();
    let mut snapshot = run.snapshot.clone();
    snapshot[8] = LATER as u8;
    let refused = recovered(&snapshot, &run.journal, &run.letters).expect_err("unknown");
    assert!(matches!(
        refused,
        Refused::Snapshot(BadSnapshot::Version(LATER))
    ));
    assert!(
        refused.to_string().contains(&format!("version {LATER}")),
        "{refused}"
    );

    let mut journal = run.journal.clone();
    journal[8] = LATER as u8;
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&LATER.to_le_bytes(), GENERATION);
    journal[20..28].copy_from_slice(&checksum.to_le_bytes());
    let refused = recovered(&run.snapshot, &journal, &run.letters).expect_err("unknown");
    assert!(
        matches!(refused, Refused::JournalVersion(LATER)),
        "{refused}"
    );
}

/// Scenario: the dead letters are cut at every byte, and every bit of them is flipped.
/// Guarantees: no state counts a dead letter that is not there as it was written (INV-5).
#[test]
fn no_dead_letter_is_counted_that_is_not_there() {
    let run = written();
    // The settlements that may count when that many bytes of the dead letters are good.
    let upto = |good: u64| {
        let fits = |state: &&State| state.letters.offset <= good;
        run.states.iter().take_while(fits).count() - 1
    };
    for length in 0..=run.letters.len() {
        let got = recovered(&run.snapshot, &run.journal, &run.letters[..length]).expect("a state");
        let kept = upto(length as u64);
        assert_eq!(got.state, run.states[kept], "cut at {length}");
        assert_eq!(got.cut_records as usize, 50 - kept);
    }
    for (bit, letters) in flips(&run.letters).enumerate() {
        let got = recovered(&run.snapshot, &run.journal, &letters).expect("a state");
        let line = |state: &&State| state.letters.offset * 8 <= bit as u64;
        let kept = run.states.iter().take_while(line).count() - 1;
        assert_eq!(got.state, run.states[kept], "bit {bit}");
    }
    let snapshot = encode_snapshot(&run.states[50], GENERATION).expect("encoded");
    let refused = recovered(&snapshot, &[], &run.letters[1..]).expect_err("they differ");
    assert!(matches!(refused, Refused::Letters), "{refused}");
}

/// Scenario: a journal of another generation, and none at all, beside a snapshot.
/// Guarantees: what is in the snapshot already is not booked twice.
#[test]
fn an_old_journal_is_passed_over() {
    let run = written();
    let snapshot = encode_snapshot(&run.states[50], GENERATION + 1).expect("encoded");
    let got = recovered(&snapshot, &run.journal, &run.letters).expect("a state");
    assert_eq!((&got.state, got.lost_bytes), (&run.states[50], 0));
    let got = recover::recover(&snapshot, |_| Ok(None), |_| Ok(Cursor::new(&run.letters)));
    assert_eq!(got.expect("a state").state, run.states[50]);
}

/// One settlement as the committer makes it.
fn settle(
    checkpoint: &mut Checkpoint,
    state: &mut State,
    (entry, line): &(Entry, Option<Vec<u8>>),
) -> io::Result<()> {
    if let Some(line) = line {
        let mark = checkpoint.dead_letter(state, line)?;
        assert!(matches!(entry, Entry::Rejected { letters, .. } if *letters == mark));
    }
    state.apply(entry).expect("sound");
    checkpoint.append(entry)
}

/// Scenario: 1,000 random runs on a file system that forgets what was not synced (all, a part, or keeping
/// later pages and not earlier ones), cut after every one of their operations.
/// Guarantees: each prefix recovers to a state that the run was in, with everything that was synced and
/// the dead letters that it counts. An attempt can begin from it, and cuts off dead letters that do not count.
#[test]
fn every_prefix_of_a_run_recovers() {
    for seed in 0..1000 {
        let mut random = StdRng::seed_from_u64(seed);
        let settled = settlements(&mut random, 12);
        let states = states(&settled);
        let log = Forgetful::default();
        let mut state = empty();
        let mut checkpoint =
            Checkpoint::begin(Box::new(log.clone()), &state, 0).expect("no faults");
        // So that compaction comes within a short run.
        checkpoint.compact_at_least = 300;
        checkpoint.snapshot_bytes = 0;
        // After which operation how many settlements were made, and made durable.
        let mut durable = vec![(log.operations(), 0)];
        let begun = log.operations();
        let mut made = vec![(begun, 0)];
        for (number, settlement) in settled.iter().enumerate() {
            settle(&mut checkpoint, &mut state, settlement).expect("no faults");
            made.push((log.operations(), number + 1));
            if random.random_bool(0.3) {
                checkpoint.sync(&state).expect("no faults");
                checkpoint.snapshot_bytes = 0;
                durable.push((log.operations(), number + 1));
            }
        }
        for operations in begun..=log.operations() {
            let at = |marks: &[(usize, usize)]| {
                let mut before = marks.iter().take_while(|mark| mark.0 <= operations);
                before.by_ref().last().map_or(0, |mark| mark.1)
            };
            let files: Files = log.after_crash(operations, &mut random);
            let got = recover(&files)
                .unwrap_or_else(|error| panic!("seed {seed}, {operations} operations: {error}"));
            // A settlement in the making may be there already, one that was made may be forgotten.
            let allowed = at(&durable)..=(at(&made) + 1).min(settled.len());
            assert!(
                allowed.clone().any(|count| states[count] == got.state),
                "seed {seed}, {operations} operations: not the state after {allowed:?} settlements"
            );
            let next = Forgetful::from(files);
            Checkpoint::begin(Box::new(next.clone()), &got.state, got.generation).expect("begun");
            let files = next.after_crash(next.operations(), &mut random);
            let letters = files.length(&got.state.letters_name());
            assert_eq!(letters as u64, got.state.letters.offset, "seed {seed}");
            assert_eq!(
                recover(&files).expect("a state").state,
                got.state,
                "seed {seed}"
            );
        }
    }
}

/// Scenario: settlements until the journal is compacted, on the real file system, and another attempt.
/// Guarantees: there is one snapshot and one journal; files are readable by their owner alone.
#[test]
fn files_are_replaced_by_generations() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join(FOLDER)).expect("made");
    let settled = settlements(&mut StdRng::seed_from_u64(9), 40);
    let disk = || Box::new(RunDisk::new(folder.path()));
    let mut state = empty();
    let mut checkpoint = Checkpoint::begin(disk(), &state, 0).expect("begun");
    checkpoint.compact_at_least = 500;
    for settlement in &settled {
        settle(&mut checkpoint, &mut state, settlement).expect("written");
        checkpoint.sync(&state).expect("synced");
        checkpoint.snapshot_bytes = 0;
    }
    drop(checkpoint);
    let got = recover(&*disk()).expect("a state");
    assert_eq!(got.state, states(&settled)[40]);
    assert!(got.generation > 2, "compacted {} times", got.generation);
    Checkpoint::begin(disk(), &got.state, got.generation).expect("begun");
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join(FOLDER))
        .expect("readable")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            entry.file_name().into_string().expect("a name")
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            format!("journal-{}", got.generation + 1),
            "snapshot".to_owned()
        ]
    );
}
