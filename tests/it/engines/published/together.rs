//! `--atomic`: all tags move, or none.

use super::*;

fn digests(world: &World) -> [String; 2] {
    ["base:latest", "app:latest"].map(|tag| world.registry().digest_of(tag))
}

#[test]
fn tags_move_together_or_not_at_all() {
    World::each(SMALL, |world| {
        assert_eq!(world.ends(0), ["app built", "base built"]);
        let before = digests(world);
        world.clone();
        world.write(1, "images/base/packages.txt", "other HOST\n");
        let path = "images/app/Dockerfile";
        let old = world.machines[1].tree.read(path);
        world.write(1, path, &format!("{old}RUN exit 7\n"));
        let said = world.machines[1].rebuild("--push --atomic --json").exits(1);
        assert_eq!(said.ends(), ["app failed", "base built"]);
        said.mentions("no tag has moved: not all images are there");
        assert_eq!(digests(world), before);
        world.write(1, path, &old);
        let said = world.machines[1].rebuild("--push --atomic --json").exits(0);
        assert_eq!(said.ends(), ["app built", "base pushed"]);
        let now = digests(world);
        assert!(now[0] != before[0] && now[1] != before[1], "{now:?}");
        world.write(0, "images/base/packages.txt", "other HOST\n");
        assert_eq!(world.ends(0), NOTHING);
    });
}
