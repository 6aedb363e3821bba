//! Paths of COPY, ADD, WORKDIR and mounts, as the system that is built for writes them.
//!
//! Follows BuildKit's `util/system/path.go`. It knows no file system.

use crate::gopath;

/// The system whose paths are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// Slashes.
    Unix,
    /// Slashes and backslashes; a drive letter, which must be `C:`.
    Windows,
}

impl System {
    /// The system of a platform.
    pub(crate) fn of(os: &str) -> Self {
        if os == "windows" { Self::Windows } else { Self::Unix }
    }
}

/// Why a path cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LocationError {
    /// `C:` and nothing behind it.
    #[error("a drive letter without a path")]
    OnlyDrive,
    /// `\\server\share`
    #[error("a path on another machine")]
    Network,
    /// `D:\..`
    #[error("a path on a drive other than C:")]
    OtherDrive,
}

/// A path with slashes and without a drive letter.
fn slashed(path: &str, system: System) -> Result<String, LocationError> {
    if system == System::Unix {
        return Ok(path.to_owned());
    }
    let path = path.replace('\\', "/");
    if path.len() == 2 && path.ends_with(':') {
        return Err(LocationError::OnlyDrive);
    }
    if path.starts_with("//") {
        return Err(LocationError::Network);
    }
    let path = match path.split_once(':') {
        None => path.as_str(),
        Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => rest,
        Some(_) => return Err(LocationError::OtherDrive),
    };
    Ok(clean(path))
}

/// A path below `parent`, or from `/` if it is absolute (`NormalizePath`). Of an absolute path of
/// Unix nothing is cleaned.
pub(crate) fn below(parent: &str, path: &str, system: System) -> Result<String, LocationError> {
    let path = if path.is_empty() { parent.to_owned() } else { slashed(path, system)? };
    Ok(if path.starts_with('/') { path } else { join(parent, &path) })
}

/// Whether a path begins at the root.
pub(crate) fn is_absolute(path: &str, system: System) -> bool {
    slashed(path, system).is_ok_and(|path| path.starts_with('/'))
}

/// `path.Join("/", parent, path)`.
pub(crate) fn join(parent: &str, path: &str) -> String {
    clean(&format!("/{parent}/{path}"))
}

/// `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    String::from_utf8_lossy(&gopath::clean(path.as_bytes())).into_owned()
}

/// Whether a path has a wildcard (`containsWildcards` of `convert_copy.go`).
pub(crate) fn has_wildcards(path: &str) -> bool {
    gopath::has_wildcards(path.as_bytes())
}
