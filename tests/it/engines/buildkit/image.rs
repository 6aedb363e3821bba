//! What is in an image, by what the daemon exports: layers laid over one another.

use std::io::Cursor;

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use super::*;

/// What a path of an image is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engines) struct Item {
    /// `file`, `directory`, or `link` followed by where it leads.
    pub(in crate::engines) kind: String,
    pub(in crate::engines) mode: u32,
    pub(in crate::engines) content: Vec<u8>,
    /// Extended attributes.
    pub(in crate::engines) xattrs: BTreeMap<String, Vec<u8>>,
    /// When it was changed, in seconds since the Unix epoch.
    pub(in crate::engines) time: u64,
}

/// Files and directories by path, without a slash before or behind.
pub(in crate::engines) type Tree = BTreeMap<String, Item>;

impl Bench {
    /// What is in an image, by its id or a reference.
    pub(in crate::engines) fn files(&self, image: &str) -> Tree {
        let mut tree = Tree::new();
        for layer in self.layers(image) {
            let mut bytes = Vec::new();
            if layer.starts_with(b"\x1f\x8b") {
                GzDecoder::new(&layer[..]).read_to_end(&mut bytes).unwrap();
            } else {
                bytes = layer;
            }
            lay(&mut tree, &bytes);
        }
        tree
    }

    /// The text of a file in an image.
    pub(in crate::engines) fn text(&self, image: &str, path: &str) -> String {
        let files = self.files(image);
        let item = files.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", files.keys()));
        String::from_utf8(item.content.clone()).unwrap()
    }

    /// The layers of an image as they are exported, base first.
    pub(in crate::engines) fn layers(&self, image: &str) -> Vec<Vec<u8>> {
        let (status, archive) = self.daemon.ask("GET", &format!("/images/{image}/get"));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&archive));
        let mut members = BTreeMap::new();
        let mut links = BTreeMap::new();
        for entry in Archive::new(Cursor::new(archive)).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            if let Some(target) = entry.link_name().unwrap() {
                links.insert(path, target.into_owned());
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            members.insert(path, bytes);
        }
        let manifest: Value = serde_json::from_slice(&members[Path::new("manifest.json")]).unwrap();
        let member = |path: &Value| {
            let path = Path::new(path.as_str().unwrap());
            // Of equal layers Docker 20.10 exports one, and links: `../ID/layer.tar`.
            let path = links.get(path).map_or(path, |target| target.strip_prefix("..").unwrap());
            members[path].clone()
        };
        manifest[0]["Layers"].as_array().unwrap().iter().map(member).collect()
    }
}

fn lay(tree: &mut Tree, layer: &[u8]) {
    for entry in Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let path = path.trim_end_matches('/').to_owned();
        let (parent, name) = path.rsplit_once('/').map_or(("", path.as_str()), |parts| parts);
        if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = format!("{parent}/{gone}");
            let gone = gone.trim_start_matches('/');
            tree.retain(|path, _| path != gone && !path.starts_with(&format!("{gone}/")));
            continue;
        }
        let mut item = Item {
            mode: entry.header().mode().unwrap(),
            time: entry.header().mtime().unwrap(),
            ..Item::default()
        };
        for pair in entry.pax_extensions().unwrap().into_iter().flatten() {
            let pair = pair.unwrap();
            if let Some(name) = pair.key().unwrap().strip_prefix("SCHILY.xattr.") {
                item.xattrs.insert(name.to_owned(), pair.value_bytes().to_vec());
            }
        }
        match entry.header().entry_type() {
            EntryType::Directory => "directory".clone_into(&mut item.kind),
            EntryType::Symlink => {
                let target = entry.link_name().unwrap().unwrap().display().to_string();
                item.kind = format!("link {target}");
            }
            EntryType::Link => {
                let target = entry.link_name().unwrap().unwrap().display().to_string();
                item = tree[&target].clone();
            }
            _ => {
                "file".clone_into(&mut item.kind);
                entry.read_to_end(&mut item.content).unwrap();
            }
        }
        tree.insert(path, item);
    }
}
