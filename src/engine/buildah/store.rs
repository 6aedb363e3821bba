//! The store's own records, read without starting a program: images, layers, working containers.
//!
//! containers/storage keeps them as JSON files that it replaces atomically, so they are read
//! without its locks. Nothing is ever written here.
#![expect(clippy::disallowed_methods, reason = "the files of the store")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::digest::OciDigest;
use crate::engine::EngineError;
use crate::engine::buildah::storage::Location;
use crate::engine::content::config::{Config, ConfigError};

/// An image of the store.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// 64 hexadecimal digits: the digest of its config.
    pub id: String,
    /// The digest of its manifest.
    pub digest: Option<OciDigest>,
    /// Its references, as the store writes them.
    #[serde(default)]
    pub names: Vec<String>,
    /// Its top layer; empty for an image without layers.
    #[serde(default)]
    pub layer: String,
}

/// A layer of the store.
#[derive(Clone, Debug, Deserialize)]
pub struct Layer {
    /// Its id: not its digest, where the same files lie on different parents.
    pub id: String,
    /// The layer below; empty at the bottom.
    #[serde(default)]
    pub parent: String,
    /// The digest of its uncompressed tar.
    #[serde(rename = "diff-digest")]
    pub diff_id: Option<OciDigest>,
    /// The size of its uncompressed tar.
    #[serde(rename = "diff-size", default)]
    pub size: u64,
}

/// A working container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The layer that it writes to.
    #[serde(rename = "layer", default)]
    pub top: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    metadata: String,
}

impl Container {
    /// Whether buildah made it: podman keeps metadata with its containers.
    pub fn is_buildahs(&self) -> bool {
        self.metadata.is_empty() && self.names.iter().any(|name| name.contains("working-container"))
    }

    /// Whether it has a name that begins like this.
    pub fn has_name(&self, beginning: &str) -> bool {
        self.names.iter().any(|name| name.starts_with(beginning))
    }
}

/// The files of a store.
#[derive(Clone, Debug)]
pub struct Store {
    location: Location,
}

impl Store {
    /// The store at a location.
    pub fn new(location: Location) -> Self {
        Self { location }
    }

    /// All images. A store that was never written has none.
    pub fn images(&self) -> Result<Vec<Image>, EngineError> {
        self.records("images/images.json")
    }

    /// All layers by id.
    pub fn layers(&self) -> Result<BTreeMap<String, Layer>, EngineError> {
        let layers: Vec<Layer> = self.records("layers/layers.json")?;
        Ok(layers.into_iter().map(|layer| (layer.id.clone(), layer)).collect())
    }

    /// All working containers.
    pub fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let mut containers: Vec<Container> = self.records("containers/containers.json")?;
        containers.extend(self.records::<Container>("containers/volatile-containers.json")?);
        Ok(containers)
    }

    /// What buildah keeps about a working container of its own; `None` if it is not buildah's, or
    /// just being made or removed.
    pub fn builder(&self, container: &Container) -> Option<Vec<u8>> {
        let file = format!("containers/{}/userdata/buildah.json", container.id);
        fs::read(self.path(&file)).ok()
    }

    /// How long ago a container was made; `None` if that is not known.
    pub fn age(&self, container: &Container) -> Option<Duration> {
        let directory = self.path(&format!("containers/{}", container.id));
        fs::metadata(directory).ok()?.modified().ok()?.elapsed().ok()
    }

    /// The config of an image.
    pub fn config(&self, id: &OciDigest) -> Result<Config, EngineError> {
        let name = big_data_name(id.as_str());
        let file = self.path(&format!("images/{}/{name}", id.hex()));
        let document = fs::read(&file).map_err(|source| read_error(&file, source))?;
        Config::parse(&document).map_err(|error| damaged(&file, &error))
    }

    /// The layers of an image, base first.
    pub fn chain<'a>(
        &self,
        image: &Image,
        layers: &'a BTreeMap<String, Layer>,
    ) -> Result<Vec<&'a Layer>, EngineError> {
        let mut chain: Vec<&Layer> = Vec::new();
        let mut id = &image.layer;
        while !id.is_empty() {
            let layer = layers.get(id).filter(|_| chain.len() < layers.len());
            let Some(layer) = layer else {
                let text = format!("layer {id} of image {} is not in buildah's store", image.id);
                return Err(EngineError::Unavailable(text));
            };
            chain.push(layer);
            id = &layer.parent;
        }
        chain.reverse();
        Ok(chain)
    }

    /// The headers of a layer's tar, gzipped: see [`crate::engine::tarsplit`].
    pub fn headers(&self, layer: &Layer) -> PathBuf {
        self.path(&format!("layers/{}.tar-split.gz", layer.id))
    }

    /// The files of a layer; `None` for a driver that keeps them in a way not known here.
    pub fn files(&self, layer: &Layer) -> Option<PathBuf> {
        let directory = self.location.root.join(&self.location.driver);
        match self.location.driver.as_str() {
            "overlay" => Some(directory.join(&layer.id).join("diff")),
            "vfs" => Some(directory.join("dir").join(&layer.id)),
            _ => None,
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.location.root.join(format!("{}-{below}", self.location.driver))
    }

    fn records<T: DeserializeOwned>(&self, below: &str) -> Result<Vec<T>, EngineError> {
        let file = self.path(below);
        let text = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|source| read_error(&file, source))?,
        };
        // Go writes an empty list as `null`.
        let records: Option<Vec<T>> =
            serde_json::from_slice(&text).map_err(|error| damaged(&file, &error.into()))?;
        Ok(records.unwrap_or_default())
    }
}

fn read_error(path: &Path, source: io::Error) -> EngineError {
    EngineError::File { action: "read", path: path.to_path_buf(), source }
}

fn damaged(file: &Path, error: &ConfigError) -> EngineError {
    EngineError::Unavailable(format!("{} is damaged: {error}", file.display()))
}

/// The file name of an image's piece of data: names that are not plain are `=` and base64
/// (containers/storage `layers.go`, `makeBigDataBaseName`).
fn big_data_name(key: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut name = String::from("=");
    for group in key.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            name.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn big_data_is_named_as_containers_storage_names_it() {
        let key = "sha256:0074e3e637650fba5f3e0ef8863e227ffc4d30e4780bc096b715f87fec15020b";
        assert_eq!(
            big_data_name(key),
            "=c2hhMjU2OjAwNzRlM2U2Mzc2NTBmYmE1ZjNlMGVmODg2M2UyMjdmZmM0ZDMwZTQ3ODBiYzA5NmI3MTVmODdmZWMxNTAyMGI="
        );
        assert_eq!(big_data_name("ab"), "=YWI=");
        assert_eq!(big_data_name("abc"), "=YWJj");
        assert_eq!(big_data_name("a"), "=YQ==");
    }

    fn store(files: &[(&str, &str)]) -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = home.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let location = Location { root: home.path().to_path_buf(), driver: "overlay".into() };
        (home, Store::new(location))
    }

    #[test]
    fn a_store_that_was_never_written_is_empty() {
        let (_home, store) = store(&[]);
        assert!(store.images().unwrap().is_empty());
        assert!(store.layers().unwrap().is_empty());
        assert!(store.containers().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let (_home, store) = store(&[("overlay-images/images.json", "[{")]);
        let error = store.images().unwrap_err().to_string();
        assert!(error.contains("images.json is damaged"), "{error}");
    }

    #[test]
    fn the_layers_of_an_image_are_listed_base_first() {
        let layers = r#"[{"id":"b","parent":"a","diff-size":2},{"id":"a","diff-size":1},
            {"id":"r","parent":"r"},{"id":"x","parent":"gone"}]"#;
        let (_home, store) = store(&[("overlay-layers/layers.json", layers)]);
        let layers = store.layers().unwrap();
        let chain = |layer: &str| {
            let image = Image { id: "i".into(), digest: None, names: vec![], layer: layer.into() };
            store.chain(&image, &layers).map(|chain| chain.iter().map(|l| l.id.clone()).collect())
        };
        let ids: Vec<String> = chain("b").unwrap();
        assert_eq!(ids, ["a", "b"]);
        assert!(chain("").unwrap().is_empty());
        assert!(chain("r").is_err(), "a ring ends");
        assert!(chain("x").is_err(), "a missing layer is said");
    }
}
