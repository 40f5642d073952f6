//! Ways to name and to pack inputs.

use std::io::Write as _;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}

/// Scenario: inputs named in every way, packed in every way, under names that tell their format, tell
/// nothing, and tell a wrong one.
/// Guarantees: just the records that were meant arrive.
#[tokio::test(flavor = "multi_thread")]
async fn ways_to_name_and_pack_inputs() {
    let [one, other] = lines(&[]).map(|line| line + "\n");
    let members = [gzip(one.as_bytes()), gzip(other.as_bytes())].concat();
    let frame = |text: &str| zstd::stream::encode_all(text.as_bytes(), 1).expect("packed");
    let frames = [frame(&one), frame(&other)].concat();
    let list = gzip(format!("[{one},{other}]").as_bytes());
    for (label, name, bytes) in [
        ("gzip of two members", "a.jsonl.gz", members.clone()),
        ("zstd of two frames", "a.jsonl.zst", frames.clone()),
        ("a packed list", "a.json.gz", list),
    ] {
        let case = Case::new(label, name, bytes, both());
        Case {
            inputs: &[name],
            ..case
        }
        .play()
        .await;
    }
    for (label, bytes) in [
        ("Parquet by its content", parquet(columns())),
        ("JSONL by its content", jsonl(&[])),
        ("gzip by its content", members),
        ("zstd by its content", frames),
    ] {
        let case = Case::new(label, "part-00000", bytes.clone(), both());
        Case {
            inputs: &["part-00000"],
            ..case
        }
        .play()
        .await;
    }

    let files = || {
        let all = [
            ("a", "2024/a.parquet"),
            ("b", "2024/b.parquet"),
            ("c", "2025/c.parquet"),
            ("d", "d.parquet"),
        ];
        let mut files: Vec<(&str, Vec<u8>)> =
            all.iter().map(|(id, path)| (*path, plain(id))).collect();
        files.push((
            "list.txt",
            b"ROOT/2024/b.parquet\n\nROOT/d.parquet\n".to_vec(),
        ));
        files
    };
    let expected = |ids: &str| -> Vec<Record> {
        let ids = ids.chars().map(String::from);
        ids.map(|id| record(&id, &VALUES)).collect()
    };
    type Way = (
        &'static str,
        &'static [&'static str],
        fn(&mut Settings),
        &'static str,
    );
    let ways: [Way; 7] = [
        ("directory", &[], |_| {}, "abcd"),
        ("files", &["d.parquet", "2024/a.parquet"], |_| {}, "ad"),
        ("glob of files", &["2024/*.parquet"], |_| {}, "ab"),
        ("glob of directories", &["20??"], |_| {}, "abc"),
        (
            "include",
            &[],
            |settings| settings.include = Some("a.parquet,2025/c.*".to_owned()),
            "ac",
        ),
        (
            "exclude",
            &[],
            |settings| settings.exclude = Some("2024/*".to_owned()),
            "cd",
        ),
        (
            "files from",
            &["2025/c.parquet"],
            |settings| settings.files_from = Some("list.txt".into()),
            "bcd",
        ),
    ];
    for (label, inputs, change, ids) in ways {
        let case = Case {
            files: files(),
            inputs,
            change,
            ..Case::new(label, "", [], expected(ids))
        };
        case.play().await;
    }
}
