use super::*;

fn digest(digit: char) -> OciDigest {
    format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
}

#[test]
fn every_reason_is_a_fragment_that_names_the_cause() {
    let path = || "src/Main.java".to_owned();
    let said = [
        (Reason::NeverBuilt, "never built here"),
        (Reason::FileChanged { path: path() }, "src/Main.java changed"),
        (Reason::FileAdded { path: path() }, "src/Main.java is new"),
        (Reason::FileRemoved { path: path() }, "src/Main.java is gone"),
        (Reason::ModeChanged { path: path() }, "mode or attributes of src/Main.java changed"),
        (
            Reason::InstructionChanged { path: "images/base/Dockerfile".to_owned(), line: 7 },
            "Dockerfile line 7 changed",
        ),
        (Reason::ArgChanged { name: "VERSION".to_owned() }, "argument VERSION changed"),
        (Reason::OptionChanged { name: "labels".to_owned() }, "option labels changed"),
        (Reason::ParentChanged { image: "base".parse().unwrap() }, "base came out different"),
        (
            Reason::ParentsChanged { reference: "corp/jre".to_owned() },
            "corp/jre is another image, new or gone",
        ),
        (
            Reason::ExternalMoved {
                reference: "debian:12".to_owned(),
                old: Some(digest('a')),
                new: Some(digest('b')),
            },
            "debian:12 moved from aaaaaaaaaaaa to bbbbbbbbbbbb",
        ),
        (
            Reason::ExternalMoved {
                reference: "debian:12".to_owned(),
                old: None,
                new: Some(digest('b')),
            },
            "debian:12 is now known as bbbbbbbbbbbb",
        ),
        (
            Reason::ExternalMoved {
                reference: "debian:12".to_owned(),
                old: Some(digest('a')),
                new: None,
            },
            "debian:12 has no known digest",
        ),
        (
            Reason::RemoteChanged { url: "https://example.org/a.tar".to_owned() },
            "https://example.org/a.tar changed",
        ),
        (Reason::SettingChanged { name: "platform".to_owned() }, "setting platform changed"),
        (
            Reason::PrepareNeeded { cause: PrepareCause::NeverRan },
            "its prepare command never ran here",
        ),
        (
            Reason::PrepareNeeded { cause: PrepareCause::InputsChanged },
            "its prepare command or its inputs changed",
        ),
        (
            Reason::PrepareNeeded { cause: PrepareCause::OutputMissing("app.jar".to_owned()) },
            "app.jar, which its prepare command makes, is missing",
        ),
        (Reason::PrepareNeeded { cause: PrepareCause::Forced }, "its prepare command is forced"),
        (Reason::OutputMissing, "its output is no longer in the store"),
        (Reason::OtherEngine { engine: "buildah".to_owned() }, "last built with buildah"),
        (Reason::Forced, "forced"),
    ];
    for (given, expected) in said {
        assert_eq!(reason(&given), expected);
    }
}

#[test]
fn a_path_cannot_move_the_cursor() {
    let path = "a\x1b[2Jb\nc".to_owned();
    assert_eq!(reason(&Reason::FileChanged { path }), "a?[2Jb?c changed");
}

#[test]
fn many_reasons_and_names_are_counted() {
    let changed = |path: &str| Reason::FileChanged { path: path.to_owned() };
    let all = [changed("a"), changed("b"), changed("c"), changed("d")];
    assert_eq!(reasons(&all[..2], 2), "a changed, b changed");
    assert_eq!(reasons(&all, 2), "a changed, b changed and 2 more");
    assert_eq!(reasons(&[], 2), "");
    assert_eq!(names(&["a"; 1]), "a");
    assert_eq!(names(&["a", "b"]), "a and b");
    assert_eq!(names(&["a", "b", "c"]), "a, b and 1 more");
}

#[test]
fn durations_have_two_units_at_most() {
    let said = [
        (0, "0 ms"),
        (940, "940 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (12_345, "12.3 s"),
        (59_999, "59.9 s"),
        (60_000, "1m 00s"),
        (134_000, "2m 14s"),
        (3_599_999, "59m 59s"),
        (3_720_000, "1h 02m"),
        (360_000_000, "100h 00m"),
    ];
    for (milliseconds, expected) in said {
        assert_eq!(duration(milliseconds), expected);
    }
    assert_eq!(elapsed(940), "0s");
    assert_eq!(elapsed(12_999), "12s");
    assert_eq!(elapsed(134_000), "2m 14s");
}

#[test]
fn ages_are_of_at_least_two_of_their_unit() {
    for (seconds, expected) in [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7_199, "119 minutes"),
        (7_200, "2 hours"),
        (86_400, "24 hours"),
        (8 * 86_400, "8 days"),
    ] {
        assert_eq!(days(seconds * 1000), expected);
    }
    let reason = Reason::TooOld { age: 691_200_000, max_age: 604_800_000 };
    assert_eq!(super::reason(&reason), "8 days old, and its layer allows 7 days");
}

#[test]
fn predictions_are_coarse_and_rounded_up() {
    let said = [
        (0, "~5s"),
        (12_000, "~15s"),
        (55_000, "~55s"),
        (56_000, "~1m"),
        (61_000, "~2m"),
        (3_540_000, "~59m"),
        (3_541_000, "~1h 00m"),
        (4_000_000, "~1h 10m"),
        (u64::MAX, "~5124095576030h 30m"),
    ];
    for (milliseconds, expected) in said {
        assert_eq!(about(milliseconds), expected, "{milliseconds}");
    }
}

#[test]
fn sizes_have_two_or_three_digits() {
    let said = [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (12_400, "12 kB"),
        (182_400_000, "182 MB"),
        (1_250_000_000, "1.2 GB"),
        (u64::MAX, "18 EB"),
    ];
    for (bytes, expected) in said {
        assert_eq!(size(bytes), expected);
    }
}

#[test]
fn nouns_agree_with_their_number() {
    assert_eq!(count(0, "error"), "0 errors");
    assert_eq!(count(1, "error"), "1 error");
    assert_eq!(count(2, "error"), "2 errors");
    assert_eq!(is_or_are(1), "is");
    assert_eq!(is_or_are(14), "are");
}
