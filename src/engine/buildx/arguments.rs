//! The command line of one build.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::engine::buildx::builder::Builder;
use crate::engine::command_line::Words;
use crate::engine::given::Flags;
use crate::engine::{CacheUse, Request, epoch};

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
    contexts: &[(String, String)],
    given: &Flags,
) -> (Vec<OsString>, Vec<(String, String)>) {
    let scratch = Scratch(request.scratch.path());
    let mut words = Words::default();
    words.word("buildx").word("build").flag("--progress=rawjson");
    if let Some(name) = name {
        words.pair("--builder", name);
    }
    if !builder.is_daemon() {
        words.flag("--load");
    }
    words.pair("--metadata-file", scratch.metadata());
    words.pair("--file", scratch.dockerfile());
    words.pair("--platform", request.platform.to_string());
    attestations(&mut words, request, builder);
    if request.cache == CacheUse::Bypass {
        words.flag("--no-cache");
    }
    if request.pull && may_pull_all(request, builder) {
        words.flag("--pull");
    }
    if let Some(network) = &request.network {
        words.pair("--network", network);
    }
    for what in &request.allow {
        words.pair("--allow", what);
    }
    if let Some(target) = &request.target {
        words.pair("--target", target);
    }
    if let Some(epoch) = epoch::argument(request) {
        words.pair("--build-arg", format!("{}={epoch}", epoch::ARGUMENT));
    }
    let hidden = words.build_arguments(&request.args, &given.variables);
    for (name, value) in &request.labels {
        words.pair("--label", format!("{name}={value}"));
    }
    for (name, location) in contexts {
        words.pair("--build-context", format!("{name}={location}"));
    }
    for secret in &given.secrets {
        words.pair("--secret", secret);
    }
    for agent in &given.agents {
        words.pair("--ssh", agent);
    }
    for (flag, values) in [("--tag", &request.references), ("--add-host", &request.hosts)] {
        for value in values {
            words.pair(flag, value);
        }
    }
    caches(&mut words, request, builder);
    words.word(scratch.context(request));
    (words.0, hidden)
}

/// Whether BuildKit can be told to ask registries for every image: for parents too, if they are not
/// handed over.
pub fn may_pull_all(request: &Request, builder: &Builder) -> bool {
    request.parents.is_empty() || !builder.is_daemon()
}

/// Whether a cache is one that only some can write: all but the one in the image.
pub fn is_apart(cache: &str) -> bool {
    !cache.split(',').any(|field| field.trim() == "type=inline")
}

fn attestations(words: &mut Words, request: &Request, builder: &Builder) {
    let provenance = request.provenance.as_ref().filter(|_| builder.has_attestations);
    let provenance = provenance.map_or_else(|| "false".to_owned(), |mode| format!("mode={mode}"));
    words.pair("--provenance", provenance);
    words.pair("--sbom", (request.sbom && builder.has_attestations).to_string());
}

fn caches(words: &mut Words, request: &Request, builder: &Builder) {
    for cache in &request.cache_from {
        words.pair("--cache-from", cache);
    }
    for cache in &request.cache_to {
        let cache =
            if cache.contains('=') { cache.clone() } else { format!("type=registry,ref={cache}") };
        if !is_apart(&cache) {
            words.pair("--cache-to", cache);
        } else if builder.has_caches {
            words.pair("--cache-to", format!("{cache},ignore-error=true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::fixture::request;

    fn builder(driver: &str, can: bool) -> Builder {
        Builder {
            driver: driver.into(),
            platform: None,
            has_contexts: true,
            has_attestations: can,
            has_caches: can,
        }
    }

    fn shown(request: &Request, builder: &Builder, name: Option<&str>) -> Vec<String> {
        let contexts = [("b".to_owned(), "docker-image://c".to_owned())];
        let given = Flags {
            secrets: vec!["id=npm,env=NPM".into()],
            agents: vec!["default=/agent".into()],
            variables: BTreeSet::from(["NPM".to_owned()]),
        };
        let (arguments, _) = build(request, builder, name, &contexts, &given);
        arguments.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_plain_build() {
        let request = request();
        let context = Scratch(request.scratch.path()).context(&request);
        assert_eq!(
            shown(&request, &builder("docker", true), None),
            [
                "buildx",
                "build",
                "--progress=rawjson",
                "--metadata-file=/s/metadata.json",
                "--file=/s/Dockerfile",
                "--platform=linux/arm64",
                "--provenance=false",
                "--sbom=false",
                "--build-arg=SOURCE_DATE_EPOCH=7",
                "--build-context=b=docker-image://c",
                "--secret=id=npm,env=NPM",
                "--ssh=default=/agent",
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
        request.network = Some("none".into());
        request.hosts.push("db:10.0.0.7".into());
        (request.pull, request.sbom, request.provenance) = (true, true, Some("max".into()));
        request.cache_from.push("r/c".into());
        request.cache_to = vec!["r/c".into(), "type=inline".into()];
        let words = shown(&request, &builder("kubernetes", true), Some("k"));
        for word in [
            "--builder=k",
            "--load",
            "--no-cache",
            "--target=t",
            "--build-arg=SOURCE_DATE_EPOCH=9",
            "--label=l=v",
            "--network=none",
            "--add-host=db:10.0.0.7",
            "--pull",
            "--sbom=true",
            "--provenance=mode=max",
            "--cache-from=r/c",
            "--cache-to=type=registry,ref=r/c,ignore-error=true",
            "--cache-to=type=inline",
        ] {
            assert!(words.contains(&word.to_owned()), "{word}");
        }
        assert!(!words.contains(&"--build-arg=SOURCE_DATE_EPOCH=7".to_owned()));
    }

    #[test]
    fn what_the_builder_refuses_is_left_out() {
        let parent = crate::engine::Parent {
            reference: "b".into(),
            id: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            pinned: "b:ig-0".into(),
        };
        let request = Request {
            sbom: true,
            provenance: Some("min".into()),
            cache_to: vec!["type=local,dest=/c".into()],
            pull: true,
            parents: vec![parent],
            ..request()
        };
        let words = shown(&request, &builder("docker", false), None);
        for word in ["--sbom=false", "--provenance=false"] {
            assert!(words.contains(&word.to_owned()), "{word}");
        }
        assert!(!words.iter().any(|word| word.starts_with("--cache-to") || word == "--pull"));
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
