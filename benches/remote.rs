//! A fresh machine that finds everything built: `cargo bench --bench remote [-- IMAGES..]`.
//!
//! A tree is pushed to the registry on loopback that `IMGRAPH_TEST_REGISTRY` names
//! (`tests/engines/engines up registry`), by the simulated engine, whose pushes are real. Then
//! everything that imgraph remembers is removed and it is asked again, five times: how long that takes,
//! and how many requests it makes, which a proxy counts. The bars: two seconds and ten requests for
//! 1,000 images; for 10,000 the state is one blob, decoded within 50 ms.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench makes files, starts programs and looks at the clock"
)]
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use imgraph::ledger;
use imgraph::published::state::{self, State};

#[path = "speed/tree.rs"]
mod tree;

use tree::Shape;

/// How many files each image has.
const FILES: usize = 10;
/// How often it is measured.
const TIMES: usize = 5;
/// What 1,000 images may take.
const BAR: Duration = Duration::from_secs(2);
/// How many requests they may take.
const REQUESTS: usize = 10;
/// What decoding the state of 10,000 images may take.
const DECODE: Duration = Duration::from_millis(50);
/// What trees are planted with in the place of a registry.
const NOWHERE: &str = "registry.example/acme";

fn main() -> ExitCode {
    let Ok(registry) = std::env::var("IMGRAPH_TEST_REGISTRY") else {
        println!("remote  skipped: IMGRAPH_TEST_REGISTRY is not set");
        return ExitCode::SUCCESS;
    };
    let counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![1_000, 10_000] } else { counts };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("remote  load of the machine {}", load.trim());
    let results: Vec<bool> = counts.into_iter().map(|count| measure(count, &registry)).collect();
    if results.into_iter().all(|is_good| is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(count: usize, registry: &str) -> bool {
    let (host, requests) = proxy(registry.to_owned());
    let tree = tempfile::tempdir().expect("there is room for a tree");
    let root = tree.path();
    let images = tree::images(Shape::Zipf, count);
    tree::plant(root, &images, FILES).expect("a tree can be planted");
    let prefix = format!("{host}/bench-{}", std::process::id());
    let dockerfiles = images.iter().map(|image| format!("images/{}/Dockerfile", image.name));
    for path in dockerfiles.chain(["layers.toml".to_owned()]) {
        let path = root.join(path);
        let text = fs::read_to_string(&path).expect("it was planted");
        fs::write(&path, text.replace(NOWHERE, &prefix)).expect("it can be written");
    }
    fs::write(root.join("simulate.toml"), "registry = true\n").expect("it can be written");
    for words in ["init -q -b main", "add -A", "commit -q -m x"] {
        git(root, words);
    }

    let began = Instant::now();
    rebuild(root);
    println!("\n{count} images of {FILES} files: built and pushed in {:.1?}", began.elapsed());
    let decoded = decode(root);
    let mut times: Vec<(Duration, usize)> = (0..TIMES)
        .map(|_| {
            fs::remove_dir_all(root.join(".imgraph")).expect("it is there");
            requests.store(0, Ordering::SeqCst);
            let began = Instant::now();
            rebuild(root);
            (began.elapsed(), requests.load(Ordering::SeqCst))
        })
        .collect();
    times.sort_unstable();
    let ((least, _), (median, asked), (most, _)) = (times[0], times[TIMES / 2], times[TIMES - 1]);
    println!(
        "a fresh machine finds nothing to do: {median:.0?} ({least:.0?} to {most:.0?}), {asked} requests"
    );
    let bar = BAR * u32::try_from(count.div_ceil(1_000)).unwrap_or(u32::MAX);
    median <= bar && asked <= REQUESTS && decoded <= DECODE
}

/// How long the state of a tree takes to decode.
fn decode(root: &Path) -> Duration {
    let (history, _) = ledger::read(&root.join(".imgraph")).expect("there is a ledger");
    let records = history.records.into_iter();
    let known: State = records.collect();
    let bytes = state::encode(&known);
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            let state = state::decode(&bytes).expect("what was encoded can be decoded");
            let time = began.elapsed();
            assert_eq!(state.len(), known.len());
            time
        })
        .collect();
    times.sort_unstable();
    let median = times[TIMES / 2];
    println!("its state: {} kB, decoded in {median:.1?}", bytes.len() / 1000);
    median
}

fn rebuild(root: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imgraph"));
    command.args(["--engine", "simulate", "rebuild", "--push", "--quiet", "--jobs=16"]);
    command.current_dir(root).stdout(Stdio::null()).env_remove("CI");
    let status = command.status().expect("the program starts");
    assert!(status.success(), "{status}");
}

fn git(root: &Path, words: &str) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=x", "-c", "user.email=x@x.invalid"]).current_dir(root);
    assert!(
        command.args(words.split(' ')).status().is_ok_and(|status| status.success()),
        "{words}"
    );
}

/// A proxy in front of a registry that counts requests: its address, and the count.
fn proxy(registry: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let host = listener.local_addr().expect("it listens").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming().filter_map(Result::ok) {
            let Ok(server) = TcpStream::connect(&registry) else { continue };
            client.set_nodelay(true).unwrap_or_default();
            server.set_nodelay(true).unwrap_or_default();
            let (Ok(back), Ok(forth)) = (server.try_clone(), client.try_clone()) else { continue };
            let count = Arc::clone(&shared);
            thread::spawn(move || pass(back, forth, |_| ()));
            thread::spawn(move || {
                pass(client, server, |bytes| {
                    let ends = bytes.windows(10).filter(|it| *it == b" HTTP/1.1\r").count();
                    count.fetch_add(ends, Ordering::SeqCst);
                });
            });
        }
    });
    (host, count)
}

fn pass(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        see(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).unwrap_or_default();
}
