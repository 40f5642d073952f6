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

use self::world::{Bug, World};

/// Histories for each seeded bug.
const TO_CATCH: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Scenario: 100,000 random histories (`VECLOAD_HISTORIES`), from a seed that is printed (`VECLOAD_HISTORIES_SEED`).
/// Guarantees: in none is a record lost, wrong or extra, a dead letter missing or written twice, a row settled that is
/// not, or the books out of balance (INV-1, 2, 5, 8).
#[test]
fn no_history_breaks_a_promise() {
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
            if let Err(violation) = world.play(seed, Bug::None) {
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
    let mut world = World::new();
    for bug in [
        Bug::MarkAtSend,
        Bug::HighestAcknowledged,
        Bug::LetterAfterJournal,
        Bug::PrescanOffByOne,
        Bug::NamespaceLeftOut,
        Bug::NoPrescan,
    ] {
        let caught = (0..TO_CATCH).find_map(|seed| Some((seed, world.play(seed, bug).err()?)));
        let (seed, violation) = caught.unwrap_or_else(|| panic!("{bug:?} goes unseen"));
        println!("{bug:?} is seen in history {seed}: {violation}");
    }
}
