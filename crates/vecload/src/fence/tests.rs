use std::time::Duration;

use super::*;

/// A fence with batches of one record each.
struct Stream {
    fence: Fence,
    rows: u32,
}

impl Stream {
    fn new(sent_before_until: Option<Instant>) -> Self {
        Self {
            fence: Fence::new(sent_before_until),
            rows: 0,
        }
    }

    /// The next row, in a batch of its own.
    fn row(&mut self, id: &str) -> Ticket {
        let mut ticket = self.fence.open();
        self.row_of(id, &mut ticket, 0);
        ticket
    }

    /// The next row, as a record of a batch. Says which record of it had the id before.
    fn row_of(&mut self, id: &str, ticket: &mut Ticket, record: u32) -> Option<u32> {
        let key = self.fence.key("", id);
        self.rows += 1;
        self.fence.enter(key, ticket, record, Instant::now())
    }
}

/// A time so many seconds from now.
fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Scenario: rows of one id and of another, in batches of which one is settled after the other.
/// Guarantees: a batch waits for the latest one before it with an id of its own, until that is settled, and
/// for no other.
#[tokio::test(start_paused = true)]
async fn a_row_waits_for_the_one_before() {
    let mut stream = Stream::new(None);
    let first = stream.row("a");
    let other = stream.row("b");
    let second = stream.row("a");
    let third = stream.row("a");
    let open = |ticket: &Ticket| ticket.is_open(Instant::now());
    assert!(open(&first) && open(&other) && !open(&second) && !open(&third));
    first.settled();
    // It may have parts that are under way.
    assert!(!open(&second));
    drop(first);
    assert!(open(&second) && !open(&third));
    assert!(second.open().await);
    second.settled();
    drop(second);
    assert!(third.open().await);
}

/// Scenario: an id stands twice in a batch, and then in the next one.
/// Guarantees: the fence names the record that is superseded, each time the last one.
#[tokio::test(start_paused = true)]
async fn within_a_batch_the_earlier_record_is_named() {
    let mut stream = Stream::new(None);
    let mut batch = stream.fence.open();
    let named = ["a", "b", "a", "a"].map(|id| {
        let record = stream.rows;
        stream.row_of(id, &mut batch, record)
    });
    assert_eq!(named, [None, None, Some(0), Some(2)]);
    let mut next = stream.fence.open();
    assert_eq!(stream.row_of("a", &mut next, 0), None);
    assert!(!next.is_open(Instant::now()));
}

/// Scenario: a batch is settled after a request without an answer.
/// Guarantees: a later row of its id waits to the end of the quarantine, one of another id does not.
#[tokio::test(start_paused = true)]
async fn a_quarantine_outlasts_its_batch() {
    let mut stream = Stream::new(None);
    let first = stream.row("a");
    first.quarantine(in_seconds(120));
    // A shorter one changes nothing.
    first.quarantine(in_seconds(60));
    first.settled();
    drop(first);
    let (second, other) = (stream.row("a"), stream.row("b"));
    assert!(other.is_open(Instant::now()));
    assert!(!second.is_open(in_seconds(119)) && second.is_open(in_seconds(120)));
    let began = Instant::now();
    assert!(second.open().await);
    assert_eq!(began.elapsed().as_secs(), 120);
}

/// Scenario: a batch is given up, since its namespace takes no more.
/// Guarantees: one that waits for it may not go.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_batch_that_is_given_up_does_not_go() {
    let mut stream = Stream::new(None);
    let first = stream.row("a");
    let second = stream.row("a");
    drop(first);
    assert!(!second.open().await);
}

/// Scenario: a process before this one settled two rows, and may have sent others.
/// Guarantees: what has the id of a settled one waits until no request of that process can come; so does what waits for a row
/// that is read again. Afterwards nothing waits.
#[tokio::test(start_paused = true)]
async fn what_a_process_before_sent_may_come_late() {
    let until = in_seconds(120);
    let mut stream = Stream::new(Some(until));
    let now = Instant::now();
    for id in ["a", "b"] {
        assert!(stream.fence.watches_settled(now));
        let key = stream.fence.key("", id);
        stream.fence.pass(key, now);
    }
    let (a, c, d) = (stream.row("a"), stream.row("c"), stream.row("d"));
    assert!(!a.is_open(now) && c.is_open(now) && d.is_open(now));
    c.settled();
    drop(c);
    let (b, c, e) = (stream.row("b"), stream.row("c"), stream.row("e"));
    assert!(!b.is_open(now) && !c.is_open(now) && e.is_open(now));
    assert!(b.is_open(until) && c.is_open(until));
    assert!(!stream.fence.watches_settled(until));
}

/// Scenario: a process before this one may have sent a row that a later one of the same batch supersedes.
/// Guarantees: the batch waits until that cannot come.
#[tokio::test(start_paused = true)]
async fn what_is_superseded_may_have_been_sent_before() {
    let until = in_seconds(120);
    let mut stream = Stream::new(Some(until));
    let mut batch = stream.fence.open();
    stream.row_of("a", &mut batch, 0);
    assert!(batch.is_open(Instant::now()));
    assert_eq!(stream.row_of("a", &mut batch, 1), Some(0));
    assert!(!batch.is_open(Instant::now()) && batch.is_open(until));
}

/// Scenario: of a stream more rows are settled since an earlier attempt than a fence has room for.
/// Guarantees: they go by without waiting, and until no request of that attempt can come every other row waits.
#[tokio::test(start_paused = true)]
async fn where_not_all_are_known_all_wait() {
    let (now, until) = (Instant::now(), in_seconds(120));
    let mut stream = Stream {
        fence: Fence::holding(10, Some(until)),
        rows: 0,
    };
    for settled in 0..1000 {
        let key = stream.fence.key("", &settled.to_string());
        stream.fence.pass(key, now);
    }
    assert!(stream.fence.in_the_way(now).is_some());
    let new = stream.row("new");
    assert!(!new.is_open(now) && new.is_open(until));
}

/// Scenario: a fence of a hundred keys sees many more, while their batches are settled as soon as it asks.
/// Guarantees: it never holds more, and names the oldest batch where it has no room.
#[tokio::test(start_paused = true)]
async fn a_fence_has_an_end() {
    let now = Instant::now();
    let mut fence = Fence::holding(100, None);
    let mut tickets = std::collections::VecDeque::new();
    for row in 0..10_000 {
        if fence.in_the_way(now).is_some() {
            let oldest: Ticket = tickets.pop_front().expect("a batch");
            let number = oldest.number;
            drop(oldest);
            assert!(fence.in_the_way(now).is_none());
            assert!(!fence.batches.contains_key(&number));
        }
        let mut ticket = fence.open();
        let key = fence.key("", &row.to_string());
        fence.enter(key, &mut ticket, 0, now);
        assert!(fence.seats.len() <= 100);
        tickets.push_back(ticket);
    }
}
