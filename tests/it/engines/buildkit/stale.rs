//! A file that was edited without a change of its size and its time.
//!
//! BuildKit keeps the context of the build before and is sent what differs in size, time or mode
//! (moby/buildkit#2592). So `docker build` takes the old bytes, and says that it succeeded.

use std::time::Duration;

use super::*;

/// A time long ago, so that no clock is too coarse.
fn writes(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn an_edit_of_the_same_size_and_time_is_built() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- images/a/Dockerfile
            FROM scratch
            COPY f /f
            //- images/a/f
            ",
        );
        let image = format!("{}/a:latest", bench.tag);
        for text in ["old\n", "new\n"] {
            writes(&tree.path("images/a/f"), text);
            let outcome = bench.rebuild(&tree, "--json").exits(0);
            assert_eq!(outcome.ends(), ["a built"]);
            assert_eq!(bench.text(&image, "f"), text);
        }
    });
}

#[test]
fn docker_build_does_not_see_it() {
    Bench::each(|bench| {
        let context = bench.home.path().join("context");
        let dockerfile = context.join("Dockerfile");
        fs::create_dir_all(&context).unwrap();
        fs::write(&dockerfile, "FROM scratch\nCOPY f /f\n").unwrap();
        for text in ["old\n", "new\n"] {
            writes(&context.join("f"), text);
            let Some(image) = bench.docker_build(&context, &dockerfile) else { return };
            assert_eq!(bench.text(&image, "f"), "old\n", "mended? then docs/engines.md can say so");
        }
    });
}
