//! What CI services understand in the text of a job: groups that fold, and annotations.
//!
//! Groups of GitHub and GitLab neither nest nor interleave, so that one is written whole, when its
//! image ended.

use crate::event::Failure;
use crate::image::ImageName;

/// A CI service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CiKind {
    /// GitHub Actions: workflow commands.
    GitHub,
    /// GitLab CI: collapsible sections.
    GitLab,
    /// Another one: text only.
    Other,
}

impl CiKind {
    /// Opens a group with a title, at a time in milliseconds since the Unix epoch. Groups of GitHub
    /// are folded by themselves.
    pub fn open_group(self, image: &ImageName, title: &str, time: u64) -> String {
        match self {
            Self::GitHub => format!("::group::{}\n", github_text(title)),
            Self::GitLab => {
                let section = format!("section_start:{}:{}", time / 1000, section_id(image));
                format!("\x1b[0K{section}[collapsed=true]\r\x1b[0K{title}\n")
            }
            Self::Other => format!("{title}\n"),
        }
    }

    /// Closes the group of an image.
    pub fn close_group(self, image: &ImageName, time: u64) -> String {
        match self {
            Self::GitHub => "::endgroup::\n".to_owned(),
            Self::GitLab => {
                format!("\x1b[0Ksection_end:{}:{}\r\x1b[0K\n", time / 1000, section_id(image))
            }
            Self::Other => String::new(),
        }
    }

    /// Marks the failing line in the view of the changes, where the service can.
    pub fn annotate_failure(self, image: &ImageName, failure: &Failure) -> Option<String> {
        if self != Self::GitHub {
            return None;
        }
        let mut properties = Vec::new();
        if let Some(path) = &failure.path {
            properties.push(format!("file={}", github_property(path)));
            properties.extend(failure.line.map(|line| format!("line={line}")));
        }
        properties.push(format!("title={}", github_property(&format!("{image} failed"))));
        let properties = properties.join(",");
        Some(format!("::error {properties}::{}\n", github_text(&failure.message)))
    }

    /// Shows a warning among the results of the job, where the service can.
    pub fn annotate_warning(self, message: &str) -> Option<String> {
        match self {
            Self::GitHub => Some(format!("::warning::{}\n", github_text(message))),
            Self::GitLab | Self::Other => None,
        }
    }
}

/// Escapes the text of a workflow command (actions/toolkit `command.ts`, `escapeData`); control
/// characters that it has no escape for are dropped.
fn github_text(text: &str) -> String {
    let escaped = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    escaped.replace(char::is_control, "")
}

/// Escapes a property of a workflow command (actions/toolkit `command.ts`, `escapeProperty`).
fn github_property(text: &str) -> String {
    github_text(text).replace(':', "%3A").replace(',', "%2C")
}

/// The id of a section: GitLab takes letters, digits, `.`, `_` and `-`.
fn section_id(image: &ImageName) -> String {
    image.as_str().replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn github_commands_are_escaped_as_its_toolkit_does() {
        let failure = Failure {
            message: "50 % done\r\nthen: exited, with 1".to_owned(),
            path: Some("images/a,b:c/Dockerfile".to_owned()),
            line: Some(7),
            tail: Vec::new(),
            transient: false,
            log: None,
        };
        assert_eq!(
            CiKind::GitHub.annotate_failure(&"apps/y".parse().unwrap(), &failure).unwrap(),
            "::error file=images/a%2Cb%3Ac/Dockerfile,line=7,title=apps/y failed\
             ::50 %25 done%0D%0Athen: exited, with 1\n"
        );
    }

    #[test]
    fn gitlab_sections_have_ids_without_slashes() {
        let image = "apps/y".parse().unwrap();
        assert_eq!(
            CiKind::GitLab.open_group(&image, "log of apps/y", 12_345),
            "\x1b[0Ksection_start:12:apps_y[collapsed=true]\r\x1b[0Klog of apps/y\n"
        );
        assert_eq!(
            CiKind::GitLab.close_group(&image, 13_000),
            "\x1b[0Ksection_end:13:apps_y\r\x1b[0K\n"
        );
    }
}
