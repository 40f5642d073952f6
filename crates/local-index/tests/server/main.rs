//! The local index over real connections, driven by the generated client.

#![expect(
    clippy::expect_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod conditions;
mod control;
mod discard;
mod faults;
mod freshness;
mod limits;
mod metadata;
mod namespaces;
mod rest;
mod search;
mod storage;
mod support;
mod transport;
