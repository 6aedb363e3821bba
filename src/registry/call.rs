//! One question to a registry: shown who we are, led where it says, asked again where that may help.
//!
//! Source: OCI distribution-spec; RFC 9110 for redirects and `Retry-After`. What is secret goes to
//! the registry itself and to nobody whom it redirects to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock;
use crate::digest::OciDigest;
use crate::dockerconfig::credentials::Credentials;
use crate::reference::Reference;
use crate::registry::auth::{Identity, Scope, intent};
use crate::registry::body::Payload;
use crate::registry::cache::Cache;
use crate::registry::challenge;
use crate::registry::error::{RegistryError, Trouble, words};
use crate::registry::host::{Origin, Place, Terms};
use crate::registry::location::Location;
use crate::registry::wire::{Incomplete, Outgoing, Wire, WireError};

/// How long is waited before a question is asked again.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// A registry that wants us to wait longer is not available, in seconds.
const LONGEST_WAIT: u64 = 60;
/// How often a question is led elsewhere.
const MOST_REDIRECTS: usize = 5;
/// How much of an answer is read that only says why there is none.
const LARGEST_REFUSAL: usize = 64 * 1024;
/// How imgraph is called to servers.
const AGENT: &str = concat!("imgraph/", env!("CARGO_PKG_VERSION"));

/// What all calls of a process share.
pub(crate) struct Client {
    pub(crate) credentials: Credentials,
    pub(crate) terms: Terms,
    pub(crate) cache: Option<Cache>,
    pub(crate) wire: Wire,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
}

/// A registry.
pub(crate) struct Host {
    pub(crate) place: Place,
    origin: OnceCell<Origin>,
    identity: Identity,
    /// The blobs that it was seen to have, and in which repositories.
    pub(crate) seen: Mutex<BTreeMap<OciDigest, BTreeSet<String>>>,
}

/// A repository of a registry, and whom to tell what takes time.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) client: Arc<Client>,
    pub(crate) host: Arc<Host>,
    pub(crate) path: String,
    pub(crate) notes: UnboundedSender<String>,
}

/// A request to somebody who is not asked who we are.
#[derive(Default)]
pub(crate) struct Plain {
    pub(crate) origin: Origin,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) payload: Payload,
    pub(crate) content_type: Option<&'static str>,
    /// What it shall allow: `push to acme/base`.
    pub(crate) action: String,
}

/// A question to a registry.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) to: To,
    pub(crate) headers: Vec<(header::HeaderName, String)>,
    pub(crate) payload: Payload,
    pub(crate) scope: Scope,
    /// What is wanted, for people: `manifest acme/base:1`.
    pub(crate) what: String,
}

/// Where a question goes.
#[derive(Clone)]
pub(crate) enum To {
    /// Below the repository, for example `tags/list`.
    Below(String),
    /// Where the registry has sent us.
    Led(Location),
}

/// An answer that is one, with the place that it came from.
pub(crate) struct Answered {
    pub(crate) incomplete: Incomplete,
    pub(crate) from: Location,
}

impl Default for Origin {
    fn default() -> Self {
        Self { tls: true, host: String::new(), port: 0 }
    }
}

impl Client {
    pub(crate) fn new(
        credentials: Credentials,
        terms: Terms,
        cache: Option<Cache>,
        wire: Wire,
    ) -> Self {
        Self { credentials, terms, cache, wire, hosts: Mutex::default() }
    }

    /// The repository of a reference.
    pub(crate) fn repository(
        self: &Arc<Self>,
        reference: &Reference,
        notes: UnboundedSender<String>,
    ) -> Result<Repository, RegistryError> {
        if reference.domain.is_empty() {
            let why = "it names no registry".to_owned();
            return Err(RegistryError::Reference { reference: reference.to_string(), why });
        }
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(reference.domain.clone()).or_insert_with(|| {
            Arc::new(Host {
                place: self.terms.place(reference),
                origin: OnceCell::new(),
                identity: Identity::default(),
                seen: Mutex::default(),
            })
        });
        let (client, host, path) = (Arc::clone(self), Arc::clone(host), reference.path.clone());
        Ok(Repository { client, host, path, notes })
    }

    /// Asks somebody who is not asked who we are, once.
    pub(crate) async fn ask(
        &self,
        place: &Place,
        plain: Plain,
        limit: usize,
    ) -> Result<Bytes, Trouble> {
        let mut request = Request::builder().method(plain.method).uri(&plain.path);
        request = request.header(header::HOST, plain.origin.authority());
        if let Some(authorization) = plain.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(content_type) = plain.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let answer = self.exchange(place, &plain.origin, (request, &plain.payload)).await?;
        if answer.status.is_success() {
            let bytes = self.wire.read(answer, limit).await;
            return bytes.map_err(|error| place.trouble(error));
        }
        let trouble = self
            .refusal(place, answer, (&format!("a token to {}", plain.action), &plain.action))
            .await;
        // Who gives tokens has no images: that it is not there says nothing of them.
        Err(match trouble {
            Trouble::Final(RegistryError::Missing { registry, what }) => {
                let why = "404 Not Found".to_owned();
                Trouble::Final(RegistryError::Refused { registry, what, status: 404, why })
            }
            other => other,
        })
    }

    /// One request and the head of its answer.
    async fn exchange(
        &self,
        place: &Place,
        origin: &Origin,
        (request, payload): (hyper::http::request::Builder, &Payload),
    ) -> Result<Incomplete, Trouble> {
        let head = request.header(header::USER_AGENT, AGENT).body(());
        let head = head.map_err(|error| {
            let (registry, why) = (place.name.clone(), error.to_string());
            let what = "what we ask for".to_owned();
            Trouble::Final(RegistryError::Refused { registry, what, status: 400, why })
        })?;
        let tls = self.terms.tls(place, origin);
        let patience = place.patience;
        let sent = self.wire.send(Outgoing { origin, head, payload, patience, tls }).await;
        sent.map_err(|error| place.trouble(error))
    }

    /// What an answer means that is none.
    async fn refusal(
        &self,
        place: &Place,
        answer: Incomplete,
        (what, action): (&str, &str),
    ) -> Trouble {
        let status = answer.status;
        let after = answer.header("retry-after").and_then(seconds);
        let body = self.wire.read(answer, LARGEST_REFUSAL).await.unwrap_or_default();
        let why = words(status.as_u16(), &body);
        let (registry, what) = (place.name.clone(), what.to_owned());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let (action, name) = (action.to_owned(), &place.name);
                let help = format!("`docker login {name}` logs in");
                Trouble::Final(RegistryError::Auth { registry, action, why, help })
            }
            StatusCode::NOT_FOUND => Trouble::Final(RegistryError::Missing { registry, what }),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Trouble::Passing(RegistryError::Unavailable { registry, why }, after)
            }
            status if status.is_server_error() => {
                Trouble::Passing(RegistryError::Unavailable { registry, why }, after)
            }
            status => {
                let status = status.as_u16();
                Trouble::Final(RegistryError::Refused { registry, what, status, why })
            }
        }
    }
}

impl Place {
    /// What it means that nothing came back.
    pub(crate) fn trouble(&self, error: WireError) -> Trouble {
        let registry = self.name.clone();
        let untrusted = |why: String, help: String| {
            Trouble::Final(RegistryError::Untrusted { registry: registry.clone(), why, help })
        };
        match error {
            WireError::Certificate(why) => {
                let help = format!("its authority can stand in docker's certs.d/{registry}/ca.crt");
                untrusted(why, help)
            }
            WireError::NoTls => untrusted(
                "it does not speak TLS".to_owned(),
                format!(
                    "`insecure = true` in a [[registry]] of layers.toml allows that for {registry}"
                ),
            ),
            error => self.unavailable(error.to_string()),
        }
    }

    /// A registry that cannot be asked now.
    pub(crate) fn unavailable(&self, why: String) -> Trouble {
        Trouble::Passing(RegistryError::Unavailable { registry: self.name.clone(), why }, None)
    }
}

impl Host {
    /// Where it is, and whether by TLS: found out once.
    async fn origin(&self, client: &Client) -> Result<&Origin, Trouble> {
        let find = || async {
            let secured = self.place.origin(true);
            if !self.place.is_lenient {
                return Ok(secured);
            }
            let tls = client.terms.tls(&self.place, &secured);
            let speaks = client.wire.speaks_tls(&secured, &tls).await;
            let speaks = speaks.map_err(|error| self.place.trouble(error))?;
            Ok(self.place.origin(speaks))
        };
        self.origin.get_or_try_init(find).await
    }
}

impl Repository {
    /// What reading takes.
    pub(crate) fn reading(&self) -> Scope {
        Scope::from([format!("repository:{}:pull", self.path)])
    }

    /// What writing takes.
    pub(crate) fn writing(&self) -> Scope {
        Scope::from([format!("repository:{}:pull,push", self.path)])
    }

    /// Tries until it works, a few times.
    pub(crate) async fn patiently<T, F>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let mut waits = WAITS.iter();
        loop {
            let trouble = match attempt().await {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            let (error, wait) = match (trouble, waits.next()) {
                (Trouble::Passing(error, after), Some(wait)) => {
                    (error, after.map_or(*wait, |after| Duration::from_secs(after).max(*wait)))
                }
                (trouble, _) => return Err(trouble.into_error()),
            };
            if wait.as_secs() > LONGEST_WAIT {
                let why = match error {
                    RegistryError::Unavailable { why, .. } => why,
                    other => other.to_string(),
                };
                let registry = self.host.place.name.clone();
                let why = format!("{why}; it wants us to wait for {} s", wait.as_secs());
                return Err(RegistryError::Unavailable { registry, why });
            }
            let note = format!("{error}; asking again in {} s", wait.as_secs_f64());
            self.notes.send(note).unwrap_or_default();
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks once, and follows where the registry leads.
    pub(crate) async fn attempt(&self, ask: &Ask) -> Result<Answered, Trouble> {
        let (client, place) = (&*self.client, &self.host.place);
        let home = self.host.origin(client).await?;
        let mut at = match &ask.to {
            To::Below(path) => {
                let path = format!("/v2/{}/{path}", self.path);
                Location { origin: home.clone(), path }
            }
            To::Led(location) => location.clone(),
        };
        let (mut redirects, mut was_asked, mut scope) = (0, false, ask.scope.clone());
        loop {
            let mut request = Request::builder().method(&ask.method).uri(&at.path);
            request = request.header(header::HOST, at.origin.authority());
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            let mut shown = None;
            if at.origin == *home {
                let secret = home.tls || place.is_lenient;
                let to_show = (place, &scope);
                shown = self.host.identity.authorization(client, to_show, secret).await?;
            }
            if let Some(shown) = &shown {
                request = request.header(header::AUTHORIZATION, shown);
            }
            let answer = client.exchange(place, &at.origin, (request, &ask.payload)).await?;
            let status = answer.status;
            if status.is_success() {
                return Ok(Answered { incomplete: answer, from: at });
            }
            if status.is_redirection() {
                redirects += 1;
                at = self.redirected(ask, &at, (&answer, redirects))?;
                client.wire.read(answer, LARGEST_REFUSAL).await.unwrap_or_default();
            } else if status == StatusCode::UNAUTHORIZED && at.origin == *home && !was_asked {
                was_asked = true;
                let challenges = answer.headers.get_all(header::WWW_AUTHENTICATE).iter();
                let challenges = challenges.filter_map(|value| value.to_str().ok());
                let Some(challenge) = challenge::best(challenges) else {
                    return Err(self.refused(ask, answer).await);
                };
                if let Some(shown) = &shown {
                    self.host.identity.forget(&scope, shown);
                }
                self.host.identity.learn(challenge, &mut scope);
                client.wire.read(answer, LARGEST_REFUSAL).await.unwrap_or_default();
            } else {
                return Err(self.refused(ask, answer).await);
            }
        }
    }

    async fn refused(&self, ask: &Ask, answer: Incomplete) -> Trouble {
        let (client, place) = (&*self.client, &self.host.place);
        let trouble = client.refusal(place, answer, (&ask.what, &intent(&ask.scope))).await;
        match trouble {
            Trouble::Final(RegistryError::Auth { registry, action, why, help })
                if self.host.identity.has_login(client, place).await =>
            {
                let had = format!("the login for {registry} is not enough");
                let help = if why.starts_with("401") { help } else { had };
                Trouble::Final(RegistryError::Auth { registry, action, why, help })
            }
            trouble => trouble,
        }
    }

    fn redirected(
        &self,
        ask: &Ask,
        at: &Location,
        (answer, redirects): (&Incomplete, usize),
    ) -> Result<Location, Trouble> {
        let refused = |why: &str| {
            let (registry, what) = (self.host.place.name.clone(), ask.what.clone());
            let (status, why) =
                (answer.status.as_u16(), format!("{} {why}", answer.status.as_u16()));
            Trouble::Final(RegistryError::Refused { registry, what, status, why })
        };
        let reads = matches!(ask.method, Method::GET | Method::HEAD);
        let keeps = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT];
        if !reads && !keeps.contains(&answer.status) {
            return Err(refused("a redirect that does not keep what is sent"));
        }
        if redirects > MOST_REDIRECTS {
            return Err(refused("redirects without end"));
        }
        let led = answer.header("location").and_then(|text| at.resolve(text));
        let led = led.ok_or_else(|| refused("a redirect to nowhere"))?;
        if at.origin.tls && !led.origin.tls && !led.origin.is_loopback() {
            return Err(refused("a redirect away from TLS"));
        }
        Ok(led)
    }
}

/// `Retry-After`: seconds, or a date.
fn seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(seconds);
    }
    let then = httpdate::parse_http_date(text.trim()).ok()?;
    let then = then.duration_since(UNIX_EPOCH).ok()?.as_millis();
    let wait = u64::try_from(then).ok()?.saturating_sub(clock::now());
    Some(wait.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_seconds_or_a_date() {
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:10 GMT"), Some(0));
        assert!(seconds("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > 1_000_000);
        assert_eq!(seconds("soon"), None);
    }
}
