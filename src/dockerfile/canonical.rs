//! The canonical text of an instruction: two instructions that do the same by their text have the
//! same, and two that may differ do not.
//!
//! Gone are continuations, comments, the case of the keyword and the blanks between words. What a
//! shell is handed stays byte for byte.

use std::fmt::Write;

use crate::dockerfile::instruction::{Arguments, Heredoc, Instruction, Joint, Word};

/// The text of any instruction but FROM.
pub(crate) fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    write_instruction(&mut text, instruction);
    for Heredoc { name, content, .. } in &instruction.heredocs {
        text.extend(["\n", content.as_str(), name.as_str()]);
    }
    if !instruction.odd_bytes.is_empty() {
        // Else all bytes that are no text would be one.
        write!(text, "\n# bytes {:?}", instruction.odd_bytes).ok();
    }
    text
}

/// The text of FROM, with its variables expanded.
pub(crate) fn from(platform: Option<&str>, base: &str, name: Option<&str>) -> String {
    let mut text = "FROM".to_owned();
    if let Some(platform) = platform {
        text.extend([" --platform=", platform]);
    }
    text.extend([" ", base]);
    if let Some(name) = name {
        text.extend([" AS ", name]);
    }
    text
}

fn write_instruction(text: &mut String, instruction: &Instruction) {
    text.push_str(instruction.keyword.as_str());
    for flag in &instruction.flags {
        text.push(' ');
        if flag.text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
            write_quoted(text, &flag.text);
        } else {
            text.push_str(&flag.text);
        }
    }
    if let Arguments::Trigger { instruction, .. } = &instruction.arguments {
        text.push(' ');
        // The parser bounds how deep triggers nest.
        return write_instruction(text, instruction);
    }
    write_arguments(text, &instruction.arguments);
}

fn write_arguments(text: &mut String, arguments: &Arguments) {
    match arguments {
        Arguments::None | Arguments::Unread | Arguments::Trigger { .. } => {}
        Arguments::Line(word) => write_words(text, std::slice::from_ref(word)),
        Arguments::Words(words) => write_words(text, words),
        Arguments::Json(words) => {
            text.push_str(" [");
            for (index, word) in words.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_quoted(text, &word.text);
            }
            text.push(']');
        }
        Arguments::Pairs(pairs) => {
            for pair in pairs {
                let joint = if pair.joint == Joint::Equals { "=" } else { " " };
                text.extend([" ", pair.name.text.as_str(), joint, pair.value.text.as_str()]);
            }
        }
        Arguments::Health { kind, command } => {
            text.extend([" ", kind.text.to_uppercase().as_str()]);
            write_arguments(text, command);
        }
    }
}

fn write_words(text: &mut String, words: &[Word]) {
    // Else the first word would be taken for a flag.
    if words.first().is_some_and(|word| word.text.starts_with("--")) {
        text.push_str(" --");
    }
    for word in words {
        text.extend([" ", word.text.as_str()]);
    }
}

/// A string of JSON, more or less: what matters is that every text has its own.
fn write_quoted(text: &mut String, quoted: &str) {
    // Writing to a string cannot fail.
    write!(text, "{quoted:?}").ok();
}
