//! What the ignore file leaves out of a context, and which line does: for `imgraph inputs --ignored`.

use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::gather::context::problem::Problems;
use crate::gather::context::tree::Tree;
use crate::gather::context::{Context, join, path_of};
use crate::gather::root::{Kind, Root};

/// A path that is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// The path below the context. A directory in which everything is left out stands for all.
    pub path: PathBuf,
    /// The line of the ignore file, from 1.
    pub line: u32,
    /// The pattern.
    pub pattern: String,
}

/// Lists what the ignore file leaves out, sorted by path.
pub fn ignored(context: &Context<'_>) -> Result<Vec<Ignored>, Vec<Diagnostic>> {
    let mut problems = Problems::new(context);
    let root = match Root::open(context.directory) {
        Ok(root) => root,
        Err(error) => {
            problems.unreadable(b"", &error);
            return Err(problems.all);
        }
    };
    let tree = Tree::new(&root, context);
    let patterns = &context.ignore.patterns;
    let mut ignored = Vec::new();
    let mut visits = if patterns.is_empty() { vec![] } else { vec![(Vec::new(), patterns.root())] };
    while let Some((directory, above)) = visits.pop() {
        let Some(folder) = tree.list(&directory, &mut problems) else { continue };
        for (name, status) in &folder.children {
            let path = join(&directory, name);
            let (verdict, trail) = patterns.descend(&path, &above);
            let is_directory = status.kind == Kind::Directory;
            let rule = verdict.rule().filter(|rule| !rule.negated);
            match rule {
                Some(rule) if !(is_directory && patterns.may_reinclude_inside(&path)) => {
                    let (line, pattern) = (rule.line, rule.text.clone());
                    ignored.push(Ignored { path: path_of(&path), line, pattern });
                }
                _ if is_directory => visits.push((path, trail)),
                _ => {}
            }
        }
    }
    if !problems.all.is_empty() {
        return Err(problems.all);
    }
    ignored.sort_unstable();
    Ok(ignored)
}
