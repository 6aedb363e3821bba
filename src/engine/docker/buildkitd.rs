//! The addresses of a `buildkitd`: `BUILDKIT_HOST`, and `endpoint` of `[[builder]]`.
//!
//! Source: moby/buildkit `client/connhelper`. A daemon in a container or pod is reached through
//! `buildctl dial-stdio` in there. What a command is given comes from an address, so names that a
//! program could take for flags are refused.

use std::path::Path;

use crate::dockerconfig::ConfigError;
use crate::engine::docker::address::Address;
use crate::engine::docker::endpoint::{Endpoint, tcp};
use crate::engine::docker::ssh::{self, plain, words};
use crate::layers::Builder;
use crate::tls::Tls;

/// The schemes, for people.
const SCHEMES: &str = "unix, tcp, ssh, docker-container, podman-container, nerdctl-container or \
                       kube-pod";

/// The daemon at an address; `tls` is for `tcp://`.
pub fn buildkit_endpoint(address: &str, tls: Option<Tls>) -> Result<Endpoint, ConfigError> {
    let endpoint = match address.trim().split_once("://") {
        Some((scheme, rest)) => parse(scheme, rest),
        None => Err("it does not begin with unix:// or tcp://".to_owned()),
    };
    match endpoint {
        Ok(Endpoint::Tcp { host, port, .. }) => Ok(Endpoint::Tcp { host, port, tls }),
        Ok(_) if tls.is_some() => Err(ConfigError::address(address, "certificates are for tcp://")),
        Ok(endpoint) => Ok(endpoint),
        Err(why) => Err(ConfigError::address(address, why)),
    }
}

/// The daemon that a `[[builder]]` of the workspace in `root` names.
pub fn builder_endpoint(builder: &Builder, root: &Path) -> Result<Endpoint, ConfigError> {
    let file = |path: &Option<String>| path.as_ref().map(|path| root.join(path));
    let server_name = builder.server_name.clone();
    let pair = Tls::with_pair(file(&builder.cert), file(&builder.key));
    let tls = Tls { ca: file(&builder.ca), server_name, ..pair };
    buildkit_endpoint(&builder.endpoint, (tls != Tls::default()).then_some(tls))
}

fn parse(scheme: &str, rest: &str) -> Result<Endpoint, String> {
    let command = match scheme {
        "unix" if rest.is_empty() => return Err("it names no socket".to_owned()),
        "unix" => return Ok(Endpoint::Unix(rest.into())),
        "tcp" => return tcp(rest, None),
        "docker-container" => in_container("docker", &Address::parse(rest)?)?,
        "podman-container" => in_container("podman", &Address::parse(rest)?)?,
        "nerdctl-container" => in_container("nerdctl", &Address::parse(rest)?)?,
        "kube-pod" => in_pod(&Address::parse(rest)?)?,
        "ssh" => over_ssh(&Address::parse(rest)?)?,
        "npipe" => return Err("`npipe://` is a pipe of Windows".to_owned()),
        _ => return Err(format!("`{scheme}` is not one of {SCHEMES}")),
    };
    Ok(Endpoint::Command(command))
}

/// `docker exec -i NAME buildctl dial-stdio`.
fn in_container(program: &str, address: &Address) -> Result<Vec<String>, String> {
    let container = plain("container", &address.host)?;
    let mut command = words(&[program]);
    if let Some(context) = address.query("context").filter(|_| program == "docker") {
        command.push(format!("--context={context}"));
    }
    command.push("exec".to_owned());
    if let Some(namespace) = address.query("namespace").filter(|_| program == "nerdctl") {
        command.push(format!("--namespace={namespace}"));
    }
    command.extend(words(&["-i", container, "buildctl", "dial-stdio"]));
    Ok(command)
}

/// `kubectl exec -i POD -- buildctl dial-stdio`.
fn in_pod(address: &Address) -> Result<Vec<String>, String> {
    let pod = kube_name("pod", &address.host)?;
    let mut command = words(&["kubectl"]);
    if let Some(context) = address.query("context") {
        command.push(format!("--context={context}"));
    }
    if let Some(namespace) = address.query("namespace") {
        command.push(format!("--namespace={}", kube_name("namespace", namespace)?));
    }
    command.push("exec".to_owned());
    if let Some(container) = address.query("container") {
        command.push(format!("--container={}", kube_name("container", container)?));
    }
    command.extend(words(&["-i", pod, "--", "buildctl", "dial-stdio"]));
    Ok(command)
}

/// What Kubernetes allows in a name.
fn kube_name<'a>(what: &str, name: &'a str) -> Result<&'a str, String> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    match plain(what, name)? {
        name if name.chars().all(is_allowed) => Ok(name),
        name => Err(format!("`{name}` is no name of a {what}")),
    }
}

/// `buildctl dial-stdio` on the other side.
fn over_ssh(address: &Address) -> Result<Vec<String>, String> {
    let mut remote = words(&["buildctl"]);
    if let Some(socket) = address.path() {
        remote.extend(words(&["--addr", &format!("unix://{socket}")]));
    }
    remote.extend(words(&["dial-stdio"]));
    ssh::command(address, &remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> String {
        match buildkit_endpoint(address, None) {
            Ok(endpoint) => endpoint.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn sockets_and_ports() {
        assert_eq!(shown("unix:///run/b/buildkitd.sock"), "unix:///run/b/buildkitd.sock");
        assert_eq!(shown("tcp://builder:1234"), "tcp://builder:1234");
        assert_eq!(
            shown("tcp://builder"),
            "`tcp://builder` is no address to connect to: it names no port"
        );
    }

    #[test]
    fn a_daemon_in_a_container_is_reached_through_it() {
        assert_eq!(
            shown("docker-container://buildx_buildkit_b0?context=far"),
            "docker --context=far exec -i buildx_buildkit_b0 buildctl dial-stdio"
        );
        assert_eq!(shown("podman-container://b"), "podman exec -i b buildctl dial-stdio");
        assert_eq!(
            shown("nerdctl-container://b?namespace=n"),
            "nerdctl exec --namespace=n -i b buildctl dial-stdio"
        );
        assert_eq!(
            shown("kube-pod://pod?container=c&namespace=ns&context=user@cluster"),
            "kubectl --context=user@cluster --namespace=ns exec --container=c -i pod -- buildctl dial-stdio"
        );
        assert_eq!(shown("kube-pod://pod"), "kubectl exec -i pod -- buildctl dial-stdio");
    }

    #[test]
    fn a_daemon_on_another_machine_is_reached_by_ssh() {
        assert_eq!(
            shown("ssh://me@host:22/run/b.sock"),
            "ssh -o ConnectTimeout=30 -T -l me -p 22 -- host buildctl --addr unix:///run/b.sock dial-stdio"
        );
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for (address, why) in [
            ("docker-container://", "it names no container"),
            ("docker-container://-it", "`-it` is no name of a container"),
            ("kube-pod://under_score", "`under_score` is no name of a pod"),
            ("kube-pod://pod?namespace=under_score", "`under_score` is no name of a namespace"),
            ("unix://", "it names no socket"),
            ("/run/buildkitd.sock", "it does not begin with unix:// or tcp://"),
            ("npipe:////./pipe/b", "`npipe://` is a pipe of Windows"),
        ] {
            let said = shown(address);
            assert!(said.ends_with(&format!("to connect to: {why}")), "{said}");
        }
        assert!(shown("podman://b").contains("`podman` is not one of unix, tcp"));
    }

    #[test]
    fn a_builder_finds_its_certificates_below_the_workspace() {
        let mut builder = Builder {
            endpoint: "tcp://10.0.0.1:1234".into(),
            ca: Some("tls/ca.pem".into()),
            server_name: Some("builder".into()),
            ..Builder::default()
        };
        let tls = Tls {
            ca: Some("/w/tls/ca.pem".into()),
            server_name: Some("builder".into()),
            ..Tls::default()
        };
        let expected = Endpoint::Tcp { host: "10.0.0.1".into(), port: 1234, tls: Some(tls) };
        assert_eq!(builder_endpoint(&builder, Path::new("/w")).unwrap(), expected);
        builder.endpoint = "unix:///run/b.sock".into();
        let said = builder_endpoint(&builder, Path::new("/w")).unwrap_err().to_string();
        assert!(said.ends_with("certificates are for tcp://"), "{said}");
    }
}
