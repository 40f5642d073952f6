//! Timestamps, dates and times of day as numbers or text.

use arrow_schema::{DataType, TimeUnit};
use bumpalo::Bump;
use jiff::{SignedDuration, Timestamp, civil};
use vecload_record::{FieldValue, Reason};

use super::{Result, number};
use crate::{Timestamps, parquet::columns::Flaw};

/// What a number of units since the beginning means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// Since 1970, with so many units to the second.
    Since1970(i64),
    Days,
    /// Since midnight.
    OfDay(i64),
}

// === impl Clock ===

impl Clock {
    pub(super) fn of(found: &DataType) -> Option<Self> {
        Some(match found {
            DataType::Timestamp(unit, _) => Self::Since1970(per_second(*unit)),
            DataType::Time32(unit) | DataType::Time64(unit) => Self::OfDay(per_second(*unit)),
            DataType::Date32 => Self::Days,
            _ => return None,
        })
    }

    /// The value that is lent for `count`, and whether it was rounded.
    pub(super) fn value(
        self,
        count: i64,
        times: Timestamps,
        arena: &Bump,
    ) -> Result<(FieldValue<'_>, bool)> {
        match (self, times) {
            (Self::Days | Self::Since1970(_), Timestamps::Rfc3339) => {
                let text = self.text(count).ok_or_else(|| Flaw {
                    reason: Reason::InvalidMetadata,
                    message: format!("{count} is beyond the years that RFC 3339 can write"),
                })?;
                Ok((FieldValue::Text(arena.alloc_str(&text)), false))
            }
            _ => {
                let (seconds, rounded) = self.seconds(count)?;
                Ok((FieldValue::Number(seconds), rounded))
            }
        }
    }

    /// The seconds, and whether they are rounded so far that the count is not had back.
    pub(super) fn seconds(self, count: i64) -> Result<(f64, bool)> {
        // Below this a quotient is off by less than half a unit.
        const FINE: u64 = 1 << 52;
        let per_second = match self {
            #[expect(clippy::cast_precision_loss, reason = "days are 32 bits wide")]
            Self::Days => return Ok((count as f64 * 86_400.0, false)),
            Self::Since1970(per_second) | Self::OfDay(per_second) => per_second,
        };
        if count.unsigned_abs() < FINE {
            #[expect(clippy::cast_precision_loss, reason = "both are below 2^53")]
            return Ok((count as f64 / per_second as f64, false));
        }
        // Of other counts the digits are rounded once, where two divisions would round twice.
        let digits = per_second.ilog10() as usize;
        let sign = if count < 0 { "-" } else { "" };
        let (whole, rest) = (count / per_second, count % per_second);
        let text = match digits {
            0 => count.to_string(),
            _ => format!(
                "{sign}{}.{:0digits$}",
                whole.unsigned_abs(),
                rest.unsigned_abs()
            ),
        };
        let seconds = number(&text)?;
        Ok((seconds, format!("{seconds:.digits$}") != text))
    }

    /// RFC 3339, if it has the year.
    pub(super) fn text(self, count: i64) -> Option<String> {
        match self {
            Self::Days => {
                let days = SignedDuration::from_hours(count.checked_mul(24)?);
                let date = civil::date(1970, 1, 1).checked_add(days).ok()?;
                (date.year() >= 0).then(|| date.to_string())
            }
            Self::Since1970(per_second) => {
                let nanoseconds = i128::from(count) * i128::from(1_000_000_000 / per_second);
                let time = Timestamp::from_nanosecond(nanoseconds).ok()?;
                let text = time.to_string();
                (!text.starts_with('-')).then_some(text)
            }
            Self::OfDay(_) => None,
        }
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}
