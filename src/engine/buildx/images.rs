//! The images of the Docker daemon, out of what `docker image` prints.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::digest::OciDigest;
use crate::engine::EngineError;
use crate::engine::docker::api::LISTINGS;
use crate::engine::program::Program;
use crate::reference::Reference;

/// An image, as `docker image inspect` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Its id: the digest of its config, or of its manifest with containerd's store.
    pub id: OciDigest,
    /// The references that point at it.
    #[serde(default)]
    pub repo_tags: Vec<String>,
    /// The names by which registries, and containerd's store, know its manifest.
    #[serde(default)]
    pub repo_digests: Vec<String>,
    /// The size of its layers.
    pub size: u64,
    #[serde(rename = "RootFS")]
    root: Root,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Root {
    #[serde(default)]
    layers: Vec<OciDigest>,
}

impl Image {
    /// Asks for the image that an id or a reference names.
    pub fn inspect(program: &Program, name: &str) -> Result<Self, EngineError> {
        let answer = program.answer(["image", "inspect", name])?;
        let images: Vec<Self> = serde_json::from_slice(&answer).map_err(unreadable)?;
        let missing = || EngineError::Unavailable(format!("docker has no image {name}"));
        images.into_iter().next().ok_or_else(missing)
    }

    /// The digests of its uncompressed layers, base first.
    pub fn diff_ids(&self) -> &[OciDigest] {
        &self.root.layers
    }

    /// The digest of its manifest, where the store has one: it is the id then.
    pub fn manifest(&self) -> Option<OciDigest> {
        let is_id = |name: &String| name.ends_with(self.id.as_str());
        self.repo_digests.iter().any(is_id).then(|| self.id.clone())
    }
}

/// The ids of all images, with the references that point at them.
pub fn list(program: &Program) -> Result<BTreeMap<String, BTreeSet<Reference>>, EngineError> {
    let format = "{{json .}}";
    let list = || program.answer(["image", "ls", "--all", "--no-trunc", "--format", format]);
    let mut answer = list();
    for _ in 1..LISTINGS {
        if !answer.as_ref().is_err_and(is_about_a_removed_one) {
            break;
        }
        answer = list();
    }
    parse_list(&String::from_utf8_lossy(&answer?))
}

/// Whether there is no list because an image was removed meanwhile.
fn is_about_a_removed_one(error: &EngineError) -> bool {
    let text = error.to_string();
    text.contains(": not found") || text.contains("No such image")
}

fn parse_list(text: &str) -> Result<BTreeMap<String, BTreeSet<Reference>>, EngineError> {
    let mut images: BTreeMap<String, BTreeSet<Reference>> = BTreeMap::new();
    for line in text.lines() {
        let row: Row = serde_json::from_str(line).map_err(unreadable)?;
        let reference = Reference::parse(&format!("{}:{}", row.repository, row.tag));
        images.entry(row.id).or_default().extend(reference.ok()); // `<none>:<none>` is none
    }
    Ok(images)
}

/// A line of `docker image ls`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    repository: String,
    tag: String,
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped over")]
fn unreadable(error: serde_json::Error) -> EngineError {
    EngineError::Unavailable(format!("cannot read what `docker image` prints: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_gathered_by_image() {
        let row = |id: &str, repository: &str, tag: &str| {
            format!(
                r#"{{"Containers":"N/A","Digest":"\u003cnone\u003e","ID":"{id}","Repository":"{repository}","Tag":"{tag}"}}"#
            )
        };
        let text = [
            row("sha256:1", "acme/a", "1"),
            row("sha256:1", "localhost:5000/a", "ig-0"),
            row("sha256:2", "<none>", "<none>"),
        ]
        .join("\n");
        let images = parse_list(&text).unwrap();
        let references: Vec<String> = images["sha256:1"].iter().map(Reference::to_string).collect();
        assert_eq!(references, ["docker.io/acme/a:1", "localhost:5000/a:ig-0"]);
        assert!(images["sha256:2"].is_empty());
    }

    #[test]
    fn an_image_is_read() {
        let id = format!("sha256:{}", "1".repeat(64));
        let text = format!(
            r#"{{"Id":"{id}","RepoTags":["a:1"],"Size":7,"Config":null,
                "RootFS":{{"Type":"layers","Layers":["{id}"]}}}}"#
        );
        let image: Image = serde_json::from_str(&text).unwrap();
        assert_eq!((image.id.as_str(), image.size, image.diff_ids().len()), (id.as_str(), 7, 1));
        let scratch = format!(r#"{{"Id":"{id}","Size":0,"RootFS":{{"Type":"layers"}}}}"#);
        assert!(serde_json::from_str::<Image>(&scratch).unwrap().diff_ids().is_empty());
    }
}
