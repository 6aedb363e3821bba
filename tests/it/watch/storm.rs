//! Many saves at random: whatever was built on the way, the end is as if there had been one rebuild.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::Workspace;
use crate::watch::{Watch, builds};

const SAVES: u64 = 2_000;
/// `benches/watch.rs` takes a whole minute for the same.
const SPAN: Duration = Duration::from_secs(8);

/// Numbers that look random and are the same every time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn workspace() -> Workspace {
    let tree = Workspace::new(
        "
        //- simulate.toml
        [default]
        duration = '15ms'
        //- images/base/Dockerfile
        FROM scratch
        COPY files /
        ",
    );
    for image in 0..20 {
        let parent = if image < 4 { "base".to_owned() } else { format!("i{}", image / 4) };
        let dockerfile = format!("FROM {parent}\nCOPY files /\n");
        tree.write(&format!("images/i{image}/Dockerfile"), dockerfile);
    }
    for image in images() {
        for file in 0..5 {
            tree.write(&format!("images/{image}/files/{file}"), "first\n");
        }
    }
    tree
}

fn images() -> impl Iterator<Item = String> {
    (0..20).map(|image| format!("i{image}")).chain(["base".to_owned()])
}

/// One save, in one of the ways that editors have; now and then a file comes, goes, or a Dockerfile
/// changes.
fn save(tree: &Workspace, random: &mut Random, number: u64) {
    let images: Vec<String> = images().collect();
    let image = &images[usize::try_from(random.below(21)).unwrap()];
    let path = tree.path(&format!("images/{image}/files/{}", random.below(5)));
    let content = format!("{}\n", random.below(4));
    match random.below(20) {
        0 => fs::write(tree.path(&format!("images/{image}/files/new{}", random.below(3))), content),
        1 => fs::remove_file(tree.path(&format!("images/{image}/files/new{}", random.below(3))))
            .or(Ok(())),
        2..8 => {
            let beside = path.with_extension(format!("{number}~"));
            fs::write(&beside, content).and_then(|()| fs::rename(beside, path))
        }
        8 => {
            let file = tree.path(&format!("images/{image}/Dockerfile"));
            let old = fs::read_to_string(&file).unwrap();
            let first = old.lines().next().unwrap().to_owned();
            fs::write(file, format!("{first}\nCOPY files /\nLABEL number={}\n", random.below(3)))
        }
        _ => fs::write(path, content),
    }
    .unwrap();
}

#[test]
fn two_thousand_saves_end_where_one_rebuild_ends_and_nothing_is_built_twice() {
    let tree = workspace();
    let mut watch = Watch::start(&tree, "--jobs=2");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    for number in 0..SAVES {
        save(&tree, &mut random, number);
        // Saves are spread over the span; the events of the watch are read in between.
        let due = SPAN * u32::try_from(number).unwrap() / u32::try_from(SAVES).unwrap();
        let early = due.saturating_sub(start.elapsed());
        watch.listen(early);
    }
    watch.settles();
    let said = watch.stop();
    builds(&said);
    tree.rebuild("--changed").exits(0).mentions("nothing to do: 21 images");
}
