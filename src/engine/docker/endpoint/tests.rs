#![expect(clippy::disallowed_methods, reason = "tests write docker's configuration")]

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::engine::docker::fixture::write_context;

/// A home with a docker configuration, a socket that exists, and an environment.
struct Case {
    home: TempDir,
    environment: BTreeMap<String, String>,
    socket: PathBuf,
}

impl Case {
    fn new(environment: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".docker")).unwrap();
        let socket = home.path().join("default.sock");
        fs::write(&socket, "").unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { environment: environment.iter().map(owned).collect(), home, socket }
    }

    fn docker(&self) -> PathBuf {
        self.home.path().join(".docker")
    }

    fn config(self, text: &str) -> Self {
        fs::write(self.docker().join("config.json"), text).unwrap();
        self
    }

    fn certificates(self, files: &[&str]) -> Self {
        for file in files {
            fs::write(self.docker().join(file), "").unwrap();
        }
        self
    }

    fn context(self, name: &str, host: &str) -> Self {
        let endpoints = format!("{{\"docker\":{{\"Host\":\"{host}\"}}}}");
        write_context(&self.docker(), name, &endpoints, &[]);
        self
    }

    fn found(&self) -> Result<Found, ConfigError> {
        docker_endpoint(&self.environment, self.home.path(), &self.socket)
    }

    /// The place and who says so, with `~` for home.
    fn shown(&self) -> String {
        let text = match self.found() {
            Ok(found) => format!("{} by {}", found.endpoint, found.why),
            Err(error) => error.to_string(),
        };
        text.replace(&self.home.path().display().to_string(), "~")
    }
}

fn host(text: &str) -> String {
    Case::new(&[("DOCKER_HOST", text)]).shown()
}

fn tls_of(case: &Case) -> Option<Tls> {
    match case.found().unwrap().endpoint {
        Endpoint::Tcp { tls, .. } => tls,
        other => panic!("{other}"),
    }
}

#[test]
fn docker_host_is_a_socket_a_port_or_ssh() {
    assert_eq!(host("unix:///run/d.sock"), "unix:///run/d.sock by DOCKER_HOST");
    assert_eq!(host(" unix:// "), "unix://~/default.sock by DOCKER_HOST");
    assert_eq!(host("tcp://build.example:1234"), "tcp://build.example:1234 by DOCKER_HOST");
    assert_eq!(host("tcp://build.example"), "tcp://build.example:2375 by DOCKER_HOST");
    assert_eq!(host("tcp://[::1]"), "tcp://[::1]:2375 by DOCKER_HOST");
    assert_eq!(host("tcp://"), "tcp://localhost:2375 by DOCKER_HOST");
    assert_eq!(host(":4321"), "tcp://localhost:4321 by DOCKER_HOST");
    assert_eq!(
        host("ssh://me@host:22"),
        "ssh -o ConnectTimeout=30 -T -l me -p 22 -- host docker system dial-stdio by DOCKER_HOST"
    );
    assert_eq!(
        host("ssh://host/run/d.sock"),
        "ssh -o ConnectTimeout=30 -T -- host docker --host=unix:///run/d.sock system dial-stdio by DOCKER_HOST"
    );
}

#[test]
fn addresses_that_lead_nowhere_say_why() {
    let wrong = |text: &str| {
        let said = host(text);
        said.split_once("no address to connect to: ").unwrap().1.to_owned()
    };
    assert_eq!(wrong("fd://3"), "`fd://` is for the daemon itself");
    assert_eq!(wrong("npipe:////./pipe/docker"), "`npipe://` is a pipe of Windows");
    assert_eq!(wrong("http://host"), "it begins neither with unix://, tcp:// nor ssh://");
    assert_eq!(wrong("tcp://host/prefix"), "more than a host and a port is not supported");
    assert_eq!(wrong("ssh://"), "it names no host");
    assert_eq!(
        host("ssh://me:hunter2@host"),
        "`ssh://host` is no address to connect to: it has a password"
    );
}

#[test]
fn docker_host_wins_over_contexts_and_docker_context_over_the_current_one() {
    let case = |environment: &[(&str, &str)]| {
        Case::new(environment)
            .config(r#"{"currentContext":"current"}"#)
            .context("current", "unix:///current.sock")
            .context("named-one", "unix:///named.sock")
            .shown()
    };
    let (socket, named) = (("DOCKER_HOST", "unix:///h.sock"), ("DOCKER_CONTEXT", "named-one"));
    assert_eq!(case(&[socket, named]), "unix:///h.sock by DOCKER_HOST");
    assert_eq!(case(&[named]), "unix:///named.sock by the docker context `named-one`");
    assert_eq!(case(&[]), "unix:///current.sock by the docker context `current`");
    assert_eq!(
        case(&[("DOCKER_CONTEXT", "default")]),
        "unix://~/default.sock by the default socket"
    );
    assert_eq!(
        case(&[("DOCKER_CONTEXT", "gone")]),
        "the docker context `gone` does not exist; there are current, named-one"
    );
}

#[test]
fn a_broken_config_is_no_matter_where_it_is_not_asked() {
    let case = |environment: &[(&str, &str)]| Case::new(environment).config("{\n,").shown();
    assert_eq!(case(&[]), "~/.docker/config.json:2: this is not JSON");
    assert_eq!(case(&[("DOCKER_HOST", "unix:///h.sock")]), "unix:///h.sock by DOCKER_HOST");
}

#[test]
fn a_rootless_socket_stands_in_for_the_default_one() {
    let mut case = Case::new(&[]);
    let run = case.home.path().join("run");
    fs::create_dir_all(&run).unwrap();
    case.environment.insert("XDG_RUNTIME_DIR".into(), run.display().to_string());
    fs::write(run.join("docker.sock"), "").unwrap();
    assert_eq!(case.shown(), "unix://~/default.sock by the default socket");
    fs::remove_file(&case.socket).unwrap();
    assert_eq!(case.shown(), "unix://~/run/docker.sock by the rootless socket");
    fs::remove_file(run.join("docker.sock")).unwrap();
    assert_eq!(case.shown(), "unix://~/default.sock by the default socket");
}

#[test]
fn variables_turn_tls_on_for_ports() {
    let port = ("DOCKER_HOST", "tcp://host:2376");
    assert_eq!(tls_of(&Case::new(&[port])), None);
    let all = ["ca.pem", "cert.pem", "key.pem"];
    let tls = tls_of(&Case::new(&[port, ("DOCKER_TLS_VERIFY", "1")]).certificates(&all)).unwrap();
    assert!(!tls.skip_verify && tls.key.unwrap().ends_with(".docker/key.pem"));
    let case = Case::new(&[port, ("DOCKER_TLS", "1")]).certificates(&["ca.pem", "cert.pem"]);
    let tls = tls_of(&case).unwrap();
    assert!(tls.skip_verify && tls.cert.is_none(), "a certificate without its key is none");
    let socket = [("DOCKER_HOST", "unix:///h.sock"), ("DOCKER_TLS_VERIFY", "1")];
    assert_eq!(Case::new(&socket).shown(), "unix:///h.sock by DOCKER_HOST");
}

#[test]
fn certificates_may_lie_elsewhere_and_must_lie_somewhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().to_str().unwrap();
    let case = Case::new(&[("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", path)]);
    assert_eq!(
        case.shown(),
        format!("there is no {path}/ca.pem, which DOCKER_TLS_VERIFY asks for")
    );
    fs::write(elsewhere.path().join("ca.pem"), "").unwrap();
    assert_eq!(case.shown(), "tcp://localhost:2376 by DOCKER_TLS_VERIFY");
    assert_eq!(tls_of(&case).unwrap().ca, Some(elsewhere.path().join("ca.pem")));
}

#[test]
fn a_context_brings_its_own_certificates() {
    let case = Case::new(&[("DOCKER_CONTEXT", "far"), ("DOCKER_TLS_VERIFY", "1")]);
    let endpoints = r#"{"docker":{"Host":"tcp://far:2376"}}"#;
    write_context(&case.docker(), "far", endpoints, &["ca.pem", "cert.pem", "key.pem"]);
    let tls = tls_of(&case).unwrap();
    assert!(tls.ca.unwrap().starts_with(case.docker().join("contexts/tls")));
    assert_eq!(case.shown(), "tcp://far:2376 by the docker context `far`");
}
