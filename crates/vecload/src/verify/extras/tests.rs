use std::collections::HashSet;

use proptest::prelude::*;
use vecload_local_index::LocalIndex;
use vecload_pinecone::{Client, ClientSettings, IndexShape, MetadataPolicy};
use vecload_source::{Columns, PlanSettings, discover};

use super::*;
use crate::settings::Sample;
use crate::stop::Stop;
use crate::verify::Rules;

const DEFAULT: &str = "films";

/// A finder for a file with rows of these namespaces and ids, of which every seventh was not loaded.
fn finder(folder: &std::path::Path, rows: &[(u8, u16)], namespaces: &[&str]) -> Finder {
    let file = folder.join("rows.jsonl");
    let lines = rows.iter().map(|(namespace, id)| {
        let id = format!("r{id}");
        let line = match namespace {
            0 => serde_json::json!({ "id": id, "values": [1] }),
            _ => serde_json::json!({ "id": id, "values": [1], "namespace": name(*namespace) }),
        };
        line.to_string() + "\n"
    });
    std::fs::write(&file, lines.collect::<String>()).expect("written");
    let inputs = discover(&[file.display().to_string()], &Default::default());
    let settings = PlanSettings {
        columns: Columns {
            own_namespaces: true,
            ..Columns::default()
        },
        ..PlanSettings::default()
    };
    let plan = Plan::new(inputs.expect("found"), &settings).expect("a plan");
    let mut loaded = RowSet::default();
    for row in (0..rows.len() as u64).filter(|row| is_loaded(*row)) {
        loaded.insert(row, row + 1);
    }
    Finder {
        loaded: vec![loaded; plan.splits.len()],
        plan: Arc::new(plan),
        default_namespace: DEFAULT.to_owned(),
        namespaces: namespaces.iter().map(|name| Arc::from(*name)).collect(),
        folder: folder.to_owned(),
        is_cancelled: Arc::default(),
    }
}

fn is_loaded(row: u64) -> bool {
    row % 7 != 3
}

/// The namespace with that number on the wire; the first is the one of rows that name none.
fn name(namespace: u8) -> &'static str {
    [DEFAULT, "", "b"][usize::from(namespace)]
}

/// Gives the finder these ids, each as a page, and waits for what it finds.
fn find(finder: Finder, listed: &[(u8, u16)]) -> Extras {
    let (pages_in, pages) = async_channel::unbounded();
    for (namespace, id) in listed {
        let ids = vec![format!("r{id}")];
        let page = (Arc::from(name(*namespace)), ids);
        pages_in.try_send(page).expect("sent");
    }
    drop(pages_in);
    finder.find(&pages).expect("found")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Scenario: any rows, of which some were not loaded, and any ids that are listed, some of them twice.
    /// Guarantees: found is what was listed and not loaded, each once; the first ten are of these.
    #[test]
    fn what_was_not_loaded_is_found(
        rows in prop::collection::vec((0_u8..3, 0_u16..60), 1..120),
        listed in prop::collection::vec((0_u8..2, 0_u16..60), 0..120),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let found = find(finder(folder.path(), &rows, &[DEFAULT, ""]), &listed);
        let loaded: HashSet<&(u8, u16)> = (0..).zip(&rows)
            .filter_map(|(number, row)| is_loaded(number).then_some(row))
            .collect();
        let expected: HashSet<(String, String)> = listed
            .iter()
            .filter(|id| !loaded.contains(id))
            .map(|(namespace, id)| (name(*namespace).to_owned(), format!("r{id}")))
            .collect();
        prop_assert_eq!(found.found, expected.len() as u64);
        prop_assert_eq!(found.first.len(), expected.len().min(NAMED));
        let named: HashSet<(String, String)> = found.first.into_iter().collect();
        prop_assert_eq!(named.len(), expected.len().min(NAMED));
        prop_assert!(named.is_subset(&expected));
        // The input alone is left.
        prop_assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1);
    }
}

/// Scenario: 350 ids, of which 200 at the most are listed; then all, with no time for it.
/// Guarantees: so many are listed and not more, and it is said that there are more.
#[tokio::test]
async fn a_listing_has_its_bounds() {
    let index = LocalIndex::open(Default::default()).expect("the index opens");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { index.serve(listener, std::future::pending()).await });
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    let lines = (0..350).map(|number| format!("{{\"id\":\"r{number}\",\"values\":[1]}}\n"));
    std::fs::write(&input, lines.collect::<String>()).expect("written");
    let load = crate::Load::builder()
        .input(input.display().to_string())
        .host(&host)
        .namespace("b")
        .run_dir(folder.path().join("run"));
    let report = load.run().await.expect("begun");
    assert_eq!(report.records_loaded, 350);
    let settings = ClientSettings {
        host,
        ..ClientSettings::default()
    };
    let (client, stop) = (Client::new(&settings).expect("a client"), Stop::default());
    let rules = Rules {
        default_namespace: String::new(),
        shape: IndexShape::default(),
        policy: MetadataPolicy::default(),
    };
    let prover = |seconds| Prover {
        client: &client,
        rules: rules.clone(),
        stop: &stop,
        sample: Sample::All,
        seed: 1,
        patience: std::time::Duration::from_secs(seconds),
        attempt_timeout: std::time::Duration::from_secs(60),
        scratch: PathBuf::new(),
    };
    for (seconds, most, listed, why) in [
        (
            600,
            200,
            200,
            Some("200 ids were listed, the most that are"),
        ),
        (600, 350, 350, None),
        (0, 350, 0, Some("0 ids were listed within 0ns")),
    ] {
        let (pages_in, pages) = async_channel::unbounded();
        let namespaces = BTreeSet::from(["b".into()]);
        let unknown = prover(seconds).list(namespaces, most, &pages_in).await;
        let unknown = unknown.expect("not stopped").unwrap_or_default();
        match why {
            Some(why) => assert!(unknown.contains(why), "{unknown}"),
            None => assert_eq!(unknown, ""),
        }
        drop(pages_in);
        let mut ids = 0;
        while let Ok((_, page)) = pages.try_recv() {
            ids += page.len();
        }
        assert_eq!(ids, listed);
    }
}
