//! Sets of characters: what one position of an expression may be.
//!
//! Knows the grammar of Go's `regexp/syntax` for one character, a class or an escape, and nothing of
//! what stands around it. `\d`, `\w`, `\s` and the classes in `[: :]` are of ASCII, as in Go.

use crate::ignorefile::pattern::PatternError;

/// A set of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    /// The set of one character.
    pub(crate) fn one(c: char) -> Self {
        Self { negated: false, ranges: vec![(c, c)] }
    }

    /// Whether a character is in it.
    pub(crate) fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// Reads one character, an escape, `.` or a class from the start of `rest`, which is not empty.
pub(crate) fn parse(rest: &mut &[char]) -> Result<Class, PatternError> {
    let first = rest[0];
    match first {
        '[' => return bracketed(rest),
        '.' => {
            *rest = &rest[1..];
            return Ok(Class { negated: true, ranges: vec![('\n', '\n')] });
        }
        '\\' => {
            if let Some((negated, ranges)) = perl(rest)? {
                return Ok(Class { negated, ranges: ranges.to_vec() });
            }
        }
        _ => {}
    }
    char(rest).map(Class::one)
}

/// Reads `[..]` (parse.go: `parseClass`).
fn bracketed(rest: &mut &[char]) -> Result<Class, PatternError> {
    *rest = &rest[1..];
    let negated = rest.first() == Some(&'^');
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    let mut is_first = true;
    // A `]` that comes first is one of the set.
    while rest.first() != Some(&']') || is_first {
        is_first = false;
        let named = match posix(rest)? {
            None => perl(rest)?,
            found => found,
        };
        if let Some((negated, named)) = named {
            add(&mut ranges, negated, named);
            continue;
        }
        let low = char(rest)?;
        let mut high = low;
        // In `[a-]` the hyphen is one of the set.
        if rest.first() == Some(&'-') && rest.get(1).is_some_and(|c| *c != ']') {
            *rest = &rest[1..];
            high = char(rest)?;
        }
        if high < low {
            return Err(PatternError::Range(low, high));
        }
        ranges.push((low, high));
    }
    *rest = &rest[1..];
    Ok(Class { negated, ranges })
}

/// Adds a named set, or everything but it.
fn add(ranges: &mut Vec<(char, char)>, negated: bool, named: &[(char, char)]) {
    if !negated {
        ranges.extend(named);
        return;
    }
    let mut low = Some('\0');
    for (first, last) in named {
        let end = char::from_u32(u32::from(*first).wrapping_sub(1));
        ranges.extend(low.zip(end).filter(|(low, end)| low <= end));
        low = char::from_u32(u32::from(*last) + 1);
    }
    ranges.extend(low.map(|low| (low, char::MAX)));
}

type Named = (bool, &'static [(char, char)]);

/// Reads `\d` and its like; `None` where something else stands (parse.go: `parsePerlClassEscape`).
fn perl(rest: &mut &[char]) -> Result<Option<Named>, PatternError> {
    let ['\\', letter, ..] = rest else { return Ok(None) };
    let ranges: &[(char, char)] = match letter.to_ascii_lowercase() {
        'd' => &[('0', '9')],
        's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        'w' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        'p' => return Err(PatternError::UnicodeClass),
        _ => return Ok(None),
    };
    let negated = letter.is_ascii_uppercase();
    *rest = &rest[2..];
    Ok(Some((negated, ranges)))
}

/// Reads `[:alpha:]` and its like; `None` where something else stands (parse.go:
/// `parseNamedClass`).
fn posix(rest: &mut &[char]) -> Result<Option<Named>, PatternError> {
    if !rest.starts_with(&['[', ':']) || rest.len() < 3 {
        return Ok(None);
    }
    let Some(end) = rest[2..].windows(2).position(|pair| pair == [':', ']']) else {
        return Ok(None);
    };
    let name: String = rest[2..end + 2].iter().collect();
    let (negated, word) = match name.strip_prefix('^') {
        Some(word) => (true, word),
        None => (false, &*name),
    };
    let ranges: &[(char, char)] = match word {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return Err(PatternError::NamedClass(name)),
    };
    *rest = &rest[end + 4..];
    Ok(Some((negated, ranges)))
}

/// Reads one character or the escape of one (parse.go: `parseClassChar`, `parseEscape`).
fn char(rest: &mut &[char]) -> Result<char, PatternError> {
    let (first, tail) = rest.split_first().ok_or(PatternError::Syntax)?;
    if *first != '\\' {
        *rest = tail;
        return Ok(*first);
    }
    let (escaped, tail) = tail.split_first().ok_or(PatternError::Syntax)?;
    *rest = tail;
    let wrong = PatternError::Escape(*escaped);
    match escaped {
        '0'..='7' => octal(*escaped, rest).ok_or(wrong),
        'x' => hexadecimal(rest).ok_or(wrong),
        'a' => Ok('\x07'),
        'f' => Ok('\x0c'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\x0b'),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(*c),
        _ => Err(wrong),
    }
}

/// Up to three digits; one alone is a back reference, which Go has not, unless it is zero.
fn octal(first: char, rest: &mut &[char]) -> Option<char> {
    if first != '0' && !rest.first().is_some_and(|c| c.is_digit(8)) {
        return None;
    }
    let mut code = first.to_digit(8)?;
    for _ in 0..2 {
        let Some(digit) = rest.first().and_then(|c| c.to_digit(8)) else { break };
        code = code * 8 + digit;
        *rest = &rest[1..];
    }
    char::from_u32(code)
}

/// Two digits. Braces cannot occur: they are escaped before.
fn hexadecimal(rest: &mut &[char]) -> Option<char> {
    let code = rest.first()?.to_digit(16)? * 16 + rest.get(1)?.to_digit(16)?;
    *rest = &rest[2..];
    char::from_u32(code)
}
