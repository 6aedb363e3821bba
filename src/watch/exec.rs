//! `--exec`: a command after each success, such as one that restarts a container.
//!
//! One at a time for each image: when an image succeeds again, or the watch ends, the command that
//! still runs for it is outdated, and is stopped with its whole process group first.
#![expect(clippy::disallowed_methods, reason = "runs a command")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::cancel::Cancel;
use crate::event::What;
use crate::image::ImageName;
use crate::process::{self, Exit};

/// What an image came out as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// `{image}`
    pub image: ImageName,
    /// `{reference}`: the first one that points at it.
    pub reference: String,
    /// `{digest}`: the id in the engine's store.
    pub digest: String,
}

/// A command for every success.
pub struct Exec {
    command: String,
    directory: PathBuf,
    tell: Arc<dyn Fn(What) + Send + Sync>,
    running: BTreeMap<ImageName, (Cancel, JoinHandle<()>)>,
}

impl Exec {
    /// A command that a shell runs in a directory; what becomes of it is told.
    pub fn new(
        command: &str,
        directory: PathBuf,
        tell: impl Fn(What) + Send + Sync + 'static,
    ) -> Self {
        Self {
            command: command.to_owned(),
            directory,
            tell: Arc::new(tell),
            running: BTreeMap::new(),
        }
    }

    /// Runs the command for an image, instead of the one that may still run for it.
    pub fn run(&mut self, success: &Success) {
        let image = success.image.clone();
        let before = self.running.remove(&image);
        if let Some((cancel, _)) = &before {
            cancel.raise();
        }
        let cancel = Cancel::default();
        let (stop, tell) = (cancel.clone(), Arc::clone(&self.tell));
        let line = filled(&self.command, success);
        let directory = self.directory.clone();
        let name = image.clone();
        let thread = thread::spawn(move || {
            if let Some((_, thread)) = before {
                thread.join().unwrap_or_default();
            }
            if !stop.is_raised() {
                run(&name, &line, directory, &stop, &*tell);
            }
        });
        self.running.insert(image, (cancel, thread));
    }

    /// Stops what runs, and waits until it is gone.
    pub fn stop(&mut self) {
        for (cancel, _) in self.running.values() {
            cancel.raise();
        }
        for (_, thread) in std::mem::take(&mut self.running).into_values() {
            thread.join().unwrap_or_default();
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(
    image: &ImageName,
    line: &str,
    directory: PathBuf,
    stop: &Cancel,
    tell: &(dyn Fn(What) + Send + Sync),
) {
    tell(What::ExecStarted { image: image.clone(), command: line.to_owned() });
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).current_dir(directory);
    let ended = process::run(shell, &|| stop.is_raised(), &mut |line| {
        tell(What::ExecLog { image: image.clone(), line: line.to_owned() });
    });
    let (code, stopped) = match ended {
        Ok(Exit::Code(code)) => (Some(code), false),
        Ok(Exit::Stopped) => (None, true),
        Ok(Exit::Signal(_)) | Err(_) => (None, false),
    };
    tell(What::ExecFinished { image: image.clone(), code, stopped });
}

/// The command with what it is for in the place of its words in braces.
fn filled(command: &str, success: &Success) -> String {
    let Success { image, reference, digest } = success;
    command
        .replace("{image}", &quoted(image.as_str()))
        .replace("{reference}", &quoted(reference))
        .replace("{digest}", &quoted(digest))
}

/// A word that a shell takes as it is; names of images may have any letters.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use super::*;

    fn success(image: &str) -> Success {
        let image: ImageName = image.parse().unwrap();
        Success { reference: format!("{image}:1"), digest: "sha256:0".to_owned(), image }
    }

    fn exec(command: &str) -> (Exec, Receiver<What>) {
        let (sender, told) = mpsc::channel();
        let tell = move |what| sender.send(what).unwrap_or_default();
        (Exec::new(command, std::env::temp_dir(), tell), told)
    }

    fn next(told: &Receiver<What>) -> What {
        told.recv_timeout(Duration::from_mins(1)).unwrap()
    }

    #[test]
    fn the_command_is_told_what_was_built() {
        let (mut exec, told) = exec("echo {image} {reference} {digest}; exit 3");
        exec.run(&success("apps/it's"));
        assert!(matches!(next(&told), What::ExecStarted { .. }));
        let What::ExecLog { line, .. } = next(&told) else { panic!("no line") };
        assert_eq!(line, "apps/it's apps/it's:1 sha256:0");
        let What::ExecFinished { code, stopped, .. } = next(&told) else { panic!("no end") };
        assert_eq!((code, stopped), (Some(3), false));
    }

    #[test]
    fn one_runs_at_a_time_for_each_image_and_none_is_left() {
        let (mut exec, told) = exec("echo begun {image}; sleep 3600");
        for image in ["a", "b", "a"] {
            exec.run(&success(image));
            let begun = format!("begun {image}");
            let is_begun =
                |what: &What| matches!(what, What::ExecLog { line, .. } if *line == begun);
            while !is_begun(&next(&told)) {}
        }
        exec.stop();
        let ends = told
            .try_iter()
            .filter(|what| matches!(what, What::ExecFinished { code: None, stopped: true, .. }));
        assert_eq!(ends.count(), 2, "the first `a` ended before the second began");
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them() {
        assert_eq!(quoted("acme/java/jre:0.1.0@sha256:ab"), "acme/java/jre:0.1.0@sha256:ab");
        assert_eq!(quoted("$(rm -rf)"), "'$(rm -rf)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
