//! The names of vertices that come from an instruction: `[build 2/3] RUN make`.
//!
//! Source of the rules: moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go`,
//! `prefixCommand` and the counting of `cmdTotal`, the same from 0.8 on. The stage is left out where
//! the Dockerfile has one only, the number is padded, and a build for several platforms names the
//! platform first. Other vertices have names without numbers: `[internal] load build context`,
//! `exporting to image`.

/// A name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// Platform and stage, as written: what is before the numbers.
    pub place: &'a str,
    /// The number in the stage, from 1.
    pub number: u32,
    /// How many the stage has.
    pub total: u32,
    /// The instruction, variables expanded.
    pub text: &'a str,
}

impl<'a> Name<'a> {
    /// Takes a name apart; `None` if it is not of an instruction.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (inside, text) = name.strip_prefix('[')?.split_once("] ")?;
        let (place, numbers) = inside.rsplit_once(' ').unwrap_or(("", inside));
        let (number, total) = numbers.split_once('/')?;
        let text = text.trim();
        Some(Self {
            place: place.trim(),
            number: number.parse().ok()?,
            total: total.parse().ok()?,
            text: text.strip_prefix("LINK ").unwrap_or(text), // the second vertex of `COPY --link`
        })
    }

    /// The name of the stage, in lower case; empty where the Dockerfile has one only.
    pub fn stage(&self) -> &'a str {
        let last = self.place.rsplit(' ').next().unwrap_or("");
        if last.contains('/') { "" } else { last } // no stage has a slash, every platform has one
    }

    /// Whether it is the FROM of its stage. Only a FROM that names an image is a vertex.
    pub fn is_from(&self) -> bool {
        self.number == 1 && self.text.starts_with("FROM ")
    }

    /// What the instruction is: `RUN`. The triggers of a base image are `ONBUILD`.
    pub fn word(&self) -> &'a str {
        self.text.split_whitespace().next().unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> Option<(&str, u32, u32, &str)> {
        Name::parse(name).map(|name| (name.stage(), name.number, name.total, name.text))
    }

    #[test]
    fn stage_number_and_total_are_read() {
        assert_eq!(parts("[1/2] FROM a"), Some(("", 1, 2, "FROM a")));
        assert_eq!(parts("[build 2/3] RUN [x] y"), Some(("build", 2, 3, "RUN [x] y")));
        assert_eq!(parts("[stage-1  2/12] RUN x"), Some(("stage-1", 2, 12, "RUN x")));
        assert_eq!(parts("[ 2/12] RUN x"), Some(("", 2, 12, "RUN x")));
        assert_eq!(parts("[linux/amd64 2/2] RUN x"), Some(("", 2, 2, "RUN x")));
        assert_eq!(parts("[linux/amd64->arm64 b 2/2] RUN x"), Some(("b", 2, 2, "RUN x")));
    }

    #[test]
    fn other_vertices_have_no_numbers() {
        for name in [
            "[internal] load build definition from Dockerfile",
            "[context acme/base:1] docker.io/acme/base:ig-0",
            "[context acme/base:1] load metadata for docker.io/acme/base:ig-0",
            "[auth] library/busybox:pull token for registry-1.docker.io",
            "exporting to image",
            "merge ([1/2] FROM a, x)",
            "FROM a",
            "",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
