//! The note beside a pushed image: from which key it was built, what came out, from where, how long
//! that took.
//!
//! An artefact of its own, which refers to the image (OCI image-spec, "Guidelines for Artifact
//! Usage"; `subject` makes it a referrer), tagged with the key tag and `.note`. None of it is written
//! into the image's own manifest: a key, a revision or a duration there would give an image another
//! digest although it came out the same, and everything that is deployed by digest would move. So
//! what is pushed is what was built, byte for byte.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::digest::{Digest, OciDigest};
use crate::history::{Output, Record};
use crate::image::{ImageName, Platform};
use crate::published::CLASS;

/// What the artefact is.
pub const ARTIFACT_TYPE: &str = "application/vnd.imgraph.note.v1";
/// What a manifest is.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The blob that artefacts have which need none (OCI image-spec, "Guidance for an Empty Descriptor").
pub const EMPTY: &[u8] = b"{}";
/// What it is.
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Behind a key tag.
const SUFFIX: &str = ".note";

/// Of the OCI image-spec, "Pre-Defined Annotation Keys".
pub const REVISION: &str = "org.opencontainers.image.revision";
/// The same.
pub const SOURCE: &str = "org.opencontainers.image.source";
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Our own.
const IMAGE: &str = "io.imgraph.image";
const KEY: &str = "io.imgraph.key";
const SOURCE_KEY: &str = "io.imgraph.source-key";
const CONTENT: &str = "io.imgraph.content";
const PLATFORM: &str = "io.imgraph.platform";
const ID: &str = "io.imgraph.id";
const DIFF_IDS: &str = "io.imgraph.diff-ids";
const SIZE: &str = "io.imgraph.size";
const FINISHED: &str = "io.imgraph.finished-ms";
const DURATION: &str = "io.imgraph.duration-ms";

/// Where an image comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The commit, with `-dirty` where the work tree differs from it.
    pub revision: Option<String>,
    /// The address of the repository.
    pub source: Option<String>,
    /// The image that the last stage begins with: its reference and its digest.
    pub base: Option<(String, Option<OciDigest>)>,
}

/// A manifest or an index in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// What it is called by.
    pub digest: OciDigest,
    /// How many bytes it has.
    pub size: usize,
}

/// The reference of the note beside a key tag.
pub fn reference(key_reference: &str) -> String {
    format!("{key_reference}{SUFFIX}")
}

/// The descriptor of [`EMPTY`].
pub fn empty() -> Value {
    json!({ "mediaType": EMPTY_TYPE, "digest": OciDigest::of_content(EMPTY), "size": EMPTY.len() })
}

/// The manifest of the note on a record whose image is there.
pub fn encode(record: &Record, image: &Descriptor, origin: &Origin) -> Vec<u8> {
    let mut notes = BTreeMap::from([
        (IMAGE, record.image.to_string()),
        (KEY, record.build_key.to_string()),
        (CONTENT, record.content.to_string()),
        (PLATFORM, record.platform.to_string()),
        (ID, record.output.id.to_string()),
        (DIFF_IDS, words(&record.output.diff_ids)),
        (SIZE, record.output.size.to_string()),
        (FINISHED, record.finished.to_string()),
        (DURATION, record.duration.to_string()),
    ]);
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value {
            notes.insert(name, value);
        }
    };
    add(SOURCE_KEY, record.source_key.map(|key| key.to_string()));
    add(REVISION, origin.revision.clone());
    add(SOURCE, origin.source.clone());
    if let Some((name, digest)) = &origin.base {
        add(BASE_NAME, Some(name.clone()));
        add(BASE_DIGEST, digest.as_ref().map(ToString::to_string));
    }
    let note = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": empty(),
        "layers": [empty()],
        "subject": { "mediaType": image.media_type, "digest": image.digest, "size": image.size },
        "annotations": notes,
    });
    note.to_string().into_bytes()
}

#[derive(Deserialize)]
struct Note {
    #[serde(rename = "artifactType")]
    artifact_type: String,
    subject: Subject,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Subject {
    digest: OciDigest,
}

/// The record that a note is of, for the image that a key tag points at; none where it is no note, or
/// not of this key, or not of what is there. It has no leaves.
pub fn decode(
    bytes: &[u8],
    (key_reference, key): (&str, &Digest),
    there: &OciDigest,
) -> Option<Record> {
    let note: Note = serde_json::from_slice(bytes).ok()?;
    let said = |name: &str| note.annotations.get(name).map(String::as_str);
    let build_key: Digest = said(KEY)?.parse().ok()?;
    if note.artifact_type != ARTIFACT_TYPE || build_key != *key || note.subject.digest != *there {
        return None;
    }
    let diff_ids = said(DIFF_IDS)?.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    Some(Record {
        image: said(IMAGE)?.parse::<ImageName>().ok()?,
        platform: said(PLATFORM)?.parse::<Platform>().ok()?,
        engine: CLASS.to_owned(),
        source_key: said(SOURCE_KEY).and_then(|key| key.parse().ok()),
        build_key,
        content: said(CONTENT)?.parse().ok()?,
        output: Output {
            id: said(ID)?.parse().ok()?,
            manifest: Some(note.subject.digest),
            references: vec![key_reference.to_owned()],
            diff_ids: diff_ids.ok()?,
            size: said(SIZE)?.parse().ok()?,
        },
        finished: said(FINISHED)?.parse().ok()?,
        duration: said(DURATION)?.parse().ok()?,
        leaves: Vec::new(),
    })
}

fn words(digests: &[OciDigest]) -> String {
    digests.iter().map(OciDigest::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let digest = |text: &str| OciDigest::of_content(text.as_bytes());
        Record {
            image: "java/jre".parse().unwrap(),
            platform: "linux/arm64".parse().unwrap(),
            engine: CLASS.to_owned(),
            source_key: Some(Digest::of_content(b"source")),
            build_key: Digest::of_content(b"key"),
            content: Digest::of_content(b"content"),
            output: Output {
                id: digest("id"),
                manifest: Some(digest("manifest")),
                references: vec!["r.example/java/jre:ig-1".to_owned()],
                diff_ids: vec![digest("1"), digest("2")],
                size: 7,
            },
            finished: 8,
            duration: 9,
            leaves: Vec::new(),
        }
    }

    #[test]
    fn a_note_gives_the_record_back_to_who_asks_for_its_key_and_has_its_image() {
        let record = record();
        let digest = record.output.manifest.clone().unwrap();
        let image = Descriptor { media_type: MANIFEST.to_owned(), digest: digest.clone(), size: 3 };
        let bytes = encode(&record, &image, &Origin::default());
        let asked = (&*record.output.references[0], &record.build_key);
        assert_eq!(decode(&bytes, asked, &digest), Some(record.clone()));
        assert_eq!(decode(&bytes, asked, &record.output.id), None, "another image");
        assert_eq!(decode(&bytes, (asked.0, &record.content), &digest), None, "another key");
        assert_eq!(decode(b"{}", asked, &digest), None);
    }
}
