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
    let program = variable("IMGRAPH_TEST_DOCKER_CLI").zip(variable("IMGRAPH_TEST_BUILDX"));
    let Some((docker, buildx)) = program else {
        return aloud(
            "buildkit  `docker build` is not compared: IMGRAPH_TEST_DOCKER_CLI is not set",
        );
    };
    Bench::each(|bench| {
        let plugins = bench.home.path().join("config/cli-plugins");
        fs::create_dir_all(&plugins).unwrap();
        symlink(&buildx, plugins.join("docker-buildx")).unwrap();
        let context = bench.home.path().join("context");
        fs::create_dir_all(&context).unwrap();
        let label = format!("{LABEL}={}", bench.tag);
        let dockerfile = format!("FROM scratch\nLABEL {label}\nCOPY f /f\n");
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let image = format!("{}/plain:latest", bench.tag);
        let seen = ["old\n", "new\n"].map(|text| {
            writes(&context.join("f"), text);
            let mut command = Command::new(&docker);
            command.args(["build", "--tag", &image]).arg(&context);
            command.env("DOCKER_HOST", format!("unix://{}", bench.daemon.socket.display()));
            command.env("DOCKER_CONFIG", plugins.parent().unwrap()).env("DOCKER_BUILDKIT", "1");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            bench.text(&image, "f")
        });
        assert_eq!(seen, ["old\n", "old\n"], "mended? then engines.md and this test can say so");
    });
}
