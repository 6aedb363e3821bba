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
    LABEL place=HOST
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

/// Whether it builds triggers that name images: no BuildKit before 0.17 does, and those of the
/// daemons are older.
fn is_able(kind: &Kind) -> bool {
    matches!(kind, Kind::Buildah | Kind::Buildkitd(_))
}

#[test]
fn a_parent_is_read_from_the_registry_wherever_it_is_named() {
    World::each_of(&|kind| !is_able(kind), TREE, |world| reads_parents(world, 2));
}

#[test]
fn a_parent_is_read_from_the_registry_in_a_trigger_too() {
    let (copy, cat) = ("ONBUILD COPY own", "cat /packages.txt /own");
    let more = format!("ONBUILD COPY --from=HOST/tools /bin/tool /t\n    {copy}");
    let tree = TREE.replace(copy, &more).replace(cat, &format!("{cat} /t"));
    World::each_of(&is_able, &tree, |world| reads_parents(world, 3));
}

/// `child` reads the tool so many times.
fn reads_parents(world: &mut World, times: usize) {
    let words = |tool| [&["second"], &*vec![tool; times]].concat();
    assert_eq!(world.ends(0).len(), 4);
    world.clone();
    assert_eq!(world.ends(1), NOTHING);
    world.write(1, "images/child/own", "second\n");
    let run = world.push(1);
    assert_eq!(run.ends(), ["child built"]);
    got(world, &run, &words("tool"));
    // One parent here, and one there.
    world.write(1, "images/tools/tool", "new\n");
    let run = world.push(1);
    assert_eq!(run.ends(), ["child built", "tools built"]);
    got(world, &run, &words("new"));
    assert_eq!(world.ends(1), NOTHING);
}
