//! The content id: what an image is, whoever built it, wherever it is kept and however it is read.

use imgraph::digest::Digest;
use imgraph::engine::archive;

use super::traffic::Proxy;
use super::*;
use crate::engines::buildah;

/// An image that comes out the same whenever it is built, and by whomever: BuildKit gives one without
/// PATH and WORKDIR its own, and buildah makes a file in `/run` while a command runs: a directory in
/// which nothing is different afterwards is in the layer of some stores, and of others not.
const DOCKERFILE: &str = "FROM scratch\nENV PATH=/bin\nCOPY rootfs /\n\
    RUN mkdir /d && echo x > /d/a && ln /d/a /d/b && ln -s a /d/c && rm /bin/gone && \
    chmod 4755 /bin/busybox && mkdir -m 1777 /d/tmp /run/x\nWORKDIR /d\nCOPY --chown=7:8 files /c/\n\
    ENV A=1\nUSER 5\nEXPOSE 80/tcp\nVOLUME /v\nCMD [\"x\"]\nSTOPSIGNAL SIGINT\n";

impl Bench {
    fn deterministic(&self, dockerfile: &str) -> Request {
        let context = self.home.path().join("deterministic");
        if !context.exists() {
            let bin = context.join("rootfs/bin");
            fs::create_dir_all(&bin).unwrap();
            fs::copy(self.home.path().join("base/rootfs/bin/busybox"), bin.join("busybox"))
                .unwrap();
            for applet in ["sh", "mkdir", "ln", "rm", "chmod", "gone"] {
                symlink("busybox", bin.join(applet)).unwrap();
            }
            // What is not there is made by the first RUN, by some engines.
            for directory in ["dev", "etc", "proc", "run", "sys"] {
                fs::create_dir(context.join("rootfs").join(directory)).unwrap();
            }
            for file in ["hostname", "hosts", "resolv.conf"] {
                fs::write(context.join("rootfs/etc").join(file), "").unwrap();
            }
            fs::create_dir_all(context.join("files/empty")).unwrap();
            fs::write(context.join("files/f"), "f\n").unwrap();
            fs::set_permissions(context.join("files/f"), fs::Permissions::from_mode(0o640))
                .unwrap();
            symlink("no/where", context.join("files/link")).unwrap();
        }
        self.with_context(&context, dockerfile)
    }

    fn content(&self, built: &Built) -> Digest {
        self.engine.content(built, &BTreeMap::new(), &Cancel::default()).unwrap().id
    }

    /// The content id by what the daemon exports.
    fn exported(&self, built: &Built) -> Digest {
        let (status, tar) = self.daemon.ask("GET", &format!("/images/{}/get", built.output.id));
        assert_eq!(status, 200);
        archive::content(&tar[..], &BTreeMap::new()).unwrap().id
    }
}

#[test]
fn all_daemons_and_buildah_give_the_same_image_one_content_id() {
    let benches = Bench::all();
    let Some(first) = benches.first() else { return };
    let mut ids = Vec::new();
    for bench in &benches {
        let built = bench.build(&bench.deterministic(DOCKERFILE)).unwrap();
        ids.push((bench.daemon.name, bench.content(&built)));
        ids.push(("what it exports", bench.exported(&built)));
        let again = Request { cache: CacheUse::Bypass, ..bench.deterministic(DOCKERFILE) };
        ids.push(("built again", bench.content(&bench.build(&again).unwrap())));
    }
    if let Some(buildah) = buildah::Bench::new() {
        let request = first.deterministic(DOCKERFILE);
        let built = buildah.engine.build(&request, &Cancel::default(), &mut |_| {}).unwrap();
        ids.push((
            "buildah",
            buildah.engine.content(&built, &BTreeMap::new(), &Cancel::default()).unwrap().id,
        ));
    }
    assert!(ids.iter().all(|(_, id)| *id == ids[0].1), "{ids:#?}");
}

#[test]
fn every_real_difference_counts_and_times_do_not() {
    Bench::each(|bench| {
        let content = |dockerfile: &str| {
            bench.content(&bench.build(&bench.deterministic(dockerfile)).unwrap())
        };
        let base = content(DOCKERFILE);
        for (from, to) in [("echo x", "echo y"), ("4755", "755"), ("7:8", "7:9"), ("A=1", "A=2")] {
            assert_ne!(content(&DOCKERFILE.replace(from, to)), base, "{from} -> {to}");
        }
        let same = DOCKERFILE.replace("echo x", "printf 'x\\n'");
        assert_eq!(content(&same), base);
        let late = Request { epoch: 1_000_000_000, ..bench.deterministic(&same) };
        assert_eq!(bench.content(&bench.build(&late).unwrap()), base);
    });
}

#[test]
fn layers_are_read_once_and_from_the_files_of_the_store_where_these_can_be_read() {
    Bench::each(|bench| {
        let proxy = Proxy::new(bench);
        let daemon = Daemon { socket: proxy.socket.clone(), ..bench.daemon.clone() };
        let engine = engine(&daemon, bench.home.path(), &[]);
        let base = bench.build(&bench.request("FROM @busybox\n")).unwrap();
        let base = engine.content(&base, &BTreeMap::new(), &Cancel::default()).unwrap();
        assert_eq!(base.layers.len(), 1);
        let known = base.layers.into_iter().collect();
        let dockerfile = "FROM @busybox\nCOPY files /c/\nCOPY files /d/\n";
        let child = bench.build(&bench.deterministic(dockerfile)).unwrap();
        let all = engine.content(&child, &BTreeMap::new(), &Cancel::default()).unwrap();
        let rest = engine.content(&child, &known, &Cancel::default()).unwrap();
        assert_eq!(all.id, rest.id);
        let read: Vec<&OciDigest> = rest.layers.iter().map(|(id, _)| id).collect();
        let mut new: Vec<&OciDigest> = child.output.diff_ids[1..].iter().collect();
        new.sort();
        assert_eq!(read, new);
        assert_eq!(all.layers.len(), 3);
        let exports = proxy.requests().into_iter().filter(|request| request.ends_with("/get"));
        let root = bench.daemon.get("/info")["DockerRootDir"].as_str().unwrap().to_owned();
        let can_read = fs::read_dir(&root).is_ok();
        assert_eq!(exports.count(), if can_read { 0 } else { 3 });
    });
}

#[test]
fn an_image_has_the_manifest_that_its_store_calls_it_by() {
    Bench::each(|bench| {
        let output = bench.build(&bench.request("FROM @busybox\nENV A=1\n")).unwrap().output;
        let manifests = bench.daemon.name == DAEMONS[2].0;
        assert_eq!(output.manifest, manifests.then_some(output.id));
    });
}
