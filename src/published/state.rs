//! The state of a branch: the last record of every image, as one document.
//!
//! Tags move one after the other, and a run can be killed between two. So the images that a run is
//! going to push are written beside the state first: until the run has ended, what the state says of
//! them is not believed.
//!
//! It is an index, never the truth: a registry moves a tag without asking what it pointed at, so of
//! two runs that end together one may write over the other. What is missing here is found by its key
//! tag, one request each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::history::Record;
use crate::image::ImageName;

/// What the artefact is.
pub const ARTIFACT_TYPE: &str = "application/vnd.imgraph.state.v1";
/// What its one blob is.
pub const MEDIA_TYPE: &str = "application/vnd.imgraph.state.v1+postcard";
/// The first bytes of the blob.
const MAGIC: &[u8] = b"imgraph state 1\n";
/// Of the longest tag that registries take, what remains beside the digest.
const LONGEST_TAG: usize = 128 - 9;

/// What its other blob is: the images whose tags are being moved.
pub const OPEN_TYPE: &str = "application/vnd.imgraph.open.v1+postcard";

/// The images whose tags are being moved, each with the number of the run that does: it is larger
/// than those of the runs that were there before.
pub type Open = BTreeSet<(ImageName, u64)>;

/// The last record of every image, by image.
pub type State = BTreeMap<ImageName, Arc<Record>>;

#[derive(Serialize)]
struct Written<'a> {
    records: Vec<&'a Record>,
}

#[derive(Deserialize)]
struct Read {
    records: Vec<Record>,
}

/// The bytes of a state; equal states have equal bytes.
pub fn encode(state: &State) -> Vec<u8> {
    let written = Written { records: state.values().map(|record| &**record).collect() };
    postcard::to_extend(&written, MAGIC.to_vec()).expect("postcard encodes whatever records hold")
}

/// A state, unless these bytes are none.
pub fn decode(bytes: &[u8]) -> Option<State> {
    let read: Read = postcard::from_bytes(bytes.strip_prefix(MAGIC)?).ok()?;
    let records = read.records.into_iter();
    Some(records.map(|record| (record.image.clone(), Arc::new(record))).collect())
}

/// The number of the run that began last of those that move the tags of an image.
pub fn last_turn(open: &Open, image: &ImageName) -> Option<u64> {
    let of_image = open.range((image.clone(), 0)..=(image.clone(), u64::MAX));
    of_image.map(|(_, turn)| *turn).next_back()
}

/// The bytes of the images whose tags are being moved.
pub fn encode_open(open: &Open) -> Vec<u8> {
    postcard::to_stdvec(open).expect("postcard encodes names")
}

/// The images whose tags are being moved, unless these bytes are none.
pub fn decode_open(bytes: &[u8]) -> Option<Open> {
    postcard::from_bytes(bytes).ok()
}

/// The tag of a branch: its name where that is a tag, else as much of it as can be one, and a digest.
pub fn tag(branch: &str) -> String {
    let is_tag_character = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_tag = branch.chars().all(is_tag_character) && branch.starts_with(is_first);
    if is_tag && branch.len() <= LONGEST_TAG {
        return branch.to_owned();
    }
    let kept = branch.trim_start_matches(|c| !is_first(c));
    let kept = kept.chars().map(|c| if is_tag_character(c) { c } else { '-' });
    let kept: String = kept.take(LONGEST_TAG - 1).collect();
    let digest = Digest::of_content(branch.as_bytes()).to_string();
    format!("_{kept}-{}", &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_has_a_tag_of_its_own() {
        assert_eq!(tag("main"), "main");
        assert_eq!(tag("release-1.2_x"), "release-1.2_x");
        let tags: Vec<String> =
            ["feature/a", "feature-a", "feature:a", ".x", "", "ü"].map(tag).to_vec();
        let distinct: BTreeSet<&String> = tags.iter().collect();
        assert_eq!(distinct.len(), tags.len(), "{tags:?}");
        assert!(tags[0].starts_with("_feature-a-"), "{tags:?}");
        for tag in tags.iter().chain([&tag(&"x/".repeat(200))]) {
            let reference = format!("r.example/a:{tag}").parse::<crate::reference::Reference>();
            assert_eq!(reference.unwrap().tag.as_ref(), Some(tag));
        }
    }

    #[test]
    fn what_is_no_state_is_none() {
        let empty = encode(&State::new());
        assert_eq!(decode(&empty), Some(State::new()));
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"imgraph state 2\n\0"), None);
        assert_eq!(decode(MAGIC), None);
    }
}
