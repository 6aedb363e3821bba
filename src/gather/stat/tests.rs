//! What may be trusted and what may not: each way in which a file can change behind our back.
#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::gather::hash;
use crate::gather::root::{Kind, Root};

/// A workspace of one file, and its state directory.
struct Workspace {
    _temporary: TempDir,
    state: PathBuf,
    root: PathBuf,
}

impl Workspace {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let [state, root] = ["state", "root"].map(|name| temporary.path().join(name));
        fs::create_dir(&state).unwrap();
        fs::create_dir(&root).unwrap();
        Self { _temporary: temporary, state, root }
    }

    fn file(&self) -> PathBuf {
        self.root.join("file")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// One run over the file: its digest, and whether it was known.
    fn run(&self) -> (Digest, bool) {
        let cache = StatCache::load(&self.state);
        let found = self.look(&cache);
        cache.save(&self.state, Keep::All).unwrap();
        found
    }

    /// As a run that begins late enough for the file to be settled: waiting for that would be
    /// waiting for a clock.
    fn settled_run(&self) -> (Digest, bool) {
        let mut cache = StatCache::load(&self.state);
        cache.scan_began = cache.scan_began.map(|time| Time { seconds: time.seconds + 60, ..time });
        let found = self.look(&cache);
        cache.save(&self.state, Keep::All).unwrap();
        found
    }

    fn look(&self, cache: &StatCache) -> (Digest, bool) {
        let root = Root::open(&self.root).unwrap();
        let status = root.status(b"file").unwrap();
        let directory = cache.directory(b"root");
        if let Some(known) = directory.look_up(b"file", &status.identity) {
            return (known.content, true);
        }
        let read = hash::file(&root, b"file").unwrap();
        assert_eq!(read.status.kind, Kind::File);
        let known = Known { content: read.digest, xattrs: read.xattrs };
        directory.remember(b"file", read.status.identity, known);
        (read.digest, false)
    }
}

fn of(text: &str) -> Digest {
    Digest::of_content(text.as_bytes())
}

#[test]
fn a_settled_file_is_read_once() {
    let workspace = Workspace::new();
    workspace.write("one");
    assert_eq!(workspace.settled_run(), (of("one"), false));
    assert_eq!(workspace.run(), (of("one"), true));
    assert_eq!(workspace.run(), (of("one"), true));
}

#[test]
fn a_file_written_within_a_tick_of_the_scan_is_read_again() {
    // fingerprint.md, "racily clean": nothing but the content tells the two apart
    let workspace = Workspace::new();
    workspace.write("one");
    assert_eq!(workspace.run(), (of("one"), false));
    assert_eq!(workspace.run(), (of("one"), false));
    workspace.write("two");
    assert_eq!(workspace.run(), (of("two"), false));
}

#[test]
fn another_file_of_the_same_size_and_time_renamed_over_it_is_seen() {
    let workspace = Workspace::new();
    workspace.write("one");
    let long_ago = SystemTime::now() - Duration::from_hours(1);
    File::open(workspace.file()).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(workspace.settled_run(), (of("one"), false));
    let other = workspace.root.join("other");
    fs::write(&other, "two").unwrap();
    File::open(&other).unwrap().set_modified(long_ago).unwrap();
    fs::rename(&other, workspace.file()).unwrap();
    assert_eq!(workspace.run(), (of("two"), false));
}

#[test]
fn the_same_file_rewritten_with_its_old_time_is_seen() {
    let workspace = Workspace::new();
    workspace.write("one");
    let before = fs::metadata(workspace.file()).unwrap().modified().unwrap();
    assert_eq!(workspace.settled_run(), (of("one"), false));
    // The tick must have passed, or the change would be invisible to anyone: wait for it to show.
    let changed = || Root::open(&workspace.root).unwrap().status(b"file").unwrap().identity.changed;
    let old = changed();
    while changed() == old {
        workspace.write("two");
    }
    File::open(workspace.file()).unwrap().set_modified(before).unwrap();
    assert_eq!(workspace.run(), (of("two"), false));
}

#[test]
fn a_change_of_mode_or_a_mere_touch_reads_again_and_finds_the_same() {
    use std::os::unix::fs::PermissionsExt;

    let workspace = Workspace::new();
    workspace.write("one");
    assert_eq!(workspace.settled_run(), (of("one"), false));
    fs::set_permissions(workspace.file(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(workspace.settled_run(), (of("one"), false));
    assert_eq!(workspace.run(), (of("one"), true));
    File::open(workspace.file()).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(workspace.settled_run(), (of("one"), false));
    assert_eq!(workspace.run(), (of("one"), true));
}

#[test]
fn every_part_of_the_identity_counts() {
    let time = Time { seconds: 1, nanos: 1 };
    let cache = StatCache::new(file::Records::default(), Some(Time { seconds: 60, nanos: 0 }));
    let identity = Identity { size: 1, modified: time, changed: time, inode: 1, mode: 1 };
    let known = Known { content: of("one"), xattrs: None };
    cache.directory(b"").remember(b"file", identity, known);
    let other = Time { seconds: 1, nanos: 2 };
    assert_eq!(cache.directory(b"").look_up(b"file", &identity), Some(known));
    for identity in [
        Identity { size: 2, ..identity },
        Identity { modified: other, ..identity },
        Identity { changed: other, ..identity },
        Identity { inode: 2, ..identity },
        Identity { mode: 2, ..identity },
    ] {
        assert_eq!(cache.directory(b"").look_up(b"file", &identity), None);
    }
}

#[test]
fn the_slack_is_ticks_or_two_seconds_where_there_are_no_parts_of_seconds() {
    let at = |seconds, nanos| Time { seconds, nanos };
    let settled = |newest: Time, scan| {
        let modified = at(1, newest.nanos);
        let identity = Identity { size: 0, modified, changed: newest, inode: 0, mode: 0 };
        identity.is_settled_at(scan)
    };
    assert!(!settled(at(10, 5), at(10, SLACK_NANOS + 5)));
    assert!(settled(at(10, 5), at(10, SLACK_NANOS + 6)));
    assert!(!settled(at(10, 990_000_000), at(11, 10_000_000)));
    assert!(settled(at(10, 990_000_000), at(11, 10_000_001)));
    assert!(!settled(at(10, 0), at(12, 0)));
    assert!(settled(at(10, 0), at(12, 1)));
    assert!(!settled(at(99, 5), at(10, 5)), "a time in the future proves nothing");
    assert!(!settled(at(i64::MAX, 0), at(10, 0)));
}

/// A cache with records in several directories, as bytes.
fn sample() -> Vec<u8> {
    let mut new = BTreeMap::new();
    for (number, path) in (1..).zip(["a", "d/x", "d/y\n", "d.e/\u{e9}", "d/f/z"]) {
        let time = Time { seconds: -number, nanos: 7 };
        let size = number.unsigned_abs();
        let identity = Identity { size, modified: time, changed: time, inode: 9, mode: 0o100_644 };
        let xattrs = (number % 2 == 0).then(|| of("xattrs"));
        let known = Some(Known { content: of(path), xattrs });
        new.insert((path.into(), Look::Itself), Record { identity: Some(identity), known });
    }
    file::merge(&file::Records::default(), |_| true, &new).0
}

/// Every digest that a damaged cache would hand out for the files of the sample.
fn handed_out(state: &Path) -> Vec<(String, Known)> {
    let mut found = Vec::new();
    for (number, path) in (1..).zip(["a", "d/x", "d/y\n", "d.e/\u{e9}", "d/f/z"]) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let cache = StatCache::load(state);
        let time = Time { seconds: -number, nanos: 7 };
        let size = number.unsigned_abs();
        let identity = Identity { size, modified: time, changed: time, inode: 9, mode: 0o100_644 };
        let known = cache.directory(directory.as_bytes()).look_up(name.as_bytes(), &identity);
        found.extend(known.map(|known| (path.to_owned(), known)));
    }
    found
}

#[test]
fn what_was_saved_is_found() {
    let workspace = Workspace::new();
    fs::write(workspace.state.join("stat"), sample()).unwrap();
    let found = handed_out(&workspace.state);
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|(path, known)| known.content == of(path)));
    assert_eq!(found.iter().filter(|(_, known)| known.xattrs == Some(of("xattrs"))).count(), 2);
}

#[test]
fn a_cache_cut_at_any_byte_is_an_empty_one() {
    let workspace = Workspace::new();
    let bytes = sample();
    for length in 0..bytes.len() {
        fs::write(workspace.state.join("stat"), &bytes[..length]).unwrap();
        assert!(StatCache::load(&workspace.state).is_empty(), "{length}");
    }
}

#[test]
fn a_cache_with_any_bit_flipped_is_an_empty_one() {
    let workspace = Workspace::new();
    let bytes = sample();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(workspace.state.join("stat"), &flipped).unwrap();
        assert!(StatCache::load(&workspace.state).is_empty(), "{at}");
    }
}

#[test]
fn a_foreign_or_newer_file_is_an_empty_cache_even_if_it_is_whole() {
    let workspace = Workspace::new();
    let endless = &b"imgraph stat 3\n\0\0\0\0\xff\xff\xff\xff\0\0\0\0"[..];
    for header in [b"imgraph stat 2\n", &b""[..], b"imgraph stat 3\n\x01", endless] {
        let mut bytes = header.to_vec();
        bytes.extend(Digest::of_content(&bytes).as_bytes());
        fs::write(workspace.state.join("stat"), &bytes).unwrap();
        assert!(StatCache::load(&workspace.state).is_empty(), "{header:?}");
    }
    fs::remove_file(workspace.state.join("stat")).unwrap();
    fs::create_dir(workspace.state.join("stat")).unwrap();
    assert!(StatCache::load(&workspace.state).is_empty());
}

#[test]
fn a_run_over_everything_forgets_what_is_gone() {
    let workspace = Workspace::new();
    workspace.write("one");
    workspace.settled_run();
    let path = workspace.state.join("stat");
    let cache = StatCache::load(&workspace.state);
    cache.save(&workspace.state, Keep::All).unwrap();
    assert_eq!(StatCache::load(&workspace.state).len(), 1);
    let inode =
        |path: &Path| Root::open(path.parent().unwrap()).unwrap().status(b"stat").unwrap().identity;
    let untouched = inode(&path);
    workspace.look(&cache);
    cache.save(&workspace.state, Keep::Seen).unwrap();
    assert_eq!(inode(&path), untouched, "nothing new is not written");
    StatCache::load(&workspace.state).save(&workspace.state, Keep::Seen).unwrap();
    assert!(StatCache::load(&workspace.state).is_empty());
}

#[test]
fn a_content_that_changed_is_told_from_everything_else() {
    let workspace = Workspace::new();
    workspace.write("one");
    workspace.settled_run();
    let around = workspace.root.parent().unwrap();
    let changed = || StatCache::load(&workspace.state).changed(around);
    assert_eq!(changed(), Changed::Nothing);
    workspace.write("longer");
    assert_eq!(changed(), Changed::Files(vec![b"root/file".to_vec()]));
    fs::remove_file(workspace.file()).unwrap();
    assert_eq!(changed(), Changed::More, "it is gone");
    fs::create_dir(workspace.file()).unwrap();
    assert_eq!(changed(), Changed::More, "it is no file");
    fs::remove_dir(workspace.file()).unwrap();
    workspace.write("one");
    let cache = StatCache::load(&workspace.state);
    cache.note(b"root/other", Look::Target, None);
    cache.save(&workspace.state, Keep::All).unwrap();
    assert_eq!(changed(), Changed::Files(vec![b"root/file".to_vec()]));
    fs::write(workspace.root.join("other"), "").unwrap();
    assert_eq!(changed(), Changed::More, "it was not there");
}

#[test]
fn without_a_state_directory_nothing_is_remembered_and_nothing_fails() {
    let workspace = Workspace::new();
    let cache = StatCache::load(&workspace.state.join("missing"));
    workspace.write("one");
    assert_eq!(workspace.look(&cache), (of("one"), false));
    assert_eq!(workspace.look(&cache), (of("one"), false));
    cache.save(&workspace.state.join("missing"), Keep::All).unwrap();
}

#[test]
fn a_scan_leaves_nothing_but_the_cache_behind() {
    let workspace = Workspace::new();
    workspace.write("one");
    workspace.settled_run();
    let names: Vec<_> =
        fs::read_dir(&workspace.state).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["stat"]);
}
