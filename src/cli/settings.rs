//! From what was typed, and from the environment, to what holds.
#![expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]

use std::collections::BTreeMap;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use crate::cli::args::{Arguments, EngineName, Jobs, LogsName, Output, UiName, Verb, When};
use crate::cli::failure::{Exit, Failure};
use crate::gather::workspace;
use crate::image::Platform;
use crate::layers::Layers;
use crate::layers::options::Options;
use crate::report::ci::CiKind;
use crate::report::live::Terminal;
use crate::report::style::Style;
use crate::report::{self, Logs, Outputs, Ui};

/// What holds for every verb.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each holds or does not")]
pub struct Settings {
    /// The directory that imgraph was started in, or `-C`.
    pub directory: PathBuf,
    /// The engine that was asked for.
    pub engine: Option<EngineName>,
    /// The builder of the engine that was asked for.
    pub builder: Option<String>,
    /// Whether recorded images are taken to be in the engine's store.
    pub offline: bool,
    /// The platform of images whose section names none.
    pub platform: Option<Platform>,
    /// Whether `imgraph.lock` has to be as it should be.
    pub locked: bool,
    /// How images are built, before what `layers.toml` says.
    pub given: Options,
    /// Whether standard output gets colours.
    pub color_out: bool,
    /// Whether standard error gets colours.
    pub color_err: bool,
    /// The CI service.
    pub ci: Option<CiKind>,
    /// The file that a summary in Markdown is appended to (`GITHUB_STEP_SUMMARY`).
    pub step_summary: Option<PathBuf>,
    /// The directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// The whole environment, for engines that look for their store in it.
    pub environment: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the environment.
    pub fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let current = env::current_dir().map_err(|error| {
            Failure::new(Exit::USAGE, format!("the working directory is gone: {error}"))
        })?;
        let directory = match &arguments.directory {
            Some(directory) => current.join(directory),
            None => current,
        };
        if !directory.is_dir() {
            let message = format!("there is no directory {}", directory.display());
            return Err(Failure::new(Exit::USAGE, message));
        }
        Ok(Self {
            directory,
            engine: arguments.engine,
            builder: arguments.builder.clone(),
            offline: arguments.offline,
            platform: arguments.given.platform.clone(),
            locked: arguments.given.locked,
            given: given(arguments),
            color_out: color(arguments.color, io::stdout().is_terminal()),
            color_err: color(arguments.color, io::stderr().is_terminal()),
            ci: ci(),
            step_summary: env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            environment: env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            path: env::var_os("PATH")
                .map(|path| env::split_paths(&path).collect())
                .unwrap_or_default(),
        })
    }

    /// The root of the workspace.
    pub fn root(&self) -> Result<PathBuf, Failure> {
        workspace::find_root(&self.directory).ok_or_else(|| {
            let message = format!("there is no workspace in {} or above it", self.directory.display());
            Failure::new(Exit::WORKSPACE, message).help(
                "a workspace has a directory images/ or a file layers.toml; `imgraph init` writes one",
            )
        })
    }

    /// Puts what was typed in the place of what `layers.toml` says.
    pub fn overrule(&self, layers: &mut Layers) {
        layers.given = self.given.clone();
        if self.platform.is_some() {
            layers.workspace.platform.clone_from(&self.platform);
        }
    }

    /// How text on standard error looks.
    pub fn style_err(&self) -> Style {
        Style { color: self.color_err }
    }

    /// How text on standard output looks.
    pub fn style_out(&self) -> Style {
        Style { color: self.color_out }
    }

    /// How a run is shown.
    pub fn report(&self, output: &Output) -> (report::Settings, Outputs) {
        let ui = match (output.ui, output.quiet) {
            (_, true) | (UiName::Quiet, _) => Ui::Quiet,
            (UiName::Plain, _) => Ui::Plain,
            (UiName::Progress, _) => Ui::Progress,
            (UiName::Auto, _) if self.ci.is_some() => Ui::Plain,
            (UiName::Auto, _) => Ui::Progress,
        };
        let logs = match output.logs {
            LogsName::All => Logs::All,
            LogsName::Failed => Logs::Failed,
            LogsName::None => Logs::None,
        };
        let settings = report::Settings {
            ui,
            logs,
            json: output.json,
            color: self.color_err,
            ci: self.ci,
            verbosity: output.verbose,
        };
        let terminal = if ui == Ui::Progress { Terminal::stderr() } else { None };
        let outputs =
            Outputs { data: Box::new(io::stdout()), talk: Box::new(io::stderr()), terminal };
        (settings, outputs)
    }

    /// Whether a program is on the `PATH`.
    pub fn finds(&self, program: &str) -> bool {
        self.path.iter().any(|dir| dir.join(program).is_file())
    }
}

/// The options among what was typed.
fn given(arguments: &Arguments) -> Options {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let options = Options {
        network: arguments.given.network.clone(),
        hosts: arguments.given.add_host.clone(),
        ..Options::default()
    };
    let building = match &arguments.verb {
        Verb::Rebuild(rebuild) => &rebuild.building,
        Verb::Watch(watch) => &watch.building,
        _ => return options,
    };
    Options {
        cache_from: some(&building.cache_from),
        cache_to: some(&building.cache_to),
        sbom: building.sbom,
        provenance: building.provenance.clone(),
        allow: some(&building.allow),
        ..options
    }
}

/// How many builds run at once.
pub fn jobs(asked: Option<Jobs>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match asked {
        Some(Jobs::Number(number)) => number,
        Some(Jobs::Percent(percent)) => (cores * percent / 100).max(1),
        None => cores,
    }
}

/// Writes text, and forgets about a reader that has gone: `imgraph ls | head` is no failure.
pub fn write(to: &mut dyn Write, text: &str) {
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).unwrap_or_default();
}

/// <https://no-color.org>, <https://force-color.org> and `CLICOLOR_FORCE`.
fn color(when: When, is_terminal: bool) -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let forced = |name: &str| set(name) && env::var(name).as_deref() != Ok("0");
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if set("NO_COLOR") => false,
        When::Auto if forced("FORCE_COLOR") || forced("CLICOLOR_FORCE") => true,
        When::Auto => is_terminal && env::var("TERM").as_deref() != Ok("dumb"),
    }
}

fn ci() -> Option<CiKind> {
    let set = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty() && value != "false");
    if set("GITHUB_ACTIONS") {
        Some(CiKind::GitHub)
    } else if set("GITLAB_CI") {
        Some(CiKind::GitLab)
    } else if set("CI") {
        Some(CiKind::Other)
    } else {
        None
    }
}
