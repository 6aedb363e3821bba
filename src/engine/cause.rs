//! Whose matter a failure is, by the words that engines, registries and kernels have for it.
//!
//! Only an engine's own words may be given: what a RUN printed says nothing of the engine.

/// Words of registries and of the machine that mean: not allowed.
const AUTH: [&str; 13] = [
    "unauthorized",
    "authentication required",
    "invalid username/password",
    "no basic auth credentials",
    "insufficient_scope",
    "authorization failed",
    "access to the resource is denied",
    "denied: ",
    "403 forbidden",
    "403 (forbidden)",
    "operation not permitted",
    "newuidmap",
    "permission denied",
];

/// Words that mean: not now.
const UNAVAILABLE: [&str; 34] = [
    "no space left on device",
    "disk quota exceeded",
    "dial tcp",
    "dial unix",
    "no such host",
    "connection refused",
    "connection reset",
    "broken pipe",
    "network is unreachable",
    "i/o timeout",
    "tls handshake timeout",
    "deadline exceeded",
    "client.timeout exceeded",
    "unexpected eof",
    "error reading from server",
    "transport is closing",
    "closing transport",
    "no active session",
    "no such job",
    "too many requests",
    "toomanyrequests",
    "received unexpected http status: 5",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway time",
    "layer not known",
    "image not known",
    "resource temporarily unavailable",
    "cannot allocate memory",
    "too many open files",
    "device or resource busy",
    "cannot connect to the docker daemon",
    "error during connect",
];

/// Whose matter a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The user's: the Dockerfile, or a file that it names.
    User,
    /// A permission or a credential is missing.
    Auth,
    /// The engine or the network is not there; trying again may help.
    Unavailable,
}

/// Judges an engine's words. What stands between quotes is a name, not a word.
pub fn class(error: &str) -> Class {
    let error = unquoted(error).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if says(&AUTH) {
        Class::Auth
    } else if says(&UNAVAILABLE) || error.ends_with(": eof") {
        Class::Unavailable
    } else {
        Class::User
    }
}

/// The text without what stands in double quotes, as Go's `%q` writes them.
fn unquoted(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let mut keep = |c: char| {
        let was_inside = inside;
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        !was_inside && !inside
    };
    text.chars().filter(|&c| keep(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_apart() {
        for (error, expected) in [
            ("docker.io/library/nope:latest: not found", Class::User),
            (
                "pull access denied, repository does not exist or may require authorization: \
                 server message: insufficient_scope: authorization failed",
                Class::Auth,
            ),
            ("unexpected status from HEAD request to https://r/v2/: 401 Unauthorized", Class::Auth),
            ("denied: permission_denied: write_package", Class::Auth),
            ("unexpected status: 503 Service Unavailable", Class::Unavailable),
            ("Head \"https://r.example/v2/a/manifests/1\": EOF", Class::Unavailable),
            ("toomanyrequests: You have reached your pull rate limit", Class::Unavailable),
        ] {
            assert_eq!(class(error), expected, "{error}");
        }
    }

    #[test]
    fn a_name_in_quotes_is_no_word() {
        assert_eq!(class(r#"stat: "/unauthorized \" dial tcp": not found"#), Class::User);
        assert_eq!(class(r#"Get "https://r/": dial tcp: lookup r"#), Class::Unavailable);
    }
}
