//! `imgraph rebuild --full`: what it does before, beside and after an ordinary run (docs/nightly.md).

use std::collections::{BTreeMap, BTreeSet};

use crate::cancel::Cancel;
use crate::cli::args::Rebuild;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::{Selected, Session};
use crate::cli::settings::Settings;
use crate::cli::update::refresh::{Refreshed, refresh};
use crate::clock;
use crate::event::What;
use crate::history::{Failing, History};
use crate::image::{ImageId, ImageName};
use crate::ledger::{Entry, Ledger};
use crate::plan::age::too_old_images;
use crate::run::Held;

/// How often a build or a push is tried again: nobody waits for it, and a registry that restarts is
/// back within a minute and a half.
pub(crate) const RETRIES: u32 = 4;

/// A nightly that has begun.
pub(crate) struct Nightly {
    /// When ages are looked at.
    pub(crate) now: u64,
    refreshed: Refreshed,
}

impl Nightly {
    /// Moves the pins, before anything is planned with them.
    pub(crate) fn begin(
        arguments: &Rebuild,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        let refreshed = refresh((&arguments.selection, arguments.output.quiet), settings, cancel)?;
        Ok(Self { now: clock::now(), refreshed })
    }

    /// Whether the engine asks registries for images from outside: where nothing pins them.
    pub(crate) fn pulls(&self) -> bool {
        !self.refreshed.has_file
    }

    /// What became of pins.
    pub(crate) fn news(&self) -> &[What] {
        &self.refreshed.news
    }

    /// The exit code, with what became of pins: an outage counts for more than a failure, and what
    /// was interrupted is told as that.
    pub(crate) fn exit(&self, exit: u8) -> u8 {
        match (exit, self.refreshed.exit) {
            (exit, Exit::OK) => exit,
            (Exit::OK | Exit::IMAGE_FAILED, pins) => pins.max(exit),
            (exit, _) => exit,
        }
    }

    /// The images that failed too often, but for those that are asked for by their names.
    pub(crate) fn quarantine(
        history: &History,
        arguments: &Rebuild,
    ) -> BTreeMap<ImageName, Failing> {
        let selection = &arguments.selection;
        let named = |name: &ImageName| {
            let mut all = selection.selectors.iter().chain(&selection.filters);
            all.any(|selector| selector == name.as_str())
        };
        let failing = history.quarantined().filter(|failing| !named(&failing.image));
        failing.map(|failing| (failing.image.clone(), failing.clone())).collect()
    }

    /// Remembers what failed for a reason that only other inputs can mend. One that cannot be written
    /// costs a build.
    pub(crate) fn remember(&self, ledger: &mut Ledger, failed: &BTreeMap<ImageName, Held>) {
        let lasting = failed.iter().filter(|(_, held)| !held.restless && !held.failure.transient);
        let history = ledger.history();
        let entry = |(image, held): (&ImageName, &Held)| {
            let before = history.failing.get(image).filter(|before| before.key == held.key);
            Entry::Failing(Failing {
                image: image.clone(),
                key: held.key,
                runs: before.map_or(1, |before| before.runs.saturating_add(1)),
                since: before.map_or(self.now, |before| before.since),
                line: held.failure.line,
                log: held.failure.log.clone(),
            })
        };
        let entries: Vec<Entry> = lasting.map(entry).collect();
        ledger.append(entries).unwrap_or_default();
    }
}

/// The images whose `prepare` runs again: those that are forced, and those that are too old. What
/// `prepare` makes is often what makes them old.
pub(crate) fn prepared_again(
    session: &Session,
    history: &History,
    (selected, forced, aged_at): (&Selected, &BTreeSet<ImageId>, Option<u64>),
) -> BTreeSet<ImageId> {
    let mut images = forced.clone();
    if let Some(now) = aged_at {
        let loaded = &session.loaded;
        let old = too_old_images((&loaded.graph, &loaded.workspace.layers), history, now);
        images.extend(old.intersection(&selected.images));
    }
    images
}
