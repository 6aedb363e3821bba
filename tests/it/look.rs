//! `plan`, `why`, `inputs`, `ls` and `graph`: what can be seen without building.

use crate::support::{TREE, Workspace, text};

fn built() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree
}

#[test]
fn a_plan_says_what_is_done_and_why_parents_first() {
    Workspace::new(TREE).imgraph("plan").exits(0).says("").prints(
        "
        rebuild  base  never built here
        rebuild  java/jre  never built here
        rebuild  apps/api  never built here
        rebuild  tools  never built here
        rebuild  apps/web  never built here
        5 to rebuild
        ",
    );
}

#[test]
fn what_depends_on_a_changed_parent_is_decided_later() {
    let tree = built();
    tree.write("images/base/packages.txt", "jq\n");
    tree.write("images/apps/web/page.html", "hi\n");
    tree.imgraph("plan").exits(0).prints(
        "
        rebuild  base  ~[TIME]  packages.txt changed
        pending  java/jre  ~[TIME]  if base came out different
        pending  apps/api  ~[TIME]  if java/jre came out different
        pending  tools  ~[TIME]  if base came out different
        rebuild  apps/web  ~[TIME]  page.html changed
        2 to rebuild · 3 to decide when their parents are built
        ",
    );
}

#[test]
fn a_plan_of_nothing_says_so() {
    let tree = built();
    tree.imgraph("plan").exits(0).prints("nothing to do: 5 images up to date\n");
    tree.imgraph("plan -v tools").exits(0).prints(
        "
        fresh    base
        fresh    tools
        nothing to do: 2 images up to date
        ",
    );
}

#[test]
fn a_plan_names_a_few_reasons_or_all() {
    let tree = built();
    for name in ["a", "b", "c", "d", "e"] {
        tree.write(&format!("images/apps/api/src/{name}"), "x");
    }
    let few = "src/a is new, src/b is new, src/c is new and 2 more";
    tree.imgraph("plan").exits(0).mentions(few);
    tree.imgraph("plan -v").exits(0).mentions("src/d is new, src/e is new");
}

#[test]
fn a_plan_knows_what_can_be_restored() {
    let tree = built();
    tree.write("images/apps/web/page.html", "hi\n");
    tree.rebuild("").exits(0);
    tree.write("images/apps/web/page.html", "hello\n");
    tree.imgraph("plan").exits(0).prints(
        "
        restore  apps/web  ~[TIME]
        1 to restore · 4 up to date
        ",
    );
}

#[test]
fn a_plan_of_forced_images_says_so() {
    let tree = built();
    tree.imgraph("plan --force tools").exits(0).mentions("rebuild  tools  ~[TIME]  forced");
}

#[test]
fn a_plan_as_json_has_keys_reasons_and_references() {
    let tree = built();
    tree.write("images/java/jre/security", "lax\n");
    for arguments in ["plan --json apps/api", "rebuild -n=json apps/api"] {
        let plan = tree.imgraph(arguments).exits(0).says("").json();
        assert_eq!(plan["version"], 1);
        assert_eq!(plan["engine"], "simulate");
        let steps = plan["steps"].as_array().unwrap();
        let row = |step: &serde_json::Value| {
            format!("{} {}", text(&step["image"]), text(&step["decision"]))
        };
        let rows: Vec<String> = steps.iter().map(row).collect();
        assert_eq!(rows, ["base fresh", "java/jre rebuild", "apps/api pending"]);
        let (jre, api) = (&steps[1], &steps[2]);
        let changed = serde_json::json!([{ "reason": "file-changed", "path": "security" }]);
        assert_eq!(jre["reasons"], changed);
        assert_eq!(text(&jre["build_key"]).len(), 64);
        assert_eq!(jre["references"], serde_json::json!(["java/jre:latest"]));
        assert_eq!(api["build_key"], serde_json::Value::Null, "it is known when java/jre is built");
        assert_eq!(text(&api["source_key"]).len(), 64);
        assert_eq!(api["waits_for"], serde_json::json!(["java/jre"]));
    }
}

#[test]
fn a_plan_leaves_no_state_behind() {
    let tree = Workspace::new(TREE);
    tree.imgraph("plan").exits(0);
    assert!(!tree.path(".imgraph/lock").exists());
    tree.rebuild("").exits(0).mentions("5 planned · 5 built");
}

#[test]
fn why_leads_to_the_first_cause() {
    let tree = built();
    tree.write("images/base/packages.txt", "jq\n");
    tree.write("images/apps/web/Dockerfile", "FROM java/jre\n\nCOPY --from=tools /bin/t /bin/\n");
    tree.imgraph("why apps/web").exits(0).prints(
        "
        apps/web: rebuild
          images/apps/web/page.html is gone
          images/apps/web/Dockerfile:3 changed
          java/jre: pending
            nothing of its own changed; its parents decide:
            base: rebuild
              images/base/packages.txt changed
          tools: pending
            nothing of its own changed; its parents decide:
            base: rebuild
              (see above)
        ",
    );
}

#[test]
fn why_tells_how_a_fresh_image_came_to_be() {
    let tree = built();
    tree.imgraph("why tools").exits(0).prints(
        "
        tools: fresh
          built [TIME] ago in [TIME], and nothing that it reads has changed since
          build key [DIGEST]  content [DIGEST]  1.0 MB
        ",
    );
}

#[test]
fn why_tells_that_an_image_was_cut_off() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.base]\ncontent = 'same'\n");
    tree.rebuild("").exits(0);
    tree.write("images/base/packages.txt", "jq\n");
    tree.rebuild("").exits(0);
    let cut_off = "in the last run it was cut off: its parents came out the same";
    tree.imgraph("why tools").exits(0).mentions(cut_off);
    tree.imgraph("why base").exits(0).never_mentions(cut_off);
}

#[test]
fn why_tells_that_an_earlier_build_is_restored() {
    let tree = built();
    tree.write("images/apps/web/page.html", "hi\n");
    tree.rebuild("").exits(0);
    tree.write("images/apps/web/page.html", "hello\n");
    tree.imgraph("why apps/web").exits(0).prints(
        "
        apps/web: restore
          an earlier build from the same inputs is in the store: it gets its tags back
        ",
    );
}

#[test]
fn why_as_json_has_every_step_that_is_not_fresh() {
    let tree = built();
    tree.write("images/java/jre/security", "lax\n");
    let why = tree.imgraph("why apps/api --json").exits(0).json();
    assert_eq!(
        why,
        serde_json::json!({
            "version": 1,
            "image": "apps/api",
            "steps": [
                {
                    "image": "java/jre",
                    "decision": "rebuild",
                    "reasons": [{ "reason": "file-changed", "path": "security" }],
                    "waits_for": [],
                },
                {
                    "image": "apps/api",
                    "decision": "pending",
                    "reasons": [],
                    "waits_for": ["java/jre"],
                },
            ],
        })
    );
}

#[test]
fn why_of_an_unknown_image_is_an_error() {
    built().imgraph("why aps/api").exits(2).prints("").mentions("did you mean `apps/api`?");
}

const READER: &str = "
    //- layers.toml
    [image.app]
    args = { LEVEL = 'secret-value' }
    labels = { team = 'core' }
    //- images/base/Dockerfile
    FROM scratch
    //- images/app/Dockerfile
    # syntax=docker/dockerfile:1
    FROM base
    ARG LEVEL
    COPY --from=busybox:1.36 /bin/sh /bin/
    ADD https://example.com/x.tar /x/
    COPY src /src
    RUN --mount=type=secret,id=npm true
    //- images/app/src/a.txt
    a
    //- images/app/src/b.log
    b
    //- images/app/src/run.sh mode=755
    #!/bin/sh
    //- images/app/src/link -> a.txt
    //- images/app/.dockerignore
    # logs
    **/*.log
    //- images/app/README.md
    not read
";

#[test]
fn inputs_are_listed_with_the_line_that_reads_them() {
    Workspace::new(READER).imgraph("inputs app").exits(0).says("").prints(
        "
        platform    linux/[ARCH]
        frontend    docker/dockerfile:1
        parent      base  (FROM base)
        external    busybox:1.36  (COPY --from)  (not pinned: only its name counts)
        remote      https://example.com/x.tar
        argument    LEVEL
        label       team
        secret      secret npm
        instruction 2  FROM base
        instruction 3  ARG LEVEL
        instruction 4  COPY --from=busybox:1.36 /bin/sh /bin/
        instruction 5  ADD https://example.com/x.tar /x/
        instruction 6  COPY src /src
        instruction 7  RUN --mount=type=secret,id=npm true
        file        755 src  (line 6)
        file        644 src/a.txt  (line 6)
        file        777 src/link  (line 6)
        file        755 src/run.sh  (line 6)
        "
        .replace("[ARCH]", imgraph::image::Platform::host().arch.as_str())
        .as_str(),
    );
}

#[test]
fn inputs_can_be_digests() {
    let outcome = Workspace::new(READER).imgraph("inputs app --hash").exits(0);
    outcome.never_mentions("secret-value").mentions(
        "
        argument    LEVEL  [DIGEST]
        label       team  [DIGEST]
        instruction 2  [DIGEST]  FROM base
        file        644 src/a.txt  [DIGEST]  (line 6)
        file        777 src/link  -> a.txt  (line 6)
        ",
    );
}

#[test]
fn what_dockerignore_leaves_out_is_listed_with_the_line_that_does() {
    let outcome = Workspace::new(READER).imgraph("inputs app --ignored").exits(0);
    outcome.mentions("ignored     src/b.log  (images/app/.dockerignore:2: **/*.log)");
}

#[test]
fn inputs_can_be_fed_to_xargs() {
    let outcome = Workspace::new(READER).imgraph("inputs app -0").exits(0);
    assert_eq!(outcome.stdout, "src\0src/a.txt\0src/link\0src/run.sh\0");
}

#[test]
fn inputs_as_json_have_digests_and_no_values() {
    let outcome = Workspace::new(READER).imgraph("inputs app --json --ignored").exits(0);
    let outcome = outcome.never_mentions("secret-value");
    let inputs = outcome.json();
    assert_eq!(inputs["version"], 1);
    assert_eq!(inputs["parents"][0]["image"], "base");
    assert_eq!(inputs["externals"][0]["reference"], "busybox:1.36");
    assert_eq!(inputs["arguments"][0]["name"], "LEVEL");
    assert_eq!(inputs["secrets"], serde_json::json!(["secret npm"]));
    let file = &inputs["files"][1];
    assert_eq!((text(&file["path"]), text(&file["kind"])), ("src/a.txt", "file"));
    assert_eq!(file["line"], 6);
    assert_eq!(inputs["ignored"][0]["path"], "src/b.log");
    assert_eq!(inputs["ignored"][0]["line"], 2);
}

#[test]
fn inputs_of_a_lone_dockerfile_need_no_workspace() {
    let lone = Workspace::new(
        "
        //- some/Dockerfile
        FROM alpine:3
        COPY hello.txt /
        //- some/hello.txt
        hello
        ",
    );
    let outcome = lone.imgraph("inputs --dockerfile some/Dockerfile").exits(0);
    outcome.mentions("external    alpine:3\nfile        644 hello.txt  (line 2)");
    assert!(!lone.path("some/.imgraph").exists());
}

#[test]
fn inputs_are_those_of_one_image() {
    let outcome = Workspace::new(TREE).imgraph("inputs apps/*").exits(2);
    outcome.says("error: `apps/*` selects 2 images; name one\n");
}

const LAYERED: &str = "
    //- layers.toml
    [workspace]
    registry = 'acme'
    [[layer]]
    name = 'base'
    dirs = ['base']
    [[layer]]
    name = 'apps'
    dirs = ['apps']
    //- images/base/Dockerfile
    FROM debian:12.5
    //- images/base/VERSION
    0.1.0
    //- images/apps/api/Dockerfile
    FROM acme/base AS build
    FROM acme/base
    COPY --from=build /a /
    COPY --from=acme/apps/tool /a /
    RUN --mount=from=acme/apps/cache,target=/c true
    //- images/apps/tool/Dockerfile
    FROM scratch
    //- images/apps/cache/Dockerfile
    FROM scratch
    LABEL is=cache
";

#[test]
fn ls_has_layers_and_references() {
    Workspace::new(LAYERED).imgraph("ls").exits(0).says("").prints(
        "
        apps/api    apps  acme/apps/api:latest
        apps/cache  apps  acme/apps/cache:latest
        apps/tool   apps  acme/apps/tool:latest
        base        base  acme/base:0.1.0 acme/base:latest
        ",
    );
}

#[test]
fn ls_selects_and_names() {
    let tree = Workspace::new(LAYERED);
    tree.imgraph("ls -1 layer:apps !apps/tool").exits(0).prints("apps/api\napps/cache\n");
    tree.imgraph("ls --fail-if-no-match base !base").exits(4).prints("");
}

#[test]
fn ls_can_tell_what_is_up_to_date() {
    let tree = Workspace::new(LAYERED);
    tree.rebuild("base apps/tool").exits(0);
    tree.write("images/base/Dockerfile", "FROM debian:12.6\n");
    tree.imgraph("ls --status").exits(0).prints(
        "
        rebuild  apps/api    apps  acme/apps/api:latest
        rebuild  apps/cache  apps  acme/apps/cache:latest
        fresh    apps/tool   apps  acme/apps/tool:latest
        rebuild  base        base  acme/base:0.1.0 acme/base:latest
        ",
    );
    let listed = tree.imgraph("ls --status --json base").exits(0).json();
    assert_eq!(listed[0]["status"], "rebuild");
    assert_eq!(listed[0]["externals"], serde_json::json!(["debian:12.6"]));
}

#[test]
fn a_graph_is_a_tree_for_people() {
    Workspace::new(LAYERED).imgraph("graph").exits(0).says("").prints(
        "
        apps/cache
        └── apps/api
        apps/tool
        └── apps/api
        base  <- debian:12.5
        └── apps/api
        ",
    );
    Workspace::new(TREE).imgraph("graph ...tools").exits(0).prints(
        "
        base
        ├── java/jre
        │   └── apps/web
        └── tools
            └── apps/web
        ",
    );
}

#[test]
fn a_graph_can_be_drawn_by_graphviz() {
    Workspace::new(LAYERED).imgraph("graph --format dot").exits(0).prints(
        "
        digraph images {
          rankdir=LR;
          node [shape=box];
          subgraph cluster_0 {
            label=\"base\";
            \"base\";
          }
          subgraph cluster_1 {
            label=\"apps\";
            \"apps/api\";
            \"apps/cache\";
            \"apps/tool\";
          }
          \"apps/cache\" -> \"apps/api\" [style=dotted];
          \"apps/tool\" -> \"apps/api\" [style=dashed];
          \"base\" -> \"apps/api\";
        }
        ",
    );
}

#[test]
fn a_graph_can_be_put_into_markdown() {
    Workspace::new(LAYERED).imgraph("graph --format mermaid").exits(0).prints(
        "
        flowchart LR
          subgraph layer0[\"base\"]
            i3[\"base\"]
          end
          subgraph layer1[\"apps\"]
            i0[\"apps/api\"]
            i1[\"apps/cache\"]
            i2[\"apps/tool\"]
          end
          i1 -. mount .-> i0
          i2 -. copy .-> i0
          i3 --> i0
        ",
    );
}

#[test]
fn a_graph_as_json_has_images_and_edges() {
    let graph = Workspace::new(LAYERED).imgraph("graph --format json").exits(0).json();
    assert_eq!(graph["version"], 1);
    let edge =
        |parent, kind| serde_json::json!({ "parent": parent, "child": "apps/api", "kind": kind });
    assert_eq!(
        graph["edges"],
        serde_json::json!([
            edge("apps/cache", "mount"),
            edge("apps/tool", "copy"),
            edge("base", "from"),
        ])
    );
    let base = graph["images"].as_array().unwrap().last().unwrap();
    assert_eq!((text(&base["image"]), text(&base["layer"])), ("base", "base"));
    assert_eq!(base["externals"], serde_json::json!(["debian:12.5"]));
}
