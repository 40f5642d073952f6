use super::*;
use crate::run_dir::RunDir;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use tempfile::TempDir;

struct Bucket {
    store: Arc<InMemory>,
    scratch: TempDir,
}

impl Bucket {
    fn new() -> Self {
        Self {
            store: Arc::default(),
            scratch: tempfile::tempdir().expect("a folder"),
        }
    }

    fn fetch(&self) -> RunDir {
        let store = Arc::clone(&self.store) as Arc<dyn object_store::ObjectStore>;
        let folder = StoreFolder::over(store, "runs/a").expect("a folder");
        RunDir::fetch(folder, self.scratch.path()).expect("fetched")
    }

    fn objects(&self) -> Vec<String> {
        use futures::TryStreamExt as _;
        use object_store::ObjectStore as _;
        let listed = self
            .store
            .list(None)
            .map_ok(|meta| meta.location.to_string());
        wait(listed.try_collect::<Vec<String>>()).expect("listed")
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(work)
}

fn point(text: &str, letters_end: u64) -> Point {
    Point {
        snapshot: Bytes::from(text.to_owned()),
        letters_file: 1,
        letters_end,
    }
}

fn save(dir: &RunDir, point: &Point) -> Result<(), MirrorError> {
    lock(&dir.mirror().expect("in a store")).save(Some(point))
}

fn file(dir: &RunDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).expect("a file")
}

/// Scenario: a run is kept with more and more dead letters, of which the last were not counted when it was kept
/// last; then it is fetched elsewhere.
/// Guarantees: each file is there as it was kept, dead letters up to those that are counted; nothing is left of
/// what was replaced; local files go with their owner.
#[test]
fn what_was_kept_is_fetched() {
    let bucket = Bucket::new();
    let first = bucket.fetch();
    first.write_plan(b"plan").expect("written");
    let letters = first.path().join("rejected-1.jsonl");
    for (text, end) in [("", 0), ("a\n", 2), ("a\nb\n", 4), ("a\nb\nc\n", 4)] {
        fs::write(&letters, text).expect("written");
        save(&first, &point(&format!("state {end}"), end)).expect("kept");
    }
    let objects = bucket.objects();
    assert_eq!(objects.len(), 4, "{objects:?}");
    let local = first.path().to_owned();
    drop(first);
    assert!(!local.try_exists().expect("known"));

    let second = bucket.fetch();
    assert_eq!(
        second.plan().expect("readable").as_deref(),
        Some(&b"plan"[..])
    );
    assert_eq!(file(&second, SNAPSHOT), "state 4");
    assert_eq!(file(&second, "rejected-1.jsonl"), "a\nb\n");
    second.save(None).expect("nothing to do");
    assert_eq!(bucket.objects(), objects);
}

/// Scenario: two open a run that is not there yet, both find nothing and both take it; later a third takes over.
/// Guarantees: one of the two has it and the other learns of it before it can send; the third has it in the state
/// that was kept last, and from then on the first can write nothing, also not a discard.
#[test]
fn a_run_has_one_owner() {
    let bucket = Bucket::new();
    let (first, late) = (bucket.fetch(), bucket.fetch());
    first.write_plan(b"of the first").expect("written");
    late.write_plan(b"of the late one").expect("written");
    save(&first, &point("1", 0)).expect("it is the first");
    let refused = save(&late, &point("late", 0)).expect_err("it is taken");
    assert!(refused.to_string().contains("memory://runs/a"), "{refused}");
    save(&first, &point("2", 0)).expect("still its own");

    let third = bucket.fetch();
    assert_eq!(file(&third, SNAPSHOT), "2");
    save(&third, &point("3", 0)).expect("taken over");
    for _ in 0..2 {
        let lost = save(&first, &point("4", 0)).expect_err("it is lost");
        assert!(matches!(lost, MirrorError::Taken(_)), "{lost}");
    }
    let objects = bucket.objects();
    first.discard().expect_err("not its own any more");
    assert_eq!(bucket.objects(), objects);
    assert_eq!(file(&bucket.fetch(), SNAPSHOT), "3");
}

/// Scenario: the same manifest arrives twice, as when the answer to the first was lost; and one of ours was taken of
/// which we never heard.
/// Guarantees: neither is taken for another owner.
#[test]
fn a_lost_answer_is_no_other_owner() {
    let bucket = Bucket::new();
    let dir = bucket.fetch();
    dir.write_plan(b"plan").expect("written");
    save(&dir, &point("1", 0)).expect("kept");
    let mirror = dir.mirror().expect("in a store");
    let before = lock(&mirror).version.clone();
    save(&dir, &point("2", 0)).expect("kept");
    // We know of the one before only.
    lock(&mirror).version = before.clone();
    save(&dir, &point("3", 0)).expect("it is ours");
    let text = serde_json::to_vec(&lock(&mirror).manifest).expect("JSON");
    lock(&mirror).version = before;
    let again = lock(&mirror).put(&Bytes::from(text)).expect("readable");
    assert_eq!(again, lock(&mirror).put_version());
    assert_eq!(file(&bucket.fetch(), SNAPSHOT), "3");
}

impl Mirror {
    fn put_version(&self) -> Option<ObjectVersion> {
        let found = self.folder.read(MANIFEST).expect("readable");
        found.map(|(_, version)| version)
    }
}

/// Scenario: a run that sent nothing is discarded and begun anew; a manifest names a file outside, is of another
/// version, or names an object that is gone.
/// Guarantees: of the discarded run nothing is left but a manifest without files; the others are refused, and
/// nothing is written outside of the directory.
#[test]
fn what_is_no_run_is_refused() {
    let bucket = Bucket::new();
    let dir = bucket.fetch();
    dir.write_plan(b"plan").expect("written");
    save(&dir, &point("1", 0)).expect("kept");
    dir.discard().expect("its own");
    assert_eq!(bucket.objects(), ["runs/a/run.json"]);
    let again = bucket.fetch();
    assert_eq!(again.plan().expect("readable"), None);

    let good = r#"{"manifest_version":1,"epoch":1,"owner":"x","sequence":1,"files":{}}"#;
    for (from, to, words) in [
        ("\"files\":{}", "\"files\":{\"../x\":[]}", "../x"),
        (
            "\"manifest_version\":1",
            "\"manifest_version\":9",
            "version 9",
        ),
        (
            "\"files\":{}",
            "\"files\":{\"plan\":[{\"object\":\"plan/1\",\"bytes\":1}]}",
            "missing",
        ),
    ] {
        let path = object_store::path::Path::from("runs/a/run.json");
        let put = bucket.store.put(&path, good.replace(from, to).into());
        wait(put).expect("put");
        let store = Arc::clone(&bucket.store) as Arc<dyn object_store::ObjectStore>;
        let folder = StoreFolder::over(store, "runs/a").expect("a folder");
        let refused = RunDir::fetch(folder, bucket.scratch.path()).expect_err("refused");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    assert!(!bucket.scratch.path().join("x").try_exists().expect("known"));
}
