//! The command line of one build.

use std::ffi::OsString;
use std::path::Path;

use crate::engine::command_line::Words;
use crate::engine::given::Flags;
use crate::engine::{CacheUse, Request};

/// The files of a build in its own directory.
#[derive(Clone, Copy, Debug)]
pub struct Scratch<'a>(pub &'a Path);

impl Scratch<'_> {
    /// The staged context.
    pub fn context(&self) -> std::path::PathBuf {
        self.0.join("context")
    }

    /// The Dockerfile. Its name has no suffix: buildah runs `cpp` over a `Dockerfile.in`.
    pub fn dockerfile(&self) -> std::path::PathBuf {
        self.0.join("Dockerfile")
    }

    /// An ignore file without patterns: what is ignored was decided already.
    pub fn ignore_file(&self) -> std::path::PathBuf {
        self.0.join("ignore")
    }

    /// Where buildah writes the id of the image.
    pub fn id_file(&self) -> std::path::PathBuf {
        self.0.join("id")
    }

    /// Locked while the build runs.
    pub fn lock(&self) -> std::path::PathBuf {
        self.0.join("lock")
    }

    /// Where buildah keeps temporary files.
    pub fn temporary(&self) -> std::path::PathBuf {
        self.0.join("tmp")
    }
}

/// The arguments of `buildah build`, without the store's, and the build arguments that travel in the
/// environment, where other users of the machine cannot read them. `options` are the flags that
/// depend on the machine and on what buildah can.
pub fn build(
    request: &Request,
    options: &[String],
    contexts: &[String],
    given: &Flags,
) -> (Vec<OsString>, Vec<(String, String)>) {
    let scratch = Scratch(request.scratch.path());
    let mut arguments = Words::default();
    arguments.flag("build").flag("--layers").flag("--force-rm");
    // What has to be asked for was pulled before; buildah's default asks every time.
    arguments.pair("--pull", "false");
    // The OCI format has no place for HEALTHCHECK, SHELL and ONBUILD: buildah would drop them.
    arguments.pair("--format", "docker");
    arguments.pair("--timestamp", request.epoch.to_string());
    arguments.pair("--iidfile", scratch.id_file());
    arguments.pair("--ignorefile", scratch.ignore_file());
    arguments.pair("--file", scratch.dockerfile());
    arguments.pair("--platform", request.platform.to_string());
    if request.cache == CacheUse::Bypass {
        arguments.flag("--no-cache");
    }
    if let Some(target) = &request.target {
        arguments.pair("--target", target);
    }
    let hidden = arguments.build_arguments(&request.args, &given.variables);
    for (name, value) in &request.labels {
        arguments.pair("--label", format!("{name}={value}"));
    }
    for context in contexts {
        arguments.pair("--build-context", context);
    }
    for secret in &given.secrets {
        arguments.pair("--secret", secret);
    }
    for agent in &given.agents {
        arguments.pair("--ssh", agent);
    }
    for reference in &request.references {
        arguments.pair("--tag", reference);
    }
    for host in &request.hosts {
        arguments.pair("--add-host", host);
    }
    for flag in options {
        arguments.flag(flag);
    }
    arguments.word(scratch.context());
    (arguments.0, hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::request;

    fn shown(request: &Request) -> (Vec<String>, Vec<(String, String)>) {
        let contexts = ["b=container-image://1".to_owned()];
        let given = Flags {
            secrets: vec!["id=m".into()],
            agents: vec!["default=/agent".into()],
            variables: ["TAKEN".to_owned()].into(),
        };
        let options = ["--network=host".to_owned()];
        let (arguments, hidden) = build(request, &options, &contexts, &given);
        (arguments.into_iter().map(|word| word.into_string().unwrap()).collect(), hidden)
    }

    #[test]
    fn a_plain_build() {
        assert_eq!(
            shown(&request()).0,
            [
                "build",
                "--layers",
                "--force-rm",
                "--pull=false",
                "--format=docker",
                "--timestamp=7",
                "--iidfile=/s/id",
                "--ignorefile=/s/ignore",
                "--file=/s/Dockerfile",
                "--platform=linux/arm64",
                "--build-context=b=container-image://1",
                "--secret=id=m",
                "--ssh=default=/agent",
                "--tag=acme/a:ig-1",
                "--network=host",
                "/s/context",
            ]
        );
    }

    #[test]
    fn values_of_build_arguments_are_not_on_the_command_line() {
        let mut request = request();
        request.args.insert("TOKEN".into(), "hunter2".into());
        let (arguments, hidden) = shown(&request);
        assert!(arguments.contains(&"--build-arg=TOKEN".to_owned()));
        assert!(!arguments.iter().any(|word| word.contains("hunter2")), "{arguments:?}");
        assert_eq!(hidden, [("TOKEN".to_owned(), "hunter2".to_owned())]);
    }

    #[test]
    fn an_argument_that_would_steer_buildah_or_hide_a_secret_does_not_reach_its_environment() {
        let names =
            ["PATH", "http_proxy", "LD_PRELOAD", "BUILDAH_FORMAT", "STORAGE_DRIVER", "TAKEN"];
        for name in names {
            let mut request = request();
            request.args.insert(name.into(), "x".into());
            let (arguments, hidden) = shown(&request);
            assert!(arguments.contains(&format!("--build-arg={name}=x")), "{name}");
            assert!(hidden.is_empty(), "{name}");
        }
    }

    #[test]
    fn everything_else_is_passed_on() {
        let mut request = request();
        request.cache = CacheUse::Bypass;
        request.target = Some("t".into());
        request.labels.insert("l".into(), "v".into());
        request.hosts.push("db:10.0.0.7".into());
        let (arguments, _) = shown(&request);
        for word in ["--no-cache", "--target=t", "--label=l=v", "--add-host=db:10.0.0.7"] {
            assert!(arguments.contains(&word.to_owned()), "{word}");
        }
    }
}
