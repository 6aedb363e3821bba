//! Parts of a selection for several machines, by what builds took before.

mod matrix;

use std::collections::BTreeSet;
use std::io;

use crate::cli::failure::Failure;
use crate::cli::selection::Portion;
use crate::cli::session::Session;
use crate::cli::settings::write;
pub(crate) use crate::cli::shards::matrix::Matrix;
use crate::digest::Hasher;
use crate::history::Presence;
use crate::image::ImageId;
use crate::ledger;
use crate::plan::Durations;
use crate::report::sentence;
use crate::shard::{Shard, Work, split};

/// How much of the digest of a split is shown: people compare it.
const SHORT: usize = 8;

/// One part of the given images. Says which, and of what.
pub(crate) fn narrow(
    session: &Session,
    images: &BTreeSet<ImageId>,
    portion: Portion,
) -> Result<BTreeSet<ImageId>, Failure> {
    let work = work(session, images)?;
    let shards = split(&work, portion.of);
    let empty = Shard::default();
    let shard = shards.get(portion.number - 1).unwrap_or(&empty);
    let about = match shard.images.len() {
        0 => String::new(),
        _ => format!(", {}", sentence::about(shard.predicted)),
    };
    let text = format!(
        "shard {portion}: {} of {}{about} (split {})\n",
        shard.images.len(),
        sentence::count(images.len(), "image"),
        digest(session, &shards)
    );
    write(&mut io::stderr(), &text);
    Ok(shard.images.iter().copied().collect())
}

/// What stands for a split: machines that cut in another way would leave images out.
fn digest(session: &Session, shards: &[Shard]) -> String {
    let mut hasher = Hasher::new("split");
    for shard in shards {
        hasher.number(shard.images.len() as u64);
        for id in &shard.images {
            hasher.text(session.loaded.graph.name(*id).as_str());
        }
    }
    let mut text = hasher.finish().to_string();
    text.truncate(SHORT);
    text
}

/// The given images, with what each takes. Says where that is not known.
fn work(session: &Session, images: &BTreeSet<ImageId>) -> Result<Work, Failure> {
    let graph = &session.loaded.graph;
    let (history, _) = ledger::read(&session.state)?;
    let durations = Durations::new(&session.facts(&|_, _| Presence::Missing), &history);
    let unknown = images.iter().filter(|id| durations.of(**id).is_none()).count();
    if unknown > 0 {
        let text = if unknown == images.len() {
            "no build of these images is known here: all are taken to be equally slow\n".to_owned()
        } else {
            let images = sentence::count(unknown, "image");
            format!(
                "{images} never built here: taken to be as slow as the slow ones of the layer\n"
            )
        };
        write(&mut io::stderr(), &text);
    }
    Ok(Work::new(graph, images, |id| durations.or_guess(id, graph.image(id).spec.layer)))
}
