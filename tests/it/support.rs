//! Hermetic workspaces from one text, and the real program in them.
//!
//! A test says which files there are, what is typed, and what the user sees. Nothing of the machine
//! gets in: an environment of its own, a home of its own, an engine that builds nothing. What moves
//! from run to run (ids, times, paths) is replaced by a word in brackets, so that texts can be
//! compared as a whole.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use regex::{Captures, Regex};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A program that says nothing for so long hangs. Reached by no test that passes.
const HANGS: Duration = Duration::from_mins(1);

/// A base, a layer on it, and two applications: `web` also takes a file of `tools`.
pub(crate) const TREE: &str = "
    //- images/base/Dockerfile
    FROM scratch
    COPY packages.txt /
    //- images/base/packages.txt
    curl
    //- images/tools/Dockerfile
    FROM base
    //- images/java/jre/Dockerfile
    FROM base
    COPY security /etc/
    //- images/java/jre/security
    strict
    //- images/apps/api/Dockerfile
    FROM java/jre
    COPY src /src
    //- images/apps/api/src/Main.java
    class Main {}
    //- images/apps/web/Dockerfile
    FROM java/jre
    COPY --from=tools /bin/tool /bin/
    COPY page.html /
    //- images/apps/web/page.html
    hello
";

/// A directory with a workspace in it, gone when the test ends.
pub(crate) struct Workspace {
    home: TempDir,
}

impl Workspace {
    /// Writes the files of a text. A line `//- path` begins each; behind the path may stand
    /// `mode=755`, or `-> target` for a symbolic link. A path that ends with `/` is a directory.
    pub(crate) fn new(text: &str) -> Self {
        let workspace = Self { home: tempfile::tempdir().unwrap() };
        fs::create_dir(workspace.root()).unwrap();
        workspace.add(text);
        workspace
    }

    /// The workspace root.
    pub(crate) fn root(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// A path below the root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Writes more files, in the manner of [`Workspace::new`].
    pub(crate) fn add(&self, text: &str) {
        let text = dedent(text);
        let mut parts = text.split("//- ");
        assert_eq!(parts.next(), Some(""), "a fixture begins with a marker");
        for part in parts {
            let (marker, content) = part.split_once('\n').unwrap_or((part, ""));
            self.add_one(marker, content);
        }
    }

    fn add_one(&self, marker: &str, content: &str) {
        if let Some((path, target)) = marker.split_once(" -> ") {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        } else if marker.ends_with('/') {
            fs::create_dir_all(self.path(marker)).unwrap();
        } else {
            let (path, mode) = marker.split_once(" mode=").unwrap_or((marker, "644"));
            self.write(path, content);
            self.set_mode(path, u32::from_str_radix(mode, 8).unwrap());
        }
    }

    /// Writes one file, byte by byte as it is given.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The text of a file.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Removes a file or a directory.
    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// Sets the permission bits of a file.
    pub(crate) fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), Permissions::from_mode(mode)).unwrap();
    }

    /// Gives a file another time, and nothing else.
    pub(crate) fn touch(&self, path: &str) {
        let file = File::options().append(true).open(self.path(path)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }

    /// Makes the engine lose the image that a reference points at.
    pub(crate) fn lose(&self, reference: &str) {
        let store = ".imgraph/simulate.ndjson";
        let text = self.read(store);
        let tagged = |change: &Value| {
            let references = change["tag"]["references"].as_array()?;
            references.contains(&Value::from(reference)).then(|| change["tag"]["id"].clone())
        };
        let changes = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let id = changes.rev().find_map(|change| tagged(&change)).expect("a known reference");
        self.write(store, format!("{text}{}\n", serde_json::json!({ "remove": { "id": id } })));
    }

    /// Makes imgraph forget everything, as on a new machine.
    pub(crate) fn remove_state(&self) {
        if self.path(".imgraph").exists() {
            self.remove(".imgraph");
        }
    }

    /// The id of the simulated image that a reference points at.
    pub(crate) fn simulated(&self, reference: &str) -> String {
        let store = self.read(".imgraph/simulate.ndjson");
        let tagged = |change: Value| {
            let references = change["tag"]["references"].as_array()?;
            let id = change["tag"]["id"].as_str()?;
            references.contains(&Value::from(reference)).then(|| id.to_owned())
        };
        store.lines().map(parsed).filter_map(tagged).next_back().expect("a known reference")
    }

    /// What the simulated engine sent to registries, one push a line.
    pub(crate) fn pushes(&self) -> Vec<String> {
        let store = self.read(".imgraph/simulate.ndjson");
        let changes = store.lines().map(parsed);
        let push = |change: Value| {
            let references = change["push"]["references"].as_array()?;
            Some(references.iter().map(text).collect::<Vec<_>>().join(" "))
        };
        changes.filter_map(push).map(|push| normalised(&push, &self.root())).collect()
    }

    /// Runs `imgraph` with arguments that are separated by white space, to its end.
    pub(crate) fn imgraph(&self, arguments: &str) -> Outcome {
        self.run(arguments, &[])
    }

    /// Runs `imgraph rebuild`, one build at a time, so that the order is always the same.
    pub(crate) fn rebuild(&self, arguments: &str) -> Outcome {
        self.imgraph(&format!("rebuild --jobs=1 {arguments}"))
    }

    /// Runs `imgraph` with variables in its environment.
    pub(crate) fn run(&self, arguments: &str, environment: &[(&str, &str)]) -> Outcome {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        Running::start(self.root(), command).finish()
    }

    /// Runs `imgraph rebuild` with another engine, with variables in its environment.
    pub(crate) fn rebuild_with(
        &self,
        engine: &str,
        arguments: &str,
        environment: &[(&str, &str)],
    ) -> Outcome {
        let mut command = self.command_with(engine, &format!("rebuild --jobs=1 {arguments}"));
        command.envs(environment.iter().copied());
        Running::start(self.root(), command).finish()
    }

    /// Starts `imgraph`, and lets it run.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        Running::start(self.root(), self.command(arguments))
    }

    /// `imgraph` with arguments, where nothing of the machine gets in.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.command_with("simulate", arguments)
    }

    /// The same with a real engine.
    pub(crate) fn command_with(&self, engine: &str, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgraph"));
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
        command.env("HOME", self.home.path()).env("LANG", "C.UTF-8");
        command.current_dir(self.root()).stdin(Stdio::null());
        command.args(["--engine", engine]).args(arguments.split_whitespace());
        command
    }

    /// Starts a command of this workspace, and lets it run.
    pub(crate) fn start_command(&self, command: Command) -> Running {
        Running::start(self.root(), command)
    }
}

/// The program while it runs. Killed if the test ends before it.
pub(crate) struct Running {
    child: Child,
    root: PathBuf,
    lines: Receiver<Line>,
    stdout: String,
    stderr: String,
}

enum Line {
    Out(String),
    Err(String),
}

impl Running {
    fn start(root: PathBuf, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let to = sender.clone();
        thread::spawn(move || read_lines(out, |line| to.send(Line::Out(line))));
        thread::spawn(move || read_lines(err, |line| sender.send(Line::Err(line))));
        Self { child, root, lines, stdout: String::new(), stderr: String::new() }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an event on its standard output (`--json`).
    pub(crate) fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = match self.line() {
                Some(Line::Out(line)) => line,
                Some(Line::Err(_)) => continue,
                None => panic!("it ended before:\n{}{}", self.stdout, self.stderr),
            };
            let event = parsed(&line);
            if is_it(&event) {
                return event;
            }
        }
    }

    /// Waits until a build is in the middle of its steps.
    pub(crate) fn wait_for_build(&mut self, image: &str) {
        let event = |event: &Value| event["event"] == "step" && event["image"] == image;
        self.wait_for(|it| event(it) && it["number"] == 2);
    }

    /// Reads what it says for so long.
    pub(crate) fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(line) =
            self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.keep(&line);
        }
    }

    /// Types at its standard input, if that was asked for.
    pub(crate) fn types(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Types the same again and again until there is a text on its standard output; each time, a
    /// line has to come.
    pub(crate) fn types_until(&mut self, text: &str, words: &str) {
        while !self.stdout.contains(words) {
            self.types(text);
            assert!(self.line().is_some(), "it ended without `{words}`:\n{}", self.stdout);
        }
    }

    /// Waits for a text on its standard output.
    pub(crate) fn wait_for_text(&mut self, words: &str) {
        while !self.stdout.contains(words) {
            assert!(self.line().is_some(), "it ended without `{words}`:\n{}", self.stdout);
        }
    }

    /// Waits for a text on its standard error.
    pub(crate) fn wait_for_words(&mut self, words: &str) {
        while !self.stderr.contains(words) {
            assert!(self.line().is_some(), "it ended without `{words}`:\n{}", self.stderr);
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        while self.line().is_some() {}
        let status = self.child.wait().unwrap();
        let said = Said {
            stdout: normalised(&self.stdout, &self.root),
            stderr: normalised(&self.stderr, &self.root),
            data: std::mem::take(&mut self.stdout),
        };
        Outcome { code: status.code(), signal: status.signal(), said }
    }

    /// The next line of either stream; none once both have ended.
    fn line(&mut self) -> Option<Line> {
        match self.lines.recv_timeout(HANGS) {
            Ok(line) => {
                self.keep(&line);
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("it hangs; so far it said\n{}{}", self.stdout, self.stderr)
            }
        }
    }
}

impl Running {
    fn keep(&mut self, line: &Line) {
        let (to, text) = match line {
            Line::Out(text) => (&mut self.stdout, text),
            Line::Err(text) => (&mut self.stderr, text),
        };
        to.push_str(text);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

fn read_lines(from: impl Read, send: impl Fn(String) -> Result<(), SendError<Line>>) {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    while from.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        bytes.clear();
        if send(text).is_err() {
            return;
        }
    }
}

/// The end of a run of the program.
#[must_use = "say how it ended"]
#[derive(Debug)]
pub(crate) struct Outcome {
    code: Option<i32>,
    signal: Option<i32>,
    said: Said,
}

/// What a run of the program said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Standard output, normalised.
    pub(crate) stdout: String,
    /// Standard error, normalised.
    pub(crate) stderr: String,
    /// Standard output, as it was.
    data: String,
}

impl Outcome {
    /// The exit code; `None` where a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.code
    }

    /// It ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Said {
        let Self { code: is, signal, said } = self;
        if is != Some(code) {
            let Said { stdout, stderr, .. } = &said;
            panic!("exit code {is:?}, signal {signal:?}, wanted {code}\n{stdout}---\n{stderr}");
        }
        said
    }

    /// It was ended by this signal.
    #[track_caller]
    pub(crate) fn was_killed_by(self, signal: Signal) -> Said {
        assert_eq!(self.signal, Some(signal.as_raw()), "{:?}", self.said);
        self.said
    }
}

impl Said {
    /// The same with a word in the place of what differs from run to run.
    pub(crate) fn calling(mut self, text: &str, word: &str) -> Self {
        for said in [&mut self.stdout, &mut self.stderr] {
            *said = said.replace(text, word);
        }
        self
    }

    /// This is all that it said on standard error.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        same("standard error", &self.stderr, &dedent(text));
        self
    }

    /// This is all that it wrote to standard output.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        same("standard output", &self.stdout, &dedent(text));
        self
    }

    /// It said this, line by line in this order, among other things.
    #[track_caller]
    pub(crate) fn mentions(self, text: &str) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        let mut rest = said.as_str();
        for line in dedent(text).lines() {
            let Some(at) = rest.find(line) else { panic!("no `{line}` in\n{said}") };
            rest = &rest[at + line.len()..];
        }
        self
    }

    /// It did not say this.
    #[track_caller]
    pub(crate) fn never_mentions(self, text: &str) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(!said.contains(text), "there is `{text}` in\n{said}");
        self
    }

    /// The one JSON value on its standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        parsed(&self.data)
    }

    /// The events on its standard output.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        self.data.lines().map(parsed).collect()
    }

    /// How the images ended, by name: `base built`.
    #[track_caller]
    pub(crate) fn ends(&self) -> Vec<String> {
        let mut ends = self.ends_in_order();
        ends.sort_unstable();
        ends
    }

    /// How the images ended, as they did. Which of two siblings goes first depends on how long they
    /// took the last time.
    #[track_caller]
    pub(crate) fn ends_in_order(&self) -> Vec<String> {
        let events = self.events();
        let ended = events.iter().filter(|event| event["event"] == "finished");
        let end = |event: &Value| format!("{} {}", text(&event["image"]), text(&event["ended"]));
        ended.map(end).collect()
    }
}

#[track_caller]
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// A JSON string as it is.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[track_caller]
fn same(what: &str, is: &str, wanted: &str) {
    assert!(is == wanted, "{what} is\n{is}--- and not\n{wanted}---");
}

/// A text without the indentation that all its lines have, and without the empty line that it begins
/// with in a test.
pub(crate) fn dedent(text: &str) -> String {
    let text = text.strip_prefix('\n').unwrap_or(text).trim_end_matches(' ');
    let blank = |line: &&str| line.trim().is_empty();
    let indentation = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let lines = || text.lines();
    let common = lines().filter(|line| !blank(line)).map(indentation).min().unwrap_or(0);
    lines().flat_map(|line| [line.get(common..).unwrap_or(""), "\n"]).collect()
}

/// A text with words in brackets where it differs from run to run.
fn normalised(text: &str, root: &Path) -> String {
    let text = text.replace(root.to_str().unwrap(), "[ROOT]");
    let text = CRITICAL_PATH.replace_all(&text, "");
    VOLATILE.replace_all(&text, placeholder).into_owned()
}

/// Which images take a measurable time is chance.
static CRITICAL_PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^critical path .*\n").unwrap());

static VOLATILE: LazyLock<Regex> = LazyLock::new(|| {
    let run = r"(?<run>\b1[0-9a-z]{8}-[0-9a-z]+\b)";
    let process = r"(?<process>\bpid \d+(, \w+)?)";
    let digest = r"(?<digest>\b[0-9a-f]{12,64}\b)";
    let time = r"(?<time>\b(\d+ ms|\d+\.\d s|\d+m \d\ds|\d+h \d\dm|\d+s)\b)";
    Regex::new(&[run, process, digest, time].join("|")).unwrap()
});

fn placeholder(found: &Captures<'_>) -> String {
    let word = |name: &&str| found.name(name).map(|_| format!("[{}]", name.to_uppercase()));
    let mut names = ["run", "process", "digest", "time"].iter();
    names.find_map(word).expect("one of the groups matched")
}
