//! What holds for every file, be it hostile: no panic, spans within the text, work in proportion.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Pieces that Dockerfiles are made of, and that parsers stumble over.
const PIECES: [&str; 52] = [
    "FROM a",
    "FROM a AS b",
    "FROM b",
    "from $A",
    "ARG A=1",
    "ARG A",
    "ENV A=$A$A",
    "ENV B \"x y\"",
    "RUN x",
    "RUN <<E",
    "COPY <<-'E' /x",
    "E",
    "COPY --from=b x /y",
    "COPY --from=0 x /y",
    "COPY --parents a/./b /",
    "ADD https://h/x /",
    "ADD git@h:r#v /",
    "RUN --mount=from=b,target=/x y",
    "RUN --mount=target=$A y",
    "ONBUILD COPY x /y",
    "ONBUILD RUN <<E",
    "HEALTHCHECK CMD x",
    "EXPOSE 80",
    "VOLUME [\"/a\"]",
    "CMD [\"a\", ",
    "# escape=`",
    "# syntax=x",
    "#",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\\\n",
    "`\n",
    " ",
    "\t",
    "\\",
    "`",
    "$",
    "${",
    "}",
    "${A:-",
    "'",
    "\"",
    "=",
    ",",
    "[",
    "]",
    "--",
    "é\u{a0}\u{2003}",
    "\u{feff}",
    "\0",
];

fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        4 => Just("\n".to_owned()),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Lines of a file that is good, whatever their order behind FROM.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let line = prop::sample::select(
        &[
            "ARG A=1",
            "ENV B=$A",
            "COPY $A b /c/",
            "RUN x  && y",
            "WORKDIR /w",
            "FROM b AS c",
            "LABEL l='m n'",
            "RUN <<E\n# kept\n\nE",
            "CMD [\"a\"]",
            "USER u",
        ][..],
    );
    prop::collection::vec(line.prop_map(str::to_owned), 0..12)
}

fn read(dockerfile: &Dockerfile) -> (Reads, Vec<Diagnostic>) {
    let platform = "linux/amd64".parse().unwrap();
    let request = Request {
        target: None,
        args: &BTreeMap::from([("A".to_owned(), "a".to_owned())]),
        platform: &platform,
        build_platform: &platform,
        flavour: Flavour::BuildKit,
        onbuild: &|_| vec!["COPY o /o".to_owned()],
    };
    resolve(dockerfile, &request)
}

fn spans_are_within(text: &[u8], found: &[Diagnostic]) {
    for problem in found {
        let span = problem.place.as_ref().and_then(|place| place.span).unwrap();
        assert!(text.get(span.range()).is_some(), "{problem:?}");
        assert!(problem.help.is_some(), "{problem:?}");
        if let Ok(text) = std::str::from_utf8(text) {
            assert!(text.get(span.range()).is_some(), "within a character: {problem:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_the_reader_panic(text in soup()) {
        let (dockerfile, found) = parse(text.as_bytes());
        spans_are_within(text.as_bytes(), &found);
        let (reads, found) = read(&dockerfile);
        spans_are_within(text.as_bytes(), &found);
        for image in &reads.images {
            prop_assert!(text.get(image.span.range()).is_some());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = [b"FROM a\nRUN ", bytes.as_slice()].concat();
        let (dockerfile, found) = parse(&text);
        spans_are_within(&text, &found);
        spans_are_within(&text, &read(&dockerfile).1);
        spans_are_within(&bytes, &parse(&bytes).1);
    }

    #[test]
    fn comments_blanks_and_case_change_no_step(lines in lines(), noise in any::<u8>()) {
        let plain = format!("FROM a AS b\n{}\n", lines.join("\n"));
        let mut noisy = "# c\n\nfrom  \\\n # d\n a  As  B \n".to_owned();
        for (index, line) in lines.iter().enumerate() {
            let (keyword, rest) = line.split_once(' ').unwrap();
            let keyword = if noise & (1 << (index % 8)) > 0 { keyword.to_lowercase() } else { keyword.into() };
            let line = format!("\n  # comment {index}\n\t{keyword} \\\n# within\n{rest}\n");
            noisy.push_str(&line);
        }
        let texts = |text: &str| {
            let (dockerfile, found) = parse(text.as_bytes());
            assert_eq!(found, [], "{text}");
            let (reads, _) = read(&dockerfile);
            reads.steps.into_iter().map(|step| step.text).collect::<Vec<_>>()
        };
        prop_assert_eq!(texts(&plain), texts(&noisy));
    }

    #[test]
    fn words_that_are_plain_expand_to_themselves(word in "[a-z0-9/._-]{0,40}") {
        let shell = expand::Shell::new('\\');
        prop_assert_eq!(expand::expand(&word, shell, &expand::Nothing).unwrap().text, word);
    }
}

/// Each of these would take minutes, or the stack, if the work were not in proportion to the file.
#[test]
fn large_files_take_time_in_proportion() {
    let (_, found) = parse(&[b"FROM a\nRUN ", "x".repeat(10 << 20).as_bytes()].concat());
    assert_eq!((found.len(), found[0].code), (1, problem::LONG_LINE));

    let many = "FROM a\n".to_owned() + &"COPY a b\n".repeat(100_000);
    let (dockerfile, found) = parse(many.as_bytes());
    assert_eq!((dockerfile.instructions.len(), found.len()), (100_001, 0));
    assert_eq!(read(&dockerfile).0.context.len(), 100_001, "and the trigger");

    let heredocs = "FROM a\n".to_owned() + &"RUN <<E\nx\nE\n".repeat(10_000);
    let (dockerfile, found) = parse(heredocs.as_bytes());
    assert_eq!((dockerfile.instructions.len(), found.len()), (10_001, 0));

    let at_once: Vec<_> = (0..8_000).map(|number| format!("<<{number} ")).collect();
    let bodies: Vec<_> = (0..8_000).map(|number| format!("x\n{number}\n")).collect();
    let text = ["FROM a\nCOPY ", &at_once.concat(), "/x\n", &bodies.concat()].concat();
    let (dockerfile, found) = parse(text.as_bytes());
    assert_eq!((found.len(), dockerfile.instructions[1].heredocs.len()), (0, 8_000));

    let continued = "FROM a\nRUN x \\\n".to_owned() + &"# c\n y \\\n".repeat(100_000);
    assert_eq!(parse(continued.as_bytes()).0.instructions.len(), 2);

    let wrong = "FORM a\n".repeat(20_000);
    assert_eq!(parse(wrong.as_bytes()).1.len(), 20_000);
    let onbuild = "ONBUILD \\\n".repeat(100_000);
    assert!(!parse(format!("FROM a\n{onbuild}RUN x").as_bytes()).1.is_empty());
}

/// Values that grow from line to line, and stages that hand all of theirs on, come to an end.
#[test]
fn values_can_not_exhaust_the_memory() {
    let doubling = "FROM a\nENV A=xxxxxxxx\n".to_owned() + &"ENV A=$A$A\n".repeat(100);
    let (dockerfile, _) = parse(doubling.as_bytes());
    let found = read(&dockerfile).1;
    assert_eq!(found[0].code, problem::EXPANSION);

    let stage = |number: usize| format!("FROM s{number} AS s{}\nENV V{number}=v\n", number + 1);
    let chain: String = "FROM a AS s0\n".to_owned() + &(0..4_000).map(stage).collect::<String>();
    let (dockerfile, _) = parse(chain.as_bytes());
    let found = read(&dockerfile).1;
    assert_eq!((found.len(), found[0].code), (1, problem::EXPANSION));
}
