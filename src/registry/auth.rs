//! Who we are to a registry: its login, and the tokens that it was exchanged for.
//!
//! Source: distribution `docs/spec/auth/token.md`, `oauth.md`, `scope.md`. A registry says with its
//! first 401 what it wants to be shown; from then on it is shown that at once. Tokens are kept by
//! what they allow, until a little before they end. A login is asked for again after a few minutes,
//! because helpers give out what expires.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{Method, Uri};
use serde::Deserialize;
use tokio::sync::Mutex as AsyncMutex;

use crate::clock::Timer;
use crate::dockerconfig::credentials::{Credential, Credentials};
use crate::registry::body::Payload;
use crate::registry::call::{Client, Plain};
use crate::registry::challenge::Challenge;
use crate::registry::error::{RegistryError, Trouble};
use crate::registry::host::{Origin, Place};

/// How long a login holds, in milliseconds.
const LOGIN: u64 = 4 * 60 * 1000;
/// How long a token holds that does not say, in seconds (`token.md`).
const USUAL: u64 = 60;
/// So long before its end a token is used no more, in seconds, if it has as much.
const MARGIN: u64 = 10;
/// No token weighs more.
const LARGEST_TOKEN: usize = 1024 * 1024;

/// What a registry is asked to allow: `repository:acme/base:pull,push`.
pub(crate) type Scope = BTreeSet<String>;

/// The identity of one registry.
#[derive(Default)]
pub(crate) struct Identity {
    /// What it wants to be shown, once it has said so.
    challenge: Mutex<Option<Challenge>>,
    login: AsyncMutex<Option<(Timer, Option<Credential>)>>,
    tokens: Mutex<BTreeMap<Scope, Arc<AsyncMutex<Option<Token>>>>>,
}

struct Token {
    text: String,
    since: Timer,
    /// How long it holds, in milliseconds.
    holds: u64,
}

/// What the giver of tokens answers.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Identity {
    /// Notes what the registry wants to be shown. What this one question takes, as the registry says,
    /// is added to its scope.
    pub(crate) fn learn(&self, mut challenge: Challenge, scope: &mut Scope) {
        if let Challenge::Bearer { scope: asked, .. } = &mut challenge {
            for asked in asked.take().iter().flat_map(|asked| asked.split_whitespace()) {
                if !scope.iter().any(|had| covers(had, asked)) {
                    scope.insert(asked.to_owned());
                }
            }
        }
        *lock(&self.challenge) = Some(challenge);
    }

    /// Forgets a token that the registry did not take, if it is still the one that is kept.
    pub(crate) fn forget(&self, scope: &Scope, shown: &str) {
        let slot = lock(&self.tokens).get(scope).cloned();
        // Where it is locked a new one is on its way.
        if let Some(slot) = slot
            && let Ok(mut slot) = slot.try_lock()
            && slot.as_ref().is_some_and(|token| shown.ends_with(&*token.text))
        {
            *slot = None;
        }
    }

    /// The value of `Authorization`; none where the registry has not asked for any, or nobody has
    /// logged in. `secret` says whether the connection keeps one.
    pub(crate) async fn authorization(
        &self,
        client: &Client,
        (place, scope): (&Place, &Scope),
        secret: bool,
    ) -> Result<Option<String>, Trouble> {
        let Some(challenge) = lock(&self.challenge).clone() else { return Ok(None) };
        if !secret {
            return Err(Trouble::Final(unsafe_login(place)));
        }
        match challenge {
            Challenge::Basic => {
                let login = self.login(client, place).await?;
                Ok(login.as_ref().and_then(basic))
            }
            Challenge::Bearer { realm, service, .. } => {
                let giver = Giver { realm: &realm, service: service.as_deref() };
                let token = self.token(client, place, (giver, scope)).await?;
                Ok(Some(format!("Bearer {token}")))
            }
        }
    }

    /// Whether somebody has logged in.
    pub(crate) async fn has_login(&self, client: &Client, place: &Place) -> bool {
        self.login(client, place).await.is_ok_and(|login| login.is_some())
    }

    async fn login(&self, client: &Client, place: &Place) -> Result<Option<Credential>, Trouble> {
        let mut login = self.login.lock().await;
        if let Some((since, known)) = &*login
            && since.elapsed() < LOGIN
        {
            return Ok(known.clone());
        }
        let credentials: Credentials = client.credentials.clone();
        let name = place.name.clone();
        // A helper is a program.
        let asked = tokio::task::spawn_blocking(move || credentials.for_host(&name)).await;
        let asked = asked.map_err(|error| place.unavailable(error.to_string()))?;
        let found = asked.map_err(|error| Trouble::Final(error.into()))?;
        *login = Some((Timer::start(), found.clone()));
        Ok(found)
    }

    async fn token(
        &self,
        client: &Client,
        place: &Place,
        (giver, scope): (Giver<'_>, &Scope),
    ) -> Result<String, Trouble> {
        let slot = Arc::clone(lock(&self.tokens).entry(scope.clone()).or_default());
        // Whoever wants the same one waits for it.
        let mut slot = slot.lock().await;
        if let Some(token) = &*slot
            && token.since.elapsed() < token.holds
        {
            return Ok(token.text.clone());
        }
        let login = self.login(client, place).await?;
        if let Some(given) = login.as_ref().and_then(|login| login.registry_token.clone()) {
            return Ok(given);
        }
        let token = giver.ask(client, place, (scope, login.as_ref())).await?;
        let text = token.text.clone();
        *slot = Some(token);
        Ok(text)
    }
}

/// Who gives tokens.
#[derive(Clone, Copy)]
struct Giver<'a> {
    realm: &'a str,
    service: Option<&'a str>,
}

impl Giver<'_> {
    async fn ask(
        self,
        client: &Client,
        place: &Place,
        (scope, login): (&Scope, Option<&Credential>),
    ) -> Result<Token, Trouble> {
        let wrong = |why: String| {
            let (registry, what) = (place.name.clone(), "a token".to_owned());
            Trouble::from(RegistryError::Wrong { registry, what, why })
        };
        let url: Uri =
            self.realm.parse().map_err(|_| wrong(format!("`{}` is no URL", self.realm)))?;
        let origin = Origin::of(&url).ok_or_else(|| wrong(format!("`{url}` is no URL")))?;
        if login.is_some() && !origin.tls && !origin.is_loopback() && !place.is_lenient {
            return Err(Trouble::Final(unsafe_login(place)));
        }
        let identity = login.and_then(|login| login.identity_token.as_deref());
        let request = match identity {
            Some(identity) => self.refresh(&url, scope, identity),
            None => self.plain(&url, scope, login.and_then(basic)),
        };
        let since = Timer::start();
        let plain = Plain { origin, action: intent(scope), ..request };
        let bytes = client.ask(place, plain, LARGEST_TOKEN).await?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|_| wrong("the answer has none".to_owned()))?;
        let text = answer.token.filter(|text| !text.is_empty()).or(answer.access_token);
        let text = text.ok_or_else(|| wrong("the answer has none".to_owned()))?;
        let seconds = answer.expires_in.unwrap_or(USUAL);
        let seconds = seconds.saturating_sub(MARGIN.min(seconds / 2));
        Ok(Token { text, since, holds: seconds.saturating_mul(1000) })
    }

    /// `GET`, with user and password where there are some.
    fn plain(self, url: &Uri, scope: &Scope, authorization: Option<String>) -> Plain {
        let mut query = url.query().map(str::to_owned).unwrap_or_default();
        let mut add = |name: &str, value: &str| {
            let separator = if query.is_empty() { "" } else { "&" };
            write!(query, "{separator}{name}={}", escaped(value)).unwrap_or_default();
        };
        if let Some(service) = self.service {
            add("service", service);
        }
        for scope in scope {
            add("scope", scope);
        }
        let path = format!("{}?{query}", url.path());
        Plain { path, authorization, ..Plain::default() }
    }

    /// `POST`, with an identity token, which is no password (`oauth.md`).
    fn refresh(self, url: &Uri, scope: &Scope, identity: &str) -> Plain {
        let scopes: Vec<&str> = scope.iter().map(String::as_str).collect();
        let service = self.service.unwrap_or_default();
        let form = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", "imgraph"),
            ("scope", &scopes.join(" ")),
            ("refresh_token", identity),
        ];
        let form = form.map(|(name, value)| format!("{name}={}", escaped(value))).join("&");
        Plain {
            method: Method::POST,
            path: url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            payload: Payload::Bytes(form.into_bytes().into()),
            content_type: Some("application/x-www-form-urlencoded"),
            ..Plain::default()
        }
    }
}

fn basic(login: &Credential) -> Option<String> {
    let (user, secret) = (login.username.as_deref()?, login.password.as_deref()?);
    Some(format!("Basic {}", STANDARD.encode(format!("{user}:{secret}"))))
}

/// A login is shown to nobody who listens.
fn unsafe_login(place: &Place) -> RegistryError {
    RegistryError::Untrusted {
        registry: place.name.clone(),
        why: "it wants a login, and would get it in the clear".to_owned(),
        help: "it has to be spoken to by TLS".to_owned(),
    }
}

/// Whether what is allowed already includes something else.
fn covers(had: &str, asked: &str) -> bool {
    match (had.rsplit_once(':'), asked.rsplit_once(':')) {
        (Some((of, had)), Some((asked_of, asked))) => {
            of == asked_of && asked.split(',').all(|action| had.split(',').any(|it| it == action))
        }
        _ => had == asked,
    }
}

/// What a scope is for, for people: `push to acme/base`.
pub(crate) fn intent(scope: &Scope) -> String {
    // The repository that is written to comes before those that are only read.
    let writes = scope.iter().find(|scope| scope.contains("push"));
    let Some(scope) = writes.or(scope.first()) else { return "in".to_owned() };
    let repository = scope.split(':').nth(1).unwrap_or(scope);
    let verb = if writes.is_some() { "push to" } else { "read" };
    format!("{verb} {repository}")
}

/// A value of a query or a form.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").unwrap_or_default();
        }
    }
    escaped
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(texts: &[&str]) -> Scope {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_token_is_asked_for_with_every_scope_and_what_the_realm_had() {
        let url: Uri = "https://auth.example/token?account=me".parse().unwrap();
        let giver = Giver { realm: "", service: Some("r.example") };
        let scope = scope(&["repository:a:pull", "repository:b:pull,push"]);
        assert_eq!(
            giver.plain(&url, &scope, None).path,
            "/token?account=me&service=r.example&scope=repository%3Aa%3Apull\
             &scope=repository%3Ab%3Apull%2Cpush"
        );
    }

    #[test]
    fn an_identity_token_is_sent_in_a_form_and_not_as_a_password() {
        let url: Uri = "https://auth.example/token".parse().unwrap();
        let giver = Giver { realm: "", service: None };
        let plain = giver.refresh(&url, &scope(&["repository:a:pull"]), "s=1&t");
        assert_eq!((plain.method, plain.authorization), (Method::POST, None));
        let Payload::Bytes(form) = plain.payload else { panic!("no form") };
        let form = String::from_utf8(form.to_vec()).unwrap();
        assert!(form.ends_with("scope=repository%3Aa%3Apull&refresh_token=s%3D1%26t"), "{form}");
    }

    #[test]
    fn what_is_allowed_already_is_not_asked_for_beside_it() {
        for (had, asked, expected) in [
            ("repository:a:pull,push", "repository:a:pull", true),
            ("repository:a:pull", "repository:a:pull,push", false),
            ("repository:a:pull", "repository:b:pull", false),
            ("registry:catalog:*", "registry:catalog:*", true),
        ] {
            assert_eq!(covers(had, asked), expected, "{had} {asked}");
        }
    }

    #[test]
    fn what_is_wanted_is_said_by_the_repository_that_is_written_to() {
        assert_eq!(intent(&scope(&["repository:a:pull", "repository:b:pull,push"])), "push to b");
        assert_eq!(intent(&scope(&["repository:acme/a:pull"])), "read acme/a");
    }
}
