//! Random histories of kills, power cuts, unknown outcomes, late writes and duplicates.
//!
//! A history is a run over a few rows: what is done to the books, the journal and the duplicates is done by
//! the real ones; reading, sending, the service and the disk are played. The service applies what it gets at once, late
//! or never, whatever it answers. At the end the index must hold the last row of each id and nothing else, the dead
//! letters must be exact, and the books must balance; at each recovery only rows may be settled that are.
//!
//! That such a checker sees anything is shown by bugs that are put into what is played.

mod disk;
mod process;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use self::world::{Bug, Inputs, World};

/// Histories for each seeded bug.
const TO_CATCH: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Scenario: 100,000 random histories of files (`VECLOAD_HISTORIES`), from a seed that is printed
/// (`VECLOAD_HISTORIES_SEED`).
/// Guarantees: in none is a record lost, wrong or extra, a dead letter missing or written twice, a row settled that is
/// not, or the books out of balance (INV-1, 2, 5, 8).
#[test]
fn no_history_of_files_breaks_a_promise() {
    play_all(Inputs::Files);
}

/// Scenario: as many histories of streams, where late writes come at any time within the quarantine.
/// Guarantees: the same; but which record of an id is in the index is not known where the service refused a
/// later one.
#[test]
fn no_history_of_streams_breaks_a_promise() {
    play_all(Inputs::Stream);
}

fn play_all(inputs: Inputs) {
    let count = number("VECLOAD_HISTORIES").unwrap_or(100_000);
    let first = number("VECLOAD_HISTORIES_SEED").unwrap_or_else(|| rand::random::<u64>() >> 1);
    println!("{count} histories from seed {first} on");
    let next = AtomicU64::new(0);
    let play = || {
        let mut world = World::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let seed = first.wrapping_add(number);
            if let Err(violation) = world.play(seed, inputs, Bug::None) {
                // The others need not go on.
                next.store(count, Ordering::Relaxed);
                panic!("seed {seed}: {violation}");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(play);
        }
    });
}

/// Scenario: the same histories with a bug each: a row is marked when it is sent; an acknowledgement marks all
/// rows before it; a dead letter is written after the record that counts it; the prescan is off by one row; it
/// leaves out the namespace; there is none.
/// Guarantees: each bug is seen within 2,000 histories.
#[test]
fn every_seeded_bug_is_caught() {
    let bugs = [
        Bug::MarkAtSend,
        Bug::HighestAcknowledged,
        Bug::LetterAfterJournal,
        Bug::PrescanOffByOne,
        Bug::NamespaceLeftOut,
        Bug::NoPrescan,
    ];
    catch_all(Inputs::Files, &bugs);
}

/// Scenario: histories of streams with a bug each: those of the books as above; batches do not wait for earlier ones;
/// only until those are sent; for those of the default namespace under its other name; the fence knows nothing of rows that
/// an earlier attempt settled; there is no quarantine after a request without an answer, or none after a kill;
/// within a batch the earlier row stays.
/// Guarantees: each bug is seen within 2,000 histories.
#[test]
fn every_seeded_bug_of_streams_is_caught() {
    let bugs = [
        Bug::MarkAtSend,
        Bug::HighestAcknowledged,
        Bug::LetterAfterJournal,
        Bug::NoFence,
        Bug::FenceUntilSent,
        Bug::FenceTellsDefaultApart,
        Bug::FenceForgetsSettled,
        Bug::NoQuarantine,
        Bug::NoQuarantineAfterKill,
        Bug::EarlierSupersedes,
    ];
    catch_all(Inputs::Stream, &bugs);
}

fn catch_all(inputs: Inputs, bugs: &[Bug]) {
    let mut world = World::new();
    for bug in bugs {
        let caught =
            (0..TO_CATCH).find_map(|seed| Some((seed, world.play(seed, inputs, *bug).err()?)));
        let (seed, violation) = caught.unwrap_or_else(|| panic!("{bug:?} goes unseen"));
        println!("{bug:?} is seen in history {seed}: {violation}");
    }
}
