//! How long the front end takes for every Dockerfile of the conformance corpus, on one core:
//! `cargo bench --bench front [-- ROUNDS]`.
//!
//! All files are in memory; a round parses each and resolves its last stage. The bar is 50 ms for
//! 2,000 files: the program fails where the median round is over it.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program that measures"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use imgraph::dockerfile::{Flavour, Request, parse, resolve};
use imgraph::image::Platform;
use lzma_rust2::XzReader;

/// How long one file may take on average.
const BAR: Duration = Duration::from_micros(50_000 / 2_000);

/// How often all files are read where nothing else is asked for.
const ROUNDS: usize = 51;

fn main() -> ExitCode {
    // `cargo bench` adds a `--bench`.
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS).max(1);
    let corpus = corpus_path();
    let files = match read(&corpus) {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => return give_up(&corpus, &"there is no file in it"),
        Err(error) => return give_up(&corpus, &error),
    };
    let mut times: Vec<Duration> = (0..rounds).map(|_| round(&files)).collect();
    times.sort_unstable();
    let median = times[rounds / 2];
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let bytes: usize = files.iter().map(Vec::len).sum();
    println!("front  {count} files of {bytes} bytes, {rounds} rounds on one core");
    println!(
        "front  median {median:.1?}  fastest {:.1?}  slowest {:.1?}",
        times[0],
        times[rounds - 1]
    );
    println!("front  {:.2?} a file, the bar is {BAR:.2?}", median / count);
    if median / count > BAR { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn give_up(corpus: &Path, why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("front: cannot read {} (see IMGRAPH_CONFORMANCE): {why}", corpus.display());
    ExitCode::from(2)
}

fn corpus_path() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let directory = std::env::var_os("IMGRAPH_CONFORMANCE").map_or_else(usual, PathBuf::from);
    directory.join("dockerfile-corpus.tar.xz")
}

fn read(corpus: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut archive = tar::Archive::new(XzReader::new(File::open(corpus)?, true));
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut text = Vec::new();
            entry.read_to_end(&mut text)?;
            files.push(text);
        }
    }
    Ok(files)
}

fn round(files: &[Vec<u8>]) -> Duration {
    let platform = Platform::host();
    let args = BTreeMap::new();
    let request = Request {
        target: None,
        args: &args,
        platform: &platform,
        build_platform: &platform,
        flavour: Flavour::BuildKit,
        onbuild: &|_| Vec::new(),
    };
    let start = Instant::now();
    for text in files {
        let (dockerfile, problems) = parse(black_box(text));
        black_box((resolve(&dockerfile, &request), problems));
    }
    start.elapsed()
}
