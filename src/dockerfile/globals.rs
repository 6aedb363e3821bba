//! The arguments before the first FROM, and those that need no declaration.
//!
//! Follows `buildMetaArgs` of BuildKit's `dockerfile2llb/convert.go` and `platform.go`.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::nearest;
use crate::dockerfile::Dockerfile;
use crate::dockerfile::command::{self, Command};
use crate::dockerfile::expand::{Expansion, Shell, Variables, expand};
use crate::dockerfile::instruction::Keyword;
use crate::dockerfile::problem::{self, Problems};
use crate::dockerfile::reads::Request;
use crate::image::Platform;

/// Proxies: handed to RUN, but neither in keys nor in images, unless they are declared.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// The argument that times the files and the image.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The global arguments.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    values: BTreeMap<String, Global>,
    /// Names that are declared, with a value or without.
    declared: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Global {
    value: String,
    /// The variables of its default.
    needs: BTreeSet<String>,
}

impl Globals {
    /// The arguments as a request sets them.
    pub(crate) fn new(
        dockerfile: &Dockerfile,
        request: &Request<'_>,
        problems: &mut Problems,
    ) -> Self {
        let last = dockerfile.stages.last().and_then(|stage| stage.name.as_deref());
        let target = request.target.filter(|target| !target.is_empty()).or(last);
        let target = target.unwrap_or("default");
        let mut globals = Self::default();
        for (prefix, platform) in [("BUILD", request.build_platform), ("TARGET", request.platform)]
        {
            globals.set_platform(prefix, platform);
        }
        globals.set("TARGETSTAGE", target);
        for (name, global) in &mut globals.values {
            if let Some(value) = request.args.get(name) {
                global.value.clone_from(value);
            }
        }
        globals.read(dockerfile, request, problems);
        globals
    }

    fn set(&mut self, name: &str, value: &str) {
        let global = Global { value: value.to_owned(), needs: BTreeSet::new() };
        self.values.insert(name.to_owned(), global);
    }

    fn set_platform(&mut self, prefix: &str, platform: &Platform) {
        let (os, version) = match platform.os.split_once('(') {
            Some((os, version)) => (os, version.trim_end_matches(')')),
            None => (platform.os.as_str(), ""),
        };
        let parts = [
            ("PLATFORM", platform.to_string().as_str()),
            ("OS", os),
            ("OSVERSION", version),
            ("ARCH", &platform.arch),
            ("VARIANT", &platform.variant),
        ]
        .map(|(part, value)| (format!("{prefix}{part}"), value.to_owned()));
        for (name, value) in parts {
            self.set(&name, &value);
        }
    }

    fn read(&mut self, dockerfile: &Dockerfile, request: &Request<'_>, problems: &mut Problems) {
        let shell = Shell::new(dockerfile.directives.escape());
        let end =
            dockerfile.stages.first().map_or(dockerfile.instructions.len(), |stage| stage.from);
        for instruction in &dockerfile.instructions[..end] {
            let Some(Command::Arg(declarations)) = command::again(instruction, &[Keyword::Arg])
            else {
                continue;
            };
            for declaration in declarations {
                self.declared.insert(declaration.name.to_owned());
                if let Some(value) = request.args.get(declaration.name) {
                    self.set(declaration.name, value);
                    continue;
                }
                let Some(default) = declaration.default else { continue };
                match expand(default, shell, self) {
                    Ok(Expansion { text, matched, .. }) => {
                        self.redefine(declaration.name, text, matched);
                    }
                    Err(error) => problems.error(
                        problem::EXPANSION,
                        declaration.span,
                        format!("the default of {} cannot be expanded: {error}", declaration.name),
                        "mend the expression, or quote it",
                    ),
                }
            }
        }
    }

    /// Sets an argument whose default may be made of its own older value.
    fn redefine(&mut self, name: &str, value: String, mut needs: BTreeSet<String>) {
        if needs.contains(name)
            && let Some(old) = self.values.get(name)
        {
            needs.extend(old.needs.iter().cloned());
        }
        self.values.insert(name.to_owned(), Global { value, needs });
    }

    /// Whether a name is declared before the first FROM.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    /// Adds to `used` the arguments named, and those that their defaults are made of.
    pub(crate) fn add_used(&self, names: BTreeSet<String>, used: &mut BTreeMap<String, String>) {
        let mut open: Vec<String> = names.into_iter().collect();
        while let Some(name) = open.pop() {
            let Some(global) = self.values.get(&name) else { continue };
            if used.insert(name, global.value.clone()).is_none() {
                open.extend(global.needs.iter().cloned());
            }
        }
    }

    /// The name of an argument that may have been meant.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.values.keys().map(String::as_str))
    }

    /// Whether an argument has a meaning of its own, so that nobody needs to declare it.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        is_proxy(name)
            || name.starts_with("BUILDKIT_")
            || name == EPOCH
            || (self.values.contains_key(name) && !self.declared.contains(name))
    }
}

impl Variables for Globals {
    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|global| global.value.as_str())
    }
}

/// Whether an argument changes the result though nothing declares it.
pub(crate) fn acts_undeclared(name: &str) -> bool {
    name == EPOCH || name.starts_with("BUILDKIT_")
}

fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}
