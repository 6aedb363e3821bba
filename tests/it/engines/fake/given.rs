//! Logins and secrets, as a daemon asks for them.

use std::fs;
use std::sync::mpsc;

use imgraph::engine::Request;
use tonic::Code;

use super::{Bench, Daemon, HANGS};

#[test]
fn the_login_at_a_registry_is_that_of_the_docker_config() {
    let home = tempfile::tempdir().unwrap();
    // ada:hush
    let config = r#"{"auths": {"registry.test:5000": {"auth": "YWRhOmh1c2g="}}}"#;
    fs::write(home.path().join("config.json"), config).unwrap();
    let directory = home.path().to_str().unwrap().to_owned();
    let daemon = Daemon::on_socket(home.path());
    let bench = Bench::with(home, daemon, [("DOCKER_CONFIG".to_owned(), directory)].into());
    let (sender, logins) = mpsc::channel();
    bench.daemon.solves(move |solving| {
        let sender = sender.clone();
        async move {
            for host in ["registry.test:5000", "registry.test", "other.test"] {
                sender.send(solving.session.credentials(host).await?).unwrap();
            }
            solving.session.export("right").await
        }
    });
    bench.build("a").unwrap();
    let login = || logins.recv_timeout(HANGS).unwrap();
    assert_eq!(login(), ("ada".to_owned(), "hush".to_owned()));
    assert_eq!(login(), Default::default(), "another port is another registry");
    assert_eq!(login(), Default::default());
}

#[test]
fn secrets_of_one_id_and_two_images_do_not_mix() {
    let bench = Bench::new();
    let (sender, secrets) = mpsc::channel();
    bench.daemon.solves(move |solving| {
        let sender = sender.clone();
        async move {
            let secret = solving.session.secret("token").await;
            sender.send(secret.map_err(|status| status.code())).unwrap();
            solving.session.export("right").await
        }
    });
    for (image, secret) in [("a", Some("one")), ("b", Some("two")), ("c", None), ("a", Some("one"))]
    {
        let given = secret.map(|text| {
            let path = bench.home.path().join(text);
            fs::write(&path, text).unwrap();
            format!("id=token,src={}", path.display())
        });
        let request = Request { secrets: given.into_iter().collect(), ..bench.request(image, &[]) };
        bench.watch(request).0.unwrap();
        let seen = secrets.recv_timeout(HANGS).unwrap();
        assert_eq!(seen, secret.map(|text| text.as_bytes().to_vec()).ok_or(Code::NotFound));
    }
    assert_eq!(bench.daemon.sessions(), 3, "one for each that is given something else");
}
