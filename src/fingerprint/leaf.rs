//! One input of an image: a leaf of its manifest.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher, OciDigest};

/// One input. Values of arguments and labels are digests: they may be secret, and leaves are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Leaf<'a> {
    /// Platform, target, flavour and the like.
    Setting {
        /// Which.
        name: Cow<'a, str>,
        /// Its value.
        value: Cow<'a, str>,
    },
    /// An instruction.
    Instruction {
        /// Its line, from 1; not part of the key.
        line: u32,
        /// The digest of its canonical text.
        text: Digest,
    },
    /// A build argument.
    Arg {
        /// Its name.
        name: Cow<'a, str>,
        /// The digest of its value.
        value: Digest,
    },
    /// Another image of the workspace.
    Parent {
        /// The reference, expanded.
        reference: Cow<'a, str>,
        /// The image's name; not part of the key: the reference and the identity say all.
        image: Cow<'a, str>,
        /// Its identity.
        identity: Digest,
    },
    /// An image from outside.
    External {
        /// The reference, expanded.
        reference: Cow<'a, str>,
        /// The platform that it is wanted for.
        platform: Cow<'a, str>,
        /// The digest that it is pinned to.
        digest: Option<OciDigest>,
    },
    /// What ADD fetches.
    Remote {
        /// The URL without credential and query, for people; not part of the key.
        shown: Cow<'a, str>,
        /// The digest of the whole URL, which may hold a credential.
        url: Digest,
        /// `--checksum`.
        checksum: Cow<'a, str>,
    },
    /// A label.
    Label {
        /// Its name.
        name: Cow<'a, str>,
        /// The digest of its value.
        value: Digest,
    },
    /// A secret or an ssh agent.
    Secret {
        /// Its id.
        id: Cow<'a, str>,
        /// Whether the build is given it: a mount that is not required is empty without.
        given: bool,
    },
    /// An entry of the context.
    File {
        /// The path below the context.
        path: Cow<'a, [u8]>,
        /// What it is.
        node: Node<'a>,
        /// Permission bits.
        mode: u32,
        /// The digest of its extended attributes.
        xattrs: Option<Digest>,
    },
}

/// What an entry of a context is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Node<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// The digest of its content.
        content: Digest,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Cow<'a, [u8]>,
    },
}

impl Leaf<'_> {
    /// Adds the leaf to a key: a number for its kind, then its fields.
    pub fn add_to(&self, hasher: &mut Hasher) {
        match self {
            Leaf::Setting { name, value } => hasher.number(1).text(name).text(value),
            Leaf::Instruction { line: _, text } => hasher.number(2).digest(text),
            Leaf::Arg { name, value } => hasher.number(3).text(name).digest(value),
            Leaf::Parent { reference, image: _, identity } => {
                hasher.number(4).text(reference).digest(identity)
            }
            Leaf::External { reference, platform, digest } => {
                let digest = digest.as_ref().map_or("", OciDigest::as_str);
                hasher.number(5).text(reference).text(platform).text(digest)
            }
            Leaf::Remote { shown: _, url, checksum } => hasher.number(6).digest(url).text(checksum),
            Leaf::Label { name, value } => hasher.number(7).text(name).digest(value),
            Leaf::Secret { id, given } => hasher.number(8).text(id).number(u64::from(*given)),
            Leaf::File { path, node, mode, xattrs } => {
                hasher.number(9).bytes(path).number(u64::from(*mode));
                match xattrs {
                    None => hasher.number(0),
                    Some(digest) => hasher.number(1).digest(digest),
                };
                match node {
                    Node::Directory => hasher.number(0),
                    Node::File { size, content } => hasher.number(1).number(*size).digest(content),
                    Node::Symlink { target } => hasher.number(2).bytes(target),
                }
            }
        };
    }
}

/// Writes leaves for the ledger.
pub fn encode(leaves: &[Leaf<'_>]) -> Vec<u8> {
    postcard::to_stdvec(leaves).expect("leaves are plain data")
}

/// Reads leaves of the ledger; `None` if they were written by rules that are not known here.
pub fn decode(bytes: &[u8]) -> Option<Vec<Leaf<'_>>> {
    postcard::from_bytes(bytes).ok()
}
