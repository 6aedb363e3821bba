//! Registries that want a login, or speak TLS.

use super::*;

/// The first of the pairs that there is.
fn one(is_it: impl Fn(&Kind) -> bool) -> Option<[Kind; 2]> {
    pairs().into_iter().map(|(_, kinds)| kinds).find(|kinds| is_it(&kinds[0]))
}

/// Two machines, one change.
fn goes_on(world: &mut World, logs_in: impl Fn(&Machine)) {
    logs_in(&world.machines[0]);
    assert_eq!(world.ends(0).len(), 2);
    world.clone();
    logs_in(&world.machines[1]);
    assert_eq!(world.ends(1), NOTHING);
    assert_eq!(world.machines[1].store(), NOTHING);
    for machine in [1, 0] {
        world.write(machine, "images/app/packages.txt", "other\n");
    }
    assert_eq!(world.ends(1), ["app built"]);
    assert_eq!(world.ends(0), NOTHING);
}

fn is_buildah(kind: &Kind) -> bool {
    matches!(kind, Kind::Buildah)
}

#[test]
fn a_registry_with_a_login_is_read_and_written_by_who_has_logged_in() {
    let Some(host) = ready("IMGRAPH_TEST_REGISTRY_LOGIN") else { return };
    for kinds in [one(is_buildah), one(|kind| !is_buildah(kind))].into_iter().flatten() {
        let registry = Bench::with(Behind::Registry(host.clone()), &[].into());
        let place = registry.name("x").strip_suffix("/x").unwrap().to_owned();
        let host = registry.front.host.clone();
        let mut world = World::new(SMALL, kinds, (Some(registry), place));
        world.machines[0].rebuild("--push").exits(1).mentions("`docker login");
        goes_on(&mut world, |machine| machine.logs_in(&host));
    }
}

#[test]
fn a_registry_with_tls_is_read_and_written() {
    let Some(host) = ready("IMGRAPH_TEST_REGISTRY_TLS") else { return };
    for kinds in [one(is_buildah), one(|kind| !is_buildah(kind))].into_iter().flatten() {
        let name = Bench::new().name("x");
        let (_, own) = name.strip_suffix("/x").unwrap().split_once('/').unwrap();
        let mut world = World::new(SMALL, kinds, (None, format!("{host}/{own}")));
        goes_on(&mut world, |_| ());
    }
}
