//! What runs in a cluster is held to the code: flags, settings, exit codes and metrics of the files in `config`.
//! (`.ci/run` holds the manifests to the schemas of Kubernetes and the alerts to promtool.)

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use vecload::{ExitCode, Metric};

const KINDS: [&str; 3] = [
    "job/job.yaml",
    "indexed-job/job.yaml",
    "cron-job/cron-job.yaml",
];

fn config(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config")
        .join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(config(path)).expect("readable")
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).expect("YAML")
}

/// The specification of the Job in a manifest.
fn job(path: &str) -> Value {
    let manifest = yaml(&format!("deploy/{path}"));
    match manifest["kind"].as_str() {
        Some("CronJob") => manifest["spec"]["jobTemplate"]["spec"].clone(),
        _ => manifest["spec"].clone(),
    }
}

fn container(job: &Value) -> &Value {
    &job["template"]["spec"]["containers"][0]
}

fn environment(job: &Value) -> BTreeMap<String, String> {
    let variables = container(job)["env"].as_array().expect("variables");
    let pairs = variables.iter().map(|variable| {
        let name = variable["name"].as_str().expect("a name").to_owned();
        let value = variable["value"].as_str().unwrap_or("from-the-pod");
        (name, value.to_owned())
    });
    pairs.collect()
}

/// The settings that the command makes of a container's arguments and environment.
fn settings(path: &str) -> toml::Table {
    let job = job(path);
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    fs::write(&key, "secret").expect("written");
    let mut variables = environment(&job);
    let own = |name: &str| variables.get(name).cloned().unwrap_or_default();
    let arguments = container(&job)["args"].as_array().expect("arguments");
    let arguments = arguments.iter().map(|argument| {
        let argument = argument.as_str().expect("a text");
        argument.replace("$(JOB_NAME)", &own("JOB_NAME"))
    });
    let arguments: Vec<String> = arguments.collect();
    let mount = &variables["PINECONE_API_KEY_FILE"];
    let mounts = container(&job)["volumeMounts"].as_array().expect("mounts");
    assert!(
        mounts
            .iter()
            .any(|volume| mount.starts_with(volume["mountPath"].as_str().expect("a path"))),
        "{path}: the key is not mounted at {mount}"
    );
    variables.insert(
        "PINECONE_API_KEY_FILE".to_owned(),
        key.display().to_string(),
    );
    variables.insert("JOB_COMPLETION_INDEX".to_owned(), "0".to_owned());
    let output = Command::new(env!("CARGO_BIN_EXE_vecload"))
        .env_clear()
        .envs(variables)
        .args(arguments)
        .arg("--print-config")
        .output()
        .expect("the command runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{path}: {words}");
    let settings = String::from_utf8(output.stdout).expect("UTF-8");
    settings.parse().expect("TOML")
}

/// A number of seconds or bytes as settings and manifests write it.
fn number(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "Mi" | "MiB" => 1 << 20,
        unit => panic!("{unit} is no unit that is used here"),
    };
    digits.parse::<u64>().expect("a number") * unit
}

/// Scenario: the arguments and variables of each kind of Job, given to the command.
/// Guarantees: all are flags and settings that exist, with values that are taken; the run directory and the message are
/// on volumes that can be written; requests under way fit into the grace period and the memory bound into the
/// limit; the probes ask for the port that is served.
#[test]
fn manifests_are_what_the_command_takes() {
    for path in KINDS {
        let (settings, job) = (settings(path), job(path));
        let pod = &job["template"]["spec"];
        let of = |name: &str| settings[name].as_str().expect("a text").to_owned();
        assert!(of("run_dir").starts_with("/runs/"), "{path}");
        assert_eq!(of("termination_message"), "/dev/termination-log", "{path}");
        assert!(of("metrics_addr").ends_with(":9090"), "{path}");
        assert_eq!(container(&job)["ports"][0]["containerPort"], 9090, "{path}");
        let annotations = &job["template"]["metadata"]["annotations"];
        assert_eq!(annotations["prometheus.io/port"], "9090", "{path}");
        for (probe, place) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
            assert_eq!(container(&job)[probe]["httpGet"]["path"], place, "{path}");
        }
        let grace = pod["terminationGracePeriodSeconds"]
            .as_u64()
            .expect("seconds");
        assert!(grace > number(&of("attempt_timeout")), "{path}: {grace} s");

        let memory = &container(&job)["resources"]["limits"]["memory"];
        let limit = number(memory.as_str().expect("a size"));
        let workers = settings["workers"].as_integer().expect("a number") as u64;
        assert!(
            workers > 0,
            "{path}: as many as the node has cores is not what was asked for"
        );
        // INV-6, with pages of 64 MiB: far more than writers make.
        let bound = number(&of("memory")) + workers * ((64 + 8) << 20) + (32 << 20) + 40_000_000;
        assert!(
            bound <= limit,
            "{path}: {bound} bytes and a limit of {limit}"
        );
    }
}

/// Scenario: the numbers of the Indexed Job.
/// Guarantees: pods, shards and replicas agree, so that the shards are complete and the rates are divided by the pods
/// that run at a time.
#[test]
fn an_indexed_job_runs_all_shards() {
    let job = job("indexed-job/job.yaml");
    let environment = environment(&job);
    assert_eq!(
        job["completions"].to_string(),
        environment["VECLOAD_SHARDS"]
    );
    assert_eq!(
        job["parallelism"].to_string(),
        environment["VECLOAD_REPLICAS"]
    );
    let settings = settings("indexed-job/job.yaml");
    assert_eq!(settings["shard"].as_str(), Some("0/8"));
    assert_eq!(settings["replicas"].as_integer(), Some(4));
}

/// Scenario: the policies on failures of pods.
/// Guarantees: every exit code is named that another attempt would meet again, no other, and none that does not
/// exist; disruptions cost no attempt; only an Indexed Job fails an index.
#[test]
fn failures_are_judged_by_exit_code() {
    // What is mended by the next attempt: an interruption, an outage, an index that has not caught up.
    let again = [ExitCode::Interrupted, ExitCode::Unverified];
    let codes = ExitCode::ALL
        .into_iter()
        .filter(|code| *code != ExitCode::Complete);
    let final_codes: BTreeSet<u64> = codes
        .filter(|code| !again.contains(code))
        .map(|code| u8::from(code).into())
        .collect();
    for path in KINDS {
        let job = job(path);
        let rules = job["podFailurePolicy"]["rules"].as_array().expect("rules");
        assert_eq!(rules[0]["action"], "Ignore", "{path}");
        assert_eq!(
            rules[0]["onPodConditions"][0]["type"], "DisruptionTarget",
            "{path}"
        );
        let mut named = BTreeSet::new();
        for rule in &rules[1..] {
            let values = rule["onExitCodes"]["values"].as_array().expect("codes");
            assert_eq!(rule["onExitCodes"]["operator"], "In", "{path}");
            assert_eq!(
                rule["onExitCodes"]["containerName"],
                container(&job)["name"],
                "{path}"
            );
            assert!(
                rule["action"] == "FailJob" || job["completionMode"] == "Indexed",
                "{path}: {rule}"
            );
            for value in values {
                let code = value.as_u64().expect("a number");
                assert!(named.insert(code), "{path}: {code} stands in two rules");
            }
        }
        assert_eq!(named, final_codes, "{path}");
        assert_eq!(job["template"]["spec"]["restartPolicy"], "Never", "{path}");
    }
}

/// Scenario: who the pods are and what they may.
/// Guarantees: they are the image's user and not root, write nowhere but to their volumes, gain no privileges, have
/// no token, and take no variables of Services for settings.
#[test]
fn pods_may_do_no_more_than_they_must() {
    let image = fs::read_to_string(config("../Dockerfile")).expect("readable");
    for path in KINDS {
        let job = job(path);
        let pod = &job["template"]["spec"];
        let user = &pod["securityContext"]["runAsUser"];
        assert!(image.contains(&format!("USER {user}:")), "{path}: {user}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{path}");
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{path}"
        );
        assert_eq!(pod["automountServiceAccountToken"], false, "{path}");
        assert_eq!(pod["enableServiceLinks"], false, "{path}");
        let context = &container(&job)["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true, "{path}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{path}");
        assert_eq!(context["capabilities"]["drop"][0], "ALL", "{path}");
    }
}

/// Scenario: the kustomizations, and the CronJob.
/// Guarantees: every resource that they name is there; one night does not begin before the last one is over.
#[test]
fn kustomizations_name_what_is_there() {
    for folder in ["base", "job", "indexed-job", "cron-job"] {
        let kustomization = yaml(&format!("deploy/{folder}/kustomization.yaml"));
        for resource in kustomization["resources"].as_array().expect("resources") {
            let name = resource.as_str().expect("a text");
            let path = config("deploy").join(folder).join(name);
            assert!(path.try_exists().expect("readable"), "{folder}: {name}");
        }
    }
    let nightly = yaml("deploy/cron-job/cron-job.yaml");
    assert_eq!(nightly["spec"]["concurrencyPolicy"], "Forbid");
    assert!(nightly["spec"]["startingDeadlineSeconds"].is_u64());
    assert_eq!(
        settings("cron-job/cron-job.yaml")["allow_empty"].as_bool(),
        Some(true)
    );
}

/// The names in a text that begin like those of our metrics; those of a histogram's series are its own.
fn metrics_named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("vecload_"));
    names
        .map(|name| {
            let histogram = Metric::RequestDuration.name();
            let series = name.strip_prefix(histogram);
            match series {
                Some("_bucket" | "_sum" | "_count") => histogram,
                _ => name,
            }
        })
        .collect()
}

/// Scenario: the queries of alerts and dashboard.
/// Guarantees: they name only metrics that exist, and the dashboard shows every one.
#[test]
fn queries_name_metrics_that_exist() {
    let known: BTreeSet<&str> = Metric::ALL.into_iter().map(Metric::name).collect();
    let dashboard: Value =
        serde_json::from_str(&text("observability/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut shown = String::new();
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            shown += target["expr"].as_str().expect("a query");
            shown.push('\n');
        }
    }
    assert_eq!(metrics_named(&shown), known);
    for query in dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
    {
        let named = query["query"].to_string();
        assert!(metrics_named(&named).is_subset(&known), "{named}");
    }
    let mut alerts = 0;
    for group in yaml("observability/alerts.yaml")["groups"]
        .as_array()
        .expect("groups")
    {
        for rule in group["rules"].as_array().expect("rules") {
            let query = rule["expr"].as_str().expect("a query");
            let named = metrics_named(query);
            assert!(!named.is_empty() && named.is_subset(&known), "{query}");
            // Words of an alert name metrics too.
            let described =
                metrics_named(rule["annotations"]["description"].as_str().expect("words"));
            assert!(described.is_subset(&known), "{described:?}");
            alerts += 1;
        }
    }
    assert!(alerts > 0, "there are alerts");
}
