//! How much is asked of a daemon, counted on the way to it.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

/// A socket that leads to a daemon, and notes what goes through.
pub(super) struct Proxy {
    pub(super) socket: PathBuf,
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    /// The first lines of requests, with what they ask and without what they ask for: `GET /info`.
    requests: Mutex<Vec<String>>,
    open: AtomicUsize,
    is_over: AtomicBool,
}

impl Proxy {
    pub(super) fn new(bench: &Bench) -> Self {
        let socket = bench.home.path().join("proxy.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let noted: Arc<Noted> = Arc::default();
        let (daemon, kept) = (bench.daemon.socket.clone(), Arc::clone(&noted));
        thread::spawn(move || {
            for client in listener.incoming() {
                if noted.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.unwrap();
                let daemon = UnixStream::connect(&daemon).unwrap();
                noted.open.fetch_add(1, Ordering::SeqCst);
                let (from, to) = (daemon.try_clone().unwrap(), client.try_clone().unwrap());
                let noted = Arc::clone(&noted);
                thread::spawn(move || pass(from, to, |_| ()));
                thread::spawn(move || {
                    pass(client, daemon, |bytes| noted.requests(bytes));
                    noted.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { socket, noted: kept }
    }

    /// What was asked since the last time.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.noted.requests.lock().unwrap())
    }

    fn open(&self) -> usize {
        self.noted.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.noted.is_over.store(true, Ordering::SeqCst);
        UnixStream::connect(&self.socket).map(drop).unwrap_or_default();
    }
}

impl Noted {
    fn requests(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1")) {
            let what = line.split('?').next().unwrap_or(line);
            self.requests.lock().unwrap().push(what.to_owned());
        }
    }
}

/// Hands bytes on until one side has ended.
fn pass(mut from: UnixStream, mut to: UnixStream, note: impl Fn(&[u8])) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => {
                note(&bytes[..length]);
                if to.write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(_) => break,
        }
    }
    // The other direction ends, too.
    to.shutdown(Shutdown::Both).unwrap_or_default();
    from.shutdown(Shutdown::Both).unwrap_or_default();
}

#[test]
fn a_run_without_work_asks_the_daemon_once() {
    Bench::each(|bench| {
        let proxy = Proxy::new(bench);
        let tree = bench.workspace(
            "
            //- images/a/Dockerfile
            FROM scratch
            COPY f /
            //- images/a/f
            //- images/b/Dockerfile
            FROM @/a
            COPY f /g
            //- images/b/f
            //- images/c/Dockerfile
            FROM @/a
            COPY --from=@/b /g /
            ",
        );
        let run = || {
            let command = Bench::command(&tree, "rebuild --jobs=1", &proxy.socket);
            tree.start_command(command).finish().exits(0)
        };
        run().mentions("3 planned · 3 built");
        proxy.requests();
        run().says("nothing to do: 3 images are up to date  [TIME]\n");
        assert_eq!(proxy.requests(), ["GET /images/json"]);
    });
}

#[test]
fn connections_do_not_pile_up() {
    Bench::each(|bench| {
        let proxy = Proxy::new(bench);
        let daemon = Daemon { socket: proxy.socket.clone(), ..bench.daemon.clone() };
        let engine = engine(&daemon, bench.home.path(), &[]);
        let build = |number: usize| {
            let request = bench.request(&format!("FROM @busybox\nENV A={number}\n"));
            engine.build(&request, &Cancel::default(), &mut |_| {}).unwrap();
        };
        let settled = |at_most: usize| {
            let since = Instant::now();
            while proxy.open() > at_most {
                assert!(since.elapsed() < Duration::from_secs(10), "{} are open", proxy.open());
                thread::sleep(Duration::from_millis(20)); // a connection ends when it ends
            }
        };
        (0..8).for_each(build);
        settled(3); // for calls of the API, for calls of BuildKit, and a session where one is kept
        drop(engine);
        settled(0);
    });
}
