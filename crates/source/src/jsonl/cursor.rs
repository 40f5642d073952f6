//! JSON in one pass: a position in a text, and what can be read from there.
//!
//! Strict as RFC 8259 is, without a tree. Numbers become f32 straight from their digits: by way of
//! f64 they would be rounded twice.

use std::ops::Range;

use vecload_record::Reason;

use super::{list, number};

/// How deep values may be nested, the record itself included: as in serde_json.
const MAX_DEPTH: usize = 128;

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

/// A string: part of the text or, where it has escapes, of a scratch string.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Borrowed(Range<usize>),
    Unescaped(Range<usize>),
}

/// What is wrong; the field is not known here.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) reason: Reason,
    pub(super) message: String,
}

type Result<T> = std::result::Result<T, Flaw>;

/// Whether `text` is one JSON object and nothing else.
pub(crate) fn is_object(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.peek() == Some(b'{') && cursor.skip(1).is_ok() && cursor.end().is_ok()
}

// === impl Text ===

impl Text {
    pub(super) fn of<'a>(&self, text: &'a str, scratch: &'a str) -> &'a str {
        match self {
            Self::Borrowed(range) => &text[range.clone()],
            Self::Unescaped(range) => &scratch[range.clone()],
        }
    }
}

// === impl Flaw ===

impl Flaw {
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self {
            reason: Reason::Malformed,
            message: message.into(),
        }
    }
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("'{}'", char::from(byte))))
        }
    }

    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }

    /// Takes `null` if it is next.
    pub(super) fn null(&mut self) -> bool {
        self.peek();
        let is_next = self.bytes[self.at..].starts_with(b"null");
        self.at += if is_next { 4 } else { 0 };
        is_next
    }

    /// After a value: whether another one follows (a comma) or the list or object closes.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool> {
        if self.take(b',') {
            return Ok(true);
        }
        if self.take(close) {
            return Ok(false);
        }
        Err(self.unexpected(&format!("',' or '{}'", char::from(close))))
    }

    /// What stands here instead of what was expected.
    pub(super) fn unexpected(&mut self, expected: &str) -> Flaw {
        self.peek();
        let rest = &self.text[self.at..];
        for literal in ["NaN", "Infinity", "-Infinity"] {
            if rest.starts_with(literal) {
                return Flaw {
                    reason: Reason::NotFinite,
                    message: format!(
                        "{literal} at byte {} of the line is not a finite number",
                        self.at
                    ),
                };
            }
        }
        let found = match rest.chars().next() {
            Some(found) => format!("{found:?}"),
            None => "the end".to_owned(),
        };
        Flaw::malformed(format!(
            "expected {expected}, found {found} at byte {} of the line",
            self.at
        ))
    }

    /// A string. One with escapes is written to the end of `scratch`.
    pub(super) fn string(&mut self, scratch: &mut String) -> Result<Text> {
        self.expect(b'"')?;
        let start = self.at;
        let unescaped = scratch.len();
        loop {
            let from = self.at;
            let stop = self.plain()?;
            if self.bytes[stop] == b'"' {
                self.at = stop + 1;
                return Ok(if from == start {
                    Text::Borrowed(start..stop)
                } else {
                    scratch.push_str(&self.text[from..stop]);
                    Text::Unescaped(unescaped..scratch.len())
                });
            }
            scratch.push_str(&self.text[from..stop]);
            self.at = stop + 1;
            scratch.push(self.escape()?);
        }
    }

    /// Where the quote or the backslash is that follows; there is no control character before it.
    fn plain(&mut self) -> Result<usize> {
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr2(b'"', b'\\', rest);
        let plain = &rest[..length.unwrap_or(rest.len())];
        // Without a branch for each byte, so that it is done many bytes at a time.
        if plain
            .iter()
            .fold(false, |found, byte| found | (*byte < 0x20))
        {
            self.at += plain.iter().take_while(|byte| **byte >= 0x20).count();
            return Err(Flaw::malformed(format!(
                "control character 0x{:02x} in a string at byte {} of the line",
                self.bytes[self.at], self.at
            )));
        }
        match length {
            Some(length) => Ok(self.at + length),
            None => Err(Flaw::malformed(
                "the line ends within a string: it was cut, or a string has a line break",
            )),
        }
    }

    /// What a backslash, which has been taken, stands for together with what follows.
    fn escape(&mut self) -> Result<char> {
        let start = self.at - 1;
        let flaw = || Flaw::malformed(format!("invalid escape at byte {start} of the line"));
        let kind = *self.bytes.get(self.at).ok_or_else(flaw)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex().ok_or_else(flaw)?;
                let code = if (0xd800..0xdc00).contains(&first)
                    && self.bytes[self.at..].starts_with(b"\\u")
                {
                    self.at += 2;
                    let second = self.hex().ok_or_else(flaw)?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(flaw());
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                // Half of a surrogate pair is no character.
                char::from_u32(code).ok_or_else(flaw)?
            }
            _ => return Err(flaw()),
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| {
            Some(code << 4 | char::from(*digit).to_digit(16)?)
        })
    }

    /// A list of numbers, rounded to f32 once, to the nearest.
    pub(super) fn floats(&mut self, values: &mut Vec<f32>) -> Result<()> {
        values.clear();
        if self.peek() != Some(b'[') {
            return Err(self.unexpected("a list of numbers"));
        }
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        // Without an end, what is wrong is found at the last item at the latest.
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr(b']', rest).unwrap_or(rest.len());
        let list = self.at..self.at + length;
        list::read(self.bytes, list.clone(), values, |index, item| {
            self.at = item.start;
            let value = self.float().map_err(|flaw| Flaw {
                message: format!("value {index}: {}", flaw.message),
                ..flaw
            })?;
            self.peek();
            match self.at == item.end {
                true => Ok(value),
                false => Err(self.unexpected("',' or ']'")),
            }
        })?;
        self.at = list.end;
        self.expect(b']')
    }

    /// A number, rounded to f32 once, to the nearest.
    #[inline]
    pub(super) fn float(&mut self) -> Result<f32> {
        self.peek();
        if let Some((value, end)) = number::ordinary(self.bytes, self.at) {
            self.at = end;
            return Ok(value);
        }
        self.uncommon_float()
    }

    /// A number that is out of the ordinary, or none.
    #[cold]
    fn uncommon_float(&mut self) -> Result<f32> {
        let rest = &self.bytes[self.at..];
        let parsed = if begins_number(rest) {
            fast_float2::parse_partial::<f32, _>(rest).ok()
        } else {
            None
        };
        let Some((value, length)) = parsed else {
            return Err(self.no_number());
        };
        if value.is_infinite() {
            return Err(Flaw {
                reason: Reason::NotFinite,
                message: format!(
                    "{} is beyond the range of float32",
                    String::from_utf8_lossy(&rest[..length.min(40)])
                ),
            });
        }
        self.at += length;
        Ok(value)
    }

    /// What is wrong with what stands in place of a number. Dead letters have numbers that JSON does
    /// not have as text.
    #[cold]
    fn no_number(&mut self) -> Flaw {
        let rest = &self.text[self.at..];
        let text = rest
            .strip_prefix('"')
            .and_then(|rest| rest.split('"').next());
        match text.filter(|text| text.parse::<f64>().is_ok_and(|value| !value.is_finite())) {
            None => self.unexpected("a number"),
            Some(text) => Flaw {
                reason: Reason::NotFinite,
                message: format!("{text:.40} is not a finite number"),
            },
        }
    }

    /// A list of integers from 0 to 2^32 - 1.
    pub(super) fn indices(&mut self, indices: &mut Vec<u32>) -> Result<()> {
        indices.clear();
        if self.peek() != Some(b'[') {
            return Err(self.unexpected("a list of integers"));
        }
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            let number = self.number()?;
            let number = &self.text[number];
            let index = number.parse().map_err(|_| Flaw {
                reason: Reason::InvalidSparse,
                message: format!(
                    "index {}: {:.40} is not an integer from 0 to 4294967295",
                    indices.len(),
                    number
                ),
            })?;
            indices.push(index);
            if !self.more(b']')? {
                return Ok(());
            }
        }
    }

    /// A number, as it is written.
    pub(super) fn number(&mut self) -> Result<Range<usize>> {
        self.peek();
        let start = self.at;
        if !begins_number(&self.bytes[start..]) {
            return Err(self.unexpected("a number"));
        }
        self.at += usize::from(self.bytes[start] == b'-');
        self.digits();
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits();
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.unexpected("the digits of an exponent"));
            }
        }
        Ok(start..self.at)
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += count;
        count
    }

    /// Passes over any value; `depth` is the number of values that it is in.
    pub(super) fn skip(&mut self, depth: usize) -> Result<()> {
        match self.peek() {
            Some(open @ (b'{' | b'[')) => {
                if depth >= MAX_DEPTH {
                    return Err(Flaw::malformed(format!(
                        "nested deeper than {MAX_DEPTH} at byte {} of the line",
                        self.at
                    )));
                }
                self.at += 1;
                // In ASCII both closing brackets are two after their opening ones.
                let close = open + 2;
                if self.take(close) {
                    return Ok(());
                }
                loop {
                    if open == b'{' {
                        self.peek();
                        self.skip_string()?;
                        self.expect(b':')?;
                    }
                    self.skip(depth + 1)?;
                    if !self.more(close)? {
                        return Ok(());
                    }
                }
            }
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => {
                for literal in ["true", "false", "null"] {
                    if self.bytes[self.at..].starts_with(literal.as_bytes()) {
                        self.at += literal.len();
                        return Ok(());
                    }
                }
                Err(self.unexpected("a value"))
            }
        }
    }

    /// Passes over any value by its strings and brackets only, and gives its text.
    pub(super) fn pass(&mut self) -> Result<&'a str> {
        self.peek();
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.unexpected("the end of the object")),
                Some(b'"') => {
                    self.skip_string()?;
                    continue;
                }
                Some(b'{') => depth += 1,
                Some(b'[') => {
                    // Of a list without lists and strings in it, as vectors are, only the end is looked for.
                    let items = &self.bytes[self.at + 1..];
                    let end = memchr::memchr3(b']', b'[', b'"', items);
                    if let Some(end) = end.filter(|end| items[*end] == b']') {
                        self.at += end + 2;
                        continue;
                    }
                    depth += 1;
                }
                Some(b',' | b'}' | b']') if depth == 0 => break,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(self.text[start..self.at].trim_ascii_end())
    }

    fn skip_string(&mut self) -> Result<()> {
        self.expect(b'"')?;
        loop {
            let stop = self.plain()?;
            self.at = stop + 1;
            if self.bytes[stop] == b'"' {
                return Ok(());
            }
            self.escape()?;
        }
    }
}

/// Whether a JSON number begins here, as far as float parsers are laxer than JSON: no plus sign, no
/// words, no leading zeros, digits on both sides of the point.
#[inline]
fn begins_number(bytes: &[u8]) -> bool {
    let digits = match bytes {
        [b'-', digits @ ..] => digits,
        digits => digits,
    };
    let whole = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let whole_is_valid = whole == 1 || (whole > 1 && digits[0] != b'0');
    whole_is_valid
        && (digits.get(whole) != Some(&b'.')
            || digits.get(whole + 1).is_some_and(u8::is_ascii_digit))
}
