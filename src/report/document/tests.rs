use serde_json::Value;

use super::*;
use crate::report::tests::{NIGHTLY, SCENARIO};

/// A run, as a file that tells of it.
fn text(scenario: &str, form: Form, end: &End<'_>) -> String {
    let mut roll = Roll::default();
    for line in scenario.lines() {
        roll.observe(&serde_json::from_str(line).unwrap());
    }
    roll.text(form, end)
}

const FAILED: End<'_> = End { exit_code: 1, error: None };

#[test]
fn the_json_has_every_image_and_how_it_ended() {
    let object: Value = serde_json::from_str(&text(SCENARIO, Form::Json, &FAILED)).unwrap();
    let ends: Vec<String> = object["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", row["image"].as_str().unwrap(), row["ended"].as_str().unwrap()))
        .collect();
    for end in ["docs fresh", "base built", "lint cut-off", "apps/api failed", "apps/pay blocked"] {
        assert!(ends.iter().any(|it| it == end), "no {end} in {ends:?}");
    }
    assert_eq!(object["exit_code"], 1);
    assert_eq!(object["summary"]["failed"], 1);
}

#[test]
fn junit_tells_a_failure_with_its_log_and_what_was_not_tried() {
    let junit = text(SCENARIO, Form::Junit, &FAILED);
    for part in [
        "<testsuite name=\"imgraph\" tests=\"8\" failures=\"1\" errors=\"0\" skipped=\"2\" time=\"54.020\">",
        "<testcase classname=\"imgraph\" name=\"apps/api\" time=\"12.300\" file=\"images/apps/api/Dockerfile\">\
         <failure message=\"images/apps/api/Dockerfile:7: RUN javac src/*.java exited with 1\" type=\"failure\">",
        "1 error&#10;log: .imgraph/runs/4f2c/apps-api.log&#10;</failure>",
        "<skipped message=\"blocked: apps/api has no output\"/>",
        "<testcase classname=\"imgraph\" name=\"docs\" time=\"0.000\"><system-out>fresh</system-out></testcase>",
    ] {
        assert!(junit.contains(part), "no {part} in\n{junit}");
    }
}

#[test]
fn every_form_tells_of_quarantine_and_of_images_from_outside() {
    let markdown = text(NIGHTLY, Form::Markdown, &FAILED);
    for part in [
        "| base | failed in 3 full runs with these inputs; java/jre and apps/api stand on its output of 4 days ago | java/jre, apps/api |",
        "| docker.io/library/debian:12 | moved from 111111111111 to 222222222222 | base and java/jre |",
        "| docker.io/library/alpine:3 | not looked up: docker.io is not available | tools |",
    ] {
        let plain = markdown.replace('\\', "");
        assert!(plain.contains(part), "no {part} in\n{plain}");
    }
    let junit = text(NIGHTLY, Form::Junit, &FAILED);
    for part in [
        "<skipped message=\"quarantined: failed in 3 full runs",
        "stands on the last good output of base, which is in quarantine",
        "<testcase classname=\"imgraph.lock\" name=\"docker.io/library/alpine:3\" time=\"0.000\"><error ",
    ] {
        assert!(junit.contains(part), "no {part} in\n{junit}");
    }
    let object: Value = serde_json::from_str(&text(NIGHTLY, Form::Json, &FAILED)).unwrap();
    assert_eq!(object["externals"][0]["status"], "moved");
    let jre = object["images"].as_array().unwrap().iter().find(|it| it["image"] == "java/jre");
    assert_eq!(jre.unwrap()["stands_on"][0], "base");
}

#[test]
fn a_run_that_never_began_has_an_end_too() {
    let end = End { exit_code: 69, error: Some("no <engine> answers") };
    let markdown = text("", Form::Markdown, &end);
    assert_eq!(markdown, "### imgraph: failed\n\nno \\<engine\\> answers\n");
    let junit = text("", Form::Junit, &end);
    assert!(junit.contains("errors=\"1\""), "{junit}");
    assert!(junit.contains("<error message=\"no &lt;engine&gt; answers\""), "{junit}");
    let object: Value = serde_json::from_str(&text("", Form::Json, &end)).unwrap();
    assert_eq!((&object["exit_code"], &object["summary"]), (&69.into(), &Value::Null));
}
