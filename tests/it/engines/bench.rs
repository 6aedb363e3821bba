//! What the tests of all engines need.
#![expect(clippy::disallowed_methods, reason = "tests look at files and at the machine")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use imgraph::context::{Entry, EntryKind};
use imgraph::digest::Digest;
use imgraph::engine::scratch::ScratchDir;
use imgraph::engine::{CacheUse, Progress, Request};
use imgraph::image::Platform;
use rustix::process::{self, Pid, Signal};

/// A static busybox.
pub(crate) fn busybox() -> Option<PathBuf> {
    let named = std::env::var_os("IMGRAPH_BUSYBOX").map(PathBuf::from);
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    named.into_iter().chain(places).find(|place| place.is_file())
}

/// Steps as `number/total text`, lines as `| line`.
pub(crate) fn shown(progress: &Progress) -> String {
    match progress {
        Progress::Step { number, total, text, cached } => {
            let total = total.map_or("?".to_owned(), |total| total.to_string());
            format!("{number}/{total} {text}{}", if *cached { " CACHED" } else { "" })
        }
        Progress::Log(line) => format!("| {line}"),
        Progress::Warning(text) => format!("! {text}"),
    }
}

/// A build of no Dockerfile yet, on the context `empty` below `home`, which need not be there.
pub(crate) fn request(home: &Path, scratch: PathBuf) -> Request {
    Request {
        image: "test".parse().unwrap(),
        dockerfile_path: "/w/images/test/Dockerfile".into(),
        dockerfile: Vec::new(),
        context: home.join("empty"),
        files: Vec::new(),
        sources: Vec::new(),
        target: None,
        platform: Platform::host(),
        args: BTreeMap::new(),
        labels: BTreeMap::new(),
        parents: Vec::new(),
        locked: Vec::new(),
        secrets: Vec::new(),
        ssh: Vec::new(),
        network: None,
        hosts: Vec::new(),
        pull: false,
        cache_from: Vec::new(),
        cache_to: Vec::new(),
        sbom: false,
        provenance: None,
        allow: Vec::new(),
        references: Vec::new(),
        epoch: 0,
        cache: CacheUse::Use,
        scratch: ScratchDir::new(scratch),
    }
}

/// Everything below a directory, as it would be fingerprinted.
pub(crate) fn entries(context: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut waiting = vec![context.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for item in fs::read_dir(&directory).unwrap() {
            let item = item.unwrap();
            let metadata = item.metadata().unwrap();
            let kind = if metadata.is_dir() {
                waiting.push(item.path());
                EntryKind::Directory
            } else if metadata.is_symlink() {
                EntryKind::Symlink(fs::read_link(item.path()).unwrap())
            } else {
                let content = Digest::of_content(&fs::read(item.path()).unwrap());
                EntryKind::File { size: metadata.len(), content }
            };
            let path = item.path().strip_prefix(context).unwrap().to_path_buf();
            found.push(Entry { path, kind, mode: metadata.mode() & 0o7777, xattrs: None });
        }
    }
    found.sort();
    found
}

/// The arguments of the processes that have this word in them.
pub(crate) fn processes(word: &str) -> Vec<String> {
    running(word).map(|(_, arguments)| arguments).collect()
}

/// Ends the processes that have this word in their arguments.
pub(crate) fn kill(word: &str) {
    for (pid, _) in running(word) {
        process::kill_process(pid, Signal::KILL).unwrap_or_default();
    }
}

fn running(word: &str) -> impl Iterator<Item = (Pid, String)> {
    let found = fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let text = fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&text).replace('\0', " ")))
    });
    found.filter(move |(_, arguments)| arguments.contains(word))
}

/// The digest of what a tag points at in a registry.
pub(crate) fn remote(registry: &str, repository: &str, tag: &str) -> Option<String> {
    let mut stream = TcpStream::connect(registry).unwrap();
    let accept = "application/vnd.docker.distribution.manifest.v2+json, \
        application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
    let head =
        format!("HEAD /v2/{repository}/manifests/{tag} HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let digest = answer.lines().find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
    digest.map(str::to_owned)
}
