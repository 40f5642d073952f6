//! The index of a load: by its host, or by a name of which the control plane knows the host.
//!
//! A name is resolved once, before anything is written or sent, and the run keeps to the host that was
//! found: it stands in the run's plan beside the name. So the same command continues a run while the control
//! plane is away, and an index that was made anew under the name is told from the one that the run is of.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_pinecone::{
    Client, ClientSettings, ControlPlane, Created, Failure, IndexDescription, IndexKind,
    IndexShape, NewIndex, classify_control, is_index_name,
};
use vecload_source::Plan;

use super::{Load, LoadError, Notice, shape};
use crate::asking::{Patience, Unanswered, ask_whom, interrupted};
use crate::opening::recorded_host;
use crate::settings::{ApiKey, Settings};
use crate::stop::ExitCode;

/// How long the control plane is asked where the run knows the host already.
const PATIENCE_WITH_KNOWN_HOST: Duration = Duration::from_secs(10);
/// How often an index is looked at that is not ready. It takes seconds to a minute.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// States that no waiting ends.
const DEAD_STATES: [&str; 4] = ["InitializationFailed", "Failed", "Terminating", "Disabled"];
/// How many names are shown of indexes that may have been meant.
const NAMES_SHOWN: usize = 5;

/// How the index is reached that the settings name.
pub(super) enum Way {
    Host(Client),
    Name(Box<Finder>),
}

/// Finds an index by its name.
pub(crate) struct Finder {
    control: ControlPlane,
    name: String,
}

/// Why it is not known what an index is.
enum Lost {
    /// The control plane did not answer in time; the last failure.
    Away(Failure),
    Refused(LoadError),
}

// === impl Load ===

impl Load {
    /// A client of the index. Where that was named by its name, its host becomes that of the settings.
    pub(super) async fn reach(
        &mut self,
        way: Way,
        plan: &Plan,
        random: &mut StdRng,
    ) -> Result<Client, LoadError> {
        match way {
            Way::Host(client) => Ok(client),
            Way::Name(finder) => {
                self.settings.host = Some(self.locate(&finder, plan, random).await?);
                client(&self.settings)
            }
        }
    }

    /// The host of a named index, which is made where that is asked for, and is ready.
    async fn locate(
        &self,
        finder: &Finder,
        plan: &Plan,
        random: &mut StdRng,
    ) -> Result<String, LoadError> {
        let name = &finder.name;
        let known = recorded_host(&self.settings, name);
        let mut patience = self.patience();
        if known.is_some() {
            patience.all = patience.all.min(PATIENCE_WITH_KNOWN_HOST);
        }
        let found = match (finder.describe(patience, random).await, &known) {
            (Ok(found), _) => found,
            (Err(Lost::Away(failure)), Some(host)) => {
                tracing::warn!(
                    index = name, host, error = %failure,
                    "the control plane does not answer; the run goes on where it began"
                );
                return Ok(host.clone());
            }
            (Err(lost), _) => return Err(finder.error(lost, patience.all)),
        };
        match (&found, &known) {
            (Some(_), _) => {}
            (None, Some(host)) => {
                return Err(LoadError::new(
                    ExitCode::Service,
                    format!(
                        "the index {name} at {host}, which the run was begun with, is there no more; \
                         name a new directory for a new run"
                    ),
                ));
            }
            (None, None) if self.settings.create_index => {
                self.create(finder, plan, random).await?;
            }
            (None, None) => return Err(finder.unknown(self.patience(), random).await),
        }
        let found = finder.until_ready(found, self.patience(), random).await?;
        match known {
            Some(known) if known != found.host => Err(LoadError::refused(format!(
                "the index {name} is at {} now and was at {known} when the run was begun, so it is another \
                 one of the same name; name a new directory for a new run",
                found.host
            ))),
            _ => {
                tracing::info!(index = name, host = found.host, "the index is found");
                Ok(found.host)
            }
        }
    }

    /// Asks for an index for what the inputs hold. Another process may have been first.
    async fn create(
        &self,
        finder: &Finder,
        plan: &Plan,
        random: &mut StdRng,
    ) -> Result<(), LoadError> {
        let index = self.new_index(finder, plan)?;
        let question = |timeout| finder.control.create(&index, timeout);
        let patience = self.patience();
        let created = ask_whom(classify_control, patience, random, question).await;
        let created = created.map_err(|why| finder.error(why.into(), patience.all))?;
        match created {
            Created::Yes => self.notices.hear(&Notice::IndexMade {
                index: index.to_string(),
                name: index.name,
            }),
            Created::Exists => tracing::info!(index = index.name, "the index is there already"),
        }
        Ok(())
    }

    /// What a named index takes, for a check; and the index that a load would make, where there is none.
    pub(super) async fn shape_by_name(
        &self,
        finder: &Finder,
        plan: &Plan,
        random: &mut StdRng,
    ) -> Result<(IndexShape, Option<NewIndex>), LoadError> {
        let patience = self.patience();
        let found = finder.describe(patience, random).await;
        match found.map_err(|lost| finder.error(lost, patience.all))? {
            Some(found) => Ok((finder.vectors(&found)?, None)),
            None if self.settings.create_index => {
                let index = self.new_index(finder, plan)?;
                Ok((index.kind.shape(), Some(index)))
            }
            None => Err(finder.unknown(patience, random).await),
        }
    }

    /// The index for what the inputs hold.
    fn new_index(&self, finder: &Finder, plan: &Plan) -> Result<NewIndex, LoadError> {
        let settings = &self.settings;
        Ok(NewIndex {
            name: finder.name.clone(),
            cloud: settings.cloud.clone(),
            region: settings.region.clone(),
            kind: shape::kind_of(plan, settings)?,
        })
    }

    /// The index as a message names it.
    pub(super) fn index_words(&self) -> String {
        self.settings
            .index
            .clone()
            .unwrap_or_else(|| self.target_name())
    }

    /// The name of the target in reports.
    pub(super) fn target_name(&self) -> String {
        self.target_name
            .clone()
            .or_else(|| self.settings.host.clone())
            .unwrap_or_default()
    }

    /// For questions before anything is sent.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience {
            stop: &self.stop.0,
            attempt: self.settings.attempt_timeout.0,
            all: self.settings.max_stall.0,
        }
    }
}

// === impl Way ===

impl Way {
    /// What the settings name.
    pub(super) fn of(settings: &Settings) -> Result<Self, LoadError> {
        match Finder::of(settings)? {
            Some(_) if settings.host.is_some() => Err(LoadError::usage(
                "index and host exclude each other: give one target",
            )),
            Some(finder) => Ok(Self::Name(Box::new(finder))),
            None if settings.create_index => Err(LoadError::usage(
                "--create-index makes an index of a name; give it with --index NAME",
            )),
            None => Ok(Self::Host(client(settings)?)),
        }
    }
}

// === impl Finder ===

impl Finder {
    /// For the index that the settings name, if they name one by its name.
    pub(crate) fn of(settings: &Settings) -> Result<Option<Self>, LoadError> {
        let Some(name) = settings.index.clone() else {
            return Ok(None);
        };
        if !is_index_name(&name) {
            return Err(LoadError::usage(format!(
                "index: `{name}` is no name of an index, which has 1 to 45 lower case letters, digits and hyphens, \
                 and no hyphen at its ends"
            )));
        }
        let host = settings.controller_host.as_deref();
        let host = host.unwrap_or(ControlPlane::PINECONE).to_owned();
        let control = ControlPlane::new(&client_settings(settings, host)?)
            .map_err(|error| LoadError::usage(format!("control plane: {error}")))?;
        Ok(Some(Self { control, name }))
    }

    /// The host of the index, which must be there and ready.
    pub(crate) async fn host(
        &self,
        patience: Patience<'_>,
        random: &mut StdRng,
    ) -> Result<String, LoadError> {
        let found = self.describe(patience, random).await;
        match found.map_err(|lost| self.error(lost, patience.all))? {
            None => Err(self.unknown(patience, random).await),
            found => Ok(self.until_ready(found, patience, random).await?.host),
        }
    }

    async fn describe(
        &self,
        patience: Patience<'_>,
        random: &mut StdRng,
    ) -> Result<Option<IndexDescription>, Lost> {
        let question = |timeout| self.control.describe(&self.name, timeout);
        Ok(ask_whom(classify_control, patience, random, question).await?)
    }

    /// Waits until the index is ready.
    async fn until_ready(
        &self,
        mut found: Option<IndexDescription>,
        patience: Patience<'_>,
        random: &mut StdRng,
    ) -> Result<IndexDescription, LoadError> {
        let name = &self.name;
        let deadline = Instant::now() + patience.all;
        loop {
            let state = match found {
                Some(found) => {
                    self.vectors(&found)?;
                    if found.ready && !found.host.is_empty() {
                        return Ok(found);
                    }
                    found.state
                }
                // One that was just made may not be listed yet.
                None => "not listed".to_owned(),
            };
            if DEAD_STATES.contains(&state.as_str()) {
                return Err(LoadError::new(
                    ExitCode::Service,
                    format!(
                        "the index {name} takes no writes: its state is {state}; see its page in the console"
                    ),
                ));
            }
            if Instant::now() >= deadline {
                return Err(LoadError::new(
                    ExitCode::Interrupted,
                    format!(
                        "the index {name} was not ready within {} s: its state is {state}; \
                         the same command goes on waiting",
                        patience.all.as_secs_f64()
                    ),
                ));
            }
            tracing::info!(index = name, state, "the index is not ready yet");
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                () = patience.stop.stopped() => return Err(stopped()),
                () = tokio::time::sleep(LOOK_EVERY.min(left)) => {}
            }
            let looked = self.describe(patience, random).await;
            found = looked.map_err(|lost| self.error(lost, patience.all))?;
        }
    }

    /// What an index of vectors takes; others are refused.
    fn vectors(&self, found: &IndexDescription) -> Result<IndexShape, LoadError> {
        match &found.kind {
            IndexKind::Vectors(shape) => Ok(*shape),
            IndexKind::Documents(fields) => Err(LoadError::refused(format!(
                "the index {} holds documents (its schema has the fields {}), and vecload writes vectors, which such \
                 an index does not take; name another index, or make one of vectors with --create-index and a new name",
                self.name,
                shown(fields)
            ))),
        }
    }

    /// That there is no such index, with the names that may have been meant.
    async fn unknown(&self, patience: Patience<'_>, random: &mut StdRng) -> LoadError {
        let question = |timeout| self.control.names(timeout);
        // Why they cannot be listed is of less interest than that the index is not there.
        let names = ask_whom(classify_control, patience, random, question).await;
        let near = near(&self.name, names.unwrap_or_default());
        let hint = match near.is_empty() {
            true => String::new(),
            false => format!("; there is {}", shown(&near)),
        };
        LoadError::new(
            ExitCode::Service,
            format!(
                "there is no index {} at {}{hint}; --create-index makes it",
                self.name,
                self.control.url()
            ),
        )
    }

    fn error(&self, lost: Lost, limit: Duration) -> LoadError {
        match lost {
            Lost::Refused(error) => {
                LoadError::new(error.exit_code, format!("index {}: {error}", self.name))
            }
            Lost::Away(failure) => LoadError::new(
                ExitCode::Interrupted,
                format!(
                    "the control plane at {} did not say for {} s where the index {} is; the last \
                     failure: {failure}",
                    self.control.url(),
                    limit.as_secs_f64(),
                    self.name
                ),
            ),
        }
    }
}

// === impl Lost ===

impl From<Unanswered> for Lost {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Stopping => Self::Refused(stopped()),
            Unanswered::Refused(reason) => {
                Self::Refused(LoadError::new(reason.exit_code, reason.message))
            }
            Unanswered::TimedOut(failure) => Self::Away(failure),
        }
    }
}

fn stopped() -> LoadError {
    let reason = interrupted();
    LoadError::new(reason.exit_code, reason.message)
}

/// Of the names those that may have been meant, the nearest first.
fn near(name: &str, names: Vec<String>) -> Vec<String> {
    let mut near: Vec<(usize, String)> = names
        .into_iter()
        .map(|other| (strsim::damerau_levenshtein(name, &other), other))
        .filter(|(distance, other)| {
            *distance <= 3 || other.contains(name) || name.contains(other.as_str())
        })
        .collect();
    near.sort();
    near.into_iter().map(|(_, other)| other).collect()
}

/// Some of the names, on one line.
fn shown(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A client of the index at the host of the settings.
pub(crate) fn client(settings: &Settings) -> Result<Client, LoadError> {
    let Some(host) = settings.host.clone() else {
        return Err(LoadError::usage(
            "no target was named; give --index or --host, or --local DIR for an embedded index",
        ));
    };
    Client::new(&client_settings(settings, host)?)
        .map_err(|error| LoadError::usage(error.to_string()))
}

fn client_settings(settings: &Settings, host: String) -> Result<ClientSettings, LoadError> {
    let additional_headers = match &settings.additional_headers {
        None => Vec::new(),
        Some(headers) => serde_json::from_str::<BTreeMap<String, String>>(headers.expose())
            // The value may hold a secret, so the error does not show it.
            .map_err(|_| LoadError::usage("additional_headers: it must be a JSON object of texts"))?
            .into_iter()
            .collect(),
    };
    Ok(ClientSettings {
        host,
        api_key: settings.api_key.as_ref().map(ApiKey::secret),
        additional_headers,
        ca_file: settings.ca_file.clone(),
        ..ClientSettings::default()
    })
}
