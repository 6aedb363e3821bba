//! `imgraph why`: the reasons of one image, down to the first cause.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use crate::cli::args::Why;
use crate::cli::failure::{Exit, Failure};
use crate::cli::plan::{self, Look};
use crate::cli::selection::Selection;
use crate::cli::session::{Session, Wishes};
use crate::cli::settings::{Settings, write};
use crate::clock;
use crate::fingerprint::reason::Reason;
use crate::history::Ended;
use crate::image::ImageId;
use crate::plan::{Decision, Step};
use crate::report::sentence;
use crate::report::style::Style;

/// Runs the verb.
pub(crate) fn run(arguments: &Why, settings: &Settings) -> Result<u8, Failure> {
    let session = Session::open(settings)?;
    let selection = Selection { selectors: vec![arguments.image.clone()], ..Selection::default() };
    let selected = session.select(&selection, settings)?;
    let look = Look::at(&session, settings, &selected, Wishes::nothing())?;
    let tree = Tree { session: &session, look: &look };
    let mut text = String::new();
    for id in &selected.asked {
        if arguments.json {
            writeln!(text, "{}", tree.json(*id)).unwrap_or_default();
        } else {
            text += &tree.text(*id, settings.style_out());
        }
    }
    write(&mut io::stdout(), &text);
    Ok(Exit::OK)
}

struct Tree<'a> {
    session: &'a Session,
    look: &'a Look,
}

impl Tree<'_> {
    fn step(&self, id: ImageId) -> &Step {
        let step = self.look.plan.steps.iter().find(|step| step.image == id);
        step.expect("the plan has every selected image and its ancestors")
    }

    fn text(&self, id: ImageId, style: Style) -> String {
        let mut text = String::new();
        let step = self.step(id);
        let (word, tone) = plan::word(step.decision);
        let name = self.session.loaded.graph.name(id);
        writeln!(text, "{name}: {}", style.paint(tone, word)).unwrap_or_default();
        if step.decision == Decision::Fresh {
            text.push_str(&self.fresh(id));
            return text;
        }
        // An image is explained where it is met first; below, its name is enough.
        let mut told: BTreeSet<ImageId> = BTreeSet::new();
        let mut todo: Vec<(ImageId, usize)> = vec![(id, 1)];
        while let Some((id, depth)) = todo.pop() {
            let step = self.step(id);
            let indent = "  ".repeat(depth);
            if depth > 1 {
                let (word, tone) = plan::word(step.decision);
                let parent = self.session.loaded.graph.name(id);
                let indent = "  ".repeat(depth - 1);
                writeln!(text, "{indent}{parent}: {}", style.paint(tone, word)).unwrap_or_default();
            }
            if !told.insert(id) {
                writeln!(text, "{indent}(see above)").unwrap_or_default();
                continue;
            }
            for reason in &step.reasons {
                writeln!(text, "{indent}{}", self.located(id, reason)).unwrap_or_default();
            }
            if let Some(failing) = self.failing(id, step) {
                writeln!(text, "{indent}{failing}").unwrap_or_default();
            }
            if step.decision == Decision::Restore {
                let line =
                    "an earlier build from the same inputs is in the store: it gets its tags back";
                writeln!(text, "{indent}{line}").unwrap_or_default();
            }
            if step.reasons.is_empty() && !step.waits_for.is_empty() {
                writeln!(text, "{indent}nothing of its own changed; its parents decide:")
                    .unwrap_or_default();
            }
            todo.extend(step.waits_for.iter().rev().map(|parent| (*parent, depth + 1)));
        }
        text
    }

    /// That an image failed with the inputs that it has.
    fn failing(&self, id: ImageId, step: &Step) -> Option<String> {
        let failing = self.look.history.failing.get(self.session.loaded.graph.name(id))?;
        let runs = sentence::count(failing.runs as usize, "full run");
        let log = failing.log.as_ref().map_or_else(String::new, |log| format!(" ({log})"));
        let left_alone =
            if failing.is_quarantined() { ", and is left alone by the next" } else { "" };
        let text = format!("it failed with these inputs in {runs}{left_alone}{log}");
        (step.key == Some(failing.key)).then_some(text)
    }

    /// A reason with the path that the user knows, from the workspace root.
    fn located(&self, id: ImageId, reason: &Reason) -> String {
        let spec = &self.session.loaded.graph.image(id).spec;
        let sentence = sentence::reason(reason);
        match reason {
            Reason::FileChanged { .. } | Reason::FileAdded { .. } | Reason::FileRemoved { .. } => {
                let slash = if spec.context.is_empty() { "" } else { "/" };
                format!("{}{slash}{sentence}", spec.context)
            }
            Reason::InstructionChanged { path, line } => {
                format!("{path}:{line} changed")
            }
            _ => sentence,
        }
    }

    /// Why nothing has to be done, and how the image came to be.
    fn fresh(&self, id: ImageId) -> String {
        let name = self.session.loaded.graph.name(id);
        let Some(record) = self.look.history.records.get(name) else { return String::new() };
        let ago = clock::now().saturating_sub(record.finished);
        let mut text = format!(
            "  built {} ago in {}, and nothing that it reads has changed since\n  build key {}  content {}  {}\n",
            sentence::elapsed(ago),
            sentence::duration(record.duration),
            record.build_key.short(),
            record.content.short(),
            sentence::size(record.output.size),
        );
        let last = self.look.history.last_run.as_ref().and_then(|run| run.ended.get(name));
        if last == Some(&Ended::CutOff) {
            text.push_str("  in the last run it was cut off: its parents came out the same\n");
        }
        text
    }

    fn json(&self, id: ImageId) -> Value {
        let graph = &self.session.loaded.graph;
        let mut needed = BTreeSet::from([id]);
        needed = graph.with_ancestors(&needed);
        let steps = self.look.plan.steps.iter().filter(|step| needed.contains(&step.image));
        let object = |step: &Step| {
            json!({
                "image": graph.name(step.image),
                "decision": plan::word(step.decision).0,
                "reasons": step.reasons,
                "waits_for": step.waits_for.iter().map(|id| graph.name(*id)).collect::<Vec<_>>(),
            })
        };
        let steps: Vec<Value> = steps
            .filter(|step| step.decision != Decision::Fresh || step.image == id)
            .map(object)
            .collect();
        json!({ "version": 1, "image": graph.name(id), "steps": steps })
    }
}
