//! What an instruction says: flags and arguments checked, each in its place.
//!
//! Follows BuildKit's `instructions/parse.go`: everything that can be known without the value of a
//! variable.

use std::collections::BTreeMap;

use crate::diagnostic::{Span, nearest};
use crate::dockerfile::flags::{self, Flags, Kind, Known, Value};
use crate::dockerfile::instruction::{Arguments, Heredoc, Instruction, Keyword, Pair, Word};
use crate::dockerfile::mount::{self, MountError};
use crate::dockerfile::problem::{self, Problems};
use crate::dockerfile::{heredoc, value};

/// An instruction that is well formed.
#[derive(Debug)]
pub(crate) enum Command<'a> {
    /// FROM
    From(From<'a>),
    /// ARG
    Arg(Vec<Declaration<'a>>),
    /// ENV
    Env(&'a [Pair]),
    /// LABEL
    Label(&'a [Pair]),
    /// COPY and ADD
    Copy(Copy<'a>),
    /// RUN: its mounts, as they are written.
    Run(Vec<Value<'a>>),
    /// WORKDIR
    Workdir(&'a Word),
    /// USER
    User(&'a Word),
    /// STOPSIGNAL
    Stopsignal(&'a Word),
    /// VOLUME
    Volume(&'a [Word]),
    /// EXPOSE
    Expose(&'a [Word]),
    /// ONBUILD: the text of the trigger.
    Onbuild(String),
    /// An instruction that neither reads anything nor holds variables: CMD, ENTRYPOINT,
    /// HEALTHCHECK, MAINTAINER, SHELL.
    Other,
}

/// FROM
#[derive(Clone, Copy, Debug)]
pub(crate) struct From<'a> {
    pub(crate) base: &'a Word,
    /// The name behind AS, as it is written.
    pub(crate) name: Option<&'a Word>,
    pub(crate) platform: Option<Value<'a>>,
}

/// A name of ARG, and its default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declaration<'a> {
    pub(crate) name: &'a str,
    pub(crate) default: Option<&'a str>,
    pub(crate) span: Span,
}

/// COPY or ADD.
#[derive(Debug)]
pub(crate) struct Copy<'a> {
    pub(crate) is_add: bool,
    /// `from`, `chown`, `chmod`, `checksum`, `exclude`, `parents`, `unpack`, `keep-git-dir`, `link`.
    pub(crate) flags: Flags<'a>,
    pub(crate) sources: Vec<&'a Word>,
    /// The heredocs among the sources.
    pub(crate) contents: Vec<&'a Heredoc>,
    pub(crate) destination: &'a Word,
}

const ADD_FLAGS: Known = &[
    ("chown", Kind::Value),
    ("chmod", Kind::Value),
    ("link", Kind::Switch),
    ("keep-git-dir", Kind::Switch),
    ("checksum", Kind::Value),
    ("unpack", Kind::Switch),
    ("exclude", Kind::Values),
];
const COPY_FLAGS: Known = &[
    ("chown", Kind::Value),
    ("from", Kind::Value),
    ("chmod", Kind::Value),
    ("link", Kind::Switch),
    ("exclude", Kind::Values),
    ("parents", Kind::Switch),
];
const RUN_FLAGS: Known = &[
    ("mount", Kind::Values),
    ("network", Kind::Value),
    ("security", Kind::Value),
    ("device", Kind::Values),
];
const HEALTH_FLAGS: Known = &[
    ("interval", Kind::Value),
    ("timeout", Kind::Value),
    ("start-period", Kind::Value),
    ("start-interval", Kind::Value),
    ("retries", Kind::Value),
];
const FROM_FLAGS: Known = &[("platform", Kind::Value)];
const NO_FLAGS: Known = &[];

/// Reads an instruction once more if it is of one of these kinds: what is wrong with it was said when
/// the file was parsed.
pub(crate) fn again<'a>(instruction: &'a Instruction, kinds: &[Keyword]) -> Option<Command<'a>> {
    let is_wanted = kinds.contains(&instruction.keyword);
    if is_wanted { read(instruction, &mut Problems::default()) } else { None }
}

/// Reads an instruction; `None` if something is wrong with it, which is reported.
pub(crate) fn read<'a>(
    instruction: &'a Instruction,
    problems: &mut Problems,
) -> Option<Command<'a>> {
    let mut reader = Reader { instruction, problems };
    if instruction.arguments == Arguments::Unread {
        if instruction.keyword == Keyword::Unknown {
            reader.unknown();
        }
        return None;
    }
    match instruction.keyword {
        Keyword::Add | Keyword::Copy => reader.copy().map(Command::Copy),
        Keyword::Arg => reader.arg().map(Command::Arg),
        Keyword::Env => reader.pairs().map(Command::Env),
        Keyword::Label => reader.pairs().map(Command::Label),
        Keyword::From => reader.from().map(Command::From),
        Keyword::Run => reader.run().map(Command::Run),
        Keyword::Healthcheck => reader.healthcheck().map(|()| Command::Other),
        Keyword::Onbuild => reader.onbuild().map(Command::Onbuild),
        Keyword::Shell => reader.shell().map(|()| Command::Other),
        Keyword::Cmd | Keyword::Entrypoint => reader.flags(NO_FLAGS).map(|_| Command::Other),
        Keyword::Maintainer => reader.only_word().map(|_| Command::Other),
        Keyword::User => reader.only_word().map(Command::User),
        Keyword::Workdir => reader.only_word().map(Command::Workdir),
        Keyword::Stopsignal => reader.word().map(Command::Stopsignal),
        Keyword::Expose => reader.some_words().map(Command::Expose),
        Keyword::Volume => reader.volume().map(Command::Volume),
        Keyword::Unknown => None,
    }
}

struct Reader<'a, 'p> {
    instruction: &'a Instruction,
    problems: &'p mut Problems,
}

impl<'a> Reader<'a, '_> {
    fn flags(&mut self, known: Known) -> Option<Flags<'a>> {
        flags::read(self.instruction, known, self.problems)
    }

    /// The arguments as words, whatever form they have.
    fn words(&self) -> &'a [Word] {
        match &self.instruction.arguments {
            Arguments::Line(word) => std::slice::from_ref(word),
            Arguments::Words(words) | Arguments::Json(words) => words,
            _ => &[],
        }
    }

    fn wrong<T>(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.problems.error(code, span, message, help);
        None
    }

    fn unknown(&mut self) {
        let name = &self.instruction.name;
        let known = Keyword::ALL.map(Keyword::as_str);
        let help = match nearest(&name.text.to_uppercase(), known) {
            Some(near) => format!("write {near}"),
            None => "end the line before it with the escape character if it belongs there, or \
                     remove it"
                .to_owned(),
        };
        let message = format!("`{}` is not an instruction", shortened(&name.text));
        self.wrong::<()>(problem::UNKNOWN_INSTRUCTION, name.span, message, help);
    }

    fn too_few(&mut self, wanted: &str) -> Option<()> {
        let Instruction { keyword, span, .. } = *self.instruction;
        let message = format!("{keyword} wants {wanted}");
        self.wrong(problem::ARGUMENTS, span, message, format!("write {keyword} with {wanted}"))
    }

    fn word(&mut self) -> Option<&'a Word> {
        let [word] = self.words() else {
            self.too_few("exactly one argument")?;
            return None;
        };
        Some(word)
    }

    fn only_word(&mut self) -> Option<&'a Word> {
        let word = self.word();
        self.flags(NO_FLAGS).and(word)
    }

    fn some_words(&mut self) -> Option<&'a [Word]> {
        let flags = self.flags(NO_FLAGS);
        if self.words().is_empty() {
            self.too_few("at least one argument")?;
        }
        flags.map(|_| self.words())
    }

    fn volume(&mut self) -> Option<&'a [Word]> {
        let words = self.some_words()?;
        if let Some(blank) = words.iter().find(|word| word.text.trim().is_empty()) {
            let help = "write the path of a directory";
            return self.wrong(problem::FORM, blank.span, "a volume cannot be empty", help);
        }
        Some(words)
    }

    fn pairs(&mut self) -> Option<&'a [Pair]> {
        let flags = self.flags(NO_FLAGS);
        let Arguments::Pairs(pairs) = &self.instruction.arguments else {
            self.too_few("at least one name=value")?;
            return None;
        };
        if let Some(pair) = pairs.iter().find(|pair| pair.name.text.is_empty()) {
            let span = Span { start: pair.name.span.start, end: pair.value.span.end };
            return self.blank_name(span);
        }
        flags.map(|_| pairs.as_slice())
    }

    fn blank_name<T>(&mut self, span: Span) -> Option<T> {
        let message = format!("a name of {} cannot be blank", self.instruction.keyword);
        self.wrong(problem::PAIR, span, message, "write name=value")
    }

    /// ARG does not look at its flags.
    fn arg(&mut self) -> Option<Vec<Declaration<'a>>> {
        if self.words().is_empty() {
            self.too_few("at least one argument")?;
        }
        let mut declarations = Vec::with_capacity(self.words().len());
        for word in self.words() {
            let (name, default) = match word.text.split_once('=') {
                Some((name, default)) => (name, Some(default)),
                None => (word.text.as_str(), None),
            };
            if name.is_empty() {
                return self.blank_name(word.span);
            }
            declarations.push(Declaration { name, default, span: word.span });
        }
        Some(declarations)
    }

    fn from(&mut self) -> Option<From<'a>> {
        let (base, name) = match self.words() {
            [base] => (base, None),
            [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => (base, Some(name)),
            _ => {
                self.too_few("an image, or an image, AS and a name")?;
                return None;
            }
        };
        if let Some(name) = name.filter(|name| !is_stage_name(&name.text.to_lowercase())) {
            let message = format!("`{}` cannot be the name of a stage", name.text);
            let help = "begin it with a letter, and use only letters, digits, `-`, `_` and `.`";
            return self.wrong(problem::STAGE_NAME, name.span, message, help);
        }
        let flags = self.flags(FROM_FLAGS)?;
        Some(From { base, name, platform: flags.value("platform") })
    }

    fn copy(&mut self) -> Option<Copy<'a>> {
        let is_add = self.instruction.keyword == Keyword::Add;
        let [sources @ .., destination] = self.words() else {
            self.too_few("at least one source, and a destination")?;
            return None;
        };
        if sources.is_empty() {
            self.too_few("at least one source, and a destination")?;
        }
        let flags = self.flags(if is_add { ADD_FLAGS } else { COPY_FLAGS });
        if matches!(heredoc::opening(&destination.text), Ok(Some(_))) {
            let message = "a heredoc cannot be a destination";
            let help = "write the path that it is to have behind it";
            return self.wrong(problem::HEREDOC_PLACE, destination.span, message, help);
        }
        let heredocs = self.instruction.heredocs.iter();
        // Of two heredocs with one name the later counts for both.
        let by_name: BTreeMap<_, _> = heredocs.map(|heredoc| (&heredoc.name, heredoc)).collect();
        let mut copy =
            Copy { is_add, flags: flags?, sources: Vec::new(), contents: Vec::new(), destination };
        for source in sources {
            match heredoc::opening(&source.text) {
                Ok(Some(opening)) => copy.contents.extend(by_name.get(&opening.name).copied()),
                _ => copy.sources.push(source),
            }
        }
        Some(copy)
    }

    fn run(&mut self) -> Option<Vec<Value<'a>>> {
        let flags = self.flags(RUN_FLAGS)?;
        let mut good = true;
        for (flag, known) in
            [("network", &["default", "none", "host"][..]), ("security", &["sandbox", "insecure"])]
        {
            let odd = |value: &Value<'_>| !known.contains(&value.text);
            if let Some(value) = flags.values(flag).find(odd) {
                good = false;
                let message = format!("--{flag} cannot be `{}`", value.text);
                let help = format!("write one of {}", known.join(", "));
                self.wrong::<()>(problem::FLAG, value.span, message, help);
            }
        }
        for device in flags.values("device") {
            good &= self.mount_or_device(device.span, check_device(device.text));
        }
        let mounts: Vec<_> = flags.values("mount").collect();
        for mount in &mounts {
            good &= self.mount_or_device(mount.span, mount::from_as_written(mount.text).map(drop));
        }
        good.then_some(mounts)
    }

    fn mount_or_device(&mut self, span: Span, result: Result<(), MountError>) -> bool {
        let Err(error) = result else { return true };
        let help = mount_help(&error);
        self.wrong::<()>(problem::MOUNT, span, format!("this cannot be mounted: {error}"), help);
        false
    }

    fn onbuild(&mut self) -> Option<String> {
        let flags = self.flags(NO_FLAGS);
        let Arguments::Trigger { text, instruction: trigger } = &self.instruction.arguments else {
            self.too_few("an instruction")?;
            return None;
        };
        let not_allowed = [Keyword::Onbuild, Keyword::From, Keyword::Maintainer];
        if not_allowed.contains(&trigger.keyword) {
            let message = format!("{} cannot be an ONBUILD trigger", trigger.keyword);
            return self.wrong(problem::TRIGGER, trigger.name.span, message, "remove it");
        }
        // What the trigger itself gets wrong matters only to those who build on this image.
        let mut text = text.clone();
        for heredoc in &self.instruction.heredocs {
            text.extend(["\n", &heredoc.content, &heredoc.name]);
        }
        flags.map(|_| text)
    }

    fn shell(&mut self) -> Option<()> {
        let flags = self.flags(NO_FLAGS);
        match &self.instruction.arguments {
            Arguments::Json(words) if !words.is_empty() => flags.map(drop),
            Arguments::Line(word) => {
                let message = "SHELL wants its arguments as a JSON array";
                self.wrong(problem::FORM, word.span, message, r#"write SHELL ["/bin/sh", "-c"]"#)
            }
            _ => self.too_few("at least one argument"),
        }
    }

    fn healthcheck(&mut self) -> Option<()> {
        let Arguments::Health { kind, command } = &self.instruction.arguments else {
            return self.too_few("CMD and a command, or NONE");
        };
        let is_empty = match &**command {
            Arguments::None => true,
            Arguments::Json(words) => words.is_empty(),
            _ => false,
        };
        match kind.text.to_uppercase().as_str() {
            "NONE" if is_empty => return Some(()),
            "NONE" => {
                let message = "HEALTHCHECK NONE has no arguments";
                return self.wrong(problem::ARGUMENTS, kind.span, message, "remove them");
            }
            "CMD" if !is_empty => {}
            "CMD" => return self.too_few("a command behind CMD"),
            _ => {
                let message = format!("`{}` is not a kind of health check", kind.text);
                return self.wrong(problem::FORM, kind.span, message, "write CMD or NONE");
            }
        }
        self.health_flags()
    }

    fn health_flags(&mut self) -> Option<()> {
        let flags = self.flags(HEALTH_FLAGS)?;
        let mut good = true;
        for (flag, kind) in HEALTH_FLAGS {
            let Some(value) = flags.value(flag).filter(|_| *kind == Kind::Value) else { continue };
            let (fits, help) = if *flag == "retries" {
                let number = value::integer(value.text).and_then(|n| i32::try_from(n).ok());
                (number.is_some_and(|number| number >= 0), "write a number")
            } else {
                let fits = |time| time == 0.0 || time >= 1e6;
                (value::duration(value.text).is_some_and(fits), "write a time such as 30s")
            };
            if !fits {
                good = false;
                let message = format!("--{flag} cannot be `{}`", value.text);
                self.wrong::<()>(problem::FLAG, value.span, message, help);
            }
        }
        good.then_some(())
    }
}

/// What to do about a mount that cannot be.
pub(crate) fn mount_help(error: &MountError) -> String {
    match error {
        MountError::UnknownKey(key) => match nearest(key, mount::KEYS) {
            Some(near) => format!("write {near}"),
            None => format!("use one of {}", mount::KEYS.join(", ")),
        },
        MountError::VariableInFrom => {
            "name a stage: `FROM <the image> AS name`, and mount from that".to_owned()
        }
        MountError::Value { key, .. } if key == "type" => {
            "write bind, cache, tmpfs, secret or ssh".to_owned()
        }
        MountError::KeyOfOtherType(_) => "put type= first, or remove the key".to_owned(),
        _ => "write fields such as type=bind,source=..,target=..".to_owned(),
    }
}

/// A text for a message, cut where it gets long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// Whether a name in lower case can be that of a stage: `^[a-z][a-z0-9-_.]*$`.
fn is_stage_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest)
}

/// `RUN --device=vendor.com/class=name,required` (`instructions/commands_rundevice.go`).
fn check_device(text: &str) -> Result<(), MountError> {
    let mut named = false;
    for field in mount::fields(text)? {
        let pair = field.split_once('=').map(|(key, value)| (key.to_lowercase(), value));
        match pair {
            None if field.eq_ignore_ascii_case("required") => {}
            None if !named => named = true,
            None => return Err(MountError::NoValue(field)),
            Some((key, _)) if key == "name" && named => {
                return Err(MountError::Whole("the device is named twice"));
            }
            Some((key, value)) if key == "name" => named = !value.is_empty(),
            Some((key, value)) if key == "required" => {
                if value::truth(value).is_none() {
                    return Err(MountError::Value { key, value: value.to_owned() });
                }
            }
            Some(_) if !named => named = true,
            Some((key, _)) => return Err(MountError::UnknownKey(key)),
        }
    }
    Ok(())
}
