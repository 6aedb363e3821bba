//! Any word, with any variables: the result is bounded, and says truly which variables it used.
//!
//! The input is a byte whose bits choose how the word is read (`@` is the usual way), then
//! `NAME=value` lines, an empty line, and the word.
#![no_main]

use std::collections::BTreeMap;

use imgraph::dockerfile::expand::{Escapes, MAX_GROWTH, Quotes, Shell, Unset, Variables, expand};
use libfuzzer_sys::fuzz_target;

struct Values<'a>(BTreeMap<&'a str, String>);

impl Variables for Values<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// So many times the variable `LONG` repeats what the input gives: values grow from line to line in
/// a Dockerfile, in an input they cannot.
const REPEATS: usize = 1_000;

fuzz_target!(|text: &str| {
    let Some(choice @ ('\0'..='\x7f')) = text.chars().next() else { return };
    let shell = shell(choice as u8);
    let (variables, word) = text[1..].split_once("\n\n").unwrap_or(("", &text[1..]));
    let mut values: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in variables.lines().filter_map(|line| line.split_once('=')) {
        let repeats = if name == "LONG" { REPEATS } else { 1 };
        values.insert(name, value.repeat(repeats));
    }
    let values = Values(values);
    let Ok(expansion) = expand(word, shell, &values) else { return };

    let limit = word.len() + MAX_GROWTH;
    assert!(expansion.text.len() <= limit, "{} bytes of {limit}", expansion.text.len());
    let in_words: usize = expansion.words.iter().map(String::len).sum();
    assert!(in_words <= expansion.text.len(), "{:?}", expansion.words);
    assert!(expansion.words.iter().all(|word| !word.is_empty()));
    assert!(expansion.matched.iter().all(|name| values.value(name).is_some()));
    assert!(expansion.unmatched.iter().all(|name| values.value(name).is_none()));

    let word = word.strip_prefix('\u{feff}').unwrap_or(word);
    let is_plain = !word.contains(['$', '\'', '"', shell.escape]);
    let is_kept = shell.quotes == Quotes::Ignore && shell.escapes == Escapes::Keep;
    if is_plain || is_kept && !word.contains('$') {
        assert_eq!(expansion.text, word);
    }
});

fn shell(choice: u8) -> Shell {
    let is_set = |bit: u8| choice & bit != 0;
    Shell {
        escape: if is_set(1) { '`' } else { '\\' },
        quotes: match (is_set(2), is_set(4)) {
            (false, _) => Quotes::Strip,
            (true, false) => Quotes::Keep,
            (true, true) => Quotes::Ignore,
        },
        escapes: if is_set(8) { Escapes::Keep } else { Escapes::Strip },
        unset: if is_set(16) { Unset::Keep } else { Unset::Empty },
    }
}
