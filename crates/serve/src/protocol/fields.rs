//! Fields of a JSON object, by name and type.

use serde_json::{Map, Value};

use crate::problem::Problem;

/// An object, and where it is in the body.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// What goes before a field's name: nothing, or `stream_options.`.
    prefix: String,
}

impl<'a> Fields<'a> {
    /// The body of a request.
    pub(super) fn of_body(body: &'a Value) -> Result<Fields<'a>, Problem> {
        let object = body
            .as_object()
            .ok_or_else(|| Problem::bad("invalid_type", "The body of the request must be a JSON object."))?;
        Ok(Fields { object, prefix: String::new() })
    }

    /// An object at `path` of the body.
    pub(super) fn at(path: &str, value: &'a Value) -> Result<Fields<'a>, Problem> {
        let object = value.as_object().ok_or_else(|| Problem::wrong_type(path, "an object", value))?;
        Ok(Fields { object, prefix: format!("{path}.") })
    }

    /// A field's name with where it is.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// All fields that say something.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.object.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.as_str(), value))
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Problem::wrong_type(self.name(key), expected, value))
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Problem> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        self.typed(key, "a string", Value::as_str)
    }

    pub(super) fn array(&self, key: &str) -> Result<Option<&'a Vec<Value>>, Problem> {
        self.typed(key, "an array", Value::as_array)
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, Problem> {
        self.get(key).map(|value| Fields::at(&self.name(key), value)).transpose()
    }

    /// A whole number from `least` to `most`.
    pub(super) fn integer(&self, key: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(number) = value.as_number() else {
            return Err(Problem::wrong_type(self.name(key), "an integer", value));
        };
        let found = number.as_u64().filter(|n| (least..=most).contains(n));
        let expected = || match most {
            u64::MAX => format!("an integer of at least {least}"),
            _ => format!("an integer from {least} to {most}"),
        };
        found.map(Some).ok_or_else(|| Problem::value(self.name(key), expected(), number))
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&self, key: &str, least: f64, most: f64) -> Result<Option<f32>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(number) = value.as_f64() else {
            return Err(Problem::wrong_type(self.name(key), "a number", value));
        };
        match (least..=most).contains(&number) {
            true => Ok(Some(number as f32)),
            false => Err(Problem::value(self.name(key), format!("a number from {least} to {most}"), value)),
        }
    }
}
