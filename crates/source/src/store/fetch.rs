//! One range of an object, whole or not at all.
//!
//! `object_store` repeats requests that are refused or break off, with backoff. What is repeated here is
//! an answer that ends early: the rest is asked for from where it ended, until nothing has come for several times.

use std::{ops::Range, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use object_store::{
    BackoffConfig, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    RetryConfig, path::Path,
};

use super::Fault;
use crate::SourceErrorKind;

/// How often in a row an answer may give nothing of what was asked for.
const EMPTY_ANSWERS: u32 = 8;

/// The first pause after such an answer; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How often a request is repeated. All in all about two minutes: an outage of a store is shorter, or a run that
/// is stopped and continued is the better way.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(15),
            base: 2.0,
        },
        max_retries: 10,
        retry_timeout: Duration::from_secs(120),
    }
}

/// The object of that name, if there is one.
pub(super) async fn find(
    store: &dyn ObjectStore,
    path: &Path,
    is_http: bool,
) -> Result<Option<ObjectMeta>, Fault> {
    match store.head(path).await {
        Ok(meta) => Ok(Some(meta)),
        Err(object_store::Error::NotFound { .. }) if !is_http => Ok(None),
        Err(error) if is_http => {
            // URLs are signed for one method, and some servers know no HEAD.
            let options = GetOptions {
                range: Some(GetRange::Bounded(0..1)),
                ..GetOptions::default()
            };
            match store.get_opts(path, options).await {
                Ok(answer) => Ok(Some(answer.meta)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(unsupported @ object_store::Error::NotSupported { .. }) => {
                    Err(Fault::of(&unsupported))
                }
                Err(_) => Err(Fault::of(&error)),
            }
        }
        Err(error) => Err(Fault::of(&error)),
    }
}

/// Reads a range of the version that `meta` tells of.
pub(super) async fn fetch(
    store: &dyn ObjectStore,
    meta: &ObjectMeta,
    range: Range<u64>,
) -> Result<Bytes, Fault> {
    let length = usize::try_from(range.end.saturating_sub(range.start))
        .map_err(|_| Fault::unreadable("more is asked for at once than memory has addresses"))?;
    let mut found = BytesMut::with_capacity(length);
    let mut empty = 0;
    let mut pause = FIRST_PAUSE;
    while found.len() < length {
        let before = found.len();
        let rest = range.start + before as u64..range.end;
        let answer = store
            .get_opts(&meta.location, asked(meta, rest.clone()))
            .await
            .map_err(|error| refused(&error))?;
        expect_version(meta, &answer.meta)?;
        let ended = append(answer, &mut found, length).await;
        if found.len() > before {
            (empty, pause) = (0, FIRST_PAUSE);
            continue;
        }
        empty += 1;
        if empty == EMPTY_ANSWERS {
            return Err(ended.err().unwrap_or_else(|| {
                Fault::unreadable(format!(
                    "the store's answers end at byte {}, before what was asked for",
                    rest.start
                ))
            }));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(found.freeze())
}

fn asked(meta: &ObjectMeta, range: Range<u64>) -> GetOptions {
    // A weak etag is never equal to one in a condition.
    let etag = meta.e_tag.as_ref().filter(|etag| !etag.starts_with("W/"));
    GetOptions {
        if_match: etag.map(|etag| format!("\"{}\"", bare(etag))),
        range: Some(GetRange::Bounded(range)),
        ..GetOptions::default()
    }
}

/// An etag without the quotes that Azure leaves out where it lists.
pub(super) fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

fn refused(error: &object_store::Error) -> Fault {
    match error {
        object_store::Error::Precondition { .. } => Fault::changed("was written again"),
        object_store::Error::NotFound { .. } => Fault::changed("was removed"),
        error => {
            let fault = Fault::of(error);
            match fault.kind() {
                SourceErrorKind::NotFound => Fault::unreadable(fault.to_string()),
                _ => fault,
            }
        }
    }
}

/// Also where the store does not know the condition: an answer tells of which version it is.
fn expect_version(found: &ObjectMeta, answered: &ObjectMeta) -> Result<(), Fault> {
    if answered.size != found.size {
        return Err(Fault::changed(&format!(
            "has {} bytes and had {}: it was written",
            answered.size, found.size
        )));
    }
    let is_same = match (&found.e_tag, &answered.e_tag) {
        (Some(found), Some(answered)) => bare(found) == bare(answered),
        (None, None) => found.last_modified == answered.last_modified,
        // One kind of answer tells it and another does not.
        (Some(_), None) | (None, Some(_)) => true,
    };
    if is_same {
        Ok(())
    } else {
        Err(Fault::changed("was written again"))
    }
}

/// Takes what an answer has, as far as it is wanted. An error tells that it ended otherwise than by itself.
async fn append(answer: GetResult, found: &mut BytesMut, length: usize) -> Result<(), Fault> {
    let mut stream = answer.into_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| refused(&error))?;
        let wanted = part.len().min(length - found.len());
        found.extend_from_slice(&part[..wanted]);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
