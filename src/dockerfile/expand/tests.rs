//! Rules of words (`frontend/dockerfile/shell/lex.go`), and the bounds that are ours.

use std::collections::BTreeMap;

use super::*;

struct Given(BTreeMap<&'static str, String>);

impl Variables for Given {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn given() -> Given {
    let pairs = [("A", "a.b.c"), ("E", ""), ("P", "x/y/x"), ("S", "p  q")];
    Given(pairs.map(|(name, value)| (name, value.to_owned())).into())
}

fn text(word: &str) -> Result<String, ExpandError> {
    expand(word, Shell::new('\\'), &given()).map(|expansion| expansion.text)
}

#[test]
fn variables_have_the_forms_of_a_shell() {
    for (word, expected) in [
        ("$A ${A}", "a.b.c a.b.c"),
        ("$A_ $NO$", " $"),
        ("$1x $@y $$z", "x y z"),
        ("${NO-w}${E-w}", "w"),
        ("${NO:-w}${E:-v}${A:-u}", "wva.b.c"),
        ("${NO+w}${E+v}${A+u}", "vu"),
        ("${NO:+w}${E:+v}${A:+u}", "u"),
        ("${A?m}${A:?m}${E?m}", "a.b.ca.b.c"),
        ("${A#*.} ${A##*.} ${A%.*} ${A%%.*}", "b.c c a.b a"),
        ("${P/x/z} ${P//x/z} ${P/\\//-}", "z/y/x z/y/z x-y/x"),
        ("${NO:-${NO:-$A}}", "a.b.c"),
        ("${NO:-'}'}", "}"),
        ("${A%\\*}", "a.b.c"),
    ] {
        assert_eq!(text(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn quotes_and_escapes_are_taken_away() {
    for (word, expected) in [
        ("'$A \\n'", "$A \\n"),
        ("\"$A \\$A \\n \\\"\"", "a.b.c $A \\n \""),
        ("\\$A\\x", "$Ax"),
        ("a\\", "a"),
        ("<<  x", "<<  x"),
    ] {
        assert_eq!(text(word).as_deref(), Ok(expected), "{word}");
    }
    let backtick = expand("`$A\\x\"`\"\"", Shell::new('`'), &given()).unwrap();
    assert_eq!(backtick.text, "$A\\x\"");
    let keep = Shell { quotes: Quotes::Keep, unset: Unset::Keep, ..Shell::new('\\') };
    assert_eq!(
        expand("'a' \"$NO\" ${NO:-x}", keep, &given()).unwrap().text,
        "'a' \"$NO\" ${NO:-x}"
    );
}

#[test]
fn what_means_nothing_is_an_error() {
    for word in [
        "${", "${}", "${:x}", "${A", "${A:#b}", "${A^}", "${A/b}", "${NO?}", "${E:?m}", "'", "\"",
        "${A#\\x}",
    ] {
        assert!(text(word).is_err(), "{word}");
    }
    assert_eq!(text("${NO:?need it}").unwrap_err().to_string(), "NO: need it");
}

#[test]
fn words_end_at_white_space_that_is_not_quoted() {
    let words = |word| expand(word, Shell::new('\\'), &given()).unwrap().words;
    assert_eq!(words(" a  'b c' $S \\ d"), ["a", "b c", "p", "q", " d"]);
    assert_eq!(words("a${NO:-b}c"), ["bc"], "BuildKit loses what stands before");
}

#[test]
fn names_are_told_by_whether_they_are_set() {
    let expansion = expand("$A${NO:-$E}${NO}", Shell::new('\\'), &given()).unwrap();
    assert_eq!(expansion.matched, ["A", "E"].map(String::from).into());
    assert_eq!(expansion.unmatched, ["NO"].map(String::from).into());
}

#[test]
fn a_word_can_exhaust_neither_stack_nor_memory() {
    let nested = |depth: usize| "\"${N:-".repeat(depth) + &"}\"".repeat(depth);
    assert_eq!(text(&nested(MAX_DEPTH - 1)).as_deref(), Ok(""));
    assert_eq!(text(&nested(MAX_DEPTH + 1)), Err(ExpandError::TooDeep));
    assert_eq!(text(&nested(1_000_000)), Err(ExpandError::TooDeep));
    let large = Given([("L", "x".repeat(1 << 16))].into());
    let expanded = expand(&"$L".repeat(64), Shell::new('\\'), &large);
    assert_eq!(expanded, Err(ExpandError::TooLong));
}

/// lex.go has no bound. Each of these made gigabytes of a few lines, or more than was promised.
#[test]
fn no_use_of_a_value_goes_beyond_the_bound() {
    let given = Given(
        [
            ("HALF", "x".repeat(MAX_GROWTH / 2)),
            ("MOST", "x".repeat(MAX_GROWTH)),
            ("MATCH", "$0".repeat(1_000)),
        ]
        .into(),
    );
    let length =
        |word: &str| expand(word, Shell::new('\\'), &given).map(|expansion| expansion.text.len());
    assert_eq!(length("$HALF$HALF"), Ok(MAX_GROWTH));
    assert_eq!(length("$MOST$HALF"), Err(ExpandError::TooLong), "the last piece counts too");
    assert_eq!(length("\"$MOST$HALF\""), Err(ExpandError::TooLong));
    assert_eq!(length("${NO:-$MOST$HALF}"), Err(ExpandError::TooLong));
    assert_eq!(length("${HALF//x/yy}"), Ok(MAX_GROWTH));
    assert_eq!(length("${HALF//x/yyyy}"), Err(ExpandError::TooLong), "of each match");
    assert_eq!(length("${HALF//*/$MATCH}"), Err(ExpandError::TooLong), "the match, repeated");
}
