//! Files that chance has changed.

use std::sync::atomic::{AtomicU32, Ordering};

use flate2::write::GzEncoder;
use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus};
use vecload_corpus::mutation::{for_each_seed, mutate, overwrite};

use super::*;
use crate::{PlanSettings, fuzzing::read_whole};

/// Lines in every accepted form, and dead letters.
fn lines() -> Vec<u8> {
    let mut lines = Vec::new();
    for row in 0..20 {
        let line = match row % 4 {
            0 => format!(
                "{{\"id\":\"{row}\",\"values\":[{row}.5,-1e-3,2],\"metadata\":{{\"k\":[\"a\",\"b\"]}}}}"
            ),
            1 => format!(
                "{{\"id\":\"{row}\",\"sparse_values\":{{\"indices\":[1,{row}9],\"values\":[0.5,1]}}}}"
            ),
            2 => format!("{{\"namespace\":\"n\",\"values\":[1,2,3],\"id\":\"\\u00e9{row}\"}}\r"),
            _ => format!(
                "{{\"id\":\"{row}\",\"values\":[0,0,0],\"_reject\":{{\"reason\":\"all_zero\",\"row\":{row}}}}}"
            ),
        };
        writeln!(lines, "{line}").unwrap();
    }
    lines
}

/// The same as one document.
fn document(lines: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(lines.to_vec()).unwrap();
    format!("[{}]", text.trim().replace('\n', ",")).into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packed.include_checksum(true).unwrap();
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Plans and reads a whole file.
fn planned(bytes: &[u8]) -> Result<Vec<Owned>, SourceError> {
    let (_file, input) = file(bytes);
    let settings = PlanSettings {
        split_bytes: 500,
        ..PlanSettings::default()
    };
    let mut rows = Vec::new();
    read_whole(vec![input], &settings, |row| rows.push(own(row)))?;
    Ok(rows)
}

/// Scenario: 12,000 copies of lines, of a document, and of both packed by gzip and zstd, that chance has changed
/// anywhere.
/// Guarantees: each is read or refused; nothing panics, takes five seconds, or a gigabyte.
#[test]
fn any_change_is_read_or_refused() {
    let lines = lines();
    let document = document(&lines);
    let forms = [
        gzip(&lines),
        zstd(&lines),
        gzip(&document),
        zstd(&document),
        lines,
        document,
    ];
    for sound in &forms {
        assert_eq!(planned(sound).unwrap().len(), 20);
    }
    for_each_seed(0..12_000, move |seed| {
        let mut changed = forms[seed as usize % forms.len()].clone();
        mutate(&mut changed, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
        let _ = planned(&changed);
    });
}

/// Scenario: 4,000 copies of lines packed by gzip and by zstd, both with a checksum, in which chance has changed some
/// bytes.
/// Guarantees: where a file is read without an error, its records are the ones that were written; nothing panics, takes
/// five seconds, or a gigabyte.
#[test]
fn checksums_leave_no_wrong_record() {
    let lines = lines();
    let written = planned(&lines).unwrap();
    let forms = [gzip(&lines), zstd(&lines)];
    let refused = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refused);
    for_each_seed(0..4000, move |seed| {
        let mut changed = forms[seed as usize % 2].clone();
        let random = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
        let end = changed.len();
        overwrite(&mut changed, 0..end, random);
        match planned(&changed) {
            Ok(rows) => {
                for row in rows.iter().filter(|row| row.content.is_ok()) {
                    assert!(written.contains(row), "seed {seed}: {row:?}");
                }
            }
            Err(_) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused > 2800, "{refused}");
}
