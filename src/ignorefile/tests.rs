//! What a line of an ignore file does to a path, rule by rule.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> IgnoreFile {
    let (file, problems) = IgnoreFile::parse(".dockerignore", text.as_bytes(), Reader::BuildKit);
    assert_eq!(problems, []);
    file
}

/// What a walk from the root says of a path, and the line that says so.
fn walked(file: &IgnoreFile, path: &str) -> (bool, Option<u32>) {
    let mut trail = file.patterns.root();
    for (end, _) in path.match_indices('/') {
        trail = file.patterns.descend(&path.as_bytes()[..end], &trail).1;
    }
    let verdict = file.patterns.step(path.as_bytes(), &trail);
    (verdict.is_matched(), verdict.rule().map(|rule| rule.line))
}

#[test]
fn the_last_matching_line_wins_and_is_named() {
    let file = read("# docs\n*.md\n!README*.md\nREADME-secret.md\n");
    assert_eq!(walked(&file, "a.md"), (true, Some(2)));
    assert_eq!(walked(&file, "README.md"), (false, Some(3)));
    assert_eq!(walked(&file, "README-secret.md"), (true, Some(4)));
    assert_eq!(walked(&file, "main.rs"), (false, None));
}

#[test]
fn patterns_are_anchored_at_the_root_and_hold_for_what_is_below() {
    // unlike gitignore: `temp` is not `a/temp`
    let file = read("temp\n*/cache\n");
    assert!(walked(&file, "temp/a/b").0);
    assert!(!walked(&file, "a/temp").0);
    assert!(walked(&file, "a/cache/x").0);
    assert!(!walked(&file, "a/b/cache").0);
}

#[test]
fn a_path_below_an_ignored_directory_can_be_taken_in_again() {
    let file = read("dist\n!dist/keep\n");
    assert_eq!(walked(&file, "dist/a"), (true, Some(1)));
    assert_eq!(walked(&file, "dist/keep/a"), (false, Some(2)));
}

#[test]
fn two_stars_are_any_number_of_directories() {
    // patternmatcher.go: `**/x` is `x` too, `x/**` is not `x`
    let file = read("**/x\ny/**\na/**/b\n");
    for (path, ignored) in [
        ("x", true),
        ("a/b/x", true),
        ("y", false),
        ("y/z", true),
        ("a/b", true),
        ("a/c/d/b", true),
        ("ab", false),
    ] {
        assert_eq!(walked(&file, path).0, ignored, "{path}");
    }
}

#[test]
fn a_walk_and_a_single_question_differ_where_a_negation_names_a_directory_that_was_in() {
    // MatchesUsingParentResults does not try `!a` on `a`, which is not left out, and then takes
    // the answer over; MatchesOrParentMatches asks again for every path (docker/buildx#850)
    let file = read("a/b\n!a\n");
    assert_eq!(walked(&file, "a/b"), (true, Some(1)));
    assert!(!file.patterns.verdict(b"a/b").is_matched());
}

#[test]
fn what_goes_to_the_expression_means_what_it_means_to_go() {
    for (pattern, path, matched) in [
        ("[^a]b", "/b", true),       // a negated class takes a slash
        ("x\\d", "x7", true),        // a backslash and a letter is a class of the expression
        ("x\\d", "x\u{665}", false), // of ASCII
        ("[[:upper:]]x", "Ax", true),
        ("[a&&b]", "&", true), // nothing special in Go
        ("a^b*", "a^bc", false),
        ("^a*", "ab", true),
        ("[*]", "*", false), // becomes `[[^/]*]`: any number of `[`, `^` and `/`, and a `]`
        ("[*]", "[^]", true),
        ("[?]x", "^]x", true),
        ("\\Qa.b\\E*", "a\\.bc", true),
        ("a\\x41*", "aAc", true),
        ("\\ba*", "ab", true),
        ("\\Ba*", "ab", false),
        ("a\\z", "a", true),
        ("a\\052*", "a*", true),
        ("a**b", "a/x/b", true),
        ("a**b", "axb", false),
        ("?*\u{e9}", "a\u{e9}", true),
        ("**/c?", "a\nb/cx", false), // `.` is no line feed
        ("*", "a\nb", true),
        ("[\\D]", "x", true),
        ("[\\D]", "5", false),
    ] {
        let patterns = Patterns::new([pattern]).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        assert_eq!(patterns.verdict(path.as_bytes()).is_matched(), matched, "{pattern} {path:?}");
    }
}

#[test]
fn a_line_that_cannot_be_used_is_pointed_at() {
    let text = b"ok\n a[ \n!\n[b-a]\n\\y\n[[:nope:]]\n\\pL\n";
    let (file, problems) = IgnoreFile::parse("x/.dockerignore", text, Reader::BuildKit);
    let spans: Vec<_> = problems.iter().map(|p| p.place.clone().unwrap().span.unwrap()).collect();
    assert_eq!(spans[0].range(), 3..6);
    assert_eq!(problems.len(), 6);
    assert!(problems.iter().all(|problem| problem.code == "IG301" && problem.is_error()));
    assert_eq!(problems[0].message, "pattern `a[`: syntax error in pattern");
    assert_eq!(problems[2].message, "pattern `[b-a]`: the range `b-a` runs backwards");
    assert!(file.patterns.verdict(b"ok").is_matched());
}

#[test]
fn a_line_of_more_than_64_kib_is_refused_as_buildkit_does() {
    let text = format!("{}\nb\n", "a".repeat(64 * 1024));
    let (_, problems) = IgnoreFile::parse("", text.as_bytes(), Reader::BuildKit);
    assert_eq!(problems[0].code, "IG302");
    let (_, problems) = IgnoreFile::parse("", text.as_bytes(), Reader::Buildah);
    assert_eq!(problems, []);
}

#[test]
fn an_ignored_directory_is_looked_into_only_where_a_negation_could_match() {
    // fsutil filter.go, and more exact: it gives up at the first wildcard
    let looks = |text: &str, directory: &str| {
        read(text).patterns.may_reinclude_inside(directory.as_bytes())
    };
    assert!(!looks("node_modules\n", "node_modules"));
    assert!(!looks("*\n!src/*.c\n", "docs"));
    assert!(looks("*\n!src/*.c\n", "src"));
    assert!(!looks("*\n!src/*.c\n", "src/deep"));
    assert!(looks("*\n!src/**/a\n", "src/deep"));
    assert!(looks("*\n!**/a\n", "docs"));
    assert!(looks("*\n!docs/**\n", "docs/b"));
    assert!(!looks("*\n!docs\n", "docs"));
    assert!(looks("*\n!d[^x]a\n", "d"));
}

#[test]
fn a_pattern_of_many_stars_takes_linear_time() {
    let pattern = format!("**/{}b", "*a?".repeat(300));
    let patterns = Patterns::new([&pattern]).unwrap();
    assert!(!patterns.verdict(format!("{}c", "a".repeat(20_000)).as_bytes()).is_matched());
}

#[test]
fn bytes_that_are_no_text_match() {
    let patterns = Patterns::new([&b"\xff*"[..], b"b/?"]).unwrap();
    assert!(patterns.verdict(b"\xffabc").is_matched());
    assert!(patterns.verdict(b"b/\xfe").is_matched());
    assert!(!patterns.verdict(b"b/\xe2\x82").is_matched());
}

#[test]
fn each_engine_looks_in_its_own_places() {
    // dockerui/config.go; buildah pkg/parse/parse.go ContainerIgnoreFile
    let beside = |name: &str| Candidate::BesideDockerfile(name.to_owned());
    assert_eq!(
        candidates("Dockerfile", Reader::BuildKit),
        [beside("Dockerfile.dockerignore"), Candidate::ContextRoot(".dockerignore")]
    );
    assert_eq!(
        candidates("a.Dockerfile", Reader::Buildah),
        [
            beside("a.Dockerfile.dockerignore"),
            beside("a.Dockerfile.containerignore"),
            Candidate::ContextRoot(".containerignore"),
            Candidate::ContextRoot(".dockerignore"),
        ]
    );
}

proptest! {
    /// What is not looked into would not have been taken in again (fsutil filter.go relies on the
    /// same of its own, coarser rule).
    #[test]
    fn pruning_changes_no_verdict(
        patterns in prop::collection::vec("!?(\\*\\*/)?[ab*?]{1,2}(/[ab*?]{1,2}|/\\*\\*|/\\[\\^a\\])?", 1..6),
        path in "[ab]{1,2}(/[ab]{1,2}){1,3}",
    ) {
        let patterns = Patterns::new(&patterns).unwrap();
        let mut trail = patterns.root();
        let mut is_pruned = false;
        for (end, _) in path.match_indices('/') {
            let directory = &path.as_bytes()[..end];
            let (verdict, below) = patterns.descend(directory, &trail);
            is_pruned |= verdict.is_matched() && !patterns.may_reinclude_inside(directory);
            trail = below;
        }
        prop_assert!(!is_pruned || patterns.step(path.as_bytes(), &trail).is_matched());
    }

    /// The same for patterns that say what is wanted: nothing below was wanted.
    #[test]
    fn what_is_not_looked_into_holds_no_match(
        pattern in "(\\*\\*/)?[ab*?]{1,2}(/[ab*?]{1,2}|/\\*\\*|/\\[\\^a\\]){0,2}",
        directory in "[ab]{1,2}(/[ab]{1,2}){0,2}",
        name in "[ab]{1,2}(/[ab]{1,2}){0,1}",
    ) {
        let patterns = Patterns::new([&pattern]).unwrap();
        let path = format!("{directory}/{name}");
        let is_matched = patterns.verdict(path.as_bytes()).is_matched();
        let is_above = patterns.verdict(directory.as_bytes()).is_matched();
        prop_assert!(!is_matched || is_above || patterns.may_match_inside(directory.as_bytes()));
        let wildcard = crate::gopath::Wildcard::new(pattern.as_bytes()).unwrap();
        let (path, directory) = (path.as_bytes(), directory.as_bytes());
        prop_assert!(!wildcard.matches(path) || wildcard.may_match_below(directory));
    }

    /// No pattern and no path makes the matcher fail or differ from itself.
    #[test]
    fn any_pattern_is_refused_or_answers(pattern in "\\PC{0,12}", path in "\\PC{0,12}") {
        if let Ok(patterns) = Patterns::new([&pattern]) {
            let path = path.trim_matches('/').as_bytes();
            let verdict = patterns.step(path, &patterns.root()).is_matched();
            prop_assert!(!verdict || patterns.verdict(path).is_matched());
        }
    }
}
