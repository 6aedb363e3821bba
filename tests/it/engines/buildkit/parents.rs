//! Parents are what the run says, wherever tags point: given to a new BuildKit as named contexts, and
//! to an old one in a Dockerfile that was edited in memory.

use super::*;

/// Dockerfiles whose image has the file `/who` of the parent, and how the parent is called there.
const TABLE: &[(&str, &str)] = &[
    ("FROM @/p:1", "@/p:1"),
    ("FROM @/p", "@/p"),
    ("FROM @/p:latest", "@/p:latest"),
    ("FROM docker.io/@/p:1 AS x", "docker.io/@/p:1"),
    ("FROM \"@/p:1\"", "@/p:1"),
    ("ARG V=1\nFROM @/p:$V AS x\nFROM x", "@/p:1"),
    ("ARG BASE=@/p\nARG V=1\nFROM ${BASE}:${V} AS x", "@/p:1"),
    ("ARG BASE\nFROM ${BASE:-@/p:1}", "@/p:1"),
    ("FROM --platform=$BUILDPLATFORM @/p:1", "@/p:1"),
    ("FROM scratch\nCOPY --from=@/p:1 /who /who", "@/p:1"),
    ("FROM @busybox AS one\nFROM scratch\nCOPY --chown=1 --from=@/p /who /who", "@/p"),
    ("FROM @busybox\nRUN --mount=type=bind,from=@/p:1,target=/m cat /m/who > /who", "@/p:1"),
    ("FROM scratch\nCOPY --from=from /who /who", "from"),
    // What a mount says beside its image may hold the same words.
    (
        "FROM @busybox\nRUN --mount=type=bind,target=/mnt/base,from=base cat /mnt/base/who > /who",
        "base",
    ),
    (
        "FROM @busybox\nRUN --mount=target=/mnt/from=base,\"from=base\" cat /mnt/from=base/who > /who",
        "base",
    ),
    (
        "FROM @busybox AS base\nFROM @busybox\nRUN --mount=target=/base:latest,\\\n\
         FROM='base:latest' cat /base:latest/who > /who",
        "base:latest",
    ),
    // Of a repository without a slash, called as its stage is.
    ("FROM base AS base\nFROM base", "base"),
    ("FROM base:latest AS base\nFROM scratch\nCOPY --from=base /who /who", "base:latest"),
    ("FROM base AS Base\nENV A=1\nFROM base\nENV A=2", "base"),
];

#[test]
fn a_parent_is_the_image_of_this_run_wherever_its_tag_points() {
    Bench::each(|bench| {
        let (pinned, other) = (bench.image("pinned"), bench.image("other"));
        let moved = ["@/p:1", "@/p:latest"].map(|reference| bench.named(reference));
        bench.engine.tag(&other, &moved).unwrap();
        for (dockerfile, reference) in TABLE {
            let parents = vec![bench.parent(&bench.named(reference), &pinned)];
            let request = Request { parents, ..bench.request(&format!("{dockerfile}\n")) };
            let built = bench.build(&request);
            let built = built.unwrap_or_else(|error| panic!("{dockerfile}\n{error:?}"));
            let who = bench.text(built.output.id.as_str(), "who");
            assert_eq!(who, "pinned\n", "{dockerfile}");
        }
        let other = other.to_string();
        assert!(moved.iter().all(|tag| bench.id_of(tag).as_ref() == Some(&other)), "none is moved");
    });
}

#[test]
fn two_parents_of_one_repository_are_told_apart() {
    Bench::each(|bench| {
        let (one, two) = (bench.image("one"), bench.image("two"));
        let dockerfile = "FROM @/p:1\nCOPY --from=@/p:2 /who /other\n";
        let parents = vec![
            bench.parent(&bench.named("@/p:1"), &one),
            bench.parent(&bench.named("@/p:2"), &two),
        ];
        let built = bench.build(&Request { parents, ..bench.request(dockerfile) }).unwrap();
        let id = built.output.id.as_str();
        assert_eq!(
            (bench.text(id, "who"), bench.text(id, "other")),
            ("one\n".into(), "two\n".into())
        );
    });
}

#[test]
fn a_trigger_that_names_an_image_is_refused_before_docker_28() {
    Bench::each(|bench| {
        let tools = bench.image("tools");
        let dockerfile = "FROM @busybox\nONBUILD COPY --from=@/tools:1 /who /tool\n";
        let base = bench.build(&bench.request(dockerfile)).unwrap().output.id;
        let parents = vec![
            bench.parent(&bench.named("@/triggers"), &base),
            bench.parent(&bench.named("@/tools:1"), &tools),
        ];
        let request = Request { parents, ..bench.request("FROM @/triggers\n") };
        match bench.build(&request) {
            Ok(built) => assert_eq!(bench.text(built.output.id.as_str(), "tool"), "tools\n"),
            Err(EngineError::Unsupported(text)) if bench.daemon.is_old() => {
                assert!(text.contains("Docker 28"), "{text}");
            }
            Err(EngineError::Step { message, line: Some(1), .. }) => {
                assert!(message.starts_with("cannot copy from stage"), "{message}");
            }
            Err(error) => panic!("{error:?}"),
        }
    });
}

#[test]
fn what_fails_on_a_pinned_parent_is_told_in_the_words_of_the_dockerfile() {
    Bench::each(|bench| {
        let pinned = bench.image("pinned");
        for (dockerfile, line) in [
            ("FROM @/p:1\nENV A=1\nCOPY --from=@/p:1 /nope /b", 3),
            ("FROM @/p:1 AS one\nRUN exit 3\nFROM scratch\nCOPY --from=one /who /", 2),
            ("FROM @busybox\nCOPY --from=@/p:1 /who /\n\nCOPY --from=@/p:1 /nope /b", 4),
        ] {
            let parents = vec![bench.parent(&bench.named("@/p:1"), &pinned)];
            let request = Request { parents, ..bench.request(dockerfile) };
            let (ended, said) = bench.watch(&request);
            let Err(EngineError::Step { message, line: found, .. }) = ended else {
                panic!("{dockerfile}\n{ended:?}");
            };
            assert_eq!(found, Some(line), "{dockerfile}\n{message}");
            let key = "/pinned:ig-";
            assert!(!message.contains(key) && !said.iter().any(|it| it.contains(key)), "{said:#?}");
        }
    });
}

#[test]
fn a_tag_that_was_moved_by_hand_is_moved_back_and_its_children_are_built_on_what_it_was() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- images/p/Dockerfile
            FROM scratch
            COPY who /
            //- images/p/who
            right
            //- images/child/Dockerfile
            FROM @/p
            COPY f /
            //- images/child/f
            ",
        );
        bench.rebuild(&tree, "").exits(0);
        let (p, wrong) = (format!("{}/p:latest", bench.tag), bench.image("wrong"));
        let right = bench.id_of(&p);
        bench.engine.tag(&wrong, std::slice::from_ref(&p)).unwrap();
        tree.write("images/child/f", "changed\n");
        let outcome = bench.rebuild(&tree, "--json").exits(0);
        assert_eq!(outcome.ends(), ["child built", "p restored"]);
        assert_eq!(bench.text(&format!("{}/child:latest", bench.tag), "who"), "right\n");
        assert_eq!(bench.id_of(&p), right);
    });
}

#[test]
fn tags_move_after_success_only() {
    Bench::each(|bench| {
        let tree = bench.workspace("//- images/a/f\n");
        let write = |steps: &str| {
            tree.write("images/a/Dockerfile", bench.named(&format!("FROM @busybox\n{steps}\n")));
        };
        write("COPY f /");
        bench.rebuild(&tree, "").exits(0);
        let before = bench.images();
        write("COPY f /g\nRUN false");
        bench.rebuild(&tree, "").exits(1);
        assert_eq!(bench.images(), before);
    });
}
