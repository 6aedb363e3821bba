//! The shape of `src/`: `lib.rs` read downwards is the order of dependency, effects stay where they
//! are expected, files stay short. `ARCHITECTURE.md` has the invariants.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Which effect modules each effect module uses. `run` joins engine and ledger, `cli` everything.
const EFFECTS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("whole", &[]),
    ("cancel", &[]),
    ("process", &["clock"]),
    ("git", &["process"]),
    ("tls", &[]),
    ("dockerconfig", &["process"]),
    ("registry", &["cancel", "clock", "dockerconfig", "tls"]),
    ("gather", &["cancel", "clock", "process", "whole"]),
    ("load", &["gather"]),
    ("ledger", &["whole"]),
    ("remote", &["cancel", "clock", "git", "registry"]),
    ("engine", &["cancel", "clock", "dockerconfig", "process", "registry", "tls", "whole"]),
    ("signal", &["cancel", "clock"]),
    ("run", &["cancel", "clock", "engine", "gather", "ledger", "registry", "remote"]),
    ("report", &["clock"]),
    ("watch", &["cancel", "gather", "process"]),
];

/// The modules that may do what `clippy.toml` forbids.
const EFFECTFUL: &[&str] = &[
    "clock",
    "whole",
    "process",
    "git",
    "dockerconfig",
    "registry",
    "gather",
    "ledger",
    "remote",
    "engine",
    "report",
    "run",
    "watch",
    "cli",
];

/// What the core knows nothing of.
const OUTSIDE: &str =
    r"\bstd::(fs|process|net::(Tcp|Udp)|thread|env::(var|args|current)|time::(Instant|SystemTime))";

/// Files that only tests use.
const FOR_TESTS: &[&str] = &["tests", "tests.rs", "properties.rs", "fixture.rs"];

/// The most lines of a file, without its tests.
const LONGEST: usize = 500;

/// The modules of `lib.rs`, in order.
struct Modules {
    names: Vec<String>,
    /// How many of them are words and core; the rest has effects.
    pure: usize,
}

struct File {
    module: String,
    path: PathBuf,
    /// Without its tests.
    text: String,
}

impl Modules {
    fn of_lib() -> Self {
        let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
        let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
        let (core, effects) = lib.split_once("\n// Effects").expect("lib.rs has two parts");
        let core: Vec<String> = core.lines().filter_map(name).collect();
        let pure = core.len();
        Self { names: core.into_iter().chain(effects.lines().filter_map(name)).collect(), pure }
    }

    fn rank(&self, module: &str) -> Option<usize> {
        self.names.iter().position(|name| name == module)
    }

    fn is_pure(&self, module: &str) -> bool {
        self.rank(module).is_some_and(|rank| rank < self.pure)
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The files of all modules, without those that only tests use.
fn files() -> Vec<File> {
    let tests = Regex::new(r"\n#\[cfg\(test\)\]\n(#\[.*\]\n)*mod tests").unwrap();
    let mut files = Vec::new();
    for module in Modules::of_lib().names {
        let mut todo = vec![source().join(format!("{module}.rs")), source().join(&module)];
        while let Some(path) = todo.pop() {
            if FOR_TESTS.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            if path.is_dir() {
                todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|ending| ending == "rs") && path.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                let end = tests.find(&text).map_or(text.len(), |tests| tests.start());
                let text = text[..end].to_owned();
                files.push(File { module: module.clone(), path, text });
            }
        }
    }
    files
}

/// Asks a rule about every line that is no comment, and fails with all that it objects to.
#[track_caller]
fn every_line_keeps(rule: impl Fn(&str, &str) -> Option<String>) {
    let mut objections = Vec::new();
    for file in files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            let is_comment = line.trim_start().starts_with("//");
            if let Some(why) = rule(&file.module, line).filter(|_| !is_comment) {
                objections.push(format!("{}:{number}: {why}", file.path.display()));
            }
        }
    }
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

/// The modules that a line names behind `crate::`.
fn used(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let paths = line.split("crate::").skip(1);
    paths.map(move |path| path.split(|c| !is_word(c)).next().unwrap_or(""))
}

fn uses_upward(modules: &Modules, module: &str, line: &str) -> Option<String> {
    let mut lower = used(line).filter(|used| modules.rank(used) > modules.rank(module));
    lower.next().map(|used| format!("`{module}` uses `{used}`, which stands below it in lib.rs"))
}

fn hides_what_it_uses(line: &str) -> Option<String> {
    let hides = line.contains("crate::{") || line.contains("super::");
    hides.then(|| "write one `use crate::module::..` line for each module".to_owned())
}

fn uses_sideways(modules: &Modules, module: &str, line: &str) -> Option<String> {
    let (_, allowed) = EFFECTS.iter().find(|(name, _)| *name == module)?;
    let known = |used: &&str| *used == module || modules.is_pure(used) || allowed.contains(used);
    let unknown = used(line).find(|used| modules.rank(used).is_some() && !known(used))?;
    Some(format!("`{module}` has nothing to do with `{unknown}`"))
}

fn reaches_outside(modules: &Modules, module: &str, line: &str) -> Option<String> {
    let outside = Regex::new(OUTSIDE).unwrap();
    let reaches = modules.is_pure(module) && outside.is_match(line);
    reaches.then(|| format!("`{module}` is part of the core, and knows no file, process or clock"))
}

fn has_unexpected_effects(module: &str, line: &str) -> Option<String> {
    let has_effects = line.contains("clippy::disallowed_methods");
    (has_effects && !EFFECTFUL.contains(&module))
        .then(|| format!("`{module}` is not among the modules with effects"))
}

#[test]
fn modules_use_only_modules_that_stand_above_them() {
    let modules = Modules::of_lib();
    every_line_keeps(|module, line| uses_upward(&modules, module, line));
}

#[test]
fn what_a_module_uses_can_be_read_off_its_first_lines() {
    every_line_keeps(|_, line| hides_what_it_uses(line));
}

#[test]
fn effect_modules_do_not_use_each_other_sideways() {
    let modules = Modules::of_lib();
    every_line_keeps(|module, line| uses_sideways(&modules, module, line));
    let effects: Vec<&str> = modules.names[modules.pure..].iter().map(String::as_str).collect();
    let table: Vec<&str> = EFFECTS.iter().map(|(name, _)| *name).chain(["cli"]).collect();
    assert_eq!(effects, table, "the table has every module with effects");
}

#[test]
fn the_core_knows_no_file_process_or_clock() {
    let modules = Modules::of_lib();
    every_line_keeps(|module, line| reaches_outside(&modules, module, line));
}

#[test]
fn effects_are_in_the_modules_that_are_listed() {
    every_line_keeps(has_unexpected_effects);
}

#[test]
fn every_file_begins_with_its_page_and_ends_soon_enough() {
    let mut objections = Vec::new();
    for File { path, text, .. } in files() {
        let lines = text.lines().count();
        if lines > LONGEST {
            objections.push(format!("{} has {lines} lines; {LONGEST} is long", path.display()));
        }
        if !text.starts_with("//! ") {
            objections.push(format!("{} does not say what it does", path.display()));
        }
    }
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
fn the_rules_catch_what_they_are_for() {
    let modules = Modules::of_lib();
    let upward = |line| uses_upward(&modules, "graph", line).is_some();
    assert!(upward("use crate::gather::walk;"));
    assert!(upward("let x = crate::run::run(plan);"));
    assert!(!upward("use crate::image::ImageId;"));
    assert!(!upward("use crate::graph::order;"));
    assert!(hides_what_it_uses("use crate::{graph, run};").is_some());
    assert!(hides_what_it_uses("use super::order;").is_some());
    assert!(hides_what_it_uses("pub(super) fn order() {}").is_none());
    assert!(uses_sideways(&modules, "report", "use crate::engine::Engine;").is_some());
    assert!(uses_sideways(&modules, "run", "use crate::engine::Engine;").is_none());
    assert!(uses_sideways(&modules, "report", "use crate::event::Event;").is_none());
    assert!(reaches_outside(&modules, "plan", "use std::fs::File;").is_some());
    assert!(reaches_outside(&modules, "plan", "use std::fmt;").is_none());
    assert!(reaches_outside(&modules, "gather", "use std::fs::File;").is_none());
    let expectation = "#![expect(clippy::disallowed_methods, reason = \"..\")]";
    assert!(has_unexpected_effects("plan", expectation).is_some());
    assert!(has_unexpected_effects("engine", expectation).is_none());
}
