//! `JUnit`: a suite with a test case for each image, as Jenkins, GitLab and the actions for GitHub read it.
//!
//! What failed in the Dockerfile is a `failure`, what the engine or the network failed to do an `error`;
//! what was not tried is `skipped`. A reference from outside that could not be looked up is a case, too,
//! because the exit code speaks of it.

use std::fmt::Write as _;

use crate::event::{Failure, Pin};
use crate::history::Ended;
use crate::image::ImageName;
use crate::report::document::{End, Roll, Row};
use crate::report::outcome::{failed_words, quarantined_words};
use crate::report::sentence;
use crate::report::tally::External;
use crate::report::text::clean;

/// A test case.
#[derive(Default)]
struct Case<'a> {
    class: &'a str,
    name: String,
    duration: u64,
    file: Option<&'a str>,
    result: Outcome,
    /// What else there is to know.
    output: String,
}

#[derive(Default)]
enum Outcome {
    #[default]
    Good,
    /// With a line, and the end of a log.
    Failure(String, String),
    Error(String, String),
    Skipped(String),
}

pub(super) fn text(roll: &Roll, end: &End<'_>) -> String {
    let mut cases: Vec<Case<'_>> = Vec::new();
    if let Some(error) = end.error {
        let result = Outcome::Error(error.to_owned(), String::new());
        cases.push(Case {
            class: "imgraph",
            name: "imgraph".to_owned(),
            result,
            ..Case::default()
        });
    }
    let failed = |external: &&External| external.status == Pin::Failed;
    cases.extend(roll.tally.externals.iter().filter(failed).map(external));
    cases.extend(roll.images.iter().map(|row| image(roll, row)));
    let count = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.result)).count();
    let duration = roll.tally.summary.as_ref().map_or(0, |summary| summary.duration);
    let counts = format!(
        "name=\"imgraph\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        count(|result| matches!(result, Outcome::Failure(..))),
        count(|result| matches!(result, Outcome::Error(..))),
        count(|result| matches!(result, Outcome::Skipped(_))),
        seconds(duration),
    );
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    writeln!(text, "<testsuites {counts}>\n<testsuite {counts}>").unwrap_or_default();
    if let Some(run) = &roll.run {
        let property = |name: &str, value: &str| {
            format!("<property name=\"{name}\" value=\"{}\"/>", escaped(value))
        };
        let (id, engine) = (property("run", &run.id), property("engine", &run.engine));
        writeln!(text, "<properties>{id}{engine}</properties>").unwrap_or_default();
    }
    for case in &cases {
        text += &case.text();
    }
    text + "</testsuite>\n</testsuites>\n"
}

fn image<'a>(roll: &Roll, row: &'a Row) -> Case<'a> {
    let failure = row.failure.as_ref();
    let result = match row.ended {
        Some(Ended::Failed) => failed(row.duration, failure),
        Some(Ended::Quarantined) => {
            let quarantine = roll.tally.quarantined.get(&row.name);
            let why = quarantine.map_or_else(String::new, quarantined_words);
            Outcome::Skipped(format!("quarantined: {why}"))
        }
        Some(Ended::Blocked) => {
            let by = row.blocked_by.as_ref().map_or("an ancestor", ImageName::as_str);
            Outcome::Skipped(format!("blocked: {by} has no output"))
        }
        Some(Ended::NotReached) => Outcome::Skipped("not reached".to_owned()),
        None if row.is_planned => Outcome::Skipped("not reached".to_owned()),
        None | Some(Ended::Built | Ended::CutOff | Ended::Restored | Ended::Pushed) => {
            Outcome::Good
        }
    };
    Case {
        class: "imgraph",
        name: row.name.to_string(),
        duration: row.duration,
        file: failure.and_then(|failure| failure.path.as_deref()),
        result,
        output: output(roll, row),
    }
}

fn failed(duration: u64, failure: Option<&Failure>) -> Outcome {
    let words = failed_words(duration, failure);
    let lines = failure.map_or(&[][..], |failure| &failure.tail);
    let mut tail: String = lines.iter().flat_map(|line| [clean(line), "\n".into()]).collect();
    if let Some(log) = failure.and_then(|failure| failure.log.as_deref()) {
        writeln!(tail, "log: {log}").unwrap_or_default();
    }
    if failure.is_some_and(|failure| failure.transient) {
        Outcome::Error(words, tail)
    } else {
        Outcome::Failure(words, tail)
    }
}

/// How it ended, why it was built, and what it stands on.
fn output(roll: &Roll, row: &Row) -> String {
    let mut lines = vec![row.word().to_owned()];
    if !row.reasons.is_empty() {
        lines.push(format!("because: {}", sentence::reasons(&row.reasons, usize::MAX)));
    }
    for image in roll.stands_on(row) {
        lines.push(format!("stands on the last good output of {image}, which is in quarantine"));
    }
    lines.join("\n")
}

fn external(external: &External) -> Case<'_> {
    let words = external.error.clone().unwrap_or_default();
    let names: Vec<&str> = external.images.iter().map(ImageName::as_str).collect();
    let needs = format!("needed by {}\n", names.join(", "));
    let result = if external.transient {
        Outcome::Error(words, needs)
    } else {
        Outcome::Failure(words, needs)
    };
    Case { class: "imgraph.lock", name: external.reference.clone(), result, ..Case::default() }
}

impl Case<'_> {
    fn text(&self) -> String {
        let mut text = format!(
            "<testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
            escaped(self.class),
            escaped(&self.name),
            seconds(self.duration)
        );
        if let Some(file) = self.file {
            write!(text, " file=\"{}\"", escaped(file)).unwrap_or_default();
        }
        text.push('>');
        text += &match &self.result {
            Outcome::Good => String::new(),
            Outcome::Failure(message, log) => element("failure", message, log),
            Outcome::Error(message, log) => element("error", message, log),
            Outcome::Skipped(message) => skipped(message),
        };
        if !self.output.is_empty() {
            write!(text, "<system-out>{}</system-out>", escaped(&self.output)).unwrap_or_default();
        }
        text + "</testcase>\n"
    }
}

fn skipped(message: &str) -> String {
    format!("<skipped message=\"{}\"/>", escaped(message))
}

fn element(name: &str, message: &str, log: &str) -> String {
    format!("<{name} message=\"{}\" type=\"{name}\">{}</{name}>", escaped(message), escaped(log))
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// Text as an attribute or an element takes it. XML 1.0 has no way to write most control characters
/// (section 2.2): they become `?`. A line break in an attribute would be read as a blank.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => write!(escaped, "&#{};", u32::from(c)).unwrap_or_default(),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_build_prints_breaks_the_document() {
        assert_eq!(escaped("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
        assert_eq!(escaped("]]>"), "]]&gt;");
        assert_eq!(escaped("\x1b[31m\0\x07\u{ffff}漢"), "?[31m???漢");
        assert_eq!(escaped("a\r\n\tb"), "a&#13;&#10;&#9;b");
    }
}
