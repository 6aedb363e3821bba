//! `imgraph doctor`: what is missing on this machine, and how to get it.
#![expect(clippy::disallowed_methods, reason = "looks at the limits of the machine")]

use std::fmt::Write as _;
use std::{fs, io};

use serde_json::json;

use crate::cli::args::{Doctor, EngineName};
use crate::cli::engines::{self, Choice};
use crate::cli::failure::Exit;
use crate::cli::session::STATE_DIR;
use crate::cli::settings::{Settings, write};
use crate::engine::Engine as _;
use crate::engine::buildah::{Buildah, Options};
use crate::gather::workspace;
use crate::ledger;
use crate::report::sentence;
use crate::report::style::Tone;
use crate::run::with_causes;

/// Below this many inotify watches, watching a large tree fails.
const FEW_WATCHES: u64 = 65_536;

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
    let configured = settings.root().ok().and_then(|root| workspace::configured_engine(&root));
    match engines::choose(settings, configured.as_deref()) {
        Ok(choice) => findings.extend([chosen(&choice), buildah(&choice)]),
        Err(failure) => findings.push(bad("engine", failure.message, failure.help)),
    }
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

fn chosen(choice: &Choice) -> Finding {
    good("engine", choice.note.clone())
}

fn buildah(choice: &Choice) -> Finding {
    match Buildah::new(Options::default()).capabilities() {
        Ok(found) => good("buildah", format!("{}, builds for {}", found.version, found.platform)),
        Err(error) if choice.name == EngineName::Simulate => {
            doubtful("buildah", with_causes(&error), None)
        }
        Err(error) => bad("buildah", with_causes(&error), None),
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
