//! The platform of `FROM --platform=..`, as containerd reads it (`platforms.Parse`).

use crate::image::Platform;

/// Systems that may stand alone (containerd `isKnownOS`).
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// Processors that may stand alone (containerd `isKnownArch`).
const PROCESSORS: [&str; 29] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "i386",
    "x86_64",
    "aarch64",
    "armhf",
    "armel",
];

/// Reads a platform; a system or a processor alone is completed with what the engine runs on.
pub(crate) fn parse(text: &str, engine: &Platform) -> Option<Platform> {
    let parts: Vec<&str> = text.split('/').collect();
    let (system, rest) = parts.split_first()?;
    let is_word = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        !part.is_empty() && part.chars().all(good)
    };
    if !is_system(system) || !rest.iter().all(|part| is_word(part)) {
        return None;
    }
    if !rest.is_empty() {
        return text.parse().ok();
    }
    let word = text.to_lowercase();
    let whole = if SYSTEMS.contains(&word.as_str()) || word == "macos" {
        format!("{word}/{}", engine.arch)
    } else if PROCESSORS.contains(&word.as_str()) {
        format!("{}/{word}", engine.os)
    } else {
        return None;
    };
    whole.parse().ok()
}

/// `linux`, or with a version: `windows(10.0.17763)`.
fn is_system(text: &str) -> bool {
    let (name, version) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')').map(Some)),
        None => (text, Some(None)),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let Some(version) = version else { return false };
    let version_good = |c: char| c.is_ascii_alphanumeric() || "_.-%+".contains(c);
    !name.is_empty()
        && name.chars().all(good)
        && version.is_none_or(|version: &str| version.chars().all(version_good))
}
