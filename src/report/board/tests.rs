use super::*;
use crate::report::forecast::Forecast;
use crate::report::tests::scenario;

/// The scenario after two images began and one was built.
fn midway() -> Tally {
    let mut tally = Tally::default();
    for event in scenario().iter().filter(|event| event.time < 1_700_000_005_020) {
        tally.observe(event);
    }
    tally
}

fn drawn(tally: &Tally, columns: usize) -> String {
    let mut forecast = Forecast::default();
    forecast.follow(tally);
    let now = 1_700_000_012_500;
    let view = View {
        size: Size { rows: 24, columns },
        now,
        remaining: forecast.remaining(tally, now),
        frame: 1,
        style: Style::default(),
    };
    board(tally, &view).join("\n")
}

#[test]
fn each_running_image_has_a_line_that_fits() {
    assert_eq!(
        drawn(&midway(), 40),
        "\
⠙ base [2/3] RUN apt-get update &&…  12s
1/7 done  1 running  ~2m left"
    );
    assert_eq!(
        drawn(&midway(), 80),
        "\
⠙ base [2/3] RUN apt-get update && apt-get install -y $(cat packages.txt)  12s
[==>>>---            ] 1/7 done  1 running  ~2m left"
    );
    assert_eq!(drawn(&midway(), 120), drawn(&midway(), 80));
    for columns in 0..130 {
        let text = drawn(&midway(), columns);
        assert!(text.lines().all(|line| width(line) <= columns), "{columns}: {text}");
    }
}

#[test]
fn wide_characters_do_not_wrap_a_line() {
    let mut tally = midway();
    for image in &mut tally.images {
        if let State::Running { step, .. } = &mut image.state {
            *step = "[2/3] RUN echo 漢字漢字漢字漢字漢字漢字漢字".to_owned();
        }
    }
    assert_eq!(
        drawn(&tally, 40).lines().next().unwrap(),
        "⠙ base [2/3] RUN echo 漢字漢字漢字…  12s"
    );
}

#[test]
fn a_low_terminal_shows_as_many_as_fit() {
    let mut tally = midway();
    for number in 0..9 {
        tally.observe(&crate::event::Event {
            time: 1_700_000_006_000,
            what: crate::event::What::Started {
                image: format!("apps/a{number}").parse().unwrap(),
                reasons: Vec::new(),
                log: String::new(),
                predicted: None,
            },
        });
    }
    let lines = |rows| {
        let size = Size { rows, columns: 80 };
        let style = Style::default();
        board(&tally, &View { size, now: 0, remaining: None, frame: 0, style })
    };
    assert_eq!(lines(24).len(), 11);
    assert_eq!(lines(12).len(), 11, "ten images and the status");
    assert_eq!(lines(6)[3], "  and 7 more");
    for rows in 1..24 {
        assert!(lines(rows).len() < rows.max(2), "{rows}");
    }
}

#[test]
fn the_bar_tells_what_may_be_cut_off_from_what_will_be_built() {
    let mut tally = midway();
    assert_eq!(bar(&tally), "==>>>---            ");
    for image in &mut tally.images {
        image.certain = true;
    }
    assert_eq!(bar(&tally), "==>>>---------------");
}

#[test]
fn failures_and_the_end_are_told_by_the_status() {
    let mut tally = Tally::default();
    let events = scenario();
    let (last, before) = events.split_last().unwrap();
    for event in before {
        tally.observe(event);
    }
    assert_eq!(drawn(&tally, 80), "[====================] 7/7 done  1 failed  stopping");
    tally.observe(last);
    assert_eq!(drawn(&tally, 80), "", "after the end there is nothing to draw");
    assert_eq!(drawn(&Tally::default(), 80), "");
}
