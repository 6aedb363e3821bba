//! Several questions to registries at once, and what is said meanwhile.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::{io, thread};

use crate::cli::settings::write;

/// How many are asked at once.
const AT_ONCE: usize = 8;

/// Asks about every item, several at once, and passes notes on as warnings. The answers are in the
/// order of the items.
pub(crate) fn at_once<T: Sync, A: Send>(
    items: &[T],
    ask: impl Fn(&T, &mut dyn FnMut(String)) -> A + Sync,
) -> Vec<A> {
    let next = AtomicUsize::new(0);
    let work = |notes: &mpsc::Sender<String>| {
        let mut answers = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return answers };
            // Who listens outlives the workers.
            let say = &mut |note| notes.send(note).unwrap_or_default();
            answers.push((at, ask(item, say)));
        }
    };
    let mut answers: Vec<(usize, A)> = thread::scope(|scope| {
        let (notes, told) = mpsc::channel();
        let work = &work;
        let worker = |notes: mpsc::Sender<String>| scope.spawn(move || work(&notes));
        let workers: Vec<_> =
            (0..items.len().min(AT_ONCE)).map(|_| worker(notes.clone())).collect();
        drop(notes);
        for note in told {
            write(&mut io::stderr(), &format!("warning: {note}\n"));
        }
        let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
        joined.flat_map(|answers| answers.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
