//! Who we are to a registry, and who is not told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{fs, thread};

use super::front::{Fault, Guard, Response};
use super::*;

/// user:password
const LOGIN: &str = "dXNlcjpwYXNzd29yZA==";

/// A bench whose user has logged in at the front.
fn logged_in(behind: Behind) -> Bench {
    let mut bench = Bench::with(behind, &BTreeMap::new());
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{LOGIN}"}}}}}}"#, bench.front.host);
    let environment = [("DOCKER_AUTH_CONFIG".to_owned(), config)].into();
    bench.registry = client(&bench.home, &bench.front.host, &environment);
    bench
}

fn memory() -> Behind {
    Behind::Memory(Arc::default())
}

#[test]
fn a_login_is_shown_when_it_is_asked_for() {
    let basic = format!("Basic {LOGIN}");
    for guard in
        [Guard::Basic(basic.clone()), Guard::Token(Some(basic.clone())), Guard::Token(None)]
    {
        let bench = logged_in(memory());
        bench.front.wants(guard.clone());
        let image = Image::new(&["one"]);
        let tag = bench.reference("a:1");
        bench.push(&image, &tag).unwrap();
        assert_eq!(bench.digest(&tag).unwrap(), image.digest());
        let asked = bench.front.asked();
        assert_eq!(asked[0].header("authorization"), "", "the first question has none");
        let tokens = asked.iter().filter(|it| it.path.starts_with("/token")).count();
        let expected = if matches!(guard, Guard::Basic(_)) { 0 } else { 2 };
        assert_eq!(tokens, expected, "one to read, one to write");
        // What was learnt is shown at once from then on.
        bench.digest(&bench.reference("a:1")).unwrap();
        assert_eq!(bench.front.asked().len(), 1);
    }
}

#[test]
fn who_has_not_logged_in_or_not_with_enough_is_told_what_helps() {
    let other = Guard::Basic("Basic eDp5".to_owned());
    let token = Guard::Token(Some("Basic eDp5".to_owned()));
    for (bench, guard, says) in [
        (
            Bench::new(),
            other.clone(),
            "HOST does not let us read PLACE/a: 401 Unauthorized; `docker login HOST` logs in",
        ),
        (
            logged_in(memory()),
            token,
            "HOST does not let us read PLACE/a: 401 UNAUTHORIZED: authentication required; \
             `docker login HOST` logs in",
        ),
    ] {
        bench.front.wants(guard);
        let error = bench.digest(&bench.reference("a:1")).unwrap_err();
        assert_eq!(bench.words(&error), says);
        assert!(matches!(error, RegistryError::Auth { .. }));
    }
    let bench = logged_in(memory());
    let denied = Response::refusal(403, "DENIED", "no");
    bench.front.spoils(usize::MAX, Fault::Answer(denied), |_| true);
    assert_eq!(
        bench.words(&bench.send(&bench.reference("a"), &[b"x".to_vec()]).unwrap_err()),
        "HOST does not let us push to PLACE/a: 403 Forbidden; the login for HOST is not enough"
    );
}

#[test]
fn a_token_is_asked_for_again_when_it_is_not_taken_any_more() {
    let bench = logged_in(memory());
    bench.front.wants(Guard::Token(None));
    let tag = bench.reference("a:1");
    bench.push(&Image::new(&["one"]), &tag).unwrap();
    bench.digest(&tag).unwrap();
    bench.front.asked();
    let challenge = format!(r#"Bearer realm="http://{}/token""#, bench.front.host);
    let stale = Response::refusal(401, "UNAUTHORIZED", "").with("www-authenticate", challenge);
    bench.front.spoils(1, Fault::Answer(stale), |request| request.method == "HEAD");
    bench.digest(&tag).unwrap();
    let asked: Vec<String> = bench.front.asked().iter().map(|it| it.method.clone()).collect();
    assert_eq!(asked, ["HEAD", "GET", "HEAD"]);
}

#[test]
fn a_giver_of_tokens_that_is_out_of_order_is_no_refusal_and_no_missing_image() {
    for (status, says) in [
        (503, "HOST is not available: 503 X: y"),
        (404, "HOST refuses a token to read PLACE/a: 404 Not Found"),
    ] {
        let bench = logged_in(memory());
        bench.front.wants(Guard::Token(None));
        let answer = Response::refusal(status, "X", "y");
        bench.front.spoils(usize::MAX, Fault::Answer(answer), |it| it.path.starts_with("/token"));
        let error = bench.digest(&bench.reference("a:1")).unwrap_err();
        assert_eq!(bench.words(&error), says);
    }
}

#[test]
fn nobody_whom_we_are_led_to_is_shown_a_login() {
    let bench = logged_in(memory());
    bench.front.wants(Guard::Basic(format!("Basic {LOGIN}")));
    let to = bench.reference("a");
    bench.send(&to, &[b"one".to_vec()]).unwrap();
    bench.front.asked();
    let elsewhere = Front::new(memory());
    elsewhere.spoils(1, Fault::Answer(Response::new(200).body("one")), |_| true);
    let led = format!("http://{}/storage?signature=1", elsewhere.host);
    let answer = Response::new(307).with("location", led);
    bench.front.spoils(1, Fault::Answer(answer), |_| true);
    let digest = OciDigest::of_content(b"one");
    let read = bench.ask(|watch| bench.registry.document(&to, (&digest, 3), watch)).0;
    assert_eq!(read.unwrap(), b"one");
    let asked = elsewhere.asked();
    assert_eq!(asked[0].line(), "GET /storage?signature=1");
    assert_eq!(asked[0].header("authorization"), "");
    assert!(bench.front.asked().iter().all(|it| !it.header("authorization").is_empty()));
}

#[test]
fn redirects_have_an_end() {
    let bench = Bench::new();
    let again = Response::new(302).with("location", "/v2/again");
    bench.front.spoils(usize::MAX, Fault::Answer(again), |_| true);
    let error = bench.digest(&bench.reference("a:1")).unwrap_err();
    assert_eq!(
        bench.words(&error),
        "HOST refuses manifest HOST/PLACE/a:1: 302 redirects without end"
    );
    assert_eq!(bench.front.asked().len(), 6);
}

#[test]
fn a_credential_helper_is_asked_and_its_silence_is_an_error() {
    let bench = Bench::new();
    let bin = bench.home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    for (script, works) in [
        ("cat >/dev/null; echo '{\"Username\":\"user\",\"Secret\":\"password\"}'", true),
        ("cat >/dev/null; echo broken >&2; exit 1", false),
    ] {
        fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&helper, executable).unwrap();
        let config = bench.home.path().join(".docker/config.json");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(config, r#"{"credsStore":"test"}"#).unwrap();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let environment = [("PATH".to_owned(), path)].into();
        let registry = client(&bench.home, &bench.front.host, &environment);
        bench.front.wants(Guard::Basic(format!("Basic {LOGIN}")));
        let found = bench.ask(|watch| registry.find(&bench.reference("a:1"), watch)).0.unwrap_err();
        assert_eq!(matches!(found, RegistryError::Missing { .. }), works, "{found}");
        assert_eq!(matches!(found, RegistryError::Credentials(_)), !works, "{found}");
    }
}

#[test]
fn a_real_registry_that_wants_a_login_gets_it() {
    let Ok(host) = std::env::var("IMGRAPH_TEST_REGISTRY_LOGIN") else {
        return aloud("registry  skipped: logins: IMGRAPH_TEST_REGISTRY_LOGIN is not set");
    };
    let bench = logged_in(Behind::Registry(host.clone()));
    let image = Image::new(&["one"]);
    bench.push(&image, &bench.reference("a:1")).unwrap();
    assert_eq!(bench.digest(&bench.reference("a:1")).unwrap(), image.digest());
    let stranger = Bench::with(Behind::Registry(host), &BTreeMap::new());
    let error = stranger.digest(&stranger.reference("a:1")).unwrap_err();
    assert!(matches!(error, RegistryError::Auth { .. }), "{error}");
}

#[test]
fn a_real_registry_with_a_certificate_is_trusted_by_its_authority() {
    let host = std::env::var("IMGRAPH_TEST_REGISTRY_TLS");
    let authority = std::env::var("IMGRAPH_TEST_REGISTRY_CA");
    let (Ok(host), Ok(authority)) = (host, authority) else {
        return aloud("registry  skipped: TLS: IMGRAPH_TEST_REGISTRY_TLS is not set");
    };
    let bench = Bench::new();
    let tag: Reference = format!("{host}/{}/a:1", bench.place).parse().unwrap();
    let certs = bench.home.path().join("certs.d");
    fs::create_dir_all(certs.join(&host)).unwrap();
    let credentials = Credentials::load(&BTreeMap::new(), bench.home.path()).unwrap();
    let find = |certificates: Vec<std::path::PathBuf>| {
        let registry = Registry::new(Options { certificates, ..Options::new(credentials.clone()) });
        bench.ask(|watch| registry.find(&tag, watch)).0.unwrap_err()
    };
    // On this machine a certificate need not be one that we trust.
    assert!(find(Vec::new()).is_missing());
    fs::copy(authority, certs.join(&host).join("ca.crt")).unwrap();
    assert!(find(vec![certs.clone()]).is_missing());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(certs.join(&host).join("ca.crt"), other.cert.pem()).unwrap();
    let error = find(vec![certs]);
    assert!(matches!(error, RegistryError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("certs.d"), "{error}");
}

#[test]
fn a_registry_behind_a_proxy_is_reached_by_tls_through_it() {
    let host = std::env::var("IMGRAPH_TEST_REGISTRY_TLS");
    let authority = std::env::var("IMGRAPH_TEST_REGISTRY_CA");
    let (Ok(host), Ok(authority)) = (host, authority) else {
        return aloud("registry  skipped: proxies: IMGRAPH_TEST_REGISTRY_TLS is not set");
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    // It ends with the process of the tests.
    let heads = thread::spawn(move || {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut near, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                near.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            if !head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n") {
                near.write_all(b"HTTP/1.1 407 Who are you\r\n\r\n").unwrap();
            } else {
                near.write_all(b"HTTP/1.1 200 OK\r\nVia: tests\r\n\r\n").unwrap();
                let mut far = TcpStream::connect(&host).unwrap();
                let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut from, &mut to));
                thread::spawn(move || std::io::copy(&mut far, &mut near));
            }
            heads.push(head);
        }
        heads
    });
    let bench = Bench::new();
    let certs = bench.home.path().join("certs.d");
    fs::create_dir_all(certs.join("registry.test")).unwrap();
    fs::copy(authority, certs.join("registry.test/ca.crt")).unwrap();
    let credentials = Credentials::load(&BTreeMap::new(), bench.home.path()).unwrap();
    let find = |login: &str| {
        let address = format!("http://{login}@{proxy}");
        let registry = Registry::new(Options {
            environment: [("HTTPS_PROXY".to_owned(), address)].into(),
            certificates: vec![certs.clone()],
            ..Options::new(credentials.clone())
        });
        // A tag that cannot be there: the answer is the registry's.
        let tag = format!("registry.test/{}/a:1", bench.place).parse().unwrap();
        let cancel = Cancel::default();
        let mut first = None;
        let mut say = |note: String| {
            first.get_or_insert(note);
            cancel.raise();
        };
        let found = registry.find(&tag, Watch { cancel: &cancel, say: &mut say });
        (found.unwrap_err(), first)
    };
    assert!(find("me:secret").0.is_missing());
    let note = find("me:wrong").1.unwrap();
    assert!(note.contains(&format!("the proxy {proxy} answers 407 Who are you")), "{note}");
    let heads = heads.join().unwrap();
    assert!(heads[0].starts_with("CONNECT registry.test:443 HTTP/1.1\r\n"), "{heads:?}");
}
