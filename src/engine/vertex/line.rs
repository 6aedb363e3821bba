//! The line of the instruction that a vertex came from, by the vertex's name.
//!
//! A step's vertex has the name of its stage, its number there, and the instruction after variables
//! were expanded and quotes removed. The numbers count what makes a vertex: a FROM that names an
//! image, RUN, COPY, ADD and WORKDIR. They are not places in the Dockerfile where
//!
//! * the FROM is answered by a named context: the total counts it, but no vertex has its number;
//! * the base image has triggers: they come first, and the total counts them from 0.17 on only;
//! * a `WORKDIR /` has nothing to do.
//!
//! So a place is believed only if the text there fits. No line is better than a wrong one. Source:
//! moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go`.

use crate::engine::instructions::{Instruction, only};
use crate::engine::message::squeezed;
use crate::engine::vertex::name::Name;
use crate::reference::Reference;

/// The line of a step. `has_from`: whether number 1 of its stage is the FROM.
pub fn of_step(step: &Name<'_>, has_from: bool, instructions: &[Instruction]) -> Option<u32> {
    let stage = stage(step.stage(), instructions)?;
    let mut of_stage = instructions.iter().filter(|instruction| instruction.stage == stage);
    if step.is_from() {
        return of_stage.next().map(|from| from.line);
    }
    let steps: Vec<&Instruction> = of_stage.filter(|step| makes_a_vertex(step)).collect();
    let place = (step.number as usize).checked_sub(if has_from { 2 } else { 1 });
    let at_its_place = place.and_then(|place| steps.get(place).copied());
    let counts = (step.total as usize).saturating_sub(steps.len()) <= 1;
    at_its_place
        .filter(|instruction| squeezed(&instruction.text) == squeezed(step.text))
        .or_else(|| only(instructions, step.text))
        .or_else(|| at_its_place.filter(|instruction| counts && resembles(instruction, step)))
        .map(|instruction| instruction.line)
}

/// The line of the only instruction that takes files from this image; a FROM is meant before others.
pub fn of_image(reference: &str, instructions: &[Instruction]) -> Option<u32> {
    let wanted = complete(reference)?;
    let names_it = |instruction: &&Instruction| {
        instruction.sources().filter_map(complete).any(|image| image == wanted)
    };
    let (froms, others): (Vec<&Instruction>, Vec<&Instruction>) =
        instructions.iter().filter(names_it).partition(|instruction| instruction.is_from());
    match (&froms[..], &others[..]) {
        ([only], _) | ([], [only]) => Some(only.line),
        _ => None,
    }
}

/// The line of the only RUN that asks for an entitlement, `network.host`: with `--network=host`.
pub fn of_entitlement(entitlement: &str, instructions: &[Instruction]) -> Option<u32> {
    let (flag, value) = entitlement.split_once('.')?;
    let wanted = format!("--{flag}={value}");
    let asks = |instruction: &&Instruction| instruction.flags().any(|word| word == wanted);
    let mut asking = instructions.iter().filter(asks);
    let only = asking.next()?;
    asking.next().is_none().then_some(only.line)
}

/// Whether an instruction that begins at `line` can be what the step was made from.
pub fn can_be(step: &Name<'_>, line: u32, instructions: &[Instruction]) -> bool {
    let at_the_line = instructions.iter().find(|instruction| instruction.line == line);
    at_the_line.is_some_and(|instruction| match step.word() {
        "ONBUILD" => instruction.is_from(), // a trigger is told to come from there
        word => instruction.word().eq_ignore_ascii_case(word),
    })
}

/// The number of a stage, by its name or by the one that it gets without: `stage-0`.
fn stage(name: &str, instructions: &[Instruction]) -> Option<u32> {
    let mut stages = instructions.iter().filter(|instruction| instruction.is_from());
    if name.is_empty() {
        let only = stages.next()?;
        return stages.next().is_none().then_some(only.stage);
    }
    let number = name.strip_prefix("stage-").and_then(|index| index.parse::<u32>().ok());
    let is_meant = |from: &Instruction| match from.stage_name() {
        Some(given) => given.eq_ignore_ascii_case(name),
        None => number.is_some_and(|index| from.stage == index + 1),
    };
    stages.find(|from| is_meant(from)).map(|from| from.stage)
}

fn makes_a_vertex(instruction: &Instruction) -> bool {
    ["RUN", "COPY", "ADD", "WORKDIR"]
        .iter()
        .any(|word| instruction.word().eq_ignore_ascii_case(word))
}

/// Whether the step can be the instruction with its variables expanded and its quotes removed.
fn resembles(instruction: &Instruction, step: &Name<'_>) -> bool {
    let mut literal = instruction
        .text
        .split_whitespace()
        .skip(1)
        .filter(|word| !word.contains(['$', '"', '\'', '\\', '`']));
    instruction.word().eq_ignore_ascii_case(step.word())
        && literal.all(|word| step.text.split_whitespace().any(|found| found == word))
}

/// A reference with the tag that is meant, so that two can be compared.
fn complete(reference: &str) -> Option<Reference> {
    let reference = Reference::parse(reference).ok()?;
    let tag = reference.tag_or_latest().map(str::to_owned);
    Some(Reference { tag, ..reference })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::instructions::scan;

    const DOCKERFILE: &str = "ARG V=1\n\
        FROM acme/jdk AS Build\n\
        WORKDIR /src\n\
        COPY a \\\n  \"b c\" ./\n\
        RUN make\n\
        FROM debian:$V\n\
        ENV A=1\n\
        RUN make\n\
        COPY --from=build $A /x\n\
        RUN make\n";

    fn line(name: &str, has_from: bool) -> Option<u32> {
        let step = Name::parse(name).unwrap();
        of_step(&step, has_from, &scan(DOCKERFILE.as_bytes()))
    }

    #[test]
    fn a_step_is_found_at_its_place() {
        assert_eq!(line("[build 1/4] FROM docker.io/acme/jdk:latest@sha256:0", true), Some(2));
        assert_eq!(line("[build 2/4] WORKDIR /src", true), Some(3));
        assert_eq!(line("[build 4/4] RUN make", true), Some(6));
        assert_eq!(line("[stage-1 2/4] RUN make", true), Some(9));
        assert_eq!(line("[stage-1 4/4] RUN make", true), Some(11));
    }

    #[test]
    fn a_pinned_parent_has_no_number() {
        assert_eq!(line("[build 3/4] RUN make", false), Some(6));
        assert_eq!(line("[stage-1 3/4] RUN make", false), Some(11));
    }

    #[test]
    fn expanded_variables_and_quotes_fit() {
        assert_eq!(line("[build 3/4] COPY a b c ./", true), Some(4));
        assert_eq!(line("[stage-1 3/4] COPY --from=build 1 /x", true), Some(10));
    }

    #[test]
    fn no_line_is_better_than_a_wrong_one() {
        assert_eq!(line("[build 5/6] RUN make", true), None, "shifted by triggers");
        assert_eq!(line("[build 2/6] ONBUILD RUN make", true), None, "a trigger");
        assert_eq!(line("[stage-1 3/6] COPY --from=build 1 /x", true), None, "other totals");
        assert_eq!(line("[stage-1 2/4] RUN other", true), None, "another text");
        assert_eq!(line("[other 2/4] RUN make", true), None, "an unknown stage");
        assert_eq!(line("[2/4] RUN make", true), None, "one stage of several");
    }

    #[test]
    fn a_trigger_of_a_pinned_parent_has_no_line() {
        // As Docker 26.1 numbers it: the total counts FROM and `WORKDIR /`, no vertex does.
        let instructions = scan(b"FROM acme/base:1\nENV A=1\nRUN echo hi $A\nWORKDIR /\nRUN x");
        let line = |name| of_step(&Name::parse(name).unwrap(), false, &instructions);
        assert_eq!(line("[1/4] RUN echo trigger"), None);
        assert_eq!(line("[3/4] RUN x"), Some(5));
    }

    #[test]
    fn a_shifted_step_is_found_by_its_text() {
        assert_eq!(line("[build 4/6] WORKDIR /src", true), Some(3));
    }

    #[test]
    fn a_from_is_found_by_its_image() {
        let instructions =
            scan(b"FROM a\nFROM --platform=x docker.io/library/b:1 AS a2\nFROM c\nFROM c");
        assert_eq!(of_image("docker.io/library/a:latest", &instructions), Some(1));
        assert_eq!(of_image("docker.io/library/b:1", &instructions), Some(2));
        assert_eq!(of_image("docker.io/library/c:latest", &instructions), None);
    }

    #[test]
    fn what_is_copied_or_mounted_from_an_image_is_found_by_it_where_no_from_is() {
        let instructions = scan(
            b"FROM a\nCOPY --chown=1 --from=b /b /\nRUN --mount=type=bind,from=c,target=/c x from=d\n\
              COPY --from=a /a /\nCOPY --from=e /1 /\nCOPY --from=e /2 /",
        );
        let line = |name| of_image(&format!("docker.io/library/{name}:latest"), &instructions);
        assert_eq!((line("a"), line("b"), line("c")), (Some(1), Some(2), Some(3)));
        assert_eq!((line("d"), line("e")), (None, None));
    }
}
