//! What can be typed behind `imgraph watch`. The comments are the manual.

use std::time::Duration;

use clap::Args;

use crate::cli::args::{Building, Jobs, Output};
use crate::cli::selection::Selection;

/// Build again whenever a file is saved, until told to end
///
/// Brings the selected images up to date, with the ancestors that they need, and does so again
/// whenever something that they read changes. What comes out the same is not built, and a build
/// whose inputs change while it runs is stopped and begun again. At a terminal there are keys:
/// p pauses, r looks at everything, f builds again what failed, Enter says how things are, q ends.
#[derive(Debug, Args)]
pub struct Watch {
    /// Which images
    #[command(flatten)]
    pub selection: Selection,
    /// Run a command after each success: {image}, {reference} and {digest} say what was built
    ///
    /// A shell runs it in the workspace root, one at a time for each image: when the image is built
    /// again, a command that still runs is stopped first, with all processes that it started.
    #[arg(long, value_name = "COMMAND", env = "IMGRAPH_EXEC")]
    pub exec: Option<String>,
    /// Look at everything every so often, instead of waiting to be told of changes: for file
    /// systems that tell of none
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = time, env = "IMGRAPH_POLL")]
    pub poll: Option<Duration>,
    /// How images are built, and where they go
    #[command(flatten)]
    pub building: Building,
    /// How many builds run at once: a number, or a share of the cores such as 50%
    #[arg(short, long, value_name = "N", env = "IMGRAPH_JOBS")]
    pub jobs: Option<Jobs>,
    /// How the runs are shown
    #[command(flatten)]
    pub output: Output,
}

/// `2s`, `500ms` or `1m`; not less than a tenth of a second.
fn time(text: &str) -> Result<Duration, String> {
    let number = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse().ok());
    let time = number("ms")
        .map(Duration::from_millis)
        .or_else(|| number("s").map(Duration::from_secs))
        .or_else(|| number("m").map(Duration::from_mins));
    time.filter(|time| *time >= Duration::from_millis(100))
        .ok_or_else(|| "a time such as 2s or 500ms, not less than 100ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("1m"), Ok(Duration::from_mins(1)));
        for wrong in ["2", "s", "-1s", "99ms", "1h", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
