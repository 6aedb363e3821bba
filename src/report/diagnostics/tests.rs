use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::Span;

const DOCKERFILE: &str = "FROM debian:12\n\nFORM jre\nCOPY a b\n";

fn sources(files: &[(&str, &str)]) -> Sources {
    let mut sources = Sources::default();
    for (path, text) in files {
        sources.insert(Arc::from(*path), Arc::from(*text));
    }
    sources
}

fn place(path: &str, span: Range<usize>) -> Place {
    Place { path: Arc::from(path), span: Some(span.into()) }
}

fn unknown_instruction() -> Diagnostic {
    Diagnostic::error("IG105", "unknown instruction `FORM`")
        .at_place(place("images/x/Dockerfile", 16..20))
        .help("did you mean `FROM`?")
}

fn drawn(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    draw(diagnostics, sources, Look::default())
}

#[test]
fn a_diagnostic_underlines_what_it_is_about_and_says_what_to_do() {
    let sources = sources(&[("images/x/Dockerfile", DOCKERFILE)]);
    assert_eq!(
        drawn(&[unknown_instruction()], &sources),
        "\
error[IG105]: unknown instruction `FORM`
 --> images/x/Dockerfile:3:1
  |
3 | FORM jre
  | ^^^^
  |
  = help: did you mean `FROM`?

1 error
"
    );
}

#[test]
fn diagnostics_are_sorted_by_place_and_counted() {
    let sources = sources(&[("b", "one two\n"), ("a", "one\n")]);
    let diagnostics = [
        Diagnostic::warning("IG201", "third").at_place(place("b", 4..7)),
        Diagnostic::error("IG202", "second").at_place(place("b", 0..3)),
        Diagnostic::error("IG203", "first")
            .at_place(Place { path: Arc::from("a"), span: None })
            .help("mend it"),
        Diagnostic::error("IG204", "of no file"),
    ];
    assert_eq!(
        drawn(&diagnostics, &sources),
        "\
error[IG204]: of no file

error[IG203]: first
 --> a
  = help: mend it

error[IG202]: second
 --> b:1:1
  |
1 | one two
  | ^^^

warning[IG201]: third
 --> b:1:5
  |
1 | one two
  |     ^^^

3 errors, 1 warning
"
    );
    assert_eq!(drawn(&[], &sources), "");
}

#[test]
fn places_that_belong_to_it_are_drawn_with_their_words() {
    let sources = sources(&[("a/Dockerfile", "FROM b\n"), ("b/Dockerfile", "FROM a\n")]);
    let diagnostic = Diagnostic::error("IG301", "images a and b need each other")
        .at_place(place("a/Dockerfile", 5..6))
        .and(place("b/Dockerfile", 5..6), "b needs a")
        .and(Place { path: Arc::from("layers.toml"), span: None }, "the order is here");
    assert_eq!(
        drawn(&[diagnostic], &sources),
        "\
error[IG301]: images a and b need each other
 --> a/Dockerfile:1:6
  |
1 | FROM b
  |      ^
  |
 ::: b/Dockerfile:1:6
  |
1 | FROM a
  |      - b needs a
 ::: layers.toml: the order is here

1 error
"
    );
}

#[test]
fn carriage_returns_tabs_and_wide_characters_keep_the_underline_in_place() {
    let sources = sources(&[("x", "RUN\ta\r\nRUN 漢字 FORM\r\n")]);
    let at = |span| Diagnostic::error("IG1", "here").at_place(place("x", span));
    assert_eq!(
        drawn(&[at(4..5), at(18..22)], &sources),
        "\
error[IG1]: here
 --> x:1:5
  |
1 | RUN    a
  |        ^

error[IG1]: here
 --> x:2:8
  |
2 | RUN 漢字 FORM
  |          ^^^^

2 errors
"
    );
}

#[test]
fn empty_places_and_the_end_of_a_file_are_shown() {
    let sources = sources(&[("x", "FROM a\n"), ("empty", "")]);
    let at = |path, span| Diagnostic::error("IG1", "here").at_place(place(path, span));
    assert_eq!(
        drawn(&[at("x", 7..7), at("x", 6..7), at("empty", 0..0), at("gone", 3..4)], &sources),
        "\
error[IG1]: here
 --> empty:1:1
  |
1 |
  | ^

error[IG1]: here
 --> gone

error[IG1]: here
 --> x:1:7
  |
1 | FROM a
  |       ^

error[IG1]: here
 --> x:2:1
  |
2 |
  | ^

4 errors
"
    );
}

#[test]
fn of_a_span_over_many_lines_the_first_are_drawn() {
    let text = format!("RUN <<EOF\n{}EOF\n", "make\n".repeat(1_000));
    let sources = sources(&[("x", &text)]);
    let diagnostic = Diagnostic::warning("IG1", "here").at_place(place("x", 0..text.len()));
    assert_eq!(
        drawn(&[diagnostic], &sources),
        "\
warning[IG1]: here
 --> x:1:1
  |
1 | / RUN <<EOF
2 | | make
3 | | make
4 | | make
5 | | make
6 | | make
  | |____^

1 warning
"
    );
}

#[test]
fn a_long_line_is_cut_around_what_it_is_about() {
    let line = format!("RUN {} FORM {}\n", "a ".repeat(2_000_000), "b ".repeat(2_000_000));
    let start = line.find("FORM").unwrap();
    let sources = sources(&[("x", &line)]);
    let diagnostic = Diagnostic::error("IG1", "here").at_place(place("x", start..start + 4));
    let text = draw(&[diagnostic], &sources, Look { width: 80, ..Look::default() });
    assert!(text.lines().all(|line| crate::report::text::width(line) <= 90), "{text}");
    assert!(text.contains("a  FORM b"), "{text}");
    assert!(text.contains("^^^^"), "{text}");
}

#[test]
fn escape_sequences_in_sources_paths_and_messages_are_made_visible() {
    let sources = sources(&[("x\x1b[2J", "RUN \x1b[2J\n")]);
    let diagnostic = Diagnostic::error("IG1", "what \x1b[2J")
        .at_place(place("x\x1b[2J", 0..3))
        .help("no \x1b[2J")
        .and(place("x\x1b[2J", 4..5), "not \x1b[2J");
    assert!(!drawn(&[diagnostic], &sources).contains('\x1b'));
}

#[test]
fn programs_get_lines_and_columns_in_characters() {
    let sources = sources(&[("x", "漢字 FORM\nb\n")]);
    let diagnostic = Diagnostic::error("IG105", "unknown")
        .at_place(place("x", 7..13))
        .help("mend it")
        .and(Place { path: Arc::from("y"), span: None }, "see there");
    assert_eq!(
        json(&[diagnostic, Diagnostic::note("IG900", "nowhere")], &sources),
        concat!(
            r#"[{"severity":"note","code":"IG900","message":"nowhere","path":null,"line":null,"#,
            r#""column":null,"end_line":null,"end_column":null,"help":null,"related":[]},"#,
            r#"{"severity":"error","code":"IG105","message":"unknown","path":"x","line":1,"#,
            r#""column":4,"end_line":2,"end_column":2,"help":"mend it","related":"#,
            r#"[{"message":"see there","path":"y","line":null,"column":null,"end_line":null,"#,
            r#""end_column":null}]}]"#,
            "\n"
        )
    );
}

#[test]
fn the_page_on_events_shows_a_diagnostic_as_it_is_written() {
    let sources = sources(&[("images/x/Dockerfile", DOCKERFILE)]);
    let page = include_str!("../../../docs/events.md");
    assert!(page.contains(&json(&[unknown_instruction()], &sources)));
}

proptest! {
    /// Whatever a parser points at: spans out of the text, backwards, within characters.
    #[test]
    fn no_span_panics(
        text in "[a\u{e9}漢\t\r\n\u{301}\u{0}\u{1f469}]{0,40}",
        spans in prop::collection::vec((0_u32..60, 0_u32..60), 1..4),
        width in 0_usize..100,
    ) {
        let sources = sources(&[("x", &text)]);
        let places = spans.iter().map(|(start, end)| Place {
            path: Arc::from("x"),
            span: Some(Span { start: *start, end: *end }),
        });
        let mut diagnostic = Diagnostic::error("IG1", "here");
        for place in places {
            diagnostic = diagnostic.at_place(place.clone()).and(place, "there");
        }
        let look = Look { width, ..Look::default() };
        prop_assert!(draw(std::slice::from_ref(&diagnostic), &sources, look).contains("--> x"));
        prop_assert!(json(&[diagnostic], &sources).contains("\"line\":"));
    }
}
