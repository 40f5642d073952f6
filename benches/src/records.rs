//! The records of a file, as a worker meets them.

use std::ops::ControlFlow;
use std::path::Path;

use vecload_record::RecordRef;
use vecload_source::{Plan, PlanSettings, discover};

use crate::Failure;

/// Shows each record of a file, one after another, until there are none or `show` breaks off.
///
/// # Errors
///
/// The file cannot be read, a row of it is no record, or what `show` says.
pub fn each(
    file: &Path,
    mut show: impl FnMut(&RecordRef<'_>) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let inputs = discover(&[file.display().to_string()], &Default::default())?;
    let plan = Plan::new(inputs, &PlanSettings::default())?;
    for split in &plan.splits {
        let mut reader = plan.open(split)?;
        while let Some(records) = reader.next()? {
            for row in 0..records.len() {
                let content = records.row(row).content;
                let record = content.map_err(|bad| bad.reject.to_string())?;
                if show(&record)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
