//! A work tree with an engine and a store of its own, as on another machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::conformance::aloud;
use crate::engines::bench::busybox;
use crate::engines::buildkit::{Daemon, variable};
use crate::support::{Outcome, Workspace};

/// An engine, or one that is made for each machine.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Buildah,
    Docker(Daemon),
    Buildx(Daemon),
    /// Its address. Images are in the work tree.
    Buildkitd(String),
}

/// What each of two machines builds with, and what that is called.
pub(super) type Pair = (String, [Kind; 2]);

/// All pairs that there are here; the others are said aloud.
pub(super) fn pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    if Command::new("buildah").arg("--version").output().is_ok() {
        pairs.push(("buildah".to_owned(), [Kind::Buildah, Kind::Buildah]));
    } else {
        aloud("published  skipped on buildah: it is not installed");
    }
    // Each daemon is once the one that has built everything, and once the one that has nothing.
    let daemons = Daemon::all();
    for (first, second) in daemons.iter().zip(daemons.iter().cycle().skip(1)) {
        let name = format!("{} and {}", first.name, second.name);
        pairs.push((name, [first, second].map(|it| Kind::Docker(it.clone()))));
    }
    match (&*daemons, variable("IMGRAPH_TEST_BUILDX")) {
        ([.., first, second], Some(_)) => {
            pairs.push(("buildx".to_owned(), [first, second].map(|it| Kind::Buildx(it.clone()))));
        }
        _ => aloud("published  skipped on buildx: IMGRAPH_TEST_BUILDX and two daemons are missing"),
    }
    match variable("IMGRAPH_TEST_BUILDKITD") {
        Some(address) => {
            let kind = Kind::Buildkitd(address);
            pairs.push(("buildkitd".to_owned(), [kind.clone(), kind]));
        }
        None => aloud("published  skipped on a buildkitd: IMGRAPH_TEST_BUILDKITD is not set"),
    }
    pairs
}

/// One machine.
pub(super) struct Machine {
    pub(super) tree: Workspace,
    kind: Kind,
    /// The host and the first part of the names of all that it builds.
    place: String,
}

impl Machine {
    /// A machine with an empty store: images of this place are in none that it shares.
    pub(super) fn new(tree: Workspace, kind: Kind, place: &str) -> Self {
        let machine = Self { tree, kind, place: place.to_owned() };
        let home = machine.home();
        match &machine.kind {
            Kind::Buildah => {
                let (root, run) = (home.join("root"), home.join("run"));
                let conf = format!(
                    "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
                    root.display(),
                    run.display()
                );
                fs::write(home.join("storage.conf"), conf).unwrap();
            }
            Kind::Buildx(_) => {
                let plugins = home.join(".docker/cli-plugins");
                fs::create_dir_all(&plugins).unwrap();
                let plugin = variable("IMGRAPH_TEST_BUILDX").unwrap();
                symlink(plugin, plugins.join("docker-buildx")).unwrap();
            }
            Kind::Docker(_) | Kind::Buildkitd(_) => (),
        }
        machine
    }

    fn home(&self) -> PathBuf {
        self.tree.root().parent().unwrap().to_owned()
    }

    /// Logs in at a registry as user with password.
    pub(super) fn logs_in(&self, host: &str) {
        let directory = self.home().join(".docker");
        fs::create_dir_all(&directory).unwrap();
        let config = format!(r#"{{"auths":{{"{host}":{{"auth":"dXNlcjpwYXNzd29yZA=="}}}}}}"#);
        fs::write(directory.join("config.json"), config).unwrap();
    }

    pub(super) fn rebuild(&self, arguments: &str) -> Outcome {
        let arguments = format!("rebuild --jobs=1 {arguments}");
        let name = match &self.kind {
            Kind::Buildah => "buildah",
            Kind::Buildx(_) => "buildx",
            Kind::Docker(_) | Kind::Buildkitd(_) => "buildkit",
        };
        let mut command = self.tree.command_with(name, &arguments);
        self.surround(&mut command);
        self.tree.start_command(command).finish()
    }

    /// Says where its engine is.
    fn surround(&self, command: &mut Command) {
        let host = |daemon: &Daemon| format!("unix://{}", daemon.socket.display());
        match &self.kind {
            Kind::Buildah => {
                command.env("CONTAINERS_STORAGE_CONF", self.home().join("storage.conf"));
                command.env("BUILDAH_ISOLATION", "chroot");
            }
            Kind::Docker(daemon) => {
                command.env("DOCKER_HOST", host(daemon));
            }
            Kind::Buildx(daemon) => {
                let program = PathBuf::from(variable("IMGRAPH_TEST_DOCKER_CLI").unwrap());
                let path = std::env::var("PATH").unwrap();
                let directory = program.parent().unwrap().display();
                command.env("PATH", format!("{directory}:{path}")).env("DOCKER_HOST", host(daemon));
                command.env("DOCKER_CONFIG", self.home().join(".docker"));
            }
            Kind::Buildkitd(address) => {
                command.env("BUILDKIT_HOST", address);
            }
        }
    }

    /// The repositories of which its store has something, without what is before all names.
    pub(super) fn store(&self) -> Vec<String> {
        let names = match &self.kind {
            Kind::Buildah => self.of_buildah(),
            Kind::Docker(daemon) | Kind::Buildx(daemon) => of_daemon(daemon),
            Kind::Buildkitd(_) => self.of_layout(),
        };
        let own = names.iter().filter_map(|name| name.strip_prefix(&self.place)?.strip_prefix('/'));
        let mut own: Vec<String> =
            own.map(|name| name.split(['@', ':']).next().unwrap_or_default().to_owned()).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    fn of_buildah(&self) -> Vec<String> {
        let mut command = Command::new("buildah");
        self.surround(&mut command);
        command.args(["images", "--all", "--format", "{{.Name}}:{{.Tag}}"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn of_layout(&self) -> Vec<String> {
        let Ok(index) = fs::read(self.tree.path(".imgraph/oci/index.json")) else {
            return Vec::new();
        };
        let index: Value = serde_json::from_slice(&index).unwrap();
        let named = |entry: &Value| {
            let notes = entry["annotations"].as_object().cloned().unwrap_or_default();
            notes.values().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        index["manifests"].as_array().unwrap().iter().flat_map(named).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let (Kind::Docker(daemon) | Kind::Buildx(daemon)) = &self.kind else { return };
        for name in of_daemon(daemon).iter().filter(|name| name.starts_with(&self.place)) {
            daemon.ask("DELETE", &format!("/images/{name}?force=1"));
        }
    }
}

/// The references and digests of all images of a daemon.
fn of_daemon(daemon: &Daemon) -> Vec<String> {
    let images = daemon.get("/images/json");
    let named = |image: &Value| {
        let names = [&image["RepoTags"], &image["RepoDigests"]].map(|it| it.as_array().cloned());
        let names: Vec<Value> = names.into_iter().flatten().flatten().collect();
        names.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    images.as_array().unwrap().iter().flat_map(named).collect()
}

/// Puts a shell into the context of a `base`.
pub(super) fn equip(tree: &Workspace, rootfs: &Path) {
    let bin = rootfs.join("bin");
    let program = fs::read(busybox().unwrap()).unwrap();
    tree.write(bin.join("busybox").to_str().unwrap(), program);
    fs::set_permissions(tree.root().join(bin.join("busybox")), fs::Permissions::from_mode(0o755))
        .unwrap();
    for applet in ["sh", "cat", "sleep"] {
        symlink("busybox", tree.root().join(bin.join(applet))).unwrap();
    }
}
