//! Metadata filters: what `filter` may say, and whether a record matches.
//!
//! The operators are those of the service: `$eq $ne $gt $gte $lt $lte $in $nin $exists $and $or`,
//! a bare value meaning `$eq`, several fields or operators meaning all of them. A field that holds
//! a list matches a value that is in the list. A record without the field matches only `$ne`,
//! `$nin` and `$exists: false`: the negations are read as "not (field has this value)". Texts of
//! errors are own words but for those of `$in`, in the service's style.

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::rules::{Refusal, excerpt};

const MAX_VALUES: usize = 10_000;

/// A condition on metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Field(String, Test),
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// Has one of these values.
    In(Vec<Scalar>),
    /// Has none of these values.
    NotIn(Vec<Scalar>),
    Greater(f64),
    GreaterOrEqual(f64),
    Less(f64),
    LessOrEqual(f64),
    Exists(bool),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Number(f64),
    Bool(bool),
}

impl Filter {
    /// Reads a filter; `None` for one that is absent or empty.
    pub(crate) fn parse(filter: Option<&Struct>) -> Result<Option<Self>, Refusal> {
        filter
            .filter(|filter| !filter.fields.is_empty())
            .map(conjunction)
            .transpose()
    }

    /// The names of all fields that it looks at.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match self {
            Self::All(filters) | Self::Any(filters) => {
                filters.iter().flat_map(Self::fields).collect()
            }
            Self::Field(name, _) => vec![name],
        }
    }

    pub(crate) fn matches(&self, metadata: Option<&Struct>) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.matches(metadata)),
            Self::Any(filters) => filters.iter().any(|filter| filter.matches(metadata)),
            Self::Field(name, test) => {
                let value = metadata.and_then(|metadata| metadata.fields.get(name));
                test.holds(value.and_then(|value| value.kind.as_ref()))
            }
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&Kind>) -> bool {
        let number = || match value {
            Some(Kind::NumberValue(number)) => Some(*number),
            _ => None,
        };
        match self {
            Self::In(values) => values.iter().any(|wanted| wanted.is_in(value)),
            Self::NotIn(values) => !values.iter().any(|wanted| wanted.is_in(value)),
            Self::Greater(bound) => number().is_some_and(|number| number > *bound),
            Self::GreaterOrEqual(bound) => number().is_some_and(|number| number >= *bound),
            Self::Less(bound) => number().is_some_and(|number| number < *bound),
            Self::LessOrEqual(bound) => number().is_some_and(|number| number <= *bound),
            Self::Exists(wanted) => value.is_some() == *wanted,
        }
    }
}

impl Scalar {
    fn parse(value: &Value) -> Option<Self> {
        match &value.kind {
            Some(Kind::StringValue(text)) => Some(Self::Text(text.clone())),
            Some(Kind::NumberValue(number)) => Some(Self::Number(*number)),
            Some(Kind::BoolValue(value)) => Some(Self::Bool(*value)),
            _ => None,
        }
    }

    /// Whether a field's value is this one, or a list with it.
    fn is_in(&self, value: Option<&Kind>) -> bool {
        match (self, value) {
            (Self::Text(wanted), Some(Kind::StringValue(text))) => wanted == text,
            (Self::Number(wanted), Some(Kind::NumberValue(number))) => wanted == number,
            (Self::Bool(wanted), Some(Kind::BoolValue(value))) => wanted == value,
            (_, Some(Kind::ListValue(list))) => list
                .values
                .iter()
                .any(|item| self.is_in(item.kind.as_ref())),
            _ => false,
        }
    }
}

fn conjunction(fields: &Struct) -> Result<Filter, Refusal> {
    let mut filters = Vec::with_capacity(fields.fields.len());
    for (name, value) in &fields.fields {
        match name.as_str() {
            "$and" => filters.push(Filter::All(operands(name, value)?)),
            "$or" => filters.push(Filter::Any(operands(name, value)?)),
            _ if name.starts_with('$') => {
                return Err(Refusal::invalid(format!(
                    "{name} is not a valid operator at this place of a filter"
                )));
            }
            _ => field(name, value, &mut filters)?,
        }
    }
    Ok(match filters.pop() {
        Some(only) if filters.is_empty() => only,
        last => Filter::All(filters.into_iter().chain(last).collect()),
    })
}

fn operands(operator: &str, value: &Value) -> Result<Vec<Filter>, Refusal> {
    let wrong = || {
        Refusal::invalid(format!(
            "the {operator} operator must be followed by a list of filters, got {} instead",
            excerpt(value)
        ))
    };
    let Some(Kind::ListValue(list)) = &value.kind else {
        return Err(wrong());
    };
    if list.values.is_empty() {
        return Err(wrong());
    }
    list.values
        .iter()
        .map(|item| match &item.kind {
            Some(Kind::StructValue(fields)) if !fields.fields.is_empty() => conjunction(fields),
            _ => Err(wrong()),
        })
        .collect()
}

fn field(name: &str, value: &Value, filters: &mut Vec<Filter>) -> Result<(), Refusal> {
    let mut push = |test| filters.push(Filter::Field(name.to_owned(), test));
    match &value.kind {
        Some(Kind::StructValue(operators)) if !operators.fields.is_empty() => {
            for (operator, operand) in &operators.fields {
                push(test(name, operator, operand)?);
            }
        }
        _ => {
            let scalar = Scalar::parse(value).ok_or_else(|| {
                Refusal::invalid(format!(
                    "illegal condition for field {name}, got {}",
                    excerpt(value)
                ))
            })?;
            push(Test::In(vec![scalar]));
        }
    }
    Ok(())
}

fn test(name: &str, operator: &str, operand: &Value) -> Result<Test, Refusal> {
    let wrong = |wanted: &str| {
        Refusal::invalid(format!(
            "the {operator} operator must be followed by {wanted}, got {} instead",
            excerpt(operand)
        ))
    };
    let scalar = || Scalar::parse(operand).ok_or_else(|| wrong("a string, boolean or number"));
    let number = || match operand.kind {
        Some(Kind::NumberValue(number)) => Ok(number),
        _ => Err(wrong("a number")),
    };
    Ok(match operator {
        "$eq" => Test::In(vec![scalar()?]),
        "$ne" => Test::NotIn(vec![scalar()?]),
        "$in" => Test::In(values(operand, &wrong)?),
        "$nin" => Test::NotIn(values(operand, &wrong)?),
        "$gt" => Test::Greater(number()?),
        "$gte" => Test::GreaterOrEqual(number()?),
        "$lt" => Test::Less(number()?),
        "$lte" => Test::LessOrEqual(number()?),
        "$exists" => match operand.kind {
            Some(Kind::BoolValue(wanted)) => Test::Exists(wanted),
            _ => return Err(wrong("a boolean")),
        },
        _ => {
            return Err(Refusal::invalid(format!(
                "{operator} is not a valid operator for field {name}"
            )));
        }
    })
}

fn values(operand: &Value, wrong: &dyn Fn(&str) -> Refusal) -> Result<Vec<Scalar>, Refusal> {
    let wrong = || wrong("a list of strings or a list of numbers");
    let Some(Kind::ListValue(list)) = &operand.kind else {
        return Err(wrong());
    };
    if list.values.len() > MAX_VALUES {
        return Err(Refusal::invalid(format!(
            "a filter may list at most {MAX_VALUES} values, got {}",
            list.values.len()
        )));
    }
    list.values
        .iter()
        .map(|item| Scalar::parse(item).ok_or_else(wrong))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &serde_json::Value) -> Value {
        let kind = match json {
            serde_json::Value::Null => Kind::NullValue(0),
            serde_json::Value::Bool(value) => Kind::BoolValue(*value),
            serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
            serde_json::Value::String(text) => Kind::StringValue(text.clone()),
            serde_json::Value::Array(items) => Kind::ListValue(prost_types::ListValue {
                values: items.iter().map(value).collect(),
            }),
            serde_json::Value::Object(_) => Kind::StructValue(fields(json)),
        };
        Value { kind: Some(kind) }
    }

    fn fields(json: &serde_json::Value) -> Struct {
        let object = json.as_object().expect("an object");
        Struct {
            fields: object.iter().map(|(k, v)| (k.clone(), value(v))).collect(),
        }
    }

    fn matches(filter: &str, metadata: &str) -> bool {
        let filter = fields(&serde_json::from_str(filter).expect("JSON"));
        let metadata = fields(&serde_json::from_str(metadata).expect("JSON"));
        let filter = Filter::parse(Some(&filter))
            .expect("a filter")
            .expect("not empty");
        filter.matches(Some(&metadata))
    }

    /// Scenario: each operator against metadata that match, and that do not.
    /// Guarantees: operators mean what the service documents, lists match by element, and absent fields match negations only.
    #[test]
    fn operators_match_as_documented() {
        let film = r#"{"genre":"drama","year":2020,"good":true,"tags":["a","b"]}"#;
        for (filter, expected) in [
            (r#"{"genre":"drama"}"#, true),
            (r#"{"genre":"comedy"}"#, false),
            (r#"{"genre":{"$eq":"drama"}}"#, true),
            (r#"{"genre":{"$ne":"drama"}}"#, false),
            (r#"{"genre":{"$ne":"comedy"}}"#, true),
            (r#"{"good":true}"#, true),
            (r#"{"good":1}"#, false),
            (r#"{"year":"2020"}"#, false),
            (r#"{"year":{"$gt":2019}}"#, true),
            (r#"{"year":{"$gt":2020}}"#, false),
            (r#"{"year":{"$gte":2020}}"#, true),
            (r#"{"year":{"$lt":2020}}"#, false),
            (r#"{"year":{"$lte":2020,"$gte":2020}}"#, true),
            (r#"{"year":{"$lte":2020,"$gte":2021}}"#, false),
            (r#"{"genre":{"$gt":1}}"#, false),
            (r#"{"genre":{"$in":["comedy","drama"]}}"#, true),
            (r#"{"genre":{"$nin":["comedy","drama"]}}"#, false),
            (r#"{"tags":"b"}"#, true),
            (r#"{"tags":{"$in":["x","a"]}}"#, true),
            (r#"{"tags":{"$nin":["x","a"]}}"#, false),
            (r#"{"tags":{"$ne":"c"}}"#, true),
            (r#"{"absent":{"$exists":false}}"#, true),
            (r#"{"absent":{"$exists":true}}"#, false),
            (r#"{"year":{"$exists":true}}"#, true),
            (r#"{"absent":{"$ne":1}}"#, true),
            (r#"{"absent":{"$nin":[1]}}"#, true),
            (r#"{"absent":1}"#, false),
            (r#"{"genre":"drama","year":2021}"#, false),
            (r#"{"$and":[{"genre":"drama"},{"year":2020}]}"#, true),
            (r#"{"$or":[{"genre":"comedy"},{"year":2020}]}"#, true),
            (r#"{"$or":[{"genre":"comedy"},{"year":1}]}"#, false),
            (
                r#"{"good":true,"$or":[{"$and":[{"year":1}]},{"tags":"a"}]}"#,
                true,
            ),
        ] {
            assert_eq!(matches(filter, film), expected, "{filter}");
        }
    }

    /// Scenario: filters with unknown operators, wrong operands, nested objects and empty lists of filters.
    /// Guarantees: each is INVALID_ARGUMENT and names the operator or field; an empty filter is none.
    #[test]
    fn wrong_filters_are_refused() {
        for (filter, expected) in [
            (r#"{"a":{"$like":"x"}}"#, "$like is not a valid operator"),
            (r#"{"$not":[]}"#, "$not is not a valid operator"),
            (r#"{"a":[1]}"#, "illegal condition for field a, got [1.0]"),
            (
                r#"{"a":{"$gt":"x"}}"#,
                "$gt operator must be followed by a number",
            ),
            (
                r#"{"a":{"$in":"x"}}"#,
                "$in operator must be followed by a list of strings",
            ),
            (
                r#"{"a":{"$exists":1}}"#,
                "$exists operator must be followed by a boolean",
            ),
            (
                r#"{"$or":[]}"#,
                "$or operator must be followed by a list of filters",
            ),
            (
                r#"{"$and":[{}]}"#,
                "$and operator must be followed by a list of filters",
            ),
        ] {
            let filter = fields(&serde_json::from_str(filter).expect("JSON"));
            let refusal = Filter::parse(Some(&filter)).expect_err("refused");
            assert_eq!(refusal.code, tonic::Code::InvalidArgument);
            assert!(refusal.message.contains(expected), "{}", refusal.message);
        }
        assert_eq!(Filter::parse(Some(&Struct::default())), Ok(None));
        assert_eq!(Filter::parse(None), Ok(None));
    }
}
