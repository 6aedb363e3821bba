//! COPY and ADD: what of the context, of stages, images and the network they read.
//!
//! Follows BuildKit's `dockerfile2llb/convert_copy.go`.

use std::collections::BTreeSet;

use crate::diagnostic::Span;
use crate::dockerfile::command::Copy;
use crate::dockerfile::directive::DEFAULT_ESCAPE;
use crate::dockerfile::expand::{Quotes, Shell};
use crate::dockerfile::location::{self, LocationError};
use crate::dockerfile::reads::{ContextKind, ContextRead, Remote, UseKind};
use crate::dockerfile::remote::{self, GitSource, Origin};
use crate::dockerfile::stages::Order;
use crate::dockerfile::walk::Walker;
use crate::dockerfile::{heredoc, problem, value};

/// A COPY or ADD, with its words expanded.
struct Transfer<'c, 'a> {
    copy: &'c Copy<'a>,
    /// The state that COPY reads; `None`: the context.
    from: Option<usize>,
    checksum: Option<String>,
    span: Span,
}

/// Follows COPY or ADD.
pub(crate) fn follow(walker: &mut Walker<'_>, copy: &Copy<'_>, order: &Order<'_>, span: Span) {
    let from = order.sources.first().copied();
    // What cannot be followed has been reported.
    let is_lost = copy.flags.value("from").is_some() && from.is_none();
    if is_lost || from.is_some_and(|from| !walker.is_ready(from, span)) {
        return;
    }
    let checksum = check_flags(walker, copy);
    let transfer = Transfer { copy, from, checksum, span };
    expand_contents(walker, copy, span);
    if let Some(path) = walker.word(copy.destination)
        && let Err(error) = location::below("/", &path, walker.stage.system())
    {
        walker.wrong_path(copy.destination.span, &path, error);
    }
    let mut unset = BTreeSet::new();
    let mut sources = Vec::with_capacity(copy.sources.len());
    for word in &copy.sources {
        let Some(expansion) = walker.expand(&word.text, word.span) else { continue };
        unset.extend(expansion.unmatched);
        sources.push((expansion.text, word.span));
    }
    transfer.check_checksum(walker, &sources);
    if from.is_none() {
        walker.warn_of_unknown(&unset, span);
    }
    if let Some(from) = from.filter(|_| !sources.is_empty()) {
        let span = copy.flags.value("from").map_or(span, |flag| flag.span);
        walker.use_state(from, UseKind::Copy, span);
    }
    for (source, span) in sources {
        transfer.follow_source(walker, &source, span);
    }
}

/// Checks the flags that hold variables; gives the checksum.
fn check_flags(walker: &mut Walker<'_>, copy: &Copy<'_>) -> Option<String> {
    let mut text = |name| {
        let flag = copy.flags.value(name)?;
        let text = walker.expand(flag.text, flag.span)?.text;
        Some((text, flag.span)).filter(|(text, _)| !text.is_empty())
    };
    text("chown");
    let mode = text("chmod");
    let checksum = text("checksum").map(|(text, _)| text);
    if let Some((mode, span)) = mode.filter(|(mode, _)| !value::is_mode(mode)) {
        let message = format!("`{mode}` is not a mode");
        let help = "write an octal number up to 7777, or a change such as u=rwX,go=rX";
        walker.problems.error(problem::VALUE, span, message, help);
    }
    checksum
}

/// The content of heredocs is expanded too, without regard to quotes.
fn expand_contents(walker: &mut Walker<'_>, copy: &Copy<'_>, span: Span) {
    let shell = Shell { quotes: Quotes::Ignore, ..Shell::new(DEFAULT_ESCAPE) };
    let contents = copy.contents.iter().filter(|heredoc| heredoc.expands);
    for content in contents {
        let bare = if content.strips_tabs {
            heredoc::without_tabs(&content.content)
        } else {
            content.content.as_str().into()
        };
        walker.expand_with(&bare, span, shell);
    }
}

impl Transfer<'_, '_> {
    fn check_checksum(&self, walker: &mut Walker<'_>, sources: &[(String, Span)]) {
        let Some(span) = self.copy.flags.value("checksum").map(|flag| flag.span) else { return };
        if self.checksum.is_none() {
            return;
        }
        let remote = |source: &str| !matches!(remote::origin(source), Ok(Origin::Local));
        match sources {
            [(source, _)] if remote(source) => {}
            _ => walker.problems.error(
                problem::SOURCE,
                span,
                "--checksum is for one source that is fetched",
                "add each URL or repository by an ADD of its own",
            ),
        }
    }

    fn follow_source(&self, walker: &mut Walker<'_>, source: &str, span: Span) {
        let origin = match remote::origin(source) {
            Ok(origin) => origin,
            Err(error) => {
                let message = format!("`{source}` is not the address of a repository: {error}");
                let help = "write URL#reference:directory, or URL?ref=..&subdir=..";
                return walker.problems.error(problem::SOURCE, span, message, help);
            }
        };
        match origin {
            Origin::Local if self.from.is_none() => self.read_context(walker, source, span),
            Origin::Local => {}
            Origin::Http | Origin::Git(_) if !self.copy.is_add => {
                let message = format!("COPY does not fetch `{source}`");
                walker.problems.error(problem::SOURCE, span, message, "write ADD");
            }
            Origin::Http => self.fetch(walker, source),
            Origin::Git(git) => self.fetch_git(walker, source, &git),
        }
    }

    fn fetch(&self, walker: &mut Walker<'_>, url: &str) {
        let wrong = self.checksum.as_ref().filter(|checksum| !remote::is_checksum(checksum));
        if let Some(checksum) = wrong {
            let message = format!("`{checksum}` is not a checksum");
            let help = "write sha256: and 64 hexadecimal digits in lower case";
            walker.problems.error(problem::VALUE, self.span, message, help);
        }
        let checksum = self.checksum.clone();
        walker.stage.remotes.push(Remote { url: url.to_owned(), checksum, span: self.span });
    }

    fn fetch_git(&self, walker: &mut Walker<'_>, url: &str, git: &GitSource) {
        let keep = self.copy.flags.switch("keep-git-dir");
        let differs = keep.zip(git.keep_git_dir).is_some_and(|(flag, query)| flag != query);
        let checksum = git.checksum.as_ref().or(self.checksum.as_ref()).cloned();
        if differs || (self.checksum.is_some() && self.checksum != checksum) {
            let message = format!("the flags of ADD and `{url}` disagree");
            walker.problems.error(problem::SOURCE, self.span, message, "say it once");
        }
        walker.stage.remotes.push(Remote { url: url.to_owned(), checksum, span: self.span });
    }

    fn read_context(&self, walker: &mut Walker<'_>, source: &str, span: Span) {
        match self.context_read(source, walker) {
            Ok(read) => walker.stage.context.push(read),
            Err(error) => walker.wrong_path(span, source, error),
        }
    }

    fn context_read(
        &self,
        source: &str,
        walker: &Walker<'_>,
    ) -> Result<ContextRead, LocationError> {
        let system = walker.stage.system();
        let flags = &self.copy.flags;
        let mut read = ContextRead {
            kind: if self.copy.is_add { ContextKind::Add } else { ContextKind::Copy },
            source: String::new(),
            include: Vec::new(),
            exclude: flags.values("exclude").map(|value| value.text.to_owned()).collect(),
            require: Vec::new(),
            unpack: flags.switch("unpack").unwrap_or(self.copy.is_add),
            span: self.span,
        };
        let mut root = source;
        if flags.switch("parents") == Some(true) {
            let (parent, pattern) = source.split_once("/./").unwrap_or(("/", source));
            let pattern = location::below("/", pattern, system)?;
            if !location::has_wildcards(parent) && !location::has_wildcards(&pattern) {
                let path = location::clean(&format!("{parent}/{pattern}"));
                read.require.push(location::below("/", &path, system)?);
            }
            read.include.push(pattern.strip_prefix('/').unwrap_or(&pattern).to_owned());
            root = parent;
        }
        read.source = location::clean(&location::below("/", root, system)?);
        Ok(read)
    }
}
