//! Files to records.
//!
//! [`discover`] turns arguments into [`Input`]s, [`Plan::new`] turns those into [`Split`]s, the unit
//! of reading, and [`Plan::open`] gives a [`SplitReader`] that yields blocks of [`Records`]. A block
//! owns what was read (lines or arrays) and lends [`RecordRef`](vecload_record::RecordRef)s.
//!
//! A plan is the same for the same inputs and settings. Every row of a split gets a number, a defect
//! of one row is a [`BadRow`] and never an error, and memory is bounded whatever the size of files,
//! row groups and lines. The API blocks: it is made for CPU worker threads.
//!
//! [`Plan::open_keys`] reads the keys of rows only, namespace and id: of Parquet files two columns.
//!
//! What a service accepts is not decided here: a record without a vector is a record.

mod changes;
mod discover;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod jsonl;
mod mapping;
mod parquet;
mod plan;
mod reader;
mod store;

pub use discover::{Compression, Discovery, Format, Input, Origin, discover};
pub use error::{Place, SourceError, SourceErrorKind};
pub use mapping::{Columns, Mapping};
pub use parquet::hush_decoder_panics;
pub use plan::{Filtered, Part, Plan, PlanSettings, Split, Timestamps};
pub use reader::{BadRow, KeyReader, Records, Row, RowKey, RowKeys, SplitReader};
pub use store::{Object, ObjectVersion, StoreFolder, without_secrets};
