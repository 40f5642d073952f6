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
            // Long words are shortened, and that may have been in the middle of it.
            let ends = (SECRET_CHARS..secret.len()).rev();
            let mut beginnings = ends.filter_map(|end| secret.get(..end));
            if let Some(kept) = beginnings.find_map(|begin| words.strip_suffix(begin)) {
                words = format!("{kept}[redacted]");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: words with the key once, twice, next to itself, and ending within it, at every place.
    /// Guarantees: no more of it is left than five characters; other words are as they were.
    #[test]
    fn no_part_of_a_key_is_left() {
        const KEY: &str = "pcsk_sesame";
        let secrets = Secrets([SecretString::from(KEY)].into());
        let cut = |words: &str| secrets.cut(words.to_owned());
        assert_eq!(
            cut(&format!("{KEY}, {KEY}{KEY}!")),
            "[redacted], [redacted][redacted]!"
        );
        for end in 0..KEY.len() {
            let shown = cut(&format!("key {}", &KEY[..end]));
            match end {
                ..SECRET_CHARS => assert_eq!(shown, format!("key {}", &KEY[..end])),
                _ => assert_eq!(shown, "key [redacted]"),
            }
        }
        assert_eq!(cut("open, sesame"), "open, sesame");
    }
}
