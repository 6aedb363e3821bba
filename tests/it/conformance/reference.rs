//! distribution/reference's reading of 908 names: parts, familiar form, default tag, kind of error.

use imgraph::reference::{Reference, ReferenceError};
use serde_json::Value;

use crate::conformance::{Tally, rows};

#[test]
fn references_are_normalised_as_distribution_reference_does() {
    let Some(rows) = rows("reference") else { return };
    let mut tally = Tally::new("reference");
    for row in rows {
        let text = row["in"].as_str().expect("`in` is a text");
        let got = match Reference::parse(text) {
            Ok(reference) => reading(&reference),
            Err(error) => vec![complaint(&error).to_owned()],
        };
        tally.compare(&text, &got, &golden(&row));
    }
    tally.finish();
}

fn reading(reference: &Reference) -> Vec<String> {
    let digest = reference.digest.as_ref().map_or(String::new(), ToString::to_string);
    let tagged =
        Reference { tag: reference.tag_or_latest().map(str::to_owned), ..reference.clone() };
    vec![
        reference.domain.clone(),
        reference.path.clone(),
        reference.tag.clone().unwrap_or_default(),
        digest,
        tagged.to_string(),
        reference.familiar(),
    ]
}

/// The error of distribution/reference that one of ours stands for: ours name the part.
fn complaint(error: &ReferenceError) -> &'static str {
    match error {
        ReferenceError::UpperCase(_) => "must be lowercase",
        ReferenceError::Identifier(_) => "cannot specify 64-byte hexadecimal strings",
        ReferenceError::TooLong(_) => "repository name must not be more than 255 characters",
        ReferenceError::DigestAlgorithm(_) => "unsupported digest algorithm",
        ReferenceError::DigestLength { .. } => "invalid checksum digest length",
        _ => "invalid reference format",
    }
}

fn golden(row: &Value) -> Vec<String> {
    let field = |name: &str| row[name].as_str().expect("a text").to_owned();
    if row["ok"] == true {
        return ["domain", "path", "tag", "digest", "tagged", "familiar"].map(field).to_vec();
    }
    let error = field("err");
    // Some messages hold the name: what is before or after it says which kind it is.
    let kind = [") must be lowercase", "), cannot specify 64-byte hexadecimal strings"]
        .into_iter()
        .find(|kind| error.ends_with(kind))
        .map(|kind| kind.trim_start_matches([')', ',', ' ']));
    vec![kind.map_or(error.clone(), str::to_owned)]
}
