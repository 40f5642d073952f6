//! Where the bytes of JSONL come from: a file, an object, what one of these unpacks to, or a stream.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::Range,
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    Compression, Input, Origin, Place, SourceError, SourceErrorKind,
    store::{Ahead, AheadReader, Fault, ahead_bytes},
};

/// Windows of zstd up to here are unpacked, as by the `zstd` command.
const WINDOW_LOG: u32 = 27;

/// Windows up to here need not be announced by the first frame.
const USUAL_WINDOW_LOG: u32 = 23;

/// Bytes in order.
pub(super) enum Bytes {
    /// A file of a size that is known.
    File { file: File, size: u64 },
    /// An object, of which the next bytes are on their way.
    Object { ahead: Box<Ahead>, size: u64 },
    /// Bytes that end where they end.
    Stream {
        stream: Box<dyn Read + Send>,
        compression: Compression,
        /// What unpacking keeps.
        window: u64,
        ended: bool,
    },
    /// The first bytes of a stream, to be looked at before it is read.
    Head { rest: Vec<u8>, is_all: bool },
}

/// What was found to be the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Not,
    Reached,
    /// More would follow: what has not ended here is to be left alone.
    Cut,
}

// === impl Bytes ===

impl Bytes {
    /// Opens a file or an object for a range of it, which begins at 0 where it is compressed. What follows
    /// can be read too.
    pub(super) fn open(input: &Input, range: Range<u64>) -> Result<Self, SourceError> {
        let io = |error| SourceError::io(&input.name, "open it", &error);
        let is_packed = input.compression != Compression::None;
        let path = match &input.origin {
            Origin::File(path) => path,
            Origin::Object(object) if is_packed => {
                let packed = Box::new(AheadReader::new(object.clone()));
                return Self::unpacked(packed, input.compression).map_err(io);
            }
            Origin::Object(object) => {
                return Ok(Self::Object {
                    size: object.bytes(),
                    ahead: Box::new(Ahead::new(object.clone(), range)),
                });
            }
            Origin::Stdin => {
                return Err(SourceError::new(
                    SourceErrorKind::Unreadable,
                    &input.name,
                    "the standard input is not opened",
                ));
            }
        };
        let mut file = File::open(path).map_err(io)?;
        input.expect_size(file.metadata().map_err(io)?.len())?;
        if is_packed {
            return Self::unpacked(Box::new(file), input.compression).map_err(io);
        }
        file.seek(SeekFrom::Start(range.start)).map_err(io)?;
        Ok(Self::File {
            file,
            size: input.bytes,
        })
    }

    /// What a file or stream unpacks to: all members of gzip, all frames of zstd.
    pub(super) fn unpacked(
        packed: Box<dyn Read + Send>,
        compression: Compression,
    ) -> io::Result<Self> {
        let mut packed = BufReader::with_capacity(64 << 10, packed);
        let mut kept = 0;
        let stream: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(packed),
            Compression::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Compression::Zstd => {
                let head = io::BufRead::fill_buf(&mut packed)?;
                // A window that its first frame does not announce would be memory that no plan told
                // of.
                let stated = window(head).clamp(1 << USUAL_WINDOW_LOG, 1 << WINDOW_LOG);
                let log = stated.next_power_of_two().ilog2();
                kept = 1 << log;
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(log)?;
                Box::new(decoder)
            }
        };
        Ok(Self::Stream {
            stream,
            compression,
            window: kept,
            ended: false,
        })
    }

    /// The bytes that are held of an object to read on in it.
    pub(super) fn ahead(input: &Input) -> u64 {
        match &input.origin {
            Origin::Object(object) => ahead_bytes(std::slice::from_ref(&(0..object.bytes()))),
            Origin::File(_) | Origin::Stdin => 0,
        }
    }

    /// The bytes that unpacking keeps: of zstd the window, of gzip nearly nothing.
    pub(super) fn window(&self) -> u64 {
        match self {
            Self::Stream { window, .. } => *window,
            Self::File { .. } | Self::Object { .. } | Self::Head { .. } => 0,
        }
    }

    pub(super) fn end(&self, position: u64) -> End {
        let (is_end, is_all) = match self {
            Self::File { size, .. } | Self::Object { size, .. } => (position >= *size, true),
            Self::Stream { ended, .. } => (*ended, true),
            Self::Head { rest, is_all } => (rest.is_empty(), *is_all),
        };
        match (is_end, is_all) {
            (false, _) => End::Not,
            (true, true) => End::Reached,
            (true, false) => End::Cut,
        }
    }

    /// Reads about `wanted` bytes, which stand at `position`, to the end of `buffer`.
    pub(super) fn read(
        &mut self,
        name: &str,
        position: u64,
        wanted: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<(), SourceError> {
        let wanted = match self {
            Self::File { size, .. } | Self::Object { size, .. } => wanted.min(*size - position),
            _ => wanted,
        };
        // Exactly: by doubling, a line of 8 MiB would take 16.
        buffer.reserve_exact(usize::try_from(wanted).unwrap_or_default());
        let failed = |compression: Compression, error: &io::Error| {
            let error = match (compression, error.kind()) {
                _ if Fault::in_io(error).is_some() => SourceError::io(name, "read it", error),
                (Compression::None, _) => SourceError::io(name, "read it", error),
                // What unpacks wrongly is reported as one of these.
                (
                    _,
                    io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::Other,
                ) => SourceError::new(
                    SourceErrorKind::Corrupt,
                    name,
                    format!(
                        "it cannot be unpacked from here on ({error}); write it again from its source"
                    ),
                ),
                _ => SourceError::io(name, "read it", error),
            };
            error.at(Place::Offset(position))
        };
        match self {
            Self::File { file, size } => {
                let got = Read::take(file, wanted)
                    .read_to_end(buffer)
                    .map_err(|error| failed(Compression::None, &error))?;
                if (got as u64) < wanted {
                    return Err(SourceError::new(
                        SourceErrorKind::Changed,
                        name,
                        format!(
                            "the file ends here and had {size} bytes when it was found; load it again when nothing writes to it"
                        ),
                    )
                    .at(Place::Offset(position + got as u64)));
                }
            }
            Self::Object { ahead, .. } => {
                let end = position + wanted;
                let mut position = position;
                while position < end {
                    let some = ahead
                        .read(position)
                        .map_err(|error| failed(Compression::None, &error))?;
                    let count = some.len().min((end - position) as usize);
                    buffer.extend_from_slice(&some[..count]);
                    position += count as u64;
                }
            }
            Self::Stream {
                stream,
                compression,
                ended,
                ..
            } => {
                let got = Read::take(stream, wanted)
                    .read_to_end(buffer)
                    .map_err(|error| failed(*compression, &error))?;
                *ended = (got as u64) < wanted;
            }
            Self::Head { rest, .. } => {
                let some = rest
                    .len()
                    .min(usize::try_from(wanted).unwrap_or(usize::MAX));
                buffer.extend(rest.drain(..some));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::File { .. } => "File",
            Self::Object { .. } => "Object",
            Self::Stream { .. } => "Stream",
            Self::Head { .. } => "Head",
        })
    }
}

/// The window of a frame of zstd, of which `head` is the beginning; 0 where it tells none.
fn window(head: &[u8]) -> u64 {
    // RFC 8878, 3.1.1: magic number, descriptor, then the window unless the frame is one segment,
    // which is then no longer than a window.
    let Some((descriptor, rest)) = head.get(4..).and_then(<[u8]>::split_first) else {
        return 0;
    };
    if descriptor & 0x20 != 0 {
        let sizes = [1, 2, 4, 8];
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let length = sizes[usize::from(descriptor >> 6)];
        let Some(field) = rest.get(dictionary..dictionary + length) else {
            return 0;
        };
        let size = field
            .iter()
            .rev()
            .fold(0, |size, byte| size << 8 | u64::from(*byte));
        return if length == 2 { size + 256 } else { size };
    }
    rest.first().map_or(0, |window| {
        let base = 1_u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Scenario: frames of zstd with windows of several sizes, and one in a single segment.
    /// Guarantees: the window is read from the first bytes of the frame.
    #[test]
    fn the_window_of_a_frame() {
        for log in [17, 20, 24] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"some text").unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(window(&frame), 1 << log);
        }
        let text = vec![b'x'; 70_000];
        assert_eq!(window(&zstd::bulk::compress(&text, 1).unwrap()), 70_000);
        assert_eq!(window(b"\x28\xb5"), 0);
    }

    /// Scenario: a frame of one segment that states the longest content that there is, 2^64 - 1 bytes.
    /// Guarantees: it is opened with the largest window that is allowed, and is an error where it is read.
    #[test]
    fn the_longest_content_that_a_frame_can_state() {
        let head = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &[0xff; 8]].concat();
        assert_eq!(window(&head), u64::MAX);
        let packed = Box::new(io::Cursor::new(head));
        let mut bytes = Bytes::unpacked(packed, Compression::Zstd).unwrap();
        assert_eq!(bytes.window(), 1 << WINDOW_LOG);
        assert!(bytes.read("x", 0, 10, &mut Vec::new()).is_err());
    }
}
