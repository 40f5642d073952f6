//! Reading back, from the local index and from servers that say less.

use std::future::pending;

use vecload_local_index::LocalIndex;
use vecload_record::{Dense, Metadata, Operation, RecordRef, Sparse};

use super::*;
use crate::{IndexShape, MetadataPolicy, Scratch, VectorType};

/// Values whose bits are easily lost: the least, the largest, zero with a sign, and one tenth.
const VALUES: [f32; 4] = [f32::MIN_POSITIVE / 2.0, f32::MAX, -0.0, 0.1];

async fn local_index() -> Client {
    let index = LocalIndex::open(Default::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { index.serve(listener, pending()).await });
    Client::new(&settings(url)).unwrap()
}

/// One record, as a frame and as the wire bytes in it.
fn record(id: &str) -> (Bytes, Vec<u8>) {
    let record = RecordRef {
        operation: Operation::Upsert,
        namespace: None,
        id,
        dense: Some(Dense::Floats(&VALUES)),
        sparse: Some(Sparse {
            indices: &[u32::MAX, 0],
            values: &[1e-30, 2.0],
        }),
        metadata: Metadata::Json(r#"{"genre":"drama","year":1999,"price":0.1,"tags":["a"]}"#),
    };
    let mut scratch = Scratch::new(MetadataPolicy::default());
    let measured = crate::measure(&record, &IndexShape::default(), &mut scratch).unwrap();
    let mut frame = Vec::new();
    crate::begin(&mut frame);
    crate::append(&record, &measured, &scratch, &mut frame).unwrap();
    let wire = frame[FRAME_PREFIX..].to_vec();
    crate::seal("ns", &mut frame);
    (frame.into(), wire)
}

/// Scenario: a record with values of delicate bits is written to the local index and fetched, with another id.
/// Guarantees: it is the same to the last bit; the id that is not there is not among the found; the query says that the write is indexed.
#[tokio::test]
async fn what_was_written_is_read() {
    let client = local_index().await;
    let (frame, wire) = record("r-1");
    let ack = client.upsert(frame, PATIENT).await.unwrap();
    let ids = vec!["r-1".to_owned(), "r-2".to_owned()];
    let fetched = client.fetch("ns", ids.clone(), PATIENT).await.unwrap();
    assert_eq!(fetched.records.keys().collect::<Vec<_>>(), ["r-1"]);
    assert_eq!(fetched.records["r-1"].differences(&wire).unwrap(), []);
    let elsewhere = client.fetch("", ids, PATIENT).await.unwrap();
    assert!(elsewhere.records.is_empty());

    let shape = client.describe_index_stats(PATIENT).await.unwrap().shape;
    assert_eq!(shape.dimension, Some(4));
    let indexed = client.max_indexed_lsn("ns", &shape, PATIENT).await.unwrap();
    assert!(ack.lsn.is_some());
    assert_eq!(indexed, ack.lsn);
}

/// Scenario: 250 ids of a namespace are listed, page by page, and those of one that is not there.
/// Guarantees: pages of a hundred, each id once, and an end; of the other one nothing.
#[tokio::test]
async fn ids_are_listed_in_pages() {
    let client = local_index().await;
    for number in 0..250 {
        let (frame, _) = record(&format!("r-{number}"));
        client.upsert(frame, PATIENT).await.unwrap();
    }
    let (mut ids, mut pages, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = client.list("ns", after, PATIENT).await.unwrap();
        pages.push(page.ids.len());
        ids.extend(page.ids);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [100, 100, 50]);
    let mut expected: Vec<String> = (0..250).map(|number| format!("r-{number}")).collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    let none = client.list("other", None, PATIENT).await.unwrap();
    assert_eq!((none.ids.len(), none.next), (0, None));
}

/// Scenario: answers to queries with the header, with its older name, without, and with one that is no number; an index of unknown shape.
/// Guarantees: what is missing is unknown, never 0; a sparse index is asked with a sparse vector; a shape that is not known is not asked.
#[tokio::test]
async fn what_is_not_said_is_unknown() {
    let dense = IndexShape {
        dimension: Some(2),
        ..IndexShape::default()
    };
    for (header, lsn) in [
        (Some(("x-pinecone-max-indexed-lsn", "41")), Some(41)),
        (Some(("x-pinecone-lsn-reconciled", "7")), Some(7)),
        (Some(("x-pinecone-max-indexed-lsn", "soon")), None),
        (Some(("x-pinecone-request-lsn", "9")), None),
        (None, None),
    ] {
        let (url, seen) = serve(move |_| {
            let mut answer = grpc(message(&vecload_proto::QueryResponse::default()));
            if let Some((name, value)) = header {
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
            Ok(answer)
        })
        .await;
        let client = Client::new(&settings(url)).unwrap();
        let said = client.max_indexed_lsn("ns", &dense, PATIENT).await.unwrap();
        assert_eq!(said, lsn, "{header:?}");
        let sparse = IndexShape {
            vector_type: Some(VectorType::Sparse),
            ..IndexShape::default()
        };
        let said = client
            .max_indexed_lsn("ns", &sparse, PATIENT)
            .await
            .unwrap();
        assert_eq!(said, lsn, "{header:?}");
        let unknown = IndexShape::default();
        let said = client
            .max_indexed_lsn("ns", &unknown, PATIENT)
            .await
            .unwrap();
        assert_eq!(said, None);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|seen| seen.path == "/VectorService/Query"));
        let query = |at: usize| {
            let body = seen[at].body.slice(FRAME_PREFIX..);
            <vecload_proto::QueryRequest as prost::Message>::decode(body).unwrap()
        };
        assert_eq!((query(0).top_k, query(0).vector), (1, vec![1.0; 2]));
        assert!(query(1).vector.is_empty() && query(1).sparse_vector.is_some());
    }
}
