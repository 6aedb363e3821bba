//! What buildx prints while it builds: changes for the tracker, and text for people.

use crate::engine::buildx::rawjson::{Piece, Reader, Update};
use crate::engine::vertex::progress::Tracker;
use crate::engine::{Parent, Progress};

/// Reads a build's output, line by line.
#[derive(Debug, Default)]
pub struct Output {
    /// What the build did.
    pub tracker: Tracker,
    /// What buildx said besides.
    pub said: Vec<String>,
    reader: Reader,
}

impl Output {
    /// For a build with these parents.
    pub fn new(parents: &[Parent]) -> Self {
        Self { tracker: Tracker::new(parents), ..Self::default() }
    }

    /// Reads a line and says what it means.
    pub fn line(&mut self, line: &str, progress: &mut dyn FnMut(Progress)) {
        match self.reader.line(line) {
            Some(Piece::Update(update)) => self.update(&update, progress),
            Some(Piece::Text(text)) => self.said.push(text),
            None => {}
        }
    }

    /// Says what was left over.
    pub fn finish(&mut self, progress: &mut dyn FnMut(Progress)) {
        match self.reader.finish() {
            Some(Piece::Update(update)) => self.update(&update, progress),
            Some(Piece::Text(text)) => self.said.push(text),
            None => {}
        }
        self.tracker.finish(progress);
    }

    fn update(&mut self, update: &Update, progress: &mut dyn FnMut(Progress)) {
        for vertex in &update.vertices {
            self.tracker.vertex(vertex, progress);
        }
        for log in &update.logs {
            self.tracker.log(log, progress);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(capture: &str) -> (Output, Vec<String>) {
        let (mut output, mut seen) = (Output::default(), Vec::new());
        let mut progress = |progress| match progress {
            Progress::Step { number, total, text, cached } => {
                let total = total.map_or("?".to_owned(), |total| total.to_string());
                let cached = if cached { " CACHED" } else { "" };
                seen.push(format!("{number}/{total} {text}{cached}"));
            }
            Progress::Log(line) => seen.push(format!("| {line}")),
            Progress::Warning(text) => seen.push(format!("! {text}")),
        };
        for line in capture.lines() {
            output.line(line, &mut progress);
        }
        output.finish(&mut progress);
        (output, seen)
    }

    #[test]
    fn a_real_build_is_followed() {
        let (output, mut seen) = seen(include_str!("captures/lines.txt"));
        seen.retain(|line| !line.contains("sleep"));
        assert_eq!(
            seen,
            [
                "1/7 COPY busybox /bin/busybox CACHED",
                "2/7 COPY busybox /bin/sh",
                "3/7 WORKDIR /w",
                "4/7 RUN echo hello 1 && printf 'no end'",
                "5/7 RUN busybox printf '10%%\\r20%%\\n'; busybox echo err >&2",
                "| hello 1",
                "| 20%",
                "| err",
                "| no end",
                "| dial tcp",
            ]
        );
        assert_eq!((output.tracker.steps(), output.tracker.cached_steps()), (6, 1));
        assert_eq!(output.said.len(), 8);
    }
}
