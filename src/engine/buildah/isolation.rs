//! How RUN commands are kept apart from the machine: found out once, by trying.
//!
//! Without an OCI runtime, or where its cgroups or networks cannot be made (in a container, on a
//! small virtual machine), buildah's default fails. `chroot` with the machine's network works
//! wherever buildah does.
#![expect(clippy::disallowed_methods, reason = "the probe is a file")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::engine::EngineError;
use crate::engine::program::Program;

/// How RUN commands are isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// As buildah does when it is not told otherwise.
    Default,
    /// By the OCI runtime, in the network of the machine.
    HostNetwork,
    /// By chroot alone, in the network of the machine.
    Chroot,
}

/// How the working container of a probe is called; the process id follows.
pub const PROBE_NAME: &str = "imgraph-probe-";

/// Programs that buildah's default may run, and where it looks besides `PATH`
/// (containers/common `pkg/config/default.go`).
const RUNTIMES: [&str; 5] = ["crun", "runc", "kata-runtime", "runsc", "krun"];
const RUNTIME_DIRECTORIES: [&str; 7] = [
    "/usr/bin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/sbin",
    "/bin",
    "/run/current-system/sw/bin",
];

impl Isolation {
    /// The flags of `buildah build` and `buildah run`.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::HostNetwork => &["--network=host"],
            Self::Chroot => &["--isolation=chroot", "--network=host"],
        }
    }

    /// The strictest that works here. `scratch` is a directory for the probe.
    ///
    /// A user who has set `BUILDAH_ISOLATION` has decided. Takes no time where there is no runtime,
    /// and about half a second where there is one.
    pub fn probe(
        program: &Program,
        environment: &BTreeMap<String, String>,
        scratch: &Path,
    ) -> Result<Self, EngineError> {
        if environment.contains_key("BUILDAH_ISOLATION") {
            return Ok(Self::Default);
        }
        if !has_runtime(environment) {
            return Ok(Self::Chroot);
        }
        match exit_program(std::env::consts::ARCH) {
            Some(exit) => try_out(program, &exit, scratch),
            None => Ok(Self::Default),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "buildah's own isolation",
            Self::HostNetwork => "an OCI runtime, host network",
            Self::Chroot => "chroot, host network",
        })
    }
}

fn has_runtime(environment: &BTreeMap<String, String>) -> bool {
    if environment.contains_key("BUILDAH_RUNTIME") {
        return true;
    }
    let path = environment.get("PATH").map_or("", String::as_str);
    let directories = std::env::split_paths(path).chain(RUNTIME_DIRECTORIES.map(PathBuf::from));
    let mut places = directories.flat_map(|directory| RUNTIMES.map(|name| directory.join(name)));
    places.any(|place| place.is_file())
}

/// Runs a program that does nothing in a container that holds nothing else.
fn try_out(program: &Program, exit: &[u8], scratch: &Path) -> Result<Isolation, EngineError> {
    let file = scratch.join("probe");
    let write = fs::write(&file, exit)
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)));
    write.map_err(|source| EngineError::File { action: "write", path: file.clone(), source })?;

    let name = format!("{PROBE_NAME}{}", std::process::id());
    let arguments = ["from", "--name", &name, "scratch"];
    program.answer(arguments)?;
    let file = file.to_string_lossy();
    let copied = program.answer(["copy", &name, &file, "/probe"]);
    let works = |isolation: &Isolation| {
        let flags = isolation.flags().iter().copied();
        let arguments = ["run"].into_iter().chain(flags).chain([name.as_str(), "/probe"]);
        program.answer(arguments).is_ok()
    };
    let found =
        copied.map(|_| [Isolation::Default, Isolation::HostNetwork].into_iter().find(works));
    program.answer(["rm", &name])?;
    Ok(found?.unwrap_or(Isolation::Chroot))
}

/// The smallest ELF file that ends with 0, for Linux on this processor: a header, one segment that
/// is the whole file, and the system call (gABI chapter 4 and 5).
fn exit_program(arch: &str) -> Option<Vec<u8>> {
    const ADDRESS: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let (machine, code): (u16, &[u8]) = match arch {
        // xor edi, edi; mov eax, 60; syscall
        "x86_64" => (62, &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
        // mov x0, 0; mov x8, 93; svc 0
        "aarch64" => (183, &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4]),
        _ => return None,
    };
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec(); // 64 bits, executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for word in [ADDRESS + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes()); // entry, segments, sections
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes()); // to be loaded
    file.extend(5u32.to_le_bytes()); // read and execute
    for word in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    Some(file)
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a skipped test is said aloud")]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_a_program_that_ends_with_0() {
        let Some(exit) = exit_program(std::env::consts::ARCH) else {
            eprintln!("skipped: no probe for this processor");
            return;
        };
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("exit");
        fs::write(&file, exit).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let (exit, output, _) = crate::process::capture(std::process::Command::new(&file)).unwrap();
        assert_eq!((exit, output.as_slice()), (crate::process::Exit::Code(0), &b""[..]));
    }

    #[test]
    fn what_the_user_says_is_not_probed() {
        let program = Program::new("/nonexistent/buildah".into(), Vec::new(), "");
        let environment = BTreeMap::from([("BUILDAH_ISOLATION".to_owned(), "rootless".to_owned())]);
        let found = Isolation::probe(&program, &environment, Path::new("/nonexistent")).unwrap();
        assert_eq!(found, Isolation::Default);
    }

    #[test]
    fn a_runtime_in_the_path_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().display().to_string();
        fs::write(home.path().join("crun"), "").unwrap();
        assert!(has_runtime(&BTreeMap::from([("PATH".to_owned(), path)])));
    }
}
