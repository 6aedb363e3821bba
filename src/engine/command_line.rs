//! The command line of a build, and what must not be on it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// The words of a command line.
#[derive(Clone, Debug, Default)]
pub struct Words(pub Vec<OsString>);

impl Words {
    /// A word that is no flag: a verb, a path.
    pub fn word(&mut self, word: impl Into<OsString>) -> &mut Self {
        self.0.push(word.into());
        self
    }

    /// A flag without a value.
    pub fn flag(&mut self, flag: &str) -> &mut Self {
        self.word(flag)
    }

    /// A flag and its value, one word, so that a value that begins with a dash is no flag.
    pub fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        let mut word = OsString::from(format!("{flag}="));
        word.push(value.into());
        self.0.push(word);
    }

    /// Build arguments. Returns those that belong into the environment of the program, where other
    /// users of the machine cannot read them. Variables that are `taken` have to stay as they are.
    pub fn build_arguments(
        &mut self,
        args: &BTreeMap<String, String>,
        taken: &BTreeSet<String>,
    ) -> Vec<(String, String)> {
        let mut hidden = Vec::new();
        for (name, value) in args {
            if steers_the_program(name) || taken.contains(name) || value.contains('\0') {
                self.pair("--build-arg", format!("{name}={value}"));
            } else {
                self.pair("--build-arg", name);
                hidden.push((name.clone(), value.clone()));
            }
        }
        hidden
    }
}

/// Whether a variable of this name changes what an engine's program itself does, or a helper that it
/// starts, so that it can only be given on the command line.
fn steers_the_program(name: &str) -> bool {
    const NAMES: [&str; 25] = [
        "",
        "GODEBUG",
        "GOGC",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "GORACE",
        "GOTRACEBACK",
        "GOCOVERDIR",
        "HOME",
        "HOSTALIASES",
        "KUBECONFIG",
        "LANG",
        "LANGUAGE",
        "LOCALDOMAIN",
        "NOTIFY_SOCKET",
        "NO_COLOR",
        "PATH",
        "REGISTRY_AUTH_FILE",
        "RES_OPTIONS",
        "SOURCE_DATE_EPOCH",
        "SSH_AUTH_SOCK",
        "TMPDIR",
        "TZ",
        "USER",
        "ZONEINFO",
    ];
    const PREFIXES: [&str; 21] = [
        "AWS_",
        "AZURE_",
        "BUILDAH_",
        "BUILDKIT_",
        "BUILDX_",
        "CONTAINER",
        "_CONTAINERS_",
        "DBUS_",
        "DOCKER_",
        "GOOGLE_",
        "KUBERNETES_",
        "LC_",
        "LD_",
        "LISTEN_",
        "MALLOC_",
        "OTEL_",
        "REGISTRIES_",
        "SSL_CERT_",
        "STORAGE_",
        "SYSTEMD_",
        "XDG_",
    ];
    let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
    let is_no_variable = name.contains(['=', '\0']);
    is_proxy
        || is_no_variable
        || NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str) -> (Vec<OsString>, Vec<(String, String)>) {
        let mut words = Words::default();
        let hidden = words
            .build_arguments(&[(name.to_owned(), "hunter2".to_owned())].into(), &BTreeSet::new());
        (words.0, hidden)
    }

    #[test]
    fn values_of_build_arguments_are_not_on_the_command_line() {
        let hidden = vec![("TOKEN".to_owned(), "hunter2".to_owned())];
        assert_eq!(told("TOKEN"), (vec!["--build-arg=TOKEN".into()], hidden));
    }

    #[test]
    fn an_argument_that_would_steer_the_program_does_not_reach_its_environment() {
        for name in [
            "PATH",
            "http_proxy",
            "LD_PRELOAD",
            "BUILDAH_FORMAT",
            "STORAGE_DRIVER",
            "DOCKER_HOST",
            "BUILDX_BUILDER",
        ] {
            assert_eq!(
                told(name),
                (vec![format!("--build-arg={name}=hunter2").into()], Vec::new())
            );
        }
    }
}
