//! The mounts of RUN: `--mount=type=bind,from=..,source=..,target=..`, and the CSV they are written in.
//!
//! Follows BuildKit's `instructions/commands_runmount.go`. A mount is read twice: once as it is written,
//! where only `from` counts, and once when the variables are known.

use crate::dockerfile::expand::ExpandError;
use crate::dockerfile::value;

/// What a mount mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MountType {
    /// Files of the context, of a stage or of an image.
    #[default]
    Bind,
    /// A directory that outlives the build; `from` gives its first content.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret.
    Secret,
    /// A socket to an agent.
    Ssh,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: MountType,
    /// A stage or an image; empty: the context.
    pub(crate) from: String,
    pub(crate) source: String,
    pub(crate) target: String,
    /// The id of a cache, a secret or an agent.
    pub(crate) id: String,
    sharing: Option<String>,
    mode: bool,
    uid: bool,
    gid: bool,
}

/// Why a mount cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("it is not a list of fields between commas: {0}")]
    Csv(&'static str),
    #[error("variables are not expanded in `from`")]
    VariableInFrom,
    #[error("`{0}` is not of the form key=value")]
    NoValue(String),
    #[error("`{0}` is not a key of a mount")]
    UnknownKey(String),
    #[error("`{0}` is not a key of a mount of this type")]
    KeyOfOtherType(String),
    #[error("`{value}` cannot be the value of `{key}`")]
    Value { key: String, value: String },
    #[error("{0}")]
    Whole(&'static str),
    #[error("a value cannot be expanded: {0}")]
    Expand(#[from] ExpandError),
}

/// The keys that are known, for those who misspell one.
pub(crate) const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];

/// The `from` of a mount as it is written; everything else may yet change.
pub(crate) fn from_as_written(text: &str) -> Result<String, MountError> {
    let mut from = String::new();
    for field in fields(text)? {
        let Some((key, value)) = field.split_once('=') else { continue };
        if key.to_lowercase() != "from" {
            continue;
        }
        if value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return Err(MountError::VariableInFrom);
        }
        value.clone_into(&mut from);
    }
    Ok(from)
}

/// A mount, with its values expanded.
pub(crate) fn read(
    text: &str,
    mut expand: impl FnMut(&str) -> Result<String, ExpandError>,
) -> Result<Mount, MountError> {
    let mut mount = Mount::default();
    for field in fields(text)? {
        match field.split_once('=') {
            None => mount.set_switch(&field)?,
            Some((key, value)) => mount.set(&key.to_lowercase(), expand(value)?)?,
        }
    }
    mount.check_whole()?;
    Ok(mount)
}

impl Mount {
    fn set_switch(&self, field: &str) -> Result<(), MountError> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" | "readwrite" | "rw" => Ok(()),
            "required" => self.only_secret_or_ssh("required"),
            _ => Err(MountError::NoValue(field.to_owned())),
        }
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), MountError> {
        let valid = match key {
            "type" => return self.set_type(&value),
            "from" | "source" | "src" | "target" | "dst" | "destination" | "id" => {
                self.set_text(key, value);
                return Ok(());
            }
            "env" => true,
            "readonly" | "ro" | "readwrite" | "rw" => value::truth(&value).is_some(),
            "required" => {
                self.only_secret_or_ssh(key)?;
                value::truth(&value).is_some()
            }
            "size" if self.kind != MountType::Tmpfs => {
                return Err(MountError::KeyOfOtherType(key.to_owned()));
            }
            "size" => value::is_size(&value),
            "sharing" => {
                let known = ["shared", "private", "locked"];
                let sharing = value.to_lowercase();
                let valid = known.contains(&sharing.as_str());
                self.sharing = Some(sharing);
                valid
            }
            "mode" => {
                self.mode = true;
                value::is_unsigned(&value, 8)
            }
            "uid" => {
                self.uid = true;
                value::is_unsigned(&value, 10)
            }
            "gid" => {
                self.gid = true;
                value::is_unsigned(&value, 10)
            }
            _ => return Err(MountError::UnknownKey(key.to_owned())),
        };
        if valid { Ok(()) } else { Err(MountError::Value { key: key.to_owned(), value }) }
    }

    fn set_text(&mut self, key: &str, value: String) {
        let text = match key {
            "from" => &mut self.from,
            "source" | "src" => &mut self.source,
            "id" => &mut self.id,
            _ => &mut self.target,
        };
        *text = value;
    }

    fn set_type(&mut self, value: &str) -> Result<(), MountError> {
        self.kind = match value.to_lowercase().as_str() {
            "bind" => MountType::Bind,
            "cache" => MountType::Cache,
            "tmpfs" => MountType::Tmpfs,
            "secret" => MountType::Secret,
            "ssh" => MountType::Ssh,
            _ => {
                return Err(MountError::Value { key: "type".into(), value: value.to_owned() });
            }
        };
        Ok(())
    }

    /// Keys are judged by the type as far as it is known when they are met, as BuildKit does.
    fn only_secret_or_ssh(&self, key: &str) -> Result<(), MountError> {
        match self.kind {
            MountType::Secret | MountType::Ssh => Ok(()),
            _ => Err(MountError::KeyOfOtherType(key.to_owned())),
        }
    }

    fn check_whole(&self) -> Result<(), MountError> {
        let owned = self.mode || self.uid || self.gid;
        if owned && matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            return Err(MountError::Whole(
                "mode, uid and gid are for cache, secret and ssh mounts",
            ));
        }
        if self.kind == MountType::Secret {
            self.check_secret()?;
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(MountError::Whole("sharing is for cache mounts"));
        }
        if self.kind == MountType::Ssh && !self.source.is_empty() {
            return Err(MountError::Whole("an ssh mount has no source"));
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), MountError> {
        let whole = |message| Err(MountError::Whole(message));
        if !self.from.is_empty() {
            return whole("a secret mount has no from");
        }
        if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            return whole("a secret mount wants an id, a source or a target");
        }
        if !self.source.is_empty() && !self.id.is_empty() {
            return whole("a secret mount has a source or an id, not both");
        }
        Ok(())
    }

    /// `secret npm` or `ssh default`, if it mounts one.
    pub(crate) fn secret(&self) -> Option<String> {
        match self.kind {
            MountType::Secret => {
                let base = self.target.rsplit('/').find(|part| !part.is_empty()).unwrap_or("/");
                let ids = [self.source.as_str(), self.id.as_str(), base];
                let id = ids.into_iter().find(|id| !id.is_empty())?;
                Some(format!("secret {id}"))
            }
            MountType::Ssh if self.id.is_empty() => Some("ssh default".to_owned()),
            MountType::Ssh => Some(format!("ssh {}", self.id)),
            _ => None,
        }
    }
}

/// The fields between commas; a field may be quoted as a whole, with `""` for a quote within.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, MountError> {
    if text.is_empty() {
        return Err(MountError::Csv("it is empty"));
    }
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        if !rest.starts_with('"') {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err(MountError::Csv("a quote stands within a field"));
            }
            found.push(field.to_owned());
            let Some(after) = after else { return Ok(found) };
            rest = after;
            continue;
        }
        let (field, after) = quoted_field(&rest[1..])?;
        found.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(found),
            None => return Err(MountError::Csv("something follows the quote of a field")),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), MountError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or(MountError::Csv("a quote is not closed"))?;
        field.push_str(part);
        let Some(quoted) = after.strip_prefix('"') else { return Ok((field, after)) };
        field.push('"');
        rest = quoted;
    }
}
