//! A run is continued by the same command: over the whole library, against the embedded index.

#![expect(
    clippy::expect_used,
    reason = "clippy only knows functions marked as tests; all of this is test code"
)]

mod continuing;
mod overview;
mod refusals;
mod sharding;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vecload::{Load, LoadBuilder, Report};
use vecload_local_index::{Faults, LocalIndex, Options};

/// An index that is served on this machine.
struct Served {
    index: LocalIndex,
    host: String,
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn start(faults: Faults) -> Self {
        let index = LocalIndex::open(Options {
            faults,
            ..Options::default()
        })
        .expect("an index");
        Self::on(index, "127.0.0.1:0").await
    }

    async fn on(index: LocalIndex, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let host = format!("http://{}", listener.local_addr().expect("an address"));
        let (shutdown, ended) = oneshot::channel::<()>();
        let serving = index.clone();
        let serving = tokio::spawn(async move {
            let ended = async { drop(ended.await) };
            serving.serve(listener, ended).await
        });
        Self {
            index,
            host,
            shutdown,
            serving,
        }
    }

    /// Another index at the same address.
    async fn replaced(self, faults: Faults) -> Self {
        let address = self.host.trim_start_matches("http://").to_owned();
        drop(self.shutdown);
        self.serving.await.expect("no panic").expect("served");
        let index = LocalIndex::open(Options {
            faults,
            ..Options::default()
        });
        Self::on(index.expect("an index"), &address).await
    }
}

/// A folder with inputs and a place for the run.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// Writes an input of good rows with these ids.
    fn input(&self, name: &str, ids: impl IntoIterator<Item = String>) -> PathBuf {
        let lines: String = ids.into_iter().map(|id| good_line(&id)).collect();
        self.write(name, &lines)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A load of inputs into an index, in this desk's run directory.
    fn load(&self, host: &str, inputs: &[&Path]) -> LoadBuilder {
        Load::builder()
            .with(|settings| {
                settings.workers = 1;
                settings.request_records = 10;
                settings.seed = 1;
            })
            .inputs(inputs.iter().map(|path| path.display().to_string()))
            .host(host)
            .run_dir(self.run_dir())
    }

    fn report(&self) -> Vec<u8> {
        std::fs::read(self.run_dir().join("report.json")).expect("a report")
    }
}

fn good_line(id: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"values\":[0.5,1.5],\"metadata\":{{\"year\":null,\"id\":\"{id}\"}}}}\n"
    )
}

fn ids(name: &str, count: usize) -> impl Iterator<Item = String> + use<> {
    let name = name.to_owned();
    (0..count).map(move |number| format!("{name}-{number}"))
}

/// The books of a report, which must balance on every side.
fn books(report: &Report) -> [u64; 5] {
    let total = [
        report.records_read,
        report.records_loaded,
        report.records_rejected,
        report.records_superseded,
        report.records_remaining,
    ];
    assert_eq!(total[0], total[1..].iter().sum::<u64>(), "{total:?}");
    let inputs = report.inputs.iter().map(|input| input.books.read);
    assert_eq!(inputs.sum::<u64>(), report.records_read);
    let namespaces = report.namespaces.values();
    let loaded = namespaces.map(|namespace| namespace.books.loaded);
    assert_eq!(loaded.sum::<u64>(), report.records_loaded);
    total
}
