//! Goldens: what the reference implementations say, row by row, held against what imgraph says.
//!
//! The sets are data of others under mixed licences and not part of the project. They are read from
//! the directory `IMGRAPH_CONFORMANCE` (default: `../shared/conformance` beside the checkout); where
//! a set is absent, its test says so aloud and proves nothing. Each file below knows one set.
#![expect(
    clippy::disallowed_methods,
    reason = "goldens are files, found by an environment variable"
)]

mod dockerfile;
mod graphs;
mod patternmatcher;
mod reference;

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use serde_json::Value;

/// How many failures of a set are shown.
const SHOWN: usize = 20;

/// The rows of a golden set, or `None`, said aloud, where the set is absent.
///
/// `name` stands for `<name>.golden.jsonl` or `<name>.golden.jsonl.xz`.
pub(crate) fn rows(name: &str) -> Option<Vec<Value>> {
    let Some(text) = text(name) else {
        aloud(&format!("{name}  absent from {}: nothing was compared", directory().display()));
        return None;
    };
    let row = |(number, line): (usize, &str)| {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}, row {}: {e}", number + 1))
    };
    Some(text.lines().enumerate().map(row).collect())
}

/// The directory of the goldens.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os("IMGRAPH_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"),
        PathBuf::from,
    )
}

/// Says a line even where the test passes: what goes through `print!` is captured then.
pub(crate) fn aloud(line: &str) {
    // A closed stderr is no reason to fail a test.
    writeln!(io::stderr(), "{line}").ok();
}

/// The bytes of a file of the goldens, unpacked where its name ends with `.xz`; `None` where there
/// is no such file.
pub(crate) fn bytes(file_name: &str) -> Option<Vec<u8>> {
    let path = directory().join(file_name);
    let file = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("cannot open {}: {error}", path.display()),
    };
    let packed = path.extension().is_some_and(|extension| extension == "xz");
    let mut source: Box<dyn Read> =
        if packed { Box::new(XzReader::new(file, true)) } else { Box::new(file) };
    let mut bytes = Vec::new();
    let read = source.read_to_end(&mut bytes);
    read.unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    Some(bytes)
}

fn text(name: &str) -> Option<String> {
    let plain = format!("{name}.golden.jsonl");
    let found = bytes(&plain).or_else(|| bytes(&format!("{plain}.xz")))?;
    Some(String::from_utf8(found).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Counts the rows of a set that came out as the golden says, and keeps the first that did not.
pub(crate) struct Tally {
    set: &'static str,
    passed: usize,
    failed: usize,
    shown: Vec<String>,
}

impl Tally {
    /// A tally of nothing.
    pub(crate) fn new(set: &'static str) -> Self {
        Self { set, passed: 0, failed: 0, shown: Vec::new() }
    }

    /// Counts a row that passes if `got` equals `want`; `row` is what identifies it.
    pub(crate) fn compare<T: Debug + PartialEq>(&mut self, row: &dyn Debug, got: &T, want: &T) {
        if got == want {
            self.pass();
        } else {
            self.fail(format!("{row:?}\n    got  {got:?}\n    want {want:?}"));
        }
    }

    /// Counts a row that came out as it should.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts a row that did not, and says why.
    pub(crate) fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(why);
        }
    }

    /// Says how it went, and fails the test if a row failed or if there was none.
    pub(crate) fn finish(self) {
        let Self { set, passed, failed, shown } = self;
        aloud(&format!("{set}  {passed} passed  {failed} failed"));
        assert!(failed == 0, "{set}: {failed} rows differ, among them\n  {}", shown.join("\n  "));
        assert!(passed > 0, "{set}: the set is empty");
    }
}

#[test]
#[should_panic(expected = "1 rows differ")]
fn a_row_that_differs_fails_its_set() {
    let mut tally = Tally::new("(a test of the harness)");
    tally.compare(&"a", &1, &1);
    tally.compare(&"b", &1, &2);
    tally.finish();
}

#[test]
fn an_absent_set_has_no_rows() {
    assert_eq!(rows("no-such-set"), None);
}
