//! How buildah's store calls a reference.
//!
//! Source: containers/common `libimage/normalize.go`, `NormalizeName`: what has no registry domain
//! belongs to `localhost`, `docker.io/debian` is `docker.io/library/debian`, the tag is `latest`.

/// The name under which the store keeps what was tagged as `reference`.
pub fn stored(reference: &str) -> String {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let mut stored = match name.split_once('/') {
        Some(("docker.io" | "index.docker.io", path)) if !path.contains('/') => {
            format!("docker.io/library/{path}")
        }
        Some(("index.docker.io", path)) => format!("docker.io/{path}"),
        Some((domain, _)) if is_domain(domain) => name.to_owned(),
        _ => format!("localhost/{name}"),
    };
    match (tag, digest) {
        (Some(tag), _) => stored = format!("{stored}:{tag}"),
        (None, None) => stored.push_str(":latest"),
        (None, Some(_)) => {}
    }
    match digest {
        Some(digest) => format!("{stored}@{digest}"),
        None => stored,
    }
}

fn is_domain(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_stored_as_libimage_stores_them() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (reference, name) in [
            ("acme/base:0.1.0", "localhost/acme/base:0.1.0"),
            ("base", "localhost/base:latest"),
            ("a/b/c", "localhost/a/b/c:latest"),
            ("localhost/base:1", "localhost/base:1"),
            ("localhost:5000/base", "localhost:5000/base:latest"),
            ("r.example/base:1", "r.example/base:1"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("docker.io/acme/base:1", "docker.io/acme/base:1"),
            ("index.docker.io/acme/base:1", "docker.io/acme/base:1"),
            ("index.docker.io/debian:12", "docker.io/library/debian:12"),
        ] {
            assert_eq!(stored(reference), name, "{reference}");
        }
        assert_eq!(stored(&format!("acme/b@{digest}")), format!("localhost/acme/b@{digest}"));
    }

    #[test]
    fn a_stored_name_is_stored_as_itself() {
        for reference in ["acme/base:0.1.0", "docker.io/debian", "localhost:5000/x"] {
            let name = stored(reference);
            assert_eq!(stored(&name), name);
        }
    }
}
