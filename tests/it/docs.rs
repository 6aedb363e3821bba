//! The documents say what the program does: codes, keys, examples and command lines are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use imgraph::cli::args::Arguments;
use imgraph::engine::simulate::Simulate;
use imgraph::layers;
use imgraph::lockfile::LockFile;
use serde_json::Value;

const FENCE: &str = "```";

/// A fenced block of a document.
pub(crate) struct Block {
    document: String,
    line: usize,
    language: String,
    /// The text of the last heading of the second level above it.
    heading: String,
    text: String,
}

impl Block {
    /// Its text, if it is YAML.
    pub(crate) fn yaml(&self) -> Option<&str> {
        (self.language == "yaml").then_some(&*self.text)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Markdown files of the project, relative to its root.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["", "docs", "images"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort_unstable();
    assert!(found.iter().any(|path| path == "README.md"), "{found:?}");
    found
}

fn blocks() -> Vec<Block> {
    documents().iter().flat_map(|path| blocks_of(path)).collect()
}

pub(crate) fn blocks_of(path: &str) -> Vec<Block> {
    let text = read(path);
    let mut blocks = Vec::new();
    let mut heading = String::new();
    let mut open: Option<Block> = None;
    for (line, text) in (1..).zip(text.lines()) {
        if let Some(language) = text.strip_prefix(FENCE) {
            if let Some(block) = open.take() {
                blocks.push(block);
                continue;
            }
            open = Some(Block {
                document: path.to_owned(),
                line,
                language: language.to_owned(),
                heading: heading.clone(),
                text: String::new(),
            });
        } else if let Some(block) = &mut open {
            block.text += text;
            block.text.push('\n');
        } else if let Some(text) = text.strip_prefix("## ") {
            text.clone_into(&mut heading);
        }
    }
    assert!(open.is_none(), "{path}: a block has no end");
    blocks
}

/// What stands in backticks in the first cell of the rows of a table, by the heading above.
fn first_cells(path: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut cells: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in read(path).lines() {
        if let Some(text) = line.strip_prefix("## ") {
            text.clone_into(&mut heading);
        }
        let cell = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |"));
        if let Some((cell, _)) = cell {
            cells.entry(heading.clone()).or_default().insert(cell.to_owned());
        }
    }
    cells
}

/// The source files of the program, without its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut todo = vec![root().join("src")];
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("\nmod tests {").next().unwrap_or_default().to_owned();
            found.push((path, text));
        }
    }
    found
}

/// The texts in quotes of a constant list.
fn list(source: &str, name: &str) -> BTreeSet<String> {
    let start = format!("const {name}: &[&str] =");
    let (_, rest) = source.split_once(&start).unwrap_or_else(|| panic!("no list {name}"));
    let (items, _) = rest.split_once("];").unwrap();
    items.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The numbers that stand behind each appearance of a word.
fn numbers_behind(word: &str, text: &str) -> Vec<u8> {
    let behind = text.split(word).skip(1);
    behind
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
        })
        .collect()
}

fn exit_codes() -> BTreeSet<u8> {
    let codes = read("src/cli/failure.rs");
    let codes: BTreeSet<u8> = numbers_behind(": u8 = ", &codes).into_iter().collect();
    assert!(codes.contains(&0) && codes.len() > 5, "{codes:?}");
    codes
}

#[test]
fn every_code_is_on_its_page_and_no_other() {
    let mut written = BTreeSet::new();
    for (_, text) in sources() {
        for code in text.split("\"IG").skip(1).filter_map(|rest| rest.split_once('"')) {
            if code.0.len() == 3 && code.0.bytes().all(|byte| byte.is_ascii_digit()) {
                written.insert(format!("IG{}", code.0));
            }
        }
    }
    assert!(written.contains("IG001"), "the search finds nothing");
    let documented: BTreeSet<String> =
        first_cells("docs/diagnostics.md").into_values().flatten().collect();
    assert_eq!(written, documented);
}

#[test]
fn every_exit_code_is_in_the_readme_and_in_the_help() {
    let codes = exit_codes();
    let readme = first_cells("README.md").remove("Exit codes").unwrap_or_default();
    let readme: BTreeSet<u8> = readme.iter().map(|code| code.parse().unwrap()).collect();
    assert_eq!(readme, codes);
    let arguments = read("src/cli/args.rs");
    let (_, help) = arguments.split_once("const EXIT_CODES").unwrap();
    let (help, _) = help.split_once("Selectors").unwrap();
    let words = help.split(|c: char| !c.is_ascii_alphanumeric());
    let named: BTreeSet<u8> = words.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(named, codes);
}

#[test]
fn an_exit_code_of_a_document_is_one_of_the_program() {
    let codes = exit_codes();
    for path in documents() {
        let text = read(&path);
        for word in ["exit code ", "Exit code "] {
            for code in numbers_behind(word, &text) {
                assert!(codes.contains(&code), "{path} names exit code {code}");
            }
        }
    }
}

/// Each table of the page, and the lists of keys that it is about.
#[test]
fn every_key_of_layers_toml_is_on_its_page_and_no_other() {
    let files = ["read", "options", "registry"];
    let source: String = files.map(|file| read(&format!("src/layers/{file}.rs"))).concat();
    let documented = first_cells("docs/layers-toml.md");
    for (heading, names) in [
        ("`[workspace]`", &["WORKSPACE_KEYS"][..]),
        ("`[[layer]]`", &["LAYER_KEYS", "RULE_KEYS"]),
        ("`[image.\"NAME\"]`", &["IMAGE_KEYS"]),
        ("`[[registry]]`", &["REGISTRY_KEYS"]),
        ("Build options", &["OPTION_KEYS"]),
        ("prepare", &["PREPARE_KEYS"]),
    ] {
        let keys: BTreeSet<String> = names.iter().flat_map(|name| list(&source, name)).collect();
        assert_eq!(documented.get(heading), Some(&keys), "{heading}");
    }
    let names = &documented["Names"];
    assert!(list(&source, "NAME_RULE_KEYS").is_subset(names), "{names:?}");
}

#[test]
fn toml_of_the_documents_is_read_without_a_word() {
    let mut read = 0;
    for block in blocks().iter().filter(|block| block.language == "toml") {
        let place = format!("{}:{}", block.document, block.line);
        if block.text.starts_with("# simulate.toml") {
            let home = tempfile::tempdir().unwrap();
            fs::write(home.path().join("simulate.toml"), &block.text).unwrap();
            let opened = Simulate::open(home.path(), &home.path().join("state"), None);
            assert!(opened.is_ok(), "{place}: {opened:?}");
        } else if block.text.starts_with("# imgraph.lock") {
            let (lock, problems) = LockFile::parse(&block.text);
            assert!(problems.is_empty() && lock.rows().count() > 0, "{place}: {problems:?}");
        } else {
            let (_, problems) = layers::parse(&block.text);
            assert_eq!(problems, [], "{place}");
        }
        read += 1;
    }
    assert!(read > 4, "only {read} blocks were found");
}

#[test]
fn command_lines_of_the_documents_can_be_typed() {
    let mut typed = 0;
    for block in blocks() {
        if !["sh", "console"].contains(&&*block.language) {
            continue;
        }
        let command = |line: &'_ str| {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let line = line.split(" #").next().unwrap_or(line).trim();
            line.starts_with("imgraph ").then(|| line.replace('\'', ""))
        };
        for line in block.text.lines().filter_map(command) {
            let parsed = Arguments::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{}:{}: {line}", block.document, block.line);
            typed += 1;
        }
    }
    assert!(typed > 10, "only {typed} command lines were found");
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    for path in documents() {
        let directory = root().join(&path).parent().unwrap().to_owned();
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or(target);
            let is_remote = target.contains("://") || file.is_empty();
            assert!(is_remote || directory.join(file).exists(), "{path}: {target}");
        }
    }
}

const SHOP: &[(&str, &str)] = &[
    ("images/base/Dockerfile", "FROM debian:12\nCOPY packages.txt /tmp/\n"),
    ("images/base/packages.txt", "ca-certificates\n"),
    ("images/java/jre/Dockerfile", "FROM base\nRUN apt-get install -y java\n"),
    ("images/java/jdk/Dockerfile", "FROM java/jre\nRUN apt-get install -y javac\n"),
    (
        "images/apps/api/Dockerfile",
        "FROM java/jdk AS build\nARG MODE=release\nCOPY src /src\nFROM java/jre\n\
         COPY --from=build /out /app\n",
    ),
    ("images/apps/api/src/Main.java", "class Main {}\n"),
    ("images/apps/api/README.md", "# api\n"),
    ("images/apps/api/.dockerignore", "*\n!src\n"),
];

fn imgraph(workspace: &Path, arguments: &str) -> Value {
    let mut program = Command::new(env!("CARGO_BIN_EXE_imgraph"));
    program.current_dir(workspace).args(["--engine", "simulate"]);
    let output = program.args(arguments.split_whitespace()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{arguments}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// The fields of a value, each with the way that leads to it.
fn fields(value: &Value) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let mut todo = vec![(String::new(), value)];
    while let Some((way, value)) = todo.pop() {
        match value {
            Value::Array(items) => todo.extend(items.iter().map(|item| (format!("{way}[]"), item))),
            Value::Object(map) => {
                todo.extend(map.iter().map(|(key, value)| (format!("{way}.{key}"), value)));
            }
            _ => {}
        }
        fields.insert(way);
    }
    fields
}

#[test]
fn json_of_the_documents_has_the_fields_of_the_program() {
    let home = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, text) in SHOP {
        write(path, text);
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_imgraph"));
    program.current_dir(home.path()).args(["--engine", "simulate", "rebuild"]);
    assert!(program.output().unwrap().status.success());
    write("images/base/packages.txt", "ca-certificates\ngit\n");
    let examples = blocks_of("docs/json.md");
    for (heading, arguments) in [
        ("plan", "plan --json base java/jre"),
        ("why", "why --json java/jre"),
        ("inputs", "inputs --json --ignored apps/api"),
        ("ls", "ls --json --status java/jre"),
        ("graph", "graph --format json java/jre"),
        ("doctor", "doctor --json"),
    ] {
        compare(&examples, heading, &imgraph(home.path(), arguments));
    }
    write("images/apps/docs/Dockerfile", "FORM scratch\n");
    compare(&examples, "check", &imgraph(home.path(), "check --format json"));
}

pub(crate) fn compare(examples: &[Block], heading: &str, printed: &Value) {
    let example = examples.iter().find(|block| block.heading == heading);
    let example: Value = serde_json::from_str(&example.unwrap().text).unwrap();
    assert_eq!(fields(&example), fields(printed), "{heading}");
}
