//! How the records of an input stand in it, told by its first bytes.

use super::{
    Chunk, Limits,
    bytes::{Bytes, End},
    cursor::Cursor,
    elements::ElementCutter,
    lines::LineCutter,
};
use crate::{SourceError, SourceErrorKind};

/// How records stand in an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// One in each line.
    Lines,
    /// `[record, ..]`; the first record may begin at `start`.
    List { start: u64 },
    /// `{"vectors": [record, ..]}`.
    Object {
        start: u64,
        /// The namespace, where it stands before the records.
        namespace: Option<String>,
    },
    /// One after the other, each in several lines.
    Values { start: u64 },
}

/// The first bytes of an input, unpacked.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    /// Whether there are no more.
    pub(super) is_all: bool,
}

// === impl Head ===

impl Head {
    /// Reads until there are records enough to look at.
    pub(super) fn read(name: &str, bytes: &mut Bytes, limits: Limits) -> Result<Self, SourceError> {
        const STEP: u64 = 64 << 10;
        const RECORDS: usize = 100;
        let mut head = Vec::new();
        let mut lines = 0;
        loop {
            let position = head.len() as u64;
            if bytes.end(position) != End::Not {
                return Ok(Self {
                    bytes: head,
                    is_all: true,
                });
            }
            bytes.read(name, position, STEP, &mut head)?;
            lines += memchr::memchr_iter(b'\n', &head[position as usize..]).count();
            let enough = lines > RECORDS || (lines > 0 && head.len() >= limits.block);
            if enough || head.len() > limits.line {
                return Ok(Self {
                    is_all: bytes.end(head.len() as u64) == End::Reached,
                    bytes: head,
                });
            }
        }
    }

    /// The bytes from `start` on, to be read as far as they go.
    pub(super) fn bytes(&self, start: u64) -> Bytes {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        Bytes::Head {
            rest: self.bytes.get(start..).unwrap_or_default().to_vec(),
            is_all: self.is_all,
        }
    }

    /// Looks at the first records.
    pub(super) fn with_records<T>(
        &self,
        name: &str,
        form: &Form,
        look: impl FnOnce(&mut dyn Iterator<Item = &[u8]>) -> T,
    ) -> Result<T, SourceError> {
        let mut chunk = Chunk::default();
        let bytes = self.bytes(form.start());
        let limits = Limits {
            block: self.bytes.len().max(1),
            ..Limits::default()
        };
        match form {
            Form::Lines => LineCutter::new(name, bytes, limits, 0, 0..u64::MAX).fill(&mut chunk)?,
            form => {
                let mut cutter =
                    ElementCutter::new(name, bytes, limits, form.start(), form.is_list());
                // What is wrong between records is told when it is read.
                if let Err(error) = cutter.fill(&mut chunk) {
                    tracing::debug!(%error, "the first records cannot be told apart");
                }
            }
        }
        Ok(look(&mut chunk.records()))
    }
}

// === impl Form ===

impl Form {
    pub(super) fn of(head: &Head) -> Self {
        let bytes = head.bytes.as_slice();
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        let mark = if text.starts_with('\u{feff}') { 3 } else { 0 };
        let text = &text[mark..];
        let mut cursor = Cursor::new(text);
        let offset = |cursor: &Cursor<'_>| (mark + cursor.at()) as u64;
        match cursor.peek() {
            Some(b'[') => {
                cursor.take(b'[');
                Self::List {
                    start: offset(&cursor),
                }
            }
            Some(b'{') => {
                if let Some((namespace, cursor)) = vectors(cursor.clone()) {
                    return Self::Object {
                        start: offset(&cursor),
                        namespace,
                    };
                }
                let start = offset(&cursor);
                let line = text[cursor.at()..].lines().next().unwrap_or_default();
                let takes_one_line = super::is_object(line);
                match !takes_one_line && cursor.skip(0).is_ok() {
                    true => Self::Values { start },
                    false => Self::Lines,
                }
            }
            _ => Self::Lines,
        }
    }

    /// Where the first record may begin.
    pub(super) fn start(&self) -> u64 {
        match self {
            Self::Lines => 0,
            Self::List { start } | Self::Object { start, .. } | Self::Values { start } => *start,
        }
    }

    /// Whether the records stand in brackets.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Object { .. })
    }

    /// Fails if what follows the records does not end what stands before them.
    pub(super) fn check_tail(&self, name: &str, tail: &[u8]) -> Result<(), SourceError> {
        let is_sound = match self {
            Self::Object { .. } => namespace_of_tail(tail).is_ok(),
            _ => tail.iter().all(u8::is_ascii_whitespace),
        };
        if is_sound {
            return Ok(());
        }
        let message = "what follows the list of records is not read; write one record per line, or one document per file";
        Err(SourceError::new(SourceErrorKind::Corrupt, name, message))
    }
}

/// If an object lists vectors: its namespace, where that stands before, and where the first begins.
fn vectors(mut cursor: Cursor<'_>) -> Option<(Option<String>, Cursor<'_>)> {
    let mut namespace = None;
    let mut scratch = String::new();
    cursor.expect(b'{').ok()?;
    loop {
        scratch.clear();
        let key = cursor.string(&mut scratch).ok()?;
        let key = key.of(cursor.text(), &scratch).to_owned();
        cursor.expect(b':').ok()?;
        match key.as_str() {
            "vectors" if cursor.take(b'[') => {
                return matches!(cursor.peek(), Some(b'{' | b']')).then_some((namespace, cursor));
            }
            "namespace" => {
                let text = cursor.string(&mut scratch).ok()?;
                namespace = Some(text.of(cursor.text(), &scratch).to_owned());
            }
            _ => return None,
        }
        cursor.more(b'}').ok()?.then_some(())?;
    }
}

/// The namespace in what follows a list of vectors: the rest of the object, and nothing else.
pub(super) fn namespace_of_tail(tail: &[u8]) -> Result<Option<String>, ()> {
    let tail = str::from_utf8(tail).map_err(|_| ())?;
    let mut cursor = Cursor::new(tail);
    let mut namespace = None;
    let mut scratch = String::new();
    while cursor.more(b'}').map_err(|_| ())? {
        scratch.clear();
        let key = cursor.string(&mut scratch).map_err(|_| ())?;
        let is_namespace = key.of(tail, &scratch) == "namespace";
        cursor.expect(b':').map_err(|_| ())?;
        if is_namespace && !cursor.null() {
            scratch.clear();
            let text = cursor.string(&mut scratch).map_err(|_| ())?;
            namespace = Some(text.of(tail, &scratch).to_owned());
        } else if !is_namespace {
            cursor.skip(1).map_err(|_| ())?;
        }
    }
    cursor.end().map_err(|_| ())?;
    Ok(namespace)
}
