//! One build, from the request to the image in the store.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bollard_buildkit_proto::moby::buildkit::v1::SolveResponse;

use crate::context::{Entry, EntryKind};
use crate::digest::{Digest, Hasher, OciDigest};
use crate::engine::buildkit::BuildKit;
use crate::engine::buildkit::abilities::Abilities;
use crate::engine::buildkit::caches::Caches;
use crate::engine::buildkit::given::Given;
use crate::engine::buildkit::link::Link;
use crate::engine::buildkit::pins::{self, Pins};
use crate::engine::buildkit::served::{Context, Served};
use crate::engine::buildkit::session::{END_OF_PREFIX, Offer, Session};
use crate::engine::buildkit::solve::{self, Solve};
use crate::engine::layout::document::Blob;
use crate::engine::vertex::progress::Tracker;
use crate::engine::{Built, CacheUse, Cancel, EngineError, Progress, Request, epoch};
use crate::history::Output;

/// The name of the Dockerfile that is sent, whatever it is called on the disk.
const FILENAME: &str = "Dockerfile";
/// What allows a RUN the network of the machine.
const HOST: &str = "network.host";
/// What an OCI manifest is, in the OCI's words and in Docker's.
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Builds.
pub(crate) async fn run(
    engine: &BuildKit,
    request: &Request,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<Built, EngineError> {
    if cancel.is_raised() {
        return Err(EngineError::Cancelled);
    }
    let (abilities, link) = solve::unless_cancelled(cancel, async {
        let abilities = engine.abilities().await?;
        Ok((abilities, engine.link().await?))
    })
    .await?;
    let pins = Pins::new(request, abilities.has_contexts, &|parent| engine.images.locate(parent))?;
    let names = Names::new(request, &pins, abilities);
    let session = session(engine, &link, request, &names);
    let session = solve::unless_cancelled(cancel, session).await?;
    let dockerfile = Served::Memory(vec![
        (FILENAME.to_owned(), pins.dockerfile.clone()),
        (format!("{FILENAME}.dockerignore"), names.ignore.clone().into_bytes()),
    ]);
    let context = Served::Context(Context::new(request));
    let _dockerfile = session.contexts.serve(names.dockerfile.clone(), dockerfile);
    let context = session.contexts.serve(names.context.clone(), context);

    warn(engine, abilities, request, progress);
    pull(engine, request, cancel).await?;
    let warned = &engine.warned;
    let caches =
        Caches::new(request, abilities, &engine.stores, |text| warned.once(text, progress))?;
    let mut frontend = frontend(request, abilities, &names, (&pins, &session));
    frontend.extend(caches.imports().map(|json| ("cache-imports".to_owned(), json)));
    let solve = Solve {
        entitlements: entitlements(request),
        frontend,
        exporters: vec![engine.images.exporter(abilities, request.epoch)],
        cache: caches.options.clone(),
    };
    let mut tracker = Tracker::new(&request.parents);
    let (solved, mut written) =
        solve::solve(&link, &session, solve, cancel, (&mut tracker, &mut *progress)).await;
    let trouble = match &*context.served {
        Served::Context(context) => context.take_trouble(),
        Served::Memory(_) => None,
    };
    let solved = match (solved, trouble) {
        (_, Some(trouble)) => Err(trouble),
        (solved, None) => solved.map_err(|ended| solve::meaning(ended, &tracker, &pins.dockerfile)),
    };
    let output = match solved {
        Ok(answer) => {
            if let Some(manifest) = answer.exporter_response.get("cache.manifest") {
                caches.note_written(manifest, |text| warned.once(text, progress));
            }
            written.extend(built_id(&answer));
            named(engine, request, &answer).await
        }
        Err(error) => Err(error),
    };
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            engine.images.clear(&written).await;
            return Err(error);
        }
    };
    let is_asked_for =
        (abilities.has_epoch || request.epoch != 0) && epoch::argument(request).is_some();
    if is_asked_for && !engine.images.has_time(&output.id, request.epoch) {
        engine.warned.once(
            "images do not get the time that `epoch` gives them: this BuildKit ignores it",
            progress,
        );
    }
    Ok(Built { output, steps: tracker.steps(), cached_steps: tracker.cached_steps() })
}

/// The image that was built, with the references of the request.
async fn named(
    engine: &BuildKit,
    request: &Request,
    answer: &SolveResponse,
) -> Result<Output, EngineError> {
    let id = built_id(answer)?;
    let mut output = engine.images.output(&id).await?;
    output.manifest = output.manifest.or_else(|| built_manifest(answer));
    if !request.references.is_empty() {
        engine.images.tag(&id, &request.references).await?;
        output.references.clone_from(&request.references);
    }
    Ok(output)
}

/// The session of a build: that of the run for builds that are given the same, else its own.
async fn session(
    engine: &BuildKit,
    link: &Link,
    request: &Request,
    names: &Names,
) -> Result<Arc<Session>, EngineError> {
    let given = Given::new(request, &engine.root, &engine.environment)?;
    let offer = Offer {
        stores: Arc::clone(&engine.stores),
        credentials: engine.credentials.clone(),
        given: given.into(),
    };
    let workspace = Digest::of_content(engine.root.as_os_str().as_bytes()).to_string();
    if names.prefix.is_some() {
        let kind = format!("{:?} {:?}", request.secrets, request.ssh);
        return link.session(&engine.daemon, &workspace, (&kind, &offer)).await;
    }
    let shared_key = format!("{workspace} {}", kept_as(request));
    Ok(Arc::new(link.open_session(&engine.daemon, &shared_key, &offer).await?))
}

/// The names under which a build's Dockerfile and context are asked for.
///
/// Within a session BuildKit keeps what it was sent under a name and with a set of patterns, and
/// does not ask again. So both have the content in them: one in its name, and the other, whose name
/// has to stay so that only differences are transferred, in its patterns.
struct Names {
    dockerfile: String,
    context: String,
    /// What the daemon puts in front of the name of a context (`source/local/source.go`,
    /// `AttrLocalSessionID`); `None` where it cannot.
    prefix: Option<String>,
    /// The `.dockerignore` that is sent: nothing to leave out, it was left out already.
    ignore: String,
}

impl Names {
    fn new(request: &Request, pins: &Pins, abilities: &Abilities) -> Self {
        let (image, kept) = (&request.image, kept_as(request));
        let context = digest(&request.files);
        let ignore = format!("# what is sent is what was fingerprinted\n.imgraph/{context}\n");
        if !abilities.names_contexts {
            let (dockerfile, context) = ("dockerfile".to_owned(), "context".to_owned());
            return Self { dockerfile, context, prefix: None, ignore };
        }
        let dockerfile = Digest::of_content(&pins.dockerfile).to_string();
        Self {
            dockerfile: format!("{image}-{}-dockerfile", &dockerfile[..16]),
            context: format!("{kept}{END_OF_PREFIX}context"),
            prefix: Some(format!("{kept}@")),
            ignore,
        }
    }
}

/// What BuildKit keeps the context of an image under, so that only differences are transferred. It
/// compares sizes, times and modes, but no extended attributes: with others it is another context.
fn kept_as(request: &Request) -> String {
    let mut attributes = Hasher::new("imgraph attributes 1");
    let mut are_there = false;
    for entry in &request.files {
        if let Some(xattrs) = &entry.xattrs {
            attributes.bytes(entry.path.as_os_str().as_bytes()).digest(xattrs);
            are_there = true;
        }
    }
    let image = &request.image;
    if are_there {
        format!("{image}+{attributes}", attributes = attributes.finish())
    } else {
        image.to_string()
    }
}

/// The digest of a context.
fn digest(files: &[Entry]) -> Digest {
    let mut hasher = Hasher::new("imgraph context 1");
    for entry in files {
        hasher.bytes(entry.path.as_os_str().as_bytes()).number(u64::from(entry.mode));
        match &entry.kind {
            EntryKind::Directory => hasher.text("directory"),
            EntryKind::File { size, content } => hasher.text("file").number(*size).digest(content),
            EntryKind::Symlink(target) => {
                hasher.text("symlink").bytes(target.as_os_str().as_bytes())
            }
        };
        if let Some(xattrs) = &entry.xattrs {
            hasher.digest(xattrs);
        }
    }
    hasher.finish()
}

/// The options of the Dockerfile frontend (moby/buildkit `frontend/dockerui/config.go`).
fn frontend(
    request: &Request,
    abilities: &Abilities,
    names: &Names,
    (pins, session): (&Pins, &Session),
) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([
        ("filename".to_owned(), FILENAME.to_owned()),
        ("dockerfilekey".to_owned(), names.dockerfile.clone()),
        ("platform".to_owned(), request.platform.to_string()),
        ("image-resolve-mode".to_owned(), resolve_mode(request, abilities).to_owned()),
    ]);
    if let Some(prefix) = &names.prefix {
        let id = format!("{prefix}:{}", session.id);
        options.insert("local-sessionid:context".to_owned(), id);
    }
    if let Some(target) = &request.target {
        options.insert("target".to_owned(), target.clone());
    }
    if request.cache == CacheUse::Bypass {
        options.insert("no-cache".to_owned(), String::new());
    }
    for (name, value) in &request.args {
        options.insert(format!("build-arg:{name}"), value.clone());
    }
    // The exporter is told, too, but Docker's graph driver does not listen.
    if let Some(epoch) = epoch::argument(request).filter(|_| abilities.has_epoch) {
        options.insert(format!("build-arg:{}", epoch::ARGUMENT), epoch);
    }
    for (name, value) in &request.labels {
        options.insert(format!("label:{name}"), value.clone());
    }
    for (name, location) in &pins.contexts {
        options.insert(format!("context:{name}"), location.clone());
    }
    match request.network.as_deref() {
        None | Some("default") => {}
        Some(mode) => drop(options.insert("force-network-mode".to_owned(), mode.to_owned())),
    }
    if !request.hosts.is_empty() {
        let hosts: Vec<String> =
            request.hosts.iter().map(|host| host.replacen(':', "=", 1)).collect();
        options.insert("add-hosts".to_owned(), hosts.join(","));
    }
    if abilities.has_attestations {
        if request.sbom {
            options.insert("attest:sbom".to_owned(), String::new());
        }
        if let Some(mode) = &request.provenance {
            options.insert("attest:provenance".to_owned(), format!("mode={mode}"));
        }
    }
    if abilities.has_contexts {
        let needs = "moby.buildkit.frontend.contexts+forward";
        options.insert("frontend.caps".to_owned(), needs.to_owned());
    }
    options
}

/// An image of the daemon's store is used as it is there, and others are pulled where they are
/// missing; with `pull` they are anyway. Parents that it keeps are nowhere else.
fn resolve_mode(request: &Request, abilities: &Abilities) -> &'static str {
    let has_parents = abilities.keeps_images && !request.parents.is_empty();
    if request.pull && !has_parents { "pull" } else { "local" }
}

/// Pulls what comes from outside, where BuildKit cannot be told to without pulling parents too.
async fn pull(engine: &BuildKit, request: &Request, cancel: &Cancel) -> Result<(), EngineError> {
    if !request.pull || request.parents.is_empty() {
        return Ok(());
    }
    let externals: Vec<String> = pins::externals(request).into_iter().collect();
    engine.images.pull(&externals, &request.platform, (&engine.credentials, cancel)).await
}

/// What a build may do that not every build may.
fn entitlements(request: &Request) -> Vec<String> {
    let mut allowed = request.allow.clone();
    if request.network.as_deref() == Some("host") && !allowed.iter().any(|it| it == HOST) {
        allowed.push(HOST.to_owned());
    }
    allowed
}

/// Says what was asked for and cannot be had.
fn warn(
    engine: &BuildKit,
    abilities: &Abilities,
    request: &Request,
    progress: &mut dyn FnMut(Progress),
) {
    let wants_attestations = request.sbom || request.provenance.is_some();
    if wants_attestations && !abilities.has_attestations {
        engine.warned.once(
            "no SBOM and no provenance is attached: it takes a store that keeps them, which Docker's \
             containerd store is",
            progress,
        );
    }
}

fn built_id(answer: &SolveResponse) -> Result<OciDigest, EngineError> {
    let digest = answer.exporter_response.get("containerimage.digest");
    let id = digest.and_then(|digest| digest.parse().ok());
    id.ok_or_else(|| EngineError::Unavailable("BuildKit built, and names no image".to_owned()))
}

/// The digest of the OCI manifest, where the image is called by that: a store that keeps manifests
/// tells what it made (moby/buildkit `exporter/containerimage/exptypes/keys.go`). `None` for an index.
fn built_manifest(answer: &SolveResponse) -> Option<OciDigest> {
    let encoded = answer.exporter_response.get("containerimage.descriptor")?;
    let descriptor: Blob = serde_json::from_slice(&BASE64.decode(encoded).ok()?).ok()?;
    MANIFESTS.contains(&descriptor.media_type.as_str()).then_some(descriptor.digest)
}
