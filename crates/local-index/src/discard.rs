//! Reads upserts without decoding them, and answers them without storing them: what benchmarks load into.
//!
//! The body is walked as it arrives and dropped: a few bytes of state per request, no copy, no
//! decoding of floats. What can be known that way is enforced (the size of the request, the number
//! of records, the namespace); what is in the records is not looked at.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use prost::bytes::BufMut as _;
use tonic::body::Body;
use tonic::{Code, Status};
use vecload_proto::UpsertResponse;

use crate::grpc::{REQUEST_LSN, Received};
use crate::index::Index;
use crate::rules::{self, Refusal};

/// Longest name that is kept to be checked; longer ones are refused for their length.
const MAX_NAMESPACE_KEPT: usize = rules::MAX_NAMESPACE_CHARS + 1;

/// What can be known of an upsert without decoding it.
#[derive(Debug)]
pub(crate) struct Outline {
    /// In its canonical form.
    pub(crate) namespace: String,
    /// Of the encoded message.
    pub(crate) bytes: u64,
    records: usize,
}

/// Reads an upsert to its end and answers it.
pub(crate) async fn answer(index: &Index, body: Body, received: &Received) -> Response<Body> {
    match read(body, received, drop).await {
        Ok(outline) => acknowledge(index, &outline),
        Err(status) => status.into_http(),
    }
}

/// Reads an upsert to its end, hands on its bytes, and refuses what is wrong with it as a whole.
pub(crate) async fn read(
    mut body: Body,
    received: &Received,
    mut each: impl FnMut(Bytes),
) -> Result<Outline, Status> {
    let mut walk = Walk::default();
    while let Some(frame) = body.frame().await {
        let data = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(_trailers)) => continue,
            Err(status) => return Err(status),
        };
        received.add(data.len());
        walk.take(&data)?;
        each(data);
    }
    Ok(walk.outline()?)
}

/// Answers as if the records had been stored.
pub(crate) fn acknowledge(index: &Index, outline: &Outline) -> Response<Body> {
    let records = outline.records;
    let lsn = index
        .store
        .count_discarded(&outline.namespace, records as u64);
    index.ledger.counted(records as u64);

    let message = UpsertResponse {
        upserted_count: records as u32,
    };
    let mut frame = BytesMut::with_capacity(5 + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    frame.extend_from_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(REQUEST_LSN, HeaderValue::from(lsn));
    response
}

/// The code and the opening words that tonic's codec answers to what prost cannot decode.
fn malformed(why: &str) -> Refusal {
    Refusal::new(
        Code::Internal,
        format!("failed to decode Protobuf message: {why}"),
    )
}

/// A walk over one framed UpsertRequest that may be cut into chunks anywhere.
#[derive(Debug, Default)]
struct Walk {
    at: At,
    /// The number being read: the message's length, a tag or a field's length.
    number: u64,
    digits: u32,
    /// Bytes of the message, as its prefix says.
    length: u64,
    /// Bytes of the message that are still to come.
    left: u64,
    records: usize,
    namespace: Vec<u8>,
}

/// What the next byte is part of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Compression,
    MessageLength,
    Tag,
    Varint,
    FieldLength {
        field: u64,
    },
    Skip(u64),
    Namespace(u64),
}

impl Walk {
    fn take(&mut self, mut data: &[u8]) -> Result<(), Refusal> {
        while let Some(&byte) = data.first() {
            let used = match self.at {
                At::Skip(rest) => self.run(data, rest, At::Skip),
                At::Namespace(rest) => {
                    let used = self.run(data, rest, At::Namespace);
                    let room = MAX_NAMESPACE_KEPT.saturating_sub(self.namespace.len());
                    self.namespace.extend_from_slice(&data[..used.min(room)]);
                    used
                }
                _ => {
                    self.byte(byte)?;
                    1
                }
            };
            data = &data[used..];
        }
        Ok(())
    }

    /// Passes over up to `rest` bytes and says how many.
    fn run(&mut self, data: &[u8], rest: u64, at: fn(u64) -> At) -> usize {
        let used = data.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let rest = rest - used as u64;
        self.left -= used as u64;
        self.at = if rest == 0 { At::Tag } else { at(rest) };
        used
    }

    fn byte(&mut self, byte: u8) -> Result<(), Refusal> {
        match self.at {
            At::Compression if byte == 0 => self.at = At::MessageLength,
            At::Compression => {
                return Err(Refusal::new(
                    Code::Unimplemented,
                    "the local index does not read compressed messages",
                ));
            }
            At::MessageLength => {
                self.number = self.number << 8 | u64::from(byte);
                self.digits += 1;
                if self.digits == 4 {
                    self.begin_message()?;
                }
            }
            _ if self.left == 0 => return Err(malformed("bytes follow the message")),
            _ => {
                self.left -= 1;
                if let Some(number) = self.varint(byte)? {
                    self.number_read(number)?;
                }
            }
        }
        Ok(())
    }

    fn begin_message(&mut self) -> Result<(), Refusal> {
        let limit = rules::MAX_MESSAGE_BYTES;
        self.length = std::mem::take(&mut self.number);
        self.digits = 0;
        if self.length > limit as u64 {
            return Err(Refusal::new(
                Code::OutOfRange,
                format!(
                    "Error, decoded message length too large: found {} bytes, the limit is: {limit} bytes",
                    self.length
                ),
            ));
        }
        self.left = self.length;
        self.at = At::Tag;
        Ok(())
    }

    fn varint(&mut self, byte: u8) -> Result<Option<u64>, Refusal> {
        if self.digits == 10 {
            return Err(malformed("a varint is too long"));
        }
        self.number |= u64::from(byte & 0x7f)
            .checked_shl(7 * self.digits)
            .unwrap_or(0);
        self.digits += 1;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        self.digits = 0;
        Ok(Some(std::mem::take(&mut self.number)))
    }

    fn number_read(&mut self, number: u64) -> Result<(), Refusal> {
        self.at = match self.at {
            At::Tag => match number & 7 {
                0 => At::Varint,
                1 => self.field(8, At::Skip)?,
                2 => At::FieldLength { field: number >> 3 },
                5 => self.field(4, At::Skip)?,
                _ => return Err(malformed("a field has an unknown wire type")),
            },
            At::FieldLength { field: 1 } => {
                self.records += 1;
                self.field(number, At::Skip)?
            }
            At::FieldLength { field: 2 } => {
                // The last one counts, as protobuf has it for a field that is not repeated.
                self.namespace.clear();
                self.field(number, At::Namespace)?
            }
            At::FieldLength { .. } => self.field(number, At::Skip)?,
            _ => At::Tag,
        };
        Ok(())
    }

    /// Where the walk stands before a field of so many bytes.
    fn field(&self, bytes: u64, at: fn(u64) -> At) -> Result<At, Refusal> {
        match bytes {
            0 => Ok(At::Tag),
            _ if bytes <= self.left => Ok(at(bytes)),
            _ => Err(malformed("a field reaches beyond the message")),
        }
    }

    /// What was seen, if it is whole and within the limits.
    fn outline(&self) -> Result<Outline, Refusal> {
        self.finish()?;
        rules::check_request_size(self.length)?;
        let namespace = std::str::from_utf8(&self.namespace)
            .map_err(|_| malformed("the namespace is not UTF-8"))?;
        rules::check_namespace(namespace)?;
        rules::check_record_count(self.records)?;
        Ok(Outline {
            namespace: rules::canonical(namespace).to_owned(),
            bytes: self.length,
            records: self.records,
        })
    }

    fn finish(&self) -> Result<(), Refusal> {
        if self.at == At::Tag && self.left == 0 && self.digits == 0 {
            Ok(())
        } else {
            Err(malformed("the message ends too early"))
        }
    }
}

/// Reads a body to its end, keeping nothing.
pub(crate) async fn drain(mut body: Body, received: &Received) {
    while let Some(Ok(frame)) = body.frame().await {
        received.add(frame.data_ref().map_or(0, Bytes::len));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vecload_proto::{UpsertRequest, Vector};

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = (message.len() as u32).to_be_bytes();
        [&[0][..], &length[..], message].concat()
    }

    fn walked(frame: &[u8], chunk: usize) -> Result<Walk, Refusal> {
        let mut walk = Walk::default();
        for part in frame.chunks(chunk) {
            walk.take(part)?;
        }
        walk.finish()?;
        Ok(walk)
    }

    fn request() -> impl Strategy<Value = UpsertRequest> {
        let vector =
            ("[a-z]{0,9}", prop::collection::vec(any::<f32>(), 0..60)).prop_map(|(id, values)| {
                Vector {
                    id,
                    values,
                    ..Vector::default()
                }
            });
        (prop::collection::vec(vector, 0..20), "[a-z]{0,40}")
            .prop_map(|(vectors, namespace)| UpsertRequest { vectors, namespace })
    }

    proptest! {
        /// Scenario: any request, arriving in chunks of any size.
        /// Guarantees: the walk finds the records, the length and the namespace that prost finds.
        #[test]
        fn walk_agrees_with_prost(request in request(), chunk in 1_usize..300) {
            let message = request.encode_to_vec();
            let walk = walked(&framed(&message), chunk).expect("a good message");
            prop_assert_eq!(walk.records, request.vectors.len());
            prop_assert_eq!(walk.length, message.len() as u64);
            prop_assert_eq!(walk.namespace, request.namespace.into_bytes());
        }

        /// Scenario: arbitrary bytes as a message, and a good message cut short anywhere.
        /// Guarantees: no panic; what prost refuses for its outer structure is refused, and so is what is cut.
        #[test]
        fn walk_survives_anything(bytes in prop::collection::vec(any::<u8>(), 0..200), request in request(), chunk in 1_usize..64, cut in any::<prop::sample::Index>()) {
            let _ = walked(&framed(&bytes), chunk);
            let _ = walked(&bytes, chunk);
            let frame = framed(&request.encode_to_vec());
            prop_assert!(walked(&frame[..cut.index(frame.len())], chunk).is_err());
        }
    }

    /// Scenario: unknown fields of every wire type around the known ones.
    /// Guarantees: they are passed over, as prost does.
    #[test]
    fn walk_skips_unknown_fields() {
        let mut message = vec![0x48, 0x96, 0x01]; // field 9, varint 150
        message.extend([0x51, 1, 2, 3, 4, 5, 6, 7, 8]); // field 10, 8 bytes
        message.extend([0x0a, 0x00]); // an empty record
        message.extend([0x5d, 1, 2, 3, 4]); // field 11, 4 bytes
        message.extend([0x62, 0x03, 9, 9, 9]); // field 12, a text
        message.extend([0x12, 0x02, b'n', b's']);
        let walk = walked(&framed(&message), 1).expect("a good message");
        assert_eq!((walk.records, walk.namespace.as_slice()), (1, &b"ns"[..]));
    }
}
