//! The stages of a file and the images they name: who is built on whom, who needs whom.
//!
//! Follows `buildDispatchStates`, `buildStageDependencyGraph` and `resolveStages` of BuildKit's
//! `dockerfile2llb/convert.go`. A [`State`] is a stage, or an image that COPY or RUN reads; images come
//! behind the stages in the order in which they are met, and `COPY --from=<number>` counts them too.
//! Unreachable stages are validated like others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::diagnostic::{Span, nearest};
use crate::dockerfile::command::{self, Command};
use crate::dockerfile::expand::{Nothing, Shell, expand};
use crate::dockerfile::flags::Value;
use crate::dockerfile::globals::Globals;
use crate::dockerfile::instruction::{Arguments, Instruction, Keyword};
use crate::dockerfile::lexer::Lexer;
use crate::dockerfile::problem::{self, Problems};
use crate::dockerfile::reads::{ImageUse, Request, UseKind};
use crate::dockerfile::text::Text;
use crate::dockerfile::{Dockerfile, Stage, mount, parser, platform, value};
use crate::image::Platform;
use crate::reference::Reference;

/// How many triggers all stages together may inherit, so that no file can exhaust the memory.
const MAX_INHERITED: usize = 100_000;

/// The base that is no image, case and all.
pub(crate) const SCRATCH: &str = "scratch";

/// A stage, or an image that COPY or RUN reads.
#[derive(Debug)]
pub(crate) struct State<'a> {
    /// The base as expanded: a stage above, an image, or `scratch`.
    pub(crate) reference: String,
    /// The stage that the base is.
    pub(crate) base: Option<usize>,
    /// The platform that FROM names.
    pub(crate) platform: Option<Platform>,
    /// The text of the platform, expanded.
    pub(crate) platform_text: Option<String>,
    /// The name behind AS, in lower case.
    pub(crate) name: Option<&'a str>,
    /// The variables that FROM uses.
    pub(crate) matched: Vec<String>,
    /// The instructions, inherited triggers first.
    pub(crate) commands: Vec<Order<'a>>,
    /// The states that the instructions name.
    needs: Vec<usize>,
    /// The FROM, or what names the image.
    pub(crate) span: Span,
    /// The line of that.
    pub(crate) line: u32,
    /// Whether FROM made it; else COPY or RUN did.
    pub(crate) is_stage: bool,
}

/// An instruction of a stage.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) instruction: Cow<'a, Instruction>,
    /// Whether it comes from an ONBUILD of the base.
    pub(crate) inherited: bool,
    /// The states it names: that of `COPY --from`, or one for each mount.
    pub(crate) sources: Vec<usize>,
}

/// All states of a file.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    pub(crate) states: Vec<State<'a>>,
    /// The last state of each name.
    by_name: BTreeMap<String, usize>,
    shell: Shell,
}

/// What all stages are read with.
pub(crate) struct Scene<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) request: &'a Request<'a>,
    pub(crate) globals: Globals,
    /// How words are read.
    pub(crate) shell: Shell,
}

impl<'a> Stages<'a> {
    /// The stages, with what their instructions name.
    pub(crate) fn new(scene: &Scene<'a>, problems: &mut Problems) -> Self {
        let mut stages = Self { states: Vec::new(), by_name: BTreeMap::new(), shell: scene.shell };
        for stage in &scene.dockerfile.stages {
            stages.add_stage(stage, scene, problems);
        }
        for index in 0..scene.dockerfile.stages.len() {
            let mut commands = std::mem::take(&mut stages.states[index].commands);
            for order in &mut commands {
                stages.name_sources(index, order, problems);
            }
            stages.states[index].commands = commands;
        }
        stages
    }

    fn add_stage(&mut self, stage: &'a Stage, scene: &Scene<'a>, problems: &mut Problems) {
        let dockerfile = scene.dockerfile;
        let instruction = &dockerfile.instructions[stage.from];
        let mut state = State {
            reference: SCRATCH.to_owned(),
            base: None,
            platform: None,
            platform_text: None,
            name: stage.name.as_deref(),
            matched: Vec::new(),
            commands: orders(&dockerfile.instructions[stage.from + 1..stage.end]),
            needs: Vec::new(),
            span: instruction.span,
            line: instruction.first_line,
            is_stage: true,
        };
        // A FROM that cannot be read has been reported, and stands for `FROM scratch`.
        if let Some(Command::From(from)) = command::again(instruction, &[Keyword::From]) {
            state.span = from.base.span;
            state.expand_base(&from.base.text, scene, problems);
            if let Some(value) = from.platform {
                state.expand_platform(value, scene, problems);
            }
        }
        state.base = self.by_name.get(&state.reference).copied();
        if let Some(name) = &stage.name {
            self.by_name.insert(name.clone(), self.states.len());
        }
        self.states.push(state);
    }

    /// Finds, or adds, the states that an instruction names.
    fn name_sources(&mut self, index: usize, order: &mut Order<'a>, problems: &mut Problems) {
        let instruction = order.instruction.as_ref();
        let kinds = [Keyword::Add, Keyword::Copy, Keyword::Run];
        let sources = match command::again(instruction, &kinds) {
            Some(Command::Copy(copy)) => {
                let from = copy.flags.value("from");
                from.and_then(|from| self.copy_source(from, instruction.first_line, problems))
                    .into_iter()
                    .collect()
            }
            Some(Command::Run(mounts)) => {
                let mount = |mount: Value<'_>| {
                    // A mount without `from` counts as one of `scratch`.
                    let from = mount::from_as_written(mount.text).unwrap_or_default();
                    let from = if from.is_empty() { SCRATCH } else { &from };
                    self.state_or_image(from, mount.span, instruction.first_line)
                };
                mounts.into_iter().map(mount).collect()
            }
            _ => Vec::new(),
        };
        self.states[index].needs.extend_from_slice(&sources);
        order.sources = sources;
    }

    /// The state of `COPY --from`: a name, a number, or an image.
    fn copy_source(
        &mut self,
        from: Value<'_>,
        line: u32,
        problems: &mut Problems,
    ) -> Option<usize> {
        let same = expand(from.text, self.shell, &Nothing).is_ok_and(|word| word.text == from.text);
        if !same {
            let message = "variables are not expanded in --from";
            let help = "name a stage: `FROM <the image> AS name`, and copy from that";
            problems.error(problem::COPY_FROM, from.span, message, help);
            return None;
        }
        let Some(number) = value::integer(from.text) else {
            return Some(self.state_or_image(from.text, from.span, line));
        };
        let index = usize::try_from(number).ok().filter(|index| *index < self.states.len());
        if index.is_none() {
            let message = format!("there is no stage {number}");
            let help = format!("count the stages from 0; there are {}", self.states.len());
            problems.error(problem::COPY_FROM, from.span, message, help);
        }
        index
    }

    fn state_or_image(&mut self, name: &str, span: Span, line: u32) -> usize {
        if let Some(index) = self.by_name.get(&name.to_lowercase()) {
            return *index;
        }
        self.states.push(State {
            reference: name.to_owned(),
            base: None,
            platform: None,
            platform_text: None,
            name: None,
            matched: Vec::new(),
            commands: Vec::new(),
            needs: Vec::new(),
            span,
            line,
            is_stage: false,
        });
        self.states.len() - 1
    }

    /// The state to build.
    pub(crate) fn target(&self, name: Option<&str>, problems: &mut Problems) -> Option<usize> {
        // That there is no stage has been said when the file was parsed.
        let last = self.states.iter().rposition(|state| state.is_stage)?;
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Some(last) };
        let found = self.by_name.get(&name.to_lowercase()).copied();
        if found.is_none() {
            let names = || self.by_name.keys().map(String::as_str);
            let help = match nearest(name, names()) {
                Some(near) => format!("did you mean {near}?"),
                None if self.by_name.is_empty() => "name a stage with AS".to_owned(),
                None => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("no stage has the name `{name}`");
            problems.error(problem::TARGET, self.states[last].span, message, help);
        }
        found
    }

    /// Reports stages that need themselves by COPY or RUN, in however many steps.
    pub(crate) fn check_circles(&self, problems: &mut Problems) {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.states.len()];
        for start in 0..self.states.len() {
            let mut path = vec![(start, 0)];
            while let Some((index, next)) = path.pop() {
                if next == 0 {
                    if marks[index] != Mark::New {
                        continue;
                    }
                    marks[index] = Mark::Open;
                }
                let Some(need) = self.states[index].needs.get(next).copied() else {
                    marks[index] = Mark::Done;
                    continue;
                };
                path.push((index, next + 1));
                match marks[need] {
                    Mark::New => path.push((need, 0)),
                    Mark::Open => return self.report_circle(need, problems),
                    Mark::Done => {}
                }
            }
        }
    }

    fn report_circle(&self, index: usize, problems: &mut Problems) {
        let state = &self.states[index];
        let name = state.name.unwrap_or("without a name");
        let message = format!("the stage {name} needs itself");
        let help = "move what both need to a stage of its own";
        problems.error(problem::STAGE_ORDER, state.span, message, help);
    }

    /// Reports bases that are no references, of all stages.
    pub(crate) fn check_references(&self, problems: &mut Problems) {
        for state in &self.states {
            let is_image =
                state.base.is_none() && state.reference != SCRATCH && !state.reference.is_empty();
            if !is_image {
                continue;
            }
            let Err(error) = Reference::parse(&state.reference) else { continue };
            let message = format!("`{}` is not a reference: {error}", state.reference);
            let lower = state.reference.to_lowercase();
            let help = match self.by_name.get(&lower) {
                Some(_) => format!("write {lower}: stages have their names in lower case"),
                None => "write [registry/]repository[:tag][@digest], in lower case".to_owned(),
            };
            problems.error(problem::BASE, state.span, message, help);
        }
    }

    /// Tells which states are needed to build a target, and hands the ONBUILD triggers of their
    /// bases to the stages among them, which may make more of them needed.
    pub(crate) fn reach(
        &mut self,
        target: usize,
        request: &Request<'_>,
        problems: &mut Problems,
    ) -> Vec<bool> {
        let mut reachable = vec![false; self.states.len()];
        let mut inherited = 0;
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut reachable[index], true) {
                continue;
            }
            if self.states[index].is_stage && inherited <= MAX_INHERITED {
                inherited += self.inherit(index, request, problems);
                reachable.resize(self.states.len(), false);
                if inherited > MAX_INHERITED {
                    let message = format!("the stages inherit more than {MAX_INHERITED} triggers");
                    let span = self.states[index].span;
                    problems.error(problem::ONBUILD, span, message, "use fewer ONBUILD");
                }
            }
            let state = &self.states[index];
            open.extend(state.needs.iter().chain(&state.base).filter(|next| !reachable[**next]));
        }
        reachable
    }

    fn triggers(&self, index: usize, request: &Request<'_>) -> Vec<String> {
        let state = &self.states[index];
        match state.base {
            Some(base) => self.own_triggers(base),
            None if state.reference == SCRATCH => Vec::new(),
            None => (request.onbuild)(&self.image_use(index, UseKind::From, request)),
        }
    }

    /// The triggers that the instructions of a stage set.
    pub(crate) fn own_triggers(&self, index: usize) -> Vec<String> {
        let trigger =
            |order: &Order<'_>| match command::again(&order.instruction, &[Keyword::Onbuild]) {
                Some(Command::Onbuild(text)) => Some(text),
                _ => None,
            };
        self.states[index].commands.iter().filter_map(trigger).collect()
    }

    /// Puts the triggers of its base before the instructions of a stage; tells how many there are.
    fn inherit(&mut self, index: usize, request: &Request<'_>, problems: &mut Problems) -> usize {
        let State { span, line, .. } = self.states[index];
        let mut orders = Vec::new();
        for trigger in self.triggers(index, request) {
            let instruction = parse_trigger(&trigger, span, line, problems).map(Cow::Owned);
            let order = |instruction| Order { instruction, inherited: true, sources: Vec::new() };
            orders.extend(instruction.map(order));
        }
        for order in &mut orders {
            self.name_sources(index, order, problems);
        }
        let count = orders.len();
        self.states[index].commands.splice(0..0, orders);
        count
    }

    /// Whether an ARG of any stage declares a name.
    pub(crate) fn declares(&self, name: &str) -> bool {
        let orders = self.states.iter().flat_map(|state| &state.commands);
        let args = orders.filter(|order| order.instruction.keyword == Keyword::Arg);
        let mut words = args.flat_map(|order| match &order.instruction.arguments {
            Arguments::Words(words) => words.as_slice(),
            _ => &[],
        });
        words.any(|word| word.text.split('=').next() == Some(name))
    }

    /// A state as an image that is read.
    pub(crate) fn image_use(&self, index: usize, kind: UseKind, request: &Request<'_>) -> ImageUse {
        let state = &self.states[index];
        let platform = state.platform.as_ref().unwrap_or(request.platform).clone();
        ImageUse { kind, reference: state.reference.clone(), platform, span: state.span }
    }
}

impl State<'_> {
    fn expand_base(&mut self, base: &str, scene: &Scene<'_>, problems: &mut Problems) {
        match expand(base, scene.shell, &scene.globals) {
            Ok(expansion) if expansion.text.is_empty() => {
                let message = format!("the base of the stage, `{base}`, comes out blank");
                let help = match expansion.unmatched.first() {
                    Some(name) => format!("declare it before the first FROM: ARG {name}=..."),
                    None => "give it a value".to_owned(),
                };
                problems.error(problem::BASE, self.span, message, help);
            }
            Ok(expansion) => {
                self.reference = expansion.text;
                self.matched.extend(expansion.matched);
            }
            Err(error) => {
                let message = format!("the base of the stage cannot be expanded: {error}");
                problems.error(problem::EXPANSION, self.span, message, "mend the expression");
            }
        }
    }

    fn expand_platform(&mut self, value: Value<'_>, scene: &Scene<'_>, problems: &mut Problems) {
        let expansion = match expand(value.text, scene.shell, &scene.globals) {
            Ok(expansion) => expansion,
            Err(error) => {
                let message = format!("the platform cannot be expanded: {error}");
                problems.error(problem::EXPANSION, value.span, message, "mend the expression");
                return;
            }
        };
        self.platform = platform::parse(&expansion.text, scene.request.build_platform);
        if self.platform.is_none() {
            let near = expansion.unmatched.iter().find_map(|name| scene.globals.nearest(name));
            let help = match near {
                Some(near) => format!("did you mean ${near}?"),
                None => "write os/architecture, for example linux/arm64".to_owned(),
            };
            let message = format!("`{}` is not a platform", expansion.text);
            problems.error(problem::PLATFORM, value.span, message, help);
        }
        self.matched.extend(expansion.matched);
        self.platform_text = Some(expansion.text);
    }
}

fn orders(instructions: &[Instruction]) -> Vec<Order<'_>> {
    let order = |instruction| Order {
        instruction: Cow::Borrowed(instruction),
        inherited: false,
        sources: Vec::new(),
    };
    instructions.iter().map(order).collect()
}

/// A trigger as the one instruction that it is; its place is the FROM that inherits it.
fn parse_trigger(
    text: &str,
    span: Span,
    line: u32,
    problems: &mut Problems,
) -> Option<Instruction> {
    let source = Text::new(text.as_bytes());
    let mut lexer = Lexer::new(&source);
    let mut instructions = parser::instructions(&mut lexer);
    let mut found = std::mem::take(&mut lexer.problems);
    let instruction = if instructions.len() == 1 { instructions.pop() } else { None };
    let instruction = instruction.filter(|only| match command::read(only, &mut found) {
        Some(Command::From(_)) | None => false,
        Some(_) => !found.has_errors(),
    });
    let Some(mut instruction) = instruction else {
        let messages = found.into_diagnostics();
        let reason = messages.first().map_or("it is not one instruction", |first| &first.message);
        let message = format!("the base has the trigger `{}`, but {reason}", text.trim());
        problems.error(problem::ONBUILD, span, message, "mend the ONBUILD of the base image");
        return None;
    };
    instruction.place(span, line);
    Some(instruction)
}

impl Instruction {
    /// Moves an instruction, with all its words, to one place.
    fn place(&mut self, span: Span, line: u32) {
        (self.span, self.name.span, self.first_line, self.last_line) = (span, span, line, line);
        let words = match &mut self.arguments {
            Arguments::Line(word) => std::slice::from_mut(word),
            Arguments::Words(words) | Arguments::Json(words) => words,
            Arguments::Pairs(pairs) => {
                for pair in pairs {
                    (pair.name.span, pair.value.span) = (span, span);
                }
                &mut []
            }
            _ => &mut [],
        };
        for word in words.iter_mut().chain(&mut self.flags) {
            word.span = span;
        }
    }
}
