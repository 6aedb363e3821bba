//! The difference between two manifests, as reasons.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::fingerprint::leaf::{Leaf, Node};
use crate::fingerprint::reason::Reason;

/// Everything in which `new` differs from `old`, in the order in which people look for a cause:
/// files, instructions, arguments, parents, the rest. Equal lists give no reason.
pub fn difference(old: &[Leaf<'_>], new: &[Leaf<'_>], dockerfile: &str) -> Vec<Reason> {
    let (old, new) = (Sorted::new(old), Sorted::new(new));
    let mut reasons = Vec::new();
    files(&old, &new, &mut reasons);
    instructions(&old, &new, dockerfile, &mut reasons);
    keyed(&old.args, &new.args, &mut reasons, |name| Reason::ArgChanged { name: name.to_owned() });
    parents(&old, &new, &mut reasons);
    externals(&old, &new, &mut reasons);
    keyed(&old.labels, &new.labels, &mut reasons, |name| Reason::OptionChanged {
        name: format!("label {name}"),
    });
    keyed(&old.settings, &new.settings, &mut reasons, |name| Reason::SettingChanged {
        name: name.to_owned(),
    });
    for id in changed_keys(&old.secrets, &new.secrets) {
        reasons.push(Reason::OptionChanged { name: format!("secret {id}") });
    }
    keyed(&old.remotes, &new.remotes, &mut reasons, |url| Reason::RemoteChanged {
        url: url.to_owned(),
    });
    reasons
}

/// The leaves of a manifest by kind.
#[derive(Default)]
struct Sorted<'l> {
    files: BTreeMap<&'l [u8], (&'l Node<'l>, u32, Option<Digest>)>,
    instructions: Vec<(u32, Digest)>,
    args: BTreeMap<&'l str, Digest>,
    parents: BTreeMap<&'l str, Digest>,
    /// The images of the parents: no reason to build, only for people.
    names: BTreeMap<&'l str, &'l str>,
    externals: BTreeMap<(&'l str, &'l str), Option<&'l crate::digest::OciDigest>>,
    labels: BTreeMap<&'l str, Digest>,
    settings: BTreeMap<&'l str, &'l str>,
    secrets: BTreeMap<&'l str, bool>,
    remotes: BTreeMap<&'l str, Vec<(Digest, &'l str)>>,
}

impl<'l> Sorted<'l> {
    fn new(leaves: &'l [Leaf<'l>]) -> Self {
        let mut sorted = Self::default();
        for leaf in leaves {
            match leaf {
                Leaf::Setting { name, value } => {
                    sorted.settings.insert(name, value);
                }
                Leaf::Instruction { line, text } => sorted.instructions.push((*line, *text)),
                Leaf::Arg { name, value } => {
                    sorted.args.insert(name, *value);
                }
                Leaf::Parent { reference, image, identity } => {
                    sorted.parents.insert(reference, *identity);
                    sorted.names.insert(reference, image);
                }
                Leaf::External { reference, platform, digest } => {
                    sorted.externals.insert((reference, platform), digest.as_ref());
                }
                Leaf::Remote { shown, url, checksum } => {
                    sorted.remotes.entry(shown).or_default().push((*url, checksum));
                }
                Leaf::Label { name, value } => {
                    sorted.labels.insert(name, *value);
                }
                Leaf::Secret { id, given } => {
                    sorted.secrets.insert(id, *given);
                }
                Leaf::File { path, node, mode, xattrs } => {
                    sorted.files.insert(path, (node, *mode, *xattrs));
                }
            }
        }
        sorted
    }
}

fn files(old: &Sorted<'_>, new: &Sorted<'_>, reasons: &mut Vec<Reason>) {
    for path in changed_keys(&old.files, &new.files) {
        let text = String::from_utf8_lossy(path).into_owned();
        reasons.push(match (old.files.get(path), new.files.get(path)) {
            (Some((was, ..)), Some((is, ..))) if same_content(was, is) => {
                Reason::ModeChanged { path: text }
            }
            (Some(_), Some(_)) => Reason::FileChanged { path: text },
            (None, _) => Reason::FileAdded { path: text },
            (_, None) => Reason::FileRemoved { path: text },
        });
    }
}

fn same_content(old: &Node<'_>, new: &Node<'_>) -> bool {
    match (old, new) {
        (Node::File { content: old, .. }, Node::File { content: new, .. }) => old == new,
        (Node::Directory, Node::Directory) => true,
        (Node::Symlink { target: old }, Node::Symlink { target: new }) => old == new,
        _ => false,
    }
}

fn instructions(old: &Sorted<'_>, new: &Sorted<'_>, path: &str, reasons: &mut Vec<Reason>) {
    let text = |step: &(u32, Digest)| step.1;
    let same = old.instructions.iter().map(text).zip(new.instructions.iter().map(text));
    let first = same.take_while(|(old, new)| old == new).count();
    if first == old.instructions.len() && first == new.instructions.len() {
        return;
    }
    // Where the new list ended first, its last line is where something is missing.
    let at = new.instructions.get(first).or(new.instructions.last());
    let line = at.map_or(1, |(line, _)| *line);
    reasons.push(Reason::InstructionChanged { path: path.to_owned(), line });
}

fn parents(old: &Sorted<'_>, new: &Sorted<'_>, reasons: &mut Vec<Reason>) {
    for reference in changed_keys(&old.parents, &new.parents) {
        let stayed = old.parents.contains_key(reference);
        let image = new.names.get(reference).filter(|_| stayed).and_then(|name| name.parse().ok());
        reasons.push(match image {
            Some(image) => Reason::ParentChanged { image },
            None => Reason::ParentsChanged { reference: (*reference).to_owned() },
        });
    }
}

fn externals(old: &Sorted<'_>, new: &Sorted<'_>, reasons: &mut Vec<Reason>) {
    for key in changed_keys(&old.externals, &new.externals) {
        let (was, is) = (old.externals.get(key), new.externals.get(key));
        let reference = key.0.to_owned();
        reasons.push(match (was, is) {
            (Some(was), Some(is)) => {
                Reason::ExternalMoved { reference, old: was.cloned(), new: is.cloned() }
            }
            _ => Reason::ParentsChanged { reference },
        });
    }
}

fn keyed<V: PartialEq>(
    old: &BTreeMap<&str, V>,
    new: &BTreeMap<&str, V>,
    reasons: &mut Vec<Reason>,
    reason: impl Fn(&str) -> Reason,
) {
    reasons.extend(changed_keys(old, new).into_iter().map(|key| reason(key)));
}

/// The keys whose values differ, or that only one map has, in order.
fn changed_keys<'m, K: Ord, V: PartialEq>(
    old: &'m BTreeMap<K, V>,
    new: &'m BTreeMap<K, V>,
) -> Vec<&'m K> {
    let gone = old.iter().filter(|(key, value)| new.get(key) != Some(value));
    let added = new.keys().filter(|key| !old.contains_key(key));
    let mut keys: Vec<&K> = gone.map(|(key, _)| key).chain(added).collect();
    keys.sort_unstable();
    keys
}
