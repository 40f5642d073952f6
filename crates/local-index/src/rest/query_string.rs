//! What stands behind the question mark of an address.

use percent_encoding::percent_decode_str;

use crate::rules::Refusal;

/// Names and values, in their order; a name may come more than once.
pub(super) struct QueryString(Vec<(String, String)>);

impl QueryString {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Refusal>>()?))
    }

    /// The value of the first of a name.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.clone())
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        // Own words.
        let refusal = |_| Refusal::invalid(format!("{name} is '{text}', but must be a number"));
        text.parse().map(Some).map_err(refusal)
    }
}

fn decode(text: &str) -> Result<String, Refusal> {
    // Clients encode a space either way, and a plus as %2B.
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8();
    let text = text.map_err(|_| Refusal::invalid("A query parameter is not UTF-8"))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: names that come twice, spaces in both encodings, a plus, a name without a value, no UTF-8.
    /// Guarantees: values in their order, decoded once; what cannot be text or a number is refused.
    #[test]
    fn names_and_values_are_decoded() {
        let query = QueryString::parse("ids=a%20b&ids=c+d&ids=e%2Bf&flag&limit=7&bad=x").unwrap();
        assert_eq!(query.texts("ids"), ["a b", "c d", "e+f"]);
        assert_eq!(query.text("flag").as_deref(), Some(""));
        assert_eq!(query.text("none"), None);
        assert_eq!(query.number("limit"), Ok(Some(7)));
        let refusal = query.number("bad").unwrap_err();
        assert_eq!(refusal.message, "bad is 'x', but must be a number");
        assert!(QueryString::parse("a=%FF").is_err());
    }
}
