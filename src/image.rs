//! The words for images: their names, their numbers in a graph, and platforms.
//!
//! Knows nothing of files, registries or engines.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of an image in the tables of one [`crate::graph::ImageGraph`]. Cheap to copy; means
/// nothing outside that graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub u32);

impl ImageId {
    /// The index into tables that have a row for each image.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The name of an image in its workspace: a path below the images directory, such as `java/jre`.
///
/// Never empty, parts separated by single slashes, no part `.` or `..`, no white space or control
/// characters, and none of the characters that selectors give a meaning to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let part_is_good = |part: &str| !part.is_empty() && part != "." && part != "..";
        let is_special = |c| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '!' | '^' | ',' | ':');
        let char_is_good = |c: char| !c.is_whitespace() && !c.is_control() && !is_special(c);
        if text.split('/').all(part_is_good) && text.chars().all(char_is_good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that cannot be the name of an image.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot be the name of an image")]
pub struct NameError(String);

/// An operating system and a processor, such as `linux/arm64` or `linux/arm/v7`, normalised as
/// containerd does (platforms/database.go): `x86_64` is `amd64`, `aarch64` is `arm64`, and the
/// default variants `arm/v7` stay while `arm64/v8` and `amd64/v1` are dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    /// `linux`, `windows` ..
    pub os: String,
    /// `amd64`, `arm64` ..
    pub arch: String,
    /// `v7` and the like; empty where there is none.
    pub variant: String,
}

impl Platform {
    /// The platform that containers of this machine run on: Linux on its own processor.
    pub fn host() -> Self {
        let arch = std::env::consts::ARCH;
        Self::normalised("linux", arch, "")
    }

    fn normalised(os: &str, arch: &str, variant: &str) -> Self {
        let os = if os.eq_ignore_ascii_case("macos") { "darwin".into() } else { os.to_lowercase() };
        let arch = arch.to_lowercase();
        let variant = variant.to_lowercase();
        let (arch, variant) = match (arch.as_str(), variant.as_str()) {
            ("i386" | "x86" | "i686", _) => ("386", String::new()),
            ("x86_64" | "x86-64", v) => ("amd64", if v == "v1" { String::new() } else { variant }),
            ("amd64", "v1") => ("amd64", String::new()),
            ("aarch64", v) => {
                ("arm64", if v == "8" || v == "v8" { String::new() } else { variant })
            }
            ("arm64", "8" | "v8") => ("arm64", String::new()),
            ("armhf", _) => ("arm", "v7".into()),
            ("armel", _) => ("arm", "v6".into()),
            ("arm", "" | "7") => ("arm", "v7".into()),
            ("arm", "5" | "6" | "8") => ("arm", format!("v{variant}")),
            _ => (arch.as_str(), variant),
        };
        Self { os, arch: arch.to_owned(), variant }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-.()".contains(c))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(is_word as fn(&&str) -> bool) {
            return Err(PlatformError(text.to_owned()));
        }
        match parts[..] {
            [os, arch] => Ok(Self::normalised(os, arch, "")),
            [os, arch, variant] => Ok(Self::normalised(os, arch, variant)),
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// A text that is not `os/arch` or `os/arch/variant`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a platform; write os/arch or os/arch/variant, for example linux/arm64")]
pub struct PlatformError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_without_surprises() {
        for good in ["base", "java/jre", "apps/api-8.3", "x_y"] {
            assert!(good.parse::<ImageName>().is_ok(), "{good}");
        }
        for wrong in ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "a*", "!a", "a:b"] {
            assert!(wrong.parse::<ImageName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn platforms_are_normalised_as_containerd_does() {
        let shown = |text: &str| text.parse::<Platform>().unwrap().to_string();
        assert_eq!(shown("linux/x86_64"), "linux/amd64");
        assert_eq!(shown("Linux/aarch64/v8"), "linux/arm64");
        assert_eq!(shown("linux/arm"), "linux/arm/v7");
        assert_eq!(shown("linux/riscv64"), "linux/riscv64");
        assert!("linux".parse::<Platform>().is_err());
        assert!("linux/".parse::<Platform>().is_err());
    }
}
