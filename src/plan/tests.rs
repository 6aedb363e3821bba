use std::cell::RefCell;
use std::path::PathBuf;

use super::*;
use crate::context::EntryKind;
use crate::fingerprint::leaf::encode;
use crate::graph::fixture::Fixture;
use crate::history::{Output, Prepared, Pushed};

const TREE: &str = "//- base/Dockerfile
    FROM scratch
    COPY file /
    //- tools/Dockerfile
    FROM base
    //- jre/Dockerfile
    FROM base
    COPY file /
    //- app/Dockerfile
    FROM jre
    COPY --from=tools /t /";

/// A workspace with what is known of it.
struct World {
    tree: Fixture,
    entries: Vec<Option<Vec<Entry>>>,
    history: History,
    engine: &'static str,
    wanted: Option<BTreeSet<ImageId>>,
    forced: BTreeSet<ImageId>,
    prepare: BTreeMap<ImageId, PrepareCause>,
    push: bool,
    aged_at: Option<u64>,
    /// Where outputs are, if not where they shall be.
    astray: BTreeMap<ImageId, Presence>,
    asked: RefCell<Vec<ImageId>>,
}

impl World {
    /// Nothing was built.
    fn new(text: &str) -> Self {
        let tree = Fixture::new(text);
        assert_eq!(tree.said(), [""; 0]);
        let mut world = Self {
            entries: vec![None; tree.graph.len()],
            tree,
            history: History::default(),
            engine: "simulate",
            wanted: None,
            forced: BTreeSet::new(),
            prepare: BTreeMap::new(),
            push: false,
            aged_at: None,
            astray: BTreeMap::new(),
            asked: RefCell::default(),
        };
        for id in world.tree.graph.order().to_vec() {
            world.entries[id.index()] = Some(vec![file(b"first")]);
        }
        world
    }

    /// Everything was built.
    fn built(text: &str) -> Self {
        let mut world = Self::new(text);
        world.build_all();
        world
    }

    /// Builds all that is not fresh, as a run does: each image comes out different for each key.
    fn build_all(&mut self) {
        for id in self.tree.graph.order().to_vec() {
            let (key, leaves) = {
                let present = |_: ImageId, _: &Record| Presence::Present;
                let facts = self.facts(&present);
                let entries = self.entries[id.index()].as_deref().unwrap_or_default();
                let inputs = facts.inputs(id, entries);
                let parent = |edge: &Edge| {
                    let name = self.tree.graph.name(edge.parent);
                    (name, facts.identity(edge.parent, &self.history.records[name]))
                };
                (key(&inputs, &parent), encode(&leaves(&inputs, &parent)))
            };
            let record = self.record(id, key, key, leaves);
            self.history.add_build(Arc::new(record));
        }
    }

    fn record(&self, id: ImageId, key: Digest, content: Digest, leaves: Vec<u8>) -> Record {
        let image = self.tree.graph.image(id);
        Record {
            image: image.spec.name.clone(),
            platform: image.platform.clone(),
            engine: "simulate".to_owned(),
            source_key: None,
            build_key: key,
            content,
            output: Output {
                id: format!("sha256:{content}").parse().unwrap(),
                manifest: None,
                references: image.spec.references(),
                diff_ids: Vec::new(),
                size: 1,
            },
            finished: 0,
            duration: 100,
            leaves,
        }
    }

    fn facts<'a>(&'a self, present: &'a dyn Fn(ImageId, &Record) -> Presence) -> Facts<'a> {
        const NO_PINS: &LockFile = &LockFile::new();
        Facts {
            graph: &self.tree.graph,
            layers: &self.tree.layers,
            engine: self.engine,
            flavour: Flavour::BuildKit,
            pins: NO_PINS,
            present,
            published: None,
            aged_at: self.aged_at,
        }
    }

    fn change(&mut self, image: &str) {
        let id = self.tree.id(image);
        self.entries[id.index()] = Some(vec![file(b"second")]);
    }

    fn plan(&self) -> Plan {
        let present = |id: ImageId, _: &Record| {
            self.asked.borrow_mut().push(id);
            self.astray.get(&id).cloned().unwrap_or(Presence::Present)
        };
        let all = self.tree.graph.iter().map(|(id, _)| id).collect();
        let images = self.wanted.as_ref().unwrap_or(&all);
        let wanted =
            Wanted { images, forced: &self.forced, prepare: &self.prepare, push: self.push };
        plan(&self.facts(&present), &self.history, &self.entries, &wanted)
    }

    /// The plan, one step a line: `app Pending [] waits for jre tools`.
    fn steps(&self) -> Vec<String> {
        let step = |step: &Step| {
            let name = self.tree.graph.name(step.image);
            let reasons = &step.reasons;
            let waits = self.tree.names(&step.waits_for).join(" ");
            let waits = if waits.is_empty() { waits } else { format!(" waits for {waits}") };
            format!("{name} {:?} {reasons:?}{waits}", step.decision)
        };
        self.plan().steps.iter().map(step).collect()
    }
}

fn file(content: &[u8]) -> Entry {
    let content = Digest::of_content(content);
    let kind = EntryKind::File { size: 6, content };
    Entry { path: PathBuf::from("file"), kind, mode: 0o644, xattrs: None }
}

#[test]
fn what_was_never_built_is_rebuilt_parents_first() {
    assert_eq!(
        World::new(TREE).steps(),
        [
            "base Rebuild [NeverBuilt]",
            "jre Rebuild [NeverBuilt] waits for base",
            "tools Rebuild [NeverBuilt] waits for base",
            "app Rebuild [NeverBuilt] waits for jre tools",
        ]
    );
}

#[test]
fn what_was_built_from_the_same_inputs_is_fresh() {
    let world = World::built(TREE);
    assert_eq!(world.steps(), ["base Fresh []", "jre Fresh []", "tools Fresh []", "app Fresh []"]);
    assert!(world.plan().work().next().is_none());
}

#[test]
fn below_a_parent_that_may_come_out_different_it_is_decided_later() {
    let mut world = World::built(TREE);
    world.change("base");
    assert_eq!(
        world.steps(),
        [
            "base Rebuild [FileChanged { path: \"file\" }]",
            "jre Pending [] waits for base",
            "tools Pending [] waits for base",
            "app Pending [] waits for jre tools",
        ]
    );
}

#[test]
fn an_image_waits_only_for_the_parents_that_may_change() {
    let mut world = World::built(TREE);
    world.change("jre");
    assert_eq!(
        world.steps(),
        [
            "base Fresh []",
            "jre Rebuild [FileChanged { path: \"file\" }]",
            "tools Fresh []",
            "app Pending [] waits for jre",
        ]
    );
}

#[test]
fn a_reason_of_its_own_is_known_before_the_parents_are() {
    let mut world = World::built(TREE);
    world.change("base");
    world.change("jre");
    assert_eq!(
        world.steps()[1],
        "jre Rebuild [FileChanged { path: \"file\" }] waits for base",
        "and not that base came out different, which nobody knows yet"
    );
    assert_eq!(world.plan().steps[1].key, None);
}

#[test]
fn an_output_that_is_gone_is_rebuilt() {
    let mut world = World::built(TREE);
    world.astray.insert(world.tree.id("jre"), Presence::Missing);
    assert_eq!(
        world.steps()[1..],
        ["jre Rebuild [OutputMissing]", "tools Fresh []", "app Pending [] waits for jre",]
    );
}

#[test]
fn an_output_without_its_tags_gets_them_back_and_its_children_stay_fresh() {
    let mut world = World::built(TREE);
    let untagged = Presence::Untagged { references: vec!["jre:latest".to_owned()] };
    world.astray.insert(world.tree.id("jre"), untagged);
    assert_eq!(world.steps()[1..], ["jre Restore []", "tools Fresh []", "app Fresh []"]);
}

#[test]
fn what_is_changed_back_is_restored_down_to_the_last_image() {
    let mut world = World::built(TREE);
    world.change("jre");
    world.build_all();
    world.entries[world.tree.id("jre").index()] = Some(vec![file(b"first")]);
    assert_eq!(
        world.steps(),
        ["base Fresh []", "jre Restore []", "tools Fresh []", "app Restore []"]
    );
}

#[test]
fn what_cannot_be_restored_any_more_is_rebuilt() {
    let mut world = World::built(TREE);
    world.change("jre");
    world.build_all();
    world.entries[world.tree.id("jre").index()] = Some(vec![file(b"first")]);
    world.astray.insert(world.tree.id("jre"), Presence::Missing);
    assert_eq!(world.steps()[1], "jre Rebuild [FileChanged { path: \"file\" }]");
}

#[test]
fn what_another_engine_built_counts_for_nothing() {
    let mut world = World::built(TREE);
    world.engine = "buildah";
    let steps = world.steps();
    assert_eq!(steps[0], "base Rebuild [OtherEngine { engine: \"simulate\" }]");
    assert_eq!(steps[1], "jre Rebuild [OtherEngine { engine: \"simulate\" }] waits for base");
    assert_eq!(*world.asked.borrow(), [], "it has none of them");
}

#[test]
fn what_was_recorded_by_rules_that_are_not_known_here_is_rebuilt() {
    let mut world = World::built(TREE);
    let id = world.tree.id("base");
    let other = Digest::of_content(b"another key");
    let record = world.record(id, other, other, vec![255; 9]);
    world.history.by_key.clear();
    world.history.add_record(Arc::new(record));
    assert_eq!(world.steps()[0], "base Rebuild [SettingChanged { name: \"rules\" }]");
}

#[test]
fn what_is_forced_is_rebuilt_whatever_its_key_says() {
    let mut world = World::built(TREE);
    world.forced.insert(world.tree.id("jre"));
    assert_eq!(
        world.steps(),
        ["base Fresh []", "jre Rebuild [Forced]", "tools Fresh []", "app Pending [] waits for jre",]
    );
    world.change("jre");
    assert_eq!(world.steps()[1], "jre Rebuild [Forced, FileChanged { path: \"file\" }]");
    world.change("base");
    assert!(world.steps()[1].starts_with("jre Rebuild [Forced, "), "{:?}", world.steps());
}

#[test]
fn what_has_to_be_prepared_is_decided_afterwards() {
    let mut world = World::built(TREE);
    world.prepare.insert(world.tree.id("base"), PrepareCause::InputsChanged);
    world.entries[world.tree.id("base").index()] = None;
    assert_eq!(
        world.steps()[..2],
        ["base Pending [PrepareNeeded { cause: InputsChanged }]", "jre Pending [] waits for base",]
    );
}

/// A day in milliseconds.
const DAY: u64 = 86_400_000;

/// Everything was built at the beginning of time, and the base may become a day old.
fn aging() -> World {
    let toml = "[[layer]]\nname = 'base'\nmax-age = '1d'\n[[layer]]\nname = 'all'\ndirs = ['.']";
    World::built(&format!("//- layers.toml\n{toml}\n{TREE}"))
}

#[test]
fn what_is_too_old_is_rebuilt_where_that_matters_and_its_children_wait() {
    let mut world = aging();
    let fresh = ["base Fresh []", "jre Fresh []", "tools Fresh []", "app Fresh []"];
    for aged_at in [None, Some(0), Some(DAY)] {
        world.aged_at = aged_at;
        assert_eq!(world.steps(), fresh, "{aged_at:?}");
    }
    world.aged_at = Some(DAY + 1);
    assert_eq!(
        world.steps(),
        [
            "base Rebuild [TooOld { age: 86400001, max_age: 86400000 }]",
            "jre Pending [] waits for base",
            "tools Pending [] waits for base",
            "app Pending [] waits for jre tools",
        ]
    );
    world.astray.insert(world.tree.id("base"), Presence::Missing);
    assert!(world.steps()[0].ends_with("}, OutputMissing]"), "{:?}", world.steps());
    world.change("base");
    assert!(world.steps()[0].ends_with("}, FileChanged { path: \"file\" }]"));
    let base = world.tree.id("base");
    world.prepare.insert(base, PrepareCause::Forced);
    world.entries[base.index()] = None;
    let step = &world.steps()[0];
    assert!(step.starts_with("base Pending [TooOld {") && step.contains("PrepareNeeded"), "{step}");
}

#[test]
fn an_earlier_output_that_is_too_old_is_not_tagged_again() {
    let mut world = aging();
    world.change("base");
    world.build_all();
    let base = world.tree.id("base");
    let name = world.tree.graph.name(base).clone();
    let young = Record { finished: 9 * DAY, ..(*world.history.records[&name]).clone() };
    world.history.add_record(Arc::new(young));
    world.entries[base.index()] = Some(vec![file(b"first")]);
    assert_eq!(world.steps()[0], "base Restore []");
    world.aged_at = Some(9 * DAY);
    assert!(world.steps()[0].starts_with("base Rebuild [TooOld {"), "{:?}", world.steps());
}

#[test]
fn steps_from_a_cache_make_an_image_no_younger() {
    let mut world = aging();
    let base = world.tree.id("base");
    let name = world.tree.graph.name(base).clone();
    let young = Record { finished: 9 * DAY, ..(*world.history.records[&name]).clone() };
    world.history.add_record(Arc::new(young));
    world.aged_at = Some(9 * DAY);
    assert_eq!(world.steps()[0], "base Fresh []");
    world.history.aged.insert(name, 0);
    assert!(world.steps()[0].starts_with("base Rebuild [TooOld {"), "{:?}", world.steps());
    let present = |_: ImageId, _: &Record| Presence::Present;
    let Facts { graph, layers, .. } = world.facts(&present);
    let old = |now| age::too_old_images((graph, layers), &world.history, now);
    assert_eq!((old(DAY), old(9 * DAY)), (BTreeSet::new(), BTreeSet::from([base])));
}

#[test]
fn only_what_is_wanted_is_decided_and_what_is_left_out_stands_as_recorded() {
    let mut world = World::built(TREE);
    world.change("base");
    world.change("jre");
    world.wanted = Some([world.tree.id("jre")].into());
    assert_eq!(world.steps(), ["jre Rebuild [FileChanged { path: \"file\" }]"]);
    assert!(world.plan().steps[0].key.is_some());
}

#[test]
fn the_store_is_asked_once_about_each_image() {
    let world = World::built(TREE);
    drop(world.plan());
    assert_eq!(world.tree.names(&*world.asked.borrow()), ["base", "jre", "tools", "app"]);
}

/// `cutoff` of a layer: what stands for a parent in the keys of its children.
#[test]
fn the_layer_says_what_stands_for_an_image() {
    let layered = |cutoff: &str| {
        format!(
            "//- layers.toml\n[[layer]]\nname = 'all'\ndirs = ['.']\ncutoff = '{cutoff}'\n{TREE}"
        )
    };
    let identities = |cutoff: &str| {
        let world = World::built(&layered(cutoff));
        let id = world.tree.id("base");
        let present = |_: ImageId, _: &Record| Presence::Present;
        let record = (*world.history.records[world.tree.graph.name(id)]).clone();
        let other = |change: &dyn Fn(&mut Record)| {
            let mut changed = record.clone();
            change(&mut changed);
            world.facts(&present).identity(id, &record)
                != world.facts(&present).identity(id, &changed)
        };
        let another = Digest::of_content(b"another");
        [
            other(&|record| record.content = another),
            other(&|record| record.output.id = format!("sha256:{another}").parse().unwrap()),
            other(&|record| record.build_key = another),
        ]
    };
    assert_eq!(identities("content"), [true, false, false]);
    assert_eq!(identities("digest"), [false, true, false]);
    assert_eq!(identities("inputs"), [false, false, true]);
}

#[test]
fn durations_are_guessed_from_slow_images_of_the_same_layer() {
    let text = format!(
        "//- layers.toml\n[[layer]]\nname = 'all'\ndirs = ['.']\n{TREE}\n//- new/Dockerfile\nFROM scratch"
    );
    let mut world = World::new(&text);
    let present = |_: ImageId, _: &Record| Presence::Present;
    let guess = |world: &World, image: &str| {
        let id = world.tree.id(image);
        let layer = world.tree.graph.image(id).spec.layer;
        Durations::new(&world.facts(&present), &world.history).or_guess(id, layer)
    };
    assert_eq!(guess(&world, "new"), 60_000, "nothing is known: a minute");
    for (image, duration) in [("base", 1_000), ("jre", 9_000), ("tools", 2_000)] {
        world.history.durations.insert(image.parse().unwrap(), duration);
    }
    assert_eq!(guess(&world, "tools"), 2_000);
    assert_eq!(guess(&world, "new"), 9_000, "a slow one");
    let image: ImageName = "base".parse().unwrap();
    let key = Digest::of_content(b"");
    world.history.add_prepared(Prepared { image, key, duration: 500 });
    assert_eq!(guess(&world, "base"), 1_500, "with its prepare");
}

#[test]
fn the_source_key_is_known_without_a_build_and_moves_with_every_ancestor() {
    let world = World::new(TREE);
    let mut changed = World::new(TREE);
    changed.change("base");
    let keys = |world: &World| {
        let present = |_: ImageId, _: &Record| Presence::Missing;
        source_keys(&world.facts(&present), &world.entries)
    };
    let (before, after) = (keys(&world), keys(&changed));
    assert!(before.iter().all(Option::is_some));
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "all are below base");
    changed.entries[changed.tree.id("jre").index()] = None;
    let known: Vec<bool> = keys(&changed).iter().map(Option::is_some).collect();
    let [app, base, jre, tools] = known[..] else { panic!("four images") };
    assert_eq!([base, tools, jre, app], [true, true, false, false], "below the unknown is unknown");
}

#[test]
fn a_key_reference_is_a_tag_of_the_repository() {
    let reference = key_reference("acme/base", &Digest::from_bytes([0xab; 32]));
    assert_eq!(reference, format!("acme/base:ig-{}", "ab".repeat(16)));
}

#[test]
fn what_is_fresh_is_pushed_where_it_was_not() {
    let mut world = World::built(TREE);
    assert!(world.plan().steps.iter().all(|step| step.decision == Decision::Fresh));
    world.push = true;
    let base = world.tree.id("base");
    let name = world.tree.graph.name(base).clone();
    let record = Arc::clone(&world.history.records[&name]);
    let references = pushed_references(&world.tree.graph.image(base).spec, &record.build_key);
    world.history.add_pushed(Pushed { image: name, id: record.output.id.clone(), references });
    for step in world.plan().steps {
        let expected = if step.image == base {
            (Decision::Fresh, vec![])
        } else {
            (Decision::Push, vec![Reason::NotPushed])
        };
        assert_eq!((step.decision, step.reasons), expected);
        assert_eq!(step.predicted, None);
    }
    world.change("base");
    let plan = world.plan();
    assert_eq!(plan.steps[0].decision, Decision::Rebuild, "what is built is pushed anyway");
}

#[test]
fn what_was_not_looked_at_stands_where_it_would_have_stood() {
    let mut plan = World::built(TREE).plan();
    let name = |text: &str| -> ImageName { text.parse().unwrap() };
    let beside = |text: &str| Beside { name: name(text), waits_for: Vec::new(), predicted: None };
    plan.beside = vec![(0, beside("a")), (0, beside("b")), (2, beside("c")), (4, beside("d"))];
    let row = |row: Row<'_>| match row {
        Row::Step(step) => step.image.index().to_string(),
        Row::Beside(beside) => beside.name.to_string(),
    };
    let steps: Vec<String> = plan.steps.iter().map(|step| row(Row::Step(step))).collect();
    let [one, two, three, four] = &steps[..] else { panic!("four images") };
    let rows: Vec<String> = plan.rows().map(row).collect();
    assert_eq!(rows, ["a", "b", one, two, "c", three, four, "d"]);
    assert_eq!(plan.len(), rows.len());
}
