//! The types of `proto/vector_service.proto`, client and server sides.
//!
//! What stands in `generated/` is committed, so that a build needs no protoc and no code
//! generator. `cargo test -p vecload-proto` generates it anew (with protox, in pure Rust) and fails
//! when it differs; `UPDATE_GENERATED=1 cargo test -p vecload-proto` writes it.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    unused_qualifications
)]
mod generated {
    include!("generated/vector_service.rs");
}

pub use generated::*;
