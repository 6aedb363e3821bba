//! Parents, pinned: exactly the images that this run says stand for what the Dockerfile names.
//!
//! BuildKit takes *named contexts* since 0.10: for a FROM, `COPY --from` or mount that names a
//! reference it looks one up by the reference as people write it, without `:latest` (moby/buildkit
//! `frontend/dockerui/config.go`, `NamedContext`). It looks up the names of stages in the same
//! table, so a parent that is called like a stage of the Dockerfile would replace the stage. There,
//! and for an older BuildKit, the Dockerfile that is sent names the pinned reference instead; the
//! one on the disk is never touched.

use std::collections::BTreeSet;

use crate::diagnostic::Span;
use crate::dockerfile::reads::Reads;
use crate::dockerfile::{self, Flavour, ImageUse, UseKind, mount, reads};
use crate::engine::{EngineError, Parent, Request};
use crate::image::Platform;
use crate::reference::Reference;

/// What a solve is told of the parents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    /// Named contexts: the reference as BuildKit looks it up, and the image that stands for it.
    pub(crate) contexts: Vec<(String, String)>,
    /// The Dockerfile to send.
    pub(crate) dockerfile: Vec<u8>,
}

/// A reference of the Dockerfile, and what stands for it.
struct Pin<'a> {
    reference: &'a str,
    /// What can be written in its place.
    pinned: &'a str,
    /// Where BuildKit finds it.
    location: String,
    /// Whether it has to be told where that is, too, if it is written.
    is_hidden: bool,
}

impl Pins {
    /// Pins what a request reads: the parents to the locations that `locate` gives them
    /// (`docker-image://..`), and what comes from outside to its digest.
    ///
    /// Errors: [`EngineError::Unsupported`] where one can be pinned in neither way.
    pub(crate) fn new(
        request: &Request,
        has_contexts: bool,
        locate: &dyn Fn(&Parent) -> String,
    ) -> Result<Self, EngineError> {
        let mut pins = Self { contexts: Vec::new(), dockerfile: request.dockerfile.clone() };
        let wanted = wanted(request, locate);
        if wanted.is_empty() {
            return Ok(pins);
        }
        let reads = read(request);
        let mut edited = Vec::new();
        for pin in &wanted {
            let key = key(pin.reference);
            let is_stage = reads.stage_names.iter().any(|name| name.eq_ignore_ascii_case(&key));
            if is_stage || !has_contexts {
                edited.push((pin.reference, pin.pinned));
            }
            if has_contexts && (!is_stage || pin.is_hidden) {
                // What is written in the place of a stage's name is no name of a stage.
                let key = if is_stage { self::key(pin.pinned) } else { key };
                pins.contexts.push((key, pin.location.clone()));
            }
        }
        if !edited.is_empty() {
            let why = "BuildKit 0.10 (Docker 23) can";
            pins.dockerfile = edit(request, &reads, &edited, why)?;
        }
        Ok(pins)
    }
}

fn wanted<'a>(request: &'a Request, locate: &dyn Fn(&Parent) -> String) -> Vec<Pin<'a>> {
    let parents = request.parents.iter().map(|parent| Pin {
        reference: &parent.reference,
        pinned: &parent.pinned,
        location: locate(parent),
        is_hidden: true,
    });
    let locked = request.locked.iter().map(|locked| Pin {
        reference: &locked.reference,
        pinned: &locked.pinned,
        location: format!("docker-image://{}", locked.pinned),
        is_hidden: false,
    });
    parents.chain(locked).collect()
}

/// A reference as BuildKit looks a named context up.
fn key(reference: &str) -> String {
    let familiar = Reference::parse(reference).map(|reference| reference.familiar());
    let familiar = familiar.unwrap_or_else(|_| reference.to_owned());
    familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
}

/// Our own reading of the Dockerfile of a request.
pub(crate) fn read(request: &Request) -> Reads {
    let (dockerfile, _) = dockerfile::parse(&request.dockerfile);
    let question = reads::Request {
        target: request.target.as_deref(),
        args: &request.args,
        platform: &request.platform,
        build_platform: &Platform::host(),
        flavour: Flavour::BuildKit,
        onbuild: &|_| Vec::new(),
    };
    reads::resolve(&dockerfile, &question).0
}

/// The images that a request reads and that nothing is known to stand for, each once.
pub(crate) fn externals(request: &Request) -> BTreeSet<String> {
    let images = read(request).images.into_iter().map(|image| image.reference);
    images.filter(|image| !request.pins(image)).collect()
}

/// The Dockerfile with other references in the places of these; `who` says who can take one where it
/// cannot be written.
pub(crate) fn edit(
    request: &Request,
    reads: &Reads,
    pins: &[(&str, &str)],
    who: &str,
) -> Result<Vec<u8>, EngineError> {
    let mut edits: Vec<(Span, String)> = Vec::new();
    for &(reference, pinned) in pins {
        let uses: Vec<_> =
            reads.images.iter().filter(|image| image.reference == reference).collect();
        // What only a trigger of a base image names stands in no file. Before 0.17 triggers cannot
        // name images at all (dockerfile 1.11).
        if uses.is_empty() {
            let why = "only an ONBUILD of its base image names it; BuildKit 0.17 (Docker 28) can";
            return Err(unsupported(request, reference, why));
        }
        for image in uses {
            let new = match image.kind {
                UseKind::From => Some(pinned.to_owned()),
                UseKind::Copy | UseKind::Mount => {
                    repointed(&request.dockerfile, image, (reference, pinned))
                }
                UseKind::Onbuild => None,
            };
            let new = new.ok_or_else(|| {
                let why = format!("it is not named in plain words, without variables; {who}");
                unsupported(request, reference, &why)
            })?;
            edits.push((image.span, new));
        }
    }
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.range().start));
    edits.dedup();
    let mut text = request.dockerfile.clone();
    for (span, new) in edits {
        text.splice(span.range(), new.into_bytes());
    }
    Ok(text)
}

/// The flag of a COPY or a RUN with another reference in the place of this one, and all else as
/// it was; `None` where that is at no place of it. Quotes, escapes and breaks of lines make what is
/// written another text than what is read, so it is read again.
fn repointed(
    dockerfile: &[u8],
    image: &ImageUse,
    (reference, pinned): (&str, &str),
) -> Option<String> {
    let range = image.span.range();
    let written = str::from_utf8(dockerfile.get(range.clone())?).ok()?;
    let mut wanted = fields(dockerfile, range.start)?;
    let key = |field: &str| field.split_once('=').map(|(key, _)| key.to_owned());
    let is_from = |field: &&mut String| key(field).is_some_and(|key| key.to_lowercase() == "from");
    // Of several the last one counts (moby/buildkit `instructions/commands_runmount.go`).
    let from = wanted.iter_mut().rfind(is_from)?;
    *from = format!("{}={}", key(from)?, pinned);
    written.match_indices(reference).find_map(|(at, reference)| {
        let mut new = written.to_owned();
        new.replace_range(at..at + reference.len(), pinned);
        let mut text = dockerfile.to_vec();
        text.splice(range.clone(), new.bytes());
        (fields(&text, range.start)? == wanted).then_some(new)
    })
}

/// The fields of the flag that begins at a byte: of `--mount` those between its commas.
fn fields(dockerfile: &[u8], start: usize) -> Option<Vec<String>> {
    let (dockerfile, _) = dockerfile::parse(dockerfile);
    let mut flags = dockerfile.instructions.iter().flat_map(|instruction| &instruction.flags);
    let flag = flags.find(|flag| flag.span.range().start == start)?.text.strip_prefix("--")?;
    match flag.strip_prefix("mount=") {
        Some(mount) => mount::fields(mount).ok(),
        None => Some(vec![flag.to_owned()]),
    }
}

fn unsupported(request: &Request, reference: &str, why: &str) -> EngineError {
    EngineError::Unsupported(format!(
        "{}: this engine cannot be given another image for `{reference}`: {why}",
        request.dockerfile_path.display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Locked;
    use crate::engine::fixture::request;

    const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

    fn pins(dockerfile: &str, has_contexts: bool) -> (Vec<(String, String)>, String) {
        let locked = |reference: &str, repository: &str| Locked {
            reference: reference.to_owned(),
            pinned: format!("docker.io/library/{repository}@{DIGEST}"),
            platform: None,
        };
        let locked = vec![locked("debian:12", "debian"), locked("busybox", "busybox")];
        let request = Request { dockerfile: dockerfile.into(), locked, ..request() };
        let pins = Pins::new(&request, has_contexts, &|_| String::new()).unwrap();
        (pins.contexts, String::from_utf8(pins.dockerfile).unwrap())
    }

    #[test]
    fn what_comes_from_outside_is_pinned_by_its_digest() {
        let text = "FROM debian:12\nCOPY --from=busybox /bin /bin\n";
        let at = |name: &str| format!("docker-image://docker.io/library/{name}@{DIGEST}");
        let contexts =
            vec![("debian:12".to_owned(), at("debian")), ("busybox".to_owned(), at("busybox"))];
        assert_eq!(pins(text, true), (contexts, text.to_owned()));
    }

    #[test]
    fn one_that_is_called_like_a_stage_is_written_by_its_digest() {
        let text = "FROM debian:12\nFROM busybox AS busybox\nFROM busybox\n";
        let (contexts, dockerfile) = pins(text, true);
        assert_eq!(contexts.len(), 1, "a context would replace the stage: {contexts:?}");
        assert_eq!(
            dockerfile,
            format!(
                "FROM debian:12\nFROM docker.io/library/busybox@{DIGEST} AS busybox\nFROM busybox\n"
            )
        );
    }

    #[test]
    fn an_old_buildkit_gets_a_dockerfile_with_digests() {
        let text = "FROM debian:12\nCOPY --from=busybox /bin /bin\n";
        let (contexts, dockerfile) = pins(text, false);
        assert_eq!(contexts, []);
        assert_eq!(
            dockerfile,
            format!(
                "FROM docker.io/library/debian@{DIGEST}\n\
                 COPY --from=docker.io/library/busybox@{DIGEST} /bin /bin\n"
            )
        );
    }

    /// What a BuildKit without named contexts is sent for a Dockerfile that names `base`.
    fn edited(dockerfile: &str) -> Result<String, String> {
        let parent = Parent {
            reference: "base".into(),
            id: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            pinned: "base:ig-0".into(),
        };
        let dockerfile = dockerfile.as_bytes().to_vec();
        let request = Request { dockerfile, parents: vec![parent], ..request() };
        let pins = Pins::new(&request, false, &|_| String::new()).map_err(|it| it.to_string())?;
        Ok(String::from_utf8(pins.dockerfile).unwrap())
    }

    #[test]
    fn of_a_flag_only_what_names_the_parent_is_replaced() {
        for (written, sent) in [
            ("RUN --mount=target=/base,from=base x", "RUN --mount=target=/base,from=base:ig-0 x"),
            ("RUN --mount=from=base,target=/base x", "RUN --mount=from=base:ig-0,target=/base x"),
            ("RUN --mount=from=base,from=base x", "RUN --mount=from=base,from=base:ig-0 x"),
            (
                r#"RUN --mount=\"target=/a,from=base\",\"from=base\" x"#,
                r#"RUN --mount=\"target=/a,from=base\",\"from=base:ig-0\" x"#,
            ),
            ("COPY --from=base base /base", "COPY --from=base:ig-0 base /base"),
            ("COPY --from=\"base\" base /base", "COPY --from=\"base:ig-0\" base /base"),
        ] {
            assert_eq!(edited(&format!("FROM a\n{written}\n")), Ok(format!("FROM a\n{sent}\n")));
        }
    }

    #[test]
    fn a_flag_in_which_the_parent_cannot_be_found_is_refused() {
        let refusal = edited("FROM a\nRUN --mount=target=/base,from=ba\\\nse x\n").unwrap_err();
        assert!(refusal.contains("another image for `base`"), "{refusal}");
    }
}
