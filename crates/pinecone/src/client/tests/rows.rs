//! The table of classes, row by row, from what a real server sends.

use http::{HeaderValue, StatusCode};

use super::*;
use crate::classify::tests::cases;
use crate::failure::{Code, Origin};

/// The failure as an answer on the wire; nothing for those that are made on this side.
fn as_answer(failure: &Failure) -> Option<Response<Reply>> {
    let wait = match failure.pushback {
        Some(Pushback::Wait(wait)) => Some(wait),
        Some(Pushback::DoNotRetry) => panic!("no case has it"),
        None => None,
    };
    let value = |text: &str| HeaderValue::from_str(text).unwrap();
    match failure.origin {
        Origin::Connection | Origin::Timeout => None,
        Origin::Server => {
            let mut answer = trailers_only(&[]);
            let headers = answer.headers_mut();
            headers.insert("grpc-status", (failure.code as u16).into());
            headers.insert("grpc-message", value(&failure.message));
            if let Some(wait) = wait {
                let millis = wait.as_millis().to_string();
                headers.insert("grpc-retry-pushback-ms", value(&millis));
            }
            Some(answer)
        }
        Origin::FrontLayer => {
            let mut answer = reply(failure.message.clone().into());
            *answer.status_mut() = StatusCode::from_u16(failure.http_status.unwrap()).unwrap();
            let headers = answer.headers_mut();
            headers.insert("content-type", value("text/plain"));
            if let Some(wait) = wait {
                headers.insert("retry-after", value(&wait.as_secs().to_string()));
            }
            Some(answer)
        }
    }
}

/// Scenario: a server gives each answer of the table's cases, one after the other.
/// Guarantees: what comes out of the transport has the class and the bound on attempts of its row, and says
/// who answered; no row depends on a failure that only a test could make.
#[tokio::test]
async fn each_answer_has_its_class() {
    let all = || {
        cases()
            .into_iter()
            .filter(|(failure, ..)| as_answer(failure).is_some())
    };
    assert!(all().count() > 50, "only {} answers", all().count());
    let answers: Vec<_> = all().map(|(failure, ..)| failure).collect();
    let (url, _) = serve(move |number: usize| Ok(as_answer(&answers[number]).unwrap())).await;
    let client = Client::new(&settings(url)).unwrap();
    for (sent, class, attempts) in all() {
        let failure = client.upsert(frame(), PATIENT).await.unwrap_err();
        assert_eq!(failure.origin, sent.origin, "{sent:?}");
        assert_eq!(failure.pushback, sent.pushback, "{sent:?}");
        if sent.origin == Origin::Server {
            assert_eq!((failure.code, &failure.message), (sent.code, &sent.message));
        }
        let verdict = classify(&failure);
        assert_eq!(
            (verdict.class, verdict.attempts),
            (class, attempts),
            "{failure:?}"
        );
    }
}

/// How the first connection ends, once a request has begun on it.
#[derive(Debug, Clone, Copy)]
enum End {
    /// GOAWAY that the request came too late for, with the connection.
    GoAway(h2::Reason),
    /// GOAWAY, and the request is answered as the last one.
    Leave,
    /// The stream is reset while the client still sends its body.
    ResetInBody(h2::Reason),
}

/// Serves a connection of each kind, the first with that end, further ones well.
async fn serve_ending(end: End) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                let mut ending = (number == 0).then_some(end);
                while let Some(Ok((request, respond))) = connection.accept().await {
                    match ending.take() {
                        Some(End::GoAway(reason)) => connection.abrupt_shutdown(reason),
                        Some(End::ResetInBody(reason)) => {
                            let mut respond = respond;
                            tokio::spawn(async move {
                                request.into_body().data().await.unwrap().unwrap();
                                respond.send_reset(reason);
                            });
                        }
                        Some(End::Leave) => {
                            tokio::spawn(acknowledge(request, respond));
                            connection.graceful_shutdown();
                        }
                        None => drop(tokio::spawn(acknowledge(request, respond))),
                    }
                }
            });
        }
    });
    url
}

/// Reads a request and answers that one record was taken.
async fn acknowledge(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) {
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    stream.send_data(ack(1), false).unwrap();
    let status = [(http::HeaderName::from_static("grpc-status"), 0.into())];
    stream.send_trailers(status.into_iter().collect()).unwrap();
}

/// Scenario: the server ends its first connection in mid-call: by GOAWAY for no error, for too many pings, for a
/// fault of its own, or by a reset while a large request is still being sent.
/// Guarantees: a failure of the connection, transient whatever reason and code tonic makes of it; the next attempt
/// succeeds.
#[tokio::test]
async fn connections_that_are_ended_in_mid_call() {
    for end in [
        End::GoAway(h2::Reason::NO_ERROR),
        End::GoAway(h2::Reason::ENHANCE_YOUR_CALM),
        End::GoAway(h2::Reason::INTERNAL_ERROR),
        End::ResetInBody(h2::Reason::CANCEL),
        End::ResetInBody(h2::Reason::INTERNAL_ERROR),
        End::ResetInBody(h2::Reason::ENHANCE_YOUR_CALM),
    ] {
        let client = Client::new(&settings(serve_ending(end).await)).unwrap();
        // More than a window: the client waits for leave to send the rest.
        let large = Bytes::from(vec![0; 1_000_000]);
        let failure = client.upsert(large.clone(), PATIENT).await.unwrap_err();
        assert_eq!(failure.origin, Origin::Connection, "{end:?}: {failure:?}");
        let verdict = classify(&failure);
        assert_eq!(
            (verdict.class, verdict.attempts),
            (Class::Transient, None),
            "{end:?}: {failure:?}"
        );
        let ack = client.upsert(large, PATIENT).await;
        assert_eq!(ack.unwrap().upserted_count, 1, "{end:?}");
    }
}

/// Scenario: a server that is about to go answers what it has begun, and serves the rest on the next connection.
/// Guarantees: the call that saw the GOAWAY succeeds, and so does the next one, at the latest in a second attempt
/// whose first one failed as a connection does.
#[tokio::test]
async fn a_server_that_leaves_in_good_order() {
    let client = Client::new(&settings(serve_ending(End::Leave).await)).unwrap();
    let ack = client.upsert(frame(), PATIENT).await;
    assert_eq!(ack.unwrap().upserted_count, 1);
    if let Err(failure) = client.upsert(frame(), PATIENT).await {
        assert_eq!(failure.origin, Origin::Connection, "{failure:?}");
        assert_eq!(classify(&failure).class, Class::Transient);
        let ack = client.upsert(frame(), PATIENT).await;
        assert_eq!(ack.unwrap().upserted_count, 1);
    }
}

/// Scenario: a refusal for the rate that forbids to come again, over the wire.
/// Guarantees: one attempt is all that is allowed.
#[tokio::test]
async fn a_pushback_that_forbids_to_come_again() {
    let failure = answered(|| {
        trailers_only(&[
            ("grpc-status", "8"),
            ("grpc-message", "rate limit"),
            ("grpc-retry-pushback-ms", "-1"),
        ])
    });
    let failure = failure.await.unwrap_err();
    assert_eq!(
        (failure.code, failure.pushback),
        (Code::ResourceExhausted, Some(Pushback::DoNotRetry))
    );
    let verdict = classify(&failure);
    assert_eq!(
        (verdict.class, verdict.attempts),
        (Class::Throttled, Some(1))
    );
}
