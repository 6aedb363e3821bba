//! What a daemon is and can do: asked, because an old one ignores what it does not know in silence.

use std::path::PathBuf;

use bollard_buildkit_proto::moby::buildkit::v1::InfoRequest;
use tonic::Code;

use crate::cache;
use crate::engine::EngineError;
use crate::engine::buildkit::layers::Files;
use crate::engine::buildkit::link::{Daemon, Link, PATIENCE, unavailable};
use crate::engine::docker::endpoint::Endpoint;
use crate::image::Platform;

/// What a daemon is and can do.
#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
#[derive(Clone, Debug)]
pub(crate) struct Abilities {
    /// For people.
    pub(crate) version: String,
    /// The platform that its containers run on.
    pub(crate) platform: Platform,
    /// Whether parents can be named contexts: BuildKit 0.10, Docker 23.
    pub(crate) has_contexts: bool,
    /// Whether it asks for the context of a build by a name of ours, so that one session can serve
    /// several: BuildKit 0.16, Docker 28.
    pub(crate) names_contexts: bool,
    /// Whether it has a store of images: a Docker Engine.
    pub(crate) keeps_images: bool,
    /// Whether it knows `source-date-epoch`: BuildKit 0.11.
    pub(crate) has_epoch: bool,
    /// Whether it can give that time to the files in layers as well: BuildKit 0.13, but not into the
    /// store of a Docker Engine, which needs layers as they were unpacked.
    pub(crate) rewrites_times: bool,
    /// Whether images can have attestations: BuildKit 0.11, and a store that knows indices.
    pub(crate) has_attestations: bool,
    /// The types of caches that it reads (moby/moby `builder/builder-next/controller.go`).
    pub(crate) reads_caches: &'static [&'static str],
    /// The types of caches that it writes.
    pub(crate) writes_caches: &'static [&'static str],
    /// The files of its store, where they lie on this machine.
    pub(crate) files: Option<Files>,
}

impl Abilities {
    /// What it cannot do, for people.
    pub(crate) fn lacks(&self) -> Vec<&'static str> {
        let all = [
            (self.names_contexts, "build triggers that name other images (Docker 28 can)"),
            (self.has_epoch, "give images a fixed time (Docker 23 can)"),
            (
                self.keeps_images || self.rewrites_times,
                "give what RUN writes a fixed time (BuildKit 0.13 can)",
            ),
            (
                self.writes_caches.len() > 1,
                "write caches apart from images (the containerd store can)",
            ),
            (self.has_attestations, "attach an SBOM or provenance (the containerd store can)"),
        ];
        all.into_iter().filter(|(can, _)| !can).map(|(_, what)| what).collect()
    }
}

/// What BuildKit calls itself where nobody told it (moby/buildkit `version/version.go`).
const UNKNOWN: &str = "v0.0.0+unknown";
/// The first Docker API whose BuildKit has named contexts: that of Docker 23.
const CONTEXTS_SINCE: (u32, u32) = (1, 42);
/// The first whose BuildKit takes a prefix with the id of a session: that of Docker 28.
const NAMES_SINCE: (u32, u32) = (1, 48);
/// The first BuildKit that does.
const BUILDKIT_NAMES_SINCE: (u32, u32) = (0, 16);
/// The first whose exporters rewrite times.
const REWRITES_SINCE: (u32, u32) = (0, 13);

/// Asks.
pub(crate) async fn probe(daemon: &Daemon, link: &Link) -> Result<Abilities, EngineError> {
    let buildkit = buildkit_version(daemon, link).await?;
    match daemon {
        Daemon::Docker(api) => {
            let (version, info) = tokio::try_join!(api.version(), api.info())?;
            let platform = format!("{}/{}", version.os, version.arch);
            let is_containerd = info.has_containerd_store();
            let graph_driver = (!is_containerd).then(|| info.driver.clone());
            let store = if is_containerd { "containerd store" } else { info.driver.as_str() };
            let named = buildkit.as_deref().filter(|version| !version.is_empty());
            let own = named.map(|version| format!(", BuildKit {version}")).unwrap_or_default();
            Ok(Abilities {
                version: format!("Docker {}{own}, {store}", version.version),
                platform: platform.parse().unwrap_or_else(|_| Platform::host()),
                has_contexts: numbers(&version.api_version) >= Some(CONTEXTS_SINCE),
                names_contexts: numbers(&version.api_version) >= Some(NAMES_SINCE),
                keeps_images: true,
                has_epoch: buildkit.is_some(),
                has_attestations: buildkit.is_some() && is_containerd,
                rewrites_times: false,
                reads_caches: if is_containerd {
                    &["registry", "local", "gha"]
                } else {
                    &["registry", "local"]
                },
                writes_caches: if is_containerd {
                    &["registry", "local", "inline", "gha"]
                } else {
                    &["inline"]
                },
                files: Some(Files { root: PathBuf::from(info.docker_root_dir), graph_driver }),
            })
        }
        Daemon::Buildkitd(endpoint) => {
            // The version that can be asked for it, oci-layout contexts and the exporter that
            // writes blobs are of one age.
            let Some(version) = buildkit else { return Err(too_old(endpoint)) };
            let numbers = numbers(&version);
            Ok(Abilities {
                version: format!("buildkitd {version}").trim_end().to_owned(),
                platform: Platform::host(),
                has_contexts: true,
                names_contexts: numbers >= Some(BUILDKIT_NAMES_SINCE),
                keeps_images: false,
                has_epoch: true,
                has_attestations: true,
                rewrites_times: numbers >= Some(REWRITES_SINCE),
                reads_caches: &cache::READ,
                writes_caches: &cache::WRITTEN,
                files: None,
            })
        }
    }
}

fn too_old(endpoint: &Endpoint) -> EngineError {
    EngineError::Unsupported(format!(
        "the buildkitd at {endpoint} is older than 0.11, the first that takes parents from an image \
         layout and writes images into one"
    ))
}

/// The version; `None` before 0.11, which has no way to tell, and empty where it does not know.
async fn buildkit_version(daemon: &Daemon, link: &Link) -> Result<Option<String>, EngineError> {
    let mut control = link.control.clone();
    let asked = tokio::time::timeout(PATIENCE, control.info(InfoRequest {})).await;
    let answer = asked.map_err(|_| {
        link.give_up();
        let text = format!("BuildKit gives no answer within {} s", PATIENCE.as_secs());
        EngineError::Unavailable(text)
    })?;
    match answer {
        Ok(answer) => {
            let version = answer.into_inner().buildkit_version.map(|told| told.version);
            Ok(Some(version.filter(|it| it != UNKNOWN).unwrap_or_default()))
        }
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(unavailable(daemon, &status)),
    }
}

/// Major and minor number.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
