//! Follows the instructions of the reachable stages, with the values of their variables.
//!
//! Follows `dispatchStages` and `dispatch` of BuildKit's `dockerfile2llb/convert.go`, and
//! `convert_runmount.go`. What a stage reads is collected with the stage: whether it is used in the end
//! is known only when all have been walked.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Span;
use crate::dockerfile::command::{self, Command, Declaration, mount_help};
use crate::dockerfile::environment::Environment;
use crate::dockerfile::expand::{self, Expansion, Shell, Variables};
use crate::dockerfile::flags::Value;
use crate::dockerfile::instruction::{Keyword, Pair, Word};
use crate::dockerfile::location::{self, LocationError, System};
use crate::dockerfile::mount::{self, Mount, MountError, MountType};
use crate::dockerfile::problem::{self, Problems};
use crate::dockerfile::reads::{
    BaseConfig, ContextKind, ContextRead, ImageUse, Remote, Step, UseKind,
};
use crate::dockerfile::stages::{Order, SCRATCH, Scene, Stages, State};
use crate::dockerfile::{canonical, transfer, value};

/// How many bytes of values the words of one target may be expanded to, and stages may inherit, so
/// that no file can exhaust the memory.
const MAX_VALUES: usize = 1 << 24;

/// What a stage is like at its end, and what it reads.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) environment: Environment,
    /// The working directory, where it is known.
    pub(crate) directory: Option<String>,
    pub(crate) user: Option<String>,
    system: Option<System>,
    /// Whether the configuration of the base is known.
    pub(crate) base_is_known: bool,
    /// The names that ARG declares.
    pub(crate) declared: BTreeSet<String>,
    /// The values of ARG that come from outside the stage, and those that do not.
    pub(crate) given: BTreeMap<String, String>,
    pub(crate) defaults: BTreeMap<String, String>,
    /// The states whose files it uses.
    pub(crate) uses: Vec<usize>,
    pub(crate) steps: Vec<Step>,
    pub(crate) images: Vec<ImageUse>,
    pub(crate) context: Vec<ContextRead>,
    pub(crate) remotes: Vec<Remote>,
    pub(crate) secrets: Vec<String>,
}

impl Walked {
    pub(crate) fn system(&self) -> System {
        self.system.unwrap_or(System::Unix)
    }
}

/// Walks all reachable stages; a state that is not walked has nothing.
pub(crate) fn walk(
    scene: &Scene<'_>,
    stages: &Stages<'_>,
    reachable: &[bool],
    base: &dyn Fn(&ImageUse) -> Option<BaseConfig>,
    problems: &mut Problems,
) -> Vec<Option<Walked>> {
    let mut walked: Vec<Option<Walked>> = Vec::with_capacity(stages.states.len());
    let mut spent = 0;
    for (index, state) in stages.states.iter().enumerate() {
        // Too many values have been reported by then.
        if !state.is_stage || !reachable[index] || spent > MAX_VALUES {
            walked.push(None);
            continue;
        }
        let parent = state.base.and_then(|base| walked[base].as_ref());
        let stage = begin(scene, stages, index, parent, base);
        let mut walker = Walker { scene, stages, index, stage, problems, spent, order: None };
        walker.spend(walker.stage.environment.size(), state.span);
        for order in &state.commands {
            if walker.is_spent() {
                break;
            }
            walker.follow(order);
        }
        spent = walker.spent;
        walked.push(Some(walker.stage));
    }
    walked
}

/// A stage before its first instruction.
fn begin(
    scene: &Scene<'_>,
    stages: &Stages<'_>,
    index: usize,
    parent: Option<&Walked>,
    base: &dyn Fn(&ImageUse) -> Option<BaseConfig>,
) -> Walked {
    let state = &stages.states[index];
    let mut stage = Walked::default();
    let platform = state.platform_text.as_deref();
    stage.steps.push(Step {
        text: canonical::from(platform, &state.reference, state.name),
        line: state.line,
    });
    if let (Some(base), Some(parent)) = (state.base, parent) {
        stage.uses.push(base);
        stage.environment = parent.environment.inherited();
        stage.directory.clone_from(&parent.directory);
        stage.user.clone_from(&parent.user);
        stage.system = parent.system;
        stage.base_is_known = parent.base_is_known;
        stage.declared.clone_from(&parent.declared);
        return stage;
    }
    let image = stages.image_use(index, UseKind::From, scene.request);
    let (config, os) = if state.reference == SCRATCH {
        (Some(BaseConfig::empty()), scene.request.platform.os.clone())
    } else {
        let config = base(&image);
        let os = image.platform.os.clone();
        stage.images.push(image);
        (config, os)
    };
    stage.system = Some(System::of(&os));
    stage.base_is_known = config.as_ref().is_some_and(|config| config.is_whole);
    let directory = config.as_ref().and_then(|config| config.working_dir.as_deref());
    stage.directory = directory.map(|directory| location::join("", directory));
    stage.environment = Environment::of_base(&config.unwrap_or_default().env, &os);
    stage
}

/// One stage while it is followed.
pub(crate) struct Walker<'a> {
    pub(crate) scene: &'a Scene<'a>,
    pub(crate) stages: &'a Stages<'a>,
    index: usize,
    pub(crate) stage: Walked,
    pub(crate) problems: &'a mut Problems,
    spent: usize,
    order: Option<&'a Order<'a>>,
}

impl<'a> Walker<'a> {
    fn follow(&mut self, order: &'a Order<'a>) {
        let instruction = order.instruction.as_ref();
        // What is wrong with it has been said when it was parsed.
        if instruction.keyword == Keyword::Unknown {
            return;
        }
        let Some(command) = command::read(instruction, &mut Problems::default()) else { return };
        self.order = Some(order);
        self.stage
            .steps
            .push(Step { text: canonical::text(instruction), line: instruction.first_line });
        match command {
            Command::Env(pairs) => self.env(pairs),
            Command::Label(pairs) => {
                for pair in pairs {
                    self.word(&pair.name);
                    self.word(&pair.value);
                }
            }
            Command::Arg(declarations) => {
                for declaration in declarations {
                    self.arg(&declaration);
                }
            }
            Command::Copy(copy) => transfer::follow(self, &copy, order, instruction.span),
            Command::Run(mounts) => {
                for (mount, source) in mounts.into_iter().zip(&order.sources) {
                    if !self.is_spent() {
                        self.mount(mount, *source);
                    }
                }
            }
            Command::Workdir(path) => self.workdir(path),
            Command::User(user) => self.stage.user = self.word(user),
            Command::Stopsignal(signal) => {
                let help = "write a signal such as SIGTERM or 15";
                self.checked(signal, value::is_signal, "a signal", help);
            }
            Command::Volume(volumes) => {
                for volume in volumes {
                    let help = "give the variable a value";
                    self.checked(volume, |path| !path.is_empty(), "a path", help);
                }
            }
            Command::Expose(ports) => {
                for port in ports {
                    self.port(port);
                }
            }
            Command::From(_) | Command::Onbuild(_) | Command::Other => {}
        }
    }

    /// Expands a word of the instruction; `None` if that fails, which is reported.
    pub(crate) fn expand(&mut self, text: &str, span: Span) -> Option<Expansion> {
        self.expand_with(text, span, self.scene.shell)
    }

    /// The same, with another way of reading.
    pub(crate) fn expand_with(
        &mut self,
        text: &str,
        span: Span,
        shell: Shell,
    ) -> Option<Expansion> {
        if self.is_spent() {
            return None;
        }
        match expand::expand(text, shell, &self.stage.environment) {
            Ok(expansion) => {
                self.spend(expansion.text.len(), span);
                Some(expansion)
            }
            Err(error) => {
                let message = format!("a variable cannot be expanded: {error}");
                self.problems.error(problem::EXPANSION, span, message, "mend the expression");
                None
            }
        }
    }

    /// Counts bytes of values, and reports when they become too many.
    fn spend(&mut self, bytes: usize, span: Span) {
        let before = self.is_spent();
        self.spent += bytes;
        if self.is_spent() && !before {
            let message = format!("the values of variables make more than {MAX_VALUES} bytes");
            self.problems.error(problem::EXPANSION, span, message, "make them fewer or smaller");
        }
    }

    fn is_spent(&self) -> bool {
        self.spent > MAX_VALUES
    }

    /// The text that a word is expanded to.
    pub(crate) fn word(&mut self, word: &Word) -> Option<String> {
        self.expand(&word.text, word.span).map(|expansion| expansion.text)
    }

    fn checked(&mut self, word: &Word, fits: fn(&str) -> bool, what: &str, help: &str) {
        let Some(text) = self.word(word) else { return };
        if !fits(&text) {
            self.problems.error(problem::VALUE, word.span, format!("`{text}` is not {what}"), help);
        }
    }

    fn env(&mut self, pairs: &[Pair]) {
        // All are expanded with what was set before.
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let (name, value) = (self.word(&pair.name), self.word(&pair.value));
            expanded.extend(name.zip(value));
        }
        for (name, value) in expanded {
            self.stage.environment.set(&name, &value);
        }
    }

    fn arg(&mut self, declaration: &Declaration<'_>) {
        let name = declaration.name;
        self.stage.declared.insert(name.to_owned());
        let given = self.scene.request.args.get(name).map(String::as_str);
        let given = match declaration.default {
            None => given.or_else(|| self.scene.globals.value(name)),
            Some(_) => given,
        };
        let value = if let Some(value) = given {
            self.stage.given.insert(name.to_owned(), value.to_owned());
            value.to_owned()
        } else {
            let Some(default) = declaration.default else { return };
            let Some(expansion) = self.expand(default, declaration.span) else { return };
            self.stage.defaults.entry(name.to_owned()).or_insert_with(|| expansion.text.clone());
            expansion.text
        };
        // Two arguments only steer the making of SBOMs.
        if !name.starts_with("BUILDKIT_SBOM_SCAN_") {
            self.stage.environment.declare(name, &value, self.scene.request.flavour);
        }
    }

    fn workdir(&mut self, word: &Word) {
        let Some(path) = self.word(word) else { return };
        let parent = self.stage.directory.clone();
        let system = self.stage.system();
        match location::below(parent.as_deref().unwrap_or("/"), &path, system) {
            Ok(directory) => {
                let known = parent.is_some() || location::is_absolute(&path, system);
                self.stage.directory = known.then_some(directory);
            }
            Err(error) => self.wrong_path(word.span, &path, error),
        }
    }

    pub(crate) fn wrong_path(&mut self, span: Span, path: &str, error: LocationError) {
        let message = format!("`{path}` is {error}");
        self.problems.error(problem::SOURCE, span, message, "write a path on drive C:");
    }

    fn port(&mut self, word: &Word) {
        let Some(expansion) = self.expand(&word.text, word.span) else { return };
        for port in expansion.words.iter().filter(|port| !value::is_port(port)) {
            let message = format!("`{port}` is not a port");
            let help = "write a port, or a range of ports, such as 80 or 8000-8010/udp";
            self.problems.error(problem::VALUE, word.span, message, help);
        }
    }

    fn mount(&mut self, flag: Value<'_>, source: usize) {
        let mut unset = BTreeSet::new();
        let (environment, shell) = (&self.stage.environment, self.scene.shell);
        let mut spent = 0;
        let read = mount::read(flag.text, |text| {
            let expansion = expand::expand(text, shell, environment)?;
            spent += expansion.text.len();
            unset.extend(expansion.unmatched);
            Ok(expansion.text)
        });
        self.spend(spent, flag.span);
        match read {
            Ok(mount) => {
                if mount.kind == MountType::Bind && mount.from.is_empty() {
                    self.warn_of_unknown(&unset, flag.span);
                }
                self.use_mount(&mount, source, flag.span);
            }
            Err(error) => self.wrong_mount(flag.span, &error),
        }
    }

    fn wrong_mount(&mut self, span: Span, error: &MountError) {
        let message = format!("this cannot be mounted: {error}");
        self.problems.error(problem::MOUNT, span, message, mount_help(error));
    }

    fn use_mount(&mut self, mount: &Mount, source: usize, span: Span) {
        if !mount.from.is_empty() && !self.is_ready(source, span) {
            return;
        }
        if let Some(secret) = mount.secret() {
            if !self.stage.secrets.contains(&secret) {
                self.stage.secrets.push(secret);
            }
            return;
        }
        if self.mounts_on_root(mount) {
            return self.wrong_mount(span, &MountError::Whole("its target is the root directory"));
        }
        match mount.kind {
            MountType::Bind if mount.from.is_empty() => self.stage.context.push(ContextRead {
                kind: ContextKind::Mount,
                source: location::join("", &mount.source),
                include: Vec::new(),
                exclude: Vec::new(),
                require: Vec::new(),
                unpack: false,
                span,
            }),
            MountType::Bind => self.use_state(source, UseKind::Mount, span),
            // A cache without `from` begins empty, whatever stage may be called `scratch`.
            MountType::Cache => self.use_state(source, UseKind::Mount, span),
            MountType::Tmpfs | MountType::Secret | MountType::Ssh => {}
        }
    }

    fn mounts_on_root(&self, mount: &Mount) -> bool {
        if location::clean(&mount.target).starts_with('/') {
            return mount.target == "/";
        }
        // Where the directory is not known, it is the engine that will tell.
        let directory = self.stage.directory.as_deref();
        directory.is_some_and(|directory| location::join(directory, &mount.target) == "/")
    }

    /// Whether a state comes before this one; else it is reported.
    pub(crate) fn is_ready(&mut self, source: usize, span: Span) -> bool {
        let state: &State<'_> = &self.stages.states[source];
        let ready = !state.is_stage || source < self.index;
        if !ready {
            let name = state.name.unwrap_or("without a name");
            let message = format!("the stage {name} comes later");
            let help = "move that stage before this one";
            self.problems.error(problem::STAGE_ORDER, span, message, help);
        }
        ready
    }

    /// Notes that files of a state are read.
    pub(crate) fn use_state(&mut self, source: usize, kind: UseKind, span: Span) {
        self.stage.uses.push(source);
        let state = &self.stages.states[source];
        if state.is_stage || state.reference == SCRATCH {
            return;
        }
        let inherited = self.order.is_some_and(|order| order.inherited);
        let kind = if inherited { UseKind::Onbuild } else { kind };
        let mut image = self.stages.image_use(source, kind, self.scene.request);
        image.span = span;
        self.stage.images.push(image);
    }

    /// Warns of names that only a base which is not known could set.
    pub(crate) fn warn_of_unknown(&mut self, names: &BTreeSet<String>, span: Span) {
        if self.stage.base_is_known {
            return;
        }
        for name in names.iter().filter(|name| !self.stage.declared.contains(*name)) {
            self.problems.warning(
                problem::UNKNOWN_NAME,
                span,
                format!("`{name}` is not set here, and chooses what is read"),
                format!(
                    "declare it: ARG {name}=.. or ENV {name}=..; a value of the base is unknown"
                ),
            );
        }
    }
}
