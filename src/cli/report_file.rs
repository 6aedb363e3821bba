//! `--report`: files that have the end of a run, whichever way it ended.
#![expect(clippy::disallowed_methods, reason = "writes files that were asked for")]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cli::failure::{Exit, Failure};
use crate::event::Event;
use crate::report::document::{End, Form, Roll};

/// A file for the end of a run, and its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// Its form.
    pub form: Form,
    /// Where it is written.
    pub path: PathBuf,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, path) = match text.split_once('=') {
            Some(("markdown", path)) => (Form::Markdown, path),
            Some(("json", path)) => (Form::Json, path),
            Some(("junit", path)) => (Form::Junit, path),
            _ => (by_name(text)?, text),
        };
        if path.is_empty() {
            return Err("a file has a name".to_owned());
        }
        Ok(Self { form, path: PathBuf::from(path) })
    }
}

fn by_name(path: &str) -> Result<Form, String> {
    match path.rsplit_once('.') {
        Some((_, "md")) => Ok(Form::Markdown),
        Some((_, "json")) => Ok(Form::Json),
        Some((_, "xml")) => Ok(Form::Junit),
        _ => {
            Err("it ends in .md, .json or .xml, or begins with markdown=, json= or junit="
                .to_owned())
        }
    }
}

/// The files that were asked for, and what there is to write.
pub(crate) struct Reports {
    files: Vec<ReportFile>,
    roll: RefCell<Roll>,
}

impl Reports {
    /// Begins. What an earlier run left in the files goes: if this one is killed, nobody shall take
    /// that for its end.
    pub(crate) fn new(files: &[ReportFile], directory: &Path) -> Result<Self, Failure> {
        let mut placed = Vec::new();
        for ReportFile { form, path } in files {
            let path = directory.join(path);
            // What a link leads to is written, and not the link.
            let path = fs::canonicalize(&path).unwrap_or(path);
            if fs::metadata(&path).is_ok_and(|found| found.is_file()) {
                fs::remove_file(&path).map_err(|error| unwritten(&path, &error))?;
            }
            placed.push(ReportFile { form: *form, path });
        }
        Ok(Self { files: placed, roll: RefCell::default() })
    }

    /// Takes note of an event.
    pub(crate) fn event(&self, event: &Event) {
        if !self.files.is_empty() {
            self.roll.borrow_mut().observe(event);
        }
    }

    /// Writes all files. Fails with the first that cannot be written, after the others were.
    pub(crate) fn write(&self, outcome: &Result<u8, Failure>) -> Result<(), Failure> {
        let (exit_code, error) = match outcome {
            Ok(exit) => (*exit, None),
            Err(failure) if matches!(failure.exit, Exit::INTERRUPTED | Exit::TERMINATED) => {
                (failure.exit, Some("interrupted before the run began"))
            }
            Err(failure) if failure.message.is_empty() => (failure.exit, Some(SAID)),
            Err(failure) => (failure.exit, Some(failure.message.as_str())),
        };
        let end = End { exit_code, error };
        let mut failed = None;
        for ReportFile { form, path } in &self.files {
            let text = self.roll.borrow().text(*form, &end);
            if let Err(error) = replace(path, text.as_bytes()) {
                failed.get_or_insert(unwritten(path, &error));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// What stands for what was said on standard error.
const SAID: &str = "nothing could be built: the log of the run says why";

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::UNAVAILABLE, format!("cannot write {}: {error}", path.display()))
}

/// Writes a file: whoever reads it sees all of it or nothing. Into a pipe or a terminal it is only
/// written.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        fs::remove_file(&beside).unwrap_or_default();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_report_is_that_of_its_name_unless_it_is_said() {
        let read = |text: &str| text.parse::<ReportFile>().map(|it| (it.form, it.path));
        assert_eq!(read("a/b.md"), Ok((Form::Markdown, "a/b.md".into())));
        assert_eq!(read("b.json"), Ok((Form::Json, "b.json".into())));
        assert_eq!(read("b.xml"), Ok((Form::Junit, "b.xml".into())));
        assert_eq!(read("a=b.xml"), Ok((Form::Junit, "a=b.xml".into())));
        assert_eq!(read("markdown=b.xml"), Ok((Form::Markdown, "b.xml".into())));
        assert_eq!(read("json=/dev/fd/3"), Ok((Form::Json, "/dev/fd/3".into())));
        assert_eq!(read("junit=b"), Ok((Form::Junit, "b".into())));
        for wrong in ["", "b", "b.txt", "junit=", "html=b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
