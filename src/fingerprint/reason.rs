//! Why an image is out of date: a closed enum, data not text. `report` makes sentences of them.

use serde::{Deserialize, Serialize};

use crate::digest::OciDigest;
use crate::image::ImageName;

/// One difference between what an image was built from and what it would be built from now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// There is no record of a build.
    NeverBuilt,
    /// A file of the context has other bytes.
    FileChanged {
        /// The path below the context.
        path: String,
    },
    /// A file of the context is new, or is read only now.
    FileAdded {
        /// The path below the context.
        path: String,
    },
    /// A file of the context is gone, or is no longer read.
    FileRemoved {
        /// The path below the context.
        path: String,
    },
    /// The permission bits, the type or the extended attributes of a file are others.
    ModeChanged {
        /// The path below the context.
        path: String,
    },
    /// An instruction of the Dockerfile was changed, added or removed.
    InstructionChanged {
        /// The Dockerfile, relative to the workspace root.
        path: String,
        /// The line, from 1, of the first instruction that differs.
        line: u32,
    },
    /// A build argument has another value, is new or is gone.
    ArgChanged {
        /// Its name.
        name: String,
    },
    /// A label or another option that changes the result was changed.
    OptionChanged {
        /// Its name.
        name: String,
    },
    /// A parent came out with other content.
    ParentChanged {
        /// The parent.
        image: ImageName,
    },
    /// An image is read from another parent than before, or one more, or one less.
    ParentsChanged {
        /// The reference as written.
        reference: String,
    },
    /// An external image has another digest.
    ExternalMoved {
        /// The reference as written.
        reference: String,
        /// What it was.
        old: Option<OciDigest>,
        /// What it is.
        new: Option<OciDigest>,
    },
    /// What ADD fetches has another URL or checksum.
    RemoteChanged {
        /// The URL, without a credential or a query.
        url: String,
    },
    /// Another platform, target, engine flavour, frontend, network or list of hosts, or newer rules
    /// of imgraph.
    SettingChanged {
        /// Which.
        name: String,
    },
    /// The inputs of its `prepare` command changed, or its outputs are missing.
    PrepareNeeded {
        /// What about it.
        cause: PrepareCause,
    },
    /// The recorded output is no longer in the engine's store.
    OutputMissing,
    /// The record was made with another engine.
    OtherEngine {
        /// The engine of the record.
        engine: String,
    },
    /// Its layer does not allow it to be so old; only `rebuild --full` looks at that.
    TooOld {
        /// How long ago its oldest step was run, in milliseconds.
        age: u64,
        /// How old it may be, in milliseconds.
        max_age: u64,
    },
    /// `--force` was given, or `--full` with `--no-cache`.
    Forced,
    /// It is up to date, but was not pushed as it is now.
    NotPushed,
}

/// Why a `prepare` command has to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrepareCause {
    /// It never ran here.
    NeverRan,
    /// Its command or its inputs changed.
    InputsChanged,
    /// A declared output does not exist.
    OutputMissing(String),
    /// `--force` was given.
    Forced,
}
