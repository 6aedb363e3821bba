//! What `layers.toml` and the layout of a tree make of its Dockerfiles: images, names, contexts; and
//! what a change there rebuilds.

use crate::support::{TREE, Workspace};

#[track_caller]
fn lists(tree: &Workspace, images: &str) {
    let listed = tree.imgraph("ls --json").exits(0).json();
    let row = |image: &serde_json::Value| {
        let references = image["references"].as_array().unwrap().iter();
        let references: Vec<&str> = references.map(|it| it.as_str().unwrap()).collect();
        format!("{} = {}\n", image["image"].as_str().unwrap(), references.join(" "))
    };
    let rows: String = listed.as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows, crate::support::dedent(images));
}

const TWO_OF_ONE: &str = "
    //- layers.toml
    [image.api]
    target = 'prod'
    [image.api-debug]
    dockerfile = 'api/Dockerfile'
    target = 'debug'
    args = { LEVEL = 'trace' }
    //- images/base/Dockerfile
    FROM scratch
    //- images/tools/Dockerfile
    FROM scratch
    LABEL tools=yes
    //- images/api/Dockerfile
    FROM base AS prod
    COPY app /
    FROM tools AS debug
    ARG LEVEL=info
    COPY --from=prod /app /
    COPY debug.conf /
    //- images/api/app
    //- images/api/debug.conf
";

#[test]
fn several_images_come_from_one_dockerfile() {
    let tree = Workspace::new(TWO_OF_ONE);
    lists(
        &tree,
        "
        api = api:latest
        api-debug = api-debug:latest
        base = base:latest
        tools = tools:latest
        ",
    );
    tree.imgraph("graph").exits(0).prints(
        "
        base
        ├── api
        └── api-debug
        tools
        └── api-debug
        ",
    );
}

#[test]
fn of_the_images_of_one_dockerfile_only_those_are_rebuilt_that_read_what_changed() {
    let tree = Workspace::new(TWO_OF_ONE);
    tree.rebuild("").exits(0);
    tree.write("images/api/debug.conf", "verbose\n");
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["api-debug built"]);
    tree.write("images/api/app", "new\n");
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["api built", "api-debug built"]);
    let dockerfile = tree.read("images/api/Dockerfile").replace("info", "warn");
    tree.write("images/api/Dockerfile", dockerfile);
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["api-debug built"]);
}

#[test]
fn an_argument_rebuilds_the_images_that_declare_it() {
    let tree = Workspace::new(TWO_OF_ONE);
    tree.rebuild("").exits(0);
    tree.write("layers.toml", tree.read("layers.toml").replace("trace", "debug"));
    let outcome = tree.rebuild("").exits(0);
    outcome.mentions("[api-debug] started: argument LEVEL changed\n1 planned · 1 built");
    let more = "[workspace]\nargs = { NOBODY = '1', LEVEL = 'error' }\n";
    tree.write("layers.toml", format!("{more}{}", tree.read("layers.toml")));
    tree.rebuild("").exits(0).says("nothing to do: 4 images are up to date  [TIME]\n");
}

#[test]
fn a_label_rebuilds_the_images_that_get_it() {
    let tree = Workspace::new(TWO_OF_ONE);
    tree.rebuild("").exits(0);
    let settings = tree.read("layers.toml");
    tree.write("layers.toml", format!("{settings}labels = {{ team = 'core' }}\n"));
    let outcome = tree.rebuild("").exits(0);
    outcome.mentions("[api-debug] started: option label team changed\n1 planned · 1 built");
    tree.write("layers.toml", format!("[workspace]\nlabels = {{ all = '1' }}\n{settings}"));
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["api built", "api-debug built", "base built", "tools built"],);
}

#[test]
fn another_target_is_another_image() {
    let tree = Workspace::new(TWO_OF_ONE);
    tree.rebuild("").exits(0);
    tree.write("layers.toml", tree.read("layers.toml").replace("'prod'", "'debug'"));
    let outcome = tree.rebuild("--json api").exits(0);
    let started = outcome.events();
    let started = started.iter().find(|event| event["event"] == "started").unwrap();
    let reasons = started["reasons"].to_string();
    assert!(reasons.contains(r#"{"name":"target","reason":"setting-changed"}"#), "{reasons}");
    assert!(reasons.contains(r#"{"path":"debug.conf","reason":"file-added"}"#), "{reasons}");
}

#[test]
fn several_dockerfiles_of_a_directory_share_its_context() {
    let tree = Workspace::new(
        "
        //- images/php/Dockerfile
        FROM scratch
        COPY common /
        //- images/php/Dockerfile.alpine
        FROM scratch
        COPY common alpine /
        //- images/php/8.3.Dockerfile
        FROM php
        COPY eight /
        //- images/php/common
        //- images/php/alpine
        //- images/php/eight
        ",
    );
    lists(
        &tree,
        "
        php = php:latest
        php/8.3 = php/8.3:latest
        php/alpine = php/alpine:latest
        ",
    );
    tree.rebuild("").exits(0);
    tree.write("images/php/common", "new\n");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["php built", "php/8.3 built", "php/alpine built"]);
    tree.write("images/php/eight", "new\n");
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["php/8.3 built"]);
}

#[test]
fn a_context_may_lie_elsewhere_in_the_workspace() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.api]
        context = '//services/api'
        [image.web]
        context = '..'
        //- images/api/Dockerfile
        FROM scratch
        COPY main.c /
        //- services/api/main.c
        int main;
        //- images/web/Dockerfile
        FROM scratch
        COPY shared /
        //- images/shared/style.css
        body {}
        ",
    );
    tree.rebuild("").exits(0);
    tree.write("services/api/main.c", "int main(void);\n");
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["api built"]);
    tree.write("images/shared/style.css", "p {}\n");
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["web built"]);
    let why = "images/shared/style.css changed";
    tree.write("images/shared/style.css", "div {}\n");
    tree.imgraph("why web").exits(0).mentions(why);
}

#[test]
fn a_linked_directory_is_another_name_of_its_images() {
    let tree = Workspace::new(
        "
        //- images/java/jre/Dockerfile
        FROM scratch
        //- images/legacy -> java
        //- images/app/Dockerfile
        FROM legacy/jre
        ",
    );
    tree.imgraph("graph").exits(0).prints("java/jre\n└── app\n");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["app built", "java/jre built"]);
    let listed = tree.imgraph("ls --json java/jre").exits(0).json();
    assert_eq!(listed[0]["references"].as_array().unwrap().len(), 2, "{listed}");
}

#[test]
fn another_version_moves_tags_and_builds_nothing() {
    let tree = Workspace::new(TREE);
    tree.write("images/java/jre/VERSION", "17.0.1\n");
    lists(
        &tree,
        "
        apps/api = apps/api:latest
        apps/web = apps/web:latest
        base = base:latest
        java/jre = java/jre:17.0.1 java/jre:latest
        tools = tools:latest
        ",
    );
    tree.rebuild("").exits(0);
    tree.write("images/java/jre/VERSION", "17.0.2\n");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["java/jre restored"]);
    let store = tree.read(".imgraph/simulate.ndjson");
    assert!(store.contains("java/jre:17.0.2"), "{store}");
}

#[test]
fn another_registry_moves_tags_and_changes_what_references_mean() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [workspace]
        registry = 'acme'
        //- images/base/Dockerfile
        FROM scratch
        //- images/app/Dockerfile
        FROM acme/base
        ",
    );
    tree.rebuild("").exits(0);
    tree.write("layers.toml", "[workspace]\nregistry = 'acma'\n");
    let outcome = tree.imgraph("plan").exits(0);
    outcome.mentions(
        "
        rebuild  app
        acme/base is another image, new or gone
        restore  base
        no image of the workspace provides `acme/base`
        ",
    );
}

const STEADY: &str = "
    //- simulate.toml
    [image.base]
    content = 'same'
    //- images/base/Dockerfile
    FROM scratch
    COPY file /
    //- images/base/file
    //- images/app/Dockerfile
    FROM base
";

/// `cutoff` of a layer: design/fingerprint.md, "Deciding".
#[test]
fn a_layer_may_ask_for_a_rebuild_whenever_the_inputs_below_changed() {
    for (cutoff, end) in
        [("content", "app cut-off"), ("digest", "app cut-off"), ("inputs", "app built")]
    {
        let tree = Workspace::new(STEADY);
        let layer = format!("[[layer]]\nname = 'all'\ndirs = ['.']\ncutoff = '{cutoff}'\n");
        tree.write("layers.toml", layer);
        tree.rebuild("").exits(0);
        tree.write("images/base/file", "new\n");
        assert_eq!(tree.rebuild("--json").exits(0).ends(), [end, "base built"], "{cutoff}");
    }
}

#[test]
fn another_epoch_rebuilds_everything() {
    let tree = Workspace::new(STEADY);
    tree.rebuild("").exits(0);
    tree.write("layers.toml", "[workspace]\nepoch = 1700000000\n");
    let outcome = tree.imgraph("plan").exits(0);
    outcome.mentions("base\nsetting epoch changed\napp\nsetting epoch changed\n2 to rebuild");
}

#[test]
fn what_a_layer_allows_changes_no_image() {
    let tree = Workspace::new(STEADY);
    tree.rebuild("").exits(0);
    tree.write("layers.toml", "[[layer]]\nname = 'all'\ndirs = ['.']\nexternals = []\n");
    tree.rebuild("").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");
}

#[test]
fn what_git_ignores_is_no_image_and_whoever_builds_on_it_is_told() {
    let tree = Workspace::new(
        "
        //- .git/
        //- .gitignore
        /images/old/
        //- images/old/Dockerfile
        FROM scratch
        //- images/app/Dockerfile
        FROM old
        ",
    );
    tree.imgraph("ls -1").exits(0).mentions("app\n").never_mentions("old:latest");
    tree.rebuild("").exits(3).mentions("`old` is an image of this workspace that is left out");
}
