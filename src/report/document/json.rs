//! One JSON object: `docs/json.md` is the contract.

use serde_json::{Value, json};

use crate::report::document::{End, Roll, Row};
use crate::report::tally::External;

pub(super) fn text(roll: &Roll, end: &End<'_>) -> String {
    let images: Vec<Value> = roll.images.iter().map(|row| image(roll, row)).collect();
    let externals: Vec<Value> = roll.tally.externals.iter().map(external).collect();
    let warnings: Vec<Value> = roll
        .warnings
        .iter()
        .map(|(image, message)| json!({ "image": image, "message": message }))
        .collect();
    let object = json!({
        "version": 1,
        "run": roll.run.as_ref().map(|run| &run.id),
        "engine": roll.run.as_ref().map(|run| &run.engine),
        "started": roll.run.as_ref().map(|run| run.started),
        "finished": roll.finished,
        "exit_code": end.exit_code,
        "error": end.error,
        "summary": roll.tally.summary,
        "externals": externals,
        "images": images,
        "warnings": warnings,
    });
    format!("{object}\n")
}

fn image(roll: &Roll, row: &Row) -> Value {
    json!({
        "image": row.name,
        "ended": row.word(),
        "reasons": row.reasons,
        "duration": row.duration,
        "built": row.built,
        "failure": row.failure,
        "blocked_by": row.blocked_by,
        "stands_on": roll.stands_on(row),
        "pushed": roll.tally.pushed.get(&row.name).map_or(&[][..], |references| references),
    })
}

fn external(external: &External) -> Value {
    json!({
        "reference": external.reference,
        "status": external.status,
        "old": external.between.0,
        "new": external.between.1,
        "error": external.error,
        "transient": external.transient,
        "images": external.images,
        "touched": external.touched,
    })
}
