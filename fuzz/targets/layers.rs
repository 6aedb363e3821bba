//! Any text as `layers.toml`: problems have places in it, and what could be read can be asked.
#![no_main]

use imgraph::image::ImageName;
use imgraph::layers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (layers, problems) = layers::parse(text);
    for problem in &problems {
        let places = problem.place.iter().chain(problem.related.iter().map(|(place, _)| place));
        for span in places.filter_map(|place| place.span) {
            assert!(text.get(span.range()).is_some(), "{problem:?}");
        }
    }
    let sections = layers.layers.iter().map(|layer| layer.span);
    for span in sections.chain(layers.images.values().map(|image| image.span)) {
        assert!(text.get(span.range()).is_some(), "{span:?}");
    }

    let dirs = layers.layers.iter().flat_map(|layer| &layer.dirs);
    let below: Vec<ImageName> = dirs.filter_map(|dir| format!("{dir}/a").parse().ok()).collect();
    for image in layers.images.keys().chain(&below) {
        let Some(row) = layers.layer_of(image) else { continue };
        assert!(layers.allows(row, row), "{image} may not build on its own layer");
    }
    for image in &below {
        assert!(layers.layer_of(image).is_some(), "{image} is in no layer");
    }
});
