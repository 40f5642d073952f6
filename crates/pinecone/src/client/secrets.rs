//! What must not stand in a message, should an answer repeat it.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::ClientSettings;
use crate::failure::Failure;

/// Shorter values are words, not secrets, and hiding them would spoil messages.
const SECRET_CHARS: usize = 6;

/// The key and the values of additional headers.
#[derive(Clone)]
pub(crate) struct Secrets(Arc<[SecretString]>);

impl Secrets {
    pub(crate) fn of(settings: &ClientSettings) -> Self {
        let values = settings
            .additional_headers
            .iter()
            .map(|(_, value)| value.as_str());
        let secrets = values
            .chain(settings.api_key.as_ref().map(SecretString::expose_secret))
            .filter(|value| value.len() >= SECRET_CHARS)
            .map(SecretString::from);
        Self(secrets.collect())
    }

    /// The failure without them.
    pub(crate) fn hide(&self, mut failure: Failure) -> Failure {
        for secret in self.0.iter() {
            if failure.message.contains(secret.expose_secret()) {
                failure.message = failure
                    .message
                    .replace(secret.expose_secret(), "[redacted]");
            }
        }
        failure
    }
}
