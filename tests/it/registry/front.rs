//! A server in front of a registry: it notes what it is asked, wants to be shown a login or a token
//! where a test says so, and spoils single answers. Behind it is a real registry, or one in memory.
//!
//! It speaks just enough HTTP: one thread a connection.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::memory::Memory;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `GET /v2/a/manifests/1`
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// As registries say no.
    pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        Self::new(status).with("content-type", "application/json").body(body)
    }
}

/// What is wrong with an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is this one.
    Answer(Response),
    /// It comes late.
    Slow(Duration),
    /// It never comes.
    Silent,
    /// Only so much of its body comes.
    Cut(usize),
    /// The connection breaks after so much of the request's body, which has got through.
    CutRequest(usize),
    /// Its body is another one of the same length.
    Spoilt,
    /// It is the answer to the same without a query.
    Unheard,
    /// A header is another one.
    Header(&'static str, &'static str),
}

/// What has to be shown.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// This `Authorization`.
    Basic(String),
    /// A token, which is given to who shows this `Authorization`, or to everybody.
    Token(Option<String>),
}

type Rule = (Box<dyn Fn(&Request) -> bool + Send>, Fault, usize);

#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    asked: Mutex<Vec<Request>>,
    guard: Mutex<Option<Guard>>,
    connections: Mutex<usize>,
}

/// The server. Its threads end with the process of the tests.
pub(crate) struct Front {
    /// As references have it.
    pub(crate) host: String,
    state: Arc<State>,
}

/// What is behind it.
#[derive(Clone)]
pub(crate) enum Behind {
    Registry(String),
    Memory(Arc<Memory>),
}

impl Front {
    pub(crate) fn new(behind: Behind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state: Arc<State> = Arc::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, behind) = (Arc::clone(&shared), behind.clone());
                *shared.connections.lock().unwrap() += 1;
                thread::spawn(move || serve(stream.unwrap(), &shared, &behind));
            }
        });
        Self { host, state }
    }

    /// Spoils so many of the answers to matching requests.
    pub(crate) fn spoils(
        &self,
        times: usize,
        fault: Fault,
        is_it: impl Fn(&Request) -> bool + Send + 'static,
    ) {
        self.state.rules.lock().unwrap().push((Box::new(is_it), fault, times));
    }

    /// Has no more faults.
    pub(crate) fn is_well(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    pub(crate) fn wants(&self, guard: Guard) {
        *self.state.guard.lock().unwrap() = Some(guard);
    }

    /// What was asked since the last time, without what only found out about TLS.
    pub(crate) fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.state.asked.lock().unwrap())
    }

    /// How many requests were asked since the last time that begin like this.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|request| request.line().starts_with(line)).count()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }
}

fn serve(stream: TcpStream, state: &State, behind: &Behind) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    // One that begins with TLS is told that this is none.
    if reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&0x16)) {
        stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap_or_default();
        return;
    }
    while let Some((mut request, length)) = head(&mut reader) {
        let fault = fault(state, &request);
        let chunks = request.headers.remove("transfer-encoding").map(|_| chunks(&mut reader));
        let read = match fault {
            Some(Fault::CutRequest(limit)) => length.min(limit),
            _ => length,
        };
        request.body = vec![0; read];
        match chunks {
            Some(None) => return,
            Some(Some(body)) => {
                request.headers.insert("content-length".to_owned(), body.len().to_string());
                request.body = body;
            }
            None if reader.read_exact(&mut request.body).is_err() => return,
            None => (),
        }
        state.asked.lock().unwrap().push(request.clone());
        if let Some(Fault::CutRequest(_)) = fault {
            request.headers.insert("content-length".to_owned(), length.to_string());
            behind.answer(&request, state);
            stream.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
        let Some((response, cut)) = answer(&request, (state, behind), fault) else {
            // Until the client has gone.
            reader.read(&mut [0]).unwrap_or_default();
            return;
        };
        if write(&mut stream, &request, (&response, cut)).is_err() || cut.is_some() {
            stream.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
    }
}

/// The head of a request, and how long its body is.
fn head(reader: &mut BufReader<TcpStream>) -> Option<(Request, usize)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    Some((Request { method, path, headers, body: Vec::new() }, length))
}

/// A body that comes in pieces, as engines send layers; none where it breaks off.
fn chunks(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
        let begin = body.len();
        // Each is followed by the end of a line.
        body.resize(begin + length + 2, 0);
        reader.read_exact(&mut body[begin..]).ok()?;
        body.truncate(begin + length);
        if length == 0 {
            return Some(body);
        }
    }
}

fn fault(state: &State, request: &Request) -> Option<Fault> {
    let mut rules = state.rules.lock().unwrap();
    let (_, fault, times) =
        rules.iter_mut().find(|(is_it, _, times)| *times > 0 && is_it(request))?;
    *times -= 1;
    Some(fault.clone())
}

/// The answer, and how much of its body comes if not all does; none where none ever comes.
fn answer(
    request: &Request,
    (state, behind): (&State, &Behind),
    fault: Option<Fault>,
) -> Option<(Response, Option<usize>)> {
    let real = || behind.answer(request, state);
    Some(match fault {
        None => (real(), None),
        Some(Fault::Answer(response)) => (response, None),
        Some(Fault::Slow(time)) => {
            let late = real();
            // Nobody sends anything here.
            std::sync::mpsc::channel::<()>().1.recv_timeout(time).unwrap_or_default();
            (late, None)
        }
        Some(Fault::Silent) => return None,
        Some(Fault::Unheard) => {
            let path = request.path.split('?').next().unwrap_or_default().to_owned();
            (behind.answer(&Request { path, ..request.clone() }, state), None)
        }
        Some(Fault::Cut(length)) => (real(), Some(length)),
        Some(Fault::CutRequest(_)) => unreachable!("it has no answer"),
        Some(Fault::Spoilt) => {
            let mut response = real();
            // JSON stays JSON.
            let blank = response.body.iter().position(|byte| *byte == b' ');
            match blank {
                Some(at) => response.body[at] = b'\n',
                None => response.body.reverse(),
            }
            (response, None)
        }
        Some(Fault::Header(name, value)) => (real().with(name, value), None),
    })
}

fn write(
    stream: &mut TcpStream,
    request: &Request,
    (response, cut): (&Response, Option<usize>),
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {} Something\r\n", response.status);
    let mut headers = response.headers.clone();
    if request.method != "HEAD" {
        headers.insert("content-length".to_owned(), response.body.len().to_string());
    }
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        let whole = response.body.len();
        stream.write_all(&response.body[..cut.unwrap_or(whole).min(whole)])?;
    }
    stream.flush()
}

impl Behind {
    fn answer(&self, request: &Request, state: &State) -> Response {
        if let Some(guard) = &*state.guard.lock().unwrap()
            && let Some(refusal) = guard.judge(request)
        {
            return refusal;
        }
        match self {
            Self::Memory(memory) => memory.answer(request),
            Self::Registry(host) => forward(host, request),
        }
    }
}

impl Guard {
    fn judge(&self, request: &Request) -> Option<Response> {
        let shown = request.header("authorization");
        let refusal = Response::refusal(401, "UNAUTHORIZED", "authentication required");
        match self {
            Self::Basic(wanted) if shown == wanted => None,
            Self::Basic(_) => Some(refusal.with("www-authenticate", "Basic realm=\"tests\"")),
            Self::Token(wanted) if request.path.starts_with("/token") => Some(match wanted {
                Some(wanted) if shown != wanted => refusal,
                _ => Response::new(200).body(format!(r#"{{"token":"{}"}}"#, token(request))),
            }),
            Self::Token(_) => {
                let scope = scope(request);
                // What may be pushed to may be read.
                let is_given = shown
                    .strip_prefix("Bearer ")
                    .is_some_and(|token| token.split('+').any(|given| given.starts_with(&*scope)));
                let challenge = format!(
                    r#"Bearer realm="http://{}/token",service="tests",scope="{scope}""#,
                    request.header("host")
                );
                (!is_given).then(|| refusal.with("www-authenticate", challenge))
            }
        }
    }
}

/// A token that says what it allows.
fn token(request: &Request) -> String {
    let (_, query) = request.path.split_once('?').unwrap();
    let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    let scopes: Vec<String> =
        scopes.map(|it| it.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",")).collect();
    scopes.join("+")
}

/// What a request takes.
fn scope(request: &Request) -> String {
    let path = request.path.trim_start_matches("/v2/");
    let end = ["/manifests/", "/blobs/", "/tags/"].iter().filter_map(|part| path.find(part)).min();
    let repository = &path[..end.unwrap_or(path.len())];
    let reads = ["GET", "HEAD"].contains(&&*request.method) && !path.contains("/uploads/");
    format!("repository:{repository}:{}", if reads { "pull" } else { "pull,push" })
}

/// Asks a real registry, on a connection of its own.
fn forward(host: &str, request: &Request) -> Response {
    let mut stream = TcpStream::connect(host).unwrap();
    let mut head = format!("{} HTTP/1.1\r\n", request.line());
    for (name, value) in &request.headers {
        if name != "connection" {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
    }
    write!(stream, "{head}connection: close\r\n\r\n").unwrap();
    stream.write_all(&request.body).unwrap();
    if request
        .header("content-length")
        .parse()
        .is_ok_and(|length: usize| length > request.body.len())
    {
        // It is to notice that the rest does not come.
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split_whitespace().nth(1).map_or(502, |status| status.parse().unwrap());
    let mut response = Response::new(status);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        response.headers.insert(name.to_lowercase(), value.to_owned());
    }
    response.headers.remove("connection");
    reader.read_to_end(&mut response.body).unwrap();
    if response.headers.remove("transfer-encoding").is_some() {
        response.body = unchunked(&response.body);
    }
    response
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
        let length =
            usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 4 + length..];
    }
}
