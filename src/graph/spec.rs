//! From the Dockerfiles that were found and `layers.toml` to the images of the workspace: which there
//! are, and what each is called. Reads no Dockerfile and no disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::image::{ImageName, Platform};
use crate::layers::options::Options;
use crate::layers::{ImageSettings, Layers, NameRule, Prepare};

/// A name that stands twice, or that nothing has.
const NAME_TWICE: &str = "IG010";
const NO_DOCKERFILE: &str = "IG011";
const NO_RULE: &str = "IG012";

/// A Dockerfile below the images directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its path below the images directory, with `/`.
    pub path: Arc<str>,
    /// The content of the `VERSION` file beside it, trimmed.
    pub version: Option<String>,
    /// The names of the ignore files in its directory: `.dockerignore`, `Dockerfile.dockerignore` ..
    pub ignore_files: Vec<String>,
    /// More paths that lead to it: symbolic links of directories.
    pub aliases: Vec<String>,
}

/// One image to build, before its Dockerfile is read.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Its name.
    pub name: ImageName,
    /// The place of its Dockerfile in the list of those that were found.
    pub found: usize,
    /// The Dockerfile, relative to the workspace root.
    pub dockerfile: Arc<str>,
    /// The directory of the Dockerfile, relative to the workspace root; empty is the root.
    pub directory: String,
    /// The context directory, relative to the workspace root; empty is the root.
    pub context: String,
    /// The stage to build.
    pub target: Option<String>,
    /// Build arguments: those of the workspace, then its own.
    pub args: BTreeMap<String, String>,
    /// Labels: those of the workspace, then its own.
    pub labels: BTreeMap<String, String>,
    /// The platform; `None`: that of the engine.
    pub platform: Option<Platform>,
    /// Secrets as `--secret` takes them.
    pub secrets: Vec<String>,
    /// SSH agents as `--ssh` takes them.
    pub ssh: Vec<String>,
    /// How it is built: what command line, section, layer and workspace say together. A network of
    /// `default` and a provenance of `off` are `None`.
    pub options: Options,
    /// The command that makes context files.
    pub prepare: Option<Prepare>,
    /// Its row in the table of layers.
    pub layer: Option<usize>,
    /// The repository with the registry in front, as users write it: `acme/java/jre`.
    pub repository: String,
    /// Its tags: the version first.
    pub tags: Vec<String>,
    /// More references under which others know it.
    pub aliases: Vec<String>,
}

impl ImageSpec {
    /// The references that point at the image when it is built: the repository with each tag, then
    /// the aliases.
    pub fn references(&self) -> Vec<String> {
        let tagged = self.tags.iter().map(|tag| format!("{}:{tag}", self.repository));
        tagged.chain(self.aliases.iter().cloned()).collect()
    }
}

/// Names every image, sorted by name.
///
/// Every Dockerfile is an image by itself, unless the section of its name says `skip`; sections with
/// `dockerfile` make more images of the same file.
pub fn specs(layers: &Layers, found: &[Found]) -> (Vec<ImageSpec>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let config: Arc<str> = Arc::from("layers.toml");
    let mut skipped = BTreeSet::new();
    let mut wanted: BTreeMap<ImageName, (usize, Option<&ImageSettings>)> = BTreeMap::new();
    let by_path: BTreeMap<&str, usize> =
        found.iter().enumerate().map(|(index, found)| (&*found.path, index)).collect();
    for (name, settings) in &layers.images {
        let Some(path) = &settings.dockerfile else { continue };
        match by_path.get(path.as_str()) {
            Some(index) => {
                wanted.insert(name.clone(), (*index, Some(settings)));
            }
            None => problems.push(missing_dockerfile(path, settings, &by_path).in_file(&config)),
        }
    }
    for (index, found_here) in found.iter().enumerate() {
        let Ok(name) = default_name(&found_here.path).parse::<ImageName>() else {
            let message = "its path cannot be the name of an image";
            let help = "rename it, or name it by an [image.\"..\"] section with `dockerfile = ..`";
            let place = Place { path: root_path(layers, &found_here.path), span: None };
            problems.push(Diagnostic::error(NAME_TWICE, message).at_place(place).help(help));
            continue;
        };
        let settings = layers.images.get(&name);
        match wanted.get(&name) {
            // A section of this name has its own `dockerfile`: this one.
            Some((other, _)) if *other == index => continue,
            Some((other, _)) => {
                problems.push(same_name(&name, layers, &found[*other].path, &found_here.path));
                continue;
            }
            None if settings.is_some_and(|settings| settings.skip) => {
                skipped.insert(name);
                continue;
            }
            None => (),
        }
        wanted.insert(name, (index, settings));
    }
    for (name, settings) in &layers.images {
        if settings.dockerfile.is_none() && !wanted.contains_key(name) && !skipped.contains(name) {
            problems.push(unknown_section(name, settings, wanted.keys()).in_file(&config));
        }
    }
    let mut specs = Vec::with_capacity(wanted.len());
    for (name, (index, settings)) in wanted {
        let place = Place { path: root_path(layers, &found[index].path), span: None };
        match spec(layers, name, (index, &found[index]), settings) {
            Ok(spec) => specs.push(spec),
            Err(problem) => problems.push(problem.at_place(place)),
        }
    }
    (specs, problems)
}

fn missing_dockerfile(
    path: &str,
    settings: &ImageSettings,
    by_path: &BTreeMap<&str, usize>,
) -> Diagnostic {
    let message = format!("there is no Dockerfile `{path}` below the images directory");
    let problem = Diagnostic::error(NO_DOCKERFILE, message).at(settings.span);
    match nearest(path, by_path.keys().copied()) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => problem.help("`dockerfile` is relative to the images directory"),
    }
}

fn unknown_section<'a>(
    name: &ImageName,
    settings: &ImageSettings,
    names: impl Iterator<Item = &'a ImageName>,
) -> Diagnostic {
    let message = format!("there is no image `{name}`");
    let problem = Diagnostic::error(NO_DOCKERFILE, message).at(settings.span);
    match nearest(name.as_str(), names.map(ImageName::as_str)) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => {
            problem.help("name its file with `dockerfile = ..`, relative to the images directory")
        }
    }
}

fn same_name(name: &ImageName, layers: &Layers, first: &str, second: &str) -> Diagnostic {
    let message = format!("two Dockerfiles make the image `{name}`");
    let place = Place { path: root_path(layers, second), span: None };
    let other = Place { path: root_path(layers, first), span: None };
    Diagnostic::error(NAME_TWICE, message)
        .at_place(place)
        .and(other, "the other one")
        .help("rename one, or name one by an [image.\"..\"] section with `dockerfile = ..`")
}

fn spec(
    layers: &Layers,
    name: ImageName,
    (index, found): (usize, &Found),
    settings: Option<&ImageSettings>,
) -> Result<ImageSpec, Diagnostic> {
    let usual = ImageSettings::default();
    let settings = settings.unwrap_or(&usual);
    let dockerfile = root_path(layers, &found.path);
    let directory = parent_dir(&dockerfile).to_owned();
    let (rule, captures) = matching_rule(layers, &found.path)?;
    let fill = |template: &str| fill(template, &name, &found.path, captures.as_ref());
    let repository = match &settings.repository {
        Some(repository) => repository.clone(),
        None => with_registry(layers, &fill(&rule.repository)),
    };
    let version = settings.version.as_deref().or(found.version.as_deref());
    let tags = match &settings.tags {
        Some(tags) => tags.clone(),
        None if rule.tags.is_empty() => layers.workspace.tags.clone(),
        None => rule.tags.iter().map(|tag| fill(tag)).collect(),
    };
    let linked = found.aliases.iter();
    let linked = linked.map(|path| with_registry(layers, &alias_repository(rule, path)));
    let layer = layers.layer_of(&name);
    let options = layers.options_of(&settings.options, layer);
    let options = options_of_image(options, &repository, &name, &found.path);
    Ok(ImageSpec {
        found: index,
        context: context_dir(&directory, settings.context.as_deref()).map_err(|message| {
            message.at_place(Place { path: Arc::from("layers.toml"), span: Some(settings.span) })
        })?,
        directory,
        dockerfile,
        target: settings.target.clone(),
        args: merged(&layers.workspace.args, &settings.args),
        labels: merged(&layers.workspace.labels, &settings.labels),
        platform: one_platform(layers, settings)?,
        secrets: settings.secrets.clone(),
        ssh: settings.ssh.clone(),
        options,
        prepare: settings.prepare.clone(),
        layer,
        repository,
        tags: versioned(version, &tags),
        aliases: settings.aliases.iter().cloned().chain(linked).collect(),
        name,
    })
}

/// The options of one image, with its name in its caches.
fn options_of_image(all: Options, repository: &str, name: &ImageName, path: &str) -> Options {
    let fill = |caches: Option<Vec<String>>| {
        let caches = caches?.into_iter();
        let filled = caches.map(|cache| fill(&cache, name, path, None));
        Some(filled.map(|cache| cache.replace("{repository}", repository)).collect())
    };
    Options {
        network: all.network.filter(|network| network != "default"),
        cache_from: fill(all.cache_from),
        cache_to: fill(all.cache_to),
        provenance: all.provenance.filter(|provenance| provenance != "off"),
        ..all
    }
}

fn one_platform(layers: &Layers, settings: &ImageSettings) -> Result<Option<Platform>, Diagnostic> {
    match &settings.platforms[..] {
        [] => Ok(layers.workspace.platform.clone()),
        [platform] => Ok(Some(platform.clone())),
        _ => Err(Diagnostic::error("IG013", "an image is built for one platform at a time")
            .help("give each platform its own section with the same `dockerfile`")),
    }
}

fn matching_rule<'a>(
    layers: &'a Layers,
    path: &'a str,
) -> Result<(&'a NameRule, Option<regex::Captures<'a>>), Diagnostic> {
    for rule in &layers.workspace.repository {
        match &rule.pattern {
            None => return Ok((rule, None)),
            Some(pattern) => {
                if let Some(captures) = pattern.captures(path) {
                    return Ok((rule, Some(captures)));
                }
            }
        }
    }
    Err(Diagnostic::error(NO_RULE, "no rule of `repository` gives this image a name")
        .help("add a last rule without `match` to [workspace] repository"))
}

/// The name of the image of a Dockerfile: its directory, and what distinguishes its file.
fn default_name(path: &str) -> String {
    let stem = file_stem(path);
    match (parent_dir(path), stem) {
        ("", None) => "root".to_owned(),
        ("", Some(stem)) => stem.to_owned(),
        (dir, None) => dir.to_owned(),
        (dir, Some(stem)) => format!("{dir}/{stem}"),
    }
}

/// `8.3` of `8.3.Dockerfile` and of `Dockerfile.8.3`; nothing of `Dockerfile`.
fn file_stem(path: &str) -> Option<&str> {
    let file = path.rsplit('/').next().unwrap_or(path);
    for word in ["Dockerfile", "Containerfile"] {
        if let Some(stem) = file.strip_suffix(word).and_then(|stem| stem.strip_suffix('.')) {
            return (!stem.is_empty()).then_some(stem);
        }
        if let Some(stem) = file.strip_prefix(word) {
            return stem.strip_prefix('.').filter(|stem| !stem.is_empty());
        }
    }
    Some(file)
}

/// A template with its places filled in, and between them what the pattern captured: `${name}` is
/// the capture of that name, `{name}` the place.
fn fill(
    template: &str,
    name: &ImageName,
    path: &str,
    captures: Option<&regex::Captures<'_>>,
) -> String {
    let mut filled = String::new();
    let mut start = 0;
    for (open, _) in template.match_indices('{') {
        let Some(length) = template[open..].find('}') else { break };
        let is_capture = template[..open].ends_with('$');
        let value = place(&template[open + 1..open + length], name, path);
        let Some(value) = value.filter(|_| !is_capture) else { continue };
        expand(captures, &template[start..open], &mut filled);
        filled.push_str(value);
        start = open + length + 1;
    }
    expand(captures, &template[start..], &mut filled);
    filled
}

/// What a place of a template stands for.
fn place<'a>(word: &str, name: &'a ImageName, path: &'a str) -> Option<&'a str> {
    let last = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    Some(match word {
        "path" => name.as_str(),
        "dir" => parent_dir(path),
        "parent" => last(parent_dir(path)),
        "name" => last(name.as_str()),
        "file" => file_stem(path).unwrap_or(""),
        _ => return None,
    })
}

fn expand(captures: Option<&regex::Captures<'_>>, text: &str, out: &mut String) {
    match captures {
        Some(captures) => captures.expand(text, out),
        None => out.push_str(text),
    }
}

/// What a rule without captures calls the image behind a linked directory.
fn alias_repository(rule: &NameRule, path: &str) -> String {
    let captures = rule.pattern.as_ref().and_then(|pattern| pattern.captures(path));
    let name = default_name(path);
    let Ok(name) = name.parse::<ImageName>() else { return name };
    let repository = fill(&rule.repository, &name, path, captures.as_ref());
    match rule.tags.first() {
        Some(tag) => format!("{repository}:{}", fill(tag, &name, path, captures.as_ref())),
        None => repository,
    }
}

fn with_registry(layers: &Layers, repository: &str) -> String {
    match &layers.workspace.registry {
        Some(registry) => format!("{registry}/{repository}"),
        None => repository.to_owned(),
    }
}

fn versioned(version: Option<&str>, tags: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::with_capacity(tags.len() + 1);
    let filled = tags.iter().filter_map(|tag| match (version, tag.contains("{version}")) {
        (Some(version), true) => Some(tag.replace("{version}", version)),
        (None, true) => None,
        (_, false) => Some(tag.clone()),
    });
    for tag in version.map(str::to_owned).into_iter().chain(filled) {
        if !all.contains(&tag) {
            all.push(tag);
        }
    }
    all
}

fn merged(
    usual: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut merged = usual.clone();
    merged.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    merged
}

/// A context below the workspace root: relative to the image's directory, or `//` and relative to
/// the root.
fn context_dir(directory: &str, context: Option<&str>) -> Result<String, Diagnostic> {
    let Some(context) = context else { return Ok(directory.to_owned()) };
    let (start, relative) = match context.strip_prefix("//") {
        Some(relative) => ("", relative),
        None => (directory, context),
    };
    let mut parts: Vec<&str> = start.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => (),
            ".." => {
                if parts.pop().is_none() {
                    let message = format!("the context `{context}` lies outside the workspace");
                    return Err(Diagnostic::error("IG014", message)
                        .help("a context is relative to the image's directory; `//` is the root"));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn parent_dir(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn root_path(layers: &Layers, path: &str) -> Arc<str> {
    match layers.workspace.images.as_str() {
        "." => Arc::from(path),
        images => Arc::from(format!("{images}/{path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str]) -> Vec<Found> {
        let found = |path: &&str| Found {
            path: Arc::from(*path),
            version: None,
            ignore_files: vec![],
            aliases: vec![],
        };
        paths.iter().map(found).collect()
    }

    fn references(config: &str, paths: &[&str]) -> Vec<String> {
        let (layers, problems) = crate::layers::parse(config);
        assert_eq!(problems, []);
        let (specs, problems) = specs(&layers, &found(paths));
        assert_eq!(problems, []);
        specs
            .iter()
            .map(|spec| format!("{} = {}", spec.name, spec.references().join(" ")))
            .collect()
    }

    #[test]
    fn without_configuration_the_path_is_the_name() {
        assert_eq!(
            references("", &["java/jre/Dockerfile", "php/8.3.Dockerfile", "php/Dockerfile.alpine"]),
            [
                "java/jre = java/jre:latest",
                "php/8.3 = php/8.3:latest",
                "php/alpine = php/alpine:latest",
            ]
        );
    }

    #[test]
    fn templates_and_captures_name_foreign_layouts() {
        let config = r#"
            [workspace]
            registry = "lagoon"
            repository = [
              { match = '([^/]+)/([^/]+)\.Dockerfile', repository = "$1-$2" },
              { match = 'debian/([^/]+)/([^/]+)/Dockerfile', repository = "deps", tags = ["${1}-$2"] },
              { repository = "{name}" },
            ]"#;
        assert_eq!(
            references(
                config,
                &["php/8.3.Dockerfile", "debian/sid/curl/Dockerfile", "x/y/Dockerfile"]
            ),
            [
                "debian/sid/curl = lagoon/deps:sid-curl",
                "php/8.3 = lagoon/php-8.3:latest",
                "x/y = lagoon/y:latest",
            ]
        );
    }

    #[test]
    fn a_capture_may_be_called_like_a_place() {
        let config = r#"
            [workspace]
            repository = [
              { match = '(?<name>[^/]+)/(?<dir>[^/]+)/.+', repository = "${name}-${dir}{name}/$1{parent}" },
            ]"#;
        assert_eq!(
            references(config, &["one/two/Dockerfile"]),
            ["one/two = one-twotwo/onetwo:latest"]
        );
    }

    #[test]
    fn several_images_come_from_one_dockerfile() {
        let config = r#"
            [image."api"]
            target = "prod"
            version = "1.4.0"
            tags = ["stable", "v{version}"]
            [image."api-debug"]
            dockerfile = "api/Dockerfile"
            target = "debug""#;
        assert_eq!(
            references(config, &["api/Dockerfile"]),
            ["api = api:1.4.0 api:stable api:v1.4.0", "api-debug = api-debug:latest"]
        );
    }

    #[test]
    fn a_dockerfile_that_only_serves_sections_is_skipped() {
        let config = r#"
            [image."api"]
            skip = true
            [image."api-debug"]
            dockerfile = "api/Dockerfile""#;
        assert_eq!(references(config, &["api/Dockerfile"]), ["api-debug = api-debug:latest"]);
    }

    #[test]
    fn a_context_may_lie_anywhere_in_the_workspace_but_not_outside() {
        let dir = |context| context_dir("images/apps/api", Some(context)).ok();
        assert_eq!(dir(".").as_deref(), Some("images/apps/api"));
        assert_eq!(dir("..").as_deref(), Some("images/apps"));
        assert_eq!(dir("//").as_deref(), Some(""));
        assert_eq!(dir("//src/api").as_deref(), Some("src/api"));
        assert_eq!(dir("../../../.."), None);
    }

    #[test]
    fn what_does_not_exist_is_named_with_what_was_meant() {
        let (layers, _) = crate::layers::parse(
            "[image.\"apps/ap1\"]\ntarget='x'\n[image.y]\ndockerfile='apps/api/Dockerfil'",
        );
        let (_, problems) = specs(&layers, &found(&["apps/api/Dockerfile"]));
        let help: Vec<_> = problems.iter().map(|p| p.help.clone().unwrap()).collect();
        assert_eq!(help, ["did you mean `apps/api/Dockerfile`?", "did you mean `apps/api`?"]);
    }

    #[test]
    fn a_cache_is_called_after_the_image() {
        let (layers, problems) = crate::layers::parse(
            r#"
            [workspace]
            registry = "r.example"
            network = "default"
            provenance = "off"
            cache-from = ["{repository}:cache", "type=local,src=cache/{dir}/$1"]
            cache-to = ["type=gha,scope={path}"]"#,
        );
        assert_eq!(problems, []);
        let (specs, _) = specs(&layers, &found(&["java/jre/Dockerfile"]));
        let expected = Options {
            cache_from: Some(vec![
                "type=registry,ref=r.example/java/jre:cache".into(),
                "type=local,src=cache/java/jre/$1".into(),
            ]),
            cache_to: Some(vec!["type=gha,scope=java/jre".into()]),
            ..Options::default()
        };
        assert_eq!(specs[0].options, expected, "`default` and `off` are what holds anyway");
    }

    #[test]
    fn two_dockerfiles_with_one_name_are_an_error() {
        let (layers, _) = crate::layers::parse("");
        let (_, problems) = specs(&layers, &found(&["a/Dockerfile.x", "a/x/Dockerfile"]));
        assert_eq!(problems[0].message, "two Dockerfiles make the image `a/x`");
    }
}
