//! Files that are to take memory, and what reading them allocates, counted by the allocator of
//! this whole program: one test, so that no other one is counted with it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a panic is the report"
)]

use std::alloc::System;
use std::io::{Read as _, Write as _, repeat};

use flate2::write::GzEncoder;
use parquet::basic::{Compression, PageType};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tempfile::NamedTempFile;
use vecload_corpus::crafted::{CraftedColumn, CraftedPage, file, long_column, long_list};
use vecload_source::{
    Discovery, Format, Plan, PlanSettings, SourceError, SourceErrorKind, discover,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What planning and reading a refused file may allocate, all in all.
const ALLOWED: usize = 24 << 20;

/// So many zeros, packed without being held.
fn zeros(codec: Compression, count: usize) -> Vec<u8> {
    let mut zeros = repeat(0).take(count as u64);
    match codec {
        Compression::GZIP(_) => {
            let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::best());
            std::io::copy(&mut zeros, &mut packed).unwrap();
            packed.finish().unwrap()
        }
        Compression::ZSTD(_) => {
            let mut packed = Vec::new();
            zstd::stream::copy_encode(zeros, &mut packed, 3).unwrap();
            packed
        }
        Compression::BROTLI(_) => {
            let mut packed = Vec::new();
            let settings = brotli::enc::BrotliEncoderParams {
                quality: 3,
                ..Default::default()
            };
            brotli::BrotliCompress(&mut zeros, &mut packed, &settings).unwrap();
            packed
        }
        Compression::LZ4 => {
            let mut packed = lz4_flex::frame::FrameEncoder::new(Vec::new());
            std::io::copy(&mut zeros, &mut packed).unwrap();
            packed.finish().unwrap()
        }
        _ => vec![0; 100],
    }
}

/// Plans a file and reads its rows and its keys, whatever the one says of the other.
fn read(path: &str) -> (Result<(), SourceError>, Result<(), SourceError>) {
    let found = Discovery {
        format: Some(Format::Parquet),
        ..Discovery::default()
    };
    let inputs = discover(&[path.to_owned()], &found).unwrap();
    let plan = match Plan::new(inputs, &PlanSettings::default()) {
        Ok(plan) => plan,
        Err(error) => return (Err(error.clone()), Err(error)),
    };
    let rows = plan.splits.iter().try_for_each(|split| {
        let mut reader = plan.open(split)?;
        while let Some(records) = reader.next()? {
            for row in 0..records.len() {
                let _ = records.row(row);
            }
        }
        Ok(())
    });
    let keys = plan.splits.iter().try_for_each(|split| {
        let mut reader = plan.open_keys(split)?;
        while reader.next()?.is_some() {}
        Ok(())
    });
    (rows, keys)
}

/// As many pages as a plan looks at.
const LOOKED_AT: u32 = 1 << 14;

/// Reads a file with a bad column; nothing must be allocated for what it states.
fn assert_refused(name: &str, bytes: &[u8], bad: &str, kind: SourceErrorKind, word: &str) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let path = file.path().display().to_string();
    let region = Region::new(ALLOCATOR);
    let (rows, keys) = read(&path);
    let allocated = region.change().bytes_allocated;
    let error = rows.expect_err(name);
    assert_eq!(error.kind(), kind, "{name}: {error}");
    assert!(error.to_string().contains(word), "{name}: {error}");
    // The keys do not need the vectors.
    if bad == "id" {
        assert_eq!(keys.expect_err(name), error, "{name}");
    }
    let allowed = ALLOWED + 6 * bytes.len();
    assert!(
        allocated < allowed,
        "{name}: {allocated} bytes were allocated"
    );
}

/// Reads a packed JSONL file that unpacks to 64 MiB; gives how many rows it has, and whether its end was
/// an error. No line of it must be kept.
fn assert_flat(name: &str, suffix: &str, packed: &[u8]) -> (usize, Option<SourceErrorKind>) {
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
    file.write_all(packed).unwrap();
    let path = file.path().display().to_string();
    let region = Region::new(ALLOCATOR);
    let inputs = discover(&[path], &Discovery::default()).unwrap();
    let read = || {
        let plan = Plan::new(inputs, &PlanSettings::default())?;
        let mut rows = Ok(0);
        for split in &plan.splits {
            let mut reader = plan.open(split)?;
            while let Some(records) = reader.next().transpose() {
                let count = rows?;
                rows = records.map(|records| count + records.len());
                if rows.is_err() {
                    return Ok((count, rows.err()));
                }
            }
        }
        Ok((rows?, None))
    };
    let (rows, error) = read().unwrap_or_else(|error: SourceError| (0, Some(error)));
    let allocated = region.change().bytes_allocated;
    // A line may have 8 MiB; it is kept to be judged, and once more to be handed back.
    assert!(
        allocated < 40 << 20,
        "{name}: {allocated} bytes were allocated"
    );
    (rows, error.map(|error| error.kind()))
}

/// What lines that are to take memory do to the reader of JSONL.
fn nothing_is_allocated_by_what_lines_unpack_to() {
    const CONTENT: usize = 64 << 20;
    let line = b"{\"id\":\"a\",\"values\":[1]}\n";
    let [nests, zeros, spaces] = [b"[", b"\0", b" "].map(|byte| byte.repeat(CONTENT));
    for (name, middle) in [("nests", nests), ("zeros", zeros), ("spaces", spaces)] {
        let text = [line, &middle[..], b"\n", line].concat();
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::bulk::compress(&text, 1).unwrap();
        let document = [b"[", &line[..], b",", &middle[..]].concat();
        let document = zstd::bulk::compress(&document, 1).unwrap();
        drop((text, middle));
        for (suffix, packed) in [(".jsonl.gz", gzip), (".jsonl.zst", zstd)] {
            let found = assert_flat(name, suffix, &packed);
            assert_eq!(found, (3, None), "{name}{suffix}");
        }
        let (rows, _) = assert_flat(name, ".json.zst", &document);
        assert!(rows <= 2, "{name}, a document: {rows}");
    }
    // A frame whose window is 2 GiB: magic, no sizes, the window, an empty last block.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let (rows, error) = assert_flat("a window", ".jsonl.zst", &window);
    assert_eq!((rows, error.is_some()), (0, true));
}

/// Scenario: pages of the ids and of the vectors: an honest one of zstd with a gigabyte of zeros; headers
/// that state a gigabyte, in all codecs; headers that state less than a page unpacks to, or more than
/// it can; a dictionary and a list of hundreds of millions of entries in a few bytes. All of them met
/// by the plan, and behind as many pages as a plan looks at, while rows and keys are read. Then JSONL, as lines
/// and as a document, that unpacks to 64 MiB without an end of line, and a zstd window of 2 GiB.
/// Guarantees: each page is refused with its row group and the reason, each line is one bad row, and in all
/// no more is allocated than some megabytes.
#[test]
fn nothing_is_allocated_by_what_a_file_states() {
    use Compression::{BROTLI, GZIP, LZ4, LZ4_RAW, SNAPPY, UNCOMPRESSED, ZSTD};
    use SourceErrorKind::{Corrupt, Unsupported};
    const GIB: usize = 1 << 30;
    let (gzip, zstd, brotli) = (
        GZIP(Default::default()),
        ZSTD(Default::default()),
        BROTLI(Default::default()),
    );
    // Frames that follow each other are one content.
    let honest = zeros(zstd, GIB / 64).repeat(64);
    assert!(honest.len() < 120_000, "{}", honest.len());
    let mut cases = vec![(
        "an honest bomb".to_owned(),
        zstd,
        vec![CraftedPage::packed(1, GIB, honest)],
        Unsupported,
        "1073741824 bytes",
    )];
    for codec in [UNCOMPRESSED, SNAPPY, gzip, LZ4, LZ4_RAW, zstd, brotli] {
        let pages = vec![CraftedPage::packed(1, GIB, zeros(codec, 1000))];
        cases.push((
            format!("{codec} states much"),
            codec,
            pages,
            Unsupported,
            "max_page",
        ));
    }
    for codec in [gzip, brotli, LZ4] {
        let pages = vec![CraftedPage::packed(1, 1000, zeros(codec, 40 << 20))];
        let what = "it unpacks to more";
        cases.push((
            format!("{codec} states little"),
            codec,
            pages,
            Corrupt,
            what,
        ));
    }
    for codec in [SNAPPY, LZ4, LZ4_RAW] {
        let pages = vec![CraftedPage::packed(1, 200 << 20, vec![0; 100])];
        cases.push((
            format!("{codec} cannot"),
            codec,
            pages,
            Corrupt,
            "unpack to",
        ));
    }
    let dictionary = CraftedPage {
        kind: PageType::DICTIONARY_PAGE,
        levels: None,
        values: 1 << 30,
        unpacked: 4,
        stored: vec![0; 4],
    };
    let pages = vec![dictionary, CraftedPage::packed(1, 12, vec![0; 12])];
    cases.push((
        "a dictionary".into(),
        UNCOMPRESSED,
        pages,
        Corrupt,
        "entries",
    ));
    for (name, codec, pages, kind, word) in cases {
        for bad in ["id", "values"] {
            for is_behind in [false, true] {
                let has_dictionary = pages[0].kind == PageType::DICTIONARY_PAGE;
                let mut pages = pages.clone();
                if is_behind {
                    // A dictionary is the first page of its chunk, and has none before it.
                    let at = usize::from(has_dictionary);
                    pages.splice(at..at, (0..LOOKED_AT).map(|_| CraftedPage::sound(bad, 1)));
                }
                let rows = u32::try_from(pages.len() - usize::from(has_dictionary)).unwrap();
                let stated = CraftedColumn {
                    codec,
                    pages,
                    values: rows.into(),
                    unpacked: 1000,
                };
                let name = format!("{name}, {bad}, {is_behind}");
                assert_refused(&name, &file(rows, bad, stated).unwrap(), bad, kind, word);
            }
        }
    }

    // A list that begins and goes on for 2^28 nulls: two runs of repetition levels, one of definition levels.
    let levels =
        b"\x08\0\0\0\x02\0\xfe\xff\xff\xff\x03\x01\x03\x00\x06\0\0\0\x80\x80\x80\x80\x04\x02";
    let list = CraftedColumn {
        codec: UNCOMPRESSED,
        pages: vec![CraftedPage::packed(1 << 28, levels.len(), levels.to_vec())],
        values: 1 << 28,
        unpacked: 100,
    };
    assert_refused(
        "a list",
        &file(1, "values", list).unwrap(),
        "values",
        Unsupported,
        "lists of column",
    );

    // Footers that claim 200 GB: of a column, of themselves, and as the length of a list of row groups.
    let claim = long_column().unwrap();
    assert_refused("a column", &claim, "id", Unsupported, "max_page");
    let mut long = claim;
    let length = long.len();
    long[length - 8..length - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_refused("a footer", &long, "id", Corrupt, "damaged");
    let list = long_list();
    assert_refused("a list of the footer", &list, "id", Corrupt, "damaged");

    nothing_is_allocated_by_what_lines_unpack_to();
}
