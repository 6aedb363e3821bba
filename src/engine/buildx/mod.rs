//! The engine that drives `docker buildx`: for builders that only buildx reaches, such as those in a
//! cloud or in Kubernetes, and for what its plugins know of credentials.
//!
//! A build is one `docker buildx build` in its own process group, on a staged context, with its
//! parents pinned. Wherever the builder is, images come into the store of the Docker daemon, and
//! everything that is asked is asked there. Verified with buildx 0.13 on Docker 26.
//!
//! What it cannot do: hand parents over to a builder outside the daemon before Docker 25.

pub mod arguments;
pub mod build;
pub mod builder;
pub mod failure;
pub mod handover;
pub mod images;
pub mod output;
pub mod rawjson;
pub mod registry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::digest::{Digest, OciDigest};
use crate::engine::buildx::builder::Builder;
use crate::engine::buildx::images::Image;
use crate::engine::program::Program;
use crate::engine::warned::Warned;
use crate::engine::{
    Built, Cancel, Capabilities, Content, Engine, EngineError, Presence, Progress, Request, archive,
};
use crate::history::Output;
use crate::image::Platform;
use crate::reference::Reference;

/// What a record calls this engine and its store.
pub const CLASS: &str = "buildx";

/// How buildx is to be used.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Docker client; looked up in `PATH` if it has no slash.
    pub program: PathBuf,
    /// The daemon, as `docker --host` takes it; `None` is the client's default.
    pub host: Option<String>,
    /// The builder; `None` is the one in use, or what `BUILDX_BUILDER` names.
    pub builder: Option<String>,
    /// The workspace, which paths of secrets are relative to.
    pub root: PathBuf,
    /// The environment that this process was started with.
    pub environment: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        let (host, builder, root, environment) = (None, None, PathBuf::new(), BTreeMap::new());
        Self { program: "docker".into(), host, builder, root, environment }
    }
}

/// The engine.
#[derive(Debug)]
pub struct Buildx {
    options: Options,
    program: Program,
    builder: OnceLock<Builder>,
    warned: Warned,
}

impl Buildx {
    /// The engine with these options. Starts nothing yet.
    pub fn new(options: Options) -> Self {
        let host = options.host.iter().flat_map(|host| ["--host".into(), host.into()]).collect();
        let help = "`apt-get install docker-cli docker-buildx`";
        let program = Program::new(options.program.clone(), host, help);
        Self { options, program, builder: OnceLock::new(), warned: Warned::default() }
    }

    fn builder(&self) -> Result<&Builder, EngineError> {
        if let Some(builder) = self.builder.get() {
            return Ok(builder);
        }
        let builder = Builder::inspect(&self.program, self.options.builder.as_deref())?;
        Ok(self.builder.get_or_init(|| builder))
    }

    /// What the store knows of an image.
    fn output(&self, name: &str, references: &[String]) -> Result<Output, EngineError> {
        let image = Image::inspect(&self.program, name)?;
        Ok(Output {
            diff_ids: image.diff_ids().to_vec(),
            manifest: image.manifest(),
            id: image.id,
            references: references.to_vec(),
            size: image.size,
        })
    }
}

impl Engine for Buildx {
    fn capabilities(&self) -> Result<Capabilities, EngineError> {
        let version = self.program.answer(["buildx", "version"]).map_err(|error| match error {
            EngineError::Unavailable(text) if text.contains("command") => {
                let text = "docker has no buildx: `apt-get install docker-buildx`";
                EngineError::Unavailable(text.into())
            }
            error => error,
        })?;
        let version = String::from_utf8_lossy(&version);
        let version = version.split_whitespace().nth(1).unwrap_or("unknown");
        let builder = self.builder()?;
        Ok(Capabilities {
            class: CLASS.into(),
            version: format!("{}, driver {}", version.trim_start_matches('v'), builder.driver),
            platform: builder.platform.clone().unwrap_or_else(Platform::host),
            reproducible: false, // times of files that a RUN writes stay as they are
            lacks: builder.lacks(),
        })
    }

    fn build(
        &self,
        request: &Request,
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, EngineError> {
        build::run(self, request, cancel, progress)
    }

    fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        let images = images::list(&self.program)?;
        let presence = |output: &&Output| match images.get(output.id.as_str()) {
            Some(found) => output.presence(|reference| {
                Reference::parse(reference).is_ok_and(|reference| found.contains(&reference))
            }),
            None => Presence::Missing,
        };
        Ok(outputs.iter().map(presence).collect())
    }

    fn content(
        &self,
        built: &Built,
        known: &BTreeMap<OciDigest, Digest>,
        cancel: &Cancel,
    ) -> Result<Content, EngineError> {
        let arguments = ["image", "save", built.output.id.as_str()];
        self.program.stream(&arguments, cancel, |archive| archive::content(archive, known))
    }

    fn tag(&self, id: &OciDigest, references: &[String]) -> Result<(), EngineError> {
        for reference in references {
            self.program.answer(["image", "tag", id.as_str(), reference])?;
        }
        Ok(())
    }

    fn push(
        &self,
        _: &OciDigest,
        references: &[String],
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        references.iter().try_for_each(|it| registry::push(&self.program, it, cancel, progress))
    }

    fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        match Image::inspect(&self.program, id.as_str()) {
            Ok(image) if image.repo_tags.is_empty() => {}
            Ok(_) => return Ok(()),
            Err(EngineError::Unavailable(text)) if is_gone(&text) => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.program.answer(["image", "rm", id.as_str()]) {
            Err(EngineError::Unavailable(text)) if is_gone(&text) || is_used(&text) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }
}

/// Whether the daemon says that it has no such image.
fn is_gone(text: &str) -> bool {
    text.contains("No such image")
}

/// Whether the daemon refuses because containers or other images need the image (moby
/// `daemon/images/image_delete.go`).
fn is_used(text: &str) -> bool {
    text.contains("conflict: unable to delete")
}
