//! Layouts in directories of their own.
#![expect(clippy::disallowed_methods, reason = "tests look at the files of a layout")]

use std::io::Write;
use std::time::Duration;
use std::{fs, thread};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::TempDir;

use super::index_file::VERSION;
use super::*;

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layout, and where it is.
struct Bench {
    layout: Layout,
    home: TempDir,
}

/// An image that was put there.
struct Made {
    id: OciDigest,
    config: OciDigest,
    layers: Vec<OciDigest>,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { layout: Layout::new(home.path().join("oci")), home }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join("oci").join(path)
    }

    fn blob_path(&self, digest: &OciDigest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    fn put(&self, bytes: &[u8]) -> OciDigest {
        let mut ingest = self.layout.blobs.begin().unwrap();
        ingest.write(bytes).unwrap();
        ingest.commit(None, None).unwrap()
    }

    fn put_json(&self, document: &Value) -> OciDigest {
        self.put(document.to_string().as_bytes())
    }

    /// An image of layers that each have one file of this name.
    fn image(&self, files: &[&str]) -> Made {
        let layers: Vec<(&str, Vec<u8>)> = files.iter().map(|file| (TAR, tar(file))).collect();
        self.image_of(&layers)
    }

    fn image_of(&self, layers: &[(&str, Vec<u8>)]) -> Made {
        let config = self.put_json(&json!({
            "os": "linux",
            "architecture": "amd64",
            "created": "2024-05-05T05:05:05Z",
            "rootfs": { "diff_ids": layers.iter().map(|(_, tar)| diff_id(tar)).collect::<Vec<_>>() },
        }));
        let blobs: Vec<(&str, OciDigest)> =
            layers.iter().map(|(kind, bytes)| (*kind, self.put(bytes))).collect();
        let descriptors: Vec<Value> =
            blobs.iter().map(|(kind, digest)| self.descriptor(kind, digest)).collect();
        let id = self.put_json(&json!({
            "schemaVersion": 2,
            "config": self.descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": descriptors,
        }));
        Made { id, config, layers: blobs.into_iter().map(|(_, digest)| digest).collect() }
    }

    fn descriptor(&self, media_type: &str, digest: &OciDigest) -> Value {
        let size = self.layout.blobs.size(digest).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    fn tag(&self, image: &Made, references: &[&str]) {
        let references: Vec<String> = references.iter().map(|&it| it.to_owned()).collect();
        self.layout.tag(&image.id, &references).unwrap();
    }

    /// The image as it is recorded.
    fn output(&self, image: &Made, references: &[&str]) -> Output {
        let output = self.layout.output(&image.id).unwrap();
        Output { references: references.iter().map(|&it| it.to_owned()).collect(), ..output }
    }

    fn presence(&self, output: &Output) -> Presence {
        self.layout.present(&[output]).unwrap().remove(0)
    }

    fn index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("index.json")).unwrap()).unwrap()
    }

    fn write_index(&self, index: &Value) {
        fs::create_dir_all(self.path("")).unwrap();
        fs::write(self.path("index.json"), index.to_string()).unwrap();
    }

    fn has(&self, digest: &OciDigest) -> bool {
        self.layout.blobs.size(digest).is_some()
    }
}

/// The tar of a layer with one file.
fn tar(name: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(7);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, &b"content"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Not the true one of a layer that is packed: it is believed.
fn diff_id(layer: &[u8]) -> OciDigest {
    OciDigest::of_content(&[layer, b"unpacked"].concat())
}

#[test]
fn an_image_is_called_by_its_manifest() {
    let bench = Bench::new();
    let image = bench.image(&["one", "two"]);
    let output = bench.layout.output(&image.id).unwrap();
    assert_eq!((&output.id, output.manifest.as_ref()), (&image.id, Some(&image.id)));
    assert_eq!(output.diff_ids, [diff_id(&tar("one")), diff_id(&tar("two"))]);
    assert_eq!(output.size, 2 * tar("one").len() as u64);
    assert_eq!(bench.layout.created(&image.id).as_deref(), Some("2024-05-05T05:05:05Z"));
}

#[test]
fn an_image_with_attestations_is_called_by_its_index() {
    let bench = Bench::new();
    let image = bench.image(&["one"]);
    let statement = bench.put(b"{}");
    let layers = [bench.descriptor("application/vnd.in-toto+json", &statement)];
    let about = bench.put_json(&json!({ "config": layers[0], "layers": layers }));
    let mut about = bench.descriptor(MANIFEST, &about);
    about["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let manifests = json!([about, bench.descriptor(MANIFEST, &image.id)]);
    let id = bench.put_json(&json!({ "schemaVersion": 2, "manifests": manifests }));
    let output = bench.layout.output(&id).unwrap();
    assert_eq!((&output.id, output.manifest.as_ref()), (&id, Some(&image.id)));
    bench.layout.tag(&id, &["app:1".to_owned()]).unwrap();
    assert_eq!(
        bench.index()["manifests"][0]["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let output = Output { references: vec!["app:1".to_owned()], ..output };
    assert_eq!(bench.presence(&output), Presence::Present);
    fs::rename(bench.blob_path(&statement), bench.path("statement")).unwrap();
    assert_eq!(bench.presence(&output), Presence::Missing);
    fs::rename(bench.path("statement"), bench.blob_path(&statement)).unwrap();
    assert_eq!(bench.presence(&output), Presence::Present);
    fs::remove_file(bench.blob_path(&image.layers[0])).unwrap();
    assert_eq!(bench.presence(&output), Presence::Missing);
}

#[test]
fn an_entry_has_both_names_that_tools_know() {
    let bench = Bench::new();
    let image = bench.image(&["one"]);
    bench.tag(&image, &["acme/app", "localhost:5000/acme/app:1"]);
    assert_eq!(fs::read_to_string(bench.path("oci-layout")).unwrap(), VERSION);
    let entry = |short: &str, full: &str| {
        let mut entry = bench.descriptor(MANIFEST, &image.id);
        entry["annotations"] = json!({
            "org.opencontainers.image.ref.name": short,
            "io.containerd.image.name": full,
        });
        entry
    };
    let expected = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            entry("acme/app:latest", "docker.io/acme/app:latest"),
            entry("localhost:5000/acme/app:1", "localhost:5000/acme/app:1"),
        ],
    });
    assert_eq!(bench.index(), expected);
}

#[test]
fn an_image_is_missing_without_any_of_its_blobs() {
    let whole = |bench: &Bench, image: &Made| {
        bench.tag(image, &["app:1"]);
        let output = bench.output(image, &["app:1"]);
        assert_eq!(bench.presence(&output), Presence::Present);
        output
    };
    let all = |image: &Made| {
        [vec![image.id.clone(), image.config.clone()], image.layers.clone()].concat()
    };
    for row in 0..4 {
        let bench = Bench::new();
        let image = bench.image(&["one", "two"]);
        let output = whole(&bench, &image);
        fs::remove_file(bench.blob_path(&all(&image)[row])).unwrap();
        assert_eq!(bench.presence(&output), Presence::Missing, "removed {row}");
        let image = bench.image(&["one", "two"]);
        let output = whole(&bench, &image);
        fs::write(bench.blob_path(&all(&image)[row]), "{").unwrap();
        assert_eq!(bench.presence(&output), Presence::Missing, "damaged {row}");
    }
}

#[test]
fn a_reference_that_moved_is_untagged_for_the_image_before() {
    let bench = Bench::new();
    let (one, two) = (bench.image(&["one"]), bench.image(&["two"]));
    bench.tag(&one, &["app:1", "app:ig-1"]);
    bench.tag(&two, &["app:1"]);
    let output = bench.output(&one, &["docker.io/library/app:1", "app:ig-1", "app:2"]);
    let references = vec!["docker.io/library/app:1".to_owned(), "app:2".to_owned()];
    assert_eq!(bench.presence(&output), Presence::Untagged { references });
    assert_eq!(bench.presence(&bench.output(&two, &["app:1"])), Presence::Present);
}

#[test]
fn tags_that_are_set_at_once_are_all_set() {
    let bench = Bench::new();
    let images: Vec<Made> = (0..16).map(|number| bench.image(&[&number.to_string()])).collect();
    let references = |number| [format!("app{number}:1"), format!("app{number}:2")];
    thread::scope(|scope| {
        for (number, image) in images.iter().enumerate() {
            let layout = &bench.layout;
            scope.spawn(move || layout.tag(&image.id, &references(number)).unwrap());
        }
    });
    for (number, image) in images.iter().enumerate() {
        let [first, second] = references(number);
        let output = bench.output(image, &[&first, &second]);
        assert_eq!(bench.presence(&output), Presence::Present, "{number}");
    }
}

#[test]
fn what_is_not_committed_is_no_blob() {
    let bench = Bench::new();
    let digest = OciDigest::of_content(b"whole");
    let mut ingest = bench.layout.blobs.begin().unwrap();
    ingest.write(b"who").unwrap();
    drop(ingest);
    assert_eq!(fs::read_dir(bench.path("ingest")).unwrap().count(), 0);
    let mut ingest = bench.layout.blobs.begin().unwrap();
    ingest.write(b"who").unwrap();
    let torn = ingest.commit(None, Some(&digest)).unwrap_err();
    assert!(matches!(torn, blobs::CommitError::Digest { .. }));
    let mut ingest = bench.layout.blobs.begin().unwrap();
    ingest.write(b"whole").unwrap();
    let torn = ingest.commit(Some(6), Some(&digest)).unwrap_err();
    assert!(matches!(torn, blobs::CommitError::Size { expected: 6, found: 5 }));
    assert!(!bench.has(&digest));
    assert_eq!(fs::read_dir(bench.path("ingest")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_run_left_is_cleared_away_before_the_next() {
    let bench = Bench::new();
    let (kept, dropped) = (bench.image(&["kept"]), bench.image(&["dropped"]));
    bench.tag(&kept, &["kept:1"]);
    fs::write(bench.path("ingest/1-0"), "half").unwrap();
    fs::write(bench.path("blobs/sha256/notes.txt"), "not ours").unwrap();
    // The process was killed: nothing is dropped.
    let Bench { layout, home } = bench;
    std::mem::forget(layout);
    let bench = Bench { layout: Layout::new(home.path().join("oci")), home };
    bench.layout.recover().unwrap();
    assert!(!bench.path("ingest").exists());
    assert_eq!(bench.presence(&bench.output(&kept, &["kept:1"])), Presence::Present);
    for gone in [&dropped.id, &dropped.config, &dropped.layers[0]] {
        assert!(!bench.has(gone));
    }
    assert!(bench.path("blobs/sha256/notes.txt").exists());
}

#[test]
fn a_layout_that_was_left_in_order_is_not_searched() {
    let bench = Bench::new();
    let image = bench.image(&["unnamed"]);
    let Bench { layout, home } = bench;
    drop(layout);
    let bench = Bench { layout: Layout::new(home.path().join("oci")), home };
    bench.layout.recover().unwrap();
    assert!(bench.has(&image.id));
}

#[test]
fn an_image_that_is_removed_goes_with_the_last_build() {
    let bench = Bench::new();
    let (kept, removed) = (bench.image(&["base", "kept"]), bench.image(&["base", "removed"]));
    bench.tag(&kept, &["kept:1"]);
    bench.layout.remove(&kept.id).unwrap();
    bench.layout.remove(&removed.id).unwrap();
    assert!(bench.has(&removed.id), "builds may run");
    let Bench { layout, home } = bench;
    drop(layout);
    let bench = Bench { layout: Layout::new(home.path().join("oci")), home };
    assert_eq!(bench.presence(&bench.output(&kept, &["kept:1"])), Presence::Present);
    assert!(!bench.has(&removed.id) && !bench.has(&removed.layers[1]));
}

#[test]
fn what_others_put_there_stays() {
    let bench = Bench::new();
    let image = bench.image(&["one"]);
    let leaf = bench.put(b"a file of an artefact");
    let artefact = bench.put_json(&json!({ "deep": [{ "er": { "digest": leaf } }] }));
    let index = json!({
        "schemaVersion": 2,
        "manifests": [
            { "mediaType": "application/x+json", "digest": artefact, "size": 1, "urls": ["x"] },
            "what is this",
            { "digest": 7, "annotations": { "org.opencontainers.image.ref.name": "app:1" } },
            { "digest": "sha256:none", "annotations": ["org.opencontainers.image.ref.name"] },
        ],
        "annotations": { "who": "me" },
        "unknown": null,
    });
    bench.write_index(&index);
    bench.tag(&image, &["app:2"]);
    bench.layout.collect().unwrap();
    let mut after = bench.index();
    let entries = after["manifests"].as_array_mut().unwrap();
    assert_eq!(entries.pop().unwrap()["digest"], image.id.as_str());
    assert_eq!(after, index);
    assert!(bench.has(&artefact) && bench.has(&leaf));
}

#[test]
fn an_entry_that_points_there_already_is_left_as_it_is() {
    let bench = Bench::new();
    let image = bench.image(&["one"]);
    let mut entry = bench.descriptor(MANIFEST, &image.id);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "app:1", "who": "me" });
    let index = json!({ "manifests": [entry] });
    bench.write_index(&index);
    bench.tag(&image, &["app:1"]);
    assert_eq!(bench.index(), index);
}

#[test]
fn what_others_change_in_the_meantime_is_not_undone() {
    let bench = Bench::new();
    let (one, two) = (bench.image(&["one"]), bench.image(&["two"]));
    bench.tag(&one, &["app:1"]);
    let mut index = bench.index();
    let theirs = bench.descriptor(MANIFEST, &two.id);
    index["manifests"].as_array_mut().unwrap().push(theirs.clone());
    bench.write_index(&index);
    bench.tag(&one, &["app:2"]);
    assert_eq!(bench.index()["manifests"].as_array().unwrap().len(), 3);
    assert_eq!(bench.index()["manifests"][1], theirs);
    fs::remove_file(bench.path("index.json")).unwrap();
    let references = vec!["app:1".to_owned()];
    assert_eq!(bench.presence(&bench.output(&one, &["app:1"])), Presence::Untagged { references });
}

#[test]
fn an_index_that_is_none_is_refused_and_left_alone() {
    let bench = Bench::new();
    let image = bench.image(&["one"]);
    for wrong in ["", "[]", r#"{"manifests":{}}"#, "{"] {
        fs::write(bench.path("index.json"), wrong).unwrap();
        let error = bench.layout.tag(&image.id, &["app:1".to_owned()]).unwrap_err();
        assert!(matches!(error, EngineError::File { action: "read", .. }), "{wrong}: {error}");
        assert!(bench.layout.collect().is_err(), "{wrong}");
        assert_eq!(fs::read_to_string(bench.path("index.json")).unwrap(), wrong);
        assert!(bench.has(&image.id));
    }
}

#[test]
fn only_blobs_are_handed_out() {
    let bench = Bench::new();
    bench.put(b"one");
    let hex = "0".repeat(64);
    fs::create_dir_all(bench.path("blobs/..secret")).unwrap();
    fs::write(bench.path("secret"), "secret").unwrap();
    fs::write(bench.path("blobs").join(&hex), "secret").unwrap();
    std::os::unix::fs::symlink(bench.path("secret"), bench.path("blobs/sha256").join(&hex))
        .unwrap();
    fs::create_dir(bench.path("blobs/sha256").join("1".repeat(64))).unwrap();
    for digest in [
        format!("..:{hex}"),
        format!(".:{hex}"),
        format!("sha256:{hex}"),
        format!("sha256:{}", "1".repeat(64)),
        format!("sha512:{hex}"),
    ] {
        let digest: OciDigest = digest.parse().unwrap();
        assert_eq!(bench.layout.blobs.size(&digest), None, "{digest}");
        assert!(bench.layout.blobs.read(&digest).is_err(), "{digest}");
    }
}

/// As two processes have it: neither knows what the other holds.
#[test]
fn what_two_processes_write_into_one_directory_is_all_there() {
    const TAGS: usize = 20;
    let bench = Bench::new();
    let image = bench.image(&["one"]);
    let descriptor = bench.descriptor(MANIFEST, &image.id).to_string();
    thread::scope(|scope| {
        for process in ["a", "b", "c"] {
            let other = Layout::new(bench.home.path().join("oci"));
            let descriptor = &descriptor;
            scope.spawn(move || {
                for number in 0..TAGS {
                    other.point(&format!("{process}{number}"), descriptor).unwrap();
                }
            });
        }
    });
    let missing = ["a", "b", "c"]
        .iter()
        .flat_map(|process| (0..TAGS).map(move |number| format!("{process}{number}")));
    let missing: Vec<String> =
        missing.filter(|tag| bench.layout.find(tag).unwrap().is_none()).collect();
    assert_eq!(missing, [] as [String; 0]);
}

/// As BuildKit's client has it, which removes the file when it is done.
#[test]
fn an_index_that_another_process_has_locked_is_changed_afterwards() {
    let bench = Bench::new();
    let image = bench.image(&["one"]);
    let descriptor = bench.descriptor(MANIFEST, &image.id).to_string();
    let path = bench.path("index.json.lock");
    let other = fs::File::create(&path).unwrap();
    other.lock().unwrap();
    let (sender, done) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            bench.layout.point("latest", &descriptor).unwrap();
            sender.send(()).unwrap();
        });
        assert!(done.recv_timeout(Duration::from_millis(100)).is_err(), "it did not wait");
        other.unlock().unwrap();
        fs::remove_file(&path).unwrap();
        done.recv().unwrap();
    });
    assert_eq!(bench.layout.find("latest").unwrap(), Some(image.id));
}

#[test]
fn how_a_layer_is_packed_does_not_count() {
    let bench = Bench::new();
    let none = BTreeMap::new();
    let plain = bench.image_of(&[(TAR, tar("one"))]);
    let packed = bench.image_of(&[(GZIP, gzipped(&tar("one")))]);
    let content = bench.layout.content(&plain.id, &none).unwrap();
    assert_eq!(bench.layout.content(&packed.id, &none).unwrap().id, content.id);
    let read = content::layer::digest(&tar("one")[..]).unwrap();
    assert_eq!(content.layers, [(diff_id(&tar("one")), read)]);
}

#[test]
fn a_layer_that_is_known_is_not_read() {
    let bench = Bench::new();
    let image = bench.image(&["one", "two"]);
    let content = bench.layout.content(&image.id, &BTreeMap::new()).unwrap();
    let known: BTreeMap<OciDigest, Digest> = content.layers.into_iter().collect();
    for layer in &image.layers {
        fs::remove_file(bench.blob_path(layer)).unwrap();
    }
    let again = bench.layout.content(&image.id, &known).unwrap();
    assert_eq!((again.id, again.layers), (content.id, Vec::new()));
    assert!(bench.layout.content(&image.id, &BTreeMap::new()).is_err());
}

#[test]
fn a_layer_that_cannot_be_unpacked_counts_by_its_id_and_is_not_remembered() {
    let bench = Bench::new();
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    let of = |bytes: &[u8]| {
        let image = bench.image_of(&[(zstd, bytes.to_vec())]);
        bench.layout.content(&image.id, &BTreeMap::new()).unwrap()
    };
    assert_eq!(of(b"one").layers, []);
    assert_eq!(of(b"one"), of(b"one"));
    assert_ne!(of(b"one").id, of(b"two").id);
}
