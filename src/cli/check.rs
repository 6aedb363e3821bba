//! `imgraph check`: everything that is wrong with the workspace. Needs no engine.

use std::collections::BTreeSet;
use std::io;

use crate::cli::args::{Check, PlanFormat};
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::diagnostic::Diagnostic;
use crate::gather::inputs;
use crate::image::ImageId;
use crate::ledger;
use crate::report::{diagnostics, sentence};

/// Runs the verb.
pub(crate) fn run(arguments: &Check, settings: &Settings) -> Result<u8, Failure> {
    let session = Session::open(settings)?;
    let graph = &session.loaded.graph;
    let images: BTreeSet<ImageId> = graph.iter().map(|(id, _)| id).collect();
    let (history, _) = ledger::read(&session.state)?;
    let wide = session.wide(&history);
    let disk = session.disk(&wide);
    let gathered = inputs::gather(&disk, &images, &history, &BTreeSet::new());
    let mut problems = session.loaded.problems.clone();
    problems.extend(gathered.problems);
    let is_wrong = problems.iter().any(Diagnostic::is_error);
    match arguments.format {
        PlanFormat::Json => {
            let sources = session.loaded.workspace.sources(&problems);
            write(&mut io::stdout(), &diagnostics::json(&problems, &sources));
        }
        PlanFormat::Text if problems.is_empty() => {
            let text =
                format!("nothing is wrong with {}\n", sentence::count(images.len(), "image"));
            write(&mut io::stdout(), &text);
        }
        PlanFormat::Text => {
            write(&mut io::stdout(), &session.drawn(&problems, settings));
        }
    }
    Ok(if is_wrong { Exit::WORKSPACE } else { Exit::OK })
}
