//! The archive of one image, as `docker save` and the exporters of BuildKit write it, read as it
//! comes: layers are digested on the way and never held.
//!
//! | | config | layers |
//! |---|---|---|
//! | Docker before 25 | `<id>.json` | `<other id>/layer.tar`; of equal ones all but one are links |
//! | Docker since, containerd's store, OCI | `blobs/sha256/..` | `blobs/sha256/..`, gzipped or not |
//!
//! `manifest.json` says which is which, or `index.json` where there is none of the former, and either
//! may come last. Sources: moby `image/tarexport/save.go`, OCI image-spec `image-layout.md`.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tar::{Archive, Entry, EntryType};

use crate::digest::{Digest, Hasher, OciDigest};
use crate::engine::content::config::Config;
use crate::engine::content::layer;
use crate::engine::{Content, content};

/// A document larger than this is none.
const LARGEST_DOCUMENT: u64 = 16 << 20;

/// Links and indices that point at others are followed so far.
const DEPTH: usize = 8;

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// The content id of the image in an archive.
///
/// Layers in `known` are not read, if their names say which they are; those that were read are
/// returned by their diff ids, and by the digests of their blobs where these are compressed.
pub fn content(archive: impl Read, known: &BTreeMap<OciDigest, Digest>) -> io::Result<Content> {
    let contents = Contents::read(archive, known)?;
    let image = contents.image()?;
    let config = Config::parse(contents.document(&image.config)?).map_err(invalid)?;
    if config.diff_ids.len() != image.layers.len() {
        return Err(invalid("its config and its manifest count layers differently"));
    }
    let (mut digests, mut read) = (Vec::new(), BTreeMap::new());
    for (id, path) in config.diff_ids.iter().zip(&image.layers) {
        let digest = match known.get(id) {
            Some(digest) => *digest,
            None => match contents.layer(path)? {
                Layer::Read(digest) => {
                    read.insert(id.clone(), digest);
                    read.extend(blob(path).map(|blob| (blob, digest)));
                    digest
                }
                Layer::Packed => unread(id),
            },
        };
        digests.push(digest);
    }
    read.retain(|id, _| !known.contains_key(id));
    Ok(Content { id: content::id(&config, &digests), layers: read.into_iter().collect() })
}

/// What stands for a layer that cannot be unpacked here: which it is, times included.
pub(crate) fn unread(id: &OciDigest) -> Digest {
    Hasher::new("imgraph unread layer 1").text(id.as_str()).finish()
}

/// What an archive holds.
#[derive(Default)]
struct Contents {
    documents: BTreeMap<String, Vec<u8>>,
    layers: BTreeMap<String, Layer>,
    /// From one path to another.
    links: BTreeMap<String, String>,
}

#[derive(Clone, Copy)]
enum Layer {
    Read(Digest),
    /// Compressed in a way that is not known here.
    Packed,
}

impl Contents {
    fn read(mut archive: impl Read, known: &BTreeMap<OciDigest, Digest>) -> io::Result<Self> {
        let mut contents = Self::default();
        for entry in Archive::new(&mut archive).entries()? {
            contents.add(entry?, known)?;
        }
        io::copy(&mut archive, &mut io::sink())?; // the padding at the end
        Ok(contents)
    }

    fn add(
        &mut self,
        mut entry: Entry<'_, impl Read>,
        known: &BTreeMap<OciDigest, Digest>,
    ) -> io::Result<()> {
        let path = joined("", &String::from_utf8_lossy(&entry.path_bytes()));
        let target =
            entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
        match (entry.header().entry_type(), target) {
            (EntryType::Symlink, Some(target)) => {
                let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                self.links.insert(path.clone(), joined(directory, &target));
            }
            (EntryType::Link, Some(target)) => drop(self.links.insert(path, joined("", &target))),
            (kind, _) if kind.is_file() => {
                if let Some(digest) = blob(&path).and_then(|id| known.get(&id)) {
                    self.layers.insert(path, Layer::Read(*digest));
                    return Ok(());
                }
                let mut head = Vec::new();
                entry.by_ref().take(512).read_to_end(&mut head)?;
                let size = entry.size();
                self.file(path, &head, size, entry)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a file, by its first bytes and what follows them.
    fn file(&mut self, path: String, head: &[u8], size: u64, rest: impl Read) -> io::Result<()> {
        let is_tar = head.get(257..262) == Some(b"ustar");
        let whole = head.chain(rest);
        if !is_tar && matches!(head.first(), Some(b'{' | b'[')) && size <= LARGEST_DOCUMENT {
            let mut document = Vec::new();
            whole.take(LARGEST_DOCUMENT).read_to_end(&mut document)?;
            self.documents.insert(path, document);
        } else if blob(&path).is_some() || path.rsplit('.').next() == Some("tar") {
            let layer = match head {
                _ if head.starts_with(GZIP) => {
                    Layer::Read(layer::digest(MultiGzDecoder::new(whole))?)
                }
                _ if head.starts_with(ZSTD) => Layer::Packed,
                _ => Layer::Read(layer::digest(whole)?),
            };
            self.layers.insert(path, layer);
        }
        Ok(())
    }

    /// Which files are the config and the layers.
    fn image(&self) -> io::Result<Image> {
        if self.documents.contains_key("manifest.json") {
            let images: Vec<Image> = self.json("manifest.json")?;
            return images.into_iter().next().ok_or_else(|| invalid("it holds no image"));
        }
        let mut path = "index.json".to_owned();
        for _ in 0..DEPTH {
            let manifest: Manifest = self.json(&path)?;
            if let Some(config) = &manifest.config {
                let layers = manifest.layers.iter().map(Descriptor::path).collect();
                return Ok(Image { config: config.path(), layers });
            }
            let next = manifest.manifests.iter().find(|manifest| !manifest.is_attestation());
            path = next.ok_or_else(|| invalid("it holds no image"))?.path();
        }
        Err(invalid("its indices lead nowhere"))
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> io::Result<T> {
        serde_json::from_slice(self.document(path)?).map_err(invalid)
    }

    fn document(&self, path: &str) -> io::Result<&[u8]> {
        let found = self.documents.get(self.followed(path));
        found.map(Vec::as_slice).ok_or_else(|| invalid(format!("it has no document `{path}`")))
    }

    fn layer(&self, path: &str) -> io::Result<Layer> {
        let found = self.layers.get(self.followed(path));
        found.copied().ok_or_else(|| invalid(format!("it has no layer `{path}`")))
    }

    fn followed<'a>(&'a self, path: &'a str) -> &'a str {
        let mut path = path;
        for _ in 0..DEPTH {
            match self.links.get(path) {
                Some(target) => path = target,
                None => break,
            }
        }
        path
    }
}

/// An image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

/// An OCI index or manifest.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: OciDigest,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn path(&self) -> String {
        format!("blobs/{}", self.digest.as_str().replace(':', "/"))
    }

    /// As BuildKit marks them (moby/buildkit `docs/attestations/attestation-storage.md`).
    fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
    }
}

/// The digest that the path of a blob says.
fn blob(path: &str) -> Option<OciDigest> {
    path.strip_prefix("blobs/")?.replacen('/', ":", 1).parse().ok()
}

/// A path from a directory of the archive on, without `.` and `..`.
fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// The tar of a layer with one file.
    fn layer_tar(name: &str) -> Vec<u8> {
        archive(&[(name, b"content")], &[])
    }

    fn archive(files: &[(&str, &[u8])], links: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        }
        for (path, data) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn id(character: char) -> OciDigest {
        format!("sha256:{}", character.to_string().repeat(64)).parse().unwrap()
    }

    fn blob_path(character: char) -> String {
        Descriptor { digest: id(character), annotations: BTreeMap::new() }.path()
    }

    fn config(diff_ids: &str) -> String {
        let ids: Vec<String> = diff_ids.chars().map(|c| format!("\"{}\"", id(c))).collect();
        format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":[{}]}}}}"#,
            ids.join(",")
        )
    }

    /// The content id of an image with these layers.
    fn expected(layers: &[&[u8]]) -> Digest {
        let config = Config::parse(config("").as_bytes()).unwrap();
        let layers: Vec<Digest> =
            layers.iter().map(|layer| layer::digest(*layer).unwrap()).collect();
        content::id(&config, &layers)
    }

    fn read(archive: &[u8], known: &BTreeMap<OciDigest, Digest>) -> Content {
        content(archive, known).unwrap()
    }

    #[test]
    fn dockers_old_layout_is_read_with_its_links() {
        let (one, two) = (layer_tar("one"), layer_tar("two"));
        let config = config("121");
        let manifest = r#"[{"Config":"c.json","RepoTags":null,
            "Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]"#;
        let files: [(&str, &[u8]); 7] = [
            ("a/VERSION", b"1.0"),
            ("a/json", b"{}"),
            ("a/layer.tar", &one),
            ("b/layer.tar", &two),
            ("c.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
            ("repositories", b"{}"),
        ];
        for (kind, target) in
            [(EntryType::Symlink, "../a/layer.tar"), (EntryType::Link, "a/layer.tar")]
        {
            let archive = archive(&files, &[(kind, "c/layer.tar", target)]);
            let found = read(&archive, &BTreeMap::new());
            assert_eq!(found.id, expected(&[&one, &two, &one]), "{kind:?}");
            assert_eq!(found.layers.len(), 2, "of equal ids one is remembered");
        }
    }

    #[test]
    fn dockers_new_layout_is_read_wherever_its_manifest_is() {
        let (one, two) = (layer_tar("one"), layer_tar("{two}"));
        let config = config("12");
        let manifest = format!(
            r#"[{{"Config":"{}","Layers":["{}","{}"]}}]"#,
            blob_path('c'),
            blob_path('1'),
            blob_path('2')
        );
        let (c, l1, l2) = (blob_path('c'), blob_path('1'), blob_path('2'));
        let mut files: Vec<(&str, &[u8])> = vec![
            (&l1, &one),
            (&l2, &two),
            (&c, config.as_bytes()),
            ("index.json", b"{}"),
            ("manifest.json", manifest.as_bytes()),
        ];
        let last = read(&archive(&files, &[]), &BTreeMap::new());
        files.reverse();
        let first = read(&archive(&files, &[]), &BTreeMap::new());
        assert_eq!(last, first);
        assert_eq!(last.id, expected(&[&one, &two]));
        assert_eq!(last.layers.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&id('1'), &id('2')]);
    }

    /// An image of one layer, whose blob has another digest than the layer itself.
    fn oci(layer: &[u8]) -> Vec<u8> {
        let descriptor = |c| format!(r#"{{"digest":"{}"}}"#, id(c));
        let index = format!(
            r#"{{"manifests":[{{"digest":"{}",
                "annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}},{}]}}"#,
            id('f'),
            descriptor('e')
        );
        let inner = format!(r#"{{"manifests":[{}]}}"#, descriptor('d'));
        let manifest =
            format!(r#"{{"config":{},"layers":[{}]}}"#, descriptor('c'), descriptor('b'));
        archive(
            &[
                (&blob_path('b'), layer),
                (&blob_path('c'), config("1").as_bytes()),
                (&blob_path('d'), manifest.as_bytes()),
                (&blob_path('e'), inner.as_bytes()),
                ("index.json", index.as_bytes()),
            ],
            &[],
        )
    }

    #[test]
    fn a_compressed_layer_is_remembered_by_its_blob_too() {
        let one = layer_tar("one");
        let found = read(&oci(&gzipped(&one)), &BTreeMap::new());
        assert_eq!(found.id, expected(&[&one]));
        let digest = layer::digest(&one[..]).unwrap();
        assert_eq!(found.layers, [(id('1'), digest), (id('b'), digest)]);

        let known = found.layers.into_iter().collect();
        let again = read(&oci(b"not read"), &known);
        assert_eq!((again.id, again.layers), (found.id, Vec::new()));
    }

    #[test]
    fn a_layer_that_is_known_is_not_read() {
        let digest = layer::digest(&layer_tar("one")[..]).unwrap();
        for name in ['1', 'b'] {
            let known = [(id(name), digest)].into();
            assert_eq!(
                read(&oci(&gzipped(&layer_tar("one"))), &known).id,
                expected(&[&layer_tar("one")])
            );
        }
    }

    #[test]
    fn a_layer_that_cannot_be_unpacked_counts_by_its_id() {
        let packed = read(&oci(b"\x28\xb5\x2f\xfd.."), &BTreeMap::new());
        assert_eq!(packed.layers, []);
        assert_eq!(packed, read(&oci(b"\x28\xb5\x2f\xfdother"), &BTreeMap::new()));
        assert_ne!(packed.id, expected(&[&layer_tar("one")]));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let manifest = |text: &str| archive(&[("manifest.json", text.as_bytes())], &[]);
        for wrong in [
            archive(&[], &[]),
            manifest("[]"),
            manifest("{"),
            manifest(r#"[{"Config":"c","Layers":[]}]"#),
            archive(&[("index.json", br#"{"manifests":[]}"#)], &[]),
            archive(
                &[
                    ("manifest.json", br#"[{"Config":"c","Layers":["x.tar"]}]"#),
                    ("c", config("1").as_bytes()),
                ],
                &[],
            ),
            archive(
                &[
                    ("manifest.json", br#"[{"Config":"c","Layers":[]}]"#),
                    ("c", config("1").as_bytes()),
                ],
                &[(EntryType::Symlink, "c", "c")],
            ),
            oci(&gzipped(b"garbage")),
            b"garbage".repeat(1000),
        ] {
            assert!(content(&wrong[..], &BTreeMap::new()).is_err());
        }
    }
}
