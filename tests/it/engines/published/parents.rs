//! Parents that are only in the registry, wherever a Dockerfile names them.

use super::*;
use crate::support::text;

/// `child` reads everything of its parents, and fails where it is another than it was.
const TREE: &str = "
    //- .gitignore
    .imgraph/
    //- layers.toml
    [workspace]
    registry = 'HOST'
    //- images/base/Dockerfile
    FROM scratch
    COPY rootfs packages.txt /
    //- images/base/packages.txt
    HOST
    //- images/tools/Dockerfile
    FROM scratch
    COPY tool /bin/
    //- images/tools/tool
    tool
    //- images/trigger/Dockerfile
    FROM HOST/base
    ONBUILD COPY own /own
    ONBUILD RUN cat /packages.txt /own > /triggered
    //- images/child/Dockerfile
    ARG BASE=HOST/trigger
    FROM $BASE AS trigger
    COPY --from=HOST/tools /bin/tool /tool
    RUN --mount=from=HOST/tools,target=/m cat /m/bin/tool > /mounted
    RUN echo \"got $(cat /triggered /tool /mounted)\"; sleep 0.1
    //- images/child/own
    first
";

/// `child` said in its last step that it has the first machine's `base`, and these words.
#[track_caller]
fn got(world: &World, said: &Said, words: &[&str]) {
    let events = said.events();
    let logs = events.iter().filter(|event| event["event"] == "log" && event["image"] == "child");
    let lines: Vec<String> = logs.map(|event| text(&event["line"]).to_owned()).collect();
    let first = format!("got {}", world.place);
    let expected = [&[&*first], words].concat();
    assert!(lines.windows(expected.len()).any(|some| some == expected), "{lines:#?}");
}

#[test]
fn a_parent_is_read_from_the_registry_wherever_it_is_named() {
    World::each(TREE, |world| {
        assert_eq!(world.push(0).ends().len(), 4);
        world.clone();
        assert_eq!(world.ends(1), NOTHING);
        world.write(1, "images/child/own", "second\n");
        let run = world.push(1);
        assert_eq!(run.ends(), ["child built"]);
        got(world, &run, &["second", "tool", "tool"]);
        // One parent here, and one there.
        world.write(1, "images/tools/tool", "new\n");
        let run = world.push(1);
        assert_eq!(run.ends(), ["child built", "tools built"]);
        got(world, &run, &["second", "new", "new"]);
        assert_eq!(world.ends(1), NOTHING);
    });
}

/// No BuildKit before 0.17 builds one; those of the daemons are older.
#[test]
fn a_trigger_that_names_an_image_finds_it_in_the_registry() {
    let tree = TREE.replace(
        "ONBUILD COPY own",
        "ONBUILD COPY --from=HOST/tools /bin/tool /t\n    ONBUILD COPY own",
    );
    let tree = tree.replace("cat /packages.txt /own", "cat /packages.txt /own /t");
    let is_able = |kind: &Kind| matches!(kind, Kind::Buildah | Kind::Buildkitd(_));
    World::each_of(&is_able, &tree, |world| {
        assert_eq!(world.push(0).ends().len(), 4);
        world.clone();
        world.write(1, "images/child/own", "second\n");
        let run = world.push(1);
        assert_eq!(run.ends(), ["child built"]);
        got(world, &run, &["second", "tool", "tool", "tool"]);
    });
}
