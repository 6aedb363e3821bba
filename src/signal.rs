//! Ctrl-C and SIGTERM: the first ends the run in order, a later one ends the process. And what tells
//! that a terminal has got another size.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::cancel::Cancel;
use crate::clock::Timer;

/// Who presses Ctrl-C presses it twice: a repeat within this time is not a second wish. It is also
/// longer than stopping takes, in milliseconds.
const PATIENCE: u64 = 3_000;

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Raises `cancel` at the first SIGINT or SIGTERM, and lets one that comes later than three seconds
/// after it end the process at once.
pub fn raise_on_interrupt(cancel: &Cancel) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        let mut first: Option<Timer> = None;
        for signal in signals.forever() {
            match &first {
                None => {
                    RECEIVED.store(signal, Ordering::SeqCst);
                    first = Some(Timer::start());
                    cancel.raise();
                }
                Some(timer) if timer.elapsed() < PATIENCE => (),
                Some(_) => {
                    signal_hook::low_level::emulate_default_handler(signal).unwrap_or_default();
                }
            }
        }
    });
    Ok(())
}

/// Calls somebody whenever the terminal has got another size.
pub fn on_resize(mut tell: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGWINCH])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            tell();
        }
    });
    Ok(())
}

/// The number of the signal that was received, if one was.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}
