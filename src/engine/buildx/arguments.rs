//! The command line of one build.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::engine::buildx::builder::Builder;
use crate::engine::command_line::Words;
use crate::engine::given::Flags;
use crate::engine::{CacheUse, Request};

/// The build argument by which BuildKit is told the time of an image.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The files of a build in its own directory.
#[derive(Clone, Copy, Debug)]
pub struct Scratch<'a>(pub &'a Path);

impl Scratch<'_> {
    /// The staged context. buildx calls what a builder keeps of a context after the last part of its
    /// path, so two images must not have the same (docker/buildx `build/opt.go`).
    pub fn context(&self, request: &Request) -> PathBuf {
        let whose = format!("{}\0{}", request.context.display(), request.image);
        self.0.join(Digest::of_content(whose.as_bytes()).short())
    }

    /// The Dockerfile.
    pub fn dockerfile(&self) -> PathBuf {
        self.0.join("Dockerfile")
    }

    /// An ignore file that goes before the one of the context: what is ignored was decided already.
    pub fn ignore_file(&self) -> PathBuf {
        self.0.join("Dockerfile.dockerignore")
    }

    /// Where buildx writes what it made.
    pub fn metadata(&self) -> PathBuf {
        self.0.join("metadata.json")
    }

    /// Where the parent with this number is handed over.
    pub fn parent(&self, number: usize) -> PathBuf {
        self.0.join(format!("parent-{number}"))
    }
}

/// The arguments of `docker`, and the build arguments that travel in the environment, where other
/// users of the machine cannot read them.
pub fn build(
    request: &Request,
    builder: &Builder,
    name: Option<&str>,
    contexts: &[String],
    given: &Flags,
) -> (Vec<OsString>, Vec<(String, String)>) {
    let scratch = Scratch(&request.scratch);
    let mut words = Words::default();
    words.word("buildx").word("build").flag("--progress=rawjson");
    let provenance = request.provenance.as_ref().map(|mode| format!("mode={mode}"));
    words.pair("--provenance", provenance.as_deref().unwrap_or("false"));
    words.pair("--sbom", request.sbom.to_string());
    if let Some(name) = name {
        words.pair("--builder", name);
    }
    if !builder.is_daemon() {
        words.flag("--load");
    }
    words.pair("--metadata-file", scratch.metadata());
    words.pair("--file", scratch.dockerfile());
    words.pair("--platform", request.platform.to_string());
    if request.cache == CacheUse::Bypass {
        words.flag("--no-cache");
    }
    if request.pull {
        words.flag("--pull");
    }
    if let Some(network) = &request.network {
        words.pair("--network", network);
    }
    if let Some(target) = &request.target {
        words.pair("--target", target);
    }
    if !request.args.contains_key(EPOCH) {
        words.pair("--build-arg", format!("{EPOCH}={}", request.epoch));
    }
    let hidden = words.build_arguments(&request.args, &given.variables);
    for (name, value) in &request.labels {
        words.pair("--label", format!("{name}={value}"));
    }
    for (flag, values) in [("--secret", &given.secrets), ("--ssh", &given.agents)] {
        for value in values {
            words.pair(flag, value);
        }
    }
    for (flag, values) in [
        ("--build-context", contexts),
        ("--tag", &request.references),
        ("--add-host", &request.hosts),
        ("--cache-from", &request.cache_from),
        ("--cache-to", &request.cache_to),
    ] {
        for value in values {
            words.pair(flag, value);
        }
    }
    words.word(scratch.context(request));
    (words.0, hidden)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::fixture::request;

    fn shown(request: &Request, driver: &str, name: Option<&str>) -> Vec<String> {
        let builder = Builder { driver: driver.into(), platform: None };
        let contexts = ["b=docker-image://c".to_owned()];
        let given = Flags {
            secrets: vec!["id=npm,env=NPM".into()],
            agents: vec!["default=/agent".into()],
            variables: BTreeSet::from(["NPM".to_owned()]),
        };
        let (arguments, _) = build(request, &builder, name, &contexts, &given);
        arguments.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_plain_build() {
        let request = request();
        let context = Scratch(&request.scratch).context(&request);
        assert_eq!(
            shown(&request, "docker", None),
            [
                "buildx",
                "build",
                "--progress=rawjson",
                "--provenance=false",
                "--sbom=false",
                "--metadata-file=/s/metadata.json",
                "--file=/s/Dockerfile",
                "--platform=linux/arm64",
                "--build-arg=SOURCE_DATE_EPOCH=7",
                "--secret=id=npm,env=NPM",
                "--ssh=default=/agent",
                "--build-context=b=docker-image://c",
                "--tag=acme/a:ig-1",
                context.to_str().unwrap(),
            ]
        );
    }

    #[test]
    fn everything_else_is_passed_on() {
        let mut request = request();
        request.cache = CacheUse::Bypass;
        request.target = Some("t".into());
        request.args.insert("SOURCE_DATE_EPOCH".into(), "9".into());
        request.labels.insert("l".into(), "v".into());
        request.args.insert("NPM".into(), "argument".into());
        let words = shown(&request, "kubernetes", Some("k"));
        for word in [
            "--builder=k",
            "--load",
            "--no-cache",
            "--target=t",
            "--build-arg=SOURCE_DATE_EPOCH=9",
            "--label=l=v",
            "--build-arg=NPM=argument",
        ] {
            assert!(words.contains(&word.to_owned()), "{word}");
        }
        assert!(!words.contains(&"--build-arg=SOURCE_DATE_EPOCH=7".to_owned()));
    }

    #[test]
    fn no_two_images_share_the_name_of_their_context() {
        let name = |image: &str, context: &str| {
            let mut request = request();
            request.image = image.parse().unwrap();
            request.context = context.into();
            Scratch(Path::new("/s")).context(&request)
        };
        assert_eq!(name("a", "/w"), name("a", "/w"));
        assert_ne!(name("a", "/w"), name("b", "/w"));
        assert_ne!(name("a", "/w"), name("a", "/x"));
    }
}
