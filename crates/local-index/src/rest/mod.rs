//! The data plane over REST: a request becomes the gRPC request that means the same, and the answer
//! becomes JSON.
//!
//! So there is one implementation of every rule, fault and condition, and REST can differ from gRPC in
//! words only: JSON names, HTTP's status, the errors' shape (`{"code","message","details"}` with the gRPC
//! code). What is REST's own stands here: routes, JSON, and that null metadata values are left out, which
//! gRPC refuses. The size of a request is that of the message it means: the documented batch sizes count
//! four bytes a dimension, whatever the transport.

mod answers;
mod query_string;
mod questions;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::rules::Refusal;
use query_string::QueryString;

/// Of a JSON body in memory. No request within the limits of the service needs a quarter of it: a float
/// takes four bytes in a message and seldom more than twelve in JSON.
const MAX_JSON_BYTES: usize = 32 << 20;

/// An operation of the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Upsert,
    Delete,
    Fetch,
    FetchByMetadata,
    List,
    Query,
    Update,
    DescribeIndexStats,
    ListNamespaces,
    CreateNamespace,
    DescribeNamespace,
    DeleteNamespace,
}

impl Operation {
    fn grpc_path(self) -> String {
        format!("/VectorService/{self:?}")
    }

    /// The operation behind a route, and the namespace that the path names.
    fn of(method: &Method, path: &str) -> Result<(Self, Option<String>), Refusal> {
        let known = match (method.as_str(), path) {
            ("POST", "/vectors/upsert") => Self::Upsert,
            ("POST" | "DELETE", "/vectors/delete") => Self::Delete,
            ("GET", "/vectors/fetch") => Self::Fetch,
            ("POST", "/vectors/fetch_by_metadata") => Self::FetchByMetadata,
            ("GET", "/vectors/list") => Self::List,
            ("POST", "/query") => Self::Query,
            ("POST", "/vectors/update") => Self::Update,
            ("POST" | "GET", "/describe_index_stats") => Self::DescribeIndexStats,
            ("GET", "/namespaces") => Self::ListNamespaces,
            ("POST", "/namespaces") => Self::CreateNamespace,
            (method, path) => return Self::on_namespace(method, path),
        };
        Ok((known, None))
    }

    fn on_namespace(method: &str, path: &str) -> Result<(Self, Option<String>), Refusal> {
        // Own words, for what the service has and the local index has not.
        for (prefix, what) in [
            ("/bulk/", "imports"),
            ("/records/", "text records"),
            ("/namespace-aliases", "namespace aliases"),
        ] {
            if path.starts_with(prefix) {
                return Err(unimplemented(what));
            }
        }
        let unknown = || Refusal::new(Code::NotFound, format!("{method} {path} is no operation"));
        let name = path.strip_prefix("/namespaces/").ok_or_else(unknown)?;
        if name.contains("/documents") {
            return Err(unimplemented("documents"));
        }
        let operation = match method {
            "GET" => Self::DescribeNamespace,
            "DELETE" => Self::DeleteNamespace,
            _ => return Err(unknown()),
        };
        let name = percent_decode_str(name).decode_utf8();
        let name = name.map_err(|_| Refusal::invalid("The namespace in the path is not UTF-8"))?;
        Ok((operation, Some(name.into_owned())))
    }
}

fn unimplemented(what: &str) -> Refusal {
    Refusal::new(
        Code::Unimplemented,
        format!("the local index has no {what}: use vectors"),
    )
}

/// The gRPC request that means the same.
pub(crate) async fn into_grpc(
    request: Request<Body>,
) -> Result<(Operation, Request<Body>), Refusal> {
    let (mut parts, body) = request.into_parts();
    let body = read(body).await?;
    let (operation, namespace) = Operation::of(&parts.method, parts.uri.path())?;
    let asked = questions::Asked {
        query: QueryString::parse(parts.uri.query().unwrap_or_default())?,
        namespace,
        body,
    };
    let message = asked.message(operation, &parts.method)?;

    parts.method = Method::POST;
    parts.uri = operation
        .grpc_path()
        .try_into()
        .map_err(|_| Refusal::new(Code::Internal, "the operation has no path"))?;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    // At most as long as its JSON, which is bounded.
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(&message);
    let body = Body::new(Full::new(frame.freeze()));
    Ok((operation, Request::from_parts(parts, body)))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_JSON_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            Code::OutOfRange,
            // Own words, after those for messages.
            format!("Error, request body too large: the limit is: {MAX_JSON_BYTES} bytes"),
        )),
        Err(error) => Err(Refusal::new(
            Code::Cancelled,
            format!("the request broke off: {error}"),
        )),
    }
}

/// The JSON answer that means the same as one of gRPC. What is none of gRPC passes as it is.
pub(crate) async fn into_json(operation: Operation, response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let is_grpc = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        return Response::from_parts(parts, body);
    }
    let (status, frame) = match Status::from_header_map(&parts.headers) {
        Some(status) => (status, Bytes::new()),
        None => match body.collect().await {
            Ok(body) => {
                let status = body.trailers().and_then(Status::from_header_map);
                let missing = || Status::internal("the answer has no status");
                (status.unwrap_or_else(missing), body.to_bytes())
            }
            Err(status) => (status, Bytes::new()),
        },
    };
    if status.code() != Code::Ok {
        return refused(&Refusal::new(status.code(), status.message()));
    }
    // All but the prefix.
    let message = frame.get(5..).unwrap_or_default();
    match answers::json(operation, message) {
        Ok(json) => {
            parts.headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            for name in [
                "grpc-status",
                "grpc-accept-encoding",
                header::TRAILER.as_str(),
            ] {
                parts.headers.remove(name);
            }
            parts.status = StatusCode::OK;
            Response::from_parts(parts, Body::new(Full::<Bytes>::from(json)))
        }
        Err(error) => refused(&Refusal::new(
            Code::Internal,
            format!("the answer cannot be put into JSON: {error}"),
        )),
    }
}

/// An error in the shape of the data plane.
pub(crate) fn refused(refusal: &Refusal) -> Response<Body> {
    let body = serde_json::json!({
        "code": refusal.code as i32,
        "message": refusal.message,
        "details": [],
    });
    json_response(http_status(refusal.code), &body)
}

pub(crate) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::<Bytes>::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The service's HTTP status for a gRPC code.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
