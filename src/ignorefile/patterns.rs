//! Patterns in order: what they say of a path, and what they say of it in the course of a walk.
//!
//! The two are not the same where a pattern names a directory that an earlier `!` or no pattern had
//! left in, so both are here as moby/patternmatcher has them: [`Patterns::verdict`] is
//! `MatchesOrParentMatches`, [`Patterns::step`] and [`Patterns::descend`] are
//! `MatchesUsingParentResults`. A build sends what the walk says (fsutil `filter.go`).

use crate::diagnostic::Span;
use crate::ignorefile::pattern::{self, Pattern, PatternError};

/// A list of patterns; the last that matches wins.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    rules: Vec<Rule>,
    has_negations: bool,
}

/// One pattern and where it was written.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The line, from 1.
    pub line: u32,
    /// The bytes of the line in its file.
    pub span: Span,
    /// The pattern as the matcher was given it, with its `!`; bytes that are no text are replaced.
    pub text: String,
    /// Whether it begins with `!`: it takes paths in again.
    pub negated: bool,
    pattern: Pattern,
}

/// What patterns say of a path, and the one that decided.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// No pattern matches.
    Unmatched,
    /// A pattern with `!` took it in again.
    Reincluded(&'a Rule),
    /// A pattern matches.
    Matched(&'a Rule),
}

impl<'a> Verdict<'a> {
    /// Whether the path is matched in the end: ignored, if the patterns are those of an ignore file.
    pub fn is_matched(self) -> bool {
        matches!(self, Self::Matched(_))
    }

    /// The pattern that decided.
    pub fn rule(self) -> Option<&'a Rule> {
        match self {
            Self::Unmatched => None,
            Self::Reincluded(rule) | Self::Matched(rule) => Some(rule),
        }
    }
}

/// Which patterns match a directory or one above it: what a walk carries down.
#[derive(Clone, Debug)]
pub struct Trail(Vec<bool>);

impl Patterns {
    /// The patterns of a list, as `patternmatcher.New` reads them; lines are counted from 1.
    pub fn new<T: AsRef<[u8]>>(
        patterns: impl IntoIterator<Item = T>,
    ) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for (line, pattern) in (1..).zip(patterns) {
            list.push(line, Span::default(), pattern.as_ref())?;
        }
        Ok(list)
    }

    /// Adds a pattern; a blank one is none.
    pub fn push(&mut self, line: u32, span: Span, text: &[u8]) -> Result<(), PatternError> {
        let Some((negated, pattern)) = pattern::read(text)? else { return Ok(()) };
        let text = String::from_utf8_lossy(text).trim().to_owned();
        self.has_negations |= negated;
        self.rules.push(Rule { line, span, text, negated, pattern });
        Ok(())
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the patterns say of a path by itself, which is clean, relative and not `.`: each is
    /// tried on the path and on every directory above it (`MatchesOrParentMatches`).
    pub fn verdict(&self, path: &[u8]) -> Verdict<'_> {
        let mut verdict = Verdict::Unmatched;
        for rule in &self.rules {
            if rule.negated == verdict.is_matched() && rule.matches_or_above(path) {
                verdict = rule.verdict();
            }
        }
        verdict
    }

    /// The trail of the root of the context, where a walk begins.
    pub fn root(&self) -> Trail {
        Trail(vec![false; self.rules.len()])
    }

    /// What the patterns say of a path in a walk; `above` is the trail of the directory it is in
    /// (`MatchesUsingParentResults`).
    pub fn step(&self, path: &[u8], above: &Trail) -> Verdict<'_> {
        let mut verdict = Verdict::Unmatched;
        for (rule, hit_above) in self.rules.iter().zip(&above.0) {
            if *hit_above || rule.negated == verdict.is_matched() && rule.pattern.matches(path) {
                verdict = rule.verdict();
            }
        }
        verdict
    }

    /// The same for a directory that the walk may go into, with its trail.
    pub fn descend(&self, path: &[u8], above: &Trail) -> (Verdict<'_>, Trail) {
        let mut verdict = Verdict::Unmatched;
        let mut trail = above.clone();
        for (rule, hit) in self.rules.iter().zip(&mut trail.0) {
            *hit = *hit || rule.negated == verdict.is_matched() && rule.pattern.matches(path);
            if *hit {
                verdict = rule.verdict();
            }
        }
        (verdict, trail)
    }

    /// Whether a walk must look into a directory that is matched: a `!` could match inside.
    pub fn may_reinclude_inside(&self, directory: &[u8]) -> bool {
        let inside = |rule: &Rule| rule.negated && rule.pattern.may_match_inside(directory);
        self.has_negations && self.rules.iter().any(inside)
    }

    /// Whether a walk must look into a directory that is not matched: a pattern could match inside.
    pub fn may_match_inside(&self, directory: &[u8]) -> bool {
        let inside = |rule: &Rule| !rule.negated && rule.pattern.may_match_inside(directory);
        self.rules.iter().any(inside)
    }
}

impl Rule {
    fn verdict(&self) -> Verdict<'_> {
        if self.negated { Verdict::Reincluded(self) } else { Verdict::Matched(self) }
    }

    fn matches_or_above(&self, path: &[u8]) -> bool {
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        self.pattern.matches(path)
            || above.into_iter().any(|(end, _)| self.pattern.matches(&path[..end]))
    }
}
