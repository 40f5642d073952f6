//! What a file is, by its name and by its first bytes.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// A JSON object per line, or a JSON document that lists such objects.
    Jsonl,
}

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all; Parquet files are compressed inside.
    #[default]
    None,
    /// gzip, of one member or several.
    Gzip,
    /// zstd, of one frame or several.
    Zstd,
}

/// What a name tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Format(Format),
    /// A JSON document: records, or something about them.
    Json,
    /// A form that is known and not read; what to do instead.
    Unsupported(&'static str),
    /// Nothing; it has another ending, or none.
    Other {
        has_ending: bool,
    },
}

/// How much of a file is looked at to tell what it is.
pub(super) const HEAD_BYTES: u64 = 4096;

// === impl Named ===

impl Named {
    pub(super) fn of(path: &Path) -> Self {
        let Some(ending) = path.extension() else {
            return Self::Other { has_ending: false };
        };
        match ending.to_string_lossy().to_ascii_lowercase().as_str() {
            "parquet" | "parq" | "pq" => Self::Format(Format::Parquet),
            "jsonl" | "ndjson" | "jsonlines" => Self::Format(Format::Jsonl),
            "json" => Self::Json,
            "gz" | "gzip" | "zst" | "zstd" => match Self::of(&path.with_extension("")) {
                Self::Format(Format::Parquet) => {
                    Self::Unsupported("compressed Parquet files are not read: decompress it first")
                }
                named => named,
            },
            "bz2" | "xz" | "lz4" | "zip" => Self::Unsupported(
                "files compressed so are not read: decompress it, or compress it with gzip or zstd",
            ),
            _ => Self::Other { has_ending: true },
        }
    }
}

// === impl Format ===

impl Format {
    /// What a file is, if its first bytes show that it is data.
    pub(super) fn of_content(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PAR1") {
            return Some(Self::Parquet);
        }
        if Compression::of_content(head) != Compression::None {
            return Some(Self::Jsonl);
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        matches!(first, Some(b'{' | b'[')).then_some(Self::Jsonl)
    }
}

// === impl Compression ===

impl Compression {
    /// How bytes are compressed that begin with `head`.
    pub(crate) fn of_content(head: &[u8]) -> Self {
        if head.starts_with(b"\x1f\x8b") {
            Self::Gzip
        } else if is_zstd(head) {
            Self::Zstd
        } else {
            Self::None
        }
    }

    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        let mut head = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut head)?;
        Ok(Self::of_content(&head))
    }
}

/// Whether a frame of zstd begins, or one to be skipped.
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(b"\x28\xb5\x2f\xfd") || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

pub(super) fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}
