//! What sending alone costs: requests that were encoded before, as `load` sends them or down a bare socket.
//!
//! ```text
//! send upsert URL FILE RECORDS [CA]  by the client of vecload, 16 in flight; with TLS, CA is what to trust
//! send socket ADDRESS FILE RECORDS   the same bytes, in writes of 128 KiB, as iperf3 does it
//! send sink                          what the bare socket goes to
//! ```
//!
//! RECORDS is how many are sent; those of the first requests are sent again and again.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use vecload_benches::Failure;
use vecload_benches::client::{Account, own_cpu};
use vecload_benches::requests::{self, Request};
use vecload_pinecone::{Client, ClientSettings};

const IN_FLIGHT: usize = 16;
const WRITE_BYTES: usize = 128 << 10;
const ATTEMPT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["sink"] => sink(),
        ["upsert", url, file, records] => {
            send(file, records, |requests| upsert(url, None, requests))
        }
        ["upsert", url, file, records, ca] => send(file, records, |requests| {
            upsert(url, Some(ca.into()), requests)
        }),
        ["socket", address, file, records] => {
            send(file, records, |requests| socket(address, &requests))
        }
        _ => Err(
            "usage: send upsert URL FILE RECORDS [CA] | send socket ADDRESS FILE RECORDS".into(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Encodes, sends, and gives account of the sending alone.
fn send(
    file: &str,
    records: &str,
    way: impl FnOnce(Vec<Arc<Request>>) -> Result<u64, Failure>,
) -> Result<(), Failure> {
    let records: u64 = records.parse()?;
    let distinct = requests::encode(Path::new(file))?;
    let (mut requests, mut count) = (Vec::new(), 0);
    for request in distinct.iter().cycle() {
        if count >= records {
            break;
        }
        count += request.records;
        requests.push(Arc::clone(request));
    }
    let bytes = requests.iter().map(|request| request.frame.len() as u64);
    let bytes = bytes.sum();
    let before = own_cpu()?;
    let acknowledged = way(requests)?;
    let account = Account {
        records: acknowledged,
        own_cpu_seconds: Some((own_cpu()? - before).as_secs_f64()),
        bytes: Some(bytes),
        ..Account::default()
    };
    println!("{}", serde_json::json!(account));
    Ok(())
}

/// On the runtime that the command has.
#[tokio::main]
async fn upsert(
    url: &str,
    ca_file: Option<PathBuf>,
    requests: Vec<Arc<Request>>,
) -> Result<u64, Failure> {
    let client = Client::new(&ClientSettings {
        host: url.to_owned(),
        ca_file,
        ..ClientSettings::default()
    })?;
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut attempts = JoinSet::new();
    for request in requests {
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let client = client.clone();
        attempts.spawn(async move {
            let _permit = permit;
            client.upsert(request.frame.clone(), ATTEMPT).await
        });
    }
    let mut acknowledged = 0;
    while let Some(answer) = attempts.join_next().await {
        let answer = answer?.map_err(|failure| failure.to_string())?;
        acknowledged += u64::from(answer.upserted_count);
    }
    Ok(acknowledged)
}

fn socket(address: &str, requests: &[Arc<Request>]) -> Result<u64, Failure> {
    let mut stream = TcpStream::connect(address)?;
    let mut records = 0;
    for request in requests {
        for piece in request.frame.chunks(WRITE_BYTES) {
            stream.write_all(piece)?;
        }
        records += request.records;
    }
    // The sink closes once it has read everything.
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(records)
}

fn sink() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!(
        "{}",
        serde_json::json!({"host": listener.local_addr()?.to_string()})
    );
    let mut buffer = vec![0; WRITE_BYTES];
    for stream in listener.incoming() {
        let mut stream = stream?;
        while stream.read(&mut buffer)? > 0 {}
    }
    Ok(())
}
