//! The bytes are those that official clients send.

use prost::Message as _;
use vecload_proto::{UpsertRequest, Vector};

/// Scenario: one record as an official client was seen to send it.
/// Guarantees: field numbers and types are those of the service.
#[test]
fn captured_frame_of_an_official_client_is_byte_identical() {
    // Without the five bytes of the gRPC message prefix, which prost does not write.
    let captured = "0a1f0a01611208cdcccc3dcdcc4c3e1a100a0e0a0178120911000000000000f03f12036e7331";
    let number = prost_types::Value {
        kind: Some(prost_types::value::Kind::NumberValue(1.0)),
    };
    let request = UpsertRequest {
        vectors: vec![Vector {
            id: "a".to_owned(),
            values: vec![0.1, 0.2],
            metadata: Some(prost_types::Struct {
                fields: [("x".to_owned(), number)].into(),
            }),
            sparse_values: None,
        }],
        namespace: "ns1".to_owned(),
    };
    let hex: String = request
        .encode_to_vec()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, captured);
}
