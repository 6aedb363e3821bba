//! Typed access to a TOML table that collects what is wrong instead of stopping at it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Span, nearest};

/// A value is not of the type that its key takes.
pub(crate) const WRONG_VALUE: &str = "IG003";
/// A key that the table does not have.
pub(crate) const UNKNOWN_KEY: &str = "IG002";

/// One table, and the list of what was found wrong so far.
pub(crate) struct TableReader<'a> {
    /// How messages call it: `[workspace]`.
    pub(crate) name: String,
    /// Where its header is.
    pub(crate) span: Span,
    table: &'a DeTable<'a>,
}

impl<'a> TableReader<'a> {
    /// Reads a table, and reports the keys that are not among `known`.
    pub(crate) fn new(
        name: impl Into<String>,
        (table, span): (&'a DeTable<'a>, Span),
        known: &[&str],
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let name = name.into();
        for key in table.keys() {
            let word: &str = key.get_ref();
            if !known.contains(&word) {
                problems.push(unknown_key(word, key.span().into(), &name, known));
            }
        }
        Self { name, span, table }
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    /// A text.
    pub(crate) fn text(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<(String, Span)> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span().into())),
            _ => self.wrong(key, value, "a text in quotes", problems),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<u64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.or_else(|| self.wrong(key, value, "a whole number", problems))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(yes) => Some(*yes),
            _ => self.wrong(key, value, "true or false", problems),
        }
    }

    /// A list of texts, each with its place.
    pub(crate) fn texts(
        &self,
        key: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Vec<(String, Span)>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            return self.wrong(key, value, "a list of texts", problems);
        };
        let mut texts = Vec::new();
        for item in array {
            match item.get_ref() {
                DeValue::String(text) => texts.push((text.to_string(), item.span().into())),
                _ => {
                    self.wrong::<()>(key, item, "a text in quotes in this list", problems);
                }
            }
        }
        Some(texts)
    }

    /// A table whose values are texts (numbers and booleans are taken as they are written).
    pub(crate) fn text_map(
        &self,
        key: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<(String, String)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong::<()>(key, value, "a table of texts", problems);
            return Vec::new();
        };
        let mut map = Vec::new();
        for (name, item) in table {
            let text = match item.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
                DeValue::Boolean(yes) => yes.to_string(),
                _ => {
                    self.wrong::<()>(name.get_ref(), item, "a text in quotes", problems);
                    continue;
                }
            };
            map.push((name.get_ref().to_string(), text));
        }
        map
    }

    /// Tables of a key that is written `[[key]]` or as a list of inline tables.
    pub(crate) fn tables(
        &self,
        key: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<(&'a DeTable<'a>, Span)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong::<()>(key, value, &format!("tables, each under [[{key}]]"), problems);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((table, item.span().into())),
                _ => {
                    self.wrong::<()>(key, item, "a table", problems);
                }
            }
        }
        tables
    }

    /// One table.
    pub(crate) fn table(
        &self,
        key: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<(&'a DeTable<'a>, Span)> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some((table, value.span().into())),
            _ => self.wrong(key, value, "a table", problems),
        }
    }

    /// Reports a value of the wrong type, and is `None`.
    pub(crate) fn wrong<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<T> {
        let message = format!("`{key}` of {} must be {wanted}", self.name);
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(value.span()));
        None
    }
}

fn unknown_key(word: &str, span: Span, table: &str, known: &[&str]) -> Diagnostic {
    let message = format!("{table} has no key `{word}`");
    let problem = Diagnostic::error(UNKNOWN_KEY, message).at(span);
    match nearest(word, known.iter().copied()) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => problem.help(format!("its keys are {}", known.join(", "))),
    }
}
