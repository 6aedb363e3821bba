//! Docker's configuration as tests need it.
#![expect(clippy::disallowed_methods, reason = "tests write docker's configuration")]

use std::fs;
use std::path::Path;

use crate::digest::Digest;

/// Writes a context, and certificates if `files` names any.
pub(crate) fn write_context(docker: &Path, name: &str, endpoints: &str, files: &[&str]) {
    let id = Digest::of_content(name.as_bytes()).to_string(); // any digest is one to a reader
    let meta = docker.join("contexts/meta").join(&id);
    fs::create_dir_all(&meta).unwrap();
    let text = format!("{{\"Name\":\"{name}\",\"Metadata\":{{}},\"Endpoints\":{endpoints}}}");
    fs::write(meta.join("meta.json"), text).unwrap();
    for file in files {
        let tls = docker.join("contexts/tls").join(&id).join("docker");
        fs::create_dir_all(&tls).unwrap();
        fs::write(tls.join(file), "").unwrap();
    }
}
