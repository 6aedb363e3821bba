//! Any text as a reference: what is accepted is the same when it is written and read again.
#![no_main]

use imgraph::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = Reference::parse(text) else { return };
    let full = reference.to_string();
    assert_eq!(Reference::parse(&full).as_ref(), Ok(&reference), "in full: {full}");
    let familiar = reference.familiar();
    if !is_ambiguous(&reference) {
        assert_eq!(Reference::parse(&familiar).as_ref(), Ok(&reference), "familiar: {familiar}");
    }
    assert!(familiar.len() <= full.len(), "{familiar} is no shorter than {full}");

    let repository = Reference::parse(&reference.repository());
    if !is_ambiguous(&reference) && reference.tag.is_some() {
        assert_eq!(repository, Reference::parse(&reference.familiar_repository()));
    }
    if let Ok(repository) = repository {
        assert_eq!((&repository.domain, &repository.path), (&reference.domain, &reference.path));
        assert_eq!((repository.tag, repository.digest), (None, None));
    }

    let meant = reference.tag_or_latest().map(str::to_owned);
    assert_eq!(meant.is_none(), reference.tag.is_none() && reference.digest.is_some());
    if let Some(tag) = meant {
        let tagged = reference.with_tag(&tag).expect("a tag that was accepted is accepted again");
        assert_eq!(Reference::parse(&tagged.to_string()), Ok(tagged));
    }
});

/// Whether the familiar form is that of another reference, as it is in distribution/reference too:
/// `docker.io/quay.io/a` becomes `quay.io/a`, and a name of 64 digits an image id.
fn is_ambiguous(reference: &Reference) -> bool {
    let familiar = reference.familiar_repository();
    let is_shortened = familiar != reference.repository();
    let is_host = |part: &str| part == "localhost" || part.contains('.');
    let is_id = familiar.len() == 64 && familiar.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_shortened && (is_id || familiar.split_once('/').is_some_and(|(first, _)| is_host(first)))
}
