//! The committed code is what `proto/` says. Apart from the golden test, so that it compiles (and can
//! write the code) also when the types have changed.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;

/// Generates the code of `proto/` into a folder and returns its text.
fn generate() -> String {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let descriptors = protox::compile(["vector_service.proto"], [&proto]).expect("proto/ compiles");
    let out = tempfile::tempdir().expect("a folder to generate into");
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("code is generated");
    // A proto file without a package is generated as `_.rs`.
    fs::read_to_string(out.path().join("_.rs")).expect("the generated file")
}

/// Scenario: the code is generated anew from `proto/`.
/// Guarantees: what is committed is what the contract says.
#[test]
fn committed_code_is_what_the_contract_generates() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated/vector_service.rs");
    let fresh = generate();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&committed, &fresh).expect("the generated file is written");
    }
    let old = fs::read_to_string(&committed).expect("the committed file");
    assert!(
        old == fresh,
        "proto/ and src/generated/ differ; run: UPDATE_GENERATED=1 cargo test -p vecload-proto"
    );
}
