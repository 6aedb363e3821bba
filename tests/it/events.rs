//! `--json`: events for programs. `docs/events.md` is the contract.

use std::fs;

use serde_json::Value;

use crate::support::{TREE, Workspace, text};

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| text(&event["event"])).collect()
}

#[test]
fn the_first_event_begins_the_run_and_the_last_ends_it() {
    let outcome = Workspace::new(TREE).rebuild("--json tools").exits(0);
    let events = outcome.events();
    assert_eq!(
        kinds(&events),
        [
            "run-started",
            "planned",
            "planned",
            "started",
            "step",
            "step",
            "log",
            "finished",
            "started",
            "step",
            "step",
            "log",
            "finished",
            "run-finished",
        ]
    );
    let first = &events[0];
    assert_eq!(first["version"], 1);
    assert_eq!(
        (&first["selected"], &first["planned"], &first["jobs"]),
        (&2.into(), &2.into(), &1.into())
    );
    assert_eq!(first["engine"], "simulate (asked for)");
    let summary = &events[13]["summary"];
    assert_eq!((&summary["built"], &summary["interrupted"]), (&2.into(), &false.into()));
    assert_eq!(summary["first_cause"]["image"], "base");
}

#[test]
fn every_event_has_a_time_and_times_do_not_go_back() {
    let events = Workspace::new(TREE).rebuild("--json").exits(0).events();
    let times: Vec<u64> = events.iter().map(|event| event["time"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[0] > 1_700_000_000_000, "milliseconds since 1970");
}

#[test]
fn a_run_with_nothing_to_do_has_events_too() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    let events = tree.rebuild("--json").exits(0).events();
    let fresh = ["fresh"; 5];
    assert_eq!(kinds(&events)[0], "run-started");
    assert_eq!(kinds(&events)[1..6], fresh);
    assert_eq!(kinds(&events)[6..], ["run-finished"]);
    assert_eq!(events[6]["summary"]["logs"], Value::Null);
}

#[test]
fn events_are_read_back_as_what_they_were() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.'java/jre']\noutcome = 'fail'\n");
    for value in tree.rebuild("--json").exits(1).events() {
        let event: imgraph::event::Event = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), value);
    }
}

#[test]
fn talk_goes_to_standard_error_and_data_to_standard_output() {
    let tree = Workspace::new(TREE);
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.events().len(), outcome.stdout.lines().count());
    outcome.mentions("5 planned · 5 built · 0 failed");
    let quiet = tree.rebuild("--json --quiet --force tools").exits(0).says("");
    assert_eq!(kinds(&quiet.events()).last(), Some(&"run-finished"));
}

#[test]
fn a_failure_has_its_place_and_the_end_of_its_log() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.tools]\noutcome = 'fail'\n");
    let events = tree.rebuild("--json").exits(1).events();
    let failed = events.iter().find(|event| event["ended"] == "failed").unwrap();
    let failure = &failed["failure"];
    assert_eq!(failure["path"], "images/tools/Dockerfile");
    assert_eq!((&failure["line"], &failure["transient"]), (&1.into(), &false.into()));
    assert_eq!(failure["tail"], serde_json::json!(["simulated tools", "it was told to fail"]));
    let log = fs::read_to_string(tree.path(text(&failure["log"]))).unwrap();
    assert!(log.ends_with("simulated tools\nit was told to fail\n"), "{log}");
    let blocked = events.iter().find(|event| event["ended"] == "blocked").unwrap();
    assert_eq!((text(&blocked["image"]), text(&blocked["blocked_by"])), ("apps/web", "tools"));
}

#[test]
fn a_workspace_that_is_wrong_has_no_events() {
    let tree = Workspace::new("//- images/a/Dockerfile\nFORM scratch\n");
    tree.rebuild("--json").exits(3).prints("");
}

/// `quality.md`: never in a log, an event, the ledger or a report.
#[test]
fn values_of_arguments_and_labels_reach_no_event_no_log_and_no_state() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.app]
        args = { TOKEN = 'hunter2-argument' }
        labels = { owner = 'hunter2-label' }
        secrets = ['id=npm,env=NPM_TOKEN']
        //- images/app/Dockerfile
        FROM scratch
        ARG TOKEN
        ",
    );
    let outcome = tree.run("rebuild --json -vv --logs all", &[("NPM_TOKEN", "hunter2-secret")]);
    let outcome = outcome.exits(0).never_mentions("hunter2");
    assert_eq!(outcome.ends(), ["app built"]);
    tree.write("layers.toml", tree.read("layers.toml").replace("hunter2", "hunter3"));
    let plan = tree.imgraph("plan -v --json").exits(0).never_mentions("hunter");
    let reasons = plan.json()["steps"][0]["reasons"].to_string();
    assert!(reasons.contains("TOKEN") && reasons.contains("owner"), "{reasons}");
    let mut todo = vec![tree.path(".imgraph")];
    let mut files = 0;
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("hunter"), "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 3, "there is a state to look at");
}
