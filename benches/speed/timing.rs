//! Runs commands by turns with hyperfine, and prints what came of it.

use std::process::Command;
use std::{fmt, fs, io};

use serde_json::Value;

/// How often all commands are measured, one after the other.
const ROUNDS: usize = 3;

/// A command to be timed.
pub(crate) struct Timed {
    name: String,
    command: String,
    /// What is run before each time, and does not count.
    before: Option<String>,
    /// Seconds.
    times: Vec<f64>,
}

impl Timed {
    pub(crate) fn new(name: &str, command: &str) -> Self {
        let (name, command) = (name.to_owned(), command.to_owned());
        Self { name, command, before: None, times: Vec::new() }
    }

    /// The same with something to be done before.
    pub(crate) fn after(self, before: &str) -> Self {
        Self { before: Some(before.to_owned()), ..self }
    }

    fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// The middle half of the times, relative to the median.
    fn noise(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        let quarter = times.len() / 4;
        (times[times.len() - 1 - quarter] - times[quarter]) / self.median()
    }
}

/// Times commands in rounds, each so many times in each.
pub(crate) fn rounds(commands: &[Timed], runs: usize) -> io::Result<Vec<Timed>> {
    let mut timed: Vec<Timed> = Vec::new();
    for _ in 0..ROUNDS {
        for (at, one) in commands.iter().enumerate() {
            let times = hyperfine(one, runs)?;
            match timed.get_mut(at) {
                Some(timed) => timed.times.extend(times),
                None => timed.push(Timed { times, ..Timed::new(&one.name, &one.command) }),
            }
        }
    }
    Ok(timed)
}

fn hyperfine(timed: &Timed, runs: usize) -> io::Result<Vec<f64>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("times.json");
    let (runs, path) = (runs.to_string(), file.display().to_string());
    let mut arguments =
        vec!["-N", "--style", "none", "-w", "1", "-r", &runs, "--export-json", &path];
    if let Some(before) = &timed.before {
        arguments.extend(["--prepare", before]);
    }
    arguments.push(&timed.command);
    output("hyperfine", &arguments)?;
    let told: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let times = told["results"][0]["times"].as_array().into_iter().flatten();
    Ok(times.filter_map(Value::as_f64).collect())
}

/// Prints medians, and the first as a part of each.
pub(crate) fn table(timed: &[Timed]) {
    println!("  {:34} {:>10} {:>7}  first / it", "", "median", "noise");
    let first = timed[0].median();
    for one in timed {
        let (millis, noise) = (one.median() * 1e3, one.noise() * 100.0);
        println!("  {:34} {millis:>7.1} ms {noise:>5.0} %  {:.2}", one.name, first / one.median());
    }
}

/// The most memory that a command takes.
pub(crate) fn peak_megabytes(command: &str) -> io::Result<f64> {
    let script = format!("command time -f %M {command} 2>&1 >/dev/null | tail -n 1");
    let kilobytes = output("sh", &["-c", &script])?;
    kilobytes.trim().parse().map(|kb: f64| kb / 1024.0).map_err(io::Error::other)
}

/// What a simulated rebuild came to.
pub(crate) struct Row {
    wall: f64,
    bound: f64,
    cpu: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wall, bound, cpu } = self;
        write!(
            f,
            "{wall:.2} s, lower bound {bound:.2} s, it / that {:.3}, CPU of imgraph {cpu:.2} s",
            wall / bound
        )
    }
}

/// Runs a rebuild that tells its events.
pub(crate) fn simulated(command: &str) -> io::Result<Row> {
    let script = format!("command time -f '%e %U %S' {command} 2>&1 | tail -n 2");
    let told = output("sh", &["-c", &script])?;
    let (summary, times) = told.trim().split_once('\n').unwrap_or_default();
    let summary: Value = serde_json::from_str(summary)?;
    let bound = summary["summary"]["lower_bound"].as_f64().unwrap_or(0.0) / 1e3;
    let times: Vec<f64> = times.split(' ').filter_map(|time| time.parse().ok()).collect();
    match times[..] {
        [wall, user, system] => Ok(Row { wall, bound, cpu: user + system }),
        _ => Err(io::Error::other(told)),
    }
}

/// What a command prints as JSON.
pub(crate) fn json(command: &str) -> io::Result<Value> {
    Ok(serde_json::from_str(&output("sh", &["-c", command])?)?)
}

/// Runs a program and returns what it prints.
pub(crate) fn output(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot run {program}: {error}; `make bench` gets it"))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{program} {arguments:?}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
