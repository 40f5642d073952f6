//! The flags of the settings: one row for each, in the groups of the help.
//!
//! A flag's value goes to the library as the text that was typed; it is read there, by the rules that
//! hold for files and variables too, so that an error can name the flag.

use clap::{Arg, ArgAction, ArgMatches, Command};

/// A flag that sets a setting.
struct Flag {
    setting: &'static str,
    /// The name of its value in the help; none for a switch.
    value: Option<&'static str>,
    help: &'static str,
}

const fn flag(setting: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag {
        setting,
        value: Some(value),
        help,
    }
}

const fn switch(setting: &'static str, help: &'static str) -> Flag {
    Flag {
        setting,
        value: None,
        help,
    }
}

impl Flag {
    /// As an argument under that heading and name.
    fn arg(&self, heading: &'static str, name: String) -> Arg {
        let arg = Arg::new(self.setting)
            .long(name)
            .help(self.help)
            .help_heading(heading);
        match self.value {
            // A number below zero is a wrong value, and the setting says which would be right.
            Some(value) => arg.value_name(value).allow_negative_numbers(true),
            None => arg.action(ArgAction::SetTrue),
        }
    }
}

/// The settings that have a flag, by group. Secrets have none: a key on a command line stands in the
/// list of processes.
static GROUPS: [(&str, &[Flag]); 8] = [
    (
        "Target",
        &[
            flag(
                "host",
                "HOST",
                "The index's host; plaintext only with http://",
            ),
            flag(
                "local",
                "DIR",
                "An embedded index that is kept in DIR, instead of a host",
            ),
            flag(
                "index",
                "NAME",
                "The index's name, instead of a host, which the control plane is asked for",
            ),
            switch(
                "create_index",
                "Make the index, serverless, where there is none of that name",
            ),
            flag(
                "cloud",
                "CLOUD",
                "Where it is made: aws, gcp or azure [default: aws]",
            ),
            flag(
                "region",
                "REGION",
                "The cloud's region where it is made [default: us-east-1]",
            ),
            flag(
                "metric",
                "METRIC",
                "The index's metric: cosine, euclidean or dotproduct [otherwise by the records]",
            ),
            flag(
                "controller_host",
                "HOST",
                "The control plane, where it is not Pinecone's; plaintext only with http://",
            ),
            flag(
                "api_key_file",
                "FILE",
                "A file that holds the API key (or set PINECONE_API_KEY)",
            ),
            flag(
                "ca_file",
                "FILE",
                "Certificates (PEM) to trust besides the system's",
            ),
        ],
    ),
    (
        "Namespace",
        &[
            flag("namespace", "NS", "Where records go that name no namespace"),
            flag(
                "namespace_column",
                "COL",
                "The column that names each record's namespace",
            ),
        ],
    ),
    (
        "Input",
        &[
            flag("format", "FORMAT", "auto, parquet or jsonl [default: auto]"),
            flag(
                "include",
                "GLOBS",
                "Only files whose path matches, separated by commas",
            ),
            flag("exclude", "GLOBS", "No file whose path matches"),
            flag(
                "files_from",
                "FILE",
                "Read the names of inputs from FILE, one on each line",
            ),
            switch(
                "namespace_from_dir",
                "Directories are namespaces (<namespace>/*.parquet)",
            ),
            flag("limit", "N", "Read N records only, of all inputs together"),
            flag(
                "shard",
                "I/N",
                "Load the share I of N, counted from 0, of all inputs [otherwise all]",
            ),
            flag(
                "id_column",
                "COL",
                "The column of the ids [otherwise found by its name]",
            ),
            flag("vector_column", "COL", "The column of the dense vectors"),
            flag("sparse_column", "COL", "The column of the sparse vectors"),
            flag("metadata_column", "COL", "The column of the metadata"),
            flag(
                "metadata_columns",
                "COLS",
                "Columns that are the metadata, separated by commas; * is the rest",
            ),
            flag(
                "timestamps",
                "FORM",
                "Timestamps in metadata: epoch or rfc3339 [default: epoch]",
            ),
            flag(
                "max_page",
                "SIZE",
                "The largest page of Parquet that is read [default: 256MiB]",
            ),
            switch("allow_empty", "An input without any record is a success"),
        ],
    ),
    (
        "Policy",
        &[
            flag(
                "duplicates",
                "POLICY",
                "Ids that occur again: load the last, reject the others, or any [default: last]",
            ),
            flag(
                "on_null",
                "POLICY",
                "Metadata fields that are null: drop or reject [default: drop]",
            ),
            flag(
                "on_nested",
                "POLICY",
                "Nested metadata: reject, flatten or json [default: reject]",
            ),
            flag(
                "max_rejects",
                "N",
                "Stop after N rejected records, or N% of them [default: 1000]",
            ),
            switch(
                "exit_zero_on_rejects",
                "Exit 0, not 1, when some records are rejected",
            ),
        ],
    ),
    (
        "Flow",
        &[
            flag(
                "pacing",
                "LAW",
                "adaptive finds the rate, fixed keeps it [default: adaptive]",
            ),
            flag(
                "replicas",
                "N",
                "The processes that load into the namespaces together [otherwise the shards]",
            ),
            flag(
                "namespace_rate",
                "RATE",
                "A hard limit on the bytes per second of a namespace, or none",
            ),
            flag(
                "namespace_requests",
                "RATE",
                "A hard limit on the requests per second of a namespace, or none",
            ),
            flag(
                "total_rate",
                "RATE",
                "The most bytes per second in all, or none [default: none]",
            ),
            flag(
                "in_flight",
                "N",
                "The most requests under way [default: 64]",
            ),
            flag(
                "attempt_timeout",
                "TIME",
                "How long one attempt may take [default: 1m]",
            ),
            flag(
                "quarantine",
                "TIME",
                "In a stream, how long a record waits after an earlier one of its id got no answer \
                 [default: twice the attempt timeout]",
            ),
            flag(
                "max_stall",
                "TIME",
                "Stop when nothing succeeds for so long [default: 15m]",
            ),
            flag(
                "max_duration",
                "TIME",
                "Stop after so long; the run can be continued",
            ),
            flag(
                "memory",
                "SIZE",
                "The byte budget of all batches [default: 40MiB]",
            ),
            flag(
                "workers",
                "N",
                "CPU workers; 0 is one for each core [default: 0]",
            ),
            flag(
                "request_bytes",
                "SIZE",
                "The most bytes of a request [default: 1MB]",
            ),
            flag(
                "request_records",
                "N",
                "The most records of a request [default: 1000]",
            ),
            flag(
                "seed",
                "N",
                "The seed of jitter and samples; 0 is a new one each time [default: 0]",
            ),
        ],
    ),
    (
        "Prices",
        &[
            flag(
                "write_unit_price",
                "USD",
                "Of a million write units, for check [default: 4.0]",
            ),
            flag(
                "import_price",
                "USD",
                "Of a GB of bulk import, for check [default: 0.25]",
            ),
        ],
    ),
    (
        "Run",
        &[
            flag(
                "run_dir",
                "DIR",
                "The directory of this run, or a prefix of a bucket [default: ./vecload-runs/<run id>]",
            ),
            flag(
                "resume",
                "WHEN",
                "Continue an unfinished run: auto or never [default: auto]",
            ),
            flag(
                "on_input_change",
                "POLICY",
                "An input that has changed since: fail or restart-file [default: fail]",
            ),
            switch("retry_rejects", "Try records again that the run rejected"),
            flag(
                "scratch_dir",
                "DIR",
                "Where the search for duplicates spills to [otherwise the run's directory]",
            ),
            switch(
                "verify",
                "Prove that the index holds what was loaded, at the end",
            ),
            flag(
                "verify_sample",
                "N",
                "How many records to compare with the inputs, or all [default: 1000]",
            ),
            flag(
                "verify_timeout",
                "TIME",
                "How long to wait for the index to catch up [default: 10m]",
            ),
            flag("report", "PATH", "A further place for the report"),
        ],
    ),
    (
        "Words",
        &[
            switch("json", "Print the report as JSON on stdout"),
            flag("progress", "STYLE", "auto, plain or none [default: auto]"),
            flag("log_format", "FORMAT", "text or json [default: text]"),
            flag(
                "metrics_addr",
                "ADDRESS",
                "Serve /metrics, /healthz and /readyz on that address and port",
            ),
            flag(
                "metrics_push",
                "URL",
                "Push the metrics to that Pushgateway at the end",
            ),
            flag(
                "termination_message",
                "PATH",
                "Write one line there on how the load ended",
            ),
        ],
    ),
];

/// Adds the flags of all settings to a command.
pub(crate) fn add(mut command: Command) -> Command {
    for (heading, flags) in GROUPS {
        for flag in flags {
            command = command.arg(flag.arg(heading, flag.setting.replace('_', "-")));
        }
    }
    command
}

/// The settings that `verify` takes: how to reach the index, what to look at, and words. All others are
/// those of the run.
const FOR_VERIFY: [&str; 12] = [
    "host",
    "local",
    "index",
    "controller_host",
    "api_key_file",
    "ca_file",
    "attempt_timeout",
    "seed",
    "verify_sample",
    "verify_timeout",
    "json",
    "log_format",
];

/// The names that settings have as flags of `verify`, where those are other ones.
fn name_for_verify(setting: &str) -> String {
    match setting {
        "verify_sample" => "sample".to_owned(),
        setting => setting.replace('_', "-"),
    }
}

/// Adds the flags of `verify` to a command.
pub(crate) fn add_for_verify(mut command: Command) -> Command {
    for (heading, flag) in for_verify() {
        command = command.arg(flag.arg(heading, name_for_verify(flag.setting)));
    }
    command
}

fn for_verify() -> impl Iterator<Item = (&'static str, &'static Flag)> {
    GROUPS
        .iter()
        .flat_map(|(heading, flags)| flags.iter().map(|flag| (*heading, flag)))
        .filter(|(_, flag)| FOR_VERIFY.contains(&flag.setting))
}

/// The settings that were given as flags, as text.
pub(crate) fn given(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let flags = GROUPS.iter().flat_map(|(_, flags)| *flags);
    given_of(flags, matches)
}

/// The same of `verify`.
pub(crate) fn given_for_verify(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    given_of(for_verify().map(|(_, flag)| flag), matches)
}

fn given_of(
    flags: impl Iterator<Item = &'static Flag>,
    matches: &ArgMatches,
) -> Vec<(&'static str, String)> {
    let mut given = Vec::new();
    for flag in flags {
        let value = match flag.value {
            Some(_) => matches.get_one::<String>(flag.setting).cloned(),
            None => matches.get_flag(flag.setting).then(|| "true".to_owned()),
        };
        given.extend(value.map(|value| (flag.setting, value)));
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Scenario: the settings of the library and the flags of the command.
    /// Guarantees: every setting has a flag but the secrets, and every stated default is the true one.
    #[test]
    fn every_setting_has_a_flag_but_the_secrets() {
        let defaults = toml::Table::try_from(vecload::Settings::default()).expect("TOML");
        let mut expected: BTreeSet<&str> = defaults.keys().map(String::as_str).collect();
        // Settings without a default do not show in TOML.
        expected.extend([
            "host",
            "local",
            "index",
            "metric",
            "controller_host",
            "api_key_file",
            "ca_file",
            "namespace_column",
            "include",
            "exclude",
            "files_from",
            "limit",
            "shard",
            "replicas",
            "id_column",
            "vector_column",
            "sparse_column",
            "metadata_column",
            "metadata_columns",
            "namespace_rate",
            "namespace_requests",
            "max_duration",
            "quarantine",
            "run_dir",
            "scratch_dir",
            "report",
            "metrics_addr",
            "metrics_push",
            "termination_message",
        ]);
        let flags: Vec<&Flag> = GROUPS.iter().flat_map(|(_, flags)| *flags).collect();
        let found: BTreeSet<&str> = flags.iter().map(|flag| flag.setting).collect();
        assert_eq!(found, expected);
        for flag in flags {
            let Some((_, stated)) = flag.help.split_once("[default: ") else {
                continue;
            };
            let stated = stated.trim_end_matches(']');
            if let Some(default) = defaults.get(flag.setting) {
                assert_eq!(
                    default.to_string().trim_matches('"'),
                    stated,
                    "{}",
                    flag.setting
                );
            }
        }
    }
}
