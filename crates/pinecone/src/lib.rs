//! All that knows the service: its rules and limits, its wire format, its transport, its failures.
//!
//! A record is [measured](measure) and [appended](append) to a buffer that is the request itself: a
//! [frame](begin) is the gRPC prefix, the records, and the namespace last, so that a batch is encoded
//! once, while it is filled, and can later be [cut](cut()) without a look at its numbers. [`Client`]
//! sends a frame as it stands; what comes back is an [`UpsertAck`] or a [`Failure`], and
//! [`classify`] says in one table what a failure means for the sender. It also reads back: a
//! [`StoredRecord`] says in which fields it differs from the bytes that were sent. The [`ControlPlane`] says what
//! an index is and where, and makes one.
//!
//! Nothing here opens a data file, waits for its turn, or tries again: that is the caller's.

mod classify;
mod client;
mod control;
mod decode;
mod encode;
mod failure;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod metadata;
mod rules;
mod stored;

pub use classify::{Class, Verdict, classify};
pub use client::{Client, ClientError, ClientSettings, Fetched, IndexStats, ListedIds, UpsertAck};
pub use control::{
    ControlPlane, Created, IndexDescription, IndexKind, NewIndex, NewKind, classify_control,
    is_index_name,
};
pub use decode::{DecodeError, decode_record, record_id};
pub use encode::{Measured, Scratch, append, measure};
pub use failure::{Code, Failure, Origin, Pushback, code_name};
pub use frame::{FRAME_PREFIX, begin, cut, namespace_bytes, seal};
pub use limits::Limits;
pub use metadata::{Change, MetadataPolicy, OnNested, OnNull};
pub use rules::{IndexShape, Metric, VectorType, check_namespace};
pub use stored::{FieldDifference, StoredRecord};
