//! moby/patternmatcher's own tables, and random patterns on random paths.

use imgraph::gopath;
use imgraph::ignorefile::Patterns;

use crate::conformance::{Tally, rows};

#[test]
fn patterns_match_as_moby_patternmatcher_does() {
    let Some(rows) = rows("patternmatcher") else { return };
    let mut tally = Tally::new("patternmatcher");
    for row in rows {
        let patterns = row["patterns"].as_array().map(Vec::as_slice).unwrap_or_default();
        let patterns = patterns.iter().map(|pattern| pattern.as_str().expect("a text"));
        let path = gopath::clean(row["path"].as_str().expect("a text").as_bytes());
        // The root is never matched (patternmatcher.go: MatchesOrParentMatches).
        let got = Patterns::new(patterns)
            .map(|patterns| path != b"." && patterns.verdict(&path).is_matched());
        let want = (row["err"].is_null()).then(|| row["match"] == true);
        tally.compare(&row, &got.ok(), &want);
    }
    tally.finish();
}
