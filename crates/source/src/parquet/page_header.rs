//! The header of a page: what it states, before anything is read or unpacked by it.
//!
//! The `parquet` crate has a parser of its own, which it does not export. What a header is accepted
//! here for must be what that one will see, or a file could state one size to each of them. So this one
//! is strict: a field of another type than the format gives it, a field that comes twice, and whatever
//! the two parsers read differently (a list of booleans) make no header.

use super::hybrid::take_varint;

/// A header is some 30 bytes; statistics that hold long texts make it longer, up to here.
pub(super) const LONGEST: usize = 4 << 20;

/// What is wanted of a page header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// The bytes of the header itself.
    pub(super) bytes: u64,
    /// What the page takes in the file.
    pub(super) stored: u64,
    /// What it states to take once it is unpacked.
    pub(super) unpacked: u64,
    pub(super) kind: PageKind,
    /// How many values it states, nulls included.
    pub(super) values: u64,
    /// The bytes at its front that are not packed, which a page of version 2 may have.
    pub(super) plain: u64,
    /// Whether the rest is packed, where its column is.
    pub(super) is_packed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Data,
    Dictionary,
    /// Which readers pass over.
    Index,
}

/// Bytes of Thrift's compact protocol, and how far they are read.
#[derive(Debug)]
struct Thrift<'a>(&'a [u8]);

/// The types of Thrift fields that page headers are made of.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const STRUCT: u8 = 12;

// === impl PageHeader ===

impl PageHeader {
    /// The header at the front of `bytes`; `None` if there is none, or not all of it.
    ///
    /// ```text
    /// PageHeader       { 1: i32 type, 2: i32 uncompressed size, 3: i32 compressed size, 4: i32 crc,
    ///                    5: DataPageHeader, 6: IndexPageHeader, 7: DictionaryPageHeader, 8: DataPageHeaderV2 }
    /// DataPageHeader   { 1: i32 values, 2..=4: i32, 5: Statistics }
    /// Dictionary..     { 1: i32 values, 2: i32, 3: bool }
    /// DataPageHeaderV2 { 1: i32 values, 2..=4: i32, 5: i32 definition bytes, 6: i32 repetition bytes,
    ///                    7: bool is compressed, 8: Statistics }
    /// ```
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut thrift = Thrift(bytes);
        let mut numbers = [None; 5];
        // Of each of the structs 5 to 8 its numbers and its boolean.
        let mut parts = [None; 4];
        thrift.fields(|id, kind, thrift| match (id, kind) {
            (1..=4, I32) => take_once(numbers.get_mut(usize::try_from(id).ok()?)?, thrift.size()?),
            (5..=8, STRUCT) => {
                let (integers, boolean) =
                    [(4, 0), (0, 0), (2, 3), (6, 7)][usize::try_from(id - 5).ok()?];
                let part = thrift.part(integers, boolean)?;
                take_once(parts.get_mut(usize::try_from(id - 5).ok()?)?, part)
            }
            (1..=8, _) => None,
            _ => thrift.skip(kind, 0),
        })?;
        let kind = match numbers[1]? {
            0 | 3 => PageKind::Data,
            1 => PageKind::Index,
            2 => PageKind::Dictionary,
            _ => return None,
        };
        let part: Option<([Option<i32>; 7], bool)> = match numbers[1]? {
            0 => parts[0],
            1 => parts[1],
            2 => parts[2],
            _ => parts[3],
        };
        let (sizes, is_packed) = part.unwrap_or(([None; 7], true));
        // A size below zero is no size; a checksum may be any number.
        let size = |number: Option<i32>| u64::try_from(number?).ok();
        let or_nothing = |number: Option<i32>| number.map_or(Some(0), |number| size(Some(number)));
        let is_v2 = numbers[1] == Some(3);
        let plain = match is_v2 {
            true => or_nothing(sizes[5])?.saturating_add(or_nothing(sizes[6])?),
            false => 0,
        };
        Some(Self {
            bytes: (bytes.len() - thrift.0.len()) as u64,
            stored: size(numbers[3])?,
            unpacked: size(numbers[2])?,
            kind,
            values: or_nothing(sizes[1])?,
            plain,
            is_packed: is_packed || !is_v2,
        })
    }
}

/// Fills a field, which may come once.
fn take_once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.is_none().then(|| *field = Some(value))
}

// === impl Thrift ===

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn integer(&mut self) -> Option<i64> {
        let zigzag = take_varint(&mut self.0)?;
        Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// An integer of 32 bits.
    fn size(&mut self) -> Option<i32> {
        i32::try_from(self.integer()?).ok()
    }

    /// A struct whose first fields are so many integers, and which may have a boolean (0 if not); the
    /// integers by their numbers, and the boolean, which is true where it is left out.
    fn part(&mut self, integers: u8, boolean: u8) -> Option<([Option<i32>; 7], bool)> {
        let (mut numbers, mut flag) = ([None; 7], None);
        self.fields(|id, kind, thrift| {
            if (1..=integers.into()).contains(&id) {
                let number = numbers.get_mut(usize::try_from(id).ok()?)?;
                return take_once(number, (kind == I32).then(|| thrift.size())??);
            }
            if boolean > 0 && id == i16::from(boolean) {
                return match kind {
                    TRUE | FALSE => take_once(&mut flag, kind == TRUE),
                    _ => None,
                };
            }
            thrift.skip(kind, 0)
        })?;
        Some((numbers, flag.unwrap_or(true)))
    }

    /// The fields of a struct, each with its number and type.
    fn fields(&mut self, mut field: impl FnMut(i16, u8, &mut Self) -> Option<()>) -> Option<()> {
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => i16::try_from(self.integer()?).ok()?,
                delta => id.checked_add(delta.into())?,
            };
            field(id, head & 0x0f, self)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        if depth > 8 {
            return None;
        }
        match kind {
            // Booleans of a struct are their types.
            TRUE | FALSE => Some(()),
            3 => self.pass(1),
            4..=6 => take_varint(&mut self.0).map(|_| ()),
            7 => self.pass(8),
            8 => {
                let length = take_varint(&mut self.0)?;
                self.pass(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => take_varint(&mut self.0)?,
                    count => count.into(),
                };
                let kind = head & 0x0f;
                for _ in 0..count {
                    // The other parser takes no byte for a boolean in a list that it skips.
                    (kind != TRUE && kind != FALSE).then(|| self.skip(kind, depth + 1))??;
                }
                Some(())
            }
            STRUCT => self.fields(|_, kind, thrift| thrift.skip(kind, depth + 1)),
            // Page headers have no maps.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type 0, unpacked 1,000,000, stored 1,000; then statistics of a data page with 5 values.
    const HEADER: [u8; 34] = [
        0x15, 0x00, 0x15, 0x80, 0x89, 0x7a, 0x15, 0xd0, 0x0f, // 1, 2, 3
        0x2c, // 5: a struct
        0x15, 0x0a, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, // values and encodings
        0x1c, 0x18, 0x03, b'm', b'a', b'x', 0x00, // 5: a struct of a text
        0x19, 0x28, 0x01, b'a', 0x00, // 6, of the future: a list of two texts
        0x12, // 7: false
        0x00, 0x00, // the ends
        0x07,
    ];

    /// Scenario: the header of a data page with statistics, with a boolean and a list besides, and
    /// every part of it that was cut off.
    /// Guarantees: sizes, kind, values and length are read; what was cut is no header.
    #[test]
    fn a_header_is_read_to_its_end() {
        let length = HEADER.len() - 1;
        assert_eq!(
            PageHeader::parse(&HEADER),
            Some(PageHeader {
                bytes: length as u64,
                stored: 1000,
                unpacked: 1_000_000,
                kind: PageKind::Data,
                values: 5,
                plain: 0,
                is_packed: true,
            })
        );
        for end in 0..length {
            assert_eq!(PageHeader::parse(&HEADER[..end]), None, "{end}");
        }
    }

    /// Scenario: the header of a page of version 2 that is not packed behind its levels.
    /// Guarantees: the bytes of its levels and that are read.
    #[test]
    fn a_header_of_version_2() {
        let header = [
            0x15, 0x06, 0x15, 0x14, 0x15, 0x10, 0x5c, // 1, 2, 3, 8
            0x15, 0x08, 0x15, 0x00, 0x15, 0x08, 0x15, 0x00, 0x15, 0x04, 0x15, 0x06, 0x12, 0x00,
            0x00,
        ];
        let header = PageHeader::parse(&header).unwrap();
        assert_eq!(
            (header.values, header.plain, header.is_packed),
            (4, 5, false)
        );
    }

    /// Scenario: headers that two parsers may read differently: a size of 64 bits, a size twice, a size
    /// beyond 32 bits or below zero, a struct that is a text, a list of booleans, a field's number
    /// beyond 16 bits, a map.
    /// Guarantees: none of them is a header.
    #[test]
    fn what_may_be_read_in_two_ways_is_no_header() {
        let sizes = [0x15, 0x00, 0x15, 0x02, 0x15, 0x02];
        let tails: [&[u8]; 9] = [
            &[0x06, 0x04, 0x7f, 0x00],
            &[0x05, 0x04, 0x02, 0x00],
            &[0x05, 0x06, 0x02, 0x00],
            &[0x28, 0x01, b'a', 0x00],
            &[0x69, 0x21, 0x01, 0x01, 0x00],
            &[0x05, 0x84, 0x80, 0x08, 0x00, 0x00],
            &[0x6b, 0x01, 0x55, 0x00, 0x00, 0x00],
            &[0x2c, 0x16, 0x02, 0x00, 0x00],
            &[0x10],
        ];
        for tail in tails {
            assert_eq!(
                PageHeader::parse(&[&sizes[..], tail].concat()),
                None,
                "{tail:x?}"
            );
        }
        assert!(PageHeader::parse(&[&sizes[..], &[0x00]].concat()).is_some());
        for size in [&[0x01][..], &[0x80, 0x80, 0x80, 0x80, 0x20]] {
            let header = [&[0x15, 0x00, 0x15][..], size, &[0x15, 0x02, 0x00]].concat();
            assert_eq!(PageHeader::parse(&header), None, "{size:x?}");
        }
    }
}
