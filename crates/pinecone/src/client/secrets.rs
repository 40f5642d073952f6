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

    /// Words of an answer without them.
    pub(crate) fn cut(&self, mut words: String) -> String {
        for secret in self.0.iter().map(SecretString::expose_secret) {
            if words.contains(secret) {
                words = words.replace(secret, "[redacted]");
            }
        }
        words
    }

    /// The failure without them.
    pub(crate) fn hide(&self, failure: Failure) -> Failure {
        Failure {
            message: self.cut(failure.message),
            request_id: failure.request_id.map(|id| self.cut(id)),
            ..failure
        }
    }
}
