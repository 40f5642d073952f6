//! Reads JSON text token by token, without a tree and without allocating.
//!
//! Numbers are read to the nearest float64, always (serde_json does so only with a feature that slows
//! its other users), and it is known whether digits were lost. It takes exactly what serde_json takes;
//! a test compares them.

use std::fmt;

/// A place in JSON text.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// Why the text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The byte at which it is not.
    pub(super) at: usize,
    /// What is missing there.
    pub(super) expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "it is not JSON: {} is missing at byte {}",
            self.expected, self.at
        )
    }
}

/// A number and what became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    /// The nearest float64; infinite where it is beyond the range.
    pub(super) value: f64,
    /// Whether the text has digits that the value has not.
    pub(super) rounded: bool,
    /// The length of its text.
    pub(super) len: usize,
}

/// A float64 has at least 15 decimal digits and is written with at most 17.
const EXACT_DIGITS: usize = 15;
const MOST_DIGITS: usize = 17;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Skips whitespace and shows the next byte.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Skips whitespace, and takes the next byte if it is this one.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.malformed(expected))
        }
    }

    pub(super) fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed {
            at: self.at,
            expected,
        }
    }

    /// The text from the next byte on, for messages.
    pub(super) fn rest(&mut self) -> &'a str {
        self.peek();
        &self.text[self.at..]
    }

    /// The text from an earlier place to here.
    pub(super) fn since(&self, earlier: Self) -> &'a str {
        &self.text[earlier.at..self.at]
    }

    /// Checks that nothing but whitespace is left.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed("the end of the text")),
        }
    }

    /// Takes a word: `true`, `false`, `null`.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Malformed> {
        self.peek();
        if !self.text[self.at..].starts_with(word) {
            return Err(self.malformed(word));
        }
        self.at += word.len();
        Ok(())
    }

    /// Takes a string: a slice of the text where it has no escapes, otherwise `None`, and the string
    /// stands in `unescaped`.
    pub(super) fn string(&mut self, unescaped: &mut String) -> Result<Option<&'a str>, Malformed> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        self.at += plain_prefix(&self.text.as_bytes()[start..]);
        if self.text.as_bytes().get(self.at) == Some(&b'"') {
            let plain = &self.text[start..self.at];
            self.at += 1;
            return Ok(Some(plain));
        }
        unescaped.clear();
        unescaped.push_str(&self.text[start..self.at]);
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(None);
                }
                Some(b'\\') => {
                    self.at += 1;
                    unescaped.push(self.escape()?);
                }
                Some(_) => return Err(self.malformed("an escape for a control character")),
                None => return Err(self.malformed("the end of a string")),
            }
            let plain = plain_prefix(&self.text.as_bytes()[self.at..]);
            unescaped.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let char = match self.text.as_bytes().get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.malformed("an escape")),
        };
        self.at += 1;
        Ok(char)
    }

    fn unicode_escape(&mut self) -> Result<char, Malformed> {
        let start = self.at;
        let lone = Malformed {
            at: start,
            expected: "a pair of surrogates",
        };
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(lone);
                }
                self.at += 2;
                let second = self.hex()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(lone);
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(lone)
    }

    fn hex(&mut self) -> Result<u32, Malformed> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .text
                .as_bytes()
                .get(self.at)
                .and_then(|byte| char::from(*byte).to_digit(16))
                .ok_or(self.malformed("four hexadecimal digits"))?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Takes a number.
    pub(super) fn number(&mut self) -> Result<Number, Malformed> {
        self.peek();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let negative = bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        let whole_start = self.at;
        let mut whole = 0_u64;
        while let Some(digit @ b'0'..=b'9') = bytes.get(self.at) {
            // Used only for as many digits as cannot wrap.
            whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - whole_start;
        if digits == 0 {
            return Err(self.malformed("a digit"));
        }
        if digits > 1 && bytes[whole_start] == b'0' {
            return Err(Malformed {
                at: whole_start + 1,
                expected: "the end of the number",
            });
        }
        let mut integer = true;
        if bytes.get(self.at) == Some(&b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if integer && digits <= EXACT_DIGITS {
            let value = if negative {
                -(whole as f64)
            } else {
                whole as f64
            };
            return Ok(Number {
                value,
                rounded: false,
                len: text.len(),
            });
        }
        let value: f64 = text.parse().map_err(|_| Malformed {
            at: start,
            expected: "a number",
        })?;
        let rounded = match text.parse::<i128>() {
            Ok(exact) if integer => value as i128 != exact,
            _ => significant_digits(text) > MOST_DIGITS,
        };
        Ok(Number {
            value,
            rounded,
            len: text.len(),
        })
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        while let Some(b'0'..=b'9') = bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.malformed("a digit"))
        } else {
            Ok(())
        }
    }
}

/// The digits of a number from the first to the last that is not zero.
fn significant_digits(number: &str) -> usize {
    let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
    let (mut digits, mut zeros) = (0, 0);
    for byte in mantissa.bytes().filter(u8::is_ascii_digit) {
        if byte == b'0' {
            zeros += usize::from(digits > 0);
        } else {
            digits += zeros + 1;
            zeros = 0;
        }
    }
    digits
}

/// The number of leading bytes that stand for themselves in a JSON string: neither a quote nor a
/// backslash nor a control character. Eight bytes a step: most of a corpus's metadata is such text.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The high bit of each byte that is zero; exact for the first one, which is all that is asked.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special =
            zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        let hit = (special | control) & HIGH;
        if hit != 0 {
            return number * 8 + (hit.trailing_zeros() / 8) as usize;
        }
    }
    let tail = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    words.len() * 8 + tail.unwrap_or(rest.len())
}

/// The length of a string as compact JSON, quotes included.
pub(super) fn quoted_len(text: &str) -> usize {
    let mut rest = text.as_bytes();
    let mut len = 2;
    loop {
        let plain = plain_prefix(rest);
        len += plain;
        match rest.get(plain) {
            None => return len,
            Some(b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12) => len += 2,
            Some(_) => len += 6,
        }
        rest = &rest[plain + 1..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> Result<String, Malformed> {
        let mut buffer = String::from("left over");
        let mut reader = Reader::new(text);
        let plain = reader.string(&mut buffer)?;
        reader.end()?;
        Ok(plain.map_or(buffer, str::to_owned))
    }

    fn number(text: &str) -> Result<Number, Malformed> {
        let mut reader = Reader::new(text);
        let number = reader.number()?;
        reader.end()?;
        Ok(number)
    }

    /// Scenario: strings with each escape, at each place, and broken ones.
    /// Guarantees: the same strings as serde_json, and the same refusals.
    #[test]
    fn strings_as_serde_json_reads_them() {
        for text in [
            r#""""#,
            r#""plain""#,
            r#""\"""#,
            r#""a\\b\/\b\f\n\r\t""#,
            r#""\u0041\u00e9\ud83d\ude00""#,
            r#""é😀""#,
            r#""\u0000""#,
            r#""01234567\"89abcdef""#,
            r#""0123456789\n""#,
            r#""open"#,
            r#""\"#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
            "\"tab\t\"",
            "\"\u{0}\"",
            "\"\u{1f}\"",
            "\"\u{7f}\"",
            "\"1234567\n\"",
            r#""a" b"#,
            "x",
            "",
        ] {
            let theirs = serde_json::from_str::<String>(text).ok();
            assert_eq!(string(text).ok(), theirs, "{text}");
        }
    }

    /// Scenario: every byte at every place of eighteen, whole words of eight and the rest.
    /// Guarantees: the plain prefix ends at quotes, backslashes and control characters, and nowhere else.
    #[test]
    fn where_a_plain_prefix_ends() {
        for byte in 0..=u8::MAX {
            let special = matches!(byte, b'"' | b'\\' | 0..0x20);
            for at in 0..18 {
                let mut bytes = [b'a'; 18];
                bytes[at] = byte;
                let expected = if special { at } else { bytes.len() };
                assert_eq!(plain_prefix(&bytes), expected, "{byte} at {at}");
            }
        }
    }

    /// Scenario: numbers in every form, and broken ones.
    /// Guarantees: what the grammar allows is read to the nearest float64, the rest is refused.
    #[test]
    fn numbers() {
        for text in [
            "0",
            "-0",
            "1",
            "-1",
            "10",
            "999999999999999",
            "9007199254740993",
            "18446744073709551616",
            "0.1",
            "-0.25",
            "1e3",
            "1E+3",
            "1e-3",
            "1.5e300",
            "123456789012345678901234567890",
            "2.2250738585072011e-308",
            "5e-324",
            "1e-400",
            "0.1000000000000000055511151231257827",
        ] {
            let found = number(text).unwrap();
            assert_eq!(
                found.value.to_bits(),
                text.parse::<f64>().unwrap().to_bits(),
                "{text}"
            );
            assert_eq!(found.len, text.len());
        }
        assert!(number("1e400").unwrap().value.is_infinite());
        for text in [
            "", "-", "01", "-01", "1.", ".5", "1e", "1e+", "+1", "0x1", "1 2", "NaN", "Infinity",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    /// Scenario: integers around 2^53 and numbers with too many digits.
    /// Guarantees: a number counts as rounded exactly where a float64 cannot hold what is written.
    #[test]
    fn rounded_numbers_are_known() {
        for (text, rounded) in [
            ("9007199254740992", false),
            ("9007199254740993", true),
            ("-9007199254740993", true),
            ("9007199254740994", false),
            ("100000000000000000000", false),
            ("100000000000000000001", true),
            ("1000000000000000000000000000000000000000000", false),
            ("0.1", false),
            ("0.30000000000000004", false),
            ("0.300000000000000044", true),
            ("1.0000000000000000000000", false),
            ("12345678901234567.8", true),
        ] {
            assert_eq!(number(text).unwrap().rounded, rounded, "{text}");
        }
    }

    proptest! {
        /// Scenario: any text as a JSON string, after any number of bytes.
        /// Guarantees: it is read back as it was, and its compact length is serde_json's.
        #[test]
        fn any_string_is_read_back(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(string(&json).unwrap(), text.as_str());
            prop_assert_eq!(quoted_len(&text), json.len());
        }

        /// Scenario: any float64 as text.
        /// Guarantees: it is read back bit for bit and is not called rounded.
        #[test]
        fn any_number_is_read_back(value in any::<f64>().prop_filter("JSON has no such number", |value| value.is_finite())) {
            let json = serde_json::to_string(&value).unwrap();
            let found = number(&json).unwrap();
            prop_assert_eq!(found.value.to_bits(), value.to_bits());
            prop_assert!(!found.rounded);
        }
    }
}
