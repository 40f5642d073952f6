//! What the measurements have in common: corpora that are kept, a server and clients in processes of
//! their own, figures with quartiles, and what the machine is.
//!
//! Costs are CPU seconds, and what is compared are ratios of runs that are neighbours in time: a
//! machine that others use drifts, neighbours do not.

pub mod client;
pub mod corpora;
pub mod figures;
pub mod machine;
pub mod records;
pub mod requests;
pub mod server;

/// Why a measurement ended; it is shown to whoever started it.
pub type Failure = Box<dyn std::error::Error>;
