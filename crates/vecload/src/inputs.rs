//! The inputs of a load: from settings to a plan.

use vecload_source::{Columns, Discovery, Format, Plan, PlanSettings, SourceError};

use crate::settings::{FormatChoice, Settings, TimestampForm};

/// Finds the inputs and plans how they are read.
pub(crate) fn plan(inputs: &[String], settings: &Settings) -> Result<Plan, SourceError> {
    let inputs = vecload_source::discover(inputs, &discovery(settings))?;
    Plan::new(inputs, &plan_settings(settings))
}

fn discovery(settings: &Settings) -> Discovery {
    Discovery {
        format: match settings.format {
            FormatChoice::Auto => None,
            FormatChoice::Parquet => Some(Format::Parquet),
            FormatChoice::Jsonl => Some(Format::Jsonl),
        },
        include: list(settings.include.as_deref()),
        exclude: list(settings.exclude.as_deref()),
        files_from: settings.files_from.clone(),
        namespace_from_dir: settings.namespace_from_dir,
        ca_file: settings.ca_file.clone(),
    }
}

fn plan_settings(settings: &Settings) -> PlanSettings {
    PlanSettings {
        columns: Columns {
            id: settings.id_column.clone(),
            values: settings.vector_column.clone(),
            sparse_values: settings.sparse_column.clone(),
            metadata: settings.metadata_column.clone(),
            metadata_columns: list(settings.metadata_columns.as_deref()),
            namespace: settings.namespace_column.clone(),
            // A namespace that was named holds for all records.
            own_namespaces: settings.namespace.is_empty(),
        },
        timestamps: match settings.timestamps {
            TimestampForm::Epoch => vecload_source::Timestamps::EpochSeconds,
            TimestampForm::Rfc3339 => vecload_source::Timestamps::Rfc3339,
        },
        limit: settings.limit,
        max_page: settings.max_page.0,
        ..PlanSettings::default()
    }
}

/// The parts of a list that is separated by commas.
fn list(text: Option<&str>) -> Vec<String> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}
