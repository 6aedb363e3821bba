use std::collections::BTreeMap;

use crate::graph::fixture::Fixture;

#[test]
fn from_copy_and_mount_make_edges() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        //- tools/Dockerfile
        FROM base
        //- cache/Dockerfile
        FROM base
        //- app/Dockerfile
        FROM golang:1.24 AS build
        RUN --mount=type=bind,from=cache,target=/cache go build
        FROM base
        COPY --from=build /app /
        COPY --from=tools /bin/tool /bin/",
    );
    assert_eq!(tree.said(), [""; 0]);
    assert_eq!(tree.reads("app"), ["mount cache", "from base", "copy tools", "from !golang:1.24"]);
    assert_eq!(tree.names(tree.graph.order()), ["base", "cache", "tools", "app"]);
}

#[test]
fn the_registry_stands_in_front_of_references() {
    let tree = Fixture::new(
        "//- layers.toml
        [workspace]
        registry = 'registry.example.com/acme'
        //- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM registry.example.com/acme/base
        COPY --from=base /x /",
    );
    assert_eq!(
        tree.reads("app"),
        ["from base as registry.example.com/acme/base", "copy !base"],
        "the short name is one of Docker Hub"
    );
}

#[test]
fn docker_hub_may_be_spelled_out() {
    let tree = Fixture::new(
        "//- layers.toml
        [workspace]
        registry = 'acme'
        //- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM docker.io/acme/base:latest",
    );
    assert_eq!(tree.reads("app"), ["from base as docker.io/acme/base:latest"]);
}

#[test]
fn arguments_choose_the_parent() {
    let text = |args: &str| {
        format!(
            "//- layers.toml
            [image.app]
            args = {{ {args} }}
            //- jre/Dockerfile
            FROM scratch
            //- jdk/Dockerfile
            FROM scratch
            //- app/Dockerfile
            ARG RUNTIME=jre
            ARG SUFFIX
            FROM ${{RUNTIME}}${{SUFFIX:+-slim}}"
        )
    };
    assert_eq!(Fixture::new(&text("")).reads("app"), ["from jre"]);
    assert_eq!(Fixture::new(&text("RUNTIME = 'jdk'")).reads("app"), ["from jdk"]);
    assert_eq!(Fixture::new(&text("SUFFIX = 'x'")).reads("app"), ["from !jre-slim"]);
}

#[test]
fn a_reference_is_listed_once_however_often_it_is_read() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM base AS one
        FROM base
        COPY --from=one /x /
        COPY --from=base /y /
        COPY --from=busybox:1 /a /
        COPY --from=busybox:1 /b /",
    );
    assert_eq!(tree.reads("app"), ["from base", "copy !busybox:1"]);
    assert_eq!(tree.graph.children(tree.id("base")), [tree.id("app")]);
}

#[test]
fn two_references_to_one_image_are_two_edges_and_one_parent() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM base
        COPY --from=base:latest /y /",
    );
    assert_eq!(tree.reads("app"), ["from base", "copy base as base:latest"]);
    assert_eq!(tree.graph.parents(tree.id("app")), [tree.id("base")]);
    assert_eq!(tree.graph.children(tree.id("base")), [tree.id("app")]);
}

#[test]
fn stages_that_the_target_does_not_need_are_not_read() {
    let text = |target: &str| {
        format!(
            "//- layers.toml
            [image.app]
            {target}
            //- base/Dockerfile
            FROM scratch
            //- debug/Dockerfile
            FROM scratch
            //- app/Dockerfile
            FROM base AS prod
            FROM debug AS debugging
            COPY --from=prod / /
            FROM prod"
        )
    };
    assert_eq!(Fixture::new(&text("")).reads("app"), ["from base"]);
    assert_eq!(
        Fixture::new(&text("target = 'debugging'")).reads("app"),
        ["from base", "from debug"]
    );
}

/// moby/buildkit `dockerfile2llb/convert.go`: a name of a stage above hides an image of that name.
#[test]
fn a_stage_hides_an_image_of_the_same_name() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM alpine:3 AS base
        FROM base
        COPY --from=base /x /",
    );
    assert_eq!(tree.reads("app"), ["from !alpine:3"]);
    assert_eq!(tree.said(), [""; 0]);
}

#[test]
fn an_image_that_is_read_beside_a_stage_of_its_name_is_an_error() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM base AS base
        COPY . /",
    );
    assert_eq!(
        tree.said(),
        ["error images/app/Dockerfile:1:6 `base` is an image of the workspace and also the name \
          of a stage; rename the stage: an engine would take the image for both"]
    );
    assert!(tree.image("app").broken);
}

#[test]
fn a_tag_that_the_workspace_does_not_provide_is_a_release_from_outside() {
    let tree = Fixture::new(
        "//- layers.toml
        [image.base]
        version = '2.0.0'
        //- base/Dockerfile
        FROM scratch
        //- follows/Dockerfile
        FROM base:2.0.0
        //- latest/Dockerfile
        FROM base
        //- stays/Dockerfile
        FROM base:1.9.0",
    );
    assert_eq!(tree.reads("follows"), ["from base as base:2.0.0"]);
    assert_eq!(tree.reads("latest"), ["from base"]);
    assert_eq!(tree.reads("stays"), ["from !base:1.9.0"]);
    assert_eq!(
        tree.said(),
        [
            "note images/stays/Dockerfile:1:6 `base:1.9.0` is a published release of `base`, not the \
          one built here; use a tag that the workspace provides to follow it"
        ]
    );
}

#[test]
fn a_digest_freezes_a_parent() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let tree = Fixture::new(&format!(
        "//- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM base@{digest}"
    ));
    assert_eq!(tree.reads("app"), [format!("from !base@{digest}")]);
    assert!(tree.said()[0].contains("is `base` frozen at a digest"), "{:?}", tree.said());
}

#[test]
fn a_repository_of_several_images_needs_a_tag() {
    let text = |reference: &str| {
        format!(
            "//- layers.toml
            [image.'php/8.2']
            repository = 'php'
            tags = ['8.2']
            [image.'php/8.3']
            repository = 'php'
            tags = ['8.3']
            //- php/8.2/Dockerfile
            FROM scratch
            //- php/8.3/Dockerfile
            FROM scratch
            //- app/Dockerfile
            FROM {reference}"
        )
    };
    assert_eq!(Fixture::new(&text("php:8.3")).reads("app"), ["from php/8.3 as php:8.3"]);
    let tree = Fixture::new(&text("php"));
    assert_eq!(tree.reads("app"), [""; 0]);
    assert_eq!(
        tree.said(),
        ["error images/app/Dockerfile:1:6 several images provide `php`; name one of its tags: \
          8.2, 8.3"]
    );
    assert!(tree.image("app").broken);
}

#[test]
fn two_images_under_one_reference_are_an_error() {
    let tree = Fixture::new(
        "//- layers.toml
        [image.b]
        repository = 'a'
        //- a/Dockerfile
        FROM scratch
        //- b/Dockerfile
        FROM scratch",
    );
    assert_eq!(
        tree.said(),
        [
            "error images/b/Dockerfile `a` and `b` both provide `a:latest`; give one of them another \
          `repository`, `version` or `tags` in layers.toml"
        ]
    );
}

#[test]
fn a_near_miss_is_taken_for_an_image_from_outside_and_said() {
    let tree = Fixture::new(
        "//- platform/runtime/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM platform/runtim",
    );
    assert_eq!(tree.reads("app"), ["from !platform/runtim"]);
    assert_eq!(
        tree.said(),
        [
            "warning images/app/Dockerfile:1:6 no image of the workspace provides `platform/runtim`; \
          did you mean `platform/runtime`? it is taken for an image from outside"
        ]
    );
}

#[test]
fn short_names_are_not_near_one_another() {
    let tree = Fixture::new(
        "//- redir/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM redis:7",
    );
    assert_eq!(tree.said(), [""; 0]);
}

#[test]
fn an_unknown_image_behind_the_registry_of_the_workspace_is_said() {
    let tree = Fixture::new(
        "//- layers.toml
        [workspace]
        registry = 'acme'
        //- app/Dockerfile
        FROM acme/gone:1",
    );
    assert_eq!(tree.reads("app"), ["from !acme/gone:1"]);
    assert!(tree.said()[0].starts_with("warning images/app/Dockerfile:1:6 no image of the work"));
}

#[test]
fn an_image_that_discovery_left_out_is_an_error_and_not_an_image_from_outside() {
    let hidden = BTreeMap::from([("base".to_owned(), "ignored by .gitignore".to_owned())]);
    let tree = Fixture::with_hidden("//- app/Dockerfile\nFROM base", &hidden);
    assert_eq!(
        tree.said(),
        ["error images/app/Dockerfile:1:6 `base` is an image of this workspace that is left out \
          (ignored by .gitignore); take `base` out of what is ignored, or build from another image"]
    );
    assert_eq!(tree.reads("app"), [""; 0]);
    assert!(tree.image("app").broken);
}

/// `docs.docker.com` ONBUILD: the trigger runs in the build that is FROM the image.
#[test]
fn an_onbuild_of_the_parent_makes_an_edge_of_the_child() {
    let tree = Fixture::new(
        "//- assets/Dockerfile
        FROM scratch
        //- base/Dockerfile
        FROM scratch
        ONBUILD COPY --from=assets /a /
        ONBUILD COPY app.conf /etc/
        //- app/Dockerfile
        FROM base",
    );
    assert_eq!(tree.said(), [""; 0]);
    assert_eq!(tree.reads("base"), [""; 0]);
    assert_eq!(tree.reads("app"), ["from base", "onbuild assets"]);
    let context = &tree.image("app").reads.context;
    assert_eq!(context.len(), 1);
    assert!(context[0].source.ends_with("app.conf"), "{context:?}");
    assert_eq!(tree.names(tree.graph.order()), ["assets", "base", "app"]);
}

/// `docs.docker.com` ENV: a variable of the base is known in the stages that are FROM it.
#[test]
fn a_variable_of_the_parent_is_known_in_paths_of_the_child() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        ENV SOURCES=src/main
        //- middle/Dockerfile
        FROM base
        //- app/Dockerfile
        FROM middle
        COPY $SOURCES /app",
    );
    assert_eq!(tree.said(), [""; 0]);
    let context = &tree.image("app").reads.context;
    assert!(context[0].source.ends_with("src/main"), "{context:?}");
}

#[test]
fn a_cycle_is_named_from_parent_to_child_and_what_depends_on_it_is_broken_too() {
    let tree = Fixture::new(
        "//- a/Dockerfile
        FROM c
        //- b/Dockerfile
        FROM a
        //- c/Dockerfile
        FROM scratch
        COPY --from=b /x /
        //- child/Dockerfile
        FROM b
        //- other/Dockerfile
        FROM scratch",
    );
    assert_eq!(
        tree.said(),
        [
            "error images/b/Dockerfile:1:6 the images form a cycle: a -> b -> c -> a; an arrow leads \
          from a parent to an image that reads it; take one of them out"
        ]
    );
    let broken: Vec<&str> = tree
        .graph
        .iter()
        .filter(|(_, image)| image.broken)
        .map(|(_, image)| image.spec.name.as_str())
        .collect();
    assert_eq!(broken, ["a", "b", "c", "child"]);
    let related: Vec<&str> =
        tree.problems[0].related.iter().map(|(_, words)| words.as_str()).collect();
    assert_eq!(related, ["`c` reads `b`", "`a` reads `c`"]);
    assert_eq!(tree.names(tree.graph.order())[0], "other", "what can be built comes first");
}

#[test]
fn a_cycle_below_another_cycle_is_found() {
    let tree = Fixture::new(
        "//- k1/Dockerfile
        FROM k2
        //- k2/Dockerfile
        FROM k1
        //- t/Dockerfile
        FROM k1
        COPY --from=z /x /
        //- z/Dockerfile
        FROM t",
    );
    let cycles: Vec<String> = tree.said();
    assert_eq!(cycles.len(), 2, "{cycles:?}");
    assert!(cycles[1].contains("t -> z -> t"), "{cycles:?}");
}

/// A mount target is relative to the working directory, which a child inherits.
#[test]
fn the_working_directory_of_the_parent_is_known_in_the_child() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        WORKDIR /app
        //- app/Dockerfile
        FROM base
        RUN --mount=type=bind,target=. true",
    );
    assert_eq!(tree.said(), [""; 0]);
}

#[test]
fn what_an_image_from_outside_may_set_is_unknown_in_grandchildren_too() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM debian:12
        //- app/Dockerfile
        FROM base
        COPY ${APP}/x /x",
    );
    assert!(tree.said().iter().any(|said| said.contains("APP")), "{:?}", tree.said());
}

#[test]
fn with_a_registry_a_hidden_directory_hides_nothing_of_other_registries() {
    let hidden = BTreeMap::from([("debian".to_owned(), "ignored".to_owned())]);
    let text = "//- layers.toml\n[workspace]\nregistry = 'r.example.com/acme'\n//- app/Dockerfile\nFROM debian:12";
    assert_eq!(Fixture::with_hidden(text, &hidden).said(), [""; 0]);
}

#[test]
fn an_image_that_is_from_itself_is_a_cycle() {
    let tree = Fixture::new("//- app/Dockerfile\nFROM app");
    assert!(tree.said()[0].contains("the images form a cycle: app -> app"), "{:?}", tree.said());
    assert!(tree.image("app").broken);
}

#[test]
fn every_cycle_is_named_once() {
    let tree = Fixture::new(
        "//- a/Dockerfile
        FROM b
        //- b/Dockerfile
        FROM a
        //- c/Dockerfile
        FROM d
        //- d/Dockerfile
        FROM c
        //- e/Dockerfile
        FROM a
        COPY --from=c /x /",
    );
    let cycles: Vec<&str> = tree.problems.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(
        cycles,
        ["the images form a cycle: a -> b -> a", "the images form a cycle: c -> d -> c"]
    );
}

#[test]
fn a_parent_of_another_platform_is_an_error() {
    let tree = Fixture::new(
        "//- base/Dockerfile
        FROM scratch
        //- app/Dockerfile
        FROM --platform=linux/arm64 base",
    );
    assert_eq!(
        tree.said(),
        ["error images/app/Dockerfile:1:29 `base` is wanted for linux/arm64, but `base` is built \
          for linux/amd64; give `base` a second section in layers.toml with platforms = \
          [\"linux/arm64\"]"]
    );
}

#[test]
fn one_external_for_two_platforms_is_two_externals() {
    let tree = Fixture::new(
        "//- app/Dockerfile
        FROM --platform=linux/arm64 alpine:3 AS other
        FROM alpine:3
        COPY --from=other /x /",
    );
    let externals = &tree.image("app").externals;
    let platforms: Vec<String> = externals.iter().map(|it| it.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/amd64"]);
}

#[test]
fn closures_have_their_start_and_each_image_once() {
    let tree = Fixture::new(
        "//- a/Dockerfile
        FROM scratch
        //- b/Dockerfile
        FROM a
        //- c/Dockerfile
        FROM a
        //- d/Dockerfile
        FROM b
        COPY --from=c /x /
        //- e/Dockerfile
        FROM scratch",
    );
    let only = |name: &str| [tree.id(name)].into();
    assert_eq!(tree.names(&tree.graph.with_ancestors(&only("d"))), ["a", "b", "c", "d"]);
    assert_eq!(tree.names(&tree.graph.with_descendants(&only("c"))), ["c", "d"]);
}
