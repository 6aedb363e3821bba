//! Colours: which thing is drawn in which. Every text is readable without them.
//!
//! Whether colours are wanted at all (`NO_COLOR`, `--color`, a pipe) is decided by the caller.

use std::borrow::Cow;

use crate::history::Ended;

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Built; well done.
    Good,
    /// Cut off, restored or only pushed: work that was saved.
    Saved,
    /// Failed.
    Bad,
    /// Blocked, or a warning.
    Warning,
    /// Less important than what is around it.
    Faint,
    /// More important than what is around it.
    Strong,
}

impl Tone {
    /// The tone of an image that ended so.
    pub const fn of(ended: Ended) -> Self {
        match ended {
            Ended::Built => Self::Good,
            Ended::CutOff | Ended::Restored | Ended::Pushed => Self::Saved,
            Ended::Failed | Ended::Quarantined => Self::Bad,
            Ended::Blocked => Self::Warning,
            Ended::NotReached => Self::Faint,
        }
    }

    /// The parameters of ECMA-48 "select graphic rendition".
    const fn parameters(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Saved => "36",
            Self::Bad => "1;31",
            Self::Warning => "33",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// Draws in colour, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are wanted.
    pub color: bool,
}

impl Style {
    /// Draws a text in a tone. The text must have no escape sequences of its own.
    pub fn paint<'a>(self, tone: Tone, text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
        let text = text.into();
        if !self.color || text.is_empty() {
            return text;
        }
        Cow::Owned(format!("\x1b[{}m{text}\x1b[0m", tone.parameters()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_drawn_only_where_they_are_wanted() {
        assert_eq!(Style { color: false }.paint(Tone::Bad, "failed"), "failed");
        assert_eq!(Style { color: true }.paint(Tone::Bad, "failed"), "\x1b[1;31mfailed\x1b[0m");
        assert_eq!(Style { color: true }.paint(Tone::Bad, ""), "");
    }
}
