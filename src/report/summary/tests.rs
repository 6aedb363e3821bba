use super::*;
use crate::event::{Event, What};
use crate::fingerprint::reason::Reason;
use crate::report::tests::scenario;

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn ended(summary: Summary) -> Tally {
    told(&[Event { time: 0, what: What::RunFinished { summary } }])
}

fn told(events: &[Event]) -> Tally {
    let mut tally = Tally::default();
    for event in events {
        tally.observe(event);
    }
    tally
}

#[test]
fn a_run_with_nothing_to_do_is_one_line() {
    let summary = Summary { selected: 14, fresh: 14, duration: 8, ..Summary::default() };
    let said = |summary: &Summary| block(&ended(summary.clone()), Style::default());
    assert_eq!(said(&summary), "nothing to do: 14 images are up to date  8 ms\n");
    let one = Summary { selected: 1, fresh: 1, ..summary.clone() };
    assert_eq!(said(&one), "nothing to do: 1 image is up to date  8 ms\n");
    let none = Summary { duration: 8, ..Summary::default() };
    assert_eq!(said(&none), "nothing to do: no image is selected  8 ms\n");
    assert_eq!(
        markdown(&ended(summary)),
        "### imgraph: nothing to do: 14 images are up to date  8 ms\n"
    );
}

#[test]
fn a_good_run_says_what_was_saved_and_that_nothing_failed() {
    let mut tally = ended(Summary {
        selected: 93,
        fresh: 1,
        planned: 92,
        built: 3,
        cut_off: 89,
        duration: 134_000,
        critical_path: vec![
            (name("base"), 41_000),
            (name("java/jre"), 52_000),
            (name("apps/pay"), 25_000),
        ],
        lower_bound: 118_000,
        first_cause: Some((name("base"), Reason::FileChanged { path: "packages.txt".to_owned() })),
        logs: Some(".imgraph/runs/9a1e".to_owned()),
        ..Summary::default()
    });
    tally.unchanged = vec![name("base")];
    assert_eq!(
        block(&tally, Style::default()),
        "\
92 planned · 3 built · 89 cut off (base came out the same) · 0 failed · 1 up to date   2m 14s
critical path   1m 58s  base 41.0 s → java/jre 52.0 s → apps/pay 25.0 s  (lower bound 1m 58s, 88 % efficient)
why             base: packages.txt changed
logs            .imgraph/runs/9a1e
"
    );
}

#[test]
fn the_block_has_at_most_twelve_lines() {
    let mut tally = told(&scenario());
    let many = (0..20).map(|number| Failed {
        image: name(&format!("apps/a{number}")),
        duration: 1_000,
        failure: None,
    });
    tally.failures = many.collect();
    let text = block(&tally, Style::default());
    assert_eq!(text.lines().count(), 12, "{text}");
    assert!(text.contains("\n                and 15 more\n"), "{text}");
}

#[test]
fn a_long_critical_path_shows_its_ends() {
    let path = |length| Summary {
        critical_path: (0..length).map(|number| (name(&format!("i{number}")), 1_000)).collect(),
        lower_bound: 60_000,
        ..Summary::default()
    };
    assert_eq!(
        critical_path(&path(60)).unwrap(),
        "1m 00s  i0 1.0 s → i1 1.0 s → i2 1.0 s → 54 more → i57 1.0 s → i58 1.0 s → i59 1.0 s  \
         (lower bound 1m 00s)"
    );
    assert_eq!(critical_path(&path(6)).unwrap().matches('→').count(), 5);
    assert_eq!(critical_path(&path(0)), None);
}

#[test]
fn every_selected_image_is_in_exactly_one_class() {
    let tally = told(&scenario());
    let summary = tally.summary.as_ref().unwrap();
    let numbers = totals(&tally, summary)
        .into_iter()
        .map(|total| total.text.split(' ').next().unwrap().parse::<usize>().unwrap());
    assert_eq!(numbers.skip(1).sum::<usize>(), summary.selected);
}

#[test]
fn the_tally_of_the_events_agrees_with_the_summary() {
    let tally = told(&scenario());
    let summary = tally.summary.as_ref().unwrap();
    assert_eq!(tally.done, summary.planned);
    assert_eq!(tally.built.len(), summary.built);
    assert_eq!(tally.failures.len(), summary.failed);
    assert!(tally.running.is_empty());
}

#[test]
fn markdown_has_the_totals_the_failures_and_the_slowest() {
    assert_eq!(
        markdown(&told(&scenario())),
        "\
### imgraph: 7 planned · 2 built · 1 cut off (tools came out the same) · 1 restored · 1 failed \
· 1 blocked · 1 not reached · 1 up to date in 54.0 s

- **critical path**: 53.3 s  base 41.0 s → apps/api 12.3 s  (lower bound 53.3 s, 98 % efficient)
- **why**: base: packages.txt changed
- **rerun**: `imgraph rebuild --rerun last`

<details open><summary>failed apps/api: images/apps/api/Dockerfile:7: \
RUN javac src/*.java exited with 1</summary>

```text
src/Main.java:3: error: ';' expected
1 error
```

log: .imgraph/runs/4f2c/apps-api.log

</details>

| built | time |
| --- | ---: |
| base | 41.0 s |
| tools | 5.0 s |
"
    );
}

#[test]
fn a_log_cannot_leave_its_block_in_markdown() {
    let mut events = scenario();
    for event in &mut events {
        if let What::Finished { failure: Some(failure), .. } = &mut event.what {
            failure.tail = vec!["````".to_owned(), "<b>x</b>".to_owned()];
            "<img src=x>".clone_into(&mut failure.message);
        }
    }
    let text = markdown(&told(&events));
    assert!(text.contains("\n`````text\n````\n<b>x</b>\n`````\n"), "{text}");
    assert!(text.contains("&lt;img src=x&gt;</summary>"), "{text}");
    assert_eq!(escaped("a_b|c*`<"), r"a\_b\|c\*\`\<");
}

#[test]
fn nothing_is_said_before_the_end() {
    assert_eq!(block(&Tally::default(), Style::default()), "");
    assert_eq!(markdown(&Tally::default()), "");
}
