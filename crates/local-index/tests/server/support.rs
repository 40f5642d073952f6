//! A served index and small builders of requests.

use std::collections::HashMap;
use std::net::SocketAddr;

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};
use vecload_local_index::{LocalIndex, Options};
use vecload_proto::vector_service_client::VectorServiceClient;
use vecload_proto::{SparseValues, UpsertRequest, UpsertResponse, Vector};

pub(crate) type Client = VectorServiceClient<Channel>;

/// A running server.
pub(crate) struct Served {
    pub(crate) index: LocalIndex,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Opens an index and serves it on a port of the system's choice.
    pub(crate) async fn start(options: Options) -> Self {
        let index = LocalIndex::open(options).expect("the index opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let serving = index.clone();
        let task = tokio::spawn(async move {
            serving
                .serve(listener, async {
                    let _ = stopped.await;
                })
                .await
        });
        Self {
            index,
            address,
            stop: Some(stop),
            task,
        }
    }

    /// An index in memory with default options.
    pub(crate) async fn plain() -> Self {
        Self::start(Options::default()).await
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        connect(self.address).await
    }

    /// Ends the server as it stands.
    pub(crate) fn abandon(self) {
        self.task.abort();
    }

    /// Stops the server and closes the store.
    pub(crate) async fn stop(mut self) {
        self.stop
            .take()
            .expect("running")
            .send(())
            .expect("running");
        self.task.await.expect("no panic").expect("served");
    }
}

pub(crate) async fn connect(address: SocketAddr) -> Client {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .connect()
        .await
        .expect("a connection");
    VectorServiceClient::new(channel)
        .max_encoding_message_size(usize::MAX)
        .max_decoding_message_size(usize::MAX)
}

/// An answer to a request over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }
}

/// Sends a request over HTTP/1.1 on a connection of its own, with headers as `name: value` lines.
pub(crate) async fn http(
    address: SocketAddr,
    request: &str,
    headers: &str,
    body: &serde_json::Value,
) -> Answer {
    let body = match body {
        serde_json::Value::Null => String::new(),
        body => body.to_string(),
    };
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    Answer {
        status: status.and_then(|code| code.parse().ok()).expect("a status"),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

pub(crate) fn vector(id: &str, values: &[f32]) -> Vector {
    Vector {
        id: id.to_owned(),
        values: values.to_vec(),
        ..Vector::default()
    }
}

pub(crate) fn sparse(id: &str, indices: &[u32], values: &[f32]) -> Vector {
    Vector {
        id: id.to_owned(),
        sparse_values: Some(SparseValues {
            indices: indices.to_vec(),
            values: values.to_vec(),
        }),
        ..Vector::default()
    }
}

pub(crate) fn with_metadata(mut vector: Vector, fields: &[(&str, Kind)]) -> Vector {
    vector.metadata = Some(structure(fields));
    vector
}

pub(crate) fn structure(fields: &[(&str, Kind)]) -> Struct {
    let value = |kind: &Kind| Value {
        kind: Some(kind.clone()),
    };
    Struct {
        fields: fields
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), value(kind)))
            .collect(),
    }
}

pub(crate) fn text(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

pub(crate) fn list(items: impl IntoIterator<Item = Kind>) -> Kind {
    let values = items.into_iter().map(|kind| Value { kind: Some(kind) });
    Kind::ListValue(prost_types::ListValue {
        values: values.collect(),
    })
}

pub(crate) fn request(namespace: &str, vectors: Vec<Vector>) -> UpsertRequest {
    UpsertRequest {
        vectors,
        namespace: namespace.to_owned(),
    }
}

pub(crate) async fn upsert(
    client: &mut Client,
    namespace: &str,
    vectors: Vec<Vector>,
) -> Result<Response<UpsertResponse>, Status> {
    client.upsert(request(namespace, vectors)).await
}

/// The LSN in a header of an answer.
pub(crate) fn lsn<T>(response: &Response<T>, header: &str) -> u64 {
    let value = response.metadata().get(header).expect(header);
    value.to_str().expect("text").parse().expect("a number")
}

/// A request that breaks no other rule and encodes to exactly so many bytes.
pub(crate) fn request_of(bytes: usize) -> UpsertRequest {
    let filled = |number: usize, length: usize| {
        let fill = text(&"x".repeat(length));
        with_metadata(vector(&format!("{number:06}"), &[1.0]), &[("fill", fill)])
    };
    let mut request = request("", Vec::new());
    let missing = |request: &UpsertRequest| bytes - request.encoded_len();
    while missing(&request) > 60_000 {
        request.vectors.push(filled(request.vectors.len(), 40_000));
    }
    request
        .vectors
        .push(filled(request.vectors.len(), missing(&request) / 2));
    let number = request.vectors.len();
    let rest = missing(&request);
    for length in rest - 60..rest {
        request.vectors.push(filled(number, length));
        if missing(&request) == 0 {
            return request;
        }
        request.vectors.pop();
    }
    panic!("no request of {bytes} bytes can be built");
}

/// Asserts the code and the exact words of a refusal.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, message: &str) {
    let status = result.expect_err(message);
    assert_eq!((status.code(), status.message()), (code, message));
}

pub(crate) fn invalid<T: std::fmt::Debug>(result: Result<T, Status>, message: &str) {
    refused(result, Code::InvalidArgument, message);
}
