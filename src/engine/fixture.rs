//! A request, for tests of engines; no disk.

use std::collections::BTreeMap;

use crate::engine::scratch::ScratchDir;
use crate::engine::{CacheUse, Request};

/// A plain build of `linux/arm64`.
pub(crate) fn request() -> Request {
    Request {
        image: "a".parse().unwrap(),
        dockerfile_path: "/w/images/a/Dockerfile".into(),
        dockerfile: Vec::new(),
        context: "/w/images/a".into(),
        files: Vec::new(),
        sources: Vec::new(),
        target: None,
        platform: "linux/arm64".parse().unwrap(),
        args: BTreeMap::new(),
        labels: BTreeMap::new(),
        parents: Vec::new(),
        locked: Vec::new(),
        secrets: Vec::new(),
        ssh: Vec::new(),
        network: None,
        hosts: Vec::new(),
        pull: false,
        cache_from: Vec::new(),
        cache_to: Vec::new(),
        sbom: false,
        provenance: None,
        allow: Vec::new(),
        references: vec!["acme/a:ig-1".into()],
        epoch: 7,
        cache: CacheUse::Use,
        scratch: ScratchDir::new("/s".into()),
    }
}
