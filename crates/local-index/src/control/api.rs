//! The control plane over REST.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use tonic::body::Body;

use super::definition::{Definition, Dialect};
use super::{Control, ControlError, Described};
use crate::rest::json_response;

/// Of a body: 20 tags at their longest are a hundredth of it.
const MAX_BODY_BYTES: usize = 1 << 20;
/// What the control plane answers for, known or not.
const OWN: [&str; 6] = [
    "/indexes",
    "/collections",
    "/backups",
    "/restore-jobs",
    "/embed",
    "/models",
];

/// Whether a path belongs to the control plane.
pub(crate) fn owns(path: &str) -> bool {
    OWN.iter().any(|own| {
        path.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Answers a request to the control plane.
pub(crate) async fn answer(control: &Arc<Control>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let asked = Asked {
        dialect: Dialect::of(text(&parts.headers, "x-pinecone-api-version")),
        with_scheme: wants_scheme(text(&parts.headers, header::USER_AGENT.as_str())),
    };
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return refused(&ControlError::invalid("The request body is too large")),
    };
    match asked
        .carry_out(control, &parts.method, parts.uri.path(), &body)
        .await
    {
        Ok(response) => response,
        Err(error) => refused(&error),
    }
}

fn refused(error: &ControlError) -> Response<Body> {
    let body = json!({
        "error": {"code": error.code, "message": error.message},
        "status": error.status.as_u16(),
    });
    json_response(error.status, &body)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a client takes a host for one with TLS unless it begins with `http://`. The REST clients of
/// Python and TypeScript do. Those that speak gRPC first (Go, Java, .NET) want the bare host that the
/// service gives, and are told by themselves that there is no TLS.
fn wants_scheme(user_agent: Option<&str>) -> bool {
    let agent = user_agent.unwrap_or_default();
    agent.starts_with("python-client-") || agent.contains("lang=typescript")
}

/// How a client wants to be answered.
struct Asked {
    dialect: Dialect,
    with_scheme: bool,
}

impl Asked {
    async fn carry_out(
        &self,
        control: &Arc<Control>,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Response<Body>, ControlError> {
        let name = path.strip_prefix("/indexes/");
        match (method.as_str(), path, name) {
            ("GET", "/indexes", _) => {
                let all: Vec<_> = control
                    .list()
                    .iter()
                    .map(|index| self.json(index))
                    .collect();
                Ok(json_response(StatusCode::OK, &json!({"indexes": all})))
            }
            ("POST", "/indexes", _) => {
                let definition = Definition::asked(body)?;
                // In a task: a client that goes away must not leave half an index.
                let control = control.clone();
                let created = tokio::spawn(async move { control.create(definition).await });
                let created = created.await.map_err(|e| ControlError::internal(&e))??;
                Ok(json_response(StatusCode::CREATED, &self.json(&created)))
            }
            ("GET", _, Some(name)) if is_name(name) => {
                let index = control.describe(name)?;
                Ok(json_response(StatusCode::OK, &self.json(&index)))
            }
            ("PATCH", _, Some(name)) if is_name(name) => {
                let index = control.configure(name, |definition| definition.configure(body))?;
                // From 2025-10 the answer is the index; older clients take no notice.
                Ok(json_response(StatusCode::OK, &self.json(&index)))
            }
            ("DELETE", _, Some(name)) if is_name(name) => {
                let (control, name) = (control.clone(), name.to_owned());
                let deleted = tokio::spawn(async move { control.delete(&name).await });
                deleted.await.map_err(|e| ControlError::internal(&e))??;
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::ACCEPTED;
                Ok(response)
            }
            _ => Err(ControlError::unimplemented(format!(
                "the local index does not know {method} {path}"
            ))),
        }
    }

    fn json(&self, index: &Described) -> serde_json::Value {
        index.json(self.dialect, &self.host(index.address))
    }

    fn host(&self, address: SocketAddr) -> String {
        match self.with_scheme {
            true => format!("http://{address}"),
            false => address.to_string(),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "create-for-model"
}
