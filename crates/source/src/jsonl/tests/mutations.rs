//! Files that chance has changed.

use flate2::write::GzEncoder;
use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus};
use vecload_corpus::mutation::{mutate, overwrite};

use super::*;
use crate::{Plan, PlanSettings};

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
    let plan = Plan::new(vec![input], &settings)?;
    let mut rows = Vec::new();
    for split in &plan.splits {
        let mut reader = plan.open(split)?;
        while let Some(records) = reader.next()? {
            for index in 0..records.len() {
                checked_key(records, index);
                rows.push(own(records.row(index)));
            }
        }
    }
    Ok(rows)
}

/// Scenario: of lines, of a document, and of both packed by gzip and zstd 700 copies each, that chance
/// has changed anywhere.
/// Guarantees: each is read or refused; nothing panics.
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
    for (form, sound) in forms.iter().enumerate() {
        assert_eq!(planned(sound).unwrap().len(), 20);
        for seed in 0..700 {
            // Shown where the test fails.
            println!("form {form}, seed {seed}");
            let mut changed = sound.clone();
            mutate(&mut changed, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
            let _ = planned(&changed);
        }
    }
}

/// Scenario: of lines packed by gzip and by zstd, both with a checksum, 500 copies each in which chance
/// has changed some bytes.
/// Guarantees: where a file is read without an error, its records are the ones that were written.
#[test]
fn checksums_leave_no_wrong_record() {
    let lines = lines();
    let written = planned(&lines).unwrap();
    for (form, sound) in [gzip(&lines), zstd(&lines)].into_iter().enumerate() {
        let mut refused = 0;
        for seed in 0..500 {
            let mut changed = sound.clone();
            let random = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
            overwrite(&mut changed, 0..sound.len(), random);
            match planned(&changed) {
                Ok(rows) => {
                    for row in rows.iter().filter(|row| row.content.is_ok()) {
                        assert!(written.contains(row), "form {form}, seed {seed}: {row:?}");
                    }
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 350, "{form}: {refused}");
    }
}
