//! A registry in memory, for machines without a real one: the OCI distribution-spec as far as it is
//! asked here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use imgraph::digest::OciDigest;

use super::front::{Request, Response};

/// Tags that one page has at most.
const PAGE: usize = 3;

#[derive(Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and digest, with the type.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// By repository and tag.
    tags: BTreeMap<(String, String), String>,
    uploads: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    pub(crate) fn answer(&self, request: &Request) -> Response {
        let mut state = self.0.lock().unwrap();
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path = path.trim_start_matches("/v2/");
        let split = |part: &str| {
            let (repository, rest) = path.split_once(part)?;
            Some((repository.to_owned(), rest.to_owned()))
        };
        if let Some((repository, id)) = split("/blobs/uploads/") {
            state.upload(request, (repository, id), query)
        } else if let Some(key) = split("/blobs/") {
            state.blob(request, &key)
        } else if let Some((repository, called)) = split("/manifests/") {
            state.manifest(request, &repository, &called)
        } else if let Some((repository, _)) = split("/tags/") {
            state.list(&repository, query)
        } else {
            Response::new(200)
        }
    }
}

fn unknown(code: &str) -> Response {
    Response::refusal(404, code, "unknown")
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
    Some(value.replace("%3A", ":").replace("%2F", "/"))
}

impl State {
    fn blob(&self, request: &Request, key: &(String, String)) -> Response {
        let Some(bytes) = self.blobs.get(key) else { return unknown("BLOB_UNKNOWN") };
        let response = Response::new(200).with("content-type", "application/octet-stream");
        let range = request.header("range").strip_prefix("bytes=");
        match range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok()) {
            Some(from) => Response { status: 206, ..response }.body(&bytes[from..]),
            None => response.body(bytes.clone()),
        }
    }

    fn upload(
        &mut self,
        request: &Request,
        (repository, id): (String, String),
        query: &str,
    ) -> Response {
        let at = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}");
        if request.method == "POST" {
            let mount = parameter(query, "mount").zip(parameter(query, "from"));
            if let Some((digest, from)) = mount
                && let Some(bytes) = self.blobs.get(&(from, digest.clone())).cloned()
            {
                self.blobs.insert((repository, digest), bytes);
                return Response::new(201);
            }
            let id = self.uploads.len().to_string();
            self.uploads.insert(id.clone(), Vec::new());
            return Response::new(202).with("location", at(&id));
        }
        let Some(upload) = self.uploads.get_mut(&id) else { return unknown("BLOB_UPLOAD_UNKNOWN") };
        upload.extend_from_slice(&request.body);
        let stands = format!("0-{}", upload.len().saturating_sub(1));
        if request.method != "PUT" {
            let status = if request.method == "GET" { 204 } else { 202 };
            return Response::new(status).with("location", at(&id)).with("range", stands);
        }
        let bytes = self.uploads.insert(id, Vec::new()).unwrap();
        let digest = parameter(query, "digest").unwrap();
        if OciDigest::of_content(&bytes).as_str() != digest {
            return Response::refusal(400, "DIGEST_INVALID", "not what it says");
        }
        self.blobs.insert((repository, digest.clone()), bytes);
        Response::new(201).with("docker-content-digest", digest)
    }

    fn manifest(&mut self, request: &Request, repository: &str, called: &str) -> Response {
        let key = |digest: String| (repository.to_owned(), digest);
        if request.method == "PUT" {
            let digest = OciDigest::of_content(&request.body).to_string();
            let media_type = request.header("content-type").to_owned();
            let document = serde_json::from_slice::<serde_json::Value>(&request.body);
            let Ok(document) = document else {
                return Response::refusal(400, "MANIFEST_INVALID", "no JSON");
            };
            if let Some(missing) = self.missing(repository, &document) {
                return Response::refusal(400, "MANIFEST_BLOB_UNKNOWN", &missing);
            }
            self.manifests.insert(key(digest.clone()), (media_type, request.body.clone()));
            if called != digest {
                self.tags.insert(key(called.to_owned()), digest.clone());
            }
            return Response::new(201).with("docker-content-digest", digest);
        }
        let tagged = self.tags.get(&key(called.to_owned())).cloned();
        let digest = tagged.unwrap_or_else(|| called.to_owned());
        match self.manifests.get(&key(digest.clone())) {
            None => unknown("MANIFEST_UNKNOWN"),
            Some((media_type, bytes)) => Response::new(200)
                .with("content-type", media_type)
                .with("docker-content-digest", digest)
                .body(bytes.clone()),
        }
    }

    /// What a document names and the repository does not have.
    fn missing(&self, repository: &str, document: &serde_json::Value) -> Option<String> {
        let named = |value: &serde_json::Value| {
            let digest = value["digest"].as_str().unwrap_or_default().to_owned();
            (repository.to_owned(), digest)
        };
        let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
        let config = document.get("config").cloned();
        let blobs: BTreeSet<_> = config.iter().chain(&list("layers")).map(named).collect();
        let missing = blobs.into_iter().find(|key| !self.blobs.contains_key(key));
        let inner =
            || list("manifests").iter().map(named).find(|key| !self.manifests.contains_key(key));
        missing.or_else(inner).map(|(_, digest)| digest)
    }

    fn list(&self, repository: &str, query: &str) -> Response {
        let tags = self.tags.keys().filter(|(of, _)| of == repository).map(|(_, tag)| tag.clone());
        let last = parameter(query, "last").unwrap_or_default();
        let tags: Vec<String> = tags.filter(|tag| *tag > last).collect();
        if tags.is_empty() && last.is_empty() {
            return unknown("NAME_UNKNOWN");
        }
        let page = &tags[..tags.len().min(PAGE)];
        let body = serde_json::json!({ "name": repository, "tags": page }).to_string();
        let response = Response::new(200).with("content-type", "application/json").body(body);
        if tags.len() <= PAGE {
            return response;
        }
        let next = format!("</v2/{repository}/tags/list?last={}>; rel=\"next\"", page[PAGE - 1]);
        response.with("link", next)
    }
}
