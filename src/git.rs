//! What git knows of a work tree: the paths that differ from an earlier state of it.
//!
//! Asks the `git` program. What a path means to an image is not known here.
#![expect(clippy::disallowed_methods, reason = "starts git")]

use std::path::Path;
use std::process::Command;

use crate::affected::Changes;
use crate::process::{self, Exit, ProcessError};

/// Why git has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be started.
    #[error("git")]
    Process(#[from] ProcessError),
    /// The directory is in no repository.
    #[error("{0} is not in a git repository")]
    NoRepository(String),
    /// There is no such revision.
    #[error("git knows no revision `{revision}`{}", shallow(*.is_shallow))]
    NoRevision {
        /// What was asked for.
        revision: String,
        /// Whether the clone lacks most of its history.
        is_shallow: bool,
    },
    /// Two revisions have nothing in common.
    #[error("`{revision}` and HEAD have no commit in common{}", shallow(*.is_shallow))]
    NoBase {
        /// What was asked for.
        revision: String,
        /// Whether the clone lacks most of its history.
        is_shallow: bool,
    },
    /// It says something else.
    #[error("git {command}: {said}")]
    Failed {
        /// What was asked.
        command: String,
        /// What it said.
        said: String,
    },
}

fn shallow(is_shallow: bool) -> &'static str {
    if is_shallow { ": this clone is shallow" } else { "" }
}

impl GitError {
    /// What can be done about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoRevision { is_shallow: true, .. } | Self::NoBase { is_shallow: true, .. } => {
                Some(
                    "`git fetch --unshallow`, or a full checkout: `fetch-depth: 0` on GitHub, `GIT_DEPTH: 0` on \
                 GitLab",
                )
            }
            Self::NoRevision { .. } => Some("`git fetch` it, or name a branch, a tag or a commit"),
            Self::Process(_) => Some("`apt-get install git`"),
            _ => None,
        }
    }
}

/// What differs between the work tree of a directory and the commit at which HEAD and a revision
/// parted. Paths elsewhere in the repository are left out.
pub fn changes_since(directory: &Path, revision: &str) -> Result<Changes, GitError> {
    let git = Git { directory };
    let told = git.ask(&["rev-parse", "--is-shallow-repository", "--show-prefix"])?;
    let Some(told) = told else {
        return Err(GitError::NoRepository(directory.display().to_string()));
    };
    let told = String::from_utf8_lossy(&told).into_owned();
    let mut lines = told.lines();
    let is_shallow = lines.next() == Some("true");
    let prefix = lines.next().unwrap_or_default().as_bytes().to_vec();
    let commit = format!("{revision}^{{commit}}");
    if git.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])?.is_none() {
        return Err(GitError::NoRevision { revision: revision.to_owned(), is_shallow });
    }
    let Some(base) = git.ask(&["merge-base", "--end-of-options", revision, "HEAD"])? else {
        return Err(GitError::NoBase { revision: revision.to_owned(), is_shallow });
    };
    let base = String::from_utf8_lossy(&base).trim().to_owned();

    let mut changes = Changes { base, ..Changes::default() };
    let status = ["diff", "--name-status", "-z", "--no-renames", "--no-ext-diff"];
    let differences =
        git.answer(&[&status[..], &["--ignore-submodules=none", &changes.base]].concat())?;
    let mut fields = differences.split(|byte| *byte == 0);
    while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
        match path.strip_prefix(prefix.as_slice()) {
            Some(path) if status == b"D" => changes.deleted.insert(path.to_vec()),
            Some(path) => changes.changed.insert(path.to_vec()),
            None => {
                changes.has_other_rules |= path.ends_with(b".gitignore");
                false
            }
        };
    }
    let listed =
        |options: &[&str]| git.answer(&[&["ls-files", "-z", "--others"], options].concat());
    changes.changed.extend(paths(&listed(&["--exclude-standard"])?));
    changes.ignored.extend(paths(&listed(&["--ignored", "--exclude-standard", "--directory"])?));
    Ok(changes)
}

/// The commit of a work tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name, in full.
    pub commit: String,
    /// When it was made, in seconds since the Unix epoch.
    pub committed: u64,
    /// The branch that is checked out, if one is.
    pub branch: Option<String>,
    /// Where the branch of most people is: what `origin/HEAD` points at, without `origin/`.
    pub default_branch: Option<String>,
    /// The address of `origin`, without user and password.
    pub source: Option<String>,
}

/// The commit of the work tree of a directory; `None` where there is none, or no git.
pub fn head(directory: &Path) -> Option<Head> {
    let git = Git { directory };
    let line = |arguments: &[&str]| {
        let told = String::from_utf8(git.ask(arguments).ok()??).ok()?;
        Some(told.trim().to_owned()).filter(|line| !line.is_empty())
    };
    let told = line(&["log", "-1", "--format=%H %ct"])?;
    let (commit, committed) = told.split_once(' ')?;
    let remote = line(&["symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"]);
    Some(Head {
        commit: commit.to_owned(),
        committed: committed.parse().ok()?,
        branch: line(&["symbolic-ref", "--quiet", "--short", "HEAD"]),
        default_branch: remote.and_then(|it| Some(it.strip_prefix("origin/")?.to_owned())),
        source: line(&["config", "--get", "remote.origin.url"]).map(|it| without_user(&it)),
    })
}

/// Whether the files of a work tree differ from its commit.
pub fn is_dirty(directory: &Path) -> bool {
    let status = ["status", "--porcelain", "--untracked-files=normal", "--", "."];
    let told = Git { directory }.ask(&status);
    told.ok().flatten().is_none_or(|told| !told.is_empty())
}

/// Whether a commit is an ancestor of another one; `None` where git does not know them both.
pub fn is_ancestor(directory: &Path, ancestor: &str, of: &str) -> Option<bool> {
    let git = Git { directory };
    for commit in [ancestor, of] {
        let commit = format!("{commit}^{{commit}}");
        git.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]).ok()??;
    }
    let is_one = ["merge-base", "--is-ancestor", "--end-of-options", ancestor, of];
    git.ask(&is_one).ok().map(|answer| answer.is_some())
}

/// Whether a commit is one of those that another one was made from, which a shallow clone may lack.
pub fn is_parent(directory: &Path, parent: &str, of: &str) -> bool {
    let told = Git { directory }.ask(&["cat-file", "commit", of]).ok().flatten();
    let text = String::from_utf8_lossy(&told.unwrap_or_default()).into_owned();
    let mut head = text.lines().take_while(|line| !line.is_empty());
    head.any(|line| line.strip_prefix("parent ") == Some(parent))
}

/// An address without what may be secret in it: `https://user:password@host/path?token=..`.
fn without_user(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let rest = rest.split_once(['?', '#']).map_or(rest, |(rest, _)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

/// Paths with a zero behind each. A directory has a slash at its end, which is dropped.
fn paths(listed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    paths.map(|path| path.strip_suffix(b"/").unwrap_or(path).to_vec())
}

struct Git<'a> {
    directory: &'a Path,
}

impl Git<'_> {
    /// What git prints; `None` where it says no with nothing more to say.
    fn ask(&self, arguments: &[&str]) -> Result<Option<Vec<u8>>, GitError> {
        let mut command = Command::new("git");
        // Neither a lock nor a refreshed index is left behind: others may be at work.
        command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
        command.arg("-C").arg(self.directory).args(arguments);
        match process::capture(command)? {
            (Exit::Code(0), told, _) => Ok(Some(told)),
            (Exit::Code(1), ..) => Ok(None),
            (_, _, said) if said.contains("not a git repository") => Ok(None),
            (_, _, said) => {
                let command = arguments.first().copied().unwrap_or_default().to_owned();
                Err(GitError::Failed { command, said: said.trim().to_owned() })
            }
        }
    }

    fn answer(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        Ok(self.ask(arguments)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    /// A repository with a commit, in which `work` is the directory that is asked about.
    fn repository() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (path, text) in [("work/a", "a"), ("work/sub/b", "b"), ("c", "c"), ("work/d", "d")] {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(home.path().join("work/.gitignore"), "*.jar\ntarget/\n").unwrap();
        git(home.path(), &["init", "-q", "-b", "main"]);
        commit(home.path());
        home
    }

    fn git(directory: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").current_dir(directory);
        let config = ["-c", "user.name=x", "-c", "user.email=x@x.invalid"];
        let (exit, _, said) = process::capture({
            command.args(config).args(arguments);
            command
        })
        .unwrap();
        assert_eq!(exit, Exit::Code(0), "{arguments:?}: {said}");
    }

    fn commit(directory: &Path) {
        git(directory, &["add", "."]);
        git(directory, &["commit", "-q", "-m", "x"]);
    }

    fn set(paths: &[&str]) -> BTreeSet<Vec<u8>> {
        paths.iter().map(|path| path.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_differs_is_committed_changed_new_or_gone() {
        let home = repository();
        let work = home.path().join("work");
        git(home.path(), &["checkout", "-q", "-b", "other"]);
        fs::write(work.join("sub/b"), "committed").unwrap();
        commit(home.path());
        fs::write(work.join("a"), "changed").unwrap();
        fs::write(work.join("new\n\u{e9}"), "new").unwrap();
        fs::write(home.path().join("c"), "elsewhere").unwrap();
        fs::remove_file(work.join("d")).unwrap();
        fs::create_dir(work.join("target")).unwrap();
        fs::write(work.join("target/x"), "").unwrap();
        fs::write(work.join("sub/app.jar"), "").unwrap();
        let changes = changes_since(&work, "main").unwrap();
        assert_eq!(changes.changed, set(&["a", "new\n\u{e9}", "sub/b"]));
        assert_eq!(changes.deleted, set(&["d"]));
        assert_eq!(changes.ignored, set(&["sub/app.jar", "target"]));
        assert!(!changes.has_other_rules);
        fs::write(home.path().join(".gitignore"), "x\n").unwrap();
        git(home.path(), &["add", "-N", ".gitignore"]);
        assert!(changes_since(&work, "main").unwrap().has_other_rules);
    }

    #[test]
    fn what_the_other_branch_did_since_is_no_difference() {
        let home = repository();
        git(home.path(), &["checkout", "-q", "-b", "other"]);
        git(home.path(), &["checkout", "-q", "main"]);
        fs::write(home.path().join("work/a"), "main went on").unwrap();
        commit(home.path());
        git(home.path(), &["checkout", "-q", "other"]);
        assert_eq!(changes_since(&home.path().join("work"), "main").unwrap().changed, set(&[]));
    }

    #[test]
    fn what_git_cannot_know_is_said_with_a_way_out() {
        let home = repository();
        let error = changes_since(home.path(), "nope").unwrap_err();
        assert_eq!(error.to_string(), "git knows no revision `nope`");
        commit_empty(home.path());
        let clone = tempfile::tempdir().unwrap();
        let url = format!("file://{}", home.path().display());
        git(clone.path(), &["clone", "-q", "--depth=1", &url, "."]);
        let error = changes_since(clone.path(), "HEAD~1").unwrap_err();
        assert_eq!(error.to_string(), "git knows no revision `HEAD~1`: this clone is shallow");
        assert!(error.help().unwrap().contains("--unshallow"));
        let nowhere = tempfile::tempdir().unwrap();
        let error = changes_since(nowhere.path(), "main").unwrap_err();
        assert!(matches!(error, GitError::NoRepository(_)), "{error}");
    }

    #[test]
    fn a_shallow_clone_knows_the_names_of_the_parents() {
        let home = repository();
        let first = head(home.path()).unwrap().commit;
        commit_empty(home.path());
        let clone = tempfile::tempdir().unwrap();
        let url = format!("file://{}", home.path().display());
        git(clone.path(), &["clone", "-q", "--depth=1", &url, "."]);
        let second = head(clone.path()).unwrap().commit;
        assert_eq!(is_ancestor(clone.path(), &first, &second), None);
        assert!(is_parent(clone.path(), &first, &second));
        assert!(!is_parent(clone.path(), &second, &second));
    }

    #[test]
    fn an_address_has_no_secret_in_it() {
        for address in
            ["https://user:pa@ss@host/a/b", "https://host/a/b?token=x", "https://host/a/b"]
        {
            assert_eq!(without_user(address), "https://host/a/b");
        }
        assert_eq!(without_user("git@host:a/b.git"), "git@host:a/b.git");
    }

    fn commit_empty(directory: &Path) {
        git(directory, &["commit", "-q", "--allow-empty", "-m", "y"]);
    }
}
