//! The patterns that are more than text: moby/patternmatcher makes a regular expression of them.
//!
//! What such a pattern matches is defined by that expression and by Go's `regexp`: `[^a]` matches a
//! slash, `\d` is a digit, `a^b` never matches, `[*]` is not a class with a star in it. So the same
//! expression is written here and read by the same grammar (Go `regexp/syntax/parse.go`), of which
//! only a sequence of characters, classes, repeated classes, `(.*/)?` and assertions can occur. It
//! is run as a set of states, in time proportional to the product of pattern and path.

use crate::gopath;
use crate::ignorefile::class::{self, Class};
use crate::ignorefile::pattern::PatternError;

/// A compiled expression, anchored at both ends.
#[derive(Clone, Debug)]
pub(crate) struct Expression(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    /// One character.
    One(Class),
    /// Any number of characters.
    Many(Class),
    /// `(.*/)?`, entered: either nothing of it, or on to `DepthInside`.
    Depth,
    /// Within `(.*/)?`: left behind a slash only.
    DepthInside,
    /// A condition between two characters.
    Assert(Assertion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Assertion {
    Start,
    End,
    WordBoundary,
    NoWordBoundary,
}

impl Expression {
    /// Compiles a pattern (patternmatcher.go: `Pattern.compile`).
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, PatternError> {
        parse(&translate(pattern)).map(Self)
    }

    /// Whether it matches the whole of a path.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.run(path, |states| states[self.0.len() / 64] >> (self.0.len() % 64) & 1 == 1)
    }

    /// Whether it could match a path that goes on behind `start`.
    pub(crate) fn may_continue(&self, start: &[u8]) -> bool {
        // An end, reached or not, does not go on: only states before it count.
        let goes_on = |states: &[u64]| {
            let is_live = |at: &usize| states[at / 64] >> (at % 64) & 1 == 1;
            (0..self.0.len()).any(|at| is_live(&at))
        };
        self.run(start, goes_on)
    }

    /// Feeds a text to the set of states and judges the set that is left.
    fn run(&self, text: &[u8], judge: impl Fn(&[u64]) -> bool) -> bool {
        let words = self.0.len() / 64 + 1;
        let mut few = [0; 4];
        let mut many;
        let states: &mut [u64] = if words <= 2 {
            &mut few[..2 * words]
        } else {
            many = vec![0; 2 * words];
            &mut many
        };
        let (now, next) = states.split_at_mut(words);
        now[0] = 1;
        let mut before = None;
        let mut rest = text;
        loop {
            let after = gopath::first_char(rest);
            self.follow(now, before, after.map(|(c, _)| c));
            let Some((c, length)) = after else { return judge(now) };
            next.fill(0);
            self.advance(now, next, c);
            if next.iter().all(|word| *word == 0) {
                return false;
            }
            now.copy_from_slice(next);
            before = Some(c);
            rest = &rest[length..];
        }
    }

    /// Adds the states that are reached without a character. They are all further on.
    fn follow(&self, states: &mut [u64], before: Option<char>, after: Option<char>) {
        for (at, step) in self.0.iter().enumerate() {
            if states[at / 64] >> (at % 64) & 1 == 0 {
                continue;
            }
            let reached: &[usize] = match step {
                Step::One(_) | Step::DepthInside => &[],
                Step::Many(_) => &[at + 1],
                Step::Depth => &[at + 1, at + 2],
                Step::Assert(assertion) if assertion.holds(before, after) => &[at + 1],
                Step::Assert(_) => &[],
            };
            for state in reached {
                states[state / 64] |= 1 << (state % 64);
            }
        }
    }

    /// The states behind one more character.
    fn advance(&self, now: &[u64], next: &mut [u64], c: char) {
        let mut reach = |state: usize| next[state / 64] |= 1 << (state % 64);
        for (at, step) in self.0.iter().enumerate() {
            if now[at / 64] >> (at % 64) & 1 == 0 {
                continue;
            }
            match step {
                Step::One(class) if class.contains(c) => reach(at + 1),
                Step::Many(class) if class.contains(c) => reach(at),
                Step::DepthInside if c == '/' => {
                    reach(at);
                    reach(at + 1);
                }
                Step::DepthInside if c != '\n' => reach(at),
                _ => {}
            }
        }
    }
}

impl Assertion {
    fn holds(self, before: Option<char>, after: Option<char>) -> bool {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        match self {
            Self::Start => before.is_none(),
            Self::End => after.is_none(),
            Self::WordBoundary => is_word(before) != is_word(after),
            Self::NoWordBoundary => is_word(before) == is_word(after),
        }
    }
}

/// Writes the regular expression that `Pattern.compile` makes, without its `^` and `$`.
fn translate(pattern: &[u8]) -> Vec<char> {
    let mut source: Vec<char> = Vec::new();
    let mut rest = pattern;
    while let Some((c, length)) = gopath::first_char(rest) {
        rest = &rest[length..];
        match c {
            '*' if rest.first() == Some(&b'*') => {
                rest = &rest[1..];
                // `**/` is `**`
                rest = rest.strip_prefix(b"/").unwrap_or(rest);
                source.extend(if rest.is_empty() { ".*" } else { "(.*/)?" }.chars());
            }
            '*' => source.extend("[^/]*".chars()),
            '?' => source.extend("[^/]".chars()),
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => source.extend(['\\', c]),
            '\\' => {
                source.push('\\');
                if let Some((escaped, length)) = gopath::first_char(rest) {
                    source.push(escaped);
                    rest = &rest[length..];
                }
            }
            c => source.push(c),
        }
    }
    source
}

/// Reads what `translate` writes, as Go's `syntax.Parse` does with the flags of `regexp.Compile`.
fn parse(source: &[char]) -> Result<Vec<Step>, PatternError> {
    let mut steps = Vec::new();
    let mut rest = source;
    while let [first, tail @ ..] = rest {
        match first {
            '(' => {
                steps.extend([Step::Depth, Step::DepthInside]);
                rest = &rest["(.*/)?".len()..];
                continue;
            }
            '^' => {
                steps.push(Step::Assert(Assertion::Start));
                rest = tail;
                continue;
            }
            '\\' if tail.first() == Some(&'Q') => {
                rest = quoted(&tail[1..], &mut steps);
                continue;
            }
            '\\' => {
                if let Some(assertion) = assertion(tail.first()) {
                    steps.push(Step::Assert(assertion));
                    rest = &tail[1..];
                    continue;
                }
            }
            _ => {}
        }
        let class = class::parse(&mut rest)?;
        if rest.first() == Some(&'*') {
            rest = &rest[1..];
            steps.push(Step::Many(class));
        } else {
            steps.push(Step::One(class));
        }
    }
    Ok(steps)
}

fn assertion(escaped: Option<&char>) -> Option<Assertion> {
    match escaped? {
        'A' => Some(Assertion::Start),
        'z' => Some(Assertion::End),
        'b' => Some(Assertion::WordBoundary),
        'B' => Some(Assertion::NoWordBoundary),
        _ => None,
    }
}

/// Takes text up to `\E` literally.
fn quoted<'a>(rest: &'a [char], steps: &mut Vec<Step>) -> &'a [char] {
    let end = rest.windows(2).position(|pair| pair == ['\\', 'E']);
    let (text, rest) = match end {
        Some(end) => (&rest[..end], &rest[end + 2..]),
        None => (rest, &rest[rest.len()..]),
    };
    steps.extend(text.iter().map(|c| Step::One(Class::one(*c))));
    rest
}
