//! The digests of image layers: from the store's own files, or else from what buildah hands out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use rayon::prelude::*;

use crate::digest::{Digest, OciDigest};
use crate::engine::buildah::store::{Layer, Store};
use crate::engine::program::Program;
use crate::engine::{Cancel, EngineError, content, tarsplit};

/// The digests of these layers of an image, read from the store. Those that cannot be read so are
/// returned as well: their files belong to others, or the driver is not known.
pub fn from_store(
    store: &Store,
    layers: &BTreeMap<&OciDigest, &Layer>,
) -> (BTreeMap<OciDigest, Digest>, BTreeSet<OciDigest>) {
    let read: Vec<(&OciDigest, io::Result<Digest>)> =
        layers.par_iter().map(|(id, layer)| (*id, read(store, layer))).collect();
    let mut digests = BTreeMap::new();
    let mut unread = BTreeSet::new();
    for (id, digest) in read {
        match digest {
            Ok(digest) => drop(digests.insert(id.clone(), digest)),
            Err(_) => drop(unread.insert(id.clone())),
        }
    }
    (digests, unread)
}

fn read(store: &Store, layer: &Layer) -> io::Result<Digest> {
    let files = store.files(layer).ok_or(io::ErrorKind::Unsupported)?;
    tarsplit::open(&store.headers(layer), files).and_then(content::layer::digest)
}

/// The digests of these layers of an image, from the archive of the whole image that buildah
/// writes. Slower: it reads every layer, and the store's files twice.
pub fn from_program(
    program: &Program,
    image: &OciDigest,
    layers: &BTreeSet<OciDigest>,
    cancel: &Cancel,
) -> Result<BTreeMap<OciDigest, Digest>, EngineError> {
    let arguments =
        ["push", "--quiet", "--disable-compression", image.hex(), "docker-archive:/dev/stdout"];
    let digests = program.stream(&arguments, cancel, |archive| from_archive(archive, layers))?;
    match layers.iter().find(|id| !digests.contains_key(*id)) {
        None => Ok(digests),
        Some(id) => {
            let text = format!("buildah hands out image {image} without its layer {id}");
            Err(EngineError::Unavailable(text))
        }
    }
}

/// Reads `<hex>.tar` for every wanted layer of a docker-archive.
fn from_archive(
    archive: &mut dyn Read,
    layers: &BTreeSet<OciDigest>,
) -> io::Result<BTreeMap<OciDigest, Digest>> {
    let by_name: BTreeMap<String, &OciDigest> =
        layers.iter().map(|id| (format!("{}.tar", id.hex()), id)).collect();
    let mut digests = BTreeMap::new();
    for entry in tar::Archive::new(&mut *archive).entries()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if let Some(id) = by_name.get(&name)
            && entry.header().entry_type().is_file()
        {
            digests.insert((*id).clone(), content::layer::digest(entry)?);
        }
    }
    io::copy(archive, &mut io::sink())?; // the padding at the end
    Ok(digests)
}
