//! `imgraph ls`: the images, their layers and references, and whether they are up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use crate::cli::args::Ls;
use crate::cli::failure::{Exit, Failure};
use crate::cli::plan::{self, Look};
use crate::cli::session::{Session, Wishes};
use crate::cli::settings::{Settings, write};
use crate::graph::Image;
use crate::image::ImageId;
use crate::plan::Step;
use crate::report::style::Style;
use crate::report::text::width;

/// Runs the verb.
pub(crate) fn run(arguments: &Ls, settings: &Settings) -> Result<u8, Failure> {
    let session = if arguments.status {
        Session::open(settings)?
    } else {
        Session::without_contexts(settings)?
    };
    let selected = session.select(&arguments.selection, settings)?;
    let look = if arguments.status {
        Some(Look::at(&session, settings, &selected, Wishes::nothing())?)
    } else {
        session.judge(&BTreeSet::new(), &[], settings)?;
        None
    };
    let steps: BTreeMap<ImageId, &Step> =
        look.iter().flat_map(|look| &look.plan.steps).map(|step| (step.image, step)).collect();
    let rows: Vec<(&Image, Option<&Step>)> = selected
        .asked
        .iter()
        .map(|id| (session.loaded.graph.image(*id), steps.get(id).copied()))
        .collect();
    let text = if arguments.json {
        let all: Vec<Value> = rows.iter().map(|row| object(&session, *row)).collect();
        format!("{}\n", Value::from(all))
    } else if arguments.names {
        rows.iter().flat_map(|(image, _)| [image.spec.name.as_str(), "\n"]).collect()
    } else {
        table(&session, &rows, settings.style_out())
    };
    write(&mut io::stdout(), &text);
    Ok(Exit::OK)
}

fn object(session: &Session, (image, step): (&Image, Option<&Step>)) -> Value {
    let graph = &session.loaded.graph;
    let mut object = json!({
        "image": image.spec.name,
        "layer": image.spec.layer.map(|_| layer(session, image)),
        "dockerfile": &*image.spec.dockerfile,
        "context": image.spec.context,
        "target": image.spec.target,
        "platform": image.platform.to_string(),
        "references": image.spec.references(),
        "parents": image.parents.iter().map(|edge| graph.name(edge.parent)).collect::<Vec<_>>(),
        "externals": image.externals.iter().map(|it| &it.reference).collect::<Vec<_>>(),
        "broken": image.broken,
    });
    if let Some(step) = step {
        object["status"] = plan::word(step.decision).0.into();
        object["reasons"] = serde_json::to_value(&step.reasons).unwrap_or_default();
    }
    object
}

fn table(session: &Session, rows: &[(&Image, Option<&Step>)], style: Style) -> String {
    let name = |image: &Image| width(image.spec.name.as_str());
    let names = rows.iter().map(|(image, _)| name(image)).max().unwrap_or(0);
    let layers = rows.iter().map(|(image, _)| layer(session, image).len()).max().unwrap_or(0);
    let mut text = String::new();
    for (image, step) in rows {
        let pad = names - name(image);
        let status = step.map_or_else(String::new, |step| {
            let (word, tone) = plan::word(step.decision);
            style.paint(tone, format!("{word:9}")).into_owned()
        });
        let references = image.spec.references().join(" ");
        let layer = layer(session, image);
        writeln!(text, "{status}{}{:pad$}  {layer:layers$}  {references}", image.spec.name, "")
            .unwrap_or_default();
    }
    text
}

fn layer<'a>(session: &'a Session, image: &Image) -> &'a str {
    image.spec.layer.map_or("", |row| &session.loaded.workspace.layers.layers[row].name)
}
