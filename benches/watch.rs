//! A watch of a thousand images: from a save to the call of the engine, processor and memory at
//! rest, and two thousand saves within a minute: `cargo bench --bench watch [-- SECONDS]`.
//!
//! The engine builds nothing, so that what is measured is imgraph. A save is a file written in place
//! as editors do; its time is taken right before it, by the clock that events are stamped with. The
//! bar is the debounce of 50 ms and 20 ms more, by the median of fifty saves; 60 MB; and no work at
//! rest. The number is that of the seconds that rest and storm each take where a minute is too long.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench makes files, starts programs and looks at the clock"
)]
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How many images there are: a base, ten on it, and applications on those.
const IMAGES: usize = 1_000;
/// How many files each has.
const FILES: usize = 10;
/// How often a save is measured.
const SAVES: usize = 50;
/// How many saves a storm has.
const STORM: u32 = 2_000;
/// The rest that a watch waits for, in milliseconds.
const DEBOUNCE: u64 = 50;
/// What may come on top, in milliseconds.
const BAR: u64 = 20;
/// What a watch may take, in kilobytes.
const MEMORY: u64 = 60_000;

fn main() -> ExitCode {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(60);
    let minute = Duration::from_secs(seconds);
    let tree = tempfile::tempdir().expect("there is room for a tree");
    plant(tree.path());
    let mut watch = Watch::start(tree.path());
    watch.until("idle");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("watch  {IMAGES} images of {FILES} files; load of the machine {}", load.trim());

    let mut leaf: Vec<u64> = Vec::new();
    for number in 0..SAVES {
        leaf.push(watch.save(&image(11 + number * 17), "files/3", &format!("leaf {number}\n")));
    }
    let median = median_of("a file of an application", &mut leaf);
    let mut base: Vec<u64> =
        (0..5).map(|number| watch.save("base", "files/3", &format!("base {number}\n"))).collect();
    median_of("a file of the base", &mut base);
    let mut dockerfile: Vec<u64> = (0..SAVES / 5)
        .map(|number| {
            let text = format!("FROM {}\nCOPY files /\nLABEL n={number}\n", image(1));
            watch.save(&image(11), "Dockerfile", &text)
        })
        .collect();
    median_of("a Dockerfile", &mut dockerfile);

    let before = watch.processor();
    thread::sleep(minute);
    let idle = watch.processor().saturating_sub(before);
    println!("watch  at rest for {minute:.0?}: {idle:.2?} of processor time");

    watch.storm(minute);
    let (now, most) = watch.memory();
    println!("watch  memory {} MB, at most {} MB", now / 1_000, most / 1_000);
    let is_settled = watch.is_settled();
    println!("watch  after the storm a plan finds {}", if is_settled { "nothing" } else { "work" });
    let good = median <= DEBOUNCE + BAR && most <= MEMORY && idle < minute / 1_000 && is_settled;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median_of(what: &str, times: &mut [u64]) -> u64 {
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!(
        "watch  from the save of {what} to the engine: median {median} ms, fastest {} ms, slowest {} ms ({} saves)",
        times[0],
        times[times.len() - 1],
        times.len()
    );
    median
}

/// The name of an image by its number.
fn image(number: usize) -> String {
    match number % IMAGES {
        0 => "base".to_owned(),
        number @ 1..=10 => format!("middle/m{number}"),
        number => format!("apps/a{number}"),
    }
}

fn plant(root: &Path) {
    for number in 0..IMAGES {
        let directory = root.join("images").join(image(number));
        fs::create_dir_all(directory.join("files")).expect("there is room");
        let parent = match number {
            0 => "scratch".to_owned(),
            1..=10 => image(0),
            number => image(1 + number % 10),
        };
        let write = |path: PathBuf, text: String| fs::write(path, text).expect("there is room");
        write(directory.join("Dockerfile"), format!("FROM {parent}\nCOPY files /\n"));
        for file in 0..FILES {
            write(directory.join(format!("files/{file}")), format!("{number} {file}\n"));
        }
    }
}

struct Watch<'a> {
    root: &'a Path,
    child: Child,
    events: Receiver<Value>,
}

impl<'a> Watch<'a> {
    fn start(root: &'a Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgraph"));
        command.current_dir(root).args(["--engine", "simulate", "watch", "--json", "--quiet"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("imgraph was built");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("events are JSON");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { root, child, events }
    }

    fn next(&self) -> Value {
        self.events.recv_timeout(Duration::from_mins(2)).expect("the watch does not hang")
    }

    fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next();
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// Saves a file; returns the milliseconds until the engine was called for its image.
    fn save(&mut self, image: &str, file: &str, text: &str) -> u64 {
        let path = self.root.join("images").join(image).join(file);
        // The clock of events has whole milliseconds: a save begins with one.
        let begin = now();
        while now() == begin {
            std::hint::spin_loop();
        }
        let saved = now();
        fs::write(path, text).expect("there is room");
        let called = loop {
            let event = self.next();
            if event["event"] == "step" && event["image"] == *image {
                break event["time"].as_u64().expect("every event has a time");
            }
        };
        self.until("idle");
        called - saved
    }

    /// Saves files of all images for so long.
    fn storm(&mut self, span: Duration) {
        let start = Instant::now();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for number in 0..STORM {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let image = image(usize::try_from(random % 1_000).unwrap_or(0));
            let path = self.root.join(format!("images/{image}/files/{}", random % 7));
            fs::write(path, format!("{}\n", random % 5)).expect("there is room");
            thread::sleep((span * number / STORM).saturating_sub(start.elapsed()));
        }
        println!("watch  {STORM} saves within {:.0?}", start.elapsed());
    }

    /// Whether a plan finds nothing to do, sooner or later.
    fn is_settled(&mut self) -> bool {
        let until = Instant::now() + Duration::from_mins(1);
        while Instant::now() < until {
            let mut plan = Command::new(env!("CARGO_BIN_EXE_imgraph"));
            plan.current_dir(self.root).args(["--engine", "simulate", "plan"]);
            let output = plan.output().expect("imgraph was built");
            if output.stdout.starts_with(b"nothing to do") {
                return true;
            }
            thread::sleep(Duration::from_millis(200));
        }
        false
    }

    /// The processor time of all its threads so far.
    fn processor(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it lives");
        let times = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(times.sum())
    }

    /// Kilobytes now, and at most.
    fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it lives");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}
