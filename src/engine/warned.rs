//! Warnings of what concerns every image alike: each is said once by each engine.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::engine::Progress;

/// What was said already.
#[derive(Debug, Default)]
pub struct Warned(Mutex<BTreeSet<String>>);

impl Warned {
    /// Says it, if it was not said before.
    pub fn once(&self, text: &str, progress: &mut dyn FnMut(Progress)) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
            progress(Progress::Warning(text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_said_once() {
        let (warned, mut said) = (Warned::default(), 0);
        for text in ["a", "b", "a"] {
            warned.once(text, &mut |_| said += 1);
        }
        assert_eq!(said, 2);
    }
}
