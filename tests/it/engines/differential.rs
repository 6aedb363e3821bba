//! What a plain `buildah build` or `docker build` on the directory itself puts into an image, held
//! against what imgraph says that the Dockerfile reads; and that a BuildKit which is given no more
//! than that asks for no more.
//!
//! Every Dockerfile below copies to `/c` so that each path of the image is the path of the context.
//! Files count with content and permission bits, links with their text, directories where they are
//! empty.
//!
//! Left out for buildah, because 1.28 knows no better: `--parents` and `--exclude` (it has neither); names
//! with brackets in them (it takes what a wildcard matched for a wildcard again); setuid bits (it
//! drops them, imgraph counts them); bind mounts beside an ignore file (it mounts what is ignored as
//! well, and imgraph does not hand it out).
#![expect(clippy::disallowed_methods, reason = "tests look at files")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use imgraph::context::{Entry, EntryKind};
use imgraph::digest::Digest;
use imgraph::dockerfile::Flavour;
use imgraph::engine::Request;
use imgraph::gather::inputs::{Disk, Wide};
use imgraph::gather::stat::StatCache;
use imgraph::gopath;
use imgraph::image::Platform;
use imgraph::load::{Loaded, load};

use super::buildah::Bench;
use super::buildkit;
use super::buildkit::image::Item;
use crate::conformance::aloud;
use crate::support::Workspace;

/// What every Dockerfile finds in its context, the directory `images/x`.
const FILES: &str = "
    //- images/x/a.txt
    a
    //- images/x/b.txt mode=600
    b
    //- images/x/.c.txt mode=755
    c
    //- images/x/d.md
    d
    //- images/x/src/main.c mode=640
    main
    //- images/x/src/main.o
    object
    //- images/x/src/lib/lib.c
    lib
    //- images/x/src/lib/lib.o
    object
    //- images/x/src/lib/keep.o mode=444
    keep
    //- images/x/src/empty/
    //- images/x/src/run.sh mode=751
    run
    //- images/x/links/here -> ../a.txt
    //- images/x/links/nowhere -> no/such/file
    //- images/x/links/up -> ..
    //- images/x/to-file -> src/main.c
    //- images/x/to-directory -> src/lib
    //- images/x/through -> to-directory
    //- elsewhere/e.txt mode=700
    e
    //- elsewhere/f.log
    f
    //- elsewhere/.dockerignore
    *.log
";

/// Claim, further files, Dockerfile.
const TABLE: &[(&str, &str, &str)] = &[
    ("a file with its bits", "", "COPY b.txt /c/"),
    ("several files", "", "COPY a.txt .c.txt ./b.txt /c/\nCOPY /src/main.c /c/src/"),
    ("a directory with all that is in it", "", "COPY src /c/src/"),
    ("the whole context", "", "COPY . /c/"),
    ("wildcards match dots, and brackets a class", "", "COPY *.txt [^a-c].m? /c/"),
    ("a wildcard below a directory", "", "COPY src/*.[co] src/r* /c/src/"),
    ("a source by an argument", "", "ARG DIR=lib\nCOPY src/${DIR}/*.c /c/src/lib/"),
    ("links in a directory stay links", "", "COPY links /c/links/"),
    ("a source that is a link to a file is followed", "", "COPY to-file /c/"),
    (
        "a source that is a link to a directory is followed",
        "",
        "COPY to-directory /c/to-directory/",
    ),
    ("a link to a link is followed", "", "COPY through /c/through/"),
    (
        "an exception in an ignore file",
        "//- images/x/.dockerignore\n# all but the library\n*\n!src/lib\n**/*.o\n!**/keep.o\n",
        "COPY . /c/",
    ),
    (
        "an ignored directory of which a file is taken back",
        "//- images/x/.dockerignore\nsrc\nlinks\n!src/lib/lib.c\n",
        "COPY . /c/",
    ),
    (
        "an ignore file holds for named sources",
        "//- images/x/.dockerignore\n**/*.o\nsrc/empty\n",
        "COPY src /c/src/\nCOPY *.txt /c/",
    ),
    (
        "a .containerignore wins",
        "//- images/x/.containerignore\nsrc\n//- images/x/.dockerignore\nlinks\n",
        "COPY . /c/",
    ),
    (
        "a context elsewhere with its ignore file",
        "//- layers.toml\n[image.x]\ncontext = '//elsewhere'\n",
        "COPY . /c/",
    ),
    ("ADD of a file", "", "ADD a.txt /c/\nADD src/lib/lib.c /c/src/lib/"),
    ("ADD unpacks an archive", "", "ADD packed.tar /c/"),
    ("a bind mount of everything", "", "RUN --mount=type=bind,target=/m busybox cp -a /m /c"),
    (
        "a bind mount of a directory",
        "",
        "RUN --mount=type=bind,source=src/lib,target=/m mkdir -p /c/src && busybox cp -a /m /c/src/lib",
    ),
    (
        "only stages that the target needs",
        "",
        "COPY src/lib /c/src/lib\nFROM scratch AS unused\nCOPY a.txt /c/\nFROM scratch\nCOPY --from=0 /c /c",
    ),
];

/// The same, without what buildah 1.28 cannot do.
const MORE: &[(&str, &str, &str)] = &[
    (
        "names with brackets",
        "//- images/x/[a].txt\nbrackets\n//- images/x/src/[lib]/x\nx\n",
        "COPY *.txt /c/\nCOPY src/[[]lib] /c/src/[lib]/",
    ),
    ("more bits than nine", "//- images/x/s mode=4751\nsetuid\n", "COPY s /c/\nCOPY src /c/src/"),
    (
        "a bind mount beside an ignore file",
        "//- images/x/.dockerignore\n**/*.o\nlinks\n",
        "RUN --mount=type=bind,target=/m busybox cp -a /m /c",
    ),
    (
        "a Dockerfile's own ignore file",
        "//- images/x/Dockerfile.dockerignore\nsrc\n//- images/x/.dockerignore\nlinks\n",
        "COPY . /c/",
    ),
];

/// A file by content and bits, a link by its text, or a directory.
type Tree = BTreeMap<PathBuf, (EntryKind, u32)>;

#[test]
fn what_buildah_copies_is_what_imgraph_says_is_read() {
    let Some(bench) = Bench::new() else { return };
    let mut wrong = Vec::new();
    for (claim, files, dockerfile) in TABLE {
        let workspace = Workspace::new(FILES);
        workspace.write("images/x/Dockerfile", format!("FROM acme/base:0.1.0\n{dockerfile}\n"));
        workspace.write("images/x/packed.tar", archive());
        if !files.is_empty() {
            workspace.add(files);
        }
        let loaded = load(&workspace.root(), Flavour::Buildah, &Platform::host()).unwrap();
        let seen = built(&bench, &workspace, &loaded);
        let read = said(entries(&loaded, Flavour::Buildah), &seen);
        assert!(!seen.is_empty(), "{claim}: nothing was copied");
        if seen != read {
            let differences = differences(("buildah", &seen), ("imgraph", &read));
            wrong.push(format!("{claim}\n{dockerfile}{differences}"));
        }
    }
    let (passed, failed) = (TABLE.len() - wrong.len(), wrong.len());
    aloud(&format!("differential  {passed} passed  {failed} failed"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_docker_engine_copies_is_what_imgraph_says_is_read_and_all_that_it_asks_for() {
    buildkit::Bench::each(|bench| {
        let mut wrong = String::new();
        for (claim, files, dockerfile) in TABLE.iter().chain(MORE) {
            let workspace = Workspace::new(FILES);
            let dockerfile = bench.named(&format!("FROM @busybox\n{dockerfile}\n"));
            workspace.write("images/x/Dockerfile", &dockerfile);
            workspace.write("images/x/packed.tar", archive());
            if !files.is_empty() {
                workspace.add(files);
            }
            let loaded = load(&workspace.root(), Flavour::BuildKit, &Platform::host()).unwrap();
            let image = loaded.graph.image(loaded.graph.find("x").unwrap());
            let context = workspace.path(&image.spec.context);
            let files = entries(&loaded, Flavour::BuildKit);
            let file = workspace.path("images/x/Dockerfile");
            let Some(id) = bench.docker_build(&context, &file) else { return };
            let seen = exported(bench, &id);
            assert!(!seen.is_empty(), "{claim}: nothing was copied");
            let read = said(files.clone(), &seen);
            wrong += &differences(("docker", &seen), ("imgraph", &read));

            let sources = image.reads.context.iter().map(|read| read.source.clone()).collect();
            let request = Request { context, files, sources, ..bench.request(&dockerfile) };
            match bench.build(&request) {
                Ok(built) => {
                    let given = exported(bench, built.output.id.as_str());
                    wrong += &differences(("docker", &seen), ("what it was given", &given));
                }
                Err(error) => write!(wrong, "\n    {error:?}").unwrap(),
            }
            assert!(wrong.is_empty(), "{claim}\n{dockerfile}{wrong}");
        }
    });
}

/// What `/c` of an image in the store of a Docker Engine holds.
fn exported(bench: &buildkit::Bench, id: &str) -> Tree {
    let below = |(path, item): (String, Item)| {
        let path = PathBuf::from(path.strip_prefix("c/")?);
        let kind = match item.kind.split_once(' ') {
            Some((_, target)) => EntryKind::Symlink(target.into()),
            None if item.kind == "directory" => EntryKind::Directory,
            None => file(&item.content),
        };
        Some((path, (kind, item.mode & 0o7777)))
    };
    leaves(bench.files(id).into_iter().filter_map(below).collect())
}

/// What `/c` of the image holds after a build of the directory as it is.
fn built(bench: &Bench, workspace: &Workspace, loaded: &Loaded) -> Tree {
    let image = loaded.graph.image(loaded.graph.find("x").unwrap());
    let id_file = workspace.path("id").display().to_string();
    let file = workspace.path(&image.spec.dockerfile).display().to_string();
    let context = workspace.path(&image.spec.context).display().to_string();
    let plain = ["build", "--isolation=chroot", "--network=host", "--format=docker", "--no-cache"];
    let own = ["--iidfile", &id_file, "--file", &file, &context];
    bench.buildah(&[&plain[..], &own[..]].concat());
    let id = workspace.read("id");
    let container = bench.buildah(&["from", id.trim()]);
    let mount = bench.buildah(&["mount", container.trim()]);
    let seen = tree(&Path::new(mount.trim()).join("c"));
    bench.buildah(&["rm", container.trim()]);
    leaves(seen)
}

/// What imgraph says that the image reads.
fn entries(loaded: &Loaded, flavour: Flavour) -> Vec<Entry> {
    let id = loaded.graph.find("x").unwrap();
    let stat = StatCache::empty();
    let (workspace, graph) = (&loaded.workspace, &loaded.graph);
    let disk = Disk { workspace, graph, flavour, stat: &stat, wide: &Wide::default() };
    disk.entries(id).unwrap()
}

/// The same as a COPY to `/c` would leave it.
fn said(entries: Vec<Entry>, seen: &Tree) -> Tree {
    let entry = |entry: Entry| (entry.path, (entry.kind, entry.mode));
    let mut read: Tree = entries.into_iter().map(entry).collect();
    if read.keys().eq([Path::new("packed.tar")]) {
        return unpacked();
    }
    follow(&mut read, seen);
    leaves(read)
}

/// A link that is a source arrives as what it leads to: imgraph counts both, and one is seen.
fn follow(read: &mut Tree, seen: &Tree) {
    let is_link = |kind: &EntryKind| matches!(kind, EntryKind::Symlink(_));
    let arrived = |path: &PathBuf| {
        seen.iter().any(|(other, (kind, _))| other.starts_with(path) && !is_link(kind))
    };
    let links = read.iter().filter(|(path, (kind, _))| is_link(kind) && arrived(path));
    let links: Vec<PathBuf> = links.map(|(path, _)| path.clone()).collect();
    for link in links {
        let mut target = link.clone();
        while let Some((EntryKind::Symlink(text), _)) = read.get(&target).cloned() {
            read.remove(&target);
            let joined = target.parent().unwrap().join(text);
            let clean = gopath::clean(joined.to_str().unwrap().as_bytes());
            target = String::from_utf8(clean).unwrap().into();
        }
        let below = read.keys().filter(|path| path.starts_with(&target)).cloned();
        for path in below.collect::<Vec<_>>() {
            let entry = read.remove(&path).unwrap();
            let moved = link.components().chain(path.strip_prefix(&target).unwrap().components());
            read.insert(moved.collect(), entry);
        }
    }
}

/// Without the directories that something else lies in: COPY makes those as it likes.
fn leaves(tree: Tree) -> Tree {
    let full: Vec<PathBuf> =
        tree.keys().filter_map(|path| path.parent().map(Path::to_path_buf)).collect();
    let is_leaf = |path: &Path, kind: &EntryKind| {
        *kind != EntryKind::Directory || !full.iter().any(|parent| parent == path)
    };
    let leaves = tree.into_iter().filter(|(path, (kind, _))| is_leaf(path, kind));
    leaves.map(|(path, (kind, mode))| (path, bits(kind, mode))).collect()
}

/// The bits of a link mean nothing.
fn bits(kind: EntryKind, mode: u32) -> (EntryKind, u32) {
    let mode = if matches!(kind, EntryKind::Symlink(_)) { 0 } else { mode };
    (kind, mode)
}

fn tree(top: &Path) -> Tree {
    let mut found = Tree::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for item in fs::read_dir(&directory).unwrap() {
            let path = item.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = if metadata.is_dir() {
                waiting.push(path.clone());
                EntryKind::Directory
            } else if metadata.is_symlink() {
                EntryKind::Symlink(fs::read_link(&path).unwrap())
            } else {
                file(&fs::read(&path).unwrap())
            };
            let path = path.strip_prefix(top).unwrap().to_path_buf();
            found.insert(path, (kind, metadata.mode() & 0o7777));
        }
    }
    found
}

fn file(content: &[u8]) -> EntryKind {
    EntryKind::File { size: content.len() as u64, content: Digest::of_content(content) }
}

fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode) in [("in/one", 0o640), ("two", 0o755)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(path.len() as u64);
        archive.append_data(&mut header, path, path.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn unpacked() -> Tree {
    let mut tree = Tree::new();
    for entry in tar::Archive::new(&archive()[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let path = entry.path().unwrap().into_owned();
        tree.insert(path, (file(&content), entry.header().mode().unwrap()));
    }
    tree
}

fn differences((who, seen): (&str, &Tree), (whose, read): (&str, &Tree)) -> String {
    let mut text = String::new();
    for (who, one, other) in [(who, seen, read), (whose, read, seen)] {
        for (path, what) in one {
            if other.get(path) != Some(what) {
                let (kind, mode) = what;
                write!(text, "\n    only {who}: {} {mode:o} {kind:?}", path.display()).unwrap();
            }
        }
    }
    text
}
