//! A hundred small images on one base, all of them changed: imgraph, `docker buildx bake` and a loop
//! of `docker buildx build`, two at a time, on one Docker Engine, in turns.
//!
//! ```sh
//! eval "$(tests/engines/engines env)" && cargo bench --bench bake -- 5
//! ```
//! The number is that of the rounds. Printed are medians of wall time, ratios, and the most memory
//! that the program took, of children not counted; then the same for a run with nothing changed.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench makes files, starts programs and looks at the clock"
)]
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]
#![expect(clippy::print_stderr, reason = "a bench says why it measured nothing")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many images stand on the base.
const IMAGES: usize = 100;
/// How often the memory of a program is looked at.
const LOOK: Duration = Duration::from_millis(5);

const BASE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nENV PATH=/bin\n";
const APP: &str = "FROM bench/base\nCOPY app.txt /app.txt\nRUN wc /app.txt > /count\n";

fn main() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(host), Some(buildx)) =
        (variable("IMGRAPH_TEST_DOCKER26"), variable("IMGRAPH_TEST_BUILDX"))
    else {
        eprintln!("skipped: IMGRAPH_TEST_DOCKER26 and IMGRAPH_TEST_BUILDX name no Docker");
        return;
    };
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(3);
    let tree = tempfile::tempdir().expect("there is room for a tree");
    let bench = Bench { tree: tree.path(), host, buildx };
    bench.plant();
    let contenders: [(&str, Command); 3] = bench.contenders();
    let mut changed: Vec<Vec<Measured>> = vec![Vec::new(); contenders.len()];
    let mut idle = changed.clone();
    bench.change("warm up");
    bench.measure(&contenders[0].1);
    for round in 0..rounds {
        for (at, (name, command)) in contenders.iter().enumerate() {
            bench.change(&format!("{name} {round}"));
            changed[at].push(bench.measure(command));
            idle[at].push(bench.measure(command));
        }
    }
    for (what, measured) in [("all changed", changed), ("nothing changed", idle)] {
        println!("{what}, {IMAGES} images on one base, medians of {rounds}:");
        let first = median(&measured[0]);
        for ((name, _), measured) in contenders.iter().zip(&measured) {
            let wall = median(measured);
            let memory = measured.iter().map(|it| it.memory).max().unwrap_or(0) / 1024;
            let ratio = first.as_secs_f64() / wall.as_secs_f64();
            println!("  {name:24} {wall:>10.2?}  imgraph / it {ratio:.2}  {memory} MB");
        }
    }
}

struct Bench<'a> {
    tree: &'a Path,
    host: String,
    buildx: String,
}

#[derive(Clone, Copy)]
struct Measured {
    wall: Duration,
    /// Kilobytes.
    memory: u64,
}

impl Bench<'_> {
    /// Writes the images, and the same for bake.
    fn plant(&self) {
        let base = self.tree.join("images/base");
        fs::create_dir_all(&base).expect("a directory can be made");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
        let busybox = busybox.iter().find(|path| path.exists()).expect("busybox-static is there");
        fs::copy(busybox, base.join("busybox")).expect("busybox can be copied");
        fs::write(base.join("Dockerfile"), BASE).expect("a file can be written");
        let layers = "[workspace]\nregistry = \"bench\"\n";
        fs::write(self.tree.join("layers.toml"), layers).expect("a file can be written");
        let mut targets =
            "target \"base\" {\n context = \"images/base\"\n tags = [\"bench/base\"]\n}\n"
                .to_owned();
        let mut names = "\"base\"".to_owned();
        for number in 0..IMAGES {
            let directory = format!("images/apps/a{number:03}");
            fs::create_dir_all(self.tree.join(&directory)).expect("a directory can be made");
            let dockerfile = self.tree.join(&directory).join("Dockerfile");
            fs::write(dockerfile, APP).expect("a file can be written");
            write!(names, ", \"a{number:03}\"").unwrap_or_default();
            writeln!(
                targets,
                "target \"a{number:03}\" {{\n context = \"{directory}\"\n \
                 contexts = {{ \"bench/base\" = \"target:base\" }}\n \
                 tags = [\"bench/apps/a{number:03}\"]\n}}"
            )
            .unwrap_or_default();
        }
        let bake = format!("group \"default\" {{ targets = [{names}] }}\n{targets}");
        fs::write(self.tree.join("docker-bake.hcl"), bake).expect("a file can be written");
    }

    /// Gives every image other content.
    fn change(&self, what: &str) {
        for number in 0..IMAGES {
            let file = self.tree.join(format!("images/apps/a{number:03}/app.txt"));
            fs::write(file, format!("{number} {what}\n")).expect("a file can be written");
        }
    }

    fn contenders(&self) -> [(&'static str, Command); 3] {
        let mut imgraph = Command::new(env!("CARGO_BIN_EXE_imgraph"));
        imgraph.args(["--engine", "buildkit", "rebuild", "--changed", "--quiet"]);
        let mut bake = Command::new(&self.buildx);
        bake.args(["bake", "--progress", "quiet"]);
        let mut two = Command::new("sh");
        let build = format!(
            "ls images/apps | xargs -P 2 -I@ {} build --quiet --tag bench/apps/@ images/apps/@",
            self.buildx
        );
        two.args(["-c", &build]);
        [("imgraph", imgraph), ("docker buildx bake", bake), ("docker buildx build x 2", two)]
    }

    fn measure(&self, command: &Command) -> Measured {
        let mut again = Command::new(command.get_program());
        again.args(command.get_args()).current_dir(self.tree).env("DOCKER_HOST", &self.host);
        let start = Instant::now();
        let mut child = again
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let status = format!("/proc/{}/status", child.id());
        let mut memory = 0;
        let exit = loop {
            memory = memory.max(peak(&fs::read_to_string(&status).unwrap_or_default()));
            match child.try_wait().expect("a child can be waited for") {
                Some(exit) => break exit,
                None => std::thread::sleep(LOOK),
            }
        };
        assert!(exit.success(), "{} failed", command.get_program().display());
        Measured { wall: start.elapsed(), memory }
    }
}

/// `VmHWM`, in kilobytes.
fn peak(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn median(measured: &[Measured]) -> Duration {
    let mut walls: Vec<Duration> = measured.iter().map(|it| it.wall).collect();
    walls.sort_unstable();
    walls[walls.len() / 2]
}
