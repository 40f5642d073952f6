//! What was acknowledged stays.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use vecload_local_index::{LocalIndex, Metric, OpenError, Options};

use crate::support::{Served, connect, lsn, sparse, text, upsert, vector, with_metadata};

fn in_dir(dir: &Path) -> Options {
    Options {
        data_dir: Some(dir.to_owned()),
        ..Options::default()
    }
}

/// Scenario: records with all their parts in two namespaces; the server stops and another opens the directory.
/// Guarantees: records are equal to the bit, counts, dimension and metric are there, LSNs go on.
#[tokio::test]
async fn restart_finds_everything() {
    let dir = tempfile::tempdir().expect("a folder");
    let awkward = [f32::MIN_POSITIVE, -0.0, 1.0e-45, f32::MAX];
    let mut full = with_metadata(vector("a", &awkward), &[("k", text("v"))]);
    full.sparse_values = sparse("", &[u32::MAX, 0], &[0.25, -1.0]).sparse_values;

    let server = Served::start(in_dir(dir.path())).await;
    let mut client = server.client().await;
    let records = vec![full.clone(), vector("b", &[1.0; 4])];
    upsert(&mut client, "", records).await.expect("taken");
    for _ in 0..3 {
        upsert(&mut client, "other", vec![vector("c", &[1.0; 4])])
            .await
            .expect("taken");
    }
    server.stop().await;

    let server = Served::start(in_dir(dir.path())).await;
    let stored = server.index.record("", "a").expect("read").expect("there");
    assert_eq!(stored, full);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&stored.values), bits(&awkward));
    assert_eq!(
        (server.index.count(""), server.index.count("other")),
        (2, 1)
    );
    assert_eq!(server.index.dimension(), Some(4));
    assert!(
        server.index.audit().writes.is_empty(),
        "the books begin anew"
    );
    let mut client = server.client().await;
    let answer = upsert(&mut client, "other", vec![vector("d", &[1.0; 4])]).await;
    assert_eq!(lsn(&answer.expect("taken"), "x-pinecone-request-lsn"), 4);
    server.stop().await;
}

/// Scenario: a directory is opened twice, then with another dimension and metric, then as it is.
/// Guarantees: the second opener and the mismatches are refused with the directory and both values; the last works.
#[tokio::test]
async fn wrong_openings_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = LocalIndex::open(Options {
        dimension: Some(3),
        metric: Some(Metric::Cosine),
        ..in_dir(dir.path())
    })
    .expect("opens");
    let error = LocalIndex::open(in_dir(dir.path())).err().expect("in use");
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains("in use by another local index"));
    drop(first);

    for (options, words) in [
        (
            Options {
                dimension: Some(4),
                ..in_dir(dir.path())
            },
            "has dimension 3, not 4",
        ),
        (
            Options {
                metric: Some(Metric::Euclidean),
                ..in_dir(dir.path())
            },
            "has metric cosine, not euclidean",
        ),
        (
            Options {
                discard: true,
                ..in_dir(dir.path())
            },
            "discard keeps nothing",
        ),
    ] {
        let error = LocalIndex::open(options)
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains(words), "{error}");
    }
    let again = LocalIndex::open(in_dir(dir.path())).expect("opens as it is");
    assert_eq!(again.dimension(), Some(3));

    let file = dir.path().join("not-a-folder");
    std::fs::write(&file, "x").expect("written");
    let error = LocalIndex::open(in_dir(&file)).err().expect("refused");
    assert!(error.to_string().contains("not-a-folder"), "{error}");
}

/// Scenario: 400 upserts at once over 4 connections into a directory.
/// Guarantees: all are there after a restart (the commits that they shared were whole).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_upserts_are_all_durable() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Served::start(in_dir(dir.path())).await;
    let mut requests = JoinSet::new();
    for connection in 0..4 {
        let client = server.client().await;
        for n in 0..100 {
            let mut client = client.clone();
            requests.spawn(async move {
                let records = (0..5).map(|r| vector(&format!("{connection}-{n}-{r}"), &[1.0; 8]));
                let namespace = format!("ns{}", n % 3);
                upsert(&mut client, &namespace, records.collect())
                    .await
                    .expect("taken");
            });
        }
    }
    requests.join_all().await;
    server.stop().await;
    let index = LocalIndex::open(in_dir(dir.path())).expect("opens");
    let counts = ["ns0", "ns1", "ns2"].map(|name| index.count(name));
    assert_eq!(counts, [34 * 20, 33 * 20, 33 * 20]);
    for connection in 0..4 {
        let id = format!("{connection}-99-4");
        assert!(index.record("ns0", &id).expect("read").is_some());
    }
}

/// The server of `kill_loses_no_acknowledged_write`: serves the directory named in the environment until it is killed.
#[tokio::test]
#[ignore = "a process that other tests start"]
async fn server_process() {
    let Some(dir) = std::env::var_os("LOCAL_INDEX_DIR") else {
        return;
    };
    let index = LocalIndex::open(in_dir(Path::new(&dir))).expect("opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!(
        "listening on {}",
        listener.local_addr().expect("an address")
    );
    index
        .serve(listener, std::future::pending())
        .await
        .expect("served");
}

/// Scenario: a server process is killed (SIGKILL) five times in mid-load, after a seeded number of acknowledgements.
/// Guarantees: every write that was acknowledged before a kill is there afterwards, with its LSN behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_loses_no_acknowledged_write() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut acknowledged: Vec<String> = Vec::new();
    let mut highest = 0;
    for round in 0..5 {
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "storage::server_process",
                "--ignored",
                "--nocapture",
            ])
            .env("LOCAL_INDEX_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let address = BufReader::new(process.stdout.take().expect("piped"))
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.rsplit_once("listening on ").map(|(_, a)| a.to_owned()))
            .expect("the address");
        let client = connect(address.parse().expect("an address")).await;

        let enough = dice.random_range(5..60);
        let mut requests = JoinSet::new();
        let mut next = 0;
        let mut begin = |requests: &mut JoinSet<_>| {
            let id = format!("{round}-{next}");
            next += 1;
            let mut client = client.clone();
            requests.spawn(async move {
                let records = vec![vector(&id, &[1.0; 256]), vector("shared", &[2.0; 256])];
                let answer = upsert(&mut client, "", records).await.ok()?;
                Some((id, lsn(&answer, "x-pinecone-request-lsn")))
            });
        };
        for _ in 0..8 {
            begin(&mut requests);
        }
        let mut done = 0;
        while let Some(answer) = requests.join_next().await {
            // After the kill the rest of them fail; what was answered before counts.
            let Some((id, lsn)) = answer.expect("no panic") else {
                continue;
            };
            acknowledged.push(id);
            highest = highest.max(lsn);
            done += 1;
            if done < enough {
                begin(&mut requests);
            } else if done == enough {
                process.kill().expect("killed");
            }
        }
        process.wait().expect("ended");

        let index = LocalIndex::open(in_dir(dir.path())).expect("opens after a kill");
        for id in &acknowledged {
            let stored = index.record("", id).expect("read");
            assert!(
                stored.is_some(),
                "round {round}: {id} was acknowledged and is lost"
            );
        }
        assert!(
            index.count("") > acknowledged.len() as u64,
            "they and the shared one"
        );
    }
    let server = Served::start(in_dir(dir.path())).await;
    let mut client = server.client().await;
    let answer = upsert(&mut client, "", vec![vector("last", &[1.0; 256])]).await;
    assert!(lsn(&answer.expect("taken"), "x-pinecone-request-lsn") > highest);
    server.stop().await;
}
