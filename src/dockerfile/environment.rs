//! The variables of a stage: what ENV and ARG have set so far.
//!
//! Follows `dispatchArg`, `dispatchEnv` and `init` of BuildKit's `dockerfile2llb/convert.go`. There ENV
//! and ARG write to one environment, the later wins; but a stage that is FROM another begins with the
//! *configuration* of that one written over its environment, so there ENV wins after all.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::dockerfile::Flavour;
use crate::dockerfile::expand::Variables;

/// The search path where the base image has none (`util/system/path.go`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// About how many bytes a variable takes besides its name and its value.
const ENTRY: usize = 64;

/// The variables at a place of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    values: BTreeMap<Rc<str>, Rc<str>>,
    /// What the configuration of the image has: ENV only.
    config: BTreeMap<Rc<str>, Rc<str>>,
    /// About how many bytes it takes.
    size: usize,
}

impl Environment {
    /// As the configuration of a base image has it.
    pub(crate) fn of_base(env: &[(String, String)], os: &str) -> Self {
        let mut environment = Self::default();
        for (name, value) in env {
            environment.set(name, value);
        }
        if os != "windows" && !environment.config.contains_key("PATH") {
            environment.set("PATH", DEFAULT_PATH);
        }
        environment
    }

    /// As a stage begins that is FROM one which ends so.
    pub(crate) fn inherited(&self) -> Self {
        let mut child = self.clone();
        for (name, value) in &self.config {
            child.values.insert(Rc::clone(name), Rc::clone(value));
        }
        child
    }

    /// About how many bytes it takes, and a child takes again.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// ENV
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.size += ENTRY + name.len() + value.len();
        let (name, value): (Rc<str>, Rc<str>) = (name.into(), value.into());
        self.values.insert(Rc::clone(&name), Rc::clone(&value));
        self.config.insert(name, value);
    }

    /// ARG
    pub(crate) fn declare(&mut self, name: &str, value: &str, flavour: Flavour) {
        if flavour == Flavour::Buildah && self.config.contains_key(name) {
            return;
        }
        self.size += ENTRY + name.len() + value.len();
        self.values.insert(name.into(), value.into());
    }

    /// What the configuration of the image will have.
    pub(crate) fn into_config(self) -> Vec<(String, String)> {
        let pair = |(name, value): (Rc<str>, Rc<str>)| (name.to_string(), value.to_string());
        self.config.into_iter().map(pair).collect()
    }
}

impl Variables for Environment {
    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| &**value)
    }
}
