//! Where the bytes of a Parquet file come from: a file, or the parts of an object that are read.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    mem,
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use parquet::{
    errors::ParquetError,
    file::reader::{ChunkReader, Length},
};

use crate::{
    Input, Origin, SourceError, SourceErrorKind,
    store::{Fault, Stretches},
};

/// How much of an object is read at first for its footer, which begins somewhere before its end.
const TAIL: u64 = 256 << 10;

/// A page header has some 30 bytes.
const HEADER_BYTES: usize = 512;

/// Buffers have so many bytes or a multiple, so that pages of nearly one size can have the same. Smaller pages
/// have one of their own.
const BUFFER_STEP: usize = 64 << 10;

/// A page of vectors and one of texts are given back while others are read.
const SPARE_BUFFERS: usize = 2;

/// A file or object of which no more is read than its size allows.
#[derive(Clone)]
pub(super) struct Chunks {
    bytes: u64,
    from: From,
    spare: Spare,
}

/// Buffers of pages that are no more in use, for the next pages. New ones would be filled with zeros first, and the
/// kernel would have to find their memory.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

/// The bytes of a page, in a buffer that is lent.
struct Lent {
    buffer: Vec<u8>,
    length: usize,
    spare: Spare,
}

#[derive(Clone)]
enum From {
    File(Arc<File>),
    Object(Arc<Mutex<Stretches>>),
}

/// Reads on from somewhere.
pub(super) struct Onward {
    chunks: Chunks,
    position: u64,
}

// === impl Chunks ===

impl Chunks {
    /// Opens an input for the reading of its footer.
    pub(super) fn of_footer(input: &Input) -> Result<Self, SourceError> {
        let tail = input.bytes.saturating_sub(TAIL)..input.bytes;
        Self::open(input, &[tail])
    }

    /// Opens an input. Of an object these ranges are read ahead.
    pub(super) fn open(input: &Input, ranges: &[Range<u64>]) -> Result<Self, SourceError> {
        let io = |error| SourceError::io(&input.name, "open it", &error);
        let from = match &input.origin {
            Origin::File(path) => {
                let file = File::open(path).map_err(io)?;
                input.expect_size(file.metadata().map_err(io)?.len())?;
                From::File(file.into())
            }
            Origin::Object(object) => {
                From::Object(Arc::new(Mutex::new(Stretches::new(object.clone(), ranges))))
            }
            Origin::Stdin => {
                return Err(SourceError::new(
                    SourceErrorKind::Unsupported,
                    &input.name,
                    "Parquet is not read from a stream",
                ));
            }
        };
        Ok(Self {
            bytes: input.bytes,
            from,
            spare: Spare::default(),
        })
    }

    /// Whether it holds more than what was asked for.
    pub(super) fn reads_ahead(&self) -> bool {
        matches!(self.from, From::Object(_))
    }

    /// Why a store gave nothing more, if so.
    pub(super) fn fault(&self) -> Option<Fault> {
        match &self.from {
            From::File(_) => None,
            From::Object(stretches) => lock(stretches).fault().cloned(),
        }
    }

    /// Fills `buffer` with what stands at `position`, as far as there is any; says how much that is.
    pub(super) fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match &self.from {
            From::File(file) => file,
            From::Object(stretches) => return lock(stretches).read(position, buffer),
        };
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Fails with a clear word if the file does not begin and end as a Parquet file does.
    pub(super) fn expect_parquet(&self, input: &Input) -> Result<(), SourceError> {
        const MAGIC: &[u8] = b"PAR1";
        let fail = |kind, message: &str| Err(SourceError::new(kind, &input.name, message));
        let (first, last) = self
            .ends()
            .map_err(|error| SourceError::io(&input.name, "read it", &error))?;
        if first != MAGIC && &first != b"PARE" {
            return fail(
                SourceErrorKind::Unsupported,
                "it is not a Parquet file: it does not begin with PAR1",
            );
        }
        if &last == b"PARE" {
            return fail(
                SourceErrorKind::Unsupported,
                "it is encrypted; encrypted Parquet files are not read",
            );
        }
        if last != MAGIC {
            return fail(
                SourceErrorKind::Corrupt,
                "there is no footer at its end: the file is truncated or is still being written",
            );
        }
        Ok(())
    }

    /// The first and the last four bytes; of a file too short for both, zeros.
    fn ends(&self) -> io::Result<([u8; 4], [u8; 4])> {
        let (mut first, mut last) = ([0; 4], [0; 4]);
        if self.bytes >= 4 {
            self.read_at(0, &mut first)?;
        }
        if self.bytes >= 12 {
            self.read_at(self.bytes - 4, &mut last)?;
        }
        Ok((first, last))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Onward>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let onward = Onward {
            chunks: self.clone(),
            position: start,
        };
        Ok(BufReader::with_capacity(HEADER_BYTES, onward))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are beyond the end of the file, which has {}",
                self.bytes
            )));
        }
        let mut page = self.spare.lend(length);
        match self.read_at(start, &mut page.buffer[..length])? {
            found if found == length => Ok(Bytes::from_owner(page)),
            found => Err(ParquetError::EOF(format!(
                "{length} bytes at {start} were asked for and {found} came"
            ))),
        }
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Chunks")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Spare ===

impl Spare {
    /// A buffer of at least so many bytes, whatever is in it: a spare one, unless it is much too large.
    fn lend(&self, length: usize) -> Lent {
        let fits = length..=length.saturating_mul(2);
        let spare = {
            let mut spare = lock(&self.0);
            let found = spare.iter().position(|buffer| fits.contains(&buffer.len()));
            found.map(|found| spare.swap_remove(found))
        };
        let buffer = spare.unwrap_or_else(|| match length {
            0..BUFFER_STEP => vec![0; length],
            _ => vec![0; length.next_multiple_of(BUFFER_STEP)],
        });
        Lent {
            buffer,
            length,
            spare: self.clone(),
        }
    }
}

// === impl Lent ===

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.buffer.len() < BUFFER_STEP {
            return;
        }
        let mut spare = lock(&self.spare.0);
        // The oldest goes, so that one which nothing fits does not stay.
        if spare.len() == SPARE_BUFFERS {
            spare.remove(0);
        }
        spare.push(mem::take(&mut self.buffer));
    }
}

// === impl Onward ===

impl Read for Onward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.chunks.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}
