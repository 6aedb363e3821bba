//! What buildah makes of the options of a build, and what it leaves out, said aloud.
//!
//! Its caches are repositories with an image for each step, one to read and one to write
//! (`buildah-build(1)`, version 1.28); attestations are BuildKit's.

use crate::cache::Cache;
use crate::engine::buildah::isolation::Isolation;
use crate::engine::{EngineError, Request};
use crate::reference::Reference;

/// The flags for isolation and network.
///
/// Errors: [`EngineError::Unsupported`] where this machine cannot have that network.
pub fn network(
    isolation: Isolation,
    network: Option<&str>,
) -> Result<Vec<&'static str>, EngineError> {
    match (network, isolation) {
        (None | Some("default"), isolation) => Ok(isolation.flags().to_vec()),
        (Some("host"), Isolation::Chroot) => Ok(Isolation::Chroot.flags().to_vec()),
        (Some("host"), _) => Ok(vec!["--network=host"]),
        (Some("none"), Isolation::Chroot) => Err(EngineError::Unsupported(
            "buildah can only isolate with chroot here, in the network of the machine: \
             `network = \"none\"` needs an OCI runtime that works, such as crun or runc"
                .into(),
        )),
        (Some("none"), _) => Ok(vec!["--network=none"]),
        (Some(other), _) => {
            Err(EngineError::Unsupported(format!("buildah has no network mode `{other}`")))
        }
    }
}

/// The flags for caches and whatever else is left to say, with a sentence for each thing that is left
/// out.
pub fn caches(request: &Request) -> (Vec<String>, Vec<String>) {
    let mut flags = Vec::new();
    let mut left_out = Vec::new();
    for (flag, caches) in [("--cache-from", &request.cache_from), ("--cache-to", &request.cache_to)]
    {
        let (usable, others): (Vec<_>, Vec<_>) =
            caches.iter().map(|text| repository(text).ok_or(text)).partition(Result::is_ok);
        let mut usable = usable.into_iter().flatten();
        flags.extend(usable.next().map(|repository| format!("{flag}={repository}")));
        left_out.extend(usable.map(|repository| {
            format!("buildah uses the first cache only: `{flag} {repository}` is left out")
        }));
        left_out.extend(others.into_iter().filter_map(Result::err).map(|text| {
            format!("buildah keeps steps in registries only: `{flag} {text}` is left out")
        }));
    }
    if request.sbom || request.provenance.is_some() {
        left_out.push("buildah attaches neither SBOM nor provenance: they are left out".into());
    }
    if request.allow.iter().any(|what| what == "security.insecure") {
        left_out
            .push("buildah has no RUN with more rights: `security.insecure` is left out".into());
    }
    (flags, left_out)
}

/// The repository of a cache in a registry. buildah makes the tags itself.
fn repository(text: &str) -> Option<String> {
    let cache = text.parse::<Cache>().ok().filter(|cache| cache.kind == "registry")?;
    Some(Reference::parse(cache.get("ref")?).ok()?.repository())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::request;

    #[test]
    fn a_network_that_cannot_be_had_is_an_error() {
        let flags = |isolation, mode| network(isolation, mode).map_err(|error| error.to_string());
        assert_eq!(flags(Isolation::Default, None), Ok(vec![]));
        assert_eq!(flags(Isolation::HostNetwork, Some("default")), Ok(vec!["--network=host"]));
        assert_eq!(flags(Isolation::Default, Some("host")), Ok(vec!["--network=host"]));
        assert_eq!(flags(Isolation::Default, Some("none")), Ok(vec!["--network=none"]));
        assert_eq!(flags(Isolation::HostNetwork, Some("none")), Ok(vec!["--network=none"]));
        let chroot = vec!["--isolation=chroot", "--network=host"];
        assert_eq!(flags(Isolation::Chroot, Some("host")), Ok(chroot.clone()));
        assert_eq!(flags(Isolation::Chroot, None), Ok(chroot));
        let error = flags(Isolation::Chroot, Some("none")).unwrap_err();
        assert!(error.contains("needs an OCI runtime"), "{error}");
        assert!(flags(Isolation::Default, Some("bridge")).is_err());
    }

    #[test]
    fn caches_in_registries_are_used_and_all_else_is_said() {
        let mut request = request();
        request.cache_from = vec![
            "type=local,src=/c".into(),
            "type=registry,ref=r.example/a/cache:x".into(),
            "r.example/b".into(),
        ];
        request.cache_to = vec!["type=registry,ref=r.example/a/cache,mode=max".into()];
        request.sbom = true;
        let (flags, left_out) = caches(&request);
        assert_eq!(flags, ["--cache-from=r.example/a/cache", "--cache-to=r.example/a/cache"]);
        assert_eq!(
            left_out,
            [
                "buildah uses the first cache only: `--cache-from r.example/b` is left out",
                "buildah keeps steps in registries only: `--cache-from type=local,src=/c` is left out",
                "buildah attaches neither SBOM nor provenance: they are left out",
            ]
        );
    }
}
