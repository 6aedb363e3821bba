//! Digests: BLAKE3 of our own making, and the `algorithm:hex` strings of the OCI.
//!
//! [`Hasher`] writes a domain first and a length before every field, so that two different lists of
//! fields never give the same bytes. Nothing else in the tool hashes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A BLAKE3 digest of 32 bytes, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the 32 bytes of a BLAKE3 hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hashes plain bytes, without domain or length: the identity of a file's content.
    pub fn of_content(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 16 hexadecimal digits (64 bits): for people to read and for the names of files.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| DigestError(text.to_owned()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// A text that is not the digest it should be.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest")]
pub struct DigestError(String);

/// Hashes the content of a file that is read in pieces: the same as [`Digest::of_content`] of all.
#[derive(Clone, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Adds the next bytes; many at once are hashed on all cores.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        // Below 128 KiB the hand-over costs more than it saves (blake3, `update_rayon`).
        if bytes.len() < 128 * 1024 {
            self.0.update(bytes);
        } else {
            self.0.update_rayon(bytes);
        }
        self
    }

    /// The digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// Hashes a list of fields: the domain first, then a length before every field.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a hash in a domain, for example `imgraph build key 1`.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.text(domain);
        hasher
    }

    /// Adds a field of bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a field of text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a number as eight little-endian bytes.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// Adds another digest.
    pub fn digest(&mut self, digest: &Digest) -> &mut Self {
        self.0.update(&digest.0);
        self
    }

    /// The digest of all fields so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// A digest as the OCI writes it: `sha256:` and 64 hexadecimal digits, or another algorithm.
///
/// Text in formats for people; in binary ones the 32 bytes of a SHA-256, because a ledger has a
/// hundred thousand of them. Source: OCI image-spec, descriptor.md, "Digests".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OciDigest(String);

/// An [`OciDigest`] in binary formats.
#[derive(Serialize, Deserialize)]
enum Compact {
    Sha256(Digest),
    Other(String),
}

/// Hashes what is called by an [`OciDigest`] and read in pieces.
#[derive(Clone, Debug, Default)]
pub struct OciHasher(sha2::Sha256);

impl OciHasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    pub fn finish(self) -> OciDigest {
        OciDigest::sha256(&Digest(self.0.finalize().into()))
    }
}

impl OciDigest {
    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SHA-256 of these 32 bytes.
    fn sha256(bytes: &Digest) -> Self {
        const PREFIX: &[u8] = b"sha256:";
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; PREFIX.len() + 64];
        let (prefix, hex) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(str::from_utf8(&text).expect("digits are ASCII").to_owned())
    }

    /// The digest of some bytes, as registries and stores call them.
    pub fn of_content(bytes: &[u8]) -> Self {
        Self::sha256(&Digest(sha2::Sha256::digest(bytes).into()))
    }

    /// The part behind the colon.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }
}

impl FromStr for OciDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.to_owned().try_into()
    }
}

/// Whether a text has the form of an [`OciDigest`].
fn is_oci_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+._-".contains(&c);
    let is_hex = |c: u8| c.is_ascii_digit() | (b'a'..=b'f').contains(&c);
    let is_sized = hex.len() == 64 || hex.len() >= 32 && algorithm != "sha256";
    // All digits are looked at, whatever the first ones are: that takes many at once.
    is_sized
        && hex.bytes().fold(true, |so_far, c| so_far & is_hex(c))
        && !algorithm.is_empty()
        && algorithm.bytes().all(is_name)
}

impl Serialize for OciDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&self.0);
        }
        let compact = match self.0.strip_prefix("sha256:").map(Digest::from_str) {
            Some(Ok(bytes)) => Compact::Sha256(bytes),
            Some(Err(_)) | None => Compact::Other(self.0.clone()),
        };
        compact.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OciDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
        } else {
            match Compact::deserialize(deserializer)? {
                Compact::Sha256(bytes) => return Ok(Self::sha256(&bytes)),
                Compact::Other(text) => text,
            }
        };
        text.try_into().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<String> for OciDigest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        if is_oci_digest(&text) { Ok(Self(text)) } else { Err(DigestError(text)) }
    }
}

impl From<OciDigest> for String {
    fn from(digest: OciDigest) -> Self {
        digest.0
    }
}

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_before_every_field_keeps_lists_apart() {
        let of = |fields: &[&str]| {
            let mut hasher = Hasher::new("test");
            for field in fields {
                hasher.text(field);
            }
            hasher.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }

    #[test]
    fn the_domain_is_part_of_the_hash() {
        assert_ne!(Hasher::new("a").finish(), Hasher::new("b").finish());
    }

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of_content(b"imgraph");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("abc".parse::<Digest>().is_err());
    }

    #[test]
    fn an_oci_digest_is_text_for_people_and_bytes_for_programs() {
        for text in [
            "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b".to_owned(),
            format!("sha512:{}", "0123456789abcdef".repeat(8)),
        ] {
            let digest: OciDigest = text.parse().unwrap();
            let json = serde_json::to_string(&digest).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<OciDigest>(&json).unwrap(), digest);
            let bytes = postcard::to_stdvec(&digest).unwrap();
            assert_eq!(bytes.len(), if text.starts_with("sha256") { 33 } else { 138 });
            assert_eq!(postcard::from_bytes::<OciDigest>(&bytes).unwrap(), digest);
        }
        let wrong = postcard::to_stdvec(&Compact::Other("sha256:abc".into())).unwrap();
        assert!(postcard::from_bytes::<OciDigest>(&wrong).is_err());
    }

    #[test]
    fn oci_digests_are_checked() {
        let hex = "0".repeat(64);
        assert!(format!("sha256:{hex}").parse::<OciDigest>().is_ok());
        for wrong in
            ["", "sha256", "sha256:abc", &format!("SHA256:{hex}"), &format!("sha256:{hex}0")]
        {
            assert!(wrong.parse::<OciDigest>().is_err(), "{wrong}");
        }
    }
}
