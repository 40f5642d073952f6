//! Metadata to the wire bytes of a `google.protobuf.Struct`, in one pass and without a tree.
//!
//! ```text
//! Struct    = { 0a L entry }           entry = [0a L key] 12 L Value      (prost omits an empty key)
//! Value     = 08 00 | 11 f64 | 1a L text | 20 bool | 32 L ListValue
//! ListValue = { 0a L Value }
//! ```
//!
//! The length of a string is known when it has been read and a list is gathered in a buffer of its own,
//! so every length is written before what it counts. Keys keep the input's order (prost would sort
//! them). What the service would refuse is rejected with the key and the value, or put into a form
//! that it takes, as [`MetadataPolicy`] says; what is left out, rounded or put otherwise is told by key.
//! Limits hold for what is sent.

mod json;
mod nested;

use vecload_record::{Field, FieldValue, Metadata, Reason, Reject};

use self::json::{Malformed, Reader, quoted_len};
use crate::encode::{field_len, put_header};
use crate::limits::Limits;

/// What to do with values that the service does not take but that can be left out or put otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataPolicy {
    /// What to do with a key whose value is null.
    pub on_null: OnNull,
    /// What to do with a value that is an object or a list of anything but strings.
    pub on_nested: OnNested,
}

/// What to do with a key whose value is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnNull {
    /// Leave the key out, and say so in [`Scratch::changes`](crate::Scratch::changes).
    #[default]
    Drop,
    /// Reject the record.
    Reject,
}

/// What to do with a value that is an object or a list of anything but strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnNested {
    /// Reject the record.
    #[default]
    Reject,
    /// Put each key of an object beside the others as `outer.inner`, at any depth; an empty object
    /// leaves nothing. A list has no keys to do so with: one of anything but strings is stored as under
    /// [`Json`](Self::Json). Two paths that become the same key are rejected, whatever their values.
    Flatten,
    /// Store the value as a string: its JSON text, as it is but for the whitespace between tokens, so
    /// that nothing in it is rounded, dropped or put in another order.
    Json,
}

/// What was done to a field of a record that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// Its value was null, and it is left out.
    NullDropped,
    /// It has more digits than a float64, which is all that the service keeps.
    NumberRounded,
    /// It was an object, whose keys stand beside it as `outer.inner`. Told once, by the outermost key.
    Flattened,
    /// It was an object or a list of anything but strings, and is a string that holds it as JSON.
    StoredAsJson,
}

/// A Struct's wire bytes, and the buffers to make them.
#[derive(Debug, Default)]
pub(crate) struct StructBuffer {
    policy: MetadataPolicy,
    /// The Struct.
    wire: Vec<u8>,
    /// The ListValue in the making.
    list: Vec<u8>,
    /// A string whose escapes have been resolved.
    unescaped: String,
    /// A value that is stored as its JSON text.
    json: String,
    /// All keys, one after the other, and where each stands.
    keys: String,
    spans: Vec<Span>,
    changes: Vec<(Span, Change)>,
    /// The length of the metadata as compact JSON, so far.
    compact: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
    /// Where the key's own name begins, after the keys that it is nested in.
    own: usize,
}

mod tag {
    pub(super) const ENTRY: u8 = 0x0a;
    pub(super) const KEY: u8 = 0x0a;
    pub(super) const VALUE: u8 = 0x12;
    pub(super) const NUMBER: u8 = 0x11;
    pub(super) const TEXT: u8 = 0x1a;
    pub(super) const BOOL: u8 = 0x20;
    pub(super) const LIST: u8 = 0x32;
    pub(super) const ELEMENT: u8 = 0x0a;
}

/// What the service says of a value that it does not take, with the same ending.
const ALLOWED: &str = "must be a string, a number, a boolean or a list of strings";

/// How much of a value stands in a message; the service shows as much.
const SHOWN_BYTES: usize = 16;

// === impl Change ===

impl Change {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NullDropped => "null_dropped",
            Self::NumberRounded => "number_rounded",
            Self::Flattened => "flattened",
            Self::StoredAsJson => "stored_as_json",
        }
    }
}

// === impl StructBuffer ===

impl StructBuffer {
    pub(crate) fn new(policy: MetadataPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// The Struct that was made last.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.wire
    }

    pub(crate) fn changes(&self) -> impl Iterator<Item = (&str, Change)> {
        self.changes
            .iter()
            .map(|(span, change)| (&self.keys[span.start..span.end], *change))
    }

    /// Makes the Struct of a record's metadata; `false` if it has none.
    pub(crate) fn convert(&mut self, metadata: Metadata<'_>) -> Result<bool, Reject> {
        self.wire.clear();
        self.keys.clear();
        self.spans.clear();
        self.changes.clear();
        self.compact = "{}".len();
        let present = match metadata {
            Metadata::Absent => false,
            Metadata::Json(text) => self.object(text)?,
            Metadata::Fields(fields) => {
                for field in fields {
                    self.field(field).map_err(|defect| self.reject(defect))?;
                }
                true
            }
        };
        self.check_duplicates()?;
        Ok(present)
    }

    /// The text of an object, or of `null`, which is no metadata.
    fn object(&mut self, text: &str) -> Result<bool, Reject> {
        let mut reader = Reader::new(text);
        let mut null = reader;
        match reader.peek() {
            Some(b'{') => {}
            Some(b'n') if null.word("null").and_then(|()| null.end()).is_ok() => return Ok(false),
            _ => {
                return Err(Reject::new(
                    Reason::InvalidMetadata,
                    "metadata",
                    format!("it must be a JSON object, got '{}'", shown(reader.rest())),
                ));
            }
        }
        match self
            .entries(&mut reader, None, 1)
            .and_then(|()| Ok(reader.end()?))
        {
            Ok(()) => Ok(true),
            Err(Defect::Json(error)) => Err(Reject::new(
                Reason::InvalidMetadata,
                "metadata",
                error.to_string(),
            )),
            Err(defect) => Err(self.reject(defect)),
        }
    }

    /// The entries of an object, which stands under a key or is the metadata; so many are open with it.
    fn entries(
        &mut self,
        reader: &mut Reader<'_>,
        outer: Option<Span>,
        depth: usize,
    ) -> Result<(), Defect> {
        reader.expect(b'{', "an object")?;
        if reader.eat(b'}') {
            return Ok(());
        }
        loop {
            let own = self.begin_path(outer)?;
            match reader.string(&mut self.unescaped)? {
                Some(key) => self.keys.push_str(key),
                None => self.keys.push_str(&self.unescaped),
            }
            self.begin_key(own)?;
            reader.expect(b':', "`:`")?;
            self.value(reader, depth)?;
            if reader.eat(b'}') {
                return Ok(());
            }
            reader.expect(b',', "`,` or `}`")?;
        }
    }

    /// A value in so many objects.
    fn value(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), Defect> {
        match reader.peek() {
            Some(b'"') => match reader.string(&mut self.unescaped)? {
                Some(text) => self.put_text(text, text.len() + 2),
                None => {
                    // Taken out for as long as it is read.
                    let text = std::mem::take(&mut self.unescaped);
                    let put = self.put_text(&text, quoted_len(&text));
                    self.unescaped = text;
                    put
                }
            },
            Some(b'[') => self.list(reader, depth),
            Some(b't') => {
                reader.word("true")?;
                self.put_bool(true)
            }
            Some(b'f') => {
                reader.word("false")?;
                self.put_bool(false)
            }
            Some(b'n') => {
                reader.word("null")?;
                self.null()
            }
            Some(b'-' | b'0'..=b'9') => {
                let rest = reader.rest();
                let number = reader.number()?;
                if number.value.is_infinite() {
                    return Err(Defect::Value(format!(
                        "{} is beyond the range of a float64",
                        shown(&rest[..number.len])
                    )));
                }
                if number.rounded {
                    self.changes.push((self.span(), Change::NumberRounded));
                }
                self.put_number(number.value, number.len)
            }
            Some(b'{') => self.nested_object(reader, depth),
            _ => Err(reader.malformed("a value").into()),
        }
    }

    fn list(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), Defect> {
        let start = *reader;
        self.list.clear();
        let mut compact = "[]".len();
        reader.expect(b'[', "a list")?;
        if !reader.eat(b']') {
            loop {
                if reader.peek() != Some(b'"') {
                    return match reader.peek() {
                        Some(b'{' | b'[' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9') => {
                            *reader = start;
                            self.nested_list(reader, depth)
                        }
                        _ => Err(reader.malformed("a string").into()),
                    };
                }
                match reader.string(&mut self.unescaped)? {
                    Some(text) => {
                        put_element(text, &mut self.list);
                        compact += text.len() + 2;
                    }
                    None => {
                        put_element(&self.unescaped, &mut self.list);
                        compact += quoted_len(&self.unescaped);
                    }
                }
                if reader.eat(b']') {
                    break;
                }
                reader.expect(b',', "`,` or `]`")?;
                compact += 1;
            }
        }
        self.put_list(compact)
    }

    fn field(&mut self, field: &Field<'_>) -> Result<(), Defect> {
        let own = self.keys.len();
        self.keys.push_str(field.name);
        self.begin_key(own)?;
        match field.value {
            FieldValue::Null => self.null(),
            FieldValue::Text(text) => self.put_text(text, quoted_len(text)),
            FieldValue::Bool(value) => self.put_bool(value),
            FieldValue::Number(value) if value.is_finite() => {
                self.put_number(value, number_len(value))
            }
            FieldValue::Number(value) => Err(Defect::Value(format!(
                "{value} is a number that JSON does not have"
            ))),
            FieldValue::TextList(texts) => {
                self.list.clear();
                let mut compact = "[]".len() + texts.len().saturating_sub(1);
                for text in texts {
                    put_element(text, &mut self.list);
                    compact += quoted_len(text);
                }
                self.put_list(compact)
            }
            FieldValue::Json(text) => {
                let mut reader = Reader::new(text);
                self.value(&mut reader, 0)?;
                Ok(reader.end()?)
            }
        }
    }

    /// Takes what was last added to the keys for the key of the next value; its own name begins here.
    fn begin_key(&mut self, own: usize) -> Result<(), Defect> {
        let start = self.span().end;
        self.spans.push(Span {
            start,
            end: self.keys.len(),
            own,
        });
        if self.keys[start..].starts_with('$') {
            return Err(Defect::Value("a key cannot start with `$`".to_owned()));
        }
        Ok(())
    }

    fn span(&self) -> Span {
        self.spans.last().copied().unwrap_or_default()
    }

    fn key(&self) -> &str {
        let Span { start, end, .. } = self.span();
        &self.keys[start..end]
    }

    fn null(&mut self) -> Result<(), Defect> {
        match self.policy.on_null {
            OnNull::Drop => {
                self.changes.push((self.span(), Change::NullDropped));
                Ok(())
            }
            OnNull::Reject => Err(Defect::Value(format!("the value {ALLOWED}, got 'null'"))),
        }
    }

    fn put_number(&mut self, value: f64, compact: usize) -> Result<(), Defect> {
        self.begin_entry(1 + size_of::<f64>(), compact);
        self.wire.push(tag::NUMBER);
        self.wire.extend_from_slice(&value.to_le_bytes());
        self.check_size()
    }

    fn put_bool(&mut self, value: bool) -> Result<(), Defect> {
        self.begin_entry(2, if value { "true".len() } else { "false".len() });
        self.wire.extend_from_slice(&[tag::BOOL, u8::from(value)]);
        self.check_size()
    }

    fn put_text(&mut self, text: &str, compact: usize) -> Result<(), Defect> {
        self.begin_entry(field_len(text.len()), compact);
        put_field(tag::TEXT, text.as_bytes(), &mut self.wire);
        self.check_size()
    }

    /// The list in `list`.
    fn put_list(&mut self, compact: usize) -> Result<(), Defect> {
        self.begin_entry(field_len(self.list.len()), compact);
        put_field(tag::LIST, &self.list, &mut self.wire);
        self.check_size()
    }

    /// Writes the entry up to its value, which is so long, on the wire and as compact JSON.
    fn begin_entry(&mut self, value: usize, compact: usize) {
        let Span { start, end, .. } = self.span();
        let key = &self.keys[start..end];
        let comma = usize::from(!self.wire.is_empty());
        self.compact += comma + quoted_len(key) + ":".len() + compact;
        let key_len = if key.is_empty() {
            0
        } else {
            field_len(key.len())
        };
        put_header(tag::ENTRY, key_len + field_len(value), &mut self.wire);
        if !key.is_empty() {
            put_field(tag::KEY, key.as_bytes(), &mut self.wire);
        }
        put_header(tag::VALUE, value, &mut self.wire);
    }

    /// Checked after each key, so that a hostile line cannot make the buffers large.
    fn check_size(&self) -> Result<(), Defect> {
        let bytes = self.wire.len().max(self.compact);
        if bytes > Limits::METADATA_BYTES {
            return Err(Defect::TooLarge(bytes));
        }
        Ok(())
    }

    fn check_duplicates(&mut self) -> Result<(), Reject> {
        if self.spans.len() < 2 {
            return Ok(());
        }
        let keys = &self.keys;
        let key = |span: &Span| &keys[span.start..span.end];
        // Any order that brings equal keys together will do; lengths are the cheapest to compare.
        self.spans.sort_unstable_by(|a, b| {
            let lengths = (a.end - a.start).cmp(&(b.end - b.start));
            lengths.then_with(|| key(a).cmp(key(b)))
        });
        match self.spans.array_windows().find(|[a, b]| key(a) == key(b)) {
            None => Ok(()),
            Some([one, other]) => Err(Reject::new(
                Reason::InvalidMetadata,
                format!("metadata.{}", key(one)),
                nested::same_key(keys, *one, *other),
            )),
        }
    }

    fn reject(&self, defect: Defect) -> Reject {
        let (reason, message) = match defect {
            Defect::Json(error) => (Reason::InvalidMetadata, error.to_string()),
            Defect::Value(message) => (Reason::InvalidMetadata, message),
            Defect::TooDeep => (
                Reason::InvalidMetadata,
                format!("it is nested deeper than {}", nested::DEPTH),
            ),
            Defect::TooLarge(bytes) => {
                return Reject::new(
                    Reason::MetadataTooLarge,
                    "metadata",
                    format!(
                        "it takes {bytes} bytes up to the key `{}`, {} are the most, as JSON and on the wire",
                        self.key(),
                        Limits::METADATA_BYTES
                    ),
                );
            }
        };
        Reject::new(reason, format!("metadata.{}", self.key()), message)
    }
}

/// What is wrong with metadata.
#[derive(Debug)]
enum Defect {
    /// The text is not JSON.
    Json(Malformed),
    /// A key or a value is one that the service does not take.
    Value(String),
    /// It is nested too deep to be read safely.
    TooDeep,
    /// There is too much of it: so many bytes, so far.
    TooLarge(usize),
}

impl From<Malformed> for Defect {
    fn from(error: Malformed) -> Self {
        Self::Json(error)
    }
}

fn not_allowed(value: &str) -> Defect {
    Defect::Value(format!("the value {ALLOWED}, got '{}'", shown(value)))
}

fn put_field(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    put_header(tag, content.len(), out);
    out.extend_from_slice(content);
}

/// Appends a string to a ListValue.
fn put_element(text: &str, out: &mut Vec<u8>) {
    put_header(tag::ELEMENT, field_len(text.len()), out);
    put_field(tag::TEXT, text.as_bytes(), out);
}

/// The first bytes of the JSON value that the text begins with, as the service shows them.
fn shown(text: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, char) in text.char_indices() {
        if at + char.len_utf8() > SHOWN_BYTES {
            return format!("{}...", &text[..at]);
        }
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && !quoted && matches!(char, '}' | ']') {
            return text[..at + 1].to_owned();
        }
    }
    text.to_owned()
}

/// The length of a number as compact JSON.
fn number_len(value: f64) -> usize {
    /// Integers below it have no exponent in any common writer.
    const PLAIN: f64 = 1e15;
    if value.fract() == 0.0 && value.abs() < PLAIN {
        let digits = (value.abs() as u64).checked_ilog10().unwrap_or(0) as usize + 1;
        return digits + usize::from(value.is_sign_negative());
    }
    struct Count(usize);
    impl std::fmt::Write for Count {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing to a counter cannot fail. `{:?}` is the shortest form, with an exponent where it is
    // shorter; as long as JSON's, give or take the sign of an exponent.
    let _ = std::fmt::Write::write_fmt(&mut count, format_args!("{value:?}"));
    count.0
}

#[cfg(test)]
mod tests;
