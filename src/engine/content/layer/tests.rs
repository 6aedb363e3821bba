use tar::{Builder, Header};

use super::*;

/// An entry of a test tar: `path`, and what differs from a plain file.
struct Made {
    path: &'static str,
    kind: EntryType,
    data: &'static [u8],
    link: &'static str,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    xattrs: Vec<(&'static str, &'static [u8])>,
}

fn file(path: &'static str, data: &'static [u8]) -> Made {
    let (kind, link) = (EntryType::Regular, "");
    Made { path, kind, data, link, mode: 0o644, owner: (0, 0), mtime: 1, xattrs: Vec::new() }
}

fn directory(path: &'static str) -> Made {
    Made { kind: EntryType::Directory, mode: 0o755, ..file(path, b"") }
}

fn hard_link(path: &'static str, link: &'static str) -> Made {
    Made { kind: EntryType::Link, link, ..file(path, b"") }
}

fn symlink(path: &'static str, link: &'static str) -> Made {
    Made { kind: EntryType::Symlink, link, mode: 0o777, ..file(path, b"") }
}

fn tar_of(entries: Vec<Made>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for made in entries {
        let records =
            made.xattrs.iter().map(|(name, value)| (format!("{XATTR_RECORD}{name}"), *value));
        let records: Vec<(String, &[u8])> = records.collect();
        builder.append_pax_extensions(records.iter().map(|(k, v)| (k.as_str(), *v))).unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(made.kind);
        header.set_mode(made.mode);
        header.set_uid(made.owner.0);
        header.set_gid(made.owner.1);
        header.set_mtime(made.mtime);
        header.set_size(made.data.len() as u64);
        if made.link.is_empty() {
            builder.append_data(&mut header, made.path, made.data).unwrap();
        } else {
            builder.append_link(&mut header, made.path, made.link).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn of(entries: Vec<Made>) -> Digest {
    digest(tar_of(entries).as_slice()).unwrap()
}

#[test]
fn times_and_the_order_of_entries_do_not_count() {
    let early = || vec![directory("etc/"), file("etc/a", b"1"), file("etc/b", b"2")];
    let mut late = early();
    for made in &mut late {
        made.mtime = 99;
    }
    late.reverse();
    assert_eq!(of(early()), of(late));
}

#[test]
fn everything_else_of_an_entry_counts() {
    let variants = vec![
        vec![],
        vec![file("a", b"1")],
        vec![file("b", b"1")],
        vec![file("a", b"2")],
        vec![file("a", b"")],
        vec![Made { mode: 0o755, ..file("a", b"1") }],
        vec![Made { mode: 0o4644, ..file("a", b"1") }],
        vec![Made { owner: (1, 0), ..file("a", b"1") }],
        vec![Made { owner: (0, 1), ..file("a", b"1") }],
        vec![Made { xattrs: vec![("user.x", b"1")], ..file("a", b"1") }],
        vec![Made { xattrs: vec![("user.x", b"2")], ..file("a", b"1") }],
        vec![Made { xattrs: vec![("security.capability", b"\x01\0\0")], ..file("a", b"1") }],
        vec![directory("a")],
        vec![symlink("a", "1")],
        vec![symlink("a", "2")],
        vec![Made { kind: EntryType::Fifo, ..file("a", b"") }],
        vec![Made { kind: EntryType::Char, ..file("a", b"") }],
        vec![file(".wh.a", b"")],
        vec![file("a/.wh..wh..opq", b"")],
        vec![hard_link("a", "elsewhere")],
    ];
    let count = variants.len();
    let mut digests: Vec<Digest> = variants.into_iter().map(of).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn which_hard_link_carries_the_data_does_not_count() {
    let first = of(vec![file("a", b"x"), hard_link("b", "a"), hard_link("c", "a")]);
    let last = of(vec![file("c", b"x"), hard_link("a", "c"), hard_link("b", "a")]);
    let slashed = of(vec![file("b", b"x"), hard_link("a", "./b"), hard_link("c", "/b")]);
    assert_eq!(first, last);
    assert_eq!(first, slashed);
    assert_ne!(first, of(vec![file("a", b"x"), file("b", b"x"), file("c", b"x")]));
    assert_ne!(first, of(vec![file("a", b"x"), hard_link("b", "a"), file("c", b"x")]));
}

#[test]
fn a_ring_of_hard_links_ends() {
    assert_ne!(of(vec![hard_link("a", "b"), hard_link("b", "a")]), empty());
}

#[test]
fn of_two_entries_with_one_path_the_later_counts() {
    assert_eq!(of(vec![file("a", b"old"), file("a", b"new")]), of(vec![file("a", b"new")]));
}

#[test]
fn how_a_path_is_written_does_not_count() {
    assert_eq!(of(vec![directory("d/")]), of(vec![directory("./d")]));
}

#[test]
fn the_mode_of_a_symbolic_link_does_not_count() {
    assert_eq!(of(vec![symlink("a", "b")]), of(vec![Made { mode: 0, ..symlink("a", "b") }]));
}

#[test]
fn only_the_path_of_a_whiteout_counts() {
    let other = Made { mode: 0, owner: (7, 7), ..file("d/.wh.a", b"") };
    assert_eq!(of(vec![file("d/.wh.a", b"")]), of(vec![other]));
}

#[test]
fn labels_of_the_machine_do_not_count() {
    let labelled = Made { xattrs: vec![("security.selinux", b"x")], ..file("a", b"1") };
    let overlaid = Made { xattrs: vec![("trusted.overlay.opaque", b"y")], ..file("a", b"1") };
    assert_eq!(of(vec![labelled]), of(vec![file("a", b"1")]));
    assert_eq!(of(vec![overlaid]), of(vec![file("a", b"1")]));
}

#[test]
fn long_names_are_equal_in_gnu_and_pax_form() {
    let long: String = std::iter::repeat_n("long-name/", 30).collect::<String>() + "end";
    let gnu = {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    let pax = {
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions([("path", long.as_bytes()), ("mtime", b"1.5")]).unwrap();
        let mut header = Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    assert_eq!(digest(gnu.as_slice()).unwrap(), digest(pax.as_slice()).unwrap());
}

#[test]
fn big_owners_are_read_from_pax_records() {
    let pax = |uid: &str| {
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions([("uid", uid.as_bytes())]).unwrap();
        let mut header = Header::new_ustar();
        header.set_path("a").unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
        digest(builder.into_inner().unwrap().as_slice()).unwrap()
    };
    assert_ne!(pax("5000000"), pax("5000001"));
}

#[test]
fn a_torn_tar_is_an_error() {
    let whole = tar_of(vec![file("a", b"0123456789")]);
    assert!(digest(&whole[..515]).is_err());
    assert!(digest(&b"not a tar, but longer than nothing"[..]).is_err());
}
