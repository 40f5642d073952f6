//! What a run is of: its inputs as they are on disk, and everything that decides what becomes of a row.
//!
//! A run is continued only where both are what they were, and a difference is named. Settings belong
//! to the job unless they are named here as knobs: so a new setting that nobody thought of refuses
//! once too often rather than mixing two jobs in one index.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vecload_source::{Format, Input, Object, Origin, Plan};
use xxhash_rust::xxh3::Xxh3;

use crate::settings::Settings;
use crate::shard::Shard;

/// The setting that tells the shards of one load apart.
const SHARD: &str = "shard";

/// How much of a JSONL file is looked at, at each end.
const END_BYTES: u64 = 64 << 10;
/// The length of a Parquet footer's metadata, and the magic.
const FOOTER_TAIL: u64 = 8;

/// What stands in a job beside the settings.
const TARGET: &str = "target";
const INPUTS: &str = "inputs";

/// What stands for the hash of a stream, whose content is not known.
const STREAM: &str = "stream";

/// Settings that may differ between the attempts of a run. `host` and `local` are in the target's
/// name; so is where an index was found by its name, which is in the job beside it.
const KNOBS: &[&str] = &[
    "additional_headers",
    "allow_empty",
    "api_key",
    "api_key_file",
    "attempt_timeout",
    "ca_file",
    "cloud",
    "controller_host",
    "create_index",
    "exit_zero_on_rejects",
    "host",
    "import_price",
    "in_flight",
    "json",
    "local",
    "log_format",
    "max_duration",
    "max_page",
    "max_rejects",
    "max_stall",
    "memory",
    "metric",
    "metrics_addr",
    "metrics_push",
    "namespace_rate",
    "namespace_requests",
    "on_input_change",
    "pacing",
    "progress",
    "quarantine",
    "region",
    "report",
    "request_bytes",
    "request_records",
    "resume",
    "retry_rejects",
    "run_dir",
    "scratch_dir",
    "seed",
    "termination_message",
    "total_rate",
    "verify",
    "verify_sample",
    "verify_timeout",
    "workers",
    "write_unit_price",
];

/// What decides what becomes of a row: names and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobPrint(BTreeMap<String, Value>);

/// An input as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputPrint {
    /// The input as it was named.
    pub(crate) name: String,
    bytes: u64,
    /// When it was last written, in nanoseconds since 1970.
    modified: i64,
    inode: u64,
    /// A hash of the footer (Parquet), or of both ends (JSONL); of an object its version.
    pub(crate) hash: String,
    /// How many splits it was planned in.
    splits: u32,
}

// === impl JobPrint ===

impl JobPrint {
    /// The job of these settings.
    pub(crate) fn new(settings: &Settings, target: &str, inputs: &[String]) -> io::Result<Self> {
        let Value::Object(settings) = serde_json::to_value(settings)? else {
            return Err(io::Error::other("the settings are no object"));
        };
        let mut job: BTreeMap<String, Value> = settings
            .into_iter()
            .filter(|(name, _)| !KNOBS.contains(&name.as_str()))
            .collect();
        job.insert(TARGET.to_owned(), target.into());
        let inputs = inputs.iter().map(|input| {
            if input.contains("://") {
                return Ok(Value::from(vecload_source::without_secrets(input)));
            }
            // The same relative path means another file elsewhere.
            let path = std::path::absolute(input);
            path.map(|path| Value::from(path.display().to_string()))
        });
        job.insert(INPUTS.to_owned(), inputs.collect::<io::Result<_>>()?);
        Ok(Self(job))
    }

    /// The settings that belong to the job; the others are the defaults.
    pub(crate) fn settings(&self) -> serde_json::Result<Settings> {
        let settings = self.0.iter();
        let settings = settings.filter(|(name, _)| ![TARGET, INPUTS].contains(&name.as_str()));
        let settings = settings.map(|(name, value)| (name.clone(), value.clone()));
        serde_json::from_value(Value::Object(settings.collect()))
    }

    /// The name of the target.
    pub(crate) fn target(&self) -> &str {
        self.0
            .get(TARGET)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The name of the index, where the target was found by it.
    pub(crate) fn index(&self) -> Option<&str> {
        self.0.get("index").and_then(Value::as_str)
    }

    /// The inputs that were named.
    pub(crate) fn inputs(&self) -> Vec<String> {
        let inputs = self.0.get(INPUTS).and_then(Value::as_array);
        let inputs = inputs.into_iter().flatten().filter_map(Value::as_str);
        inputs.map(str::to_owned).collect()
    }

    /// The share of the load that it is, if it is one.
    pub(crate) fn shard(&self) -> Option<Shard> {
        self.0.get(SHARD).and_then(Value::as_str)?.parse().ok()
    }

    /// A name for the job that all shards of a load have.
    pub(crate) fn of_all_shards(&self) -> io::Result<String> {
        let mut job = self.clone();
        job.0.remove(SHARD);
        job.fingerprint()
    }

    /// A name for the job.
    pub(crate) fn fingerprint(&self) -> io::Result<String> {
        let text = serde_json::to_vec(&self.0)?;
        Ok(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&text)))
    }

    /// In what the job differs from that of the run, in words.
    pub(crate) fn differences(&self, of_run: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> =
            self.0.keys().chain(of_run.0.keys()).collect();
        let show = |job: &Self, name| match job.0.get(name) {
            None | Some(Value::Null) => "unset".to_owned(),
            Some(value) => value.to_string(),
        };
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != of_run.0.get(*name))
            .map(|name| {
                let (now, was) = (show(self, name), show(of_run, name));
                format!("{name} is {now} and was {was}")
            })
            .collect()
    }
}

// === impl InputPrint ===

impl InputPrint {
    /// The inputs of a plan.
    pub(crate) fn of_plan(plan: &Plan) -> io::Result<Vec<Self>> {
        let mut splits = vec![0; plan.inputs.len()];
        for split in &plan.splits {
            splits[split.input as usize] += 1;
        }
        plan.inputs
            .iter()
            .zip(splits)
            .map(|(input, splits)| {
                Self::of(input, splits).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", input.name))
                })
            })
            .collect()
    }

    /// Checks that a file is the one that it was, as far as its size, its time and its place tell. What was
    /// found out about its rows before, their duplicates above all, holds no more otherwise. Of an object no
    /// other version is ever read.
    pub(crate) fn check_unchanged(&self, input: &Input) -> Result<(), String> {
        let Origin::File(path) = &input.origin else {
            return Ok(());
        };
        let name = &input.name;
        let metadata = std::fs::metadata(path).map_err(|error| format!("{name}: {error}"))?;
        let now = (metadata.len(), modified(&metadata), metadata.ino());
        if now == (self.bytes, self.modified, self.inode) {
            return Ok(());
        }
        Err(format!(
            "{name}: the file was written to while it was being loaded, so what was loaded of it may be of \
             either version; load it anew when nothing writes to it"
        ))
    }

    fn of(input: &Input, splits: u32) -> io::Result<Self> {
        // Nothing of it is on a disk.
        let elsewhere = |hash: String| Self {
            name: input.name.clone(),
            bytes: input.bytes,
            modified: 0,
            inode: 0,
            hash,
            splits,
        };
        let path = match &input.origin {
            Origin::File(path) => path,
            Origin::Object(object) => return Ok(elsewhere(version(object))),
            // What it will hold is not known.
            _ => return Ok(elsewhere(STREAM.to_owned())),
        };
        let metadata = std::fs::metadata(path)?;
        let hash = match input.format {
            Format::Parquet => hash_footer(path)?,
            _ => hash_ends(path)?,
        };
        Ok(Self {
            name: input.name.clone(),
            bytes: metadata.len(),
            modified: modified(&metadata),
            inode: metadata.ino(),
            hash: format!("{hash:032x}"),
            splits,
        })
    }

    /// In what the input differs from that of the run, in words; none if it does not.
    pub(crate) fn difference(&self, of_run: &Self) -> Option<String> {
        if let Some(difference) = self.difference_in_content(of_run) {
            return Some(difference);
        }
        let what = if self.modified != of_run.modified {
            "was written again".to_owned()
        } else if self.inode != of_run.inode {
            "is another file of the same name".to_owned()
        } else {
            return None;
        };
        Some(format!("{} {what}", self.name))
    }

    /// In what the input differs from that of the run for whoever reads the same rows again: not in its
    /// place, nor in when it was written.
    pub(crate) fn difference_in_content(&self, of_run: &Self) -> Option<String> {
        let what = if self.bytes != of_run.bytes {
            format!("has {} bytes and had {}", self.bytes, of_run.bytes)
        } else if self.hash != of_run.hash {
            "has another content".to_owned()
        } else if self.splits != of_run.splits {
            "is planned in another way by this version of vecload".to_owned()
        } else {
            return None;
        };
        Some(format!("{} {what}", self.name))
    }

    /// Whether it is a stream, of which nothing can be read again.
    pub(crate) fn is_stream(&self) -> bool {
        self.hash == STREAM
    }
}

/// Which of the inputs changed, and in what, in words.
///
/// # Errors
///
/// Inputs were added, removed or renamed: in words.
pub(crate) fn changed_inputs(
    now: &[InputPrint],
    of_run: &[InputPrint],
) -> Result<Vec<Option<String>>, String> {
    let names = |prints: &[InputPrint]| -> Vec<String> {
        prints.iter().map(|print| print.name.clone()).collect()
    };
    let (now_names, run_names) = (names(now), names(of_run));
    if let Some(new) = now_names.iter().find(|name| !run_names.contains(name)) {
        return Err(format!("the input {new} is new"));
    }
    if let Some(gone) = run_names.iter().find(|name| !now_names.contains(name)) {
        return Err(format!("the input {gone} is gone"));
    }
    if now_names != run_names {
        return Err("the inputs are in another order".to_owned());
    }
    let pairs = now.iter().zip(of_run);
    Ok(pairs.map(|(now, was)| now.difference(was)).collect())
}

/// What tells a version of an object from others.
fn version(object: &Object) -> String {
    object.version().unwrap_or_else(|| {
        let bytes = object.bytes();
        tracing::warn!(
            ?object,
            "the server tells neither an etag nor when it was written: a change is noticed by its size only"
        );
        format!("size {bytes}")
    })
}

/// When a file was last written, in nanoseconds since 1970; in 64 bits until the year 2262.
fn modified(metadata: &std::fs::Metadata) -> i64 {
    metadata.mtime().wrapping_mul(1_000_000_000) + metadata.mtime_nsec()
}

fn hash_footer(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut tail = [0; FOOTER_TAIL as usize];
    file.seek(SeekFrom::Start(size.saturating_sub(FOOTER_TAIL)))?;
    file.read_exact(&mut tail)?;
    let metadata = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    hash_part(&mut file, size.saturating_sub(FOOTER_TAIL + metadata), size)
}

fn hash_ends(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let head = hash_part(&mut file, 0, size.min(END_BYTES))?;
    let tail = hash_part(&mut file, size.saturating_sub(END_BYTES), size)?;
    Ok(xxhash_rust::xxh3::xxh3_128(
        &[head.to_le_bytes(), tail.to_le_bytes()].concat(),
    ))
}

fn hash_part(file: &mut File, start: u64, end: u64) -> io::Result<u128> {
    file.seek(SeekFrom::Start(start))?;
    let mut part = file.take(end - start);
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(hash.digest128()),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the list of knobs.
    /// Guarantees: each is a setting, so that a renamed one is not forgotten here.
    #[test]
    fn every_knob_is_a_setting() {
        let settings = serde_json::to_value(Settings::default()).expect("JSON");
        for knob in KNOBS {
            assert!(settings.get(knob).is_some(), "{knob} is no setting");
        }
    }

    /// Scenario: a file after its run was opened: untouched, made longer, written again with as many bytes, replaced
    /// by another one of that size, and gone.
    /// Guarantees: only the first is taken for the same, and the file is named.
    #[test]
    fn a_file_that_is_written_to_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let text = "{\"id\":\"a\",\"values\":[1,2]}\n";
        let time = std::time::SystemTime::UNIX_EPOCH;
        let write = |path: &Path, text: &str, time| {
            std::fs::write(path, text).expect("written");
            let file = File::options().write(true).open(path).expect("open");
            file.set_modified(time).expect("set");
        };
        let settings = Settings::default();
        write(&path, text, time);
        let name = path.display().to_string();
        let plan = crate::inputs::plan(std::slice::from_ref(&name), &settings).expect("a plan");
        let prints = InputPrint::of_plan(&plan).expect("prints");
        let check = || prints[0].check_unchanged(&plan.inputs[0]);
        assert_eq!(check(), Ok(()));
        write(&path, &text.repeat(2), time);
        assert!(check().expect_err("longer").starts_with(&name));
        let later = time + std::time::Duration::from_nanos(1);
        write(&path, &text.replace('1', "3"), later);
        assert!(check().expect_err("written again").starts_with(&name));
        let other = folder.path().join("other");
        write(&other, text, time);
        std::fs::rename(&other, &path).expect("replaced");
        assert!(check().expect_err("replaced").starts_with(&name));
        std::fs::remove_file(&path).expect("removed");
        assert!(check().expect_err("gone").starts_with(&name));
    }
}
