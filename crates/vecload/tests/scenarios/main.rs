//! The whole pipeline against the embedded index, over real connections.
//!
//! What the server does, what is loaded, how, and what must come of it stands in the TOML files beside
//! this one wherever it can be said in figures; [`scenario::Scenario`] is their form. What is loaded
//! depends on a seed, so what must be in the index afterwards is known record by record. Faults and
//! jitter have seeds too; only the order in which requests meet the dice is the system's.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

mod apart;
mod books;
mod checks;
mod duplicates;
mod endings;
mod faults;
mod numbers;
mod refusals;
mod rejects;
mod scenario;
mod served;
mod shapes;
mod stops;
mod stores;
mod verify;
mod web;
