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
            "[[layer]] has no key `foo` (its keys are name, dirs, from, externals, cutoff, max-age, \
             update, rules, network, hosts, cache-from, cache-to, sbom, provenance, allow)",
            "[image.\"a\"] has no key `contxt` (did you mean `context`?)",
        ]
    );
}

#[test]
fn what_the_nightly_does_with_a_layer_is_read() {
    let layer = |text: &str| {
        let (layers, problems) = parse(&format!("[[layer]]\nname = 'a'\n{text}\n"));
        assert_eq!(problems, []);
        (layers.layers[0].max_age, layers.layers[0].update)
    };
    assert_eq!(layer(""), (None, Update::Auto));
    assert_eq!(layer("update = 'manual'\nmax-age = '90s'"), (Some(90_000), Update::Manual));
    for (text, minutes) in [("30m", 30), ("24h", 1_440), ("7d", 10_080), ("2w", 20_160)] {
        assert_eq!(layer(&format!("max-age = '{text}'")).0, Some(minutes * 60_000));
    }
    for wrong in ["", "0s", "1", "1 year", "1.5d", "500ms"] {
        let said = messages(&format!("[[layer]]\nname = 'a'\nmax-age = '{wrong}'"));
        assert_eq!(said, ["`max-age` of [[layer]] must be an age such as \"24h\" or \"7d\""]);
    }
    assert_eq!(
        messages("[[layer]]\nname = 'a'\nupdate = 'never'"),
        ["`update` of [[layer]] cannot be `never` (it is one of auto, manual)"]
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
fn the_nearest_that_says_something_holds_and_hosts_add_up() {
    let (mut layers, problems) = parse(
        r#"
        [workspace]
        network = "none"
        hosts = ["proxy:10.0.0.1"]
        cache-from = ["{repository}:cache"]
        provenance = "max"
        allow = ["network.host"]
        [[layer]]
        name = "apps"
        hosts = ["db=10.0.0.7"]
        cache-to = ["type=registry,ref={repository}:cache,mode=max"]
        [image."apps/api"]
        network = "default"
        hosts = ["v6:[::1]", "proxy:10.0.0.1"]
        cache-from = []
        sbom = true
        "#,
    );
    assert_eq!(problems, []);
    let api = &layers.images[&"apps/api".parse::<ImageName>().unwrap()].options.clone();
    let said = layers.options_of(api, Some(0));
    let expected = Options {
        network: Some("default".into()),
        hosts: vec!["proxy:10.0.0.1".into(), "db:10.0.0.7".into(), "v6:::1".into()],
        cache_from: Some(vec![]),
        cache_to: Some(vec!["type=registry,ref={repository}:cache,mode=max".into()]),
        sbom: Some(true),
        provenance: Some("max".into()),
        allow: Some(vec!["network.host".into()]),
    };
    assert_eq!(said, expected);
    layers.given = Options {
        network: Some("host".into()),
        hosts: vec!["x:1.1.1.1".into()],
        ..Options::default()
    };
    let said = layers.options_of(api, Some(0));
    assert_eq!(said.network.as_deref(), Some("host"), "what was typed holds for all");
    assert_eq!(said.hosts.last().map(String::as_str), Some("x:1.1.1.1"));
}

#[test]
fn options_that_no_engine_knows_are_errors_with_those_that_there_are() {
    assert_eq!(
        messages(
            "[workspace]\nnetwork = 'bridge'\nhosts = ['db']\ncache-to = ['type=disk', '{image}/c']\n\
             sbom = 'yes'\n[image.a]\nprovenance = 'full'\ncache-from = ['type=inline']\nallow = ['all']"
        ),
        [
            "`network` of [workspace] cannot be `bridge` (it is one of default, none, host)",
            "`db` is not a name and its address such as `db:10.0.0.7`",
            "`cache-to`: `disk` is not a type of cache here; it is one of registry, local, inline, \
             gha, s3, azblob",
            "`{image}` is not a part of a path (use {repository}, {path}, {dir}, {parent}, {name}, \
             {file})",
            "`sbom` of [workspace] must be true or false",
            "`cache-from`: `inline` is not a type of cache here; it is one of registry, local, gha, \
             s3, azblob",
            "`provenance` of [image.\"a\"] cannot be `full` (it is one of off, min, max)",
            "`allow` cannot have `all` (it takes network.host, security.insecure)",
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
