//! The documents of the Docker Engine API, as far as they are read.
//!
//! Source: moby `api/swagger.yaml`.

use serde::Deserialize;

/// What `GET /version` tells.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    /// The engine, for example `26.1.5`.
    pub version: String,
    /// The newest API, for example `1.45`.
    pub api_version: String,
    /// The operating system of its containers.
    pub os: String,
    /// Their processor.
    pub arch: String,
}

/// What `GET /info` tells.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// The storage driver.
    pub driver: String,
    /// Facts about it, as pairs.
    pub driver_status: Option<Vec<(String, String)>>,
    /// Where it keeps its data.
    pub docker_root_dir: String,
}

impl Info {
    /// Whether images are kept by containerd and not by a graph driver (moby
    /// `daemon/info.go`, `driver-type`).
    pub fn has_containerd_store(&self) -> bool {
        let status = self.driver_status.as_deref().unwrap_or_default();
        status.iter().any(|(name, value)| {
            name == "driver-type" && value.starts_with("io.containerd.snapshotter")
        })
    }
}

/// An image in the list of the store.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its references, familiar, with tags.
    pub repo_tags: Option<Vec<String>>,
}

/// What the store tells of one image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    /// Its id.
    pub id: String,
    /// Its references, familiar, with tags.
    pub repo_tags: Option<Vec<String>>,
    /// Bytes.
    pub size: u64,
    /// What the image says to containers and children.
    pub config: Option<serde_json::Value>,
    /// Who made it.
    #[serde(default)]
    pub author: String,
    /// The processor.
    pub architecture: String,
    /// Its variant.
    #[serde(default)]
    pub variant: String,
    /// The operating system.
    pub os: String,
    /// When it says it was made.
    pub created: Option<String>,
    /// The layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
}

/// The layers of an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    /// The digests of the uncompressed layers, base first.
    pub layers: Option<Vec<String>>,
}

/// A line of what a daemon says while it works.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said {
    /// What it does.
    pub status: String,
    /// Which layer that is about; empty where it is about none.
    pub id: String,
    /// Why it failed.
    pub error: Option<String>,
}
