//! Runs a program in a process group of its own: output line by line, prompt cancellation, and
//! nothing of it left when the call returns.
//!
//! The two output streams share one pipe, so lines come in the order in which they were written.
//! What the program is and what its lines mean is not known here.

use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::clock::Timer;
use crate::lines::Lines;

/// How often a running program is asked whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// How long the group has between SIGTERM and SIGKILL, in milliseconds.
const GRACE: u64 = 1000;

/// How long the pipe may stay open after the whole group was killed: only a process that left the
/// group can hold it. In milliseconds.
const DRAIN: u64 = 500;

/// How long a killed process takes to be gone, at most, in milliseconds.
const DYING: u64 = 100;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Nobody who answers one question says more than this, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Because it was told to stop.
    Stopped,
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
#[error("cannot run `{program}`")]
pub struct ProcessError {
    /// The program.
    pub program: String,
    /// Why not.
    pub source: io::Error,
}

/// Runs a program to its end and hands every line that it prints to `line`, without its end.
///
/// `stop` is asked about twenty times a second. Once it says yes the process group gets SIGTERM and,
/// a second later, SIGKILL. However the program ends, the rest of its group is killed, so a process
/// that it left in the background does not outlive this call. Its standard input is empty.
///
/// In a line, only what follows the last carriage return is kept: what a terminal would show. Bytes
/// that are not UTF-8 are replaced.
pub fn run(
    mut command: Command,
    stop: &dyn Fn() -> bool,
    line: &mut dyn FnMut(&str),
) -> Result<Exit, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fail = |source| ProcessError { program: program.clone(), source };
    let (reader, writer) = io::pipe().map_err(fail)?;
    let error_writer = writer.try_clone().map_err(fail)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(error_writer).process_group(0);
    let mut child = command.spawn().map_err(fail)?;
    drop(command); // it holds our ends of the pipe: the reader would never see the end

    let signals = watch(&child, reader);
    let stopped = attend(&child, &signals, stop, line);
    let group = Pid::from_child(&child);
    let status = child.wait().map_err(fail)?;
    wait_until_gone(group);
    Ok(if stopped { Exit::Stopped } else { exit(status) })
}

/// Runs a program that answers quickly, and returns how it ended, its standard output, and its
/// standard error as text.
pub fn capture(mut command: Command) -> Result<(Exit, Vec<u8>, String), ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .map_err(|source| ProcessError { program, source })?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((exit(output.status), output.stdout, error))
}

/// Asks a program one short question on its standard input, and returns how it ended, its standard
/// output, and its standard error as text.
///
/// The question must fit into a pipe. After `limit` the process group is killed and the program
/// counts as stopped. However it ends, the rest of its group is killed.
pub fn ask(
    mut command: Command,
    question: &str,
    limit: Duration,
) -> Result<(Exit, Vec<u8>, String), ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fail = |source| ProcessError { program: program.clone(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(fail)?;
    let (output, error) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let (sender, end) = mpsc::channel();
    at_end(&child, move || {
        sender.send(()).ok();
    });
    if let Some(mut input) = child.stdin.take() {
        input.write_all(question.as_bytes()).ok(); // it may know the answer without the question
    }
    let is_stopped = end.recv_timeout(limit).is_err();
    let group = Pid::from_child(&child);
    signal(group, Signal::KILL);
    let status = child.wait().map_err(fail)?;
    let drained = |part: Receiver<Vec<u8>>| {
        part.recv_timeout(Duration::from_millis(DRAIN)).unwrap_or_default()
    };
    let (output, error) = (drained(output), drained(error));
    wait_until_gone(group);
    let exit = if is_stopped { Exit::Stopped } else { exit(status) };
    Ok((exit, output, String::from_utf8_lossy(&error).into_owned()))
}

/// What a stream holds, once it has ended.
fn read_all(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, whole) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            stream.take(LONGEST_ANSWER).read_to_end(&mut bytes).ok();
        }
        sender.send(bytes).ok();
    });
    whole
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}

/// What happens while a program runs.
enum Event {
    Line(String),
    /// Nobody holds the other end of the pipe any more.
    Closed,
    /// The program ended; it is not reaped yet, so its group cannot be anybody else's.
    Exited,
}

fn watch(child: &Child, reader: PipeReader) -> Receiver<Event> {
    let (sender, events) = mpsc::sync_channel(256);
    let exited = sender.clone();
    at_end(child, move || {
        exited.send(Event::Exited).ok();
    });
    thread::spawn(move || {
        read_lines(reader, &sender);
        sender.send(Event::Closed).ok();
    });
    events
}

/// Says on a thread of its own when a program has ended. It is not reaped then.
fn at_end(child: &Child, say: impl FnOnce() + Send + 'static) {
    let pid = Pid::from_child(child);
    thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(WaitId::Pid(pid), options)
        {
        }
        say();
    });
}

/// Hands lines on until the program has ended and its output is read; says whether it was stopped.
fn attend(
    child: &Child,
    events: &Receiver<Event>,
    stop: &dyn Fn() -> bool,
    line: &mut dyn FnMut(&str),
) -> bool {
    let group = Pid::from_child(child);
    let mut stopped_at: Option<Timer> = None;
    let mut killed = false;
    let mut exited_at: Option<Timer> = None;
    let mut closed = false;
    loop {
        match events.recv_timeout(TICK) {
            Ok(Event::Line(text)) => line(&text),
            Ok(Event::Closed) => closed = true,
            Ok(Event::Exited) => {
                signal(group, Signal::KILL);
                exited_at = Some(Timer::start());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(at) = exited_at {
            if closed || at.elapsed() >= DRAIN {
                break;
            }
            continue;
        }
        match stopped_at {
            None if stop() => {
                signal(group, Signal::TERM);
                stopped_at = Some(Timer::start());
            }
            Some(at) if !killed && at.elapsed() >= GRACE => {
                signal(group, Signal::KILL);
                killed = true;
            }
            _ => {}
        }
    }
    stopped_at.is_some()
}

/// Waits for the killed members of a group to be gone; not for long, as nobody may reap them.
fn wait_until_gone(group: Pid) {
    let begun = Timer::start();
    let (_never, nothing) = mpsc::channel::<()>();
    while rustix::process::test_kill_process_group(group).is_ok() && begun.elapsed() < DYING {
        nothing.recv_timeout(Duration::from_millis(2)).ok();
    }
}

/// A group that is gone already is no error.
fn signal(group: Pid, signal: Signal) {
    rustix::process::kill_process_group(group, signal).ok();
}

/// Cuts the stream into lines. Stops at the end, or when nobody listens any more.
fn read_lines(mut reader: PipeReader, sender: &SyncSender<Event>) {
    let mut chunk = vec![0; CHUNK];
    let mut lines = Lines::default();
    let mut is_heard = true;
    while is_heard {
        match reader.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(read) => lines.push(&chunk[..read], &mut |line| {
                is_heard &= sender.send(Event::Line(line)).is_ok();
            }),
        }
    }
    lines.finish(&mut |line| {
        sender.send(Event::Line(line)).ok();
    });
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests start programs and look at them")]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn lines_of(script: &str) -> (Exit, Vec<String>) {
        let mut lines = Vec::new();
        let exit = run(shell(script), &|| false, &mut |line| lines.push(line.to_owned())).unwrap();
        (exit, lines)
    }

    #[test]
    fn lines_of_both_streams_come_in_the_order_they_were_written() {
        let (exit, lines) = lines_of("echo one; echo two >&2; echo three; printf four; exit 7");
        assert_eq!(exit, Exit::Code(7));
        assert_eq!(lines, ["one", "two", "three", "four"]);
    }

    #[test]
    fn a_carriage_return_begins_the_line_again() {
        let (_, lines) = lines_of(r"printf '10%%\r50%%\r100%%\n'; printf 'dos\r\n'; printf '\n'");
        assert_eq!(lines, ["100%", "dos", ""]);
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces() {
        let (_, lines) = lines_of("head -c 200000 /dev/zero | tr '\\0' x");
        assert!(lines.len() >= 3, "{}", lines.len());
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), 200_000);
    }

    #[test]
    fn a_signal_is_told_from_a_code() {
        assert_eq!(lines_of("kill -9 $$").0, Exit::Signal(9));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_with_its_name() {
        let error = run(Command::new("/nonexistent/x"), &|| false, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "cannot run `/nonexistent/x`");
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }

    /// Runs a script that prints its own and its descendants' ids, stops it at the word `ready`,
    /// and returns how it ended, how long the stop took, and those ids that still live.
    fn stopped(script: &str) -> (Exit, Duration, Vec<i32>) {
        let ready = std::cell::Cell::new(None);
        let pids = std::cell::RefCell::new(Vec::new());
        let exit = run(shell(script), &|| ready.get().is_some(), &mut |line| {
            if line == "ready" {
                ready.set(Some(Instant::now()));
            } else if let Ok(pid) = line.parse::<i32>() {
                pids.borrow_mut().push(pid);
            }
        })
        .unwrap();
        let took = ready.get().unwrap().elapsed();
        let is_alive = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("").starts_with('Z'))
        };
        (exit, took, pids.into_inner().into_iter().filter(is_alive).collect())
    }

    #[test]
    fn stopping_kills_a_grandchild_that_ignores_sigterm() {
        let grandchild = "trap '' TERM; echo $$; echo ready; while :; do sleep 1; done";
        let script = format!(
            "trap '' TERM; echo $$; /bin/sh -c \"{}\" & wait; wait; sleep 100",
            grandchild.replace('$', "\\$")
        );
        let (exit, took, alive) = stopped(&script);
        assert_eq!(exit, Exit::Stopped);
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(alive, [] as [i32; 0]);
    }

    #[test]
    fn a_polite_program_is_not_waited_for_longer_than_it_needs() {
        let (exit, took, _) = stopped("echo ready; exec sleep 100");
        assert_eq!(exit, Exit::Stopped);
        assert!(took < Duration::from_millis(GRACE), "{took:?}");
    }

    fn answer(script: &str, limit: u64) -> (Exit, String, String) {
        let (exit, output, error) =
            ask(shell(script), "example.com", Duration::from_millis(limit)).unwrap();
        (exit, String::from_utf8(output).unwrap(), error)
    }

    #[test]
    fn a_question_reaches_the_program_and_both_streams_come_back() {
        let (exit, output, error) = answer("echo \"<$(cat)>\"; echo why >&2; exit 3", 10_000);
        assert_eq!(exit, Exit::Code(3));
        assert_eq!((output.as_str(), error.as_str()), ("<example.com>\n", "why\n"));
        assert_eq!(answer("exec true", 10_000).0, Exit::Code(0), "nobody read the question");
    }

    #[test]
    fn who_does_not_answer_in_time_is_stopped_with_everything_it_started() {
        let begun = Instant::now();
        let (exit, output, _) = answer("sleep 100 & echo $!; wait", 200);
        assert_eq!(exit, Exit::Stopped);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", output.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z"), "it still runs");
    }

    #[test]
    fn an_answer_does_not_wait_for_what_is_left_in_the_background() {
        let begun = Instant::now();
        assert_eq!(answer("sleep 100 & echo done", 10_000).1, "done\n");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_process_left_in_the_background_does_not_outlive_the_call() {
        let begun = Instant::now();
        let (exit, lines) = lines_of("sleep 100 & echo $!; exit 3");
        assert_eq!(exit, Exit::Code(3));
        assert!(begun.elapsed() < Duration::from_secs(2));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", lines[0]));
        assert!(stat.is_err() || stat.unwrap().contains(") Z"), "it still runs");
    }
}
