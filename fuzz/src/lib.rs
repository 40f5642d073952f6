//! What the fuzz targets share: sound files to begin with, and a file to write bytes to.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use parquet::file::properties::{WriterProperties, WriterVersion};
use tempfile::NamedTempFile;
use vecload_corpus::{codec, table};
use vecload_source::{Discovery, Format, PlanSettings, SourceError, discover, fuzzing::read_whole};

/// Calls with the path of a file of these bytes.
///
/// # Panics
///
/// There is no room for temporary files.
pub fn with_file<T>(bytes: &[u8], then: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FILE: RefCell<io::Result<NamedTempFile>> = RefCell::new(NamedTempFile::new());
    }
    FILE.with_borrow_mut(|file| {
        let file = file.as_mut().expect("a temporary file");
        let write = |file: &mut NamedTempFile| {
            file.rewind()?;
            file.write_all(bytes)?;
            file.as_file().set_len(bytes.len() as u64)
        };
        write(file).expect("room for a temporary file");
        then(file.path())
    })
}

/// Reads a file of these bytes, its rows and its keys; gives each row as text.
///
/// # Errors
///
/// It is refused.
pub fn read(bytes: &[u8], format: Format, split_bytes: u64) -> Result<Vec<String>, SourceError> {
    with_file(bytes, |path| {
        let found = Discovery {
            format: Some(format),
            ..Discovery::default()
        };
        let inputs = discover(&[path.to_string_lossy().into_owned()], &found)?;
        let settings = PlanSettings {
            split_bytes,
            ..PlanSettings::default()
        };
        let mut rows = Vec::new();
        read_whole(inputs, &settings, |row| {
            rows.push(format!("{} {:?}", row.at.locator, row.content));
        })?;
        Ok(rows)
    })
}

/// Parquet files in every codec.
///
/// # Panics
///
/// They cannot be written.
#[must_use]
pub fn parquet_files() -> Vec<Vec<u8>> {
    let names: Vec<String> = (0..24).map(|row| format!("row {row}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let vectors: Vec<[Option<f32>; 3]> = (0..24_u8)
        .map(|row| [Some(f32::from(row)), Some(0.5), Some(-1.0)])
        .collect();
    let sparse: Vec<_> = (0..24)
        .map(|row| (row % 3 > 0).then(|| (vec![row, 100], vec![0.5, 0.25])))
        .collect();
    let metadata = vec![r#"{"title":"a","year":1999}"#; 24];
    let mut files = Vec::new();
    for name in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"] {
        let codec = codec(name).expect("a codec");
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let columns = vec![
                ("id", table::texts(&names)),
                (
                    "values",
                    table::lists(vectors.iter().map(|row| Some(&row[..]))),
                ),
                ("sparse_values", table::sparse(&sparse)),
                ("metadata", table::texts(&metadata)),
            ];
            let properties = WriterProperties::builder()
                .set_compression(codec)
                .set_writer_version(version)
                .set_max_row_group_row_count(Some(10))
                .set_data_page_row_count_limit(6)
                .set_write_batch_size(2);
            files.push(table::parquet(columns, properties.build()).expect("written"));
        }
    }
    files
}

/// What a target does before libFuzzer looks for inputs: writes its seeds where `VECLOAD_FUZZ_SEEDS` says.
///
/// # Panics
///
/// They cannot be written.
pub fn begin(target: &str) {
    // After the fuzzer's own hook, which ends the process: a panic of the decoder is an error.
    vecload_source::hush_decoder_panics();
    if let Some(folder) = std::env::var_os("VECLOAD_FUZZ_SEEDS") {
        let folder = Path::new(&folder);
        fs::create_dir_all(folder).expect("a folder for the seeds");
        for (number, seed) in seeds(target).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:02}")), seed).expect("a seed");
        }
    }
}

/// Sound inputs of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "parquet" => parquet_files(),
        "parquet_mutations" => {
            let files = 0..parquet_files().len() as u8;
            files.map(|file| vec![file, 0, 9, 1, 0]).collect()
        }
        "jsonl" => {
            let lines = concat!(
                "{\"id\":\"a\",\"values\":[1,-2.5e0,3E-1],\"metadata\":{\"k\":[\"x\",\"y\"]}}\n",
                "{\"id\":\"b\",\"sparse_values\":{\"indices\":[1,9],\"values\":[0.5,1]}}\n",
                "{\"namespace\":\"n\",\"values\":[1,2,3],\"id\":\"\\u00e9\\ud83d\\ude00\"}\r\n",
                "{\"id\":7,\"values\":[0,0],\"_reject\":{\"reason\":\"all_zero\",\"row\":3}}\n",
                "\n{\"id\":\"c\",\"values\":[1],\"metadata\":\"{\\\"k\\\":\\\"v\\\"}\"}",
            );
            let document = lines.replace("\n\n", ",").replace('\n', ",");
            texts(&[
                lines,
                &format!("[{document}]"),
                "\u{feff}{\"id\":\"a\",\"values\":[1]}",
            ])
        }
        "metadata" => texts(&[
            r#"{"title":"a \u00e9\n","year":1999,"price":-1.5e3,"seen":true,"tags":["a","b"]}"#,
            r#"{"a":{"b":null,"c":{"d":[1,{"e":"f"}]}},"n":12345678901234567891}"#,
            " { } ",
        ]),
        "settings" => {
            let reference = include_str!("../../config/reference.toml");
            let set = reference.replace("# api_key = \"\"", "api_key = \"pcsk_x\"");
            texts(&[&set, "host = \"http://127.0.0.1:1\"\nmemory = \"16MiB\"\n"])
        }
        "checkpoint" => {
            let left = vecload::fuzzing::Left::sound().expect("encoded");
            vec![join(
                &[&[left.state], &left.records[..], &[left.letters]].concat(),
            )]
        }
        _ => panic!("no target {target}"),
    }
}

/// Parts as one input, each after its length.
fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    let part = |part: &Vec<u8>| [&(part.len() as u16).to_le_bytes()[..], part].concat();
    parts.iter().flat_map(part).collect()
}

/// The parts of an input; the last one may be shorter than it says.
#[must_use]
pub fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(part.to_vec());
        bytes = after;
    }
    parts
}
