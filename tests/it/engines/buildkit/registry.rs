//! Registries: what is pushed, what is pulled, and who is let in.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

/// The registry of the tests; `None`, said aloud, where there is none.
fn registry() -> Option<String> {
    let registry = variable("IMGRAPH_TEST_REGISTRY");
    if registry.is_none() {
        aloud("buildkit  skipped: registries: IMGRAPH_TEST_REGISTRY is not set");
    }
    registry
}

impl Bench {
    fn push(&self, references: &[String]) -> (Result<(), EngineError>, Vec<String>) {
        let id = self.id_of(&references[0]).unwrap().parse().unwrap();
        let mut lines = Vec::new();
        let pushed = self.engine.push(&id, references, &Cancel::default(), &mut |progress| {
            lines.push(shown(&progress));
        });
        (pushed, lines)
    }

    /// Points a tag of the registry, and that of the store, at an image.
    fn publish(&self, id: &OciDigest, reference: &str) {
        let references = vec![reference.to_owned()];
        self.engine.tag(id, &references).unwrap();
        self.push(&references).0.unwrap();
    }
}

#[test]
fn references_are_pushed_in_their_order_and_a_build_can_be_made_on_them() {
    let Some(registry) = registry() else { return };
    Bench::each(|bench| {
        let image = bench.image("pushed");
        // Each daemon has a repository of its own.
        let repository = format!("{}/{}", bench.tag, bench.place());
        let references = ["1", "2"].map(|tag| format!("{registry}/{repository}:{tag}"));
        bench.engine.tag(&image, &references).unwrap();
        let (pushed, lines) = bench.push(&references);
        pushed.unwrap();
        let said: Vec<&String> = lines.iter().filter(|line| line.contains("pushing ")).collect();
        assert_eq!(
            said,
            [&*format!("| pushing {}", references[0]), &*format!("| pushing {}", references[1])]
        );
        let remotes = ["1", "2"].map(|tag| remote(&registry, &repository, tag));
        assert!(remotes[0].is_some() && remotes[0] == remotes[1], "{remotes:?}");

        for id in references.iter().map(String::as_str).chain([image.as_str()]) {
            bench.daemon.ask("DELETE", &format!("/images/{id}?force=1"));
        }
        assert_eq!(bench.id_of(&references[0]), None);
        let dockerfile = format!("FROM {}\nWORKDIR /x\n", references[0]);
        let built = bench.build(&bench.request(&dockerfile)).unwrap();
        assert_eq!(bench.text(built.output.id.as_str(), "who"), "pushed\n");
    });
}

#[test]
fn with_pull_a_tag_that_was_moved_in_its_registry_is_seen() {
    let Some(registry) = registry() else { return };
    Bench::each(|bench| {
        let external = format!("{registry}/{}/{}:1", bench.tag, bench.place());
        let (old, new, parent) = (bench.image("old"), bench.image("new"), bench.image("parent"));
        let parents = vec![bench.parent(&bench.named("@/p:1"), &parent)];
        for (dockerfile, parents) in [
            (format!("FROM {external}\n"), Vec::new()),
            // A parent is in no registry.
            (bench.named(&format!("FROM @/p:1\nCOPY --from={external} /who /who\n")), parents),
        ] {
            for (pull, who) in [(false, "old\n"), (true, "new\n")] {
                bench.publish(&new, &external);
                bench.engine.tag(&old, std::slice::from_ref(&external)).unwrap();
                let parents = parents.clone();
                let request = Request { pull, parents, ..bench.request(&dockerfile) };
                let built = bench.build(&request).unwrap_or_else(|it| panic!("{dockerfile}{it:?}"));
                assert_eq!(bench.text(built.output.id.as_str(), "who"), who, "{dockerfile}");
            }
        }
    });
}

#[test]
fn what_is_pinned_is_read_wherever_its_tag_points() {
    let Some(registry) = registry() else { return };
    Bench::each(|bench| {
        let repository = format!("{}/{}", bench.tag, bench.place());
        let external = format!("{registry}/{repository}:pinned");
        let (old, new) = (bench.image("old"), bench.image("new"));
        bench.publish(&old, &external);
        let digest = remote(&registry, &repository, "pinned").unwrap();
        bench.publish(&new, &external);
        let locked = Locked {
            reference: external.clone(),
            pinned: format!("{registry}/{repository}@{digest}"),
            platform: Some(Platform::host()),
        };
        for dockerfile in [
            format!("FROM {external}\n"),
            format!("ARG BASE={external}\nFROM ${{BASE}}\n"),
            format!("FROM scratch\nCOPY --from={external} /who /who\n"),
        ] {
            for (locked, who) in [(vec![locked.clone()], "old\n"), (Vec::new(), "new\n")] {
                let request = Request { locked, ..bench.request(&dockerfile) };
                let built = bench.build(&request).unwrap_or_else(|it| panic!("{dockerfile}{it:?}"));
                assert_eq!(bench.text(built.output.id.as_str(), "who"), who, "{dockerfile}");
            }
        }
    });
}

#[test]
fn a_base_that_moves_in_its_registry_rebuilds_exactly_what_reads_it_once_that_is_said() {
    let Some(registry) = registry() else { return };
    Bench::each(|bench| {
        let external = format!("{registry}/{}/{}:moves", bench.tag, bench.place());
        let (old, new) = (bench.image("old"), bench.image("new"));
        bench.publish(&old, &external);
        let tree = bench.workspace(&format!(
            "
            //- images/base/Dockerfile
            FROM {external}
            //- images/child/Dockerfile
            FROM @/base
            RUN cp /who /copy
            //- images/other/Dockerfile
            FROM scratch
            WORKDIR /x
            "
        ));
        bench.imgraph(&tree, "update").exits(0).mentions("base, and 1 image on it");
        let outcome = bench.rebuild(&tree, "--locked --json").exits(0);
        assert_eq!(outcome.ends(), ["base built", "child built", "other built"]);
        bench.publish(&new, &external);
        bench.rebuild(&tree, "").exits(0).mentions("nothing to do");
        bench.imgraph(&tree, "update").exits(0).mentions("imgraph.lock: 1 moved");
        let outcome = bench.rebuild(&tree, "--json").exits(0);
        assert_eq!(outcome.ends(), ["base built", "child built"]);
        let child = bench.id_of(&format!("{}/child:latest", bench.tag)).unwrap();
        assert_eq!(bench.text(&child, "copy"), "new\n");
        bench.rebuild(&tree, "").exits(0).mentions("nothing to do");
    });
}

/// A registry that lets nobody in, and notes what it was shown.
struct Doorman {
    host: String,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Doorman {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shown: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&shown);
        // They end with the process of the tests.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let noted = Arc::clone(&noted);
                thread::spawn(move || refuse(&mut stream.unwrap(), &noted));
            }
        });
        Self { host, shown }
    }
}

/// Answers one request. A daemon tries TLS first, and is answered without it.
fn refuse(stream: &mut TcpStream, shown: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") && request.first() != Some(&0x16) {
        match stream.read(&mut bytes) {
            Ok(length @ 1..) => request.extend_from_slice(&bytes[..length]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request);
    let credential = request.lines().find_map(|line| line.strip_prefix("Authorization: "));
    shown.lock().unwrap().extend(credential.map(str::to_owned));
    // Where a registry says that it does not know somebody whom it knows, Docker asks for a minute.
    let (status, code) = match credential {
        None => ("401 Unauthorized", "UNAUTHORIZED"),
        Some(_) => ("403 Forbidden", "DENIED"),
    };
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"not you"}}]}}"#);
    let head = format!(
        "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"tests\"\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let body = if request.starts_with("HEAD") { "" } else { &body };
    write!(stream, "{head}{body}").unwrap_or_default();
}

#[test]
fn credentials_are_shown_and_where_they_are_refused_that_is_said() {
    Bench::each(|bench| {
        let doorman = Doorman::new();
        let reference = format!("{}/{}/x:1", doorman.host, bench.tag);
        let image = bench.image("x");
        bench.engine.tag(&image, std::slice::from_ref(&reference)).unwrap();
        let auth = "dXNlcjpwYXNzd29yZA=="; // user:password
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, doorman.host);
        let elsewhere = format!("FROM {}/{}/y:1\nWORKDIR /x\n", doorman.host, bench.tag);
        for config in [None, Some(config.as_str())] {
            let environment: Vec<_> =
                config.map(|config| ("DOCKER_AUTH_CONFIG", config)).into_iter().collect();
            let engine = engine(&bench.daemon, bench.home.path(), &environment);
            let pushed = engine.push(
                &image,
                std::slice::from_ref(&reference),
                &Cancel::default(),
                &mut |_| {},
            );
            assert!(matches!(pushed, Err(EngineError::Auth(_))), "{pushed:?}");
            let was_shown = |what: &str| {
                let shown = std::mem::take(&mut *doorman.shown.lock().unwrap());
                let expected = format!("Basic {auth}");
                assert_eq!(shown.contains(&expected), config.is_some(), "{what}: {shown:?}");
            };
            was_shown("push");
            let request = bench.request(&elsewhere);
            let built = engine.build(&request, &Cancel::default(), &mut |_| {});
            assert!(matches!(built, Err(EngineError::Auth(_))), "{built:?}");
            was_shown("pull");
        }
    });
}
