use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// A home with a `config.json`, and a directory of helpers on the `PATH`.
struct Case {
    home: TempDir,
    environment: BTreeMap<String, String>,
}

impl Case {
    fn new(config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        for directory in [".docker", "bin"] {
            fs::create_dir(home.path().join(directory)).unwrap();
        }
        fs::write(home.path().join(".docker/config.json"), config).unwrap();
        let path = format!("{}:/usr/bin:/bin", home.path().join("bin").display());
        Self { home, environment: BTreeMap::from([("PATH".to_owned(), path)]) }
    }

    /// A helper that is a shell script. A shell writes it: what this process has open for writing
    /// cannot be run as long as another test is about to start a program.
    fn helper(self, name: &str, script: &str) -> Self {
        let file = self.home.path().join("bin").join(format!("docker-credential-{name}"));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"printf '#!/bin/sh\n%s\n' "$1" > "$0""#]).arg(&file).arg(script);
        assert!(command.status().unwrap().success());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Credentials {
        Credentials::load(&self.environment, self.home.path()).unwrap()
    }

    fn for_host(&self, host: &str) -> Option<Credential> {
        self.load().for_host(host).unwrap()
    }

    fn fails(&self, host: &str) -> String {
        let text = self.load().for_host(host).unwrap_err().to_string();
        text.replace(&self.home.path().display().to_string(), "~")
    }
}

/// A configuration with logins for these keys, in which the user is called like the key.
fn logins(keys: &[&str]) -> Case {
    let login = |key: &&str| {
        let auth = STANDARD.encode(format!("at {}:hunter2", key.replace(':', "_")));
        format!("\"{key}\":{{\"auth\":\"{auth}\"}}")
    };
    let logins: Vec<String> = keys.iter().map(login).collect();
    Case::new(&format!("{{\"auths\":{{{}}}}}", logins.join(",")))
}

fn user(case: &Case, host: &str) -> Option<String> {
    case.for_host(host).and_then(|credential| credential.username)
}

#[test]
fn without_a_configuration_nothing_is_told() {
    let home = tempfile::tempdir().unwrap();
    let none = Credentials::load(&BTreeMap::new(), home.path()).unwrap();
    assert_eq!(none.for_host("ghcr.io").unwrap(), None);
    assert_eq!(Case::new("{}").for_host("docker.io"), None);
}

#[test]
fn a_login_is_decoded() {
    let credential = logins(&["ghcr.io"]).for_host("ghcr.io").unwrap();
    assert_eq!(credential.user_and_secret(), ("at ghcr.io", "hunter2"));
    assert_eq!(credential.server, "ghcr.io");
}

#[test]
fn user_and_password_may_stand_apart_and_tokens_count() {
    let case = Case::new(
        r#"{"auths":{
            "a": {"username": "me", "password": "hunter2"},
            "b": {"auth": "MDAwMDo=", "identitytoken": "identity"},
            "c": {"registrytoken": "bearer"},
            "d": {}
        }}"#,
    );
    assert_eq!(case.for_host("a").unwrap().user_and_secret(), ("me", "hunter2"));
    assert_eq!(case.for_host("b").unwrap().user_and_secret(), ("", "identity"));
    assert_eq!(case.for_host("c").unwrap().registry_token.as_deref(), Some("bearer"));
    assert_eq!(case.for_host("d"), None);
}

#[test]
fn every_name_of_docker_hub_is_the_same_login() {
    for key in [HUB, "docker.io", "https://registry-1.docker.io/v2/"] {
        let case = logins(&[key]);
        for host in HUB_HOSTS {
            assert!(case.for_host(host).is_some(), "{key} for {host}");
            assert_eq!(case.for_host(host).unwrap().server, HUB);
        }
        assert_eq!(case.for_host("ghcr.io"), None);
    }
}

#[test]
fn keys_may_be_urls_or_have_a_path_and_the_plain_one_wins() {
    assert!(user(&logins(&["https://r.example:5000/v1/"]), "r.example:5000").is_some());
    assert!(user(&logins(&["r.example/team"]), "r.example").is_some());
    assert_eq!(user(&logins(&["r.example:5000"]), "r.example"), None);
    let both = logins(&["https://r.example", "r.example"]);
    assert_eq!(user(&both, "r.example").as_deref(), Some("at r.example"));
}

#[test]
fn a_helper_is_asked_for_the_registry_on_its_standard_input() {
    let script = r#"read -r server; echo "{\"ServerURL\":\"$server\",\"Username\":\"$1 $server\",\"Secret\":\"hunter2\"}""#;
    let case = Case::new(r#"{"credsStore":"all","credHelpers":{"r.example":"one"}}"#)
        .helper("all", script)
        .helper("one", r#"echo '{"Username":"<token>","Secret":"identity"}'"#);
    let credential = case.for_host("ghcr.io").unwrap();
    assert_eq!(credential.user_and_secret(), ("get ghcr.io", "hunter2"));
    assert_eq!(user(&case, "docker.io"), Some(format!("get {HUB}")));
    let credential = case.for_host("r.example").unwrap();
    assert_eq!(credential.identity_token.as_deref(), Some("identity"));
    assert_eq!(credential.server, "r.example");
}

#[test]
fn a_helper_that_knows_nothing_is_no_error_and_hides_the_file() {
    let login = r#"{"auths":{"r.example":{"auth":"bWU6aHVudGVyMg=="}},"credsStore":"none"}"#;
    let case = Case::new(login).helper("none", &format!("echo '{NOT_FOUND}'; exit 1"));
    assert_eq!(case.for_host("r.example"), None);
}

#[test]
fn a_helper_that_fails_is_named_with_its_words() {
    let case = Case::new(r#"{"credsStore":"x"}"#);
    assert_eq!(
        case.fails("ghcr.io"),
        "`docker-credential-x` gives no credentials for `ghcr.io`: it is not on the PATH"
    );
    let case = case.helper("x", "echo 'no key'; echo 'log in  first' >&2; exit 1");
    assert_eq!(
        case.fails("ghcr.io"),
        "`docker-credential-x` gives no credentials for `ghcr.io`: no key log in first"
    );
    let case = case.helper("x", "echo hunter2");
    assert_eq!(
        case.fails("ghcr.io"),
        "`docker-credential-x` gives no credentials for `ghcr.io`: its answer is not what a helper answers"
    );
}

#[test]
fn a_helper_sees_the_environment_that_was_handed_in_and_no_other() {
    let case = Case::new(r#"{"credsStore":"x"}"#)
        .variable("WHO", "me")
        .helper("x", r#"echo "{\"Username\":\"$WHO$CARGO_PKG_NAME\",\"Secret\":\"s\"}""#);
    assert_eq!(user(&case, "ghcr.io").as_deref(), Some("me"));
}

#[test]
fn the_variable_wins_over_the_file() {
    let case = logins(&["ghcr.io", "r.example"])
        .variable("DOCKER_AUTH_CONFIG", r#"{"auths":{"ghcr.io":{"auth":"bWU6aHVudGVyMg=="}}}"#);
    assert_eq!(user(&case, "ghcr.io").as_deref(), Some("me"));
    assert_eq!(user(&case, "r.example").as_deref(), Some("at r.example"));
    let broken = case.variable("DOCKER_AUTH_CONFIG", "{");
    let error = Credentials::load(&broken.environment, broken.home.path()).unwrap_err();
    assert_eq!(error.to_string(), "DOCKER_AUTH_CONFIG:1: this is not JSON");
}

#[test]
fn an_unreadable_login_is_an_error_for_its_registry_only() {
    let text = r#"{"auths":{"a":{"auth":"hunter2"},"b":{"auth":"bWU6aHVudGVyMg=="}}}"#;
    let case = Case::new(text);
    assert_eq!(user(&case, "b").as_deref(), Some("me"));
    assert_eq!(
        case.fails("a"),
        "the credentials for `a` in ~/.docker/config.json are not readable"
    );
}

#[test]
fn the_header_is_json_in_base64_for_urls() {
    let credential = Case::new(r#"{"auths":{"a":{"username":"me","password":"??>>hunter2"}}}"#)
        .for_host("a")
        .unwrap();
    let header = credential.header();
    assert!(header.chars().all(|c| c.is_ascii_alphanumeric() || "-_=".contains(c)), "{header}");
    let json: serde_json::Value =
        serde_json::from_slice(&URL_SAFE.decode(header).unwrap()).unwrap();
    let expected =
        serde_json::json!({"username": "me", "password": "??>>hunter2", "serveraddress": "a"});
    assert_eq!(json, expected);
    assert_eq!(URL_SAFE.decode(ANONYMOUS).unwrap(), b"{}");
}

#[test]
fn nothing_secret_is_shown() {
    let case = logins(&["ghcr.io"]).variable("TOKEN", "hunter2");
    let credentials = case.load();
    let shown = format!("{credentials:?} {:?}", credentials.for_host("ghcr.io"));
    assert!(!shown.contains("hunter2") && !shown.contains("at "), "{shown}");
}
