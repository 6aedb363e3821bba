//! The config document of an image, reduced to what a container or a child image inherits.
//!
//! Reads the OCI form and Docker's (image-spec config.md; moby `image/spec`), which differ in
//! fields that say how and when the image was built. What is not known to be such noise counts: a
//! field that is new tomorrow makes ids differ needlessly, but never equal wrongly.

use serde_json::{Map, Value};

use crate::digest::OciDigest;
use crate::image::Platform;

/// Fields of the document that say when, how or by whom it was built, or that count elsewhere.
const BUILD_FIELDS: [&str; 15] = [
    "architecture",
    "comment",
    "container",
    "container_config",
    "created",
    "docker_version",
    "history",
    "id",
    "moby.buildkit.buildinfo.v1",
    "moby.buildkit.cache.v0",
    "os",
    "parent",
    "parent_id",
    "rootfs",
    "variant",
];

/// Fields of the inner config that describe the container it was committed from, and one that only
/// Windows reads (moby `image/spec`, `ArgsEscaped`): BuildKit writes it with every CMD.
const CONTAINER_FIELDS: [&str; 11] = [
    "ArgsEscaped",
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Domainname",
    "Hostname",
    "Image",
    "MacAddress",
    "OpenStdin",
    "StdinOnce",
    "Tty",
];

/// Labels that engines add on their own.
const ENGINE_LABELS: [&str; 1] = ["io.buildah.version"];

/// The config of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What it runs on.
    pub platform: Platform,
    /// The digests of the uncompressed layers, base first.
    pub diff_ids: Vec<OciDigest>,
    /// What it says to containers and child images: JSON with sorted keys, without noise.
    pub canonical: Vec<u8>,
}

/// Why a document is not the config of an image.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON.
    #[error("the image config is not JSON")]
    Json(#[from] serde_json::Error),
    /// It is JSON, but not an image config.
    #[error("the image config has no valid `{0}`")]
    Field(&'static str),
}

impl Config {
    /// Reads a config document.
    pub fn parse(document: &[u8]) -> Result<Self, ConfigError> {
        let mut document: Map<String, Value> = serde_json::from_slice(document)?;
        let platform = platform(&document)?;
        let diff_ids = diff_ids(&document)?;
        for field in BUILD_FIELDS {
            document.remove(field);
        }
        if let Some(Value::Object(config)) = document.get_mut("config") {
            for field in CONTAINER_FIELDS {
                config.remove(field);
            }
            if let Some(Value::Object(labels)) = config.get_mut("Labels") {
                for label in ENGINE_LABELS {
                    labels.remove(label);
                }
            }
            config.retain(|_, value| !is_unset(value));
        }
        document.retain(|_, value| !is_unset(value));
        Ok(Self { platform, diff_ids, canonical: serde_json::to_vec(&document)? })
    }
}

fn platform(document: &Map<String, Value>) -> Result<Platform, ConfigError> {
    let text = |field| document.get(field).and_then(Value::as_str).unwrap_or("");
    let mut platform = format!("{}/{}", text("os"), text("architecture"));
    if !text("variant").is_empty() {
        platform = format!("{platform}/{}", text("variant"));
    }
    platform.parse().map_err(|_| ConfigError::Field("architecture"))
}

fn diff_ids(document: &Map<String, Value>) -> Result<Vec<OciDigest>, ConfigError> {
    let Some(ids) = document.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")) else {
        return Ok(Vec::new());
    };
    if ids.is_null() {
        return Ok(Vec::new());
    }
    let wrong = || ConfigError::Field("rootfs.diff_ids");
    let ids = ids.as_array().ok_or_else(wrong)?;
    ids.iter().map(|id| id.as_str().and_then(|id| id.parse().ok()).ok_or_else(wrong)).collect()
}

/// What an engine writes for a field that the Dockerfile did not set: engines that leave the field
/// out mean the same.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) | Value::Bool(true) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(document: &str) -> String {
        String::from_utf8(Config::parse(document.as_bytes()).unwrap().canonical).unwrap()
    }

    /// As buildah 1.28 writes it with `--format docker`.
    const DOCKER: &str = r#"{
        "created":"1970-01-01T00:00:00Z","container":"421d65de","docker_version":"",
        "container_config":{"Hostname":"9d39f0e90620","Cmd":["/bin/sh"]},
        "config":{"Hostname":"9d39f0e90620","Domainname":"","User":"","AttachStdin":false,
          "AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,
          "Env":["PATH=/bin"],"Cmd":["/bin/sh"],"Image":"","Volumes":{},"WorkingDir":"",
          "Entrypoint":[],"OnBuild":[],"Labels":{"io.buildah.version":"1.28.2"}},
        "architecture":"amd64","os":"linux","parent":"sha256:82",
        "rootfs":{"type":"layers","diff_ids":[]},
        "history":[{"created":"1970-01-01T00:00:00Z","created_by":"/bin/sh -c #(nop) CMD"}]}"#;

    /// The same as BuildKit writes it.
    const OCI: &str = r#"{
        "architecture":"amd64","os":"linux","created":"2024-05-05T05:05:05Z",
        "config":{"Cmd":["/bin/sh"],"Env":["PATH=/bin"],"ArgsEscaped":true},
        "rootfs":{"type":"layers","diff_ids":null},
        "history":[{"created_by":"CMD [\"/bin/sh\"]","comment":"buildkit.dockerfile.v0"}]}"#;

    #[test]
    fn dockers_form_and_the_oci_form_of_one_image_are_equal() {
        assert_eq!(canonical(DOCKER), r#"{"config":{"Cmd":["/bin/sh"],"Env":["PATH=/bin"]}}"#);
        assert_eq!(canonical(DOCKER), canonical(OCI));
    }

    #[test]
    fn everything_that_a_child_inherits_counts() {
        let base = r#"{"os":"linux","architecture":"amd64","config":{X}}"#;
        let plain = canonical(&base.replace('X', ""));
        for field in [
            r#""User":"app""#,
            r#""Env":["A=1"]"#,
            r#""Entrypoint":["/x"]"#,
            r#""OnBuild":["RUN true"]"#,
            r#""Healthcheck":{"Test":["NONE"]}"#,
            r#""Shell":["/bin/bash","-c"]"#,
            r#""StopSignal":"SIGINT""#,
            r#""Labels":{"a":"b"}"#,
            r#""ExposedPorts":{"80/tcp":{}}"#,
            r#""Volumes":{"/data":{}}"#,
            r#""SomethingNew":1"#,
        ] {
            assert_ne!(canonical(&base.replace('X', field)), plain, "{field}");
        }
    }

    #[test]
    fn the_order_of_keys_does_not_count_and_that_of_values_does() {
        let of = |config: &str| {
            canonical(&format!(r#"{{"os":"l","architecture":"a","config":{{{config}}}}}"#))
        };
        assert_eq!(of(r#""Env":["A=1"],"User":"u""#), of(r#""User":"u","Env":["A=1"]"#));
        assert_ne!(of(r#""Env":["A=1","A=2"]"#), of(r#""Env":["A=2","A=1"]"#));
    }

    #[test]
    fn the_author_counts() {
        let with = r#"{"os":"linux","architecture":"amd64","author":"me"}"#;
        assert_eq!(canonical(with), r#"{"author":"me"}"#);
    }

    #[test]
    fn what_is_no_config_is_refused() {
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"os":"linux"}"#,
            r#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["x"]}}"#,
            r#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":"x"}}"#,
        ] {
            assert!(Config::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
