//! `SOURCE_DATE_EPOCH`, the build argument by which BuildKit is told the time of an image.
//!
//! It is a build argument like any other as well: an ARG of that name gets it. What such an ARG says was
//! fingerprinted, and the time that we would give was not, so it is given to builds that declare none.

use crate::dockerfile::{self, Arguments, Keyword};
use crate::engine::Request;

/// The argument.
pub(crate) const ARGUMENT: &str = "SOURCE_DATE_EPOCH";

/// The value of the argument for a build; `None` where the build has a use of its own for it.
pub(crate) fn argument(request: &Request) -> Option<String> {
    let is_own = request.args.contains_key(ARGUMENT) || declares(&request.dockerfile);
    (!is_own).then(|| request.epoch.to_string())
}

/// Whether a Dockerfile has an ARG of that name, in whichever stage.
fn declares(dockerfile: &[u8]) -> bool {
    let (dockerfile, _) = dockerfile::parse(dockerfile);
    let args = dockerfile.instructions.iter().filter(|it| it.keyword == Keyword::Arg);
    let words = args.filter_map(|arg| match &arg.arguments {
        Arguments::Words(words) => Some(words),
        _ => None,
    });
    words.flatten().any(|word| {
        let text = word.text.trim_start_matches(['"', '\'']);
        let name = text.split('=').next().unwrap_or_default();
        name.trim_end_matches(['"', '\'']) == ARGUMENT
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::request;

    #[test]
    fn a_build_that_declares_the_argument_is_given_none() {
        for dockerfile in [
            "ARG SOURCE_DATE_EPOCH\nFROM a\n",
            "FROM a\nARG SOURCE_DATE_EPOCH\n",
            "FROM a\narg A=1 \\\n  SOURCE_DATE_EPOCH=5\n",
            "FROM a\nARG \"SOURCE_DATE_EPOCH=5\"\n",
            "FROM a\nARG 'SOURCE_DATE_EPOCH'=5\n",
        ] {
            let request = Request { dockerfile: dockerfile.into(), ..request() };
            assert_eq!(argument(&request), None, "{dockerfile}");
        }
        let mut given = request();
        given.args.insert(ARGUMENT.into(), "5".into());
        assert_eq!(argument(&given), None);
    }

    #[test]
    fn a_build_that_only_speaks_of_the_argument_is_given_it() {
        for dockerfile in [
            "FROM a\n# ARG SOURCE_DATE_EPOCH\n",
            "FROM a\nENV SOURCE_DATE_EPOCH=5\nRUN echo $SOURCE_DATE_EPOCH\n",
            "FROM a\nARG SOURCE_DATE_EPOCH_2=SOURCE_DATE_EPOCH\n",
            "FROM a\nRUN <<E\nARG SOURCE_DATE_EPOCH\nE\n",
            "FROM a\nONBUILD ARG SOURCE_DATE_EPOCH\n",
        ] {
            let request = Request { dockerfile: dockerfile.into(), ..request() };
            assert_eq!(argument(&request).as_deref(), Some("7"), "{dockerfile}");
        }
    }
}
