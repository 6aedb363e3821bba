//! The instructions of a Dockerfile by stage and place, to find the line of what buildah reports.
//!
//! Only cuts the text: continuations are joined, comments dropped, bodies of here-documents skipped.
//! What an instruction means is `dockerfile`'s business. Source of the rules: moby/buildkit
//! `frontend/dockerfile/parser/parser.go`.

use crate::engine::message::squeezed;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The stage, from 1; 0 is what comes before the first FROM.
    pub stage: u32,
    /// Its place in the stage, from 1: the FROM.
    pub place: u32,
    /// Its first line, from 1.
    pub line: u32,
    /// Continuations joined, comments dropped, without the bodies of here-documents.
    pub text: String,
    /// Whether it has a here-document.
    pub has_heredoc: bool,
}

impl Instruction {
    /// Whether it begins a stage.
    pub fn is_from(&self) -> bool {
        self.word().eq_ignore_ascii_case("from")
    }

    /// What a FROM names, as written, with quotes and variables.
    pub fn base(&self) -> Option<&str> {
        self.operands().next()
    }

    /// The name that a FROM gives to its stage.
    pub fn stage_name(&self) -> Option<&str> {
        let mut words = self.operands().skip(1);
        words.next().filter(|word| word.eq_ignore_ascii_case("as"))?;
        words.next()
    }

    /// What it is, as written: `RUN`, `copy`.
    pub fn word(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or("")
    }

    /// What it takes files from, as written: what a FROM names, `--from` of COPY and `from` in
    /// `--mount` of RUN, stages among them.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let mounts = self.flags().filter_map(|flag| flag.strip_prefix("--mount="));
        let mounted = mounts.flat_map(|mount| mount.split(','));
        let copied = self.flags().filter_map(|flag| flag.strip_prefix("--"));
        let from = copied.chain(mounted).filter_map(|pair| pair.strip_prefix("from="));
        self.base().into_iter().chain(from)
    }

    /// Whether it is a RUN that mounts something that its text does not say: files of the context, a
    /// stage or an image.
    pub fn mounts_content(&self) -> bool {
        let mut mounts = self.flags().filter_map(|flag| flag.strip_prefix("--mount="));
        let has_content = |mount: &str| {
            let value = |name: &str| mount.split(',').find_map(|pair| pair.strip_prefix(name));
            match value("type=") {
                Some("secret" | "ssh" | "tmpfs") => false,
                Some("cache") => value("from=").is_some(),
                _ => true,
            }
        };
        self.word().eq_ignore_ascii_case("run") && mounts.any(has_content)
    }

    /// The flags before its operands, as written: `--from=one`.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.text.split_whitespace().skip(1).take_while(|word| word.starts_with("--"))
    }

    fn operands(&self) -> impl Iterator<Item = &str> {
        let words = if self.is_from() { self.text.as_str() } else { "" };
        words.split_whitespace().skip(1).skip_while(|word| word.starts_with("--"))
    }
}

/// Cuts a Dockerfile into instructions. Never fails: what is no Dockerfile gives nonsense, which
/// then matches nothing.
pub fn scan(dockerfile: &[u8]) -> Vec<Instruction> {
    let text = String::from_utf8_lossy(dockerfile);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let escape = escape_character(text);
    let mut lines = text.lines().zip(1u32..);
    let mut found: Vec<Instruction> = Vec::new();
    while let Some((first, line)) = lines.next() {
        if is_skipped(first) {
            continue;
        }
        let (mut text, mut continues) = continuation(first.trim_start(), escape);
        while continues {
            let Some((next, _)) = lines.next() else { break };
            if is_skipped(next) {
                continue;
            }
            let (piece, more) = continuation(next, escape);
            text.push_str(&piece);
            continues = more;
        }
        let delimiters = heredocs(&text);
        for delimiter in &delimiters {
            lines.by_ref().find(|(body, _)| delimiter.ends(body));
        }
        push(
            &mut found,
            Instruction {
                stage: 0,
                place: 0,
                line,
                text: text.trim_end().to_owned(),
                has_heredoc: !delimiters.is_empty(),
            },
        );
    }
    found
}

/// The only instruction with this text, whatever blanks either has; `None` if there are several.
pub fn only<'a>(instructions: &'a [Instruction], text: &str) -> Option<&'a Instruction> {
    let wanted = squeezed(text);
    let mut same = instructions.iter().filter(|instruction| squeezed(&instruction.text) == wanted);
    let only = same.next()?;
    same.next().is_none().then_some(only)
}

/// Whether an engine takes this key for a stage: by its name, or its number in `--from=0`.
pub fn names_a_stage(key: &str, instructions: &[Instruction]) -> bool {
    let mut names = instructions.iter().filter_map(Instruction::stage_name);
    let stages = instructions.last().map_or(0, |last| last.stage);
    names.any(|name| name.eq_ignore_ascii_case(key))
        || key.parse::<u32>().is_ok_and(|number| number < stages)
}

/// Gives the instruction its stage and place.
fn push(found: &mut Vec<Instruction>, instruction: Instruction) {
    let (stage, place) = found.last().map_or((0, 0), |last| (last.stage, last.place));
    let (stage, place) = if instruction.is_from() { (stage + 1, 1) } else { (stage, place + 1) };
    found.push(Instruction { stage, place, ..instruction });
}

fn is_skipped(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The line without its escape at the end, and whether it had one (`[^\\]\\[ \t]*$|^\\[ \t]*$`).
fn continuation(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t', '\r']);
    match trimmed.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest.to_owned(), true),
        _ => (line.to_owned(), false),
    }
}

/// What `# escape=` says in the directives at the top; a backslash without it.
fn escape_character(text: &str) -> char {
    for line in text.lines() {
        let Some((name, value)) =
            line.trim().strip_prefix('#').and_then(|rest| rest.split_once('='))
        else {
            break;
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" => return if value.trim() == "`" { '`' } else { '\\' },
            "syntax" | "check" => {}
            _ => break,
        }
    }
    '\\'
}

/// The end of a here-document.
struct Delimiter {
    word: String,
    strips_tabs: bool,
}

impl Delimiter {
    fn ends(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.word
    }
}

/// The here-documents that a RUN, COPY or ADD begins: words `<<WORD`, `<<-"WORD"`, `3<<WORD`.
fn heredocs(text: &str) -> Vec<Delimiter> {
    let mut words = text.split_whitespace();
    let mut command = words.next().unwrap_or("");
    if command.eq_ignore_ascii_case("onbuild") {
        command = words.next().unwrap_or("");
    }
    let takes_them = ["run", "copy", "add"].iter().any(|word| command.eq_ignore_ascii_case(word));
    if !takes_them || text.split_once(command).is_some_and(|(_, rest)| is_json_list(rest)) {
        return Vec::new();
    }
    unquoted_words(text).filter_map(delimiter).collect()
}

fn is_json_list(text: &str) -> bool {
    serde_json::from_str::<Vec<String>>(text.trim()).is_ok()
}

/// The words that begin outside quotes, cut at white space outside quotes.
fn unquoted_words(text: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    let mut escaped = false;
    text.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some('"'), '\\') => escaped = true,
            _ => {}
        }
        quote.is_none() && c.is_whitespace()
    })
}

fn delimiter(word: &str) -> Option<Delimiter> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, strips_tabs) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let word: String = rest.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
    (!word.is_empty() && !word.contains('<')).then_some(Delimiter { word, strips_tabs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(dockerfile: &str) -> Vec<String> {
        let show = |i: Instruction| format!("{}.{} {}: {}", i.stage, i.place, i.line, i.text);
        scan(dockerfile.as_bytes()).into_iter().map(show).collect()
    }

    #[test]
    fn instructions_have_stage_place_and_first_line() {
        let text =
            "# c\nARG V=1\nFROM a AS one\n\nRUN x \\\n  # inner\n\n  && y\r\nfrom b\nCMD z\n";
        assert_eq!(
            shown(text),
            [
                "0.1 2: ARG V=1",
                "1.1 3: FROM a AS one",
                "1.2 5: RUN x   && y",
                "2.1 9: from b",
                "2.2 10: CMD z"
            ]
        );
    }

    #[test]
    fn two_escapes_at_the_end_do_not_continue() {
        assert_eq!(shown("RUN a\\\\\nRUN b"), ["0.1 1: RUN a\\\\", "0.2 2: RUN b"]);
    }

    #[test]
    fn the_escape_directive_is_followed() {
        assert_eq!(shown("# escape=`\nRUN a `\n b\nRUN c:\\\nRUN d").len(), 3);
        assert_eq!(shown("# a comment\n# escape=`\nRUN a `\nRUN b").len(), 2);
    }

    #[test]
    fn bodies_of_heredocs_are_skipped() {
        let text = "RUN cat <<'A' <<-B\nFROM x\nA\n\tRUN y\n\tB\nRUN z";
        assert_eq!(shown(text), ["0.1 1: RUN cat <<'A' <<-B", "0.2 6: RUN z"]);
        assert!(scan(text.as_bytes())[0].has_heredoc);
    }

    #[test]
    fn what_only_looks_like_a_heredoc_is_none() {
        for text in
            ["RUN echo '<<A'", "RUN x=$((1<<2))", "RUN [\"<<A\"]", "CMD <<A", "RUN cat <<<A"]
        {
            assert!(!scan(text.as_bytes())[0].has_heredoc, "{text}");
        }
    }

    #[test]
    fn the_base_and_the_name_of_a_stage_are_read() {
        let of = |text: &str| {
            let instruction = scan(text.as_bytes()).remove(0);
            (instruction.base().map(str::to_owned), instruction.stage_name().map(str::to_owned))
        };
        assert_eq!(of("FROM --platform=$P ${A}:1 as b"), (Some("${A}:1".into()), Some("b".into())));
        assert_eq!(of("from a"), (Some("a".into()), None));
        assert_eq!(of("RUN a as b"), (None, None));
    }

    #[test]
    fn a_run_mounts_content_or_not() {
        for (text, expected) in [
            ("RUN --mount=type=bind,target=/x make", true),
            ("run --network=none --mount=target=/x make", true),
            ("RUN --mount=from=one,target=/x make", true),
            ("RUN --mount=type=cache,from=one,target=/x make", true),
            ("RUN --mount=type=$T,target=/x make", true),
            ("RUN --mount=type=cache,target=/x make", false),
            ("RUN --mount=type=secret,id=a --mount=type=tmpfs,target=/t make", false),
            ("RUN make --mount=type=bind", false),
            ("COPY --from=one / /", false),
        ] {
            assert_eq!(scan(text.as_bytes())[0].mounts_content(), expected, "{text}");
        }
    }

    #[test]
    fn stages_are_found_by_name_and_number() {
        let stages = scan(b"FROM a AS Build\nFROM b\n");
        for (key, names) in [("build", true), ("0", true), ("1", true), ("2", false), ("a", false)]
        {
            assert_eq!(names_a_stage(key, &stages), names, "{key}");
        }
    }
}
