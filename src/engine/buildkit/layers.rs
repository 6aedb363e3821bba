//! The digests of the layers of an image in a Docker Engine's store.
//!
//! The API hands out whole images only, with all that they stand on. Where the engine runs on this
//! machine and its files may be read, single layers are taken from there.
#![expect(clippy::disallowed_methods, reason = "the files of the store")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;

use crate::digest::{Digest, OciDigest};
use crate::engine::{content, tarsplit};

/// The files of a store that lie on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// What `GET /info` calls the root directory.
    pub(crate) root: PathBuf,
    /// The name of the graph driver; `None`: containerd keeps the images.
    pub(crate) graph_driver: Option<String>,
}

impl Files {
    /// The digests of those of the wanted layers that can be read here. `diff_ids` are all layers of
    /// the image, base first.
    pub(crate) fn read(
        &self,
        image: &OciDigest,
        diff_ids: &[OciDigest],
        wanted: &BTreeSet<&OciDigest>,
    ) -> BTreeMap<OciDigest, Digest> {
        let rows: Vec<(usize, &OciDigest)> =
            diff_ids.iter().enumerate().filter(|(_, layer)| wanted.contains(layer)).collect();
        let read = |(row, layer): &(usize, &OciDigest)| {
            let digest = match &self.graph_driver {
                Some(driver) => self.of_driver(driver, &diff_ids[..=*row]),
                None => self.of_containerd(image, *row),
            };
            Some(((*layer).clone(), digest.ok()?))
        };
        rows.par_iter().filter_map(read).collect()
    }

    /// A layer of a graph driver: moby `layer/filestore.go` names its folder by the chain of layers
    /// that it ends.
    fn of_driver(&self, driver: &str, chain: &[OciDigest]) -> io::Result<Digest> {
        let database = self.root.join("image").join(driver).join("layerdb/sha256");
        let folder = database.join(chain_id(chain));
        let id = fs::read_to_string(folder.join("cache-id"))?;
        let files = match driver {
            "overlay2" => self.root.join("overlay2").join(id.trim()).join("diff"),
            "vfs" => self.root.join("vfs/dir").join(id.trim()),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        tarsplit::open(&folder.join("tar-split.json.gz"), files).and_then(content::layer::digest)
    }

    /// A layer of containerd: a blob that the image's OCI manifest names. The engine has a
    /// containerd of its own, or uses the machine's.
    fn of_containerd(&self, image: &OciDigest, row: usize) -> io::Result<Digest> {
        let blobs = "io.containerd.content.v1.content/blobs/sha256";
        let own = self.root.join("containerd/daemon").join(blobs);
        let shared = Path::new("/var/lib/containerd").join(blobs);
        let found = [own, shared].into_iter().find(|blobs| blobs.join(image.hex()).is_file());
        let blobs = found.ok_or(io::ErrorKind::NotFound)?;
        let document: Document = serde_json::from_slice(&fs::read(blobs.join(image.hex()))?)?;
        let layer = document.layers.get(row).ok_or(io::ErrorKind::Unsupported)?;
        let blob = File::open(blobs.join(layer.digest.hex()))?;
        content::blob::digest(&layer.media_type, blob)?.ok_or(io::ErrorKind::Unsupported.into())
    }
}

/// An OCI manifest, as far as it is needed.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: OciDigest,
}

/// The digits of the chain id of layers, base first (image-spec `config.md`, "Layer `ChainID`").
fn chain_id(layers: &[OciDigest]) -> String {
    let join = |chain: String, layer: &OciDigest| {
        if chain.is_empty() {
            return layer.as_str().to_owned();
        }
        OciDigest::of_content(format!("{chain} {layer}").as_bytes()).as_str().to_owned()
    };
    let chain = layers.iter().fold(String::new(), join);
    chain.strip_prefix("sha256:").unwrap_or(&chain).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(digit: char) -> OciDigest {
        format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
    }

    #[test]
    fn one_layer_is_its_own_chain_and_more_are_hashed_pairwise() {
        assert_eq!(chain_id(&[layer('a')]), "a".repeat(64));
        let two = format!("sha256:{} sha256:{}", "a".repeat(64), "b".repeat(64));
        let two = OciDigest::of_content(two.as_bytes());
        assert_eq!(chain_id(&[layer('a'), layer('b')]), two.hex());
        let three = format!("{two} sha256:{}", "c".repeat(64));
        let three = OciDigest::of_content(three.as_bytes());
        assert_eq!(chain_id(&[layer('a'), layer('b'), layer('c')]), three.hex());
    }
}
