//! Any bytes as a Dockerfile, read for every stage as the target: no panic, places within the text,
//! and a reading that depends on nothing but what is said.
#![no_main]

use std::collections::BTreeMap;

use imgraph::diagnostic::{Diagnostic, Span};
use imgraph::dockerfile::{BaseConfig, Dockerfile, Flavour, Reads, Request, parse, resolve_with};
use imgraph::image::Platform;
use libfuzzer_sys::fuzz_target;

const MOST_TARGETS: usize = 6;

fuzz_target!(|text: &[u8]| {
    let (dockerfile, problems) = parse(text);
    problems_are_within(text, &problems);
    for instruction in &dockerfile.instructions {
        is_within(text, instruction.span);
        is_within(text, instruction.name.span);
        instruction.flags.iter().for_each(|flag| is_within(text, flag.span));
    }
    let mut targets: Vec<Option<String>> = vec![None];
    for (index, stage) in dockerfile.stages.iter().enumerate().take(MOST_TARGETS) {
        targets.push(Some(stage.name.clone().unwrap_or_else(|| index.to_string())));
    }
    for target in &targets {
        for flavour in [Flavour::BuildKit, Flavour::Buildah] {
            let (reads, problems) = read(&dockerfile, target.as_deref(), flavour);
            problems_are_within(text, &problems);
            reads.images.iter().for_each(|image| is_within(text, image.span));
            reads.context.iter().for_each(|source| is_within(text, source.span));
            reads.remotes.iter().for_each(|remote| is_within(text, remote.span));
            assert!(reads.context.iter().all(|source| source.source.starts_with('/')), "{reads:?}");
        }
    }
    comments_change_nothing(text, &dockerfile);
    canonical_text_is_canonical(&dockerfile, &problems);
});

fn read(
    dockerfile: &Dockerfile,
    target: Option<&str>,
    flavour: Flavour,
) -> (Reads, Vec<Diagnostic>) {
    let platform: Platform = "linux/arm64".parse().expect("a platform");
    let build_platform: Platform = "linux/amd64".parse().expect("a platform");
    let value = |text: &str| text.to_owned();
    let request = Request {
        target,
        args: &BTreeMap::from([(value("A"), value("a")), (value("VERSION"), value("1"))]),
        platform: &platform,
        build_platform: &build_platform,
        flavour,
        onbuild: &|image| match image.reference.as_str() {
            "o" => vec![value("COPY o* /o/"), value("RUN --mount=from=m,target=/m $A")],
            _ => Vec::new(),
        },
    };
    resolve_with(dockerfile, &request, &|image| {
        let env = vec![(value("PATH"), value("/bin")), (value("B"), image.reference.clone())];
        let is_whole = image.reference.len() < 2;
        let config = BaseConfig { env, working_dir: Some(value("/w")), is_whole };
        (image.reference.len() < 3).then_some(config)
    })
}

fn problems_are_within(text: &[u8], problems: &[Diagnostic]) {
    for problem in problems {
        assert!(problem.help.is_some(), "{problem:?}");
        let places = problem.related.iter().map(|(place, _)| place).chain(&problem.place);
        places.filter_map(|place| place.span).for_each(|span| is_within(text, span));
    }
}

fn is_within(text: &[u8], span: Span) {
    assert!(text.get(span.range()).is_some(), "{span:?} of {}", text.len());
    if let Ok(text) = std::str::from_utf8(text) {
        assert!(text.get(span.range()).is_some(), "{span:?} cuts a character");
    }
}

/// A comment before an instruction is none of its business.
fn comments_change_nothing(text: &[u8], dockerfile: &Dockerfile) {
    let mut commented = Vec::new();
    let mut done = 0;
    for instruction in &dockerfile.instructions {
        let start = instruction.name.span.start as usize;
        commented.extend_from_slice(&text[done..start]);
        commented.extend_from_slice(b"# a comment\n");
        done = start;
    }
    commented.extend_from_slice(&text[done..]);
    let (other, _) = parse(&commented);
    let codes = |problems: Vec<Diagnostic>| -> Vec<&str> {
        problems.into_iter().map(|problem| problem.code).collect()
    };
    let (one, found) = read(dockerfile, None, Flavour::BuildKit);
    let (two, also) = read(&other, None, Flavour::BuildKit);
    assert_eq!(steps(&one), steps(&two));
    assert_eq!(codes(found), codes(also));
}

/// The canonical text, read as a Dockerfile, has itself as canonical text, where it can be read at
/// all: of one stage, whose FROM holds no variables, without JSON (its strings are written for
/// comparing, not for reading) and without bytes that are no text.
fn canonical_text_is_canonical(dockerfile: &Dockerfile, problems: &[Diagnostic]) {
    let (reads, found) = read(dockerfile, None, Flavour::BuildKit);
    let is_plain = dockerfile.stages.len() == 1 && problems.is_empty() && found.is_empty();
    let texts = steps(&reads);
    let is_odd = |text: &&str| text.contains(['$', '\u{feff}', '\\', '`', '"', '\'', '\r', '\0']);
    if !is_plain || texts.iter().any(is_odd) || reads.base.as_deref() == Some("o") {
        return;
    }
    let canonical = texts.join("\n") + "\n";
    let (again, problems) = parse(canonical.as_bytes());
    assert!(problems.is_empty(), "{canonical}: {problems:?}");
    assert_eq!(texts, steps(&read(&again, None, Flavour::BuildKit).0));
}

fn steps(reads: &Reads) -> Vec<&str> {
    reads.steps.iter().map(|step| step.text.as_str()).collect()
}
