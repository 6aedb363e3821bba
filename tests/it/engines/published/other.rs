//! An image that comes out different wherever it is built.

use super::*;

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
    //- images/java/Dockerfile
    FROM HOST/base
    RUN cat /proc/sys/kernel/random/uuid > /java
    //- images/app/Dockerfile
    FROM HOST/java
    COPY Dockerfile /
";

fn digests(world: &World) -> [String; 2] {
    ["java:latest", "app:latest"].map(|tag| world.registry().digest_of(tag))
}

/// Which engine it is does not matter; one without a daemon has nothing in a cache that it shares.
#[test]
fn another_build_of_a_key_that_is_here_does_not_take_the_place_of_what_is_pushed() {
    World::each_of(&|kind| matches!(kind, Kind::Buildah), TREE, |world| {
        assert_eq!(world.ends(0).len(), 3);
        let before = digests(world);
        world.clone();
        world.machines[1].rebuild("").exits(0).mentions("3 built");
        world.write(0, "images/base/packages.txt", "other HOST\n");
        assert_eq!(world.ends(0).len(), 3);
        assert_ne!(digests(world), before);
        let ends = world.ends(1);
        assert!(ends.len() == 3 && !ends.iter().any(|end| end.ends_with(" built")), "{ends:?}");
        assert_eq!(digests(world), before);
        assert_eq!(world.ends(1), NOTHING);
    });
}
