use super::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use vecload_corpus::mutation::{for_each_seed, mutate};

fn environment(variables: &[(&str, &str)]) -> Layers {
    Layers::default().environment(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// Scenario: the same setting in all layers, then with the upper ones taken away.
/// Guarantees: flag over environment over file over default; our variable over the shared one.
#[test]
fn the_upper_layer_wins() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        &file,
        "namespace = \"file\"\nworkers = 3\nallow_empty = true",
    )
    .expect("written");
    let layers = Layers::default().file(file.path()).expect("readable");
    assert_eq!(layers.settle().expect("good").namespace, "file");
    let variables = [
        ("VECLOAD_NAMESPACE", "own"),
        ("PINECONE_NAMESPACE", "shared"),
        ("VECLOAD_WORKERS", ""),
        ("OTHER", "x"),
    ];
    let layers =
        layers.environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let settings = layers.settle().expect("good");
    assert_eq!((settings.namespace.as_str(), settings.workers), ("own", 3));
    assert!(settings.allow_empty);
    let layers = layers.flag("namespace", "flag").flag("workers", "2");
    let settings = layers.settle().expect("good");
    assert_eq!((settings.namespace.as_str(), settings.workers), ("flag", 2));
    assert_eq!(environment(&[]).settle().expect("good").workers, 0);
}

/// Scenario: targets of several kinds in one layer and in several.
/// Guarantees: the one of the upper layer is left alone; two of one layer are refused with both places.
#[test]
fn one_target_is_left() {
    let variables = [
        ("PINECONE_INDEX", "movies"),
        ("PINECONE_CONTROLLER_HOST", "http://c"),
    ];
    let layers = environment(&variables);
    let settings = layers.settle().expect("good");
    assert_eq!(settings.index.as_deref(), Some("movies"));
    assert_eq!(settings.controller_host.as_deref(), Some("http://c"));
    let settings = layers.clone().flag("host", "h").settle().expect("good");
    assert_eq!(
        (settings.host.as_deref(), settings.index),
        (Some("h"), None)
    );
    let settings = layers.clone().flag("local", "d").settle().expect("good");
    assert!(settings.local.is_some() && settings.index.is_none());
    let settings = environment(&[("PINECONE_INDEX_HOST", "h")]).flag("index", "movies");
    assert_eq!(settings.settle().expect("good").host, None);

    let both = layers.environment([("VECLOAD_HOST".to_owned(), "h".to_owned())]);
    assert_eq!(
        both.settle().expect_err("two").to_string(),
        "host in the environment variable VECLOAD_HOST: this and index in the environment variable PINECONE_INDEX \
         exclude each other: give one target"
    );
    let both = Layers::default().flag("host", "h").flag("local", "d");
    assert_eq!(
        both.settle().expect_err("two").to_string(),
        "--host: this and --local exclude each other: give one target"
    );
}

/// Scenario: a wrong value in each layer, an unknown setting, one that contradicts another.
/// Guarantees: the error names the place, the value, and what is right.
#[test]
fn errors_name_the_place() {
    let error = |layers: Layers| layers.settle().expect_err("wrong").to_string();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let name = file.path().display().to_string();
    let from_file = |text: &str| {
        std::fs::write(&file, text).expect("written");
        error(Layers::default().file(file.path()).expect("readable"))
    };
    assert_eq!(
        error(Layers::default().flag("memory", "much")),
        "--memory: `much` is no size; write it like 40MiB or 2MB"
    );
    assert_eq!(
        error(environment(&[("VECLOAD_NAMESPACE_RATE", "fast")])),
        "namespace_rate in the environment variable VECLOAD_NAMESPACE_RATE: `fast` is no rate; write it like 50MB/s, or `none`"
    );
    assert_eq!(
        error(environment(&[("VECLOAD_WORKERS", "many")])),
        "workers in the environment variable VECLOAD_WORKERS: `many` is not understood: invalid digit found in string"
    );
    assert_eq!(
        from_file("allow_empty = 7"),
        format!(
            "allow_empty in {name}: `7` is not understood: provided string was not `true` or `false`"
        )
    );
    assert_eq!(
        error(Layers::default().flag("max_rejects", "-1")),
        "--max-rejects: `-1` is no limit; write it like 1000 or 0.5%"
    );
    assert_eq!(
        from_file("on_null = \"keep\""),
        format!("on_null in {name}: `keep` is none of drop, reject")
    );
    assert_eq!(
        from_file("namespace_rat = \"1MB/s\""),
        format!(
            "namespace_rat in {name}: there is no such setting; did you mean `namespace_rate`?"
        )
    );
    assert_eq!(
        error(Layers::default().flag("in_flight", "0")),
        "--in-flight: it must be 1 at least"
    );
    assert_eq!(
        error(Layers::default().flag("memory", "1MB")),
        "--memory: 1MB is too little: four requests of 1MB must fit; give it 4MB or more"
    );
    let missing = Layers::default().file(std::path::Path::new("no/such.toml"));
    assert!(
        missing
            .expect_err("not there")
            .to_string()
            .contains("no/such.toml")
    );
}

/// Scenario: a key from the environment and one from a file.
/// Guarantees: both are found, and neither is ever shown.
#[test]
fn keys_are_found_and_not_shown() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, "canary-in-file\n").expect("written");
    let path = file.path().display().to_string();
    for (layers, key) in [
        (environment(&[("PINECONE_API_KEY", "canary")]), "canary"),
        (
            environment(&[("PINECONE_API_KEY_FILE", path.as_str())]),
            "canary-in-file",
        ),
    ] {
        let settings = layers.settle().expect("good");
        assert_eq!(settings.api_key.as_ref().map(ApiKey::expose), Some(key));
        let shown = format!("{settings:?} {layers:?}") + &toml::to_string(&settings).expect("TOML");
        // The layers hold what was typed, so only the settings may be shown.
        let settings_shown = format!("{settings:?}") + &toml::to_string(&settings).expect("TOML");
        assert!(!settings_shown.contains("canary"), "{settings_shown}");
        assert!(shown.contains("[redacted]"));
    }
}

/// Scenario: config/reference.toml with a key, changed by chance 2,000 times.
/// Guarantees: it is settled or refused; nothing panics, and no error holds the key.
#[test]
fn any_file_is_settled_or_refused() {
    const KEY: &str = "pcsk_canary_7Q2f";
    let sound = include_str!("../../../../config/reference.toml");
    let sound = sound.replace("# api_key = \"\"", &format!("api_key = \"{KEY}\""));
    assert!(sound.contains(KEY));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let refused = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refused);
    for_each_seed(0..2000, move |seed| {
        let mut text = sound.clone().into_bytes();
        mutate(&mut text, &mut StdRng::seed_from_u64(seed));
        std::fs::write(&file, &text).expect("written");
        let layers = Layers::default().file(file.path());
        if let Err(error) = layers.and_then(|layers| layers.settle()) {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(!error.to_string().contains(KEY), "seed {seed}: {error}");
        }
    });
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused > 200, "{refused}");
}

/// Scenario: secrets of another type than text in a file: a number, and a table.
/// Guarantees: the error names the setting and the file, and does not hold the value.
#[test]
fn a_secret_of_the_wrong_type_is_not_echoed() {
    for (text, setting) in [
        ("api_key = 5551212", "api_key"),
        ("api_key = [\"5551212\"]", "api_key"),
        ("additional_headers = 5551212", "additional_headers"),
        (
            "[additional_headers]\nx = \"5551212\"",
            "additional_headers",
        ),
    ] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, text).expect("written");
        let error = Layers::default()
            .file(file.path())
            .and_then(|layers| layers.settle())
            .expect_err("refused");
        let words = error.to_string();
        let named = format!("{setting} in {}:", file.path().display());
        assert!(words.starts_with(&named), "{words}");
        assert!(!words.contains("5551212"), "{words}");
    }
}

/// Scenario: the reference file is read as a file of settings.
/// Guarantees: it has every setting, and its values are the defaults.
#[test]
fn the_reference_file_is_complete_and_true() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/reference.toml");
    let text = std::fs::read_to_string(&path).expect("the reference file");
    let defaults = serde_json::to_value(Settings::default()).expect("JSON");
    let all: BTreeSet<&str> = defaults
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let mentioned: BTreeSet<&str> = text
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
        .collect();
    assert_eq!(mentioned, all);
    let settings = Layers::default()
        .file(&path)
        .expect("readable")
        .settle()
        .expect("good");
    assert_eq!(serde_json::to_value(settings).expect("JSON"), defaults);
}

/// Scenario: an Indexed Job that says how many shards there are, one that does not, and a shard given beside it.
/// Guarantees: index and number make the shard, and with it the replicas; an index alone makes none; a flag or
/// our own variable wins; what cannot be a shard is refused, and both variables are named.
#[test]
fn an_indexed_job_makes_the_shard() {
    let job = [
        ("JOB_COMPLETION_INDEX", "3"),
        ("VECLOAD_SHARDS", "8"),
        ("VECLOAD_RUN_DIR", "runs"),
    ];
    let shard = |layers: Layers| {
        let settings = layers.settle().expect("good");
        let shard = settings.shard.map(|shard| shard.to_string());
        (shard, settings.replica_count())
    };
    assert_eq!(shard(environment(&job)), (Some("3/8".to_owned()), 8));
    assert_eq!(shard(environment(&job[..1])), (None, 1));
    let replicas = environment(&job).flag("replicas", "2");
    assert_eq!(shard(replicas), (Some("3/8".to_owned()), 2));
    let flag = environment(&job).flag("shard", "0/2");
    assert_eq!(shard(flag), (Some("0/2".to_owned()), 2));
    let own = [&job[..], &[("VECLOAD_SHARD", "1/4")]].concat();
    assert_eq!(shard(environment(&own)).0, Some("1/4".to_owned()));

    let error = |variables: &[(&str, &str)]| {
        let error = environment(variables).settle().expect_err("wrong");
        error.to_string()
    };
    assert_eq!(
        error(&job[1..]),
        "shard in the environment variables JOB_COMPLETION_INDEX and VECLOAD_SHARDS: \
         `/8` is no shard; write it I/N, counted from 0: 0/8 to 7/8"
    );
}
