//! Secrets and agents: a command gets them, and nothing else does.

use std::process::{Child, Stdio};

use super::*;

/// Every file below a directory, and what is in it.
fn all_files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for item in fs::read_dir(directory).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(content) = fs::read(&path) {
                found.push((path, content));
            }
        }
    }
    found
}

fn contains(text: &[u8], value: &str) -> bool {
    text.windows(value.len()).any(|part| part == value.as_bytes())
}

fn sum(text: &str) -> String {
    OciDigest::of_content(text.as_bytes()).hex().to_owned()
}

#[test]
fn a_command_gets_its_secrets_and_nothing_else_has_them() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- layers.toml
            [image.a]
            secrets = ['id=npm,env=NPM_TOKEN', 'id=file,src=keys/secret']
            //- images/a/Dockerfile
            FROM @busybox
            RUN --mount=type=secret,id=npm --mount=type=secret,id=file,target=/file,mode=0440 \\
                cat /run/secrets/npm /file | sha256sum | cut -c 1-64 > /sum && stat -c %a /file > /mode
            RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
            ",
        );
        let values = [format!("hush-{}", bench.tag), format!("still-{}", bench.tag)];
        tree.write("keys/secret", &values[1]);
        let run = || {
            let arguments = "rebuild --jobs=1 --json --logs=all -v";
            let mut command = Bench::command(&tree, arguments, &bench.daemon.socket);
            command.env("NPM_TOKEN", &values[0]);
            tree.start_command(command).finish().exits(0)
        };
        let said = run();
        assert_eq!(said.ends(), ["a built"]);
        let image = format!("{}/a:latest", bench.tag);
        assert_eq!(bench.text(&image, "sum"), format!("{}\n", sum(&values.concat())));
        assert_eq!(bench.text(&image, "mode"), "440\n");

        let shown = format!("{said:?}");
        let config = bench.daemon.get(&format!("/images/{image}/json")).to_string();
        let history = bench.daemon.get(&format!("/images/{image}/history")).to_string();
        let layers = bench.layers(&image).concat();
        for value in &values {
            for text in [&shown, &config, &history] {
                assert!(!text.contains(value), "{text}");
            }
            assert!(!contains(&layers, value));
            for (path, content) in all_files(&tree.path(".imgraph")) {
                assert!(!contains(&content, value), "{}", path.display());
            }
        }
        assert_eq!(run().ends(), [] as [String; 0], "nothing to do");
    });
}

#[test]
fn two_images_with_secrets_of_one_name_get_their_own() {
    Bench::each(|bench| {
        // Both are held up until both run.
        let image = |name: &str| {
            format!(
                "//- images/{name}/Dockerfile\nFROM @busybox\nENV NAME={name}\n\
                 RUN --mount=type=secret,id=s sleep 1; cat /run/secrets/s > /s\n"
            )
        };
        let layers = "//- layers.toml\n[image.one]\nsecrets = ['id=s,src=one']\n\
            [image.two]\nsecrets = ['id=s,src=two']\n";
        let files = ["//- one\none\n//- two\ntwo\n", layers, &image("one"), &image("two")].concat();
        let tree = bench.workspace(&files);
        bench.imgraph(&tree, "rebuild --jobs=2").exits(0);
        for name in ["one", "two"] {
            let text = bench.text(&format!("{}/{name}:latest", bench.tag), "s");
            assert_eq!(text, format!("{name}\n"));
        }
    });
}

#[test]
fn a_secret_that_is_not_there_is_said_before_the_build() {
    Bench::each(|bench| {
        for (secret, said) in [
            ("id=npm,env=IMGRAPH_TEST_NEVER_SET", "IMGRAPH_TEST_NEVER_SET"),
            ("id=npm,src=nowhere", "nowhere"),
        ] {
            let secrets = vec![secret.to_owned()];
            let request = Request { secrets, ..bench.request("FROM @busybox\nRUN true\n") };
            let (built, lines) = bench.watch(&request);
            assert!(
                matches!(&built, Err(EngineError::Auth(text)) if text.contains("`npm`")
                    && text.contains(said)),
                "{built:?}"
            );
            assert_eq!(lines, [] as [String; 0]);
        }
    });
}

#[test]
fn a_secret_that_a_command_requires_and_does_not_get_has_its_line() {
    Bench::each(|bench| {
        let dockerfile = "FROM @busybox\n\nRUN --mount=type=secret,id=npm,required=true true\n";
        let error = bench.build(&bench.request(dockerfile)).unwrap_err();
        let EngineError::Step { message, line, .. } = error else { panic!("{error:?}") };
        assert_eq!(line, Some(3), "{message}");
        assert!(message.contains("npm"), "{message}");
    });
}

/// An agent with a key; ended when dropped.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    /// `None`, said aloud, where OpenSSH is not there.
    fn start(directory: &Path) -> Option<Self> {
        let (socket, key) = (directory.join("agent.sock"), directory.join("key"));
        let child =
            Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn();
        let Ok(child) = child else {
            aloud("buildkit  skipped: there is no ssh-agent (`apt-get install openssh-client`)");
            return None;
        };
        let agent = Self { child, socket };
        while UnixStream::connect(&agent.socket).is_err() {
            thread::sleep(std::time::Duration::from_millis(10)); // it says nothing when it is there
        }
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "of the tests", "-f"]).arg(&key);
        assert!(keygen.status().unwrap().success());
        assert!(agent.ssh_add(&[key.to_str().unwrap()]).is_empty());
        Some(agent)
    }

    fn ssh_add(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("ssh-add");
        let output = command.args(arguments).env("SSH_AUTH_SOCK", &self.socket).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// `ssh-add` and what it is linked with, in a context.
fn copy_ssh_add(context: &Path) {
    let paths = std::env::var_os("PATH").unwrap();
    let program = std::env::split_paths(&paths).map(|path| path.join("ssh-add"));
    let program = program.into_iter().find(|path| path.exists()).unwrap();
    let libraries = Command::new("ldd").arg(&program).output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for path in libraries.chain([program.to_str().unwrap()]) {
        let copy = context.join(path.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, copy).unwrap();
    }
    fs::create_dir_all(context.join("etc")).unwrap();
    fs::write(context.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
}

#[test]
fn a_command_talks_to_the_agent_that_it_is_given_and_finds_its_keys() {
    Bench::each(|bench| {
        let home = bench.home.path();
        let Some(agent) = Agent::start(home) else { return };
        let context = home.join("ssh");
        copy_ssh_add(&context);
        let dockerfile = "FROM @busybox\nCOPY . /\n\
            RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && /usr/bin/ssh-add -l > /default\n\
            RUN --mount=type=ssh,id=git /usr/bin/ssh-add -l > /git\n";
        let socket = agent.socket.to_str().unwrap();
        let engine = engine(&bench.daemon, home, &[("SSH_AUTH_SOCK", socket)]);
        let ssh = vec!["default".to_owned(), format!("git={socket}")];
        let request = Request { ssh, ..bench.with_context(&context, dockerfile) };
        let built = engine.build(&request, &Cancel::default(), &mut |_| {}).unwrap();
        let files = bench.files(built.output.id.as_str());
        let keys = agent.ssh_add(&["-l"]);
        assert!(keys.contains("of the tests"), "{keys}");
        for path in ["default", "git"] {
            assert_eq!(String::from_utf8_lossy(&files[path].content), keys);
        }
    });
}

#[test]
fn an_agent_that_a_command_wants_and_does_not_get_has_its_line() {
    Bench::each(|bench| {
        let dockerfile = "FROM @busybox\n\nRUN --mount=type=ssh,required=true true\n";
        let error = bench.build(&bench.request(dockerfile)).unwrap_err();
        let EngineError::Step { message, line, .. } = error else { panic!("{error:?}") };
        assert_eq!(line, Some(3), "{message}");
    });
}
