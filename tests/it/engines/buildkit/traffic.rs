//! How much is asked of a daemon, counted on the way to it.

use std::borrow::Cow;
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
    /// Requests that are not handed on, by a part of their first line: each once.
    troubles: Mutex<Vec<(&'static str, Trouble)>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its connection ends.
    Cut,
    /// It is never answered.
    Silence,
}

impl Proxy {
    pub(super) fn new(bench: &Bench) -> Self {
        Self::with(bench, |bytes| Cow::Borrowed(bytes))
    }

    /// One through which the files of the store are not found: so that images are exported.
    pub(super) fn without_files(bench: &Bench) -> Self {
        Self::with(bench, hidden)
    }

    fn with(bench: &Bench, answers: for<'b> fn(&'b [u8]) -> Cow<'b, [u8]>) -> Self {
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
                thread::spawn(move || pass(from, to, move |bytes| Some(answers(bytes))));
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

    /// Says what becomes of the next request with these words in its first line.
    pub(super) fn troubles(&self, words: &'static str, trouble: Trouble) {
        self.noted.troubles.lock().unwrap().push((words, trouble));
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
    /// What is handed on; `None` ends the connection.
    fn requests<'b>(&self, bytes: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1")) {
            let what = line.split('?').next().unwrap_or(line);
            self.requests.lock().unwrap().push(what.to_owned());
            let mut troubles = self.troubles.lock().unwrap();
            if let Some(row) = troubles.iter().position(|(words, _)| line.contains(words)) {
                return match troubles.remove(row).1 {
                    Trouble::Cut => None,
                    Trouble::Silence => Some(Cow::Borrowed(&[])),
                };
            }
        }
        Some(Cow::Borrowed(bytes))
    }
}

/// An answer of the daemon that does not say where its files are: so that they are asked for.
fn hidden(bytes: &[u8]) -> Cow<'_, [u8]> {
    const SAID: &[u8] = b"\"DockerRootDir\":\"/";
    let Some(at) = bytes.windows(SAID.len()).position(|words| words == SAID) else {
        return Cow::Borrowed(bytes);
    };
    let mut bytes = bytes.to_vec();
    bytes[at + SAID.len() - 1] = b'-';
    Cow::Owned(bytes)
}

/// Hands bytes on until one side has ended.
fn pass(
    mut from: UnixStream,
    mut to: UnixStream,
    note: impl for<'b> Fn(&'b [u8]) -> Option<Cow<'b, [u8]>>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => {
                let Some(bytes) = note(&bytes[..length]) else { break };
                if to.write_all(&bytes).is_err() {
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

#[test]
fn an_image_that_is_built_and_then_cannot_be_named_or_asked_for_is_taken_away() {
    Bench::each(|bench| {
        let proxy = Proxy::new(bench);
        let daemon = Daemon { socket: proxy.socket.clone(), ..bench.daemon.clone() };
        let engine = engine(&daemon, bench.home.path(), &[]);
        let before = bench.images();
        for (number, words) in ["/tag?", "/json"].into_iter().enumerate() {
            let dockerfile = format!("FROM @busybox\nENV A={number}\n");
            let references = vec![bench.named("@/a:1")];
            let request = Request { references, ..bench.request(&dockerfile) };
            proxy.troubles(words, Trouble::Cut);
            let ended = engine.build(&request, &Cancel::default(), &mut |_| {});
            assert!(matches!(ended, Err(EngineError::Unavailable(_))), "{words}: {ended:?}");
            assert_eq!(bench.images(), before, "{words}");
        }
    });
}

#[test]
fn an_export_that_is_waited_for_can_be_cancelled() {
    Bench::each(|bench| {
        let proxy = Proxy::without_files(bench);
        let daemon = Daemon { socket: proxy.socket.clone(), ..bench.daemon.clone() };
        let engine = engine(&daemon, bench.home.path(), &[]);
        let built = engine.build(
            &bench.request("FROM @busybox\nENV A=1\n"),
            &Cancel::default(),
            &mut |_| {},
        );
        proxy.troubles("/get", Trouble::Silence);
        let cancel = Cancel::default();
        let raised = cancel.clone();
        thread::scope(|scope| {
            let content =
                scope.spawn(|| engine.content(&built.unwrap(), &BTreeMap::new(), &cancel));
            let since = Instant::now();
            while !proxy.requests().iter().any(|request| request.ends_with("/get")) {
                assert!(since.elapsed() < Duration::from_secs(10), "it is not exported");
                thread::sleep(Duration::from_millis(20)); // the proxy tells nobody
            }
            raised.raise();
            assert!(matches!(content.join().unwrap(), Err(EngineError::Cancelled)));
            assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
        });
    });
}
