//! The file `.imgraph/settled`: a line that says so, [`Settled`], its map, and the digest of both.
#![expect(clippy::disallowed_methods, reason = "this module keeps a file of its own")]

use std::fs;
use std::path::Path;

use crate::cli::settled::Settled;
use crate::digest::Digest;
use crate::gather::stat;

const NAME: &str = "settled";
/// Raised when what is written down means something else.
pub(super) const FORMAT: &str = "imgraph settled 3";

/// Reads the file of a state directory; `None` if there is none, or it is not whole.
pub(super) fn read(state: &Path) -> Option<Settled> {
    decode(&fs::read(state.join(NAME)).ok()?)
}

/// Writes the file of a state directory: beside, then renamed.
pub(super) fn write(state: &Path, settled: &Settled) -> Option<()> {
    stat::replace(&state.join(NAME), &encode(settled)?).ok()
}

fn encode(settled: &Settled) -> Option<Vec<u8>> {
    let mut body = postcard::to_stdvec(settled).ok()?;
    body.extend(&settled.map);
    let digest = Digest::of_content(&body);
    Some([FORMAT.as_bytes(), &body, digest.as_bytes()].concat())
}

fn decode(bytes: &[u8]) -> Option<Settled> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    let body = body.strip_prefix(FORMAT.as_bytes())?;
    if Digest::of_content(body).as_bytes() != digest {
        return None;
    }
    let (settled, map) = postcard::take_from_bytes::<Settled>(body).ok()?;
    Some(Settled { map: map.to_vec(), ..settled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settled::Basis;
    use crate::gather::root::Identity;
    use crate::history::Output;

    fn sample() -> Settled {
        let digest = Digest::of_content(b"x");
        let output = Output {
            id: format!("sha256:{digest}").parse().unwrap(),
            manifest: None,
            references: vec!["base:1".to_owned()],
            diff_ids: Vec::new(),
            size: 0,
        };
        let basis = Basis { question: digest, seen: digest, ledger: Identity::default() };
        Settled {
            basis,
            last_run: Some("run".to_owned()),
            images: vec![("base".parse().unwrap(), output)],
            said: "note: odd\n".to_owned(),
            map: b"a map".to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(&encode(&sample()).unwrap()), Some(sample()));
    }

    #[test]
    fn a_file_cut_at_any_byte_or_with_any_bit_flipped_is_none() {
        let bytes = encode(&sample()).unwrap();
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at]), None, "{at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(decode(&flipped), None, "{at}");
        }
    }
}
