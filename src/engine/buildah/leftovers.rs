//! Working containers that a stopped build leaves behind, and how they are told from others.
//!
//! buildah keeps the options of a build with each of its working containers. Every build of imgraph
//! has a secret that nothing mounts, whose id says which file imgraph holds locked while the build
//! runs: the marker. So the remains of this build are known, and so are those of an imgraph that
//! was killed: their file is not locked, or is gone. A container that was killed so early that
//! nothing is kept with it yet is known by that.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::Deserialize;

use crate::engine::EngineError;
use crate::engine::buildah::isolation::PROBE_NAME;
use crate::engine::buildah::store::{Container, Store};

/// How the id of a marker begins; the path of its lock follows, in hexadecimal digits.
const MARKER: &str = "imgraph-";

/// After this long, a container that buildah keeps nothing about is not just being made.
const SETTLED: Duration = Duration::from_mins(1);

/// The mark of one build, as long as it runs.
#[derive(Debug)]
pub struct Marker {
    id: String,
    _lock: File,
}

impl Marker {
    /// Creates and locks the file at `path`.
    pub fn new(path: &Path) -> Result<Self, EngineError> {
        let lock = |path| -> std::io::Result<File> {
            let file = File::create(path)?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(file)
        };
        let lock = lock(path).map_err(|source| EngineError::File {
            action: "lock",
            path: path.to_path_buf(),
            source,
        })?;
        let digits = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}"));
        Ok(Self { id: format!("{MARKER}{}", digits.collect::<String>()), _lock: lock })
    }

    /// The value of `--secret`.
    pub fn secret(&self) -> String {
        format!("id={},src=/dev/null", self.id)
    }

    fn is_on(&self, builder: &Builder) -> bool {
        builder.markers().any(|id| id == self.id)
    }
}

/// What buildah keeps about a working container.
#[derive(Default, Deserialize)]
struct Builder {
    #[serde(rename = "CommonBuildOpts")]
    options: Option<BuildOptions>,
}

#[derive(Deserialize)]
struct BuildOptions {
    #[serde(rename = "Secrets")]
    secrets: Option<Vec<String>>,
}

impl Builder {
    fn read(store: &Store, container: &Container) -> Option<Self> {
        store.builder(container).map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default())
    }

    fn markers(&self) -> impl Iterator<Item = &str> {
        let secrets = self.options.iter().filter_map(|options| options.secrets.as_ref()).flatten();
        secrets.filter_map(|secret| {
            let id = secret.split(',').find_map(|field| field.strip_prefix("id="))?;
            id.starts_with(MARKER).then_some(id)
        })
    }
}

/// The working containers of the build that carries `marker`.
pub fn of_build(store: &Store, marker: &Marker) -> Result<Vec<String>, EngineError> {
    let mut containers = store.containers()?;
    containers.retain(|container| {
        Builder::read(store, container).is_some_and(|builder| marker.is_on(&builder))
    });
    Ok(containers.into_iter().map(|container| container.id).collect())
}

/// The ids of all containers there are.
pub fn all(store: &Store) -> Result<BTreeSet<String>, EngineError> {
    Ok(store.containers()?.into_iter().map(|container| container.id).collect())
}

/// The containers that came after `before` and that buildah keeps nothing about: just being made,
/// unless whoever made them is dead.
pub fn unfinished(store: &Store, before: &BTreeSet<String>) -> Result<Vec<String>, EngineError> {
    let mut containers = store.containers()?;
    containers.retain(|container| {
        !before.contains(&container.id)
            && container.is_buildahs()
            && store.builder(container).is_none()
    });
    Ok(containers.into_iter().map(|container| container.id).collect())
}

/// The working containers of imgraph processes that are no more.
pub fn of_the_dead(store: &Store) -> Result<Vec<String>, EngineError> {
    let mut containers = store.containers()?;
    containers.retain(|container| {
        let is_settled = || store.age(container).is_some_and(|age| age > SETTLED);
        match Builder::read(store, container) {
            _ if container.has_name(PROBE_NAME) => is_settled(),
            Some(builder) => builder.markers().any(|id| !is_held(id)),
            None => container.is_buildahs() && is_settled(),
        }
    });
    Ok(containers.into_iter().map(|container| container.id).collect())
}

/// Whether somebody holds the lock that a marker names.
fn is_held(id: &str) -> bool {
    let Some(path) = id.strip_prefix(MARKER).and_then(lock_path) else { return true };
    let Ok(file) = fs::OpenOptions::new().write(true).open(path) else { return false };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn lock_path(digits: &str) -> Option<PathBuf> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) || digits.is_empty() {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    Some(std::ffi::OsString::from_vec(bytes?).into())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a store is made of files")]
mod tests {
    use super::*;
    use crate::engine::buildah::storage::Location;

    /// A store with one working container whose options are `secrets`; `None`: without options.
    fn store(home: &Path, secrets: Option<&[String]>) -> Store {
        let containers = home.join("overlay-containers");
        let userdata = containers.join("c1/userdata");
        fs::create_dir_all(&userdata).unwrap();
        let record = r#"[{"id":"c1","names":["ab-working-container"]}]"#;
        fs::write(containers.join("containers.json"), record).unwrap();
        if let Some(secrets) = secrets {
            let builder = serde_json::json!({ "CommonBuildOpts": { "Secrets": secrets } });
            fs::write(userdata.join("buildah.json"), builder.to_string()).unwrap();
        }
        Store::new(Location { root: home.to_path_buf(), driver: "overlay".into() })
    }

    #[test]
    fn a_builds_own_containers_are_found_and_are_alive() {
        let home = tempfile::tempdir().unwrap();
        let marker = Marker::new(&home.path().join("lock")).unwrap();
        let store = store(home.path(), Some(&["id=npm,src=/x".into(), marker.secret()]));
        assert_eq!(of_build(&store, &marker).unwrap(), ["c1"]);
        assert!(of_the_dead(&store).unwrap().is_empty());
        let other = Marker::new(&home.path().join("other, with a comma")).unwrap();
        assert!(of_build(&store, &other).unwrap().is_empty());
    }

    #[test]
    fn containers_of_a_dead_imgraph_are_found() {
        for removed in [false, true] {
            let home = tempfile::tempdir().unwrap();
            let lock = home.path().join("lo,ck");
            let secret = Marker::new(&lock).unwrap().secret();
            let store = store(home.path(), Some(&[secret]));
            if removed {
                fs::remove_file(lock).unwrap();
            }
            assert_eq!(of_the_dead(&store).unwrap(), ["c1"], "removed: {removed}");
        }
    }

    #[test]
    fn containers_of_others_are_left_alone() {
        for secrets in
            [&[][..], &["id=npm,src=/x".to_owned()], &["id=imgraph-zz,src=/x".to_owned()]]
        {
            let home = tempfile::tempdir().unwrap();
            let store = store(home.path(), Some(secrets));
            assert!(of_the_dead(&store).unwrap().is_empty(), "{secrets:?}");
        }
    }

    #[test]
    fn a_container_that_is_just_being_made_is_not_dead() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path(), None);
        assert!(of_the_dead(&store).unwrap().is_empty());
        assert_eq!(unfinished(&store, &BTreeSet::new()).unwrap(), ["c1"]);
        assert!(unfinished(&store, &all(&store).unwrap()).unwrap().is_empty());
    }
}
