//! Any ignore file, and any paths: walking with pruning sees what walking everywhere sees.
//!
//! The input is an ignore file, a line `===`, and paths, one a line. `!` instead of `===` has it read
//! as buildah does.
#![no_main]

use std::fmt::Debug;

use imgraph::gopath;
use imgraph::ignorefile::{IgnoreFile, Patterns, Reader, Verdict};
use libfuzzer_sys::fuzz_target;

const MOST_PATHS: usize = 32;
const LONGEST_PATH: usize = 300;

fuzz_target!(|bytes: &[u8]| {
    let (text, reader, paths) = split(bytes);
    let (file, problems) = IgnoreFile::parse(".dockerignore", text, reader);
    for problem in &problems {
        let span = problem.place.as_ref().and_then(|place| place.span).expect("a place");
        assert!(text.get(span.range()).is_some(), "{problem:?}");
        assert!(problem.help.is_some(), "{problem:?}");
    }
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    for path in lines.chain(paths.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)).take(MOST_PATHS)
    {
        let path = gopath::clean(&path);
        let is_relative = !path.starts_with(b"/") && !path.starts_with(b"..") && path != b".";
        if is_relative && path.len() <= LONGEST_PATH {
            check(&file.patterns, &path, text);
        }
    }
    literals_are_classes_of_one(text, paths);
});

fn split(bytes: &[u8]) -> (&[u8], Reader, &[u8]) {
    for (line, reader) in [(b"\n===\n", Reader::BuildKit), (b"\n=!=\n", Reader::Buildah)] {
        if let Some(at) = bytes.windows(line.len()).position(|window| window == line) {
            return (&bytes[..at], reader, &bytes[at + line.len()..]);
        }
    }
    (bytes, Reader::BuildKit, b"")
}

/// Walks down to a path, going into every directory, and compares with what may be left out.
fn check(patterns: &Patterns, path: &[u8], text: &[u8]) {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut above = patterns.root();
    let mut hidden = None;
    let mut plain = None;
    for end in slashes {
        let directory = &path[..end];
        let step = patterns.step(directory, &above);
        let (verdict, trail) = patterns.descend(directory, &above);
        assert_same(step, verdict);
        if verdict.is_matched() && !patterns.may_reinclude_inside(directory) {
            hidden = hidden.or(Some(end));
        }
        if !verdict.is_matched() && !patterns.may_match_inside(directory) {
            plain = plain.or(Some(end));
        }
        above = trail;
    }
    let walked = patterns.step(path, &above);
    assert_same(walked, patterns.descend(path, &above).0);
    let is_shown = |end: usize| String::from_utf8_lossy(&path[..end]).into_owned();
    if let Some(end) = hidden {
        assert!(walked.is_matched(), "pruned at {:?}, but {path:?} is taken in", is_shown(end));
    }
    if let Some(end) = plain {
        assert!(!walked.is_matched(), "taken whole at {:?}, but {path:?} is out", is_shown(end));
    }
    let alone = patterns.verdict(path);
    for rule in [walked.rule(), alone.rule()].into_iter().flatten() {
        assert!(text.get(rule.span.range()).is_some(), "{rule:?}");
    }
    // `MatchesOrParentMatches` and a walk may only differ where something is taken in again.
    if !text.contains(&b'!') {
        assert_eq!(walked.is_matched(), alone.is_matched(), "{path:?}");
    }
}

fn assert_same<'a>(one: Verdict<'a>, other: Verdict<'a>) {
    let line = |verdict: Verdict<'a>| verdict.rule().map(|rule| (rule.line, rule.negated));
    assert_eq!((one.is_matched(), line(one)), (other.is_matched(), line(other)));
}

/// A letter and the class of that letter match the same, although only one of them is compared as
/// plain text.
fn literals_are_classes_of_one(text: &[u8], paths: &[u8]) {
    for line in text.split(|byte| *byte == b'\n').take(MOST_PATHS) {
        // `**a` is an end and `a^` an expression of its own, and `.` does not match a line's end.
        let is_simple = |byte: &u8| byte.is_ascii_lowercase() || matches!(byte, b'*' | b'?' | b'/');
        let body = line.strip_prefix(b"!").unwrap_or(line);
        if body.is_empty() || body.len() > 64 || !body.iter().all(is_simple) {
            continue;
        }
        let body = gopath::clean(body);
        let is_end = body.strip_prefix(b"**").is_some_and(|end| !end.starts_with(b"/"));
        let is_start = body.strip_suffix(b"**").is_some_and(|start| !start.ends_with(b"/"));
        if is_end || is_start || body == b"." {
            continue;
        }
        let classes: Vec<u8> = body
            .iter()
            .flat_map(|byte| match byte {
                b'a'..=b'z' => vec![b'[', *byte, b']'],
                other => vec![*other],
            })
            .collect();
        let (Ok(plain), Ok(classes)) = (Patterns::new([&body]), Patterns::new([&classes])) else {
            continue;
        };
        for path in paths.split(|byte| *byte == b'\n').take(MOST_PATHS) {
            let path = gopath::clean(path);
            if path.len() <= LONGEST_PATH && std::str::from_utf8(&path).is_ok() {
                let verdicts = (plain.verdict(&path), classes.verdict(&path));
                let matched = (verdicts.0.is_matched(), verdicts.1.is_matched());
                assert_eq!(matched.0, matched.1, "{} {:?}", shown(&body), shown(&path));
            }
        }
    }
}

fn shown(bytes: &[u8]) -> impl Debug + std::fmt::Display {
    String::from_utf8_lossy(bytes).into_owned()
}
