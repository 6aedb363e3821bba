//! The caches of steps that a build reads and writes beside the daemon's own: what is asked of the
//! daemon, and the directories that it gets at through the session.
//!
//! A directory is an OCI image layout of ours, which the daemon calls a store, and asks for by name.
//! Which of its blobs is the cache is said by a tag in its index: read before the build, and moved
//! after it. Source: moby/buildkit `client/solve.go`, `parseCacheOptions`; `cache/remotecache/local`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry};

use crate::cache::{Cache, CacheError};
use crate::digest::Digest;
use crate::engine::buildkit::abilities::Abilities;
use crate::engine::buildkit::session::content::Stores;
use crate::engine::layout::Layout;
use crate::engine::{EngineError, Request};

/// The tag of a cache in a directory where none is said.
const TAG: &str = "latest";

/// The caches of a build.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// As the daemon is asked.
    pub(crate) options: CacheOptions,
    /// Directories that are written, with the tag of the cache there.
    written: Vec<(Arc<Layout>, String)>,
}

impl Caches {
    /// Those of a request, whose directories become stores of the session. What cannot be used is
    /// left out, and said.
    pub(crate) fn new(
        request: &Request,
        abilities: &Abilities,
        stores: &Stores,
        mut say: impl FnMut(&str),
    ) -> Result<Self, EngineError> {
        let mut caches = Self::default();
        for text in &request.cache_from {
            let cache = parsed(text)?;
            let taken = match &*cache.kind {
                kind if !abilities.reads_caches.contains(&kind) => Err(unknown(kind, "from")),
                "local" => read(cache, stores),
                _ => Ok(cache),
            };
            match taken {
                Ok(cache) => caches.options.imports.push(entry(cache)),
                Err(why) => say(&format!("`--cache-from {text}` is left out: {why}")),
            }
        }
        for text in &request.cache_to {
            let mut cache = parsed(text)?;
            if !abilities.writes_caches.contains(&&*cache.kind) {
                let why = unknown(&cache.kind, "to");
                say(&format!("`--cache-to {text}` is left out: {why}"));
                continue;
            }
            if cache.kind == "local" {
                let (layout, tag) = place(&mut cache, "dest", stores)?;
                caches.written.push((layout, tag));
            }
            // That an image is built does not depend on what is kept for others.
            if cache.kind != "inline" && cache.get("ignore-error").is_none() {
                cache.attributes.push(("ignore-error".to_owned(), "true".to_owned()));
            }
            caches.options.exports.push(entry(cache));
        }
        Ok(caches)
    }

    /// Those to read, as the frontend takes them, which asks for them before it solves.
    pub(crate) fn imports(&self) -> Option<String> {
        let entry = |cache: &CacheOptionsEntry| {
            let attributes: BTreeMap<&String, &String> = cache.attrs.iter().collect();
            serde_json::json!({ "Type": cache.r#type, "Attrs": attributes })
        };
        let entries: Vec<serde_json::Value> = self.options.imports.iter().map(entry).collect();
        (!entries.is_empty()).then(|| serde_json::Value::from(entries).to_string())
    }

    /// Names what was written into directories; `manifest` is the descriptor of it, as the daemon
    /// tells. One that could not be written was said by the daemon.
    pub(crate) fn note_written(&self, manifest: &str, mut say: impl FnMut(&str)) {
        for (layout, tag) in &self.written {
            if let Err(error) = layout.point(tag, manifest) {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                say(&format!("a cache is lost: {error}{}", cause.unwrap_or_default()));
            }
        }
    }
}

fn parsed(text: &str) -> Result<Cache, EngineError> {
    text.parse().map_err(|error: CacheError| EngineError::Unsupported(error.to_string()))
}

fn unknown(kind: &str, way: &str) -> String {
    let what = if way == "from" { "reads no caches" } else { "writes no caches" };
    let others = if way == "to" { "; Docker's containerd store and a buildkitd do" } else { "" };
    format!("this BuildKit {what} of type `{kind}`{others}")
}

/// A cache in a directory, with the digest that its tag points at.
fn read(mut cache: Cache, stores: &Stores) -> Result<Cache, String> {
    let (layout, tag) = place(&mut cache, "src", stores).map_err(|error| error.to_string())?;
    if cache.get("digest").is_none() {
        let found = layout.find(&tag).map_err(|error| error.to_string())?;
        let digest = found.ok_or_else(|| format!("there is no cache `{tag}` there"))?;
        cache.attributes.push(("digest".to_owned(), digest.to_string()));
    }
    Ok(cache)
}

/// The layout in the directory of a cache, and its tag. What the daemon is told in its place is only
/// a name, and has to fit into a header.
fn place(
    cache: &mut Cache,
    attribute: &str,
    stores: &Stores,
) -> Result<(Arc<Layout>, String), EngineError> {
    let places = cache.attributes.iter_mut().find(|(name, _)| name == attribute);
    let Some((_, directory)) = places else {
        let text = format!("a cache of type `local` needs `{attribute}=`");
        return Err(EngineError::Unsupported(text));
    };
    let name = Digest::of_content(directory.as_bytes()).to_string();
    let layout = stores.cache(&name, PathBuf::from(&*directory));
    *directory = name;
    Ok((layout, cache.get("tag").unwrap_or(TAG).to_owned()))
}

fn entry(cache: Cache) -> CacheOptionsEntry {
    CacheOptionsEntry { r#type: cache.kind, attrs: cache.attributes.into_iter().collect() }
}
