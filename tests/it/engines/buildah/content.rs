//! The content id: what an image is, whoever built it and whenever.

use imgraph::engine::buildah::layers;
use imgraph::engine::program::Program;

use super::*;

const DOCKERFILE: &str = "FROM acme/base:0.1.0\nCOPY . /c\nRUN mkdir /d && echo x > /d/a && \
    ln /d/a /d/b && rm /bin/dd && chmod 4755 /bin/busybox\nENV A=1\n";

impl Bench {
    fn content(&self, built: &Built) -> Digest {
        self.engine.content(built, &BTreeMap::new(), &Cancel::default()).unwrap().id
    }

    fn variant(&self, dockerfile: &str, epoch: u64) -> Built {
        let context = self.home.path().join("context");
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("f"), "f").unwrap();
        let files = entries(&context);
        let cache = CacheUse::Bypass;
        let request = Request { context, files, epoch, cache, ..self.request(dockerfile) };
        self.build(&request).unwrap()
    }
}

#[test]
fn two_builds_of_the_same_inputs_have_one_content_id() {
    let Some(bench) = Bench::new() else { return };
    let one = bench.variant(DOCKERFILE, 0);
    let two = bench.variant(DOCKERFILE, 0);
    assert_ne!(one.output.id, two.output.id, "buildah writes the container into the config");
    assert_eq!(bench.content(&one), bench.content(&two));
}

#[test]
fn times_do_not_count() {
    let Some(bench) = Bench::new() else { return };
    let one = bench.variant(DOCKERFILE, 0);
    let two = bench.variant(DOCKERFILE, 1_000_000_000);
    assert_ne!(one.output.diff_ids, two.output.diff_ids);
    assert_eq!(bench.content(&one), bench.content(&two));

    let file = bench.home.path().join("Dockerfile");
    fs::write(&file, DOCKERFILE).unwrap();
    let context = bench.home.path().join("context").display().to_string();
    let id_file = bench.home.path().join("plain-id").display().to_string();
    let file = file.display().to_string();
    bench.buildah(&[
        "build",
        "--isolation=chroot",
        "--network=host",
        "--layers",
        "--no-cache",
        "--iidfile",
        &id_file,
        "-f",
        &file,
        &context,
    ]);
    let mut plain = one.clone();
    plain.output.id = fs::read_to_string(id_file).unwrap().trim().parse().unwrap();
    assert_eq!(bench.content(&plain), bench.content(&one), "a plain build, in the OCI format");
}

#[test]
fn every_real_difference_counts() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.content(&bench.variant(DOCKERFILE, 0));
    for (from, to) in [
        ("echo x", "echo y"),
        ("ln /d/a", "ln -s /d/a"),
        ("rm /bin/dd", "true"),
        ("4755", "755"),
        ("A=1", "A=2"),
    ] {
        let other = bench.variant(&DOCKERFILE.replace(from, to), 0);
        assert_ne!(bench.content(&other), base, "{from} -> {to}");
    }
}

#[test]
fn known_layers_are_not_read_again() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.engine.content(&bench.base, &BTreeMap::new(), &Cancel::default()).unwrap();
    assert_eq!(base.layers.len(), 1);
    let known: BTreeMap<OciDigest, Digest> = base.layers.into_iter().collect();
    let child = bench.variant(DOCKERFILE, 0);
    let all = bench.engine.content(&child, &BTreeMap::new(), &Cancel::default()).unwrap();
    let new = bench.engine.content(&child, &known, &Cancel::default()).unwrap();
    assert_eq!(all.id, new.id);
    let read: Vec<&OciDigest> = new.layers.iter().map(|(id, _)| id).collect();
    assert_eq!(
        read,
        child.output.diff_ids[1..]
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

/// The tar that is put together from the store is the one that buildah itself hands out.
#[test]
fn layers_are_read_as_buildah_pushes_them() {
    let Some(bench) = Bench::new() else { return };
    let built = bench.variant(DOCKERFILE, 0);
    let target = bench.home.path().join("pushed");
    let place = format!("dir:{}", target.display());
    bench.buildah(&["push", "--quiet", "--disable-compression", built.output.id.hex(), &place]);
    let content = bench.engine.content(&built, &BTreeMap::new(), &Cancel::default()).unwrap();
    for (diff_id, digest) in content.layers {
        let tar = fs::File::open(target.join(diff_id.hex())).unwrap();
        assert_eq!(imgraph::engine::content::layer::digest(tar).unwrap(), digest, "{diff_id}");
    }
}

#[test]
fn the_program_gives_the_same_digests_as_the_stores_own_files() {
    let Some(bench) = Bench::new() else { return };
    let built = bench.variant(DOCKERFILE, 0);
    let content = bench.engine.content(&built, &BTreeMap::new(), &Cancel::default()).unwrap();
    let wanted = built.output.diff_ids.iter().cloned().collect();
    let program = Program::new("buildah".into(), bench.storage().arguments(), "");
    let digests =
        layers::from_program(&program, &built.output.id, &wanted, &Cancel::default()).unwrap();
    assert_eq!(digests.into_iter().collect::<Vec<_>>(), content.layers);
    let gone = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
    assert!(layers::from_program(&program, &gone, &wanted, &Cancel::default()).is_err());
}
