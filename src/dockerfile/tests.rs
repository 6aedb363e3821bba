//! Rules of lines, words and single instructions, each with its source in BuildKit.

use super::*;

/// The code and the underlined text of everything that is wrong.
fn wrong(text: &str) -> Vec<(&'static str, String)> {
    let (_, found) = parse(text.as_bytes());
    let underlined = |problem: &Diagnostic| {
        let span = problem.place.as_ref().and_then(|place| place.span).unwrap();
        assert!(problem.help.is_some(), "{problem:?}");
        assert!(!problem.message.ends_with('.'), "{problem:?}");
        (problem.code, text[span.range()].to_owned())
    };
    found.iter().map(underlined).collect()
}

/// Each instruction in canonical form.
fn shown(text: &str) -> Vec<String> {
    let (dockerfile, found) = parse(text.as_bytes());
    assert!(!found.iter().any(Diagnostic::is_error), "{found:?}");
    dockerfile.instructions.iter().map(canonical::text).collect()
}

fn one(code: &'static str, underlined: &str) -> Vec<(&'static str, String)> {
    vec![(code, underlined.to_owned())]
}

/// `parser.go`: the regular expression of continuations.
#[test]
fn a_line_goes_on_behind_one_escape_character_and_blanks() {
    assert_eq!(shown("FROM a\nRUN x \\ \t\n  y"), ["FROM a", "RUN x   y"]);
    assert_eq!(shown("FROM a\nRUN x\\\ny\\\n"), ["FROM a", "RUN xy"]);
    assert_eq!(shown("FROM a\nENV C a\\\\\nRUN y"), ["FROM a", "ENV C a\\\\", "RUN y"]);
    assert_eq!(shown("FROM a\nRUN x\\\\\\\nRUN y").len(), 3, "three are not one");
    assert_eq!(shown("FROM \\\n\\\n a"), ["FROM a"], "a lone one goes on too");
    assert_eq!(shown("# escape=`\nFROM a\nRUN x `\n y\\\n"), ["FROM a", "RUN x  y\\"]);
}

/// `parser.go` `Parse`: comments and empty lines within an instruction are dropped.
#[test]
fn comments_within_an_instruction_are_dropped() {
    let text = "FROM a\nRUN x \\\n  # c \\\n\n\t# d\n  y # e\n";
    assert_eq!(shown(text), ["FROM a", "RUN x   y # e"]);
    assert_eq!(wrong(text), one(problem::EMPTY_LINE, "\n"));
    let (_, found) = parse(text.as_bytes());
    assert!(!found[0].is_error(), "BuildKit only warns");
}

/// `parser.go`: `bufio.MaxScanTokenSize`.
#[test]
fn a_line_has_at_most_65535_bytes() {
    let line = |length: usize| format!("FROM a\nRUN {}\nUSER u\n", "x".repeat(length - 4));
    assert!(wrong(&line(65_535)).is_empty());
    let found = wrong(&line(65_536));
    assert_eq!((found.len(), found[0].0, found[0].1.len()), (1, problem::LONG_LINE, 65_537));
}

/// `directives.go`: known directives, at the top only, each once.
#[test]
fn directives_stand_above_everything_else() {
    let escape = |text: &str| parse(text.as_bytes()).0.directives.escape();
    assert_eq!(escape("# escape=`\nFROM a"), '`');
    assert_eq!(escape("\u{feff}#ESCAPE = ` \nFROM a"), '`');
    assert_eq!(escape("# syntax=x\n# escape=`\nFROM a"), '`');
    for ended in ["# hi", "", "# foo=bar", "FROM b"] {
        assert_eq!(escape(&format!("{ended}\n# escape=`\nFROM a")), '\\', "{ended:?} ends them");
    }
    assert_eq!(wrong("# escape=x\nFROM a"), one(problem::DIRECTIVE, "x"));
    assert_eq!(wrong("# escape=`é\u{2003}\nFROM a"), one(problem::DIRECTIVE, "`é\u{2003}"));
    assert_eq!(wrong("# escape=  \nFROM a"), one(problem::DIRECTIVE, " "), "a blank is a value");
    assert_eq!(wrong("# escape=\nFROM a"), [], "nothing is none: a mere comment");
    let twice = "# syntax=a\n# syntax=b\nFROM a";
    assert_eq!(wrong(twice), one(problem::DIRECTIVE, "# syntax=b"));
}

/// `directives.go` `DetectSyntax`.
#[test]
fn the_frontend_is_named_in_three_ways() {
    let syntax = |text: &str| parse(text.as_bytes()).0.syntax;
    let image = Some("docker/dockerfile:1".to_owned());
    assert_eq!(syntax("# syntax=docker/dockerfile:1 x\nFROM a"), image);
    assert_eq!(syntax("#!/usr/bin/env x\n#syntax=docker/dockerfile:1\nFROM a"), image);
    assert_eq!(syntax("// syntax=docker/dockerfile:1\nFROM a"), image);
    assert_eq!(syntax("{\"syntax\": \"docker/dockerfile:1\"}"), image);
    assert_eq!(syntax("\n# syntax=docker/dockerfile:1\nFROM a"), None);
    assert_eq!(syntax("FROM a"), None);
}

/// `parser.go`: heredocs of RUN, COPY and ADD, by any word of the line.
#[test]
fn heredoc_bodies_are_no_instructions() {
    let text = "FROM a\nRUN cat <<A <<-\"B\" > /x\nFROM no\nA\n\tCOPY no no\n\tB\nUSER u\n";
    let (dockerfile, found) = parse(text.as_bytes());
    assert_eq!(found, []);
    assert_eq!(dockerfile.instructions.len(), 3);
    let run = &dockerfile.instructions[1];
    let heredocs: Vec<_> = run.heredocs.iter().map(|h| (h.content.as_str(), h.expands)).collect();
    assert_eq!(heredocs, [("FROM no\n", true), ("\tCOPY no no\n", false)]);
    assert_eq!((run.first_line, run.last_line), (2, 6));
    assert_eq!(shown("FROM a\nRUN <<EOF\r\nx\r\nEOF\r\n")[1], "RUN <<EOF\nx\r\nEOF");
    assert_eq!(shown("FROM a\nCMD x <<EOF\nUSER u"), ["FROM a", "CMD x <<EOF", "USER u"]);
    assert_eq!(shown("FROM a\nRUN [\"<<EOF\"]\nUSER u").len(), 3, "not in JSON");
    assert_eq!(shown("FROM a\nONBUILD RUN <<EOF\nx\nEOF\nUSER u").len(), 3);
}

/// `parser.go`: "unterminated heredoc"; `instructions/parse.go`: not as a destination.
#[test]
fn heredocs_have_an_end_and_a_place() {
    assert_eq!(wrong("FROM a\nRUN <<EOF\nx\n"), one(problem::HEREDOC, "RUN <<EOF"));
    let split = "FROM a\nRUN echo \"<<EOF\nUSER u\n";
    assert_eq!(wrong(split), [], "a line that cannot be split has none");
    assert_eq!(wrong("FROM a\nCOPY x <<EOF\nEOF\n"), one(problem::HEREDOC_PLACE, "<<EOF"));
}

/// `instructions/parse.go`: all instructions are checked, and all mistakes reported.
#[test]
fn every_mistake_of_a_file_is_reported() {
    let text = "FROM a b\nFORM x\nCOPY --form=x a b\nENV\nSHELL x\nFROM c AS 1x\nADD a\n";
    let expected = [
        (problem::ARGUMENTS, "FROM a b"),
        (problem::UNKNOWN_INSTRUCTION, "FORM"),
        (problem::FLAG, "--form=x"),
        (problem::ARGUMENTS, "ENV"),
        (problem::FORM, "x"),
        (problem::STAGE_NAME, "1x"),
        (problem::ARGUMENTS, "ADD a"),
    ];
    assert_eq!(wrong(text), expected.map(|(code, text)| (code, text.to_owned())));
    let (_, found) = parse(text.as_bytes());
    assert_eq!(found[1].help.as_deref(), Some("write FROM"));
    assert_eq!(found[2].help.as_deref(), Some("write --from"));
}

/// `instructions/bflag.go`.
#[test]
fn flags_are_a_closed_set_and_come_once() {
    let copy = |flags: &str| wrong(&format!("FROM a\nCOPY {flags} x /y\n"));
    assert_eq!(copy("--from=b --link --parents=false --exclude=a --exclude=b"), []);
    assert_eq!(copy("--from=b --from=c"), one(problem::FLAG, "--from=c"));
    assert_eq!(copy("--from"), one(problem::FLAG, "--from"));
    assert_eq!(copy("--link=yes"), one(problem::FLAG, "--link=yes"));
    assert_eq!(copy("--link="), one(problem::FLAG, "--link="));
    assert_eq!(copy("--unpack"), one(problem::FLAG, "--unpack"));
    assert_eq!(copy("-- --from=b"), [], "flags end at --");
    assert_eq!(wrong("FROM a\nADD --unpack --keep-git-dir=TRUE x /y"), []);
    assert_eq!(wrong("FROM a\nARG --x=1 y"), [], "ARG does not look");
    assert_eq!(wrong("FROM a\nCOPY --chown=ü x /y"), one(problem::FLAG_ASCII, "--chown=ü"));
}

/// `instructions/parse.go`: what each instruction wants.
#[test]
fn instructions_have_their_forms() {
    for good in [
        "RUN",
        "RUN []",
        "CMD [\"a\"]",
        "EXPOSE 80",
        "VOLUME [\"/a\", \"/b\"]",
        "MAINTAINER a b",
        "HEALTHCHECK NONE",
        "HEALTHCHECK --interval=1m30s --retries=3 CMD x",
        "STOPSIGNAL 9",
        "SHELL [\"a\"]",
        "LABEL a=b \"c d\"=e",
        "ENV a b c",
        "ARG a b=c",
        "ONBUILD NOSUCH x",
        "RUN --network=none --security=insecure x",
        "RUN --device=v/c=n,required x",
        "RUN --mount=type=cache,target=/c --mount=type=secret,id=x x",
    ] {
        assert_eq!(wrong(&format!("FROM a\n{good}\n")), [], "{good}");
    }
    for (bad, code, underlined) in [
        ("USER", problem::ARGUMENTS, "USER"),
        ("WORKDIR", problem::ARGUMENTS, "WORKDIR"),
        ("EXPOSE", problem::ARGUMENTS, "EXPOSE"),
        ("VOLUME [\"\"]", problem::FORM, "\"\""),
        ("CMD [1]", problem::JSON, "[1]"),
        ("SHELL sh -c", problem::FORM, "sh -c"),
        ("ENV a", problem::PAIR, "a"),
        ("ENV a=b c", problem::PAIR, "c"),
        ("ENV =b", problem::PAIR, "=b"),
        ("ARG =b", problem::PAIR, "=b"),
        ("ONBUILD FROM b", problem::TRIGGER, "FROM"),
        ("ONBUILD ONBUILD RUN x", problem::TRIGGER, "ONBUILD"),
        ("HEALTHCHECK FOO x", problem::FORM, "FOO"),
        ("HEALTHCHECK NONE x", problem::ARGUMENTS, "NONE"),
        ("HEALTHCHECK CMD", problem::ARGUMENTS, "HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=3 CMD x", problem::FLAG, "--interval=3"),
        ("HEALTHCHECK --timeout=1us CMD x", problem::FLAG, "--timeout=1us"),
        ("HEALTHCHECK --retries=-1 CMD x", problem::FLAG, "--retries=-1"),
        ("RUN --network=x y", problem::FLAG, "--network=x"),
        ("RUN --mount=from=$X,target=/x y", problem::MOUNT, "--mount=from=$X,target=/x"),
    ] {
        assert_eq!(wrong(&format!("FROM a\n{bad}\n")), one(code, underlined), "{bad}");
    }
}

/// `instructions/parse.go` `Parse`: "no build stage in current context".
#[test]
fn only_arg_stands_before_from() {
    assert_eq!(wrong("ARG A\nRUN x\nFROM a"), one(problem::BEFORE_FROM, "RUN x"));
    assert_eq!(wrong(""), one(problem::EMPTY, ""));
    assert_eq!(wrong("# only\n\n"), one(problem::EMPTY, ""));
    assert_eq!(wrong("ARG A\n"), one(problem::EMPTY, ""));
}

/// `commands_runmount.go`: `from` is not expanded; a dollar sign at the end is none.
#[test]
fn a_mount_names_its_stage_in_plain() {
    assert_eq!(wrong("FROM a\nRUN --mount=from=b$,target=/x y"), []);
    assert_eq!(wrong("FROM a\nRUN --mount=type=$T,target=$D y"), []);
    let odd = "--mount=\"\"";
    assert_eq!(wrong(&format!("FROM a\nRUN {odd} y")), one(problem::MOUNT, odd));
}

/// A span goes from the first to the last byte, over continuations and in characters of any length.
#[test]
fn spans_underline_the_text_as_it_is_written() {
    let text = "FROM a\nCOPY --fo\\\n# c\no=é x \\\n /y\n";
    assert_eq!(wrong(text), one(problem::FLAG, "--fo\\\n# c\no=é"));
    assert_eq!(wrong("\u{feff}FORM é\n"), one(problem::UNKNOWN_INSTRUCTION, "FORM"));
}

#[test]
fn files_that_are_no_text_are_told_apart() {
    let codes = |bytes: &[u8]| -> Vec<(&str, bool)> {
        let (_, found) = parse(bytes);
        found.iter().map(|problem| (problem.code, problem.is_error())).collect()
    };
    assert_eq!(codes(b"\x7fELF\x02\x01\x01\0\0\0"), [(problem::NOT_TEXT, true)]);
    assert_eq!(codes(b"\xff\xfeF\0R\0O\0M\0"), [(problem::NOT_TEXT, true)]);
    assert_eq!(codes(b"# caf\xe9\nFROM a\n"), [], "a comment may hold anything");
    assert_eq!(codes(b"FROM a\nMAINTAINER Jos\xe9\n"), [(problem::NOT_UTF8, false)]);
    let late = ["FROM a\n".repeat(2000).as_bytes(), b"RUN a\0b\n"].concat();
    assert_eq!(codes(&late), [(problem::NOT_UTF8, true)]);
}

/// The key of an image must not hide a change of bytes that are no text.
#[test]
fn bytes_that_are_no_text_stay_apart() {
    let text = |bytes: &[u8]| canonical::text(&parse(bytes).0.instructions[1]);
    assert_ne!(text(b"FROM a\nRUN \xe9\n"), text(b"FROM a\nRUN \xe8\n"));
    assert_ne!(text(b"FROM a\nRUN \xe9\n"), text("FROM a\nRUN \u{fffd}\n".as_bytes()));
    assert_ne!(text(b"FROM a\nRUN <<E\n\xe9\nE\n"), text(b"FROM a\nRUN <<E\n\xe8\nE\n"));
}

#[test]
fn the_canonical_text_forgets_only_what_does_nothing() {
    let text = |line: &str| shown(&format!("FROM a\n{line}\n"))[1].clone();
    assert_eq!(text("copy \\\n# c\n --chown=\"u\"   a\t /b"), "COPY --chown=u a /b");
    assert_eq!(text("Run  a  b "), "RUN a  b", "RUN is kept byte for byte");
    assert_eq!(text("CMD [ \"a\" ,\"b\"]"), "CMD [\"a\",\"b\"]");
    assert_eq!(text("onbuild  run x"), "ONBUILD RUN x");
    assert_eq!(text("COPY <<EOF /x\n a\nEOF"), "COPY <<EOF /x\n a\nEOF");
    for (one, other) in [
        ("COPY -- --from=x /d", "COPY --from=x /d /d"),
        ("ENV a b=c", "ENV a=b=c"),
        ("COPY [\"a b\", \"/d\"]", "COPY a b /d"),
        ("COPY --exclude=\"a b\" c /d", "COPY --exclude=a b c /d"),
        ("RUN [\"a\"]", "RUN [\"a\"] b"),
    ] {
        assert_ne!(text(one), text(other));
    }
}
