//! What metadata is held to, whatever its text is. The fuzz targets (`fuzz/`) and the tests ask the same; nobody else
//! sees it.

use prost::Message as _;
use prost_types::Struct;
use vecload_record::Metadata;

use crate::metadata::StructBuffer;
use crate::{MetadataPolicy, OnNested, OnNull};

/// Converts a text under every policy.
///
/// # Panics
///
/// What is taken is not JSON for serde_json, or its keys as they are sent are not those of the text; or what is called no
/// JSON is JSON.
pub fn metadata(text: &str) {
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    for on_null in [OnNull::Drop, OnNull::Reject] {
        for on_nested in [OnNested::Reject, OnNested::Flatten, OnNested::Json] {
            let mut buffer = StructBuffer::new(MetadataPolicy { on_null, on_nested });
            match buffer.convert(Metadata::Json(text)) {
                Ok(_) => {
                    let sent = Struct::decode(buffer.wire());
                    assert!(sent.is_ok(), "{sent:?}");
                    assert!(theirs.is_ok(), "{theirs:?}");
                    let (Ok(sent), Ok(theirs)) = (sent, &theirs) else {
                        continue;
                    };
                    if on_nested != OnNested::Flatten {
                        let theirs = theirs.as_object().into_iter().flatten();
                        let keys = theirs.filter(|(_, value)| !value.is_null());
                        let mut keys: Vec<_> = keys.map(|(key, _)| key).collect();
                        keys.sort();
                        assert!(sent.fields.keys().eq(keys));
                    }
                }
                Err(reject) if reject.message.starts_with("it is not JSON") => {
                    assert!(theirs.is_err(), "{reject}");
                }
                Err(_) => {}
            }
        }
    }
}
