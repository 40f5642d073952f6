//! Amounts as people write them: `40MiB`, `50MB/s`, `15m`, `none`.
//!
//! MB is 10^6 and MiB is 2^20. A bare number is bytes, bytes per second, requests per second, or
//! seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Bytes per second; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByteRate(pub Option<f64>);

/// Requests per second; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestRate(pub Option<f64>);

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const DECIMAL: [(&str, u64); 5] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];
const BINARY: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Splits `12.5MB` into 12.5 and `MB`.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|char: char| !char.is_ascii_digit() && char != '.' && char != '_')
        .unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    Some((number, text[end..].trim()))
}

fn scaled(text: &str, units: &[(&str, u64)], bare: u64) -> Option<f64> {
    let (number, unit) = number_and_unit(text)?;
    if unit.is_empty() {
        return Some(number * bare as f64);
    }
    units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .map(|(_, factor)| number * *factor as f64)
}

fn bytes(text: &str) -> Option<f64> {
    scaled(text, &BINARY, 1).or_else(|| scaled(text, &DECIMAL, 1))
}

/// Writes a number of bytes in the largest unit that divides it.
fn write_bytes(value: u64, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (name, factor) = BINARY
        .iter()
        .chain(&DECIMAL)
        .filter(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .unwrap_or(&("B", 1));
    write!(out, "{}{name}", value / factor)
}

fn per_second(text: &str) -> &str {
    let text = text.trim();
    text.strip_suffix("/s").unwrap_or(text)
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        bytes(text)
            .filter(|value| value.fract() == 0.0)
            .map(|value| Self(value as u64))
            .ok_or_else(|| format!("`{text}` is no size; write it like 40MiB or 2MB"))
    }
}

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self(None));
        }
        bytes(per_second(text))
            .filter(|rate| *rate > 0.0)
            .map(|rate| Self(Some(rate)))
            .ok_or_else(|| format!("`{text}` is no rate; write it like 50MB/s, or `none`"))
    }
}

impl FromStr for RequestRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self(None));
        }
        scaled(per_second(text), &[], 1)
            .filter(|rate| *rate > 0.0)
            .map(|rate| Self(Some(rate)))
            .ok_or_else(|| format!("`{text}` is no rate; write it like 100/s, or `none`"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &TIMES, 1_000)
            .map(|millis| Self(Duration::from_micros((millis * 1e3).round() as u64)))
            .ok_or_else(|| format!("`{text}` is no time; write it like 500ms, 30s, 15m or 2h"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(self.0, out)
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => out.write_str("none"),
            Some(rate) => {
                write_bytes(rate as u64, out)?;
                out.write_str("/s")
            }
        }
    }
}

impl fmt::Display for RequestRate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => out.write_str("none"),
            Some(rate) => write!(out, "{rate}/s"),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let (name, factor) = TIMES
            .iter()
            .rev()
            .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor))
            .unwrap_or(&("ms", 1));
        write!(out, "{}{name}", millis / factor)
    }
}

/// Reads and writes an amount as text; a number is taken as its text.
macro_rules! as_text {
    ($($amount:ty),*) => {$(
        impl Serialize for $amount {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $amount {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::settings::from_text(deserializer)
            }
        }
    )*};
}

as_text!(Bytes, ByteRate, RequestRate, Span);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Scenario: amounts as people write them, right and wrong.
    /// Guarantees: MB is 10^6, MiB is 2^20, and a wrong one says how to write it.
    #[test]
    fn amounts_are_read() {
        assert_eq!("40MiB".parse(), Ok(Bytes(40 << 20)));
        assert_eq!("2 MB".parse(), Ok(Bytes(2_000_000)));
        assert_eq!("1.5gb".parse(), Ok(Bytes(1_500_000_000)));
        assert_eq!("65_536".parse(), Ok(Bytes(65_536)));
        assert_eq!("50MB/s".parse(), Ok(ByteRate(Some(5e7))));
        assert_eq!("none".parse(), Ok(ByteRate(None)));
        assert_eq!("12.5/s".parse(), Ok(RequestRate(Some(12.5))));
        assert_eq!("15m".parse(), Ok(Span(Duration::from_secs(900))));
        assert_eq!("1.5".parse(), Ok(Span(Duration::from_millis(1500))));
        for wrong in ["", "MB", "-1", "10 parsecs", "0.5"] {
            let error = wrong.parse::<Bytes>().expect_err(wrong);
            assert!(error.contains("40MiB"), "{error}");
        }
        assert!("0/s".parse::<RequestRate>().is_err());
        assert!("0MB/s".parse::<ByteRate>().is_err());
    }

    proptest! {
        /// Scenario: any amount is written and read again.
        /// Guarantees: it is the same amount.
        #[test]
        fn what_is_written_is_read(bytes in 0_u64..1 << 53, millis in 0_u64..1 << 40) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
