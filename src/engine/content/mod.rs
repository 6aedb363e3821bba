//! The content id of a built image: what it *is*, whoever built it and whenever.
//!
//! | counts | does not |
//! |---|---|
//! | the platform | times of the config, of its history and of files |
//! | the config that a container or a child image inherits | the history, the engine's own labels, names of build containers |
//! | every layer: its entries sorted by path, with type, mode, owner, link, device, xattrs, data | the order of entries in the tar, which of several hard links carries the data, user *names* |
//! | the order of layers | layers without entries |
//!
//! Two builds of the same inputs that differ only in what does not count have the same content id,
//! so what is built on them need not be built again. No engine is known here: one hands in the
//! config document and the layers as tar streams.

pub mod blob;
pub mod config;
pub mod layer;

use crate::digest::{Digest, Hasher};
use crate::engine::content::config::Config;

/// The content id of the image with this config and these layers, base first.
pub fn id(config: &Config, layers: &[Digest]) -> Digest {
    let empty = layer::empty();
    let layers: Vec<&Digest> = layers.iter().filter(|layer| **layer != empty).collect();
    let mut hasher = Hasher::new("imgraph content 1");
    hasher.text(&config.platform.to_string());
    hasher.bytes(&config.canonical);
    hasher.number(layers.len() as u64);
    for layer in layers {
        hasher.digest(layer);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_empty_layer_changes_nothing_and_the_order_of_layers_does() {
        let config = config(r#"{"os":"linux","architecture":"amd64"}"#);
        let (a, b) = (Digest::of_content(b"a"), Digest::of_content(b"b"));
        assert_eq!(id(&config, &[a, layer::empty(), b]), id(&config, &[a, b]));
        assert_ne!(id(&config, &[b, a]), id(&config, &[a, b]));
        assert_ne!(id(&config, &[a]), id(&config, &[a, b]));
    }

    #[test]
    fn the_platform_and_the_config_count() {
        let amd = config(r#"{"os":"linux","architecture":"amd64"}"#);
        let arm = config(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#);
        let user = config(r#"{"os":"linux","architecture":"amd64","config":{"User":"1"}}"#);
        let mut ids = vec![id(&amd, &[]), id(&arm, &[]), id(&user, &[])];
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }
}
