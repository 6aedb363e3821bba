//! A parent for a builder that does not read the daemon's images: a directory with the image as an
//! OCI layout, out of `docker save`. buildx sends what the builder does not have.
#![expect(clippy::disallowed_methods, reason = "the layout is written to the disk")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use tar::Archive;

use crate::digest::OciDigest;
use crate::engine::program::Program;
use crate::engine::{Cancel, EngineError, Parent};

/// Writes the parent into the new directory `path` and returns what `--build-context` calls it.
pub fn context(
    program: &Program,
    parent: &Parent,
    path: &Path,
    cancel: &Cancel,
) -> Result<String, EngineError> {
    let arguments = ["image", "save", parent.id.as_str()];
    let digest = program.stream(&arguments, cancel, |archive| unpack(archive, path))?;
    match digest {
        Some(digest) => Ok(format!("oci-layout://{}@{digest}", path.display())),
        None => Err(EngineError::Unsupported(format!(
            "the builder does not see the images of the Docker daemon, and this daemon cannot hand \
             {} over: Docker 25 can",
            parent.reference
        ))),
    }
}

/// Unpacks what belongs to an OCI layout, and returns the digest of its manifest.
fn unpack(archive: &mut dyn Read, path: &Path) -> io::Result<Option<OciDigest>> {
    fs::create_dir(path)?;
    for entry in Archive::new(&mut *archive).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type().is_file() && belongs(&name) {
            let file = path.join(&name);
            fs::create_dir_all(file.parent().unwrap_or(path))?;
            io::copy(&mut entry, &mut File::create(file)?)?;
        }
    }
    io::copy(archive, &mut io::sink())?; // the padding at the end
    match File::open(path.join("index.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        index => {
            let index: Index = serde_json::from_reader(io::BufReader::new(index?))?;
            Ok(index.manifests.into_iter().next().map(|manifest| manifest.digest))
        }
    }
}

/// Whether a path is of an OCI layout: nothing outside the directory is.
fn belongs(name: &str) -> bool {
    let blob = name.strip_prefix("blobs/").map(|blob| blob.replacen('/', ":", 1));
    matches!(name, "index.json" | "oci-layout")
        || blob.is_some_and(|blob| blob.parse::<OciDigest>().is_ok())
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    digest: OciDigest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_a_layout_is_written() {
        let blob = format!("blobs/sha256/{}", "a".repeat(64));
        for name in ["index.json", "oci-layout", &blob] {
            assert!(belongs(name), "{name}");
        }
        for name in
            ["manifest.json", "../index.json", "blobs/sha256/../../x", "/index.json", "blobs/x"]
        {
            assert!(!belongs(name), "{name}");
        }
    }

    #[test]
    fn an_archive_without_an_index_is_none() {
        let home = tempfile::tempdir().unwrap();
        let archive = tar::Builder::new(Vec::new()).into_inner().unwrap();
        assert_eq!(unpack(&mut &archive[..], &home.path().join("p")).unwrap(), None);
    }
}
