//! Goldens of BuildKit's Dockerfile packages: parser, instructions, shell, and what becomes of them
//! in LLB.

use std::collections::{BTreeMap, BTreeSet};

use imgraph::diagnostic::Diagnostic;
use imgraph::dockerfile::expand::{Quotes, Shell, Unset, Variables, expand};
use imgraph::dockerfile::instruction::{Arguments, Instruction, Joint, Keyword, Word};
use imgraph::dockerfile::problem::EMPTY_LINE;
use imgraph::dockerfile::reads::{BaseConfig, ContextKind, ContextRead, ImageUse, Reads, Remote};
use imgraph::dockerfile::remote::{Origin, origin};
use imgraph::dockerfile::{Dockerfile, Flavour, Request, parse, resolve_with};
use imgraph::image::Platform;
use imgraph::reference::Reference;
use serde_json::{Value, json};

use super::{Tally, aloud, bytes, rows};

/// The Dockerfiles of the corpus, by path.
pub(super) fn corpus() -> BTreeMap<String, Vec<u8>> {
    let Some(archive) = bytes("dockerfile-corpus.tar.xz") else { return BTreeMap::new() };
    let mut files = BTreeMap::new();
    let mut rest = &archive[..];
    let mut long_name = None;
    // Blocks of 512 bytes: a header with name, size in octal and type, then the content.
    while let Some((header, after)) = rest.split_at_checked(512) {
        let field = |range: std::ops::Range<usize>| {
            let text = String::from_utf8_lossy(&header[range]).into_owned();
            text.split('\0').next().unwrap_or_default().trim().to_owned()
        };
        if field(0..100).is_empty() {
            break;
        }
        let size = usize::from_str_radix(&field(124..136), 8).expect("a size in octal");
        let (content, after) = after.split_at(size);
        rest = &after[size.next_multiple_of(512) - size..];
        match header[156] {
            b'L' => {
                let name = String::from_utf8_lossy(content).into_owned();
                long_name = Some(name.trim_end_matches('\0').to_owned());
            }
            b'x' => {
                let text = String::from_utf8_lossy(content).into_owned();
                long_name = text.lines().find_map(|l| Some(l.split_once(" path=")?.1.to_owned()));
            }
            b'0' | 0 => {
                let prefix = field(345..500);
                let name = if prefix.is_empty() {
                    field(0..100)
                } else {
                    format!("{prefix}/{}", field(0..100))
                };
                let name = long_name.take().unwrap_or(name);
                files.insert(name.trim_start_matches("./").to_owned(), content.to_vec());
            }
            _ => long_name = None,
        }
    }
    files
}

/// Says how many rows were not compared, for want of their Dockerfile.
fn say_absent(set: &str, absent: usize) {
    if absent > 0 {
        aloud(&format!("{set}  {absent} not compared: their files are not in the corpus"));
    }
}

fn texts(words: &[Word]) -> Vec<Value> {
    words.iter().map(|word| json!(word.text)).collect()
}

/// Arguments as BuildKit's parse tree has them.
fn arguments(arguments: &Arguments) -> Vec<Value> {
    match arguments {
        Arguments::None => vec![],
        Arguments::Line(word) => vec![json!(word.text)],
        Arguments::Words(words) | Arguments::Json(words) => texts(words),
        Arguments::Pairs(pairs) => pairs
            .iter()
            .flat_map(|pair| {
                let joint = if pair.joint == Joint::Equals { "=" } else { "" };
                [json!(pair.name.text), json!(pair.value.text), json!(joint)]
            })
            .collect(),
        Arguments::Health { kind, command } => {
            let mut all = vec![json!(kind.text)];
            all.extend(self::arguments(command));
            all
        }
        Arguments::Trigger { instruction, .. } => {
            let mut all = vec![json!(format!("{{{}}}", instruction.name.text.to_uppercase()))];
            all.extend(self::arguments(&instruction.arguments));
            all
        }
        Arguments::Unread => vec![json!("")],
    }
}

fn instruction(instruction: &Instruction) -> Value {
    let names: Vec<_> = instruction.heredocs.iter().map(|heredoc| &heredoc.name).collect();
    json!([
        instruction.name.text.to_uppercase(),
        instruction.first_line,
        instruction.last_line,
        texts(&instruction.flags),
        arguments(&instruction.arguments),
        instruction.is_json(),
        names,
    ])
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<String> {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    errors.map(|error| format!("{} {}", error.code, error.message)).collect()
}

#[test]
fn files_are_parsed_as_buildkit_does() {
    let Some(rows) = rows("parse") else { return };
    let files = corpus();
    let mut tally = Tally::new("parse");
    let mut absent = 0;
    for row in rows {
        let path = row["path"].as_str().expect("a path");
        let Some(file) = files.get(path) else {
            absent += 1;
            continue;
        };
        let (dockerfile, found) = parse(file);
        let errors = errors(&found);
        let mut got = json!({ "path": path, "ok": errors.is_empty() });
        let mut want = json!({ "path": path, "ok": row["ok"] });
        if row["instrs"].is_array() {
            let instructions: Vec<_> = dockerfile.instructions.iter().map(instruction).collect();
            got["instrs"] = json!(instructions);
            got["escape"] = json!(dockerfile.directives.escape().to_string());
            got["warnings"] = json!(found.iter().filter(|one| one.code == EMPTY_LINE).count());
            got["syntax"] = json!(dockerfile.syntax);
            for key in ["instrs", "escape", "warnings", "syntax"] {
                want[key] = row[key].clone();
            }
        }
        differ(&mut tally, path, &got, &want, &format!("{errors:?} {}", row["err"]));
    }
    say_absent("parse", absent);
    tally.finish();
}

/// Compares objects, and shows only where they differ.
fn differ(tally: &mut Tally, row: &str, got: &Value, want: &Value, more: &str) {
    if got == want {
        return tally.pass();
    }
    let (got, want) = (got.as_object().expect("an object"), want.as_object().expect("an object"));
    let mut lines = Vec::new();
    for (key, got) in got.iter().filter(|(key, got)| want.get(*key) != Some(*got)) {
        let want = &want[key];
        let (Some(got), Some(want)) = (got.as_array(), want.as_array()) else {
            lines.push(format!("{key}: got {got}, want {want}"));
            continue;
        };
        let first = got.iter().zip(want).position(|(got, want)| got != want);
        let first = first.unwrap_or(got.len().min(want.len()));
        let at = |list: &[Value]| list.get(first).map_or("nothing".into(), Value::to_string);
        lines.push(format!("{key}[{first}]: got {}, want {}", at(got), at(want)));
    }
    tally.fail(format!("{row}: {more}\n    {}", lines.join("\n    ")));
}

#[test]
fn mutants_are_judged_as_buildkit_does() {
    let Some(rows) = rows("mutants") else { return };
    let mut tally = Tally::new("mutants");
    for row in rows {
        let text = row["dockerfile"].as_str().expect("a text");
        let (dockerfile, found) = parse(text.as_bytes());
        let errors = errors(&found);
        let mut got = json!({ "ok": errors.is_empty() });
        let mut want = json!({ "ok": row["ok"] });
        if row["cmds"].is_array() {
            let names = dockerfile.instructions.iter();
            got["cmds"] = names.map(|one| json!(one.name.text.to_uppercase())).collect();
            got["stages"] = stages(&dockerfile);
            want["cmds"] = row["cmds"].clone();
            want["stages"] = row["stages"].clone();
        }
        differ(&mut tally, &format!("{text:?}"), &got, &want, &format!("{errors:?}"));
    }
    tally.finish();
}

/// Per stage: base, name, platform, what COPY and mounts are from; all as written.
fn stages(dockerfile: &Dockerfile) -> Value {
    let flag = |instruction: &Instruction, name: &str| -> Vec<String> {
        let value = |word: &Word| Some(word.text.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        instruction.flags.iter().filter_map(value).filter(|value| !value.is_empty()).collect()
    };
    let mount_from = |mount: String| {
        let field = |field: &str| Some(field.strip_prefix("from=")?.to_owned());
        mount.split(',').filter_map(field).next_back()
    };
    let stage = |stage: &imgraph::dockerfile::Stage| {
        let from = &dockerfile.instructions[stage.from];
        let commands = &dockerfile.instructions[stage.from + 1..stage.end];
        let of = |keyword: Keyword| commands.iter().filter(move |one| one.keyword == keyword);
        let copies: Vec<_> = of(Keyword::Copy).flat_map(|one| flag(one, "--from")).collect();
        let mounts: Vec<_> =
            of(Keyword::Run).flat_map(|one| flag(one, "--mount")).filter_map(mount_from).collect();
        let base = match &from.arguments {
            Arguments::Words(words) => words[0].text.as_str(),
            _ => "",
        };
        let platform = flag(from, "--platform").into_iter().next().unwrap_or_default();
        let name = stage.name.clone().unwrap_or_default();
        json!([base, name, platform, copies, mounts])
    };
    dockerfile.stages.iter().map(stage).collect()
}

struct Given(BTreeMap<String, String>);

impl Variables for Given {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[test]
fn words_are_expanded_as_buildkit_does() {
    let Some(rows) = rows("shell-lex") else { return };
    let mut tally = Tally::new("shell-lex");
    for row in rows {
        let word = row["word"].as_str().expect("a word");
        let pairs = row["env"].as_array().expect("an environment").iter();
        let pair = |pair: &Value| {
            let (name, value) = pair.as_str()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let given = Given(pairs.filter_map(pair).collect());
        let escape = row["escape"].as_str().and_then(|text| text.chars().next());
        let mut shell = Shell::new(escape.expect("an escape character"));
        if row["skip_unset"] == true {
            shell.unset = Unset::Keep;
        }
        if row["raw_quotes"] == true {
            shell.quotes = Quotes::Keep;
        }
        let got = match expand(word, shell, &given) {
            Ok(expansion) => json!({
                "ok": true,
                "result": expansion.text,
                "words": expansion.words,
                "matched": expansion.matched,
                "unmatched": expansion.unmatched,
            }),
            Err(_) => json!({ "ok": false }),
        };
        let want = if row["err"].is_string() {
            json!({ "ok": false })
        } else {
            let list = |key: &str| -> Value {
                let words = row[key].as_array().cloned().unwrap_or_default();
                json!(words)
            };
            json!({
                "ok": true,
                "result": row["result"],
                "words": list("words"),
                "matched": list("matched"),
                "unmatched": list("unmatched"),
            })
        };
        differ(
            &mut tally,
            &format!("{word:?} {}", row["escape"]),
            &got,
            &want,
            &row["err"].to_string(),
        );
    }
    tally.finish();
}

/// How a row of `llb` or `semantics` is read.
fn read(row: &Value, text: &[u8]) -> (Reads, Vec<String>) {
    let (dockerfile, mut found) = parse(text);
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    let args = row["args"].as_object().into_iter().flatten();
    let args = args.map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned()));
    let triggers: Vec<String> = row["onbuild"].as_array().map_or(Vec::new(), |triggers| {
        triggers.iter().filter_map(|trigger| Some(trigger.as_str()?.to_owned())).collect()
    });
    let request = Request {
        target: row["target"].as_str(),
        args: &args.collect(),
        platform: &platform,
        build_platform: &platform,
        flavour: Flavour::BuildKit,
        onbuild: &|_: &ImageUse| triggers.clone(),
    };
    // The images that the goldens were made with.
    let base = |_: &ImageUse| {
        let env = vec![("PATH".to_owned(), "/bin".to_owned())];
        Some(BaseConfig { env, ..BaseConfig::empty() })
    };
    let (reads, more) = resolve_with(&dockerfile, &request, &base);
    found.extend(more);
    (reads, errors(&found))
}

/// What is read, in the words of the goldens.
fn shown(reads: &Reads) -> Value {
    let copies = reads.context.iter().filter(|read| read.kind != ContextKind::Mount);
    let mounts = reads.context.iter().filter(|read| read.kind == ContextKind::Mount);
    let mount = |read: &ContextRead| if read.source == "/" { "" } else { &read.source }.to_owned();
    json!({
        "images": reads.images.iter().map(image).collect::<BTreeSet<_>>(),
        "remote": reads.remotes.iter().map(remote).collect::<BTreeSet<_>>(),
        "context_copies": copies.map(|read| copy(read).to_string()).collect::<BTreeSet<_>>(),
        "context_mounts": mounts.map(mount).collect::<BTreeSet<_>>(),
    })
}

fn image(image: &ImageUse) -> String {
    normalised(&image.reference, &image.platform.to_string())
}

fn normalised(reference: &str, platform: &str) -> String {
    let platform: Platform = platform.parse().expect("a platform");
    match Reference::parse(reference) {
        Ok(reference) => {
            let tag = if reference.digest.is_none() { Some("latest") } else { None };
            format!(
                "{}:{:?}@{:?} {platform}",
                reference.repository(),
                reference.tag.as_deref().or(tag),
                reference.digest
            )
        }
        Err(_) => format!("{reference} {platform}"),
    }
}

fn remote(remote: &Remote) -> String {
    let address = match origin(&remote.url) {
        Ok(Origin::Git(git)) => {
            let directory = match git.subdirectory.as_str() {
                "" => String::new(),
                directory => format!(":{directory}"),
            };
            let fragment = match (git.reference.as_str(), directory.as_str()) {
                ("", "") => String::new(),
                (reference, directory) => format!("#{reference}{directory}"),
            };
            format!("git://{}{}{fragment}", git.host, git.path)
        }
        _ => remote.url.clone(),
    };
    match &remote.checksum {
        Some(checksum) => format!("{address} checksum={checksum}"),
        None => address,
    }
}

fn copy(read: &ContextRead) -> Value {
    let mut copy = json!({ "src": read.source });
    for (key, list) in
        [("include", &read.include), ("exclude", &read.exclude), ("require", &read.require)]
    {
        if !list.is_empty() {
            copy[key] = json!(list);
        }
    }
    if read.unpack {
        copy["unpack"] = json!(true);
    }
    copy
}

/// What a golden says is read, in the same words.
fn wanted(row: &Value) -> Value {
    let list = |key: &str| row[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let images = list("images");
    let images = images.iter().map(|i| normalised(&text(&i["ref"]), &text(&i["platform"])));
    let copies = list("context_copies").into_iter().map(|mut copy| {
        copy.as_object_mut().expect("an object").remove("from");
        copy.to_string()
    });
    json!({
        "images": images.collect::<BTreeSet<_>>(),
        "remote": list("remote").iter().map(text).collect::<BTreeSet<_>>(),
        "context_copies": copies.collect::<BTreeSet<_>>(),
        "context_mounts": list("context_mounts").iter().map(|m| text(&m["src"])).collect::<BTreeSet<_>>(),
    })
}

fn compare_reads(tally: &mut Tally, name: &str, row: &Value, text: &[u8]) {
    let (reads, errors) = read(row, text);
    let golden_fails = row["error"].is_string();
    let (mut got, mut want) = (json!({}), json!({}));
    if errors.is_empty() && !golden_fails {
        (got, want) = (shown(&reads), wanted(row));
    }
    got["fails"] = json!(!errors.is_empty());
    want["fails"] = json!(golden_fails);
    differ(tally, name, &got, &want, &format!("{errors:?} {}", row["error"]));
}

#[test]
fn what_is_read_is_what_buildkit_reads() {
    let Some(rows) = rows("llb") else { return };
    let files = corpus();
    let mut tally = Tally::new("llb");
    let mut absent = 0;
    for row in rows {
        let path = row["path"].as_str().expect("a path");
        match files.get(path) {
            Some(file) => compare_reads(&mut tally, path, &row, file),
            None => absent += 1,
        }
    }
    say_absent("llb", absent);
    tally.finish();
}

#[test]
fn edge_cases_are_read_as_buildkit_does() {
    let Some(rows) = rows("semantics") else { return };
    let mut tally = Tally::new("semantics");
    for row in rows {
        let (id, text) = (row["id"].as_str(), row["dockerfile"].as_str().expect("a text"));
        compare_reads(&mut tally, id.expect("an id"), &row, text.as_bytes());
    }
    tally.finish();
}

/// Lets every RUN mount a path of the context that spells out the variables named, so that the
/// reads of the context tell the environment of each RUN.
fn probed(text: &str, names: &BTreeSet<&str>) -> String {
    let spelt: Vec<_> = names.iter().map(|name| format!("/{name}=${{{name}-unset}}")).collect();
    let spelt = spelt.concat();
    let probe = format!("RUN --mount=type=bind,target=/probe,source={spelt} ");
    let line = |line: &str| match line.strip_prefix("RUN ").or(line.strip_prefix("ONBUILD RUN ")) {
        Some(rest) if line.starts_with("RUN") => format!("{probe}{rest}"),
        Some(rest) => format!("ONBUILD {probe}{rest}"),
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

#[test]
fn run_sees_the_variables_that_buildkit_gives_it() {
    let Some(rows) = rows("semantics") else { return };
    let mut tally = Tally::new("exec-env");
    for row in rows {
        let Some(runs) = row["exec_env"].as_array() else { continue };
        let pairs = |run: &Value| -> BTreeMap<String, String> {
            let pairs = run.as_array().expect("an environment").iter();
            let pair = |pair: &Value| {
                let (name, value) = pair.as_str()?.split_once('=')?;
                // As the path of a mount spells it.
                Some((name.to_owned(), value.replace("//", "/")))
            };
            pairs.filter_map(pair).collect()
        };
        let runs: Vec<_> = runs.iter().map(pairs).collect();
        let names: BTreeSet<_> = runs.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
        let spelt = |run: &BTreeMap<String, String>| -> String {
            let value = |name: &&str| run.get(*name).map_or("unset", String::as_str).to_owned();
            let spelt: Vec<_> = names.iter().map(|n| format!("/{n}={}", value(n))).collect();
            spelt.concat().replace("//", "/")
        };
        let mut want: Vec<String> = runs.iter().map(spelt).collect();
        let text = probed(row["dockerfile"].as_str().expect("a text"), &names);
        let (reads, errors) = read(&row, text.as_bytes());
        let probes = reads.context.into_iter().filter(|read| read.kind == ContextKind::Mount);
        let mut got: Vec<_> = probes.map(|read| read.source).collect();
        got.retain(|source| source.contains('='));
        got.sort();
        want.sort();
        tally.compare(&(row["id"].as_str(), errors), &got, &want);
    }
    tally.finish();
}
