use super::*;

fn messages(text: &str) -> Vec<String> {
    let (_, problems) = parse(text);
    let shown = |problem: &Diagnostic| match &problem.help {
        Some(help) => format!("{} ({help})", problem.message),
        None => problem.message.clone(),
    };
    problems.iter().map(shown).collect()
}

#[test]
fn a_whole_file_is_read() {
    let (layers, problems) = parse(
        r#"
        [workspace]
        registry = "registry.example.com/acme/"
        repository = "{path}"
        tags = ["latest", "nightly"]
        [[layer]]
        name = "base"
        externals = ["scratch", "docker.io/library/debian:*"]
        [[layer]]
        name = "apps"
        from = ["base"]
        rules = { user = "non-root", max-size = "250MB", pinned = "error" }
        [image."apps/api"]
        target = "prod"
        args = { PORT = 80, DEBUG = true, NAME = "x" }
        prepare = { run = "make", inputs = ["src/**"], outputs = ["out/*.jar"] }
        "#,
    );
    assert_eq!(problems, []);
    assert_eq!(layers.workspace.registry.as_deref(), Some("registry.example.com/acme"));
    assert_eq!(layers.layers[0].dirs, ["base"]);
    assert_eq!(layers.layers[1].rules.max_size, Some(250_000_000));
    let api = &layers.images[&"apps/api".parse::<ImageName>().unwrap()];
    assert_eq!(api.args["PORT"], "80");
    assert_eq!(api.prepare.as_ref().unwrap().outputs, ["out/*.jar"]);
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    assert_eq!(
        messages(
            "[workspace]\nregistri = 'x'\n[[layer]]\nname = 'a'\nfoo = 1\n[image.a]\ncontxt = '.'"
        ),
        [
            "[workspace] has no key `registri` (did you mean `registry`?)",
            "[[layer]] has no key `foo` (its keys are name, dirs, from, externals, cutoff, rules)",
            "[image.\"a\"] has no key `contxt` (did you mean `context`?)",
        ]
    );
}

#[test]
fn every_mistake_is_reported_not_only_the_first() {
    assert_eq!(
        messages(
            "[workspace]\nimages = 3\ntags = 'x'\nrepository = '{pth}'\n[[layer]]\nname = 'a'\nrules = { max-size = 'big' }\ncutoff = 'contents'"
        ),
        [
            "`images` of [workspace] must be a text in quotes",
            "`{pth}` is not a part of a path (use {path}, {dir}, {parent}, {name}, {file})",
            "`tags` of [workspace] must be a list of texts",
            "`max-size` of `rules` must be a size such as \"250MB\"",
            "`cutoff` of [[layer]] cannot be `contents` (did you mean `content`?)",
        ]
    );
}

#[test]
fn layers_stand_in_order_and_once() {
    assert_eq!(
        messages(
            "[[layer]]\nname='a'\nfrom=['b']\n[[layer]]\nname='b'\nfrom=['c']\n[[layer]]\nname='b'"
        ),
        [
            "there are two layers called `b`",
            "layer `a` builds from `b`, which stands below it (write layers in order: a layer builds only from layers above it)",
            "layer `b` builds from `c`, which is no layer (did you mean `a`?)",
        ]
    );
}

#[test]
fn a_broken_file_is_one_error_with_a_place() {
    let (_, problems) = parse("[workspace\n");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].place.is_some());
}

#[test]
fn the_longest_directory_decides_the_layer() {
    let (layers, _) =
        parse("[[layer]]\nname='a'\ndirs=['java']\n[[layer]]\nname='b'\ndirs=['java/apps']");
    let layer = |name: &str| layers.layer_of(&name.parse().unwrap());
    assert_eq!(layer("java/jre"), Some(0));
    assert_eq!(layer("java/apps/x"), Some(1));
    assert_eq!(layer("javax"), None);
}

#[test]
fn a_dockerfile_may_serve_other_sections_only() {
    let (layers, problems) = parse("[image.api]\nskip = true");
    assert_eq!(problems, []);
    assert!(layers.images[&"api".parse::<ImageName>().unwrap()].skip);
}

#[test]
fn secrets_and_agents_are_written_as_for_docker() {
    assert_eq!(messages("[image.a]\nsecrets = ['id=npm,env=NPM']\nssh = ['default']"), [""; 0]);
    assert_eq!(
        messages("[image.a]\nsecrets = ['NPM', 'env=NPM']\nssh = ['git=a,,b']"),
        [
            "`secrets` of [image.\"a\"] cannot have `NPM`: `NPM` is not `key=value`",
            "`secrets` of [image.\"a\"] cannot have `env=NPM`: it has no `id`",
            "`ssh` of [image.\"a\"] cannot have `git=a,,b`: one of its paths is empty",
        ]
    );
}
