//! `imgraph inputs`: exactly what enters the key of an image, and what does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::args;
use crate::cli::failure::{Exit, Failure};
use crate::cli::selection::Selection;
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::context::{Entry, EntryKind};
use crate::digest::Digest;
use crate::gather::context::Ignored;
use crate::gopath::{Wildcard, has_wildcards};
use crate::graph::Image;
use crate::ignorefile::IgnoreFile;
use crate::image::ImageId;
use crate::ledger;
use crate::report::text::printable;

/// Runs the verb.
pub(crate) fn run(arguments: &args::Inputs, settings: &Settings) -> Result<u8, Failure> {
    let session = match &arguments.dockerfile {
        Some(file) => Session::lone(settings, file)?,
        None => Session::open(settings)?,
    };
    let id = the_image(&session, arguments, settings)?;
    let (history, _) = ledger::read(&session.state)?;
    let wide = session.wide(&history);
    let disk = session.disk(&wide);
    let listed = disk.entries(id);
    let problems = listed.as_ref().err().cloned().unwrap_or_default();
    session.judge(&BTreeSet::from([id]), &problems, settings)?;
    let entries = listed.unwrap_or_default();
    let image = session.loaded.graph.image(id);
    let ignored = if arguments.ignored {
        disk.ignored(id).map_err(|problems| {
            write(&mut io::stderr(), &session.drawn(&problems, settings));
            Failure::said(Exit::WORKSPACE)
        })?
    } else {
        (IgnoreFile::absent(), Vec::new())
    };
    if arguments.null {
        let mut out = io::stdout().lock();
        for entry in &entries {
            let line = [entry.path.as_os_str().as_bytes(), b"\0"].concat();
            out.write_all(&line).unwrap_or_default();
        }
        return Ok(Exit::OK);
    }
    let show = Show { session: &session, image, entries: &entries, ignored: &ignored };
    let text =
        if arguments.json { format!("{}\n", show.json()) } else { show.text(arguments.hash) };
    write(&mut io::stdout(), &text);
    Ok(Exit::OK)
}

fn the_image(
    session: &Session,
    arguments: &args::Inputs,
    settings: &Settings,
) -> Result<ImageId, Failure> {
    let Some(name) = &arguments.image else {
        let first = session.loaded.graph.iter().map(|(id, _)| id).next();
        return first.ok_or_else(|| Failure::said(Exit::WORKSPACE));
    };
    let selection = Selection { selectors: vec![name.clone()], only: true, ..Selection::default() };
    let selected = session.select(&selection, settings)?.asked;
    match selected.iter().next() {
        Some(id) if selected.len() == 1 => Ok(*id),
        _ => {
            let message = format!("`{name}` selects {} images; name one", selected.len());
            Err(Failure::new(Exit::USAGE, message))
        }
    }
}

struct Show<'a> {
    session: &'a Session,
    image: &'a Image,
    entries: &'a [Entry],
    ignored: &'a (IgnoreFile, Vec<Ignored>),
}

impl Show<'_> {
    fn text(&self, hash: bool) -> String {
        let mut text = String::new();
        let reads = &self.image.reads;
        let digest = |value: &str| {
            if hash {
                format!("  {}", Digest::of_content(value.as_bytes()).short())
            } else {
                String::new()
            }
        };
        writeln!(text, "platform    {}", self.image.platform).unwrap_or_default();
        if let Some(target) = &self.image.spec.target {
            writeln!(text, "target      {target}").unwrap_or_default();
        }
        if let Some(frontend) = &reads.frontend {
            writeln!(text, "frontend    {frontend}").unwrap_or_default();
        }
        let options = &self.image.spec.options;
        if let Some(network) = &options.network {
            writeln!(text, "network     {network}").unwrap_or_default();
        }
        for host in &options.hosts {
            writeln!(text, "host        {host}").unwrap_or_default();
        }
        for edge in &self.image.parents {
            let name = self.session.loaded.graph.name(edge.parent);
            writeln!(text, "parent      {name}  ({} {})", kind(edge.kind), edge.reference)
                .unwrap_or_default();
        }
        for external in &self.image.externals {
            let pinned = match external.normalised.digest {
                Some(_) => "",
                None => "  (not pinned: only its name counts)",
            };
            let how = kind(external.kind);
            writeln!(text, "external    {}  ({how}){pinned}", external.reference)
                .unwrap_or_default();
        }
        for remote in &reads.remotes {
            writeln!(text, "remote      {}", printable(&remote.url)).unwrap_or_default();
        }
        for (name, value) in &reads.args {
            writeln!(text, "argument    {name}{}", digest(value)).unwrap_or_default();
        }
        for (name, value) in &self.image.spec.labels {
            writeln!(text, "label       {name}{}", digest(value)).unwrap_or_default();
        }
        for secret in &reads.secrets {
            writeln!(text, "secret      {secret}").unwrap_or_default();
        }
        for step in &reads.steps {
            let first = step.text.lines().next().unwrap_or_default();
            writeln!(text, "instruction {}{}  {first}", step.line, digest(&step.text))
                .unwrap_or_default();
        }
        let readers = self.readers();
        for entry in self.entries {
            let path = entry.path.to_string_lossy();
            let line = readers
                .get(&entry.path)
                .map_or_else(String::new, |line| format!("  (line {line})"));
            let hash = if hash { content(entry) } else { String::new() };
            writeln!(text, "file        {:o} {}{hash}{line}", entry.mode, printable(&path))
                .unwrap_or_default();
        }
        let (file, ignored) = self.ignored;
        for left_out in ignored {
            let path = left_out.path.to_string_lossy();
            let Ignored { line, pattern, .. } = left_out;
            writeln!(text, "ignored     {}  ({}:{line}: {pattern})", printable(&path), file.path)
                .unwrap_or_default();
        }
        text
    }

    /// The line of the instruction that reads each entry, where one source plainly covers it.
    fn readers(&self) -> BTreeMap<std::path::PathBuf, usize> {
        let sources = self.session.loaded.workspace.sources_of(&self.image.spec.dockerfile);
        let mut readers = BTreeMap::new();
        for read in &self.image.reads.context {
            let place = crate::diagnostic::Place {
                path: self.image.spec.dockerfile.clone(),
                span: Some(read.span),
            };
            let Some((line, _)) = sources.line_column(&place) else { continue };
            for entry in self.entries.iter().filter(|entry| covers(&read.source, &entry.path)) {
                readers.entry(entry.path.clone()).or_insert(line);
            }
        }
        readers
    }

    fn json(&self) -> Value {
        let graph = &self.session.loaded.graph;
        let reads = &self.image.reads;
        let readers = self.readers();
        let file = |entry: &Entry| {
            let (kind, digest, link) = match &entry.kind {
                EntryKind::Directory => ("directory", None, None),
                EntryKind::File { content, .. } => ("file", Some(content.to_string()), None),
                EntryKind::Symlink(to) => ("symlink", None, Some(to.to_string_lossy())),
            };
            json!({
                "path": entry.path.to_string_lossy(),
                "kind": kind,
                "mode": format!("{:o}", entry.mode),
                "digest": digest,
                "link": link,
                "line": readers.get(&entry.path),
            })
        };
        let hashed = |value: &str| Digest::of_content(value.as_bytes()).to_string();
        json!({
            "version": 1,
            "image": self.image.spec.name,
            "dockerfile": &*self.image.spec.dockerfile,
            "context": self.image.spec.context,
            "platform": self.image.platform.to_string(),
            "target": self.image.spec.target,
            "frontend": reads.frontend,
            "network": self.image.spec.options.network,
            "hosts": self.image.spec.options.hosts,
            "parents": self.image.parents.iter().map(|edge| json!({
                "image": graph.name(edge.parent), "kind": edge.kind, "reference": edge.reference,
            })).collect::<Vec<_>>(),
            "externals": self.image.externals.iter().map(|it| json!({
                "reference": it.reference, "kind": it.kind, "platform": it.platform.to_string(),
            })).collect::<Vec<_>>(),
            "remotes": reads.remotes.iter().map(|it| &it.url).collect::<Vec<_>>(),
            "arguments": reads.args.iter().map(|(name, value)| json!({
                "name": name, "digest": hashed(value),
            })).collect::<Vec<_>>(),
            "labels": self.image.spec.labels.iter().map(|(name, value)| json!({
                "name": name, "digest": hashed(value),
            })).collect::<Vec<_>>(),
            "secrets": reads.secrets,
            "instructions": reads.steps.iter().map(|step| json!({
                "line": step.line, "digest": hashed(&step.text),
            })).collect::<Vec<_>>(),
            "files": self.entries.iter().map(file).collect::<Vec<_>>(),
            "ignored": self.ignored.1.iter().map(|it| json!({
                "path": it.path.to_string_lossy(),
                "file": &*self.ignored.0.path,
                "line": it.line,
                "pattern": it.pattern,
            })).collect::<Vec<_>>(),
        })
    }
}

/// Whether a source is a path, or what a wildcard matches of it, or a directory above it.
fn covers(source: &str, path: &Path) -> bool {
    let source = source.trim_start_matches('/');
    if !has_wildcards(source.as_bytes()) {
        return path.starts_with(source);
    }
    let wildcard = Wildcard::new(source.as_bytes());
    let matches = |above: &Path| {
        wildcard.as_ref().is_ok_and(|wildcard| wildcard.matches(above.as_os_str().as_bytes()))
    };
    path.ancestors().any(matches)
}

fn content(entry: &Entry) -> String {
    match &entry.kind {
        EntryKind::Directory => String::new(),
        EntryKind::File { content, .. } => format!("  {}", content.short()),
        EntryKind::Symlink(to) => format!("  -> {}", to.display()),
    }
}

fn kind(kind: crate::dockerfile::UseKind) -> &'static str {
    use crate::dockerfile::UseKind;
    match kind {
        UseKind::From => "FROM",
        UseKind::Copy => "COPY --from",
        UseKind::Mount => "RUN --mount",
        UseKind::Onbuild => "ONBUILD",
    }
}
