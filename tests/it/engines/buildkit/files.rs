//! The files of a context arrive as they were fingerprinted, or not at all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;

use super::image::{Item, Tree};
use super::*;

impl Bench {
    fn context(&self) -> PathBuf {
        let context = self.home.path().join("context");
        fs::create_dir_all(&context).unwrap();
        context
    }

    /// What is in `/c` of an image that the context was copied to.
    fn copied(&self, context: &Path) -> Tree {
        let request = self.with_context(context, "FROM scratch\nCOPY . /c/\n");
        let built = self.build(&request).unwrap();
        let mut files = self.files(built.output.id.as_str());
        files.remove("c").unwrap();
        let below =
            |(path, item): (String, Item)| (path.strip_prefix("c/").unwrap().to_owned(), item);
        files.into_iter().map(below).collect()
    }
}

fn file(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a file or directory an extended attribute; `false`, said aloud, where that cannot be.
fn attribute(path: &Path, name: &str, value: &[u8]) -> bool {
    let set = rustix::fs::setxattr(path, name, value, XattrFlags::empty());
    set.inspect_err(|error| aloud(&format!("buildkit  skipped: attribute {name} ({error})")))
        .is_ok()
}

#[test]
fn bits_links_and_empty_directories_arrive_as_they_are() {
    Bench::each(|bench| {
        let context = bench.context();
        for mode in [0o400, 0o644, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o000] {
            file(&context.join(format!("{mode:o}")), format!("{mode:o}"), mode);
        }
        fs::create_dir_all(context.join("d/empty")).unwrap();
        fs::create_dir(context.join("d/open")).unwrap();
        fs::set_permissions(context.join("d/open"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::set_permissions(context.join("d"), fs::Permissions::from_mode(0o2750)).unwrap();
        for (name, target) in
            [("d/up", "../644"), ("d/nowhere", "no/where"), ("absolute", "/etc/x")]
        {
            symlink(target, context.join(name)).unwrap();
        }
        fs::hard_link(context.join("644"), context.join("d/hard")).unwrap();
        let shown = |(path, item): (String, Item)| {
            let text = String::from_utf8(item.content).unwrap();
            let text = format!("{path}: {} {:o} {text}", item.kind, item.mode & 0o7777);
            text.trim_end().to_owned()
        };
        let found: Vec<String> = bench.copied(&context).into_iter().map(shown).collect();
        let expected = [
            "0: file 0 0",
            "1644: file 1644 1644",
            "2755: file 2755 2755",
            "400: file 400 400",
            "4755: file 4755 4755",
            "600: file 600 600",
            "644: file 644 644",
            "6711: file 6711 6711",
            "755: file 755 755",
            "777: file 777 777",
            "absolute: link /etc/x 777",
            "d: directory 2750",
            "d/empty: directory 755",
            "d/hard: file 644 644",
            "d/nowhere: link no/where 777",
            "d/open: directory 1777",
            "d/up: link ../644 777",
        ];
        assert_eq!(found, expected);
    });
}

#[test]
fn odd_names_arrive_as_they_are() {
    Bench::each(|bench| {
        let context = bench.context();
        let names = [
            " ",
            "a b",
            "ä/ö ü.txt",
            "日本語",
            "e\u{301}",
            "a\\b",
            "[a]",
            "*",
            "?",
            "$HOME",
            "'\"`",
            "%41",
            "new\nline",
            "tab\t",
            "#",
            "!",
            "-rf",
            "..a",
            ".a/.b",
            "a,b=c",
            "~",
            "\u{1f980}",
        ];
        for name in names {
            file(&context.join(name), name, 0o644);
        }
        let long = "x".repeat(255);
        file(&context.join(format!("{long}/{long}")), "long", 0o644);
        let copied = bench.copied(&context);
        for name in names {
            let item =
                copied.get(name).unwrap_or_else(|| panic!("{name:?} in {:?}", copied.keys()));
            assert_eq!(item.content, name.as_bytes());
        }
        assert!(copied.contains_key(&format!("{long}/{long}")));
    });
}

#[test]
fn an_ignore_file_is_copied_like_any_other_file() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- images/a/Dockerfile
            FROM scratch
            COPY .dockerignore /
            //- images/a/.dockerignore
            nothing
            ",
        );
        bench.rebuild(&tree, "").exits(0).never_mentions("warning");
        let image = format!("{}/a:latest", bench.tag);
        assert_eq!(bench.text(&image, ".dockerignore"), "nothing\n");
    });
}

#[test]
fn a_name_that_is_not_unicode_is_said_and_nothing_is_built() {
    Bench::each(|bench| {
        let tree = bench.workspace("//- images/a/Dockerfile\nFROM scratch\nCOPY . /\n");
        fs::write(tree.path("images/a").join(OsStr::from_bytes(b"a\xff")), "").unwrap();
        let said = bench.rebuild(&tree, "").exits(1);
        said.mentions("[a] failed: BuildKit takes no path that is not UTF-8: a\u{fffd}");
    });
}

/// A command sees such attributes, though Docker's stores do not keep them. Capabilities of files do
/// not arrive: BuildKit gives the file an owner after its attributes, which takes them away again
/// (tonistiigi/fsutil `diskwriter_unix.go`).
#[test]
fn a_change_of_an_attribute_alone_is_built() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- images/a/Dockerfile
            FROM @busybox
            COPY d /d
            //- images/a/d/f
            ",
        );
        for path in ["images/a/d/f", "images/a/d"] {
            for value in ["one", "two"] {
                // Not what an earlier run of the tests has left in the cache.
                let value = format!("{value} {}", bench.tag);
                if !attribute(&tree.path(path), "user.imgraph", value.as_bytes()) {
                    return;
                }
                let outcome = bench.rebuild(&tree, "--json").exits(0);
                assert_eq!(outcome.ends(), ["a built"]);
                let events = outcome.events();
                let copy = events.iter().rfind(|event| event["text"] == "COPY d /d").unwrap();
                assert_eq!(copy["cached"], false, "{path} {value}");
            }
        }
    });
}

#[test]
fn a_file_that_changes_before_it_is_sent_is_built_as_it_is_then() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- images/a/Dockerfile
            FROM @busybox
            RUN echo now; sleep 2
            //- images/b/Dockerfile
            FROM @/a
            COPY f /
            //- images/b/f
            before
            ",
        );
        let mut run = bench.start(&tree, "rebuild --jobs=1 --json");
        run.wait_for(|event| event["event"] == "log" && event["line"] == "now");
        tree.write("images/b/f", "during\n");
        let outcome = run.finish().exits(0);
        assert_eq!(outcome.ends(), ["a built", "b built"]);
        assert_eq!(bench.text(&format!("{}/b:latest", bench.tag), "f"), "during\n");
        bench.rebuild(&tree, "").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");

        let context = bench.context();
        file(&context.join("f"), "before", 0o644);
        let request = bench.with_context(&context, "FROM scratch\nCOPY f /\n");
        file(&context.join("f"), "beyond", 0o644);
        let before = bench.images();
        let ended = bench.build(&request);
        assert!(
            matches!(&ended, Err(EngineError::ContextMoved { path }) if path == Path::new("f")),
            "{ended:?}"
        );
        assert_eq!(bench.images(), before);
    });
}

#[test]
fn what_the_daemon_asks_for_and_the_fingerprint_does_not_have_is_named() {
    Bench::each(|bench| {
        let context = bench.context();
        file(&context.join("f"), "f", 0o644);
        file(&context.join("g/h"), "h", 0o644);
        for (dockerfile, sources, named) in [
            ("COPY f g /x/", &["/f"][..], &["g"][..]),
            ("COPY f /\nADD g/h /", &["/f"], &["g/h"]),
            ("COPY g/* /", &["/f"], &["g/*"]),
            ("COPY f /", &[], &["f"]),
            ("COPY . /", &["/f"], &["the whole context"]),
        ] {
            let dockerfile = format!("FROM scratch\n{dockerfile}\n");
            let sources = sources.iter().map(|source| (*source).to_owned()).collect();
            let request = Request { sources, ..bench.with_context(&context, &dockerfile) };
            match bench.build(&request) {
                Err(EngineError::Unread { paths }) => assert_eq!(paths, named, "{dockerfile}"),
                ended => panic!("{dockerfile}\n{ended:?}"),
            }
        }
    });
}

#[test]
fn a_large_file_and_many_small_ones_arrive() {
    const MANY: usize = 20_000;
    let benches = Bench::all();
    let Some(first) = benches.first() else { return };
    let context = first.context();
    let line = "a line of a large file, of which it has a great many\n";
    file(&context.join("large"), line.repeat((100 << 20) / line.len()), 0o644);
    let mut length = 0;
    for number in 0..MANY {
        let text = number.to_string();
        let directory = context.join(format!("many/{}", number % 100));
        if number < 100 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::write(directory.join(&text), &text).unwrap();
        length += text.len();
    }
    let mut sum = Command::new(busybox().unwrap());
    let sum = sum.arg("sha256sum").arg(context.join("large")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    // Mounted, so that no image has to hold it.
    let dockerfile = format!(
        "FROM @busybox\nRUN --mount=type=bind,target=/c \
         test $(sha256sum < /c/large | cut -c 1-64) = {} && test $(cat /c/many/*/* | wc -c) = {length}\n",
        &sum[..64],
    );
    let template = first.with_context(&context, "");
    thread::scope(|scope| {
        for bench in &benches {
            let dockerfile = bench.named(&dockerfile).into_bytes();
            let request = Request { dockerfile, ..template.clone() };
            scope.spawn(move || bench.build(&request).unwrap());
        }
    });
}
