//! What is read of a context, rule by rule: a directory in, paths or the words of a problem out.
#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::diagnostic::{Severity, Span};
use crate::dockerfile::reads::ContextKind;
use crate::gather::root::Identity;
use crate::gather::stat::Keep;
use crate::ignorefile::Reader;

/// A workspace directory with one context, `images/app`.
struct Workspace {
    temporary: TempDir,
    ignore: IgnoreFile,
}

impl Workspace {
    /// A context with these files, each holding its own name; a slash at the end makes a
    /// directory, an arrow a link.
    fn new(paths: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let workspace = Self { temporary, ignore: IgnoreFile::absent() };
        fs::create_dir_all(workspace.context()).unwrap();
        for path in paths {
            workspace.make(path);
        }
        workspace
    }

    fn make(&self, text: &str) {
        let (name, target) = text.split_once(" -> ").map_or((text, None), |(n, t)| (n, Some(t)));
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, path).unwrap(),
            None if name.ends_with('/') => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, name).unwrap(),
        }
    }

    fn ignoring(mut self, text: &str) -> Self {
        let path = "images/app/.dockerignore";
        let (file, problems) = IgnoreFile::parse(path, text.as_bytes(), Reader::BuildKit);
        assert_eq!(problems, []);
        self.ignore = file;
        self
    }

    fn context(&self) -> PathBuf {
        self.temporary.path().join("images/app")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.context().join(name)
    }

    fn read(&self, reads: &[ContextRead]) -> Result<Listing, Vec<Diagnostic>> {
        self.read_with(reads, &StatCache::empty())
    }

    fn read_with(
        &self,
        reads: &[ContextRead],
        cache: &StatCache,
    ) -> Result<Listing, Vec<Diagnostic>> {
        let directory = self.context();
        let path = Path::new("images/app");
        entries(&Context { directory: &directory, path, ignore: &self.ignore, cache }, reads)
    }

    /// The paths that the sources bring, joined by blanks; directories with a slash at the end.
    fn brings(&self, reads: &[ContextRead]) -> String {
        let listing = self.read(reads).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let shown = |entry: &Entry| match &entry.kind {
            EntryKind::Directory => format!("{}/", entry.path.display()),
            EntryKind::File { .. } => entry.path.display().to_string(),
            EntryKind::Symlink(text) => format!("{}->{}", entry.path.display(), text.display()),
        };
        listing.entries.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    /// The one problem, as `code message (help)`.
    fn fails(&self, reads: &[ContextRead]) -> String {
        let problems = self.read(reads).unwrap_err();
        let [problem] = &problems[..] else { panic!("{problems:#?}") };
        let help = problem.help.as_deref().unwrap_or_default();
        format!("{} {} ({help})", problem.code, problem.message)
    }
}

fn copy(source: &str) -> ContextRead {
    ContextRead {
        kind: ContextKind::Copy,
        source: source.to_owned(),
        include: Vec::new(),
        exclude: Vec::new(),
        unpack: false,
        require: Vec::new(),
        span: Span { start: 7, end: 9 },
    }
}

fn excluding(source: &str, patterns: &[&str]) -> ContextRead {
    let exclude = patterns.iter().map(ToString::to_string).collect();
    ContextRead { exclude, ..copy(source) }
}

/// `COPY --parents`: see moby/buildkit `convert_copy.go`.
fn parents(source: &str, pattern: &str) -> ContextRead {
    let is_literal = !gopath_wildcards(source) && !gopath_wildcards(pattern);
    let required = format!("{}/{pattern}", source.trim_end_matches('/'));
    let require = if is_literal { vec![required] } else { Vec::new() };
    ContextRead { include: vec![pattern.to_owned()], require, ..copy(source) }
}

fn gopath_wildcards(text: &str) -> bool {
    crate::gopath::has_wildcards(text.as_bytes())
}

// Sources: fidelity 1.5; moby/buildkit convert_copy.go, checksum.go; fsutil copy.go.

#[test]
fn a_file_brings_itself_and_not_the_directories_above_it() {
    let workspace = Workspace::new(&["a/b/c", "a/b/d"]);
    assert_eq!(workspace.brings(&[copy("/a/b/c")]), "a/b/c");
}

#[test]
fn a_directory_brings_itself_and_everything_below() {
    let workspace = Workspace::new(&["a/b/c", "a/.d", "a/e/", "f"]);
    assert_eq!(workspace.brings(&[copy("/a")]), "a/ a/.d a/b/ a/b/c a/e/");
}

#[test]
fn the_root_brings_everything_but_itself() {
    let workspace = Workspace::new(&["a/b", "c"]);
    assert_eq!(workspace.brings(&[copy("/")]), "a/ a/b c");
}

#[test]
fn dots_never_lead_out_of_the_context() {
    let workspace = Workspace::new(&["a/b"]);
    fs::write(workspace.temporary.path().join("secret"), "s").unwrap();
    assert_eq!(workspace.brings(&[copy("../../a/./x/../b/")]), "a/b");
    assert!(workspace.fails(&[copy("../../secret")]).starts_with("IG310"));
}

#[test]
fn no_reads_bring_nothing_even_without_a_context() {
    let workspace = Workspace::new(&[]);
    fs::remove_dir(workspace.context()).unwrap();
    assert_eq!(workspace.brings(&[]), "");
    let failure = workspace.fails(&[copy("/a")]);
    assert!(failure.starts_with("IG315 cannot read `images/app`: No such file"), "{failure}");
}

#[test]
fn wildcards_match_dot_files_and_directories_with_all_below() {
    let workspace = Workspace::new(&[".a", "b", "c/d/e", "c/f"]);
    assert_eq!(workspace.brings(&[copy("/*")]), ".a b c/ c/d/ c/d/e c/f");
    assert_eq!(workspace.brings(&[copy("/?")]), "b c/ c/d/ c/d/e c/f");
    assert_eq!(workspace.brings(&[copy("/c/*")]), "c/d/ c/d/e c/f");
    assert_eq!(workspace.brings(&[copy("/*/d")]), "c/d/ c/d/e");
    assert_eq!(workspace.brings(&[copy("/[a-c]/f")]), "c/f");
}

#[test]
fn a_negated_class_matches_a_slash_as_in_go() {
    let workspace = Workspace::new(&["a/b", "axb"]);
    assert_eq!(workspace.brings(&[copy("/a[^y]b")]), "a/b axb");
}

#[test]
fn a_wildcard_may_match_nothing_but_its_directory_must_be_there() {
    let workspace = Workspace::new(&["a/b"]);
    assert_eq!(workspace.brings(&[copy("/*.txt"), copy("/a/*.txt"), copy("/a/b/*")]), "");
    assert!(workspace.fails(&[copy("/c/*.txt")]).starts_with("IG310 COPY cannot find `c`"));
}

#[test]
fn without_a_wildcard_a_backslash_is_a_backslash() {
    let workspace = Workspace::new(&["a\\*b", "a*b", "axb"]);
    assert_eq!(workspace.brings(&[copy("/a\\*b")]), "a\\*b");
    assert_eq!(workspace.brings(&[copy("/a\\*?")]), "a*b");
}

#[test]
fn a_mount_takes_its_source_literally() {
    let workspace = Workspace::new(&["*", "a"]);
    let mount = ContextRead { kind: ContextKind::Mount, ..copy("/*") };
    assert_eq!(workspace.brings(&[mount]), "*");
}

#[test]
fn a_broken_wildcard_is_pointed_at() {
    let workspace = Workspace::new(&["a"]);
    let failure = workspace.fails(&[copy("/a[")]);
    assert!(failure.starts_with("IG312 COPY has the pattern `/a[`: syntax error"), "{failure}");
}

#[test]
fn every_path_is_listed_once_and_in_order_of_its_bytes() {
    let workspace = Workspace::new(&["a/b", "a.c", "a0"]);
    let reads = [copy("/a0"), copy("/a"), copy("/a/b"), copy("/*")];
    assert_eq!(workspace.brings(&reads), "a/ a.c a/b a0");
    let reversed: Vec<_> = reads.iter().rev().cloned().collect();
    assert_eq!(workspace.read(&reads), workspace.read(&reversed));
}

#[test]
fn what_is_missing_is_pointed_at_with_what_may_be_meant() {
    let workspace = Workspace::new(&["src/main.rs", "src/lib.rs"]);
    let problems = workspace.read(&[copy("/src/mian.rs"), copy("/scr"), copy("/zzz")]).unwrap_err();
    let shown: Vec<_> = problems.iter().map(|p| (p.code, p.help.as_deref().unwrap())).collect();
    assert_eq!(
        shown,
        [
            ("IG310", "did you mean `src/main.rs`?"),
            ("IG310", "did you mean `src`?"),
            ("IG310", "paths are relative to `images/app`"),
        ]
    );
    assert_eq!(problems[0].message, "COPY cannot find `src/mian.rs` in the build context");
    assert_eq!(problems[0].place.as_ref().unwrap().span, Some(Span { start: 7, end: 9 }));
}

#[test]
fn excluded_paths_are_relative_to_the_source() {
    let workspace = Workspace::new(&["a/b.txt", "a/c/d.txt", "a/c/e", "b.txt"]);
    assert_eq!(workspace.brings(&[excluding("/a", &["*.txt"])]), "a/ a/c/ a/c/d.txt a/c/e");
    assert_eq!(workspace.brings(&[excluding("/a", &["**/*.txt"])]), "a/ a/c/ a/c/e");
    assert_eq!(workspace.brings(&[excluding("/a", &["c", "!c/e"])]), "a/ a/b.txt a/c/ a/c/e");
    assert_eq!(workspace.brings(&[excluding("/a/b.txt", &["*.txt"])]), "a/b.txt");
    assert_eq!(workspace.brings(&[excluding("/?", &["c"])]), "a/ a/b.txt");
}

#[test]
fn parents_bring_the_directories_between() {
    let workspace = Workspace::new(&["x/y/a.txt", "x/y/b", "x/z/c", "src/d/e.go", "src/f.go"]);
    assert_eq!(workspace.brings(&[parents("/", "x/y/a.txt")]), "x/ x/y/ x/y/a.txt");
    assert_eq!(workspace.brings(&[parents("/x", "y/*.txt")]), "x/ x/y/ x/y/a.txt");
    assert_eq!(workspace.brings(&[parents("/", "src/**/*.go")]), "src/ src/d/ src/d/e.go src/f.go");
    assert_eq!(workspace.brings(&[parents("/", "**/none")]), "");
    assert_eq!(workspace.brings(&[parents("/", "x/y")]), "x/ x/y/ x/y/a.txt x/y/b");
}

#[test]
fn literal_sources_of_parents_must_be_there() {
    let workspace = Workspace::new(&["x/y/a.txt", "x/left"]).ignoring("x/left\n");
    let failure = workspace.fails(&[parents("/", "x/y/b.txt")]);
    assert!(failure.starts_with("IG310 COPY cannot find `x/y/b.txt`"), "{failure}");
    assert!(workspace.fails(&[parents("/x", "left")]).starts_with("IG311"), "left out");
}

// The ignore file: fidelity 1.7; fsutil filter.go.

#[test]
fn what_is_left_out_is_not_brought() {
    let workspace = Workspace::new(&["a", "b.log", "c/d.log", "c/e"]).ignoring("**/*.log\n");
    assert_eq!(workspace.brings(&[copy("/")]), "a c/ c/e");
    assert_eq!(workspace.brings(&[copy("/*.log")]), "");
    assert_eq!(workspace.brings(&[copy("/c")]), "c/ c/e");
}

#[test]
fn a_left_out_directory_is_kept_for_what_is_taken_in_again() {
    let workspace = Workspace::new(&["d/e/f", "d/g", "h/i"]).ignoring("*\n!d/e/f\n");
    assert_eq!(workspace.brings(&[copy("/")]), "d/ d/e/ d/e/f");
    assert_eq!(workspace.brings(&[copy("/d")]), "d/ d/e/ d/e/f");
    assert_eq!(workspace.brings(&[copy("/*")]), "d/ d/e/ d/e/f");
    assert_eq!(workspace.brings(&[copy("/d/*/f")]), "d/e/f");
}

#[test]
fn the_line_that_leaves_a_source_out_is_named() {
    let workspace = Workspace::new(&["a/b", "c"]).ignoring("# no\nc\na\n");
    let problems = workspace.read(&[copy("/c"), copy("/a"), copy("/a/b")]).unwrap_err();
    let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let wanted = [
        "COPY cannot find `c` in the build context: line 2 of `images/app/.dockerignore` leaves it out",
        "COPY cannot find `a` in the build context: line 3 of `images/app/.dockerignore` leaves it out",
        "COPY cannot find `a/b` in the build context: line 3 of `images/app/.dockerignore` leaves it out",
    ];
    assert_eq!(messages, wanted);
    assert_eq!(problems[0].related[0].0.span, Some(Span { start: 5, end: 6 }));
}

#[test]
fn what_is_left_out_is_listed_with_the_line_that_does() {
    let paths = ["a.log", "b", "node_modules/x/y", "dist/keep", "dist/drop"];
    let workspace = Workspace::new(&paths).ignoring("node_modules\n*.log\ndist\n!dist/keep\n");
    let directory = workspace.context();
    let (ignore, cache) = (&workspace.ignore, &StatCache::empty());
    let context = Context { directory: &directory, path: Path::new(""), ignore, cache };
    let shown = |ignored: &Ignored| {
        format!("{}:{} {}", ignored.path.display(), ignored.line, ignored.pattern)
    };
    let listed: Vec<_> = ignored(&context).unwrap().iter().map(shown).collect();
    assert_eq!(listed, ["a.log:2 *.log", "dist/drop:3 dist", "node_modules:1 node_modules"]);
}

// Links: fidelity 1.8; moby/buildkit path.go.

#[test]
fn a_source_that_is_a_link_brings_itself_and_its_target() {
    let workspace = Workspace::new(&["a/b", "link -> a", "file -> a/b", "root -> /a/b"]);
    assert_eq!(workspace.brings(&[copy("/link")]), "a/ a/b link->a");
    assert_eq!(workspace.brings(&[copy("/link/b")]), "a/b link->a");
    assert_eq!(workspace.brings(&[copy("/file")]), "a/b file->a/b");
    assert_eq!(workspace.brings(&[copy("/root")]), "a/b root->/a/b");
    assert_eq!(workspace.brings(&[copy("/link/*")]), "a/b link->a");
    assert_eq!(workspace.brings(&[copy("/l*")]), "a/ a/b link->a");
}

#[test]
fn the_text_of_a_link_is_read_from_its_own_directory_or_from_the_root() {
    let workspace =
        Workspace::new(&["a", "d/a", "d/near -> a", "d/far -> /a", "d/up -> x/../../a"]);
    assert_eq!(workspace.brings(&[copy("/d/near")]), "d/a d/near->a");
    assert_eq!(workspace.brings(&[copy("/d/far")]), "a d/far->/a");
    assert_eq!(workspace.brings(&[copy("/d/up")]), "a d/up->x/../../a");
}

#[test]
fn links_below_a_directory_stay_links() {
    let workspace = Workspace::new(&["a/in -> ../b", "a/gone -> nowhere", "a/self -> self", "b/c"]);
    let wanted = "a/ a/gone->nowhere a/in->../b a/self->self";
    assert_eq!(workspace.brings(&[copy("/a")]), wanted);
}

#[test]
fn links_end_at_the_root_of_the_context() {
    let workspace = Workspace::new(&[
        "etc/x",
        "up -> ../../../etc/x",
        "abs -> /../etc/x",
        "out -> ../../secret",
    ]);
    fs::write(workspace.temporary.path().join("secret"), "s").unwrap();
    assert_eq!(workspace.brings(&[copy("/up")]), "etc/x up->../../../etc/x");
    assert_eq!(workspace.brings(&[copy("/abs")]), "abs->/../etc/x etc/x");
    let failure = workspace.fails(&[copy("/out")]);
    assert!(failure.starts_with("IG314 COPY cannot find `out`"), "{failure}");
    assert!(failure.contains("the link `out` leads to `../../secret`"), "{failure}");
}

#[test]
fn circles_of_links_end() {
    let workspace = Workspace::new(&["a -> b", "b -> a", "d/d -> ../d", "f"]);
    assert!(workspace.fails(&[copy("/a")]).starts_with("IG313"), "endless");
    assert_eq!(workspace.brings(&[copy("/d/d/d/d")]), "d/ d/d->../d");
}

#[test]
fn a_link_that_is_left_out_leads_nowhere() {
    let workspace = Workspace::new(&["a", "link -> a", "to -> b", "b"]).ignoring("link\nb\n");
    assert!(workspace.fails(&[copy("/link")]).starts_with("IG311"), "the link");
    assert!(workspace.fails(&[copy("/to")]).starts_with("IG311"), "its target");
}

#[test]
fn a_dangling_link_that_a_wildcard_matches_fails_as_in_buildkit() {
    let workspace = Workspace::new(&["a", "gone -> nowhere"]);
    assert!(workspace.fails(&[copy("/*")]).starts_with("IG314"), "checksum.go: errNotFound");
    assert_eq!(workspace.brings(&[copy("/")]), "a gone->nowhere");
}

// What counts: fidelity 1.8; moby/buildkit filehash.go, tarsum.go.

fn listed(workspace: &Workspace) -> Vec<Entry> {
    workspace.read(&[copy("/")]).unwrap().entries
}

#[test]
fn content_mode_and_type_count_and_times_do_not() {
    let workspace = Workspace::new(&["a", "d/"]);
    let before = listed(&workspace);
    let file = fs::File::open(workspace.path("a")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(listed(&workspace), before);
    let set = |name: &str, mode| {
        fs::set_permissions(workspace.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (name, mode) in [("a", 0o755), ("a", 0o4755), ("d", 0o700), ("d", 0o1777)] {
        let before = listed(&workspace);
        set(name, mode);
        let after = listed(&workspace);
        assert_ne!(after, before, "{name} {mode:o}");
        assert!(after.iter().any(|entry| entry.mode == mode));
    }
    let before = listed(&workspace);
    fs::write(workspace.path("a"), "b").unwrap();
    assert_ne!(listed(&workspace), before);
    fs::remove_file(workspace.path("a")).unwrap();
    symlink("b", workspace.path("a")).unwrap();
    assert_eq!(listed(&workspace)[0].kind, EntryKind::Symlink("b".into()));
}

#[test]
fn the_digest_is_that_of_the_bytes() {
    let workspace = Workspace::new(&["a"]);
    let content = Digest::of_content(b"a");
    assert_eq!(listed(&workspace)[0].kind, EntryKind::File { size: 1, content });
}

#[test]
fn extended_attributes_count() {
    let workspace = Workspace::new(&["a", "d/"]);
    let flags = rustix::fs::XattrFlags::empty();
    for name in ["a", "d"] {
        let before = listed(&workspace);
        if rustix::fs::setxattr(workspace.path(name), "user.x", b"1", flags).is_err() {
            return; // the file system of the temporary directory has none
        }
        assert_ne!(listed(&workspace), before, "{name}");
    }
}

#[test]
fn pipes_and_sockets_are_skipped_and_that_is_said() {
    let workspace = Workspace::new(&["a/b"]);
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, workspace.path("a/pipe"), mode).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(workspace.path("a/socket")).unwrap();
    assert_eq!(workspace.brings(&[copy("/a")]), "a/ a/b");
    let notes = workspace.read(&[copy("/a")]).unwrap().notes;
    let shown: Vec<_> = notes.iter().map(|note| (note.severity, note.message.as_str())).collect();
    assert_eq!(
        shown,
        [
            (Severity::Note, "`images/app/a/pipe` is a pipe or a socket: skipped"),
            (Severity::Note, "`images/app/a/socket` is a pipe or a socket: skipped"),
        ]
    );
    assert!(workspace.fails(&[copy("/a/pipe")]).starts_with("IG318"), "asked for by name");
    drop(socket);
}

#[test]
fn what_cannot_be_read_is_said_with_its_path_and_all_of_it() {
    if rustix::process::geteuid().is_root() {
        // The superuser can read everything: take a path that nobody can.
        let workspace = Workspace::new(&["a"]);
        let name = "x".repeat(300);
        assert!(workspace.fails(&[copy(&name)]).starts_with("IG315 cannot read"));
        return;
    }
    let workspace = Workspace::new(&["a", "b", "d/e", "f/g"]).ignoring("f\n!f/h\n");
    for name in ["a", "b", "d", "f"] {
        let none = fs::Permissions::from_mode(0o000);
        fs::set_permissions(workspace.path(name), none).unwrap();
    }
    let problems = workspace.read(&[copy("/")]).unwrap_err();
    let mut paths: Vec<_> =
        problems.iter().map(|p| p.place.as_ref().unwrap().path.to_string()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["images/app/a", "images/app/b", "images/app/d"], "f is left out");
    for name in ["d", "f"] {
        fs::set_permissions(workspace.path(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn names_with_line_feeds_and_bytes_that_are_no_text_are_listed() {
    let workspace = Workspace::new(&["a\nb"]);
    let odd = PathBuf::from(OsString::from_vec(b"\xff\xfe".to_vec()));
    fs::write(workspace.context().join(&odd), "odd").unwrap();
    let paths: Vec<_> = listed(&workspace).into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, [PathBuf::from("a\nb"), odd]);
    assert_eq!(workspace.read(&[copy("/*")]).unwrap().entries.len(), 2);
    assert!(workspace.fails(&[copy("/x\ny")]).contains("`x\\ny`"), "on one line");
}

#[test]
fn a_tree_deeper_than_a_path_is_long_is_listed() {
    let workspace = Workspace::new(&["top/"]);
    let name = "d".repeat(250);
    let directory = rustix::fs::OFlags::DIRECTORY;
    let mode = rustix::fs::Mode::RWXU;
    let mut above = rustix::fs::open(workspace.path("top"), directory, mode).unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&above, name.as_str(), mode).unwrap();
        above = rustix::fs::openat(&above, name.as_str(), directory, mode).unwrap();
    }
    let file = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    rustix::fs::openat(&above, "file", file, mode).unwrap();
    assert_eq!(workspace.read(&[copy("/top")]).unwrap().entries.len(), 22);
}

// The stat cache.

/// A cache that has begun late enough to remember what the files of the test are.
fn settled_cache(state: &Path, identity: Identity, known: Known) -> StatCache {
    loop {
        let cache = StatCache::load(state);
        cache.directory(b"images/app").remember(b"a", identity, known);
        if cache.directory(b"images/app").look_up(b"a", &identity).is_some() {
            return cache;
        }
    }
}

#[test]
fn a_file_that_is_as_it_was_is_not_read() {
    let workspace = Workspace::new(&["a"]);
    let state = workspace.temporary.path();
    let status = Root::open(&workspace.context()).unwrap().status(b"a").unwrap();
    // A digest that the file has not: if it comes back, nothing was read.
    let known = Known { content: Digest::of_content(b"other"), xattrs: None };
    let cache = settled_cache(state, status.identity, known);
    let entries = |cache: &StatCache| workspace.read_with(&[copy("/")], cache).unwrap().entries;
    let remembered = EntryKind::File { size: 1, content: known.content };
    assert_eq!(entries(&cache)[0].kind, remembered);
    cache.save(state, Keep::Seen).unwrap();
    assert_eq!(entries(&StatCache::load(state))[0].kind, remembered);
    fs::write(workspace.path("a"), "b").unwrap();
    let read = EntryKind::File { size: 1, content: Digest::of_content(b"b") };
    assert_eq!(entries(&StatCache::load(state))[0].kind, read);
}
