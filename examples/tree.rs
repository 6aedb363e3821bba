//! Writes a workspace of so many images, for measuring: `tree DIR IMAGES FILES`.
//!
//! 1 % bases, 9 % intermediates, 90 % applications; parents by Zipf's law, so that a few are popular.
//! Each image copies its directory of files. The same numbers give the same tree.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a program that writes a tree"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, images, files] = &arguments[..] else {
        eprintln!("usage: tree DIR IMAGES FILES");
        return ExitCode::from(2);
    };
    let (Ok(images), Ok(files)) = (images.parse(), files.parse()) else {
        eprintln!("tree: IMAGES and FILES are numbers");
        return ExitCode::from(2);
    };
    match write_tree(&PathBuf::from(dir), images, files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tree: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_tree(dir: &Path, images: usize, files: usize) -> io::Result<()> {
    let bases = (images / 100).max(1);
    let middles = (images * 9 / 100).max(1);
    let apps = images.saturating_sub(bases + middles);
    let mut chance = Chance(42);
    fs::create_dir_all(dir)?;
    fs::write(dir.join("layers.toml"), LAYERS)?;
    for number in 0..bases {
        write_image(dir, &format!("base/b{number}"), "scratch", files)?;
    }
    for number in 0..middles {
        let parent = format!("bench/base/b{}", chance.popular(bases));
        write_image(dir, &format!("middle/m{number}"), &parent, files)?;
    }
    for number in 0..apps {
        let parent = format!("bench/middle/m{}", chance.popular(middles));
        write_image(dir, &format!("apps/a{number}"), &parent, files)?;
    }
    Ok(())
}

const LAYERS: &str = r#"[workspace]
registry = "bench"

[[layer]]
name = "base"
[[layer]]
name = "middle"
from = ["base"]
[[layer]]
name = "apps"
from = ["middle"]
"#;

fn write_image(dir: &Path, name: &str, parent: &str, files: usize) -> io::Result<()> {
    let image = dir.join("images").join(name);
    let source = image.join("src");
    fs::create_dir_all(&source)?;
    let dockerfile = format!(
        "FROM {parent}\nARG VERSION=1\nENV NAME={name}\nRUN install --of {name}\nCOPY src /opt/{name}\n"
    );
    fs::write(image.join("Dockerfile"), dockerfile)?;
    for number in 0..files {
        let line = format!("{name} {number}: a line of about sixty bytes, as sources have\n");
        fs::write(source.join(format!("f{number}.txt")), line.repeat(5))?;
    }
    Ok(())
}

/// A small linear congruential generator: the same numbers on every machine.
struct Chance(u64);

impl Chance {
    /// A number below `count`; the first are the popular ones (Zipf).
    fn popular(&mut self, count: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rough distribution over a few thousand parents"
        )]
        let number = ((count as f64).powf(share) - 1.0).floor() as usize;
        number.min(count - 1)
    }
}
