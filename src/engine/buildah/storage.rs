//! Where buildah's store is, found without starting a program where that is possible.
//!
//! Source: containers/storage `types/options.go`. Only the plain cases are decided here: anything
//! that moves the store in a way not understood is left to `buildah info`.
#![expect(clippy::disallowed_methods, reason = "configuration files of the store")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The directories of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Where images and layers are (`--root`).
    pub root: PathBuf,
    /// Where mounts and locks are (`--runroot`).
    pub runroot: PathBuf,
}

impl Storage {
    /// What the program is told.
    pub fn arguments(&self) -> Vec<OsString> {
        let words: [&OsStr; 4] =
            ["--root".as_ref(), self.root.as_ref(), "--runroot".as_ref(), self.runroot.as_ref()];
        words.map(OsStr::to_owned).into()
    }
}

/// The files of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Where images and layers are.
    pub root: PathBuf,
    /// The driver: `overlay`, `vfs`.
    pub driver: String,
}

/// The user's home and the files that say where the store is.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Whether this is root, and not in a user namespace that only pretends.
    pub is_root: bool,
    /// `/etc` and `/usr/share`, in the order in which they are asked.
    pub system: Vec<PathBuf>,
}

/// Variables that move the store or change what is in it.
const VARIABLES: [&str; 4] =
    ["STORAGE_DRIVER", "STORAGE_OPTS", "CONTAINERS_STORAGE_CONF", "_CONTAINERS_ROOTLESS_UID"];

const DEFAULT_ROOT: &str = "/var/lib/containers/storage";

/// What is asked of a `storage.conf`.
#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    storage: StorageTable,
}

#[derive(Debug, Default, Deserialize)]
struct StorageTable {
    driver: Option<String>,
    graphroot: Option<PathBuf>,
    imagestore: Option<PathBuf>,
    #[serde(default)]
    options: toml::Table,
}

/// Finds the store that buildah uses when it is not told another; `None`: ask it.
pub fn default_location(surroundings: &Surroundings) -> Option<Location> {
    if VARIABLES.iter().any(|name| surroundings.environment.contains_key(*name)) {
        return None;
    }
    let Some(file) = configuration_file(surroundings) else {
        return location(&default_root(surroundings)?, None);
    };
    if !surroundings.is_root {
        return None; // which of its lines count for others than root is a long story
    }
    let configuration: Configuration = toml::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let table = configuration.storage;
    if table.imagestore.is_some() || table.options.contains_key("additionalimagestores") {
        return None;
    }
    let root = table.graphroot.unwrap_or_else(|| DEFAULT_ROOT.into());
    location(&root, table.driver.filter(|driver| !driver.is_empty()))
}

/// The store in `root`; `None` if it cannot be told which driver keeps it.
pub fn location(root: &Path, driver: Option<String>) -> Option<Location> {
    let driver = match driver {
        Some(driver) => driver,
        None => only_driver(root)?,
    };
    Some(Location { root: root.to_path_buf(), driver })
}

/// The driver whose images are in the store, if there is exactly one.
fn only_driver(root: &Path) -> Option<String> {
    let mut drivers = fs::read_dir(root).ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_suffix("-images").map(str::to_owned)
    });
    let driver = drivers.next()?;
    drivers.next().is_none().then_some(driver)
}

fn configuration_file(surroundings: &Surroundings) -> Option<PathBuf> {
    let variable = |name: &str| surroundings.environment.get(name).map(PathBuf::from);
    let mut candidates: Vec<PathBuf> = Vec::new();
    if !surroundings.is_root {
        let home = variable("HOME").map(|home| home.join(".config"));
        candidates.extend(variable("XDG_CONFIG_HOME").or(home));
    }
    candidates.extend(surroundings.system.iter().cloned());
    let files = candidates.into_iter().map(|directory| directory.join("containers/storage.conf"));
    files.into_iter().find(|file| file.exists())
}

fn default_root(surroundings: &Surroundings) -> Option<PathBuf> {
    if surroundings.is_root {
        return Some(DEFAULT_ROOT.into());
    }
    let variable = |name: &str| surroundings.environment.get(name).map(PathBuf::from);
    let data =
        variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))?;
    Some(data.join("containers/storage"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(home: &Path, driver: &str) -> PathBuf {
        let root = home.join("store");
        fs::create_dir_all(root.join(format!("{driver}-images"))).unwrap();
        root
    }

    fn configured(home: &Path, text: &str, is_root: bool) -> Option<Location> {
        let etc = home.join("etc");
        fs::create_dir_all(etc.join("containers")).unwrap();
        fs::write(etc.join("containers/storage.conf"), text).unwrap();
        default_location(&Surroundings {
            environment: BTreeMap::new(),
            is_root,
            system: vec![home.join("nothing"), etc],
        })
    }

    #[test]
    fn a_configured_root_is_found_with_its_driver() {
        let home = tempfile::tempdir().unwrap();
        let root = store(home.path(), "overlay");
        let text = format!("[storage]\ndriver = \"\"\ngraphroot = {root:?}\n");
        let found = configured(home.path(), &text, true).unwrap();
        assert_eq!(found, Location { root, driver: "overlay".into() });
    }

    #[test]
    fn a_configured_driver_is_believed() {
        let home = tempfile::tempdir().unwrap();
        let root = store(home.path(), "overlay");
        let text = format!("[storage]\ndriver = \"vfs\"\ngraphroot = {root:?}\n");
        assert_eq!(configured(home.path(), &text, true).unwrap().driver, "vfs");
    }

    #[test]
    fn what_is_not_understood_is_left_to_the_program() {
        let home = tempfile::tempdir().unwrap();
        let root = store(home.path(), "overlay");
        let plain = format!("[storage]\ngraphroot = {root:?}\n");
        assert!(configured(home.path(), &plain, true).is_some());
        assert_eq!(configured(home.path(), &plain, false), None, "the system's file, not as root");
        let split = format!("{plain}imagestore = \"/x\"\n");
        assert_eq!(configured(home.path(), &split, true), None);
        let more = format!("{plain}[storage.options]\nadditionalimagestores = [\"/x\"]\n");
        assert_eq!(configured(home.path(), &more, true), None);
        assert_eq!(configured(home.path(), "[storage", true), None);
    }

    #[test]
    fn variables_that_move_the_store_are_left_to_the_program() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("containers/storage/vfs-images");
        fs::create_dir_all(&data).unwrap();
        let mut surroundings = Surroundings {
            environment: BTreeMap::from([(
                "XDG_DATA_HOME".into(),
                home.path().display().to_string(),
            )]),
            is_root: false,
            system: Vec::new(),
        };
        let found = default_location(&surroundings).unwrap();
        assert_eq!(found.root, home.path().join("containers/storage"));
        assert_eq!(found.driver, "vfs");
        surroundings.environment.insert("STORAGE_DRIVER".into(), "overlay".into());
        assert_eq!(default_location(&surroundings), None);
    }

    #[test]
    fn two_drivers_in_one_root_are_left_to_the_program() {
        let home = tempfile::tempdir().unwrap();
        let root = store(home.path(), "overlay");
        store(home.path(), "vfs");
        assert_eq!(location(&root, None), None);
        assert!(location(&root, Some("vfs".into())).is_some());
    }
}
