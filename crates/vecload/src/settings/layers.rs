//! The layers of the settings, and errors that say in which of them a value stands.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{ApiKey, Settings};

/// Variables that users of Pinecone's own tools have set already, by setting.
const KNOWN_VARIABLES: [(&str, &str); 7] = [
    ("PINECONE_API_KEY", "api_key"),
    ("PINECONE_API_KEY_FILE", "api_key_file"),
    ("PINECONE_CONTROLLER_HOST", "controller_host"),
    ("PINECONE_INDEX", "index"),
    ("PINECONE_INDEX_HOST", "host"),
    ("PINECONE_NAMESPACE", "namespace"),
    ("PINECONE_ADDITIONAL_HEADERS", "additional_headers"),
];

/// What makes a shard: Kubernetes gives each pod of an Indexed Job its index, and the manifest their number.
const SHARD_VARIABLES: (&str, &str) = ("JOB_COMPLETION_INDEX", "VECLOAD_SHARDS");

/// Settings whose value no message may hold.
const SECRETS: [&str; 2] = ["api_key", "additional_headers"];

/// What our own variables begin with; the rest is the setting's name.
const PREFIX: &str = "VECLOAD_";

/// Settings from several places, in the order of their weight.
#[derive(Debug, Clone)]
pub struct Layers(Figment);

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    setting: String,
    /// The flag, the variable or the file; empty for a default.
    place: String,
    message: String,
}

/// One value from one place.
struct Single {
    setting: String,
    value: String,
    place: String,
}

// === impl Layers ===

impl Default for Layers {
    fn default() -> Self {
        Self(Figment::from(Serialized::defaults(Settings::default())))
    }
}

impl Layers {
    /// Adds a file in TOML, which must be there.
    ///
    /// # Errors
    ///
    /// The file cannot be read. What is wrong in it is found by [`Layers::settle`].
    pub fn file(self, path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|error| SettingsError {
            setting: "config".to_owned(),
            place: path.display().to_string(),
            message: format!("the file cannot be read: {error}"),
        })?;
        // Read here, since figment takes a file that is not there for an empty one.
        let _: toml::Table = toml::from_str(&text).map_err(|error| SettingsError {
            setting: "config".to_owned(),
            place: path.display().to_string(),
            // Not the line itself, which may hold a key.
            message: format!(
                "line {} is no TOML: {}",
                line_of(&text, error.span()),
                error.message()
            ),
        })?;
        Ok(Self(self.0.merge(Toml::file_exact(path))))
    }

    /// Adds the variables of an environment: `VECLOAD_<SETTING>`, and the ones that Pinecone's own
    /// tools use. An empty one is as good as none.
    #[must_use]
    pub fn environment(self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables: Vec<(String, String)> = variables
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let shard = shard_of(&variables);
        let mut found: Vec<(bool, Single)> = variables
            .into_iter()
            .filter(|(variable, _)| *variable != SHARD_VARIABLES.1)
            .filter_map(|(variable, value)| {
                let known = KNOWN_VARIABLES.iter().find(|(name, _)| *name == variable);
                let (own, setting) = match known {
                    Some((_, setting)) => (false, (*setting).to_owned()),
                    None => (true, variable.strip_prefix(PREFIX)?.to_ascii_lowercase()),
                };
                let place = format!("the environment variable {variable}");
                Some((
                    own,
                    Single {
                        setting,
                        value,
                        place,
                    },
                ))
            })
            .chain(shard.map(|shard| (false, shard)))
            .collect();
        // Our own variable wins over the one that all tools share.
        found.sort_by_key(|(own, _)| *own);
        Self(
            found
                .into_iter()
                .fold(self.0, |figment, (_, single)| figment.merge(single)),
        )
    }

    /// Adds a flag.
    #[must_use]
    pub fn flag(self, setting: &str, value: impl Into<String>) -> Self {
        Self(self.0.merge(Single {
            setting: setting.to_owned(),
            value: value.into(),
            place: format!("--{}", setting.replace('_', "-")),
        }))
    }

    /// The settings that the layers add up to.
    ///
    /// # Errors
    ///
    /// A value that cannot be used, or a setting that does not exist, and where it stands.
    pub fn settle(&self) -> Result<Settings, SettingsError> {
        let mut settings: Settings = self.0.extract().map_err(|error| self.explain(&error))?;
        self.settle_target(&mut settings)?;
        if let (None, Some(file)) = (&settings.api_key, &settings.api_key_file) {
            settings.api_key = Some(read_key(file)?);
        }
        settings
            .check()
            .map_err(|error| error.found_at(self.place_of(&error.setting)))?;
        Ok(settings)
    }

    /// Leaves the target that has the most weight. Two of the same weight exclude each other.
    fn settle_target(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        let given = [
            ("host", settings.host.is_some()),
            ("local", settings.local.is_some()),
            ("index", settings.index.is_some()),
        ];
        let places = given.iter().filter(|(_, is_given)| *is_given);
        let places: Vec<(&str, String)> = places
            .map(|(setting, _)| (*setting, self.place_of(setting)))
            .collect();
        let Some(most) = places.iter().map(|(_, place)| weight(place)).max() else {
            return Ok(());
        };
        let mut first = places.iter().filter(|(_, place)| weight(place) == most);
        let (Some((chosen, place)), second) = (first.next(), first.next()) else {
            return Ok(());
        };
        if let Some((other, other_place)) = second {
            let other = match other_place.starts_with("--") {
                true => other_place.clone(),
                false => format!("{other} in {other_place}"),
            };
            let message = format!("this and {other} exclude each other: give one target");
            return Err(SettingsError::new(chosen, message).found_at(place.clone()));
        }
        if *chosen != "host" {
            settings.host = None;
        }
        if *chosen != "local" {
            settings.local = None;
        }
        if *chosen != "index" {
            settings.index = None;
        }
        Ok(())
    }

    fn explain(&self, error: &figment::Error) -> SettingsError {
        use figment::error::Kind;
        let path = error.path.join(".");
        let (setting, message) = match &error.kind {
            Kind::UnknownField(field, known) => {
                let near = known
                    .iter()
                    .map(|name| (strsim::levenshtein(field, name), *name))
                    .min()
                    .filter(|(distance, _)| *distance <= 3);
                let hint =
                    near.map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"));
                (field.clone(), format!("there is no such setting{hint}"))
            }
            Kind::UnknownVariant(found, known) => {
                (path, format!("`{found}` is none of {}", known.join(", ")))
            }
            // figment's words hold the value.
            _ if SECRETS.contains(&path.as_str()) => (
                path,
                "the value is no text; it is not shown here".to_owned(),
            ),
            kind => (path, kind.to_string()),
        };
        let place = error
            .metadata
            .as_ref()
            .map_or_else(|| self.place_of(&setting), describe);
        SettingsError {
            setting,
            place,
            message,
        }
    }

    fn place_of(&self, setting: &str) -> String {
        self.0
            .find_metadata(setting)
            .map(describe)
            .unwrap_or_default()
    }
}

/// How much a place weighs against others: a flag most, then the environment, then a file.
fn weight(place: &str) -> u8 {
    match place {
        place if place.starts_with("--") => 2,
        place if place.starts_with("the environment") => 1,
        _ => 0,
    }
}

/// The shard that an environment makes. An index alone makes none: whatever runs in an Indexed Job has one.
fn shard_of(variables: &[(String, String)]) -> Option<Single> {
    let value = |wanted: &str| {
        let mut variables = variables.iter();
        variables.find_map(|(name, value)| (name == wanted).then_some(value.as_str()))
    };
    let (index, shards) = SHARD_VARIABLES;
    let of = value(shards)?;
    Some(Single {
        setting: "shard".to_owned(),
        value: format!("{}/{of}", value(index).unwrap_or_default()),
        place: format!("the environment variables {index} and {shards}"),
    })
}

/// The number of the line at which a span begins, from 1.
fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start);
    let before = text.bytes().take(start);
    before.filter(|byte| *byte == b'\n').count() + 1
}

fn describe(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        _ if metadata.name.starts_with("--") || metadata.name.starts_with("the ") => {
            metadata.name.to_string()
        }
        _ => String::new(),
    }
}

fn read_key(file: &PathBuf) -> Result<ApiKey, SettingsError> {
    let key = std::fs::read_to_string(file).map_err(|error| {
        SettingsError::new(
            "api_key_file",
            format!("{} cannot be read: {error}", file.display()),
        )
    })?;
    Ok(key.trim().to_owned().into())
}

// === impl Single ===

impl Provider for Single {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let dict = Dict::from([(self.setting.clone(), Value::from(self.value.clone()))]);
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

// === impl SettingsError ===

impl SettingsError {
    /// An error of a setting whose place is not known here.
    pub(crate) fn new(setting: &str, message: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            place: String::new(),
            message: message.into(),
        }
    }

    fn found_at(&self, place: String) -> Self {
        Self {
            place,
            ..self.clone()
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(out, "{}: {}", self.setting, self.message)
        } else if self.place.starts_with("--") {
            write!(out, "{}: {}", self.place, self.message)
        } else {
            write!(out, "{} in {}: {}", self.setting, self.place, self.message)
        }
    }
}

impl std::error::Error for SettingsError {}
