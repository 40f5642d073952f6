//! The port itself: unknown methods, shutting down. HTTP/1.1 beside gRPC stands in `rest`.

use std::time::Duration;

use tonic::Code;
use tonic_prost::ProstCodec;
use vecload_local_index::{Faults, LocalIndex, Options};
use vecload_proto::{DescribeIndexStatsRequest, DescribeIndexStatsResponse};

use crate::support::{Served, refused, upsert, vector};

/// Scenario: a method of the aliases, and one that does not exist.
/// Guarantees: UNIMPLEMENTED, for aliases with the service's reason.
#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let server = Served::plain().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address))
        .expect("an address")
        .connect()
        .await
        .expect("a connection");
    let mut client = tonic::client::Grpc::new(channel);
    let mut call = async |path: &'static str| {
        client.ready().await.expect("ready");
        let codec = ProstCodec::<DescribeIndexStatsRequest, DescribeIndexStatsResponse>::default();
        let request = tonic::Request::new(DescribeIndexStatsRequest::default());
        client
            .unary(request, http::uri::PathAndQuery::from_static(path), codec)
            .await
    };
    refused(
        call("/NamespaceAliasService/ListNamespaceAliases").await,
        Code::Unimplemented,
        "Namespace aliases must be enabled for the index: the local index has none",
    );
    let unknown = call("/VectorService/Reindex").await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::Unimplemented);
    server.stop().await;
}

/// Scenario: the server is stopped while a request is under way (held up by a delay), in a directory that is opened again at once.
/// Guarantees: the request is answered before `serve` returns, its write is there, and the directory is free.
#[tokio::test]
async fn requests_in_flight_finish_at_shutdown() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options {
        data_dir: Some(dir.path().to_owned()),
        faults: Faults {
            delay: 1.0,
            delay_for: Duration::from_millis(50),
            ..Faults::default()
        },
        ..Options::default()
    };
    let server = Served::start(options.clone()).await;
    let mut client = server.client().await;
    let request =
        tokio::spawn(async move { upsert(&mut client, "", vec![vector("a", &[1.0])]).await });
    while server.index.audit().counts.upserts == 0 {
        tokio::task::yield_now().await;
    }
    server.stop().await;
    let index = LocalIndex::open(options).expect("the directory is free");
    assert_eq!(index.count(""), 1);
    request.await.expect("no panic").expect("answered");
}
