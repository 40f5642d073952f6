use std::fmt::Write as _;

use vecload_local_index::{LocalIndex, Options, ScenarioFile};

use super::*;

fn run(scenario: &Scenario, seeds: u64) -> Figures {
    let all: Vec<Figures> = (1..=seeds).map(|seed| scenario.run(seed)).collect();
    mean(&all)
}

/// What a scenario asks for and does not get.
fn misses(scenario: &Scenario, figures: &Figures) -> Vec<String> {
    let expect = &scenario.expect;
    let reference = scenario.reference;
    let least = expect
        .utilisation
        .or_else(|| reference.map(|[utilisation, _]| utilisation - 1.0));
    let most = expect
        .refused
        .or_else(|| reference.map(|[_, refused]| refused + 0.5));
    let mut misses = Vec::new();
    let mut check = |name: &str, value: f64, limit: Option<f64>, is_least: bool| {
        if let Some(limit) = limit
            && if is_least {
                value < limit
            } else {
                value > limit
            }
        {
            misses.push(format!("{name} {value:.3} instead of {limit}"));
        }
    };
    check("utilisation", figures.utilisation, least, true);
    check("refused", figures.refused, most, false);
    check("jain", figures.jain, expect.jain, true);
    check("ramp", figures.ramp, expect.ramp_seconds, false);
    check("recovery", figures.recovery, expect.recovery_seconds, false);
    check("failed", figures.failed, expect.failed_requests, false);
    check("p99", figures.p99, expect.p99_seconds, false);
    misses
}

fn row(scenario: &Scenario, figures: &Figures) -> String {
    let reference = scenario
        .reference
        .map_or("-".to_owned(), |[used, refused]| {
            format!("{used:.1} / {refused:.1}")
        });
    let recovery = if scenario.run.recover_from.is_empty() {
        "-".to_owned()
    } else {
        format!("{:.0}", figures.recovery)
    };
    format!(
        "| {} | {:.1} / {:.2} | {reference} | {:.3} | {:.0} | {recovery} | {:.2} | {:.0} | {:.0} |",
        scenario.title,
        figures.utilisation,
        figures.refused,
        figures.jain,
        figures.ramp,
        figures.p99,
        figures.failed,
        figures.attempts,
    )
}

/// Scenario: every scenario file of the simulation, handed to the local index.
/// Guarantees: the server serves under the conditions that the simulation runs with.
#[test]
fn the_local_index_serves_under_the_same_files() {
    for (name, scenario) in Scenario::all() {
        let text = std::fs::read_to_string(Scenario::folder().join(format!("{name}.toml")));
        let file: ScenarioFile = toml::from_str(&text.expect("a file")).expect(&name);
        assert_eq!(file.server, scenario.server, "{name}");
        let options = Options {
            conditions: Some(file.server),
            ..Options::default()
        };
        LocalIndex::open(options).map(drop).expect(&name);
    }
}

/// Scenario: every scenario file, over the number of seeds in `FLOW_SEEDS` (4).
/// Guarantees: utilisation within 1 point and refused requests within 0.5 points of the reference law,
/// and what else the file expects: fairness, ramp, recovery, waste, latency.
#[test]
fn the_law_reaches_the_table() {
    let seeds = std::env::var("FLOW_SEEDS").map_or(4, |seeds| seeds.parse().expect("a number"));
    let only = std::env::var("FLOW_ONLY").unwrap_or_default();
    let mut table = String::new();
    let mut failures = String::new();
    for (name, scenario) in Scenario::all() {
        if !name.contains(&only) {
            continue;
        }
        let figures = run(&scenario, seeds);
        writeln!(table, "{}", row(&scenario, &figures)).expect("a string");
        for miss in misses(&scenario, &figures) {
            writeln!(failures, "{name}: {miss}").expect("a string");
        }
    }
    println!(
        "| scenario | used % / refused % | reference | Jain | ramp s | recovery s | p99 s | failed | attempts |\n\
         |---|---|---|---|---|---|---|---|---|\n{table}"
    );
    assert!(failures.is_empty(), "\n{failures}");
}

/// Scenario: batches of 0.25 to 2 MB on the shapes of a quota, for one and three replicas.
/// Guarantees: on a second's burst the size makes no difference to the throughput.
#[test]
#[ignore = "prints the table of docs/tuning.md"]
fn batch_sizes() {
    println!("| scenario | MB | used % / refused % | p99 s | requests/s |\n|---|---|---|---|---|");
    for (name, scenario) in Scenario::all() {
        if !["a1-", "a2-", "a3-", "b1-", "b2-", "b3-", "b4-", "f1-"]
            .iter()
            .any(|part| name.starts_with(part))
        {
            continue;
        }
        for batch in [0.25e6, 0.5e6, 1e6, 1.5e6, 2e6] {
            let mut scenario = scenario.clone();
            scenario.run.seconds = 240.0;
            scenario.clients.batch_bytes = batch;
            scenario.clients.are_cut = false;
            scenario.server.requests_per_second = Some(100.0);
            let figures = run(&scenario, 4);
            let title = &scenario.title;
            println!(
                "| {title} | {} | {:.1} / {:.2} | {:.2} | {:.0} |",
                batch / 1e6,
                figures.utilisation,
                figures.refused,
                figures.p99,
                figures.utilisation / 100.0 * 50e6 / batch,
            );
            if name.starts_with("b1-") && batch >= 0.5e6 {
                assert!(figures.utilisation > 98.0, "{batch}: {figures:?}");
            }
        }
    }
}
