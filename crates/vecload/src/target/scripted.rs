//! The target of the paused-time tests: real frames, scripted answers.
//!
//! Records are encoded as for Pinecone, so that what is sent can be decoded and compared. What a
//! request is answered, and how long that takes, is a function of the request; tokio's paused clock
//! makes it exact.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use vecload_pinecone::{Code, Failure, IndexShape, Limits, MetadataPolicy, Origin, UpsertAck};

use super::TakesUpserts;

/// A request as the script sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its number, from 0.
    pub(crate) number: usize,
    /// The ids of its records, in order.
    pub(crate) ids: Vec<String>,
    /// Its namespace on the wire.
    pub(crate) namespace: String,
    /// The size of its message.
    pub(crate) bytes: usize,
    /// A number that is the same for the same bytes.
    pub(crate) digest: u64,
    /// When it came.
    pub(crate) at: Instant,
}

/// What the script says to a request.
pub(crate) enum Answer {
    /// Acknowledged.
    Ok,
    /// Acknowledged, with another count than was sent.
    Count(u32),
    /// Refused.
    Fail(Failure),
}

type Script = dyn Fn(&Seen) -> (Duration, Answer) + Send + Sync;

/// A target that answers by a script and remembers what it was sent.
pub(crate) struct Scripted {
    limits: Limits,
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
}

// === impl Scripted ===

impl Scripted {
    pub(crate) fn new(
        limits: Limits,
        script: impl Fn(&Seen) -> (Duration, Answer) + Send + Sync + 'static,
    ) -> Self {
        Self {
            limits,
            script: Box::new(script),
            seen: Mutex::default(),
        }
    }

    /// All requests, in the order in which they came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn look(&self, frame: &Bytes) -> Seen {
        let (ids, namespace) = read_frame(frame);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let number = seen.len();
        seen.push(Seen {
            number,
            ids,
            namespace,
            bytes: frame.len() - vecload_pinecone::FRAME_PREFIX,
            digest: xxhash_rust::xxh3::xxh3_64(frame),
            at: Instant::now(),
        });
        seen[number].clone()
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Scripted").finish_non_exhaustive()
    }
}

/// A failure as the service gives it.
pub(crate) fn failure(code: Code, message: &str) -> Failure {
    Failure {
        code,
        http_status: None,
        message: message.to_owned(),
        origin: Origin::Server,
        pushback: None,
        request_id: None,
    }
}

/// The ids and the namespace of a frame, read field by field.
pub(crate) fn read_frame(frame: &[u8]) -> (Vec<String>, String) {
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
    let mut rest = &frame[vecload_pinecone::FRAME_PREFIX..];
    assert_eq!(
        (frame[0], length),
        (0, rest.len()),
        "the prefix says what follows"
    );
    let (mut ids, mut namespace) = (Vec::new(), String::new());
    while let Some((tag, after)) = rest.split_first() {
        let (mut size, mut shift, mut at) = (0_usize, 0, 0);
        loop {
            size |= usize::from(after[at] & 0x7f) << shift;
            at += 1;
            if after[at - 1] < 0x80 {
                break;
            }
            shift += 7;
        }
        let (field, remainder) = after[at..].split_at(size);
        match tag {
            0x0a => ids.push(
                vecload_pinecone::record_id(&rest[..1 + at + size])
                    .unwrap_or_default()
                    .to_owned(),
            ),
            0x12 => namespace = String::from_utf8(field.to_vec()).expect("a name in UTF-8"),
            other => panic!("field tag {other:#x}"),
        }
        rest = remainder;
    }
    (ids, namespace)
}

impl TakesUpserts for Scripted {
    fn shape(&self) -> IndexShape {
        IndexShape::default()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn policy(&self) -> MetadataPolicy {
        MetadataPolicy::default()
    }

    async fn upsert(&self, frame: Bytes, timeout: Duration) -> Result<UpsertAck, Failure> {
        let seen = self.look(&frame);
        let (latency, answer) = (self.script)(&seen);
        if latency >= timeout {
            tokio::time::sleep(timeout).await;
            return Err(Failure {
                origin: Origin::Timeout,
                ..failure(Code::DeadlineExceeded, "the attempt took too long")
            });
        }
        tokio::time::sleep(latency).await;
        let upserted_count = match answer {
            Answer::Fail(failure) => return Err(failure),
            Answer::Count(count) => count,
            Answer::Ok => seen.ids.len() as u32,
        };
        Ok(UpsertAck {
            upserted_count,
            lsn: Some(seen.number as u64 + 1),
            request_id: None,
        })
    }
}
