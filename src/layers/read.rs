//! From TOML to [`Layers`], with every mistake reported.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Span, nearest};
use crate::image::{ImageName, Platform};
use crate::layers::toml_reader::{TableReader, UNKNOWN_KEY, WRONG_VALUE};
use crate::layers::{
    Cutoff, Externals, ImageSettings, Layer, Layers, NameRule, Prepare, RuleLevel, Rules, Update,
    WorkspaceSettings, builder, options, quantity, registry,
};
use crate::secret::{Secret, SecretError, Ssh};

/// The text is not TOML.
const NOT_TOML: &str = "IG001";
/// The same name twice, or a name that nothing has.
pub(crate) const BAD_NAME: &str = "IG004";

const WORKSPACE_KEYS: &[&str] = &[
    "images",
    "registry",
    "state",
    "repository",
    "tags",
    "ignore",
    "dockerfiles",
    "args",
    "labels",
    "platform",
    "engine",
    "epoch",
];
/// Beside [`options::OPTION_KEYS`], as in `[workspace]` and `[image.".."]`.
const LAYER_KEYS: &[&str] =
    &["name", "dirs", "from", "externals", "cutoff", "max-age", "update", "rules"];
const RULE_KEYS: &[&str] = &["user", "max-size", "pinned"];
const IMAGE_KEYS: &[&str] = &[
    "skip",
    "dockerfile",
    "context",
    "target",
    "repository",
    "version",
    "tags",
    "aliases",
    "args",
    "labels",
    "platforms",
    "secrets",
    "ssh",
    "prepare",
];
const PREPARE_KEYS: &[&str] = &["run", "inputs", "outputs"];
const NAME_RULE_KEYS: &[&str] = &["match", "repository", "tags"];

/// What a template of a repository can name of the path.
const PLACES: [&str; 5] = ["path", "dir", "parent", "name", "file"];

type Problems = Vec<Diagnostic>;

/// Reads a whole file.
pub(crate) fn layers(text: &str) -> (Layers, Vec<Diagnostic>) {
    let mut problems = Problems::new();
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            problems.push(Diagnostic::error(NOT_TOML, error.message().to_owned()).at(span));
            return (Layers::default(), problems);
        }
    };
    let known = ["workspace", "layer", "image", "builder", "registry"];
    let top =
        TableReader::new("layers.toml", (root.get_ref(), Span::default()), &known, &mut problems);
    let workspace = top.table("workspace", &mut problems);
    let workspace = workspace.map(|table| workspace_settings(table, &mut problems));
    let rows = top.tables("layer", &mut problems);
    let layers: Vec<Layer> = rows.into_iter().map(|row| layer(row, &mut problems)).collect();
    check_layer_names(&layers, &mut problems);
    let images = images(&top, &mut problems);
    let builders = builder::builders(&top, &mut problems);
    let registries = registry::registries(&top, &mut problems);
    let workspace = workspace.unwrap_or_default();
    (Layers { workspace, layers, images, builders, registries, ..Layers::default() }, problems)
}

fn workspace_settings(table: (&DeTable<'_>, Span), problems: &mut Problems) -> WorkspaceSettings {
    let known = [WORKSPACE_KEYS, options::OPTION_KEYS].concat();
    let reader = TableReader::new("[workspace]", table, &known, problems);
    let usual = WorkspaceSettings::default();
    let text =
        |key: &str, problems: &mut Problems| reader.text(key, problems).map(|(text, _)| text);
    WorkspaceSettings {
        images: reader.text("images", problems).map_or(usual.images, |images| {
            let (images, span) = images;
            relative_dir(&images, span, problems)
        }),
        registry: text("registry", problems).map(|text| text.trim_end_matches('/').to_owned()),
        state: text("state", problems),
        repository: name_rules(&reader, problems).unwrap_or(usual.repository),
        tags: plain_texts(&reader, "tags", problems).unwrap_or(usual.tags),
        ignore: globs(&reader, "ignore", problems).map_or(usual.ignore, |(globs, _)| globs),
        dockerfiles: globs(&reader, "dockerfiles", problems).map(|(globs, _)| globs),
        args: reader.text_map("args", problems).into_iter().collect(),
        labels: reader.text_map("labels", problems).into_iter().collect(),
        platform: reader.text("platform", problems).and_then(|text| platform(text, problems)),
        options: options::read(&reader, problems),
        engine: text("engine", problems),
        epoch: reader.number("epoch", problems).unwrap_or(usual.epoch),
    }
}

fn name_rules(reader: &TableReader<'_>, problems: &mut Problems) -> Option<Vec<NameRule>> {
    let value = reader.value("repository")?;
    if let DeValue::String(template) = value.get_ref() {
        let template = checked_template(template.to_string(), value.span().into(), problems);
        return Some(vec![NameRule { pattern: None, repository: template, tags: Vec::new() }]);
    }
    let rows = reader.tables("repository", problems);
    Some(rows.into_iter().filter_map(|row| name_rule(row, problems)).collect())
}

fn name_rule(row: (&DeTable<'_>, Span), problems: &mut Problems) -> Option<NameRule> {
    let reader = TableReader::new("a rule of `repository`", row, NAME_RULE_KEYS, problems);
    let pattern = match reader.text("match", problems) {
        None => None,
        Some((text, span)) => match regex::Regex::new(&format!("^(?:{text})$")) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let message = format!("`match` is not a regular expression: {}", last_line(&error));
                problems.push(Diagnostic::error(WRONG_VALUE, message).at(span));
                return None;
            }
        },
    };
    let Some((repository, span)) = reader.text("repository", problems) else {
        let message = "a rule of `repository` needs a `repository`";
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(reader.span));
        return None;
    };
    let repository = checked_template(repository, span, problems);
    let tags = plain_texts(&reader, "tags", problems).unwrap_or_default();
    Some(NameRule { pattern, repository, tags })
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn checked_template(template: String, span: Span, problems: &mut Problems) -> String {
    check_places(&template, &PLACES, span, problems);
    template
}

/// Reports what stands in braces and is not one of the places.
pub(crate) fn check_places(template: &str, places: &[&str], span: Span, problems: &mut Problems) {
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let is_capture = rest[..open].ends_with('$');
        let Some(length) = rest[open..].find('}') else { break };
        let word = &rest[open + 1..open + length];
        if !is_capture && !places.contains(&word) {
            let message = format!("`{{{word}}}` is not a part of a path");
            let help = format!("use {{{}}}", places.join("}, {"));
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(span).help(help));
        }
        rest = &rest[open + length + 1..];
    }
}

fn layer(row: (&DeTable<'_>, Span), problems: &mut Problems) -> Layer {
    let known = [LAYER_KEYS, options::OPTION_KEYS].concat();
    let reader = TableReader::new("[[layer]]", row, &known, problems);
    let name = reader.text("name", problems).map(|(name, _)| name).unwrap_or_else(|| {
        let problem = Diagnostic::error(WRONG_VALUE, "a [[layer]] needs a `name`").at(reader.span);
        problems.push(problem);
        String::new()
    });
    let dirs = reader.texts("dirs", problems).map(|dirs| {
        let dirs = dirs.into_iter();
        dirs.map(|(dir, span)| relative_dir(&dir, span, problems)).collect()
    });
    let rules = reader.table("rules", problems).map(|table| rules(table, problems));
    Layer {
        dirs: dirs.unwrap_or_else(|| vec![name.clone()]),
        from: plain_texts(&reader, "from", problems),
        externals: globs(&reader, "externals", problems)
            .map(|(globs, patterns)| Externals { patterns, globs }),
        cutoff: cutoff(&reader, problems),
        max_age: max_age(&reader, problems),
        update: update(&reader, problems),
        options: options::read(&reader, problems),
        rules: rules.unwrap_or_default(),
        span: reader.span,
        name,
    }
}

fn cutoff(reader: &TableReader<'_>, problems: &mut Problems) -> Cutoff {
    let words =
        [("content", Cutoff::Content), ("digest", Cutoff::Digest), ("inputs", Cutoff::Inputs)];
    word(reader, "cutoff", &words, problems).unwrap_or_default()
}

fn max_age(reader: &TableReader<'_>, problems: &mut Problems) -> Option<u64> {
    let age = |text: &str| quantity::age(text).filter(|age| *age > 0);
    amount(reader, "max-age", age, "an age such as \"24h\" or \"7d\"", problems)
}

fn update(reader: &TableReader<'_>, problems: &mut Problems) -> Update {
    let words = [("auto", Update::Auto), ("manual", Update::Manual)];
    word(reader, "update", &words, problems).unwrap_or_default()
}

fn rules(table: (&DeTable<'_>, Span), problems: &mut Problems) -> Rules {
    let reader = TableReader::new("`rules`", table, RULE_KEYS, problems);
    let levels =
        [("error", Some(RuleLevel::Error)), ("warn", Some(RuleLevel::Warning)), ("off", None)];
    let size = |text: &str| quantity::bytes(text);
    Rules {
        non_root: word(&reader, "user", &[("non-root", true), ("any", false)], problems)
            .unwrap_or(false),
        max_size: amount(&reader, "max-size", size, "a size such as \"250MB\"", problems),
        pinned: word(&reader, "pinned", &levels, problems).flatten(),
    }
}

fn check_layer_names(layers: &[Layer], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for layer in layers {
        if !layer.name.is_empty() && !seen.insert(layer.name.as_str()) {
            let message = format!("there are two layers called `{}`", layer.name);
            problems.push(Diagnostic::error(BAD_NAME, message).at(layer.span));
        }
    }
    for (row, layer) in layers.iter().enumerate() {
        for from in layer.from.iter().flatten() {
            let Some(target) = layers.iter().position(|other| other.name == *from) else {
                let message =
                    format!("layer `{}` builds from `{from}`, which is no layer", layer.name);
                let problem = Diagnostic::error(BAD_NAME, message).at(layer.span);
                let near = nearest(from, layers.iter().map(|other| other.name.as_str()));
                problems.push(match near {
                    Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                    None => problem,
                });
                continue;
            };
            if target > row {
                let message =
                    format!("layer `{}` builds from `{from}`, which stands below it", layer.name);
                let help = "write layers in order: a layer builds only from layers above it";
                problems.push(Diagnostic::error(BAD_NAME, message).at(layer.span).help(help));
            }
        }
    }
}

fn images(top: &TableReader<'_>, problems: &mut Problems) -> BTreeMap<ImageName, ImageSettings> {
    let mut images = BTreeMap::new();
    let Some((table, _)) = top.table("image", problems) else { return images };
    for (key, value) in table {
        let name = match key.get_ref().parse::<ImageName>() {
            Ok(name) => name,
            Err(error) => {
                problems.push(Diagnostic::error(BAD_NAME, error.to_string()).at(key.span()));
                continue;
            }
        };
        let DeValue::Table(settings) = value.get_ref() else {
            let message = format!("`image.{}` must be a table", key.get_ref());
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(value.span()));
            continue;
        };
        // The span of a table header may cover the whole section; the key is what a reader looks for.
        let settings = image(&name, (settings, key.span().into()), problems);
        images.insert(name, settings);
    }
    images
}

fn image(name: &ImageName, table: (&DeTable<'_>, Span), problems: &mut Problems) -> ImageSettings {
    let known = [IMAGE_KEYS, options::OPTION_KEYS].concat();
    let reader = TableReader::new(format!("[image.\"{name}\"]"), table, &known, problems);
    let text =
        |key: &str, problems: &mut Problems| reader.text(key, problems).map(|(text, _)| text);
    let list = |key: &str, problems: &mut Problems| {
        plain_texts(&reader, key, problems).unwrap_or_default()
    };
    let platforms = reader.texts("platforms", problems).unwrap_or_default();
    let prepare = reader.table("prepare", problems);
    ImageSettings {
        skip: reader.boolean("skip", problems).unwrap_or(false),
        dockerfile: text("dockerfile", problems),
        context: text("context", problems),
        target: text("target", problems),
        repository: text("repository", problems),
        version: text("version", problems),
        tags: plain_texts(&reader, "tags", problems),
        aliases: list("aliases", problems),
        args: reader.text_map("args", problems).into_iter().collect(),
        labels: reader.text_map("labels", problems).into_iter().collect(),
        platforms: platforms.into_iter().filter_map(|text| platform(text, problems)).collect(),
        secrets: mounted::<Secret>(&reader, "secrets", problems),
        ssh: mounted::<Ssh>(&reader, "ssh", problems),
        options: options::read(&reader, problems),
        prepare: prepare.and_then(|table| prepare_command(name, table, problems)),
        span: reader.span,
    }
}

/// Texts as `--secret` or `--ssh` takes them.
fn mounted<T: FromStr<Err = SecretError>>(
    reader: &TableReader<'_>,
    key: &str,
    problems: &mut Problems,
) -> Vec<String> {
    let texts = reader.texts(key, problems).unwrap_or_default();
    for (text, span) in &texts {
        if let Err(error) = text.parse::<T>() {
            let message = format!("`{key}` of {} cannot have `{text}`: {error}", reader.name);
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(*span));
        }
    }
    texts.into_iter().map(|(text, _)| text).collect()
}

fn prepare_command(
    image: &ImageName,
    table: (&DeTable<'_>, Span),
    problems: &mut Problems,
) -> Option<Prepare> {
    let reader = TableReader::new(format!("`prepare` of `{image}`"), table, PREPARE_KEYS, problems);
    let run = reader.text("run", problems).map(|(run, _)| run);
    let inputs = plain_texts(&reader, "inputs", problems);
    let outputs = plain_texts(&reader, "outputs", problems);
    let (Some(run), Some(inputs), Some(outputs)) = (run, inputs, outputs) else {
        if PREPARE_KEYS.iter().any(|key| reader.value(key).is_none()) {
            let message = format!("{} needs `run`, `inputs` and `outputs`", reader.name);
            let help =
                "name what the command reads and what it makes, so that it runs only when needed";
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(reader.span).help(help));
        }
        return None;
    };
    for pattern in inputs.iter().chain(&outputs) {
        if let Err(error) = glob(pattern) {
            problems.push(Diagnostic::error(WRONG_VALUE, error.to_string()).at(reader.span));
        }
    }
    Some(Prepare { run, inputs, outputs, span: reader.span })
}

fn relative_dir(text: &str, span: Span, problems: &mut Problems) -> String {
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if text.starts_with('/') || parts.contains(&"..") {
        let message = format!("`{text}` must be a directory inside the workspace");
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(span));
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

fn plain_texts(
    reader: &TableReader<'_>,
    key: &str,
    problems: &mut Problems,
) -> Option<Vec<String>> {
    let texts = reader.texts(key, problems)?;
    Some(texts.into_iter().map(|(text, _)| text).collect())
}

/// Compiles one glob of `layers.toml`: `*` stays inside a directory, `**` does not.
pub(crate) fn glob(pattern: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(pattern.trim_start_matches("./")).literal_separator(true).build()
}

fn globs(
    reader: &TableReader<'_>,
    key: &str,
    problems: &mut Problems,
) -> Option<(GlobSet, Vec<String>)> {
    let patterns = reader.texts(key, problems)?;
    let mut builder = GlobSetBuilder::new();
    for (pattern, span) in &patterns {
        match glob(pattern) {
            Ok(glob) => {
                builder.add(glob);
            }
            Err(error) => {
                problems.push(Diagnostic::error(WRONG_VALUE, error.to_string()).at(*span));
            }
        }
    }
    let set = builder.build().unwrap_or_else(|error| {
        problems.push(Diagnostic::error(WRONG_VALUE, error.to_string()).at(reader.span));
        GlobSet::empty()
    });
    Some((set, patterns.into_iter().map(|(pattern, _)| pattern).collect()))
}

fn platform((text, span): (String, Span), problems: &mut Problems) -> Option<Platform> {
    match text.parse() {
        Ok(platform) => Some(platform),
        Err(error) => {
            let message = crate::image::PlatformError::to_string(&error);
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(span));
            None
        }
    }
}

fn amount(
    reader: &TableReader<'_>,
    key: &str,
    parse: impl Fn(&str) -> Option<u64>,
    wanted: &str,
    problems: &mut Problems,
) -> Option<u64> {
    let (text, span) = reader.text(key, problems)?;
    let amount = parse(&text);
    if amount.is_none() {
        let message = format!("`{key}` of {} must be {wanted}", reader.name);
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(span));
    }
    amount
}

/// One of a few words, and what it stands for.
pub(crate) fn word<T: Clone>(
    reader: &TableReader<'_>,
    key: &str,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let (text, span) = reader.text(key, problems)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(value.clone());
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("`{key}` of {} cannot be `{text}`", reader.name);
    let help = match nearest(&text, all.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("it is one of {}", all.join(", ")),
    };
    problems.push(Diagnostic::error(UNKNOWN_KEY, message).at(span).help(help));
    None
}
