//! On which branch a run is, and where its state is kept.

use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::git;
use crate::published::state::tag;
use crate::reference::{Reference, names_a_registry};
use crate::remote::branch::Branch;

/// What the repository of states is called below `[workspace] registry`.
const STATES: &str = "imgraph-state";

/// Where the state of the branch is; `None` where nothing says in which registry.
pub(super) fn find(
    session: &Session,
    settings: &Settings,
    (named, allows_older): (Option<&str>, bool),
) -> Result<Option<Branch>, Failure> {
    let workspace = &session.loaded.workspace.layers.workspace;
    let usual = || workspace.registry.as_ref().map(|registry| format!("{registry}/{STATES}"));
    let Some(repository) = workspace.state.clone().or_else(usual) else { return Ok(None) };
    let reference = repository.parse::<Reference>();
    let reference = reference
        .ok()
        .filter(|it| names_a_registry(&repository) && it.tag.is_none() && it.digest.is_none());
    let Some(repository) = reference else {
        let message = format!("`{repository}` cannot be the repository of states");
        let help = "set [workspace] state in layers.toml, for example \
                    state = \"registry.example.com/acme/imgraph-state\"";
        return Err(Failure::new(Exit::WORKSPACE, message).help(help));
    };
    let head = git::head(&session.root);
    let own = named
        .map(str::to_owned)
        .or_else(|| own(settings))
        .or_else(|| head.as_ref()?.branch.clone());
    let base = base(settings).or_else(|| head.as_ref()?.default_branch.clone());
    let base = base.unwrap_or_else(|| "main".to_owned());
    Ok(Some(Branch {
        repository,
        base: Some(tag(&base)).filter(|_| own.as_ref() != Some(&base)),
        own: own.as_deref().map(tag),
        directory: session.root.clone(),
        head,
        allows_older,
    }))
}

/// The branch that a CI service says that it builds: it checks out a commit, not a branch. What is to
/// be merged has a name of its own, whatever its branch is called in somebody's fork.
fn own(settings: &Settings) -> Option<String> {
    let get = |name: &str| settings.environment.get(name).filter(|it| !it.is_empty()).cloned();
    // https://docs.github.com/actions/reference/workflows-and-actions/variables: `main`, `7/merge`
    let is_branch = get("GITHUB_REF_TYPE").is_none_or(|kind| kind == "branch");
    get("GITHUB_REF_NAME")
        .filter(|_| is_branch)
        // https://docs.gitlab.com/ci/variables/predefined_variables/
        .or_else(|| get("CI_MERGE_REQUEST_REF_PATH"))
        .or_else(|| get("CI_COMMIT_BRANCH"))
}

fn base(settings: &Settings) -> Option<String> {
    let get = |name: &str| settings.environment.get(name).filter(|it| !it.is_empty()).cloned();
    get("GITHUB_BASE_REF")
        .or_else(|| get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"))
        .or_else(|| get("CI_DEFAULT_BRANCH"))
}
