//! `--shard`, and `affected --shards`: the work of several machines.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::conformance::aloud;
use crate::support::Workspace;

/// A base, two families of three on it, and a loner.
const TREE: &str = "
    //- .gitignore
    /.imgraph/
    //- images/base/Dockerfile
    FROM scratch
    COPY one.txt /
    //- images/base/one.txt
    one
    //- images/java/Dockerfile
    FROM base
    RUN java
    //- images/apps/a/Dockerfile
    FROM java
    RUN a
    //- images/apps/b/Dockerfile
    FROM java
    RUN b
    //- images/node/Dockerfile
    FROM base
    RUN node
    //- images/apps/c/Dockerfile
    FROM node
    RUN c
    //- images/apps/d/Dockerfile
    FROM node
    RUN d
    //- images/loner/Dockerfile
    FROM scratch
";
const UNKNOWN: &str = "no build of these images is known here: all are taken to be equally slow\n";

fn git(tree: &Workspace, arguments: &str) {
    let mut command = Command::new("git");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").current_dir(tree.root());
    command.args(["-c", "user.name=x", "-c", "user.email=x@x.invalid"]);
    assert!(command.args(arguments.split(' ')).status().unwrap().success(), "git {arguments}");
}

/// The tree on a branch on which the base has changed.
fn changed() -> Workspace {
    let tree = Workspace::new(TREE);
    for arguments in ["init -q -b main", "add .", "commit -q -m x"] {
        git(&tree, arguments);
    }
    tree.write("images/base/one.txt", "other\n");
    tree
}

fn affected(tree: &Workspace, arguments: &str) -> String {
    let said = tree.imgraph(&format!("affected --since main {arguments}")).exits(0);
    assert_eq!(said.stderr, UNKNOWN);
    said.stdout
}

#[test]
fn what_is_affected_comes_in_stages_of_shards() {
    let tree = changed();
    assert_eq!(
        affected(&tree, "--shards 2"),
        "stage 1, shard 1/1  ~1m  base\n\
         stage 2, shard 1/2  ~3m  java apps/a apps/b\n\
         stage 2, shard 2/2  ~3m  node apps/c apps/d\n"
    );
    assert_eq!(
        affected(&tree, "--shards 2 --stages 1"),
        "stage 1, shard 1/1  ~7m  base java apps/a apps/b node apps/c apps/d\n"
    );
    let said = tree.imgraph("affected --since main --shards 2 loner").exits(0);
    said.prints("").says("");
}

#[test]
fn json_has_the_stages() {
    let tree = changed();
    let said = tree.imgraph("affected --since main --format json --shards 2").exits(0);
    let json: Value = said.json();
    let shard = &json["stages"][1]["shards"][0];
    assert_eq!(shard["shard"], "1/2");
    assert_eq!(shard["images"], serde_json::json!(["java", "apps/a", "apps/b"]));
    assert_eq!(shard["predicted"], 180_000);
    let json = tree.imgraph("affected --since main --json").exits(0).says("").json();
    assert_eq!(json["stages"], Value::Null);
    tree.imgraph("affected --since main --json --format json").exits(2);
}

#[test]
fn json_of_the_documents_has_the_fields_of_the_program() {
    let example = crate::docs::blocks_of("docs/json.md");
    let tree = Workspace::new(
        "
        //- .gitignore
        *.jar
        //- images/base/Dockerfile
        FROM scratch
        COPY one.txt /
        //- images/base/one.txt
        one
        //- images/java/Dockerfile
        FROM base
        //- images/jar/Dockerfile
        FROM scratch
        COPY *.jar /
        ",
    );
    for arguments in ["init -q -b main", "add .", "commit -q -m x"] {
        git(&tree, arguments);
    }
    tree.write("images/base/one.txt", "other\n");
    tree.write("images/jar/x.jar", "x");
    let json = tree.imgraph("affected --since main --json --shards 2").exits(0).json();
    crate::docs::compare(&example, "affected", &json);
}

#[test]
fn github_gets_a_matrix_for_each_stage() {
    let tree = changed();
    assert_eq!(
        affected(&tree, "--format github --shards 2"),
        "stages=2\n\
         stage1={\"include\":[{\"images\":\"base\",\"predicted\":60000,\"shard\":\"1/1\",\"stage\":1}]}\n\
         stage2={\"include\":[\
         {\"images\":\"java apps/a apps/b\",\"predicted\":180000,\"shard\":\"1/2\",\"stage\":2},\
         {\"images\":\"node apps/c apps/d\",\"predicted\":180000,\"shard\":\"2/2\",\"stage\":2}]}\n"
    );
    git(&tree, "checkout -q .");
    tree.imgraph("affected --since main --format github").exits(0).prints("stages=0\n").says("");
}

#[test]
fn gitlab_gets_a_pipeline_whose_jobs_wait_for_what_they_need_only() {
    let tree = changed();
    tree.write("images/loner/Dockerfile", "FROM scratch\nWORKDIR /x\n");
    let pipeline = affected(&tree, "--format gitlab --shards 3");
    let parsed = yaml(&pipeline);
    assert_eq!(
        pipeline,
        "\
# by `imgraph affected --format gitlab`
stages:
  - stage-1
  - stage-2
\"stage-1 1/1\": # ~1m
  stage: stage-1
  needs: []
  variables:
    IMAGES: \"base\"
  script:
    - imgraph rebuild --push $IMAGES
\"stage-2 1/3\": # ~3m
  stage: stage-2
  needs: [\"stage-1 1/1\"]
  variables:
    IMAGES: \"java apps/a apps/b\"
  script:
    - imgraph rebuild --push $IMAGES
\"stage-2 2/3\": # ~3m
  stage: stage-2
  needs: [\"stage-1 1/1\"]
  variables:
    IMAGES: \"node apps/c apps/d\"
  script:
    - imgraph rebuild --push $IMAGES
\"stage-2 3/3\": # ~1m
  stage: stage-2
  needs: []
  variables:
    IMAGES: \"loner\"
  script:
    - imgraph rebuild --push $IMAGES
"
    );
    let Some(parsed) = parsed else { return };
    assert_eq!(parsed["stages"], serde_json::json!(["stage-1", "stage-2"]));
    assert_eq!(parsed["stage-2 2/3"]["needs"], serde_json::json!(["stage-1 1/1"]));
    git(&tree, "checkout -q .");
    let nothing = tree.imgraph("affected --since main --format gitlab").exits(0).says("");
    let nothing = yaml(&nothing.stdout).unwrap();
    assert_eq!(nothing["nothing"]["script"][0], "echo no image is affected");
}

#[test]
fn pipelines_of_the_documents_are_yaml_and_go_with_what_is_printed() {
    let blocks = crate::docs::blocks_of("docs/ci.md");
    let blocks: Vec<&str> = blocks.iter().filter_map(|block| block.yaml()).collect();
    assert_eq!(blocks.len(), 7);
    let find = |name: &str| *blocks.iter().rfind(|text| text.starts_with(name)).unwrap();
    if blocks.iter().any(|text| yaml(text).is_none()) {
        return;
    }
    let workflow = yaml(find("# .github/workflows/images.yml")).unwrap();
    let jobs = workflow["jobs"].as_object().unwrap();
    assert_eq!(jobs["plan"]["outputs"].as_object().unwrap().len(), 3);
    for stage in 1..=3 {
        let output = format!("needs.plan.outputs.stage{stage}");
        let job = &jobs[&format!("stage{stage}")];
        assert_eq!(job["if"], format!("{output} != ''"));
        assert_eq!(job["with"]["matrix"], format!("${{{{ {output} }}}}"));
    }
    let shards = yaml(find("# .github/workflows/shards.yml")).unwrap();
    assert_eq!(shards["jobs"]["shard"]["steps"][2]["env"]["IMAGES"], "${{ matrix.images }}");
    let child = find("# ci/shards.yml").to_owned() + &affected(&changed(), "--format gitlab");
    let child = yaml(&child).unwrap();
    assert_eq!(child["default"]["tags"][0], "docker");
    assert_eq!(child["stage-1 1/1"]["variables"]["IMAGES"], "base");
}

#[test]
fn times_of_a_ledger_count_where_nothing_else_is_left() {
    let tree = changed();
    tree.rebuild("").exits(0);
    let ledger = std::fs::read(tree.path(".imgraph/ledger")).unwrap();
    tree.remove(".imgraph");
    tree.write(".imgraph/ledger", ledger);
    let said = tree.imgraph("affected --since main --json --shards 2").exits(0).says("");
    let json = said.json();
    assert!(json["stages"][0]["shards"][0]["predicted"].as_u64().unwrap() < 60_000, "{json}");
    tree.imgraph("rebuild -n base").exits(0).mentions("rebuild");
}

/// What a text means as YAML, where there is a program that knows it.
pub(crate) fn yaml(text: &str) -> Option<Value> {
    let script = "import json, sys, yaml\nprint(json.dumps(yaml.load(sys.stdin, yaml.BaseLoader)))";
    let mut python = Command::new("python3");
    python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = python.stderr(Stdio::null()).spawn() else {
        aloud("yaml  skipped: no python3");
        return None;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.stdout.is_empty() {
        let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output().unwrap();
        assert!(!has_yaml.status.success(), "this is no YAML:\n{text}");
        aloud("yaml  skipped: no python3-yaml");
        return None;
    }
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_rebuild_of_every_shard_is_one_of_everything_and_none_builds_what_it_does_not_need() {
    let tree = Workspace::new(TREE);
    let mut all = BTreeSet::new();
    let mut sum = 0;
    for number in 1..=3 {
        let names = tree.imgraph(&format!("ls --names --shard {number}/3")).exits(0).stdout;
        sum += names.lines().count();
        all.extend(names.lines().map(str::to_owned));
    }
    assert_eq!((sum, all.len()), (8, 8));
    let said = tree.rebuild("--shard 2/3 --json").exits(0);
    assert_eq!(said.ends(), ["apps/c built", "apps/d built", "base built", "node built"]);
    said.mentions(UNKNOWN.trim_end()).mentions("shard 2/3: 3 of 8 images, ~3m (split ");
    // Where the next cut is depends on how long these took.
    let said = tree.imgraph("plan --shard 2/3").exits(0);
    said.mentions("4 images never built here: taken to be as slow as the slow ones of the layer");
    tree.imgraph("plan --shard 9/9").exits(0).prints("nothing to do: 0 images up to date\n");
}

#[test]
fn a_shard_is_one_of_what_is_affected() {
    let tree = changed();
    let said = tree.imgraph("affected --since main --shard 1/2").exits(0);
    said.prints(
        "
        base    images/base/one.txt changed
        java    depends on base
        apps/a  depends on java
        apps/b  depends on java
        ",
    );
    tree.imgraph("ls --names --since main --shard 2/2").exits(0).prints("apps/c\napps/d\nnode\n");
    tree.imgraph("ls --since main --shard 2/2 --fail-if-no-match loner").exits(4);
}

#[test]
fn a_shard_that_cannot_be_meant_is_refused() {
    let tree = Workspace::new(TREE);
    for portion in ["0/3", "4/3", "1/0", "1", "a/b", "1/1001", "-1/3"] {
        tree.imgraph(&format!("rebuild --shard={portion}")).exits(2).mentions("such as 2/5");
    }
    tree.imgraph("affected --shards 0").exits(2);
    tree.imgraph("rebuild --rerun last --shard 1/2").exits(2);
}
