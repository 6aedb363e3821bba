//! `imgraph doctor`: what is missing on this machine, and how to get it.
#![expect(clippy::disallowed_methods, reason = "looks at the limits of the machine")]

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use serde_json::json;

use crate::cli::args::Doctor;
use crate::cli::engines::{self, Choice, Search, Trouble};
use crate::cli::failure::Exit;
use crate::cli::settings::{Settings, write};
use crate::gather::{STATE_DIR, workspace};
use crate::ledger;
use crate::report::sentence;
use crate::report::style::Tone;
use crate::run::with_causes;

/// Below this many inotify watches, watching a large tree fails.
const FEW_WATCHES: u64 = 65_536;

const BUILDAH_HELP: &str = "`apt-get install buildah`";
const BUILDX_HELP: &str = "`apt-get install docker-buildx`";
const BUILDKITD_HELP: &str = "is it running, and does its certificate fit?";

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    Doubtful,
    Bad,
}

/// One thing that was looked at.
struct Finding {
    state: State,
    what: &'static str,
    found: String,
    help: Option<String>,
}

/// Runs the verb. Exit code 69 if there is no engine.
pub(crate) fn run(arguments: &Doctor, settings: &Settings) -> u8 {
    let mut findings = vec![workspace(settings)];
    let root = settings.root().unwrap_or_else(|_| settings.directory.clone());
    match engines::choose(settings, &root) {
        Ok(choice) => findings.push(good("engine", choice.note)),
        Err(failure) => findings.push(bad("engine", failure.message, failure.help)),
    }
    findings.extend(engines(settings, &root));
    findings.extend([git(settings), watches(), state(settings)]);
    let text = if arguments.json { as_json(&findings) } else { as_text(&findings, settings) };
    write(&mut io::stdout(), &text);
    let is_bad = findings.iter().any(|finding| finding.state == State::Bad);
    if is_bad { Exit::UNAVAILABLE } else { Exit::OK }
}

fn workspace(settings: &Settings) -> Finding {
    match settings.root() {
        Ok(root) => good("workspace", root.display().to_string()),
        Err(failure) => doubtful("workspace", failure.message, failure.help),
    }
}

/// Every engine that could be here. What is wrong with one that is not used is only doubtful.
fn engines(settings: &Settings, root: &Path) -> Vec<Finding> {
    let used = engines::choose(settings, root).map(|choice| choice.kind.name());
    let judged = |finding: Finding| {
        let is_used = used.as_ref().is_ok_and(|used| *used == finding.what);
        let state = if is_used { State::Bad } else { State::Doubtful };
        if finding.state == State::Bad { Finding { state, ..finding } } else { finding }
    };
    let builders = workspace::configured(root).builders;
    let search = Search { settings, root, builders: &builders };
    let mut findings = vec![docker(&search)];
    match search.builder() {
        Ok(Some(choice)) => findings.push(probed(&choice, root, settings, BUILDKITD_HELP)),
        Ok(None) => {}
        Err(failure) => findings.push(bad("buildkitd", failure.message, failure.help)),
    }
    findings.push(probed(&engines::by_buildah(""), root, settings, BUILDAH_HELP));
    if settings.finds("docker") {
        findings.push(probed(&engines::by_buildx(""), root, settings, BUILDX_HELP));
    }
    findings.into_iter().map(judged).collect()
}

fn docker(search: &Search<'_>) -> Finding {
    let docker = match search.docker() {
        Ok(docker) => docker,
        Err(failure) => return bad("docker", failure.message, failure.help),
    };
    let help = match engines::answers(&docker.endpoint) {
        Ok(()) => "is it running, and a Docker Engine of version 20.10 or newer?",
        Err(Trouble::Absent) => "`apt-get install docker.io`, or name it in DOCKER_HOST",
        Err(Trouble::Refused(_)) => "is it running, and are you in the group `docker`?",
    };
    probed(&engines::by_docker(docker), search.root, search.settings, help)
}

/// What an engine says of itself.
fn probed(choice: &Choice, root: &Path, settings: &Settings, help: &str) -> Finding {
    let name = choice.kind.name();
    let asked = choice.open(root, &root.join(STATE_DIR), settings);
    let asked = asked.and_then(|engine| Ok(engine.capabilities()?));
    match asked {
        Ok(found) => {
            let mut text = format!("{}, builds for {}", found.version, found.platform);
            if !found.lacks.is_empty() {
                write!(text, "; it cannot {}", found.lacks.join(", ")).unwrap_or_default();
            }
            good(name, text)
        }
        Err(failure) => {
            // Programs that are not there say themselves how to get them.
            let help = (!failure.message.contains(help)).then(|| help.to_owned());
            bad(name, failure.message, help)
        }
    }
}

fn git(settings: &Settings) -> Finding {
    if !settings.finds("git") {
        let help =
            "install git; without it only fingerprints decide, which is enough for a rebuild";
        return doubtful("git", "not found".to_owned(), Some(help.to_owned()));
    }
    let shallow = settings
        .root()
        .ok()
        .is_some_and(|root| root.ancestors().any(|dir| dir.join(".git/shallow").exists()));
    if shallow {
        doubtful(
            "git",
            "this clone is shallow".to_owned(),
            Some("git fetch --unshallow".to_owned()),
        )
    } else {
        good("git", "found".to_owned())
    }
}

/// inotify(7): one watch a directory, limited for each user.
fn watches() -> Finding {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    match limit.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(limit) if limit < FEW_WATCHES => doubtful(
            "inotify watches",
            format!("{limit} for each user"),
            Some("sysctl fs.inotify.max_user_watches=524288".to_owned()),
        ),
        Some(limit) => good("inotify watches", format!("{limit} for each user")),
        None => good("inotify watches", "not a matter of this system".to_owned()),
    }
}

fn state(settings: &Settings) -> Finding {
    let Ok(root) = settings.root() else { return good("state", "none without a workspace".into()) };
    match ledger::read(&root.join(STATE_DIR)) {
        Ok((history, warnings)) if warnings.is_empty() => {
            good("state", format!("{} known", sentence::count(history.records.len(), "image")))
        }
        Ok((_, warnings)) => {
            let words: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            doubtful("state", words.join("; "), Some("the next rebuild mends it".to_owned()))
        }
        Err(error) => bad("state", with_causes(&error), None),
    }
}

fn good(what: &'static str, found: String) -> Finding {
    Finding { state: State::Good, what, found, help: None }
}

fn doubtful(what: &'static str, found: String, help: Option<String>) -> Finding {
    Finding { state: State::Doubtful, what, found, help }
}

fn bad(what: &'static str, found: String, help: Option<String>) -> Finding {
    Finding { state: State::Bad, what, found, help }
}

fn word(state: State) -> (&'static str, Tone) {
    match state {
        State::Good => ("ok", Tone::Good),
        State::Doubtful => ("warn", Tone::Warning),
        State::Bad => ("fail", Tone::Bad),
    }
}

fn as_text(findings: &[Finding], settings: &Settings) -> String {
    let style = settings.style_out();
    let mut text = String::new();
    for finding in findings {
        let (word, tone) = word(finding.state);
        let word = style.paint(tone, format!("{word:5}"));
        writeln!(text, "{word} {:16} {}", finding.what, finding.found).unwrap_or_default();
        if let Some(help) = &finding.help {
            writeln!(text, "      {:16} {help}", "").unwrap_or_default();
        }
    }
    text
}

fn as_json(findings: &[Finding]) -> String {
    let object = |finding: &Finding| {
        json!({
            "state": word(finding.state).0,
            "what": finding.what,
            "found": finding.found,
            "help": finding.help,
        })
    };
    format!("{}\n", findings.iter().map(object).collect::<serde_json::Value>())
}
