//! Values that the service does not take, in a form that it takes.
//!
//! An object's keys go beside the others under joined names, or an object or a list becomes a string with
//! its JSON text. That text is copied token by token: a tree would round its numbers.

use super::json::{Reader, quoted_len};
use super::{Change, Defect, OnNested, Span, StructBuffer, not_allowed};
use crate::limits::Limits;

/// The most objects and lists within one another; as many as serde_json reads.
pub(super) const DEPTH: usize = 127;

/// Joined keys repeat those they are nested in, so a line of moderate length could make gigabytes of
/// them. Those that are sent are limited as metadata are; this is for those of nulls and empty objects.
const JOINED_KEYS_BYTES: usize = 1 << 20;

impl StructBuffer {
    /// An object as the value of the last key, in so many others.
    pub(super) fn nested_object(
        &mut self,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<(), Defect> {
        match self.policy.on_nested {
            OnNested::Reject => Err(not_allowed(reader.rest())),
            OnNested::Json => self.store_json(reader, depth),
            OnNested::Flatten => {
                let outer = self.span();
                if outer.own == outer.start {
                    self.changes.push((outer, Change::Flattened));
                }
                self.entries(reader, Some(outer), deeper(depth)?)
            }
        }
    }

    /// A list with something else than strings as the value of the last key.
    pub(super) fn nested_list(
        &mut self,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<(), Defect> {
        match self.policy.on_nested {
            OnNested::Reject => Err(not_allowed(reader.rest())),
            OnNested::Json | OnNested::Flatten => self.store_json(reader, depth),
        }
    }

    /// Adds what a nested key begins with; says where its own name does.
    pub(super) fn begin_path(&mut self, outer: Option<Span>) -> Result<usize, Defect> {
        if let Some(Span { start, end, .. }) = outer {
            let bytes = self.keys.len() + (end - start);
            if bytes > JOINED_KEYS_BYTES {
                return Err(Defect::TooLarge(bytes));
            }
            self.keys.extend_from_within(start..end);
            self.keys.push('.');
        }
        Ok(self.keys.len())
    }

    fn store_json(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), Defect> {
        self.changes.push((self.span(), Change::StoredAsJson));
        // Taken out for as long as it is written and read.
        let mut text = std::mem::take(&mut self.json);
        text.clear();
        let put = copy_value(reader, depth, &mut self.unescaped, &mut text)
            .and_then(|()| self.put_text(&text, quoted_len(&text)));
        self.json = text;
        put
    }
}

/// What to say of two keys that are the same: what each was called where it stood.
pub(super) fn same_key(keys: &str, one: Span, other: Span) -> String {
    // Shorter keys are compared first, so keys of one length that are nested in the same one are the
    // same key, rather than in two that were joined to the same name.
    if one.own - one.start == other.own - other.start {
        return "the key stands there twice".to_owned();
    }
    let called = |span: Span| {
        let own = &keys[span.own..span.end];
        match span.own.checked_sub(1) {
            Some(dot) if span.own > span.start => {
                format!("`{own}` in `{}`", &keys[span.start..dot])
            }
            _ => format!("`{own}`"),
        }
    };
    format!(
        "the keys {} and {} are the same once they are flattened; rename one, or store nested values as json",
        called(one),
        called(other)
    )
}

/// Appends a JSON value without whitespace between its tokens, which are copied as they are.
fn copy_value(
    reader: &mut Reader<'_>,
    depth: usize,
    unescaped: &mut String,
    out: &mut String,
) -> Result<(), Defect> {
    match reader.peek() {
        Some(b'{') => {
            let depth = deeper(depth)?;
            reader.expect(b'{', "an object")?;
            out.push('{');
            if !reader.eat(b'}') {
                loop {
                    copy_string(reader, unescaped, out)?;
                    reader.expect(b':', "`:`")?;
                    out.push(':');
                    copy_value(reader, depth, unescaped, out)?;
                    if reader.eat(b'}') {
                        break;
                    }
                    reader.expect(b',', "`,` or `}`")?;
                    out.push(',');
                }
            }
            out.push('}');
        }
        Some(b'[') => {
            let depth = deeper(depth)?;
            reader.expect(b'[', "a list")?;
            out.push('[');
            if !reader.eat(b']') {
                loop {
                    copy_value(reader, depth, unescaped, out)?;
                    if reader.eat(b']') {
                        break;
                    }
                    reader.expect(b',', "`,` or `]`")?;
                    out.push(',');
                }
            }
            out.push(']');
        }
        Some(b'"') => copy_string(reader, unescaped, out)?,
        Some(b't') => copy_word(reader, "true", out)?,
        Some(b'f') => copy_word(reader, "false", out)?,
        Some(b'n') => copy_word(reader, "null", out)?,
        Some(b'-' | b'0'..=b'9') => {
            let start = *reader;
            reader.number()?;
            out.push_str(reader.since(start));
        }
        _ => return Err(reader.malformed("a value").into()),
    }
    // While it is copied, so that a hostile line cannot make the buffer large.
    if out.len() > Limits::METADATA_BYTES {
        return Err(Defect::TooLarge(out.len()));
    }
    Ok(())
}

fn copy_string(
    reader: &mut Reader<'_>,
    unescaped: &mut String,
    out: &mut String,
) -> Result<(), Defect> {
    reader.peek();
    let start = *reader;
    reader.string(unescaped)?;
    out.push_str(reader.since(start));
    Ok(())
}

fn copy_word(reader: &mut Reader<'_>, word: &'static str, out: &mut String) -> Result<(), Defect> {
    reader.word(word)?;
    out.push_str(word);
    Ok(())
}

/// One more object or list within so many.
fn deeper(depth: usize) -> Result<usize, Defect> {
    if depth >= DEPTH {
        return Err(Defect::TooDeep);
    }
    Ok(depth + 1)
}
