//! How fast a run is that finds nothing to do, and what is around it, beside programs that people
//! know, on one tree and in turns.
//!
//! ```sh
//! make bench                                        # 1,000 and 10,000 images, all tables
//! cargo bench --bench speed -- 1000                 # one size
//! cargo bench --bench speed -- simulated            # a rebuild by an engine that only waits
//! cargo bench --bench speed -- plant DIR zipf 1000 10   # the tree alone, to try things on
//! cargo bench --bench speed -- floor DIR            # the floor alone
//! ```
//! Timings are hyperfine's (`apt-get install hyperfine ninja-build git time`, `cargo install b3sum`).
//! Each command is run in several rounds, all others between, and the median of all is printed.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench makes files, starts programs and looks at the clock"
)]
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

mod floor;
mod timing;
mod tree;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::timing::{Row, Timed, json, output, peak_megabytes, table};
use crate::tree::{Shape, images, plant};

const IMGRAPH: &str = env!("CARGO_BIN_EXE_imgraph");
/// Files of an image besides its Dockerfile.
const FILES: usize = 10;
/// The sizes that the bars are stated for.
const SIZES: [usize; 2] = [1_000, 10_000];

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["floor", root] => {
            let (files, bytes) = floor::walk(PathBuf::from(root))?;
            println!("{files} files, {bytes} bytes");
            Ok(())
        }
        ["plant", root, shape, count, files] => {
            let count = number(count);
            let shape: Shape = shape.parse().unwrap_or_else(|error: String| panic!("{error}"));
            plant(Path::new(root), &images(shape, count), number(files))
        }
        ["simulated"] => simulated(),
        [] => {
            // First: for a minute or more after a tree was deleted, ext4 looks around for each new
            // file (`recently_deleted`), and a rebuild makes a log for each image.
            simulated()?;
            SIZES.into_iter().try_for_each(measure)?;
            start()?;
            large_file()
        }
        _ => words.into_iter().map(number).try_for_each(measure),
    }
}

fn number(word: &str) -> usize {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

/// A command of this program.
fn imgraph(root: &Path, arguments: &str) -> String {
    format!("{IMGRAPH} --engine simulate -C {} {arguments}", root.display())
}

/// The tables of one size.
fn measure(count: usize) -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let root = home.path();
    plant(root, &images(Shape::Zipf, count), FILES)?;
    let shown = root.display();
    let sh = |script: &str| output("sh", &["-c", &format!("cd {shown} && {script}")]);
    sh("git init -q && git add . && git -c user.name=x -c user.email=x@x.invalid commit -qm x")?;
    let rebuild = imgraph(root, "rebuild --quiet");
    sh(&format!("{rebuild} && ninja --quiet && git status --porcelain"))?;
    // What was just written cannot be written down: it takes a run or two until all of it is.
    while !root.join(".imgraph/settled").exists() {
        sh(&rebuild)?;
    }
    let own = std::env::current_exe()?;
    let noop = imgraph(root, "rebuild --changed --quiet");
    let timed = timing::rounds(
        &[
            Timed::new("imgraph rebuild --changed", &noop),
            Timed::new("ninja", &format!("ninja -C {shown} --quiet")),
            Timed::new("git status", &format!("git -C {shown} status --porcelain")),
            Timed::new(
                "floor: readdir + fstatat",
                &format!("{} floor {shown}/images", own.display()),
            ),
        ],
        if count > 2_000 { 5 } else { 15 },
    )?;
    println!("\nnothing to do, {count} images x {FILES} files");
    table(&timed);
    println!("  peak memory of imgraph {:.1} MB", peak_megabytes(&noop)?);

    let plan = imgraph(root, "plan");
    let base = format!("{shown}/images/base/b0000");
    // One after the other: what one leaves behind is not what the next begins with.
    let mut timed = timed.into_iter().take(1).collect::<Vec<_>>();
    let mut peaks = Vec::new();
    for (name, change) in [
        ("plan, nothing changed", "true".to_owned()),
        ("plan, a file of a base changed", format!("sh -c 'date +%N >> {base}/src/f0.txt'")),
        ("plan, its Dockerfile changed", format!("sh -c 'date \"+# %N\" >> {base}/Dockerfile'")),
    ] {
        timed.extend(timing::rounds(&[Timed::new(name, &plan).after(&change)], 5)?);
        peaks.push(format!("{:.1} MB", peak_megabytes(&plan)?));
    }
    let changed = json(&imgraph(root, "plan --json"))?;
    let steps = changed["steps"].as_array().into_iter().flatten();
    let stale = steps.filter(|step| step["decision"] != "fresh").count();
    println!("\nwhat follows from a change, {count} images ({stale} in the plan)");
    table(&timed);
    println!("  peak memory of the plans {}", peaks.join(", "));

    let forget = format!("rm -rf {shown}/.imgraph");
    let b3sum = format!("sh -c 'cd {shown} && find images -type f -print0 | xargs -0 b3sum'");
    let timed = timing::rounds(
        &[
            Timed::new("imgraph plan, no state", &plan).after(&forget),
            Timed::new("b3sum of the same files", &b3sum),
        ],
        5,
    )?;
    println!("\ncold, {count} images x {FILES} files");
    table(&timed);
    Ok(())
}

fn start() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    plant(home.path(), &images(Shape::Zipf, 10), FILES)?;
    let timed = timing::rounds(
        &[
            Timed::new("imgraph --version", &format!("{IMGRAPH} --version")),
            Timed::new("imgraph ls, 10 images", &imgraph(home.path(), "ls")),
        ],
        20,
    )?;
    println!("\nstart");
    table(&timed);
    Ok(())
}

/// One context with one large file.
fn large_file() -> io::Result<()> {
    const BYTES: u64 = 2 << 30;
    let home = tempfile::tempdir()?;
    let root = home.path();
    plant(root, &images(Shape::Chain, 1), 1)?;
    let file = root.join("images/apps/a00000/src/large");
    let script = format!("head -c {BYTES} /dev/zero | tr '\\0' x > {}", file.display());
    output("sh", &["-c", &script])?;
    let forget = format!("rm -rf {}/.imgraph", root.display());
    let plan = imgraph(root, "plan");
    let timed = timing::rounds(
        &[
            Timed::new("imgraph plan, no state", &plan).after(&forget),
            Timed::new("b3sum of the same file", &format!("b3sum {}", file.display())),
        ],
        3,
    )?;
    println!("\ncold, one file of {} MB", BYTES >> 20);
    table(&timed);
    Ok(())
}

/// A rebuild of everything by an engine that only waits.
fn simulated() -> io::Result<()> {
    const IMAGES: usize = 1_000;
    const SLOTS: usize = 64;
    let home = tempfile::tempdir()?;
    let root = home.path();
    let all = images(Shape::Zipf, IMAGES);
    plant(root, &all, 1)?;
    let mut script = String::new();
    for (at, image) in all.iter().enumerate() {
        let millis = 100 + at * 7_919 % 900;
        let name = &image.name;
        writeln!(script, "[image.\"{name}\"]\nduration = \"{millis}ms\"").unwrap_or_default();
    }
    fs::write(root.join("simulate.toml"), script)?;
    // The first run learns the durations, the second knows them.
    output("sh", &["-c", &imgraph(root, &format!("rebuild --quiet --jobs {SLOTS}"))])?;
    let again = imgraph(root, &format!("rebuild --force --json --jobs {SLOTS}"));
    let row: Row = timing::simulated(&again)?;
    println!("\nrebuild of {IMAGES} images at {SLOTS} slots, simulated, durations known");
    println!("  {row}");
    Ok(())
}
