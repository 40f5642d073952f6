//! A prefix of a store that objects are written below, and read again.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, UpdateVersion,
    path::Path,
};

use super::{Fault, StoreUrl, Stores, fetch, url::Kind};

/// How much of a file is sent or asked for at once; what is larger goes in parts.
const PART: u64 = 8 << 20;

/// How often an object is read anew that is written again while it is read.
const READINGS: usize = 5;

/// A prefix of a store. All calls block; requests that fail are repeated for about two minutes.
#[derive(Clone)]
pub struct StoreFolder {
    stores: Stores,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    name: String,
}

/// A version of an object, as a condition names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion(UpdateVersion);

// === impl StoreFolder ===

impl StoreFolder {
    /// Connects to the store of a URL; `None` if it is none. `ca_file` has further certificates to be trusted.
    ///
    /// # Errors
    ///
    /// The URL is of no bucket, or the environment lacks what a connection needs.
    pub fn connect(url: &str, ca_file: Option<&PathBuf>) -> io::Result<Option<Self>> {
        let Some(url) = StoreUrl::parse(url)? else {
            return Ok(None);
        };
        if url.kind == Kind::Http {
            return Err(io::Error::other(
                "web servers know no conditional writes; name a bucket (s3://, gs://, az://) or a local directory",
            ));
        }
        if url.key().trim_matches('/').is_empty() {
            return Err(io::Error::other(
                "it is a whole bucket; name a prefix of its own",
            ));
        }
        let stores = Stores::new(ca_file).map_err(io::Error::other)?;
        let store = stores.store(&url)?;
        let prefix = url.path()?;
        Ok(Some(Self {
            stores,
            store,
            name: format!("{}/{prefix}", url.root()),
            prefix,
        }))
    }

    /// A prefix of a store that is at hand, such as one in memory for a test.
    ///
    /// # Errors
    ///
    /// No threads could be started.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &str) -> io::Result<Self> {
        Ok(Self {
            stores: Stores::new(None).map_err(io::Error::other)?,
            store,
            prefix: Path::from(prefix),
            name: format!("memory://{prefix}"),
        })
    }

    /// Its URL.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a small object and says of which version that is; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// The store does not give it.
    pub fn read(&self, key: &str) -> io::Result<Option<(Bytes, ObjectVersion)>> {
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        let read = self.stores.wait(async move {
            for _ in 1..READINGS {
                match read_once(&*store, &path).await {
                    Err(fault) if fault.kind() == crate::SourceErrorKind::Changed => {}
                    outcome => return outcome,
                }
            }
            read_once(&*store, &path).await
        });
        Ok(read?)
    }

    /// Writes a small object if it is still of this version, or, with none, if it is not there. Gives the new version;
    /// `None` if the condition does not hold, which after a lost answer may be because it was written.
    ///
    /// # Errors
    ///
    /// The store did not take it, as far as can be told.
    pub fn write_if(
        &self,
        key: &str,
        content: Bytes,
        version: Option<&ObjectVersion>,
    ) -> io::Result<Option<ObjectVersion>> {
        let mode = match version {
            None => PutMode::Create,
            Some(version) => PutMode::Update(version.0.clone()),
        };
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        let written = self.stores.wait(async move {
            match store.put_opts(&path, content.into(), mode.into()).await {
                Ok(written) => Ok(Some(ObjectVersion(written.into()))),
                Err(
                    object_store::Error::Precondition { .. }
                    | object_store::Error::AlreadyExists { .. }
                    | object_store::Error::NotModified { .. },
                ) => Ok(None),
                Err(error) => Err(unwritten(&error)),
            }
        });
        Ok(written?)
    }

    /// Writes an object, whatever was there.
    ///
    /// # Errors
    ///
    /// The store did not take it.
    pub fn write(&self, key: &str, content: Bytes) -> io::Result<()> {
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        let written = self.stores.wait(async move {
            let written = store.put(&path, content.into()).await;
            written.map(drop).map_err(|error| unwritten(&error))
        });
        Ok(written?)
    }

    /// Writes a part of a file as an object, with little memory however large it is.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is shorter, or the store did not take it.
    pub fn upload(&self, key: &str, file: &mut File, range: Range<u64>) -> io::Result<()> {
        file.seek(SeekFrom::Start(range.start))?;
        let mut left = range.end.saturating_sub(range.start);
        if left <= PART {
            return self.write(key, next_part(file, &mut left)?);
        }
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        let mut upload: Box<dyn MultipartUpload> = self.stores.wait(async move {
            let begun = store.put_multipart(&path).await;
            begun.map_err(|error| unwritten(&error))
        })?;
        while left > 0 {
            let part = PutPayload::from(next_part(file, &mut left)?);
            upload = self.stores.wait(async move {
                match upload.put_part(part).await {
                    Ok(()) => Ok(upload),
                    Err(error) => {
                        // What is left of it costs until the store removes it.
                        let _ = upload.abort().await;
                        Err(unwritten(&error))
                    }
                }
            })?;
        }
        self.stores.wait(async move {
            let done = upload.complete().await;
            done.map(drop).map_err(|error| unwritten(&error))
        })?;
        Ok(())
    }

    /// Appends an object to a file and says how many bytes that were; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// The store does not give it, or the file cannot be written.
    pub fn download(&self, key: &str, file: &mut File) -> io::Result<Option<u64>> {
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        let found = self
            .stores
            .wait(async move { fetch::find(&*store, &path, false).await })?;
        let Some(meta) = found else { return Ok(None) };
        let bytes = meta.size;
        let object = self.stores.object(&self.store, self.name.clone(), meta);
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + PART);
            file.write_all(&object.read(at..end)?)?;
            at = end;
        }
        Ok(Some(bytes))
    }

    /// Removes an object, if it is there.
    ///
    /// # Errors
    ///
    /// The store did not remove it.
    pub fn remove(&self, key: &str) -> io::Result<()> {
        let (store, path) = (Arc::clone(&self.store), self.path(key));
        let removed = self.stores.wait(async move {
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(unwritten(&error)),
            }
        });
        Ok(removed?)
    }

    /// Waits before something is tried again.
    ///
    /// # Errors
    ///
    /// Waiting was ended.
    pub fn pause(&self, how_long: Duration) -> io::Result<()> {
        let paused = self.stores.wait(async move {
            tokio::time::sleep(how_long).await;
            Ok(())
        });
        Ok(paused?)
    }

    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), Path::join)
    }
}

impl fmt::Debug for StoreFolder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("StoreFolder").field(&self.name).finish()
    }
}

/// The whole of an object in one version.
async fn read_once(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<Option<(Bytes, ObjectVersion)>, Fault> {
    let Some(meta) = fetch::find(store, path, false).await? else {
        return Ok(None);
    };
    let content = fetch::fetch(store, &meta, 0..meta.size).await?;
    let version = UpdateVersion {
        e_tag: meta.e_tag,
        version: meta.version,
    };
    Ok(Some((content, ObjectVersion(version))))
}

fn next_part(file: &mut File, left: &mut u64) -> io::Result<Bytes> {
    let length = (*left).min(PART);
    let mut part = Vec::new();
    if file.take(length).read_to_end(&mut part)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= length;
    Ok(part.into())
}

fn unwritten(error: &object_store::Error) -> Fault {
    match error {
        object_store::Error::NotFound { .. }
        | object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => Fault::of(error),
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
            Fault::new(
                crate::SourceErrorKind::Unsupported,
                "the store knows no conditional writes; name a local directory",
            )
        }
        _ => Fault::unwritten(error),
    }
}
