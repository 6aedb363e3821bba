//! Where images lie and what they stand on: enough to tell whom a changed file can concern, and to
//! read those images without looking for them. Knows neither disk nor graph.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cli::session::Session;
use crate::graph::spec::Found;
use crate::plan::Plan;

/// The images of a workspace, parents first.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Map {
    /// The Dockerfiles, sorted by path.
    pub(super) dockerfiles: Vec<Found>,
    /// The images.
    pub(super) images: Vec<Place>,
}

/// Where an image lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The number of its Dockerfile.
    pub(super) found: usize,
    /// The directory of its Dockerfile, where a `prepare` reads, relative to the workspace root.
    directory: String,
    /// Its context, likewise; `None`: the same.
    context: Option<String>,
    /// The numbers of the images that it reads, each once.
    pub(super) parents: Vec<usize>,
}

impl Map {
    /// The map of a plan of everything.
    pub(super) fn new(session: &Session, plan: &Plan) -> Self {
        let graph = &session.loaded.graph;
        let mut numbers = vec![0; graph.len()];
        for (number, step) in plan.steps.iter().enumerate() {
            numbers[step.image.index()] = number;
        }
        let place = |image| {
            let spec = &graph.image(image).spec;
            Place {
                found: spec.found,
                directory: spec.directory.clone(),
                context: (spec.context != spec.directory).then(|| spec.context.clone()),
                parents: graph.parents(image).iter().map(|id| numbers[id.index()]).collect(),
            }
        };
        let images = plan.steps.iter().map(|step| place(step.image)).collect();
        Self { dockerfiles: session.loaded.workspace.found.clone(), images }
    }

    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self).ok()
    }

    /// Reads a map of so many images.
    pub(super) fn decode(bytes: &[u8], images: usize) -> Option<Self> {
        let map: Self = postcard::from_bytes(bytes).ok()?;
        let is_known = |(number, place): (usize, &Place)| {
            place.found < map.dockerfiles.len() && place.parents.iter().all(|it| *it < number)
        };
        let is_whole = map.images.len() == images && map.images.iter().enumerate().all(is_known);
        is_whole.then_some(map)
    }

    /// The images that may read one of these files, which are sorted.
    pub(super) fn readers(&self, files: &[Vec<u8>]) -> BTreeSet<usize> {
        let images = self.images.iter().enumerate();
        images.filter(|(_, place)| place.may_read(files)).map(|(number, _)| number).collect()
    }

    /// The given images and all that depends on them.
    pub(super) fn dependents(&self, images: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut reached = images.clone();
        for (number, place) in self.images.iter().enumerate() {
            if place.parents.iter().any(|parent| reached.contains(parent)) {
                reached.insert(number);
            }
        }
        reached
    }

    /// The given images, those of the same Dockerfiles, and all that any of them needs.
    pub(super) fn closure(&self, images: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut of_dockerfile = vec![Vec::new(); self.dockerfiles.len()];
        for (number, place) in self.images.iter().enumerate() {
            of_dockerfile[place.found].push(number);
        }
        let mut reached = images.clone();
        let mut todo: Vec<usize> = images.iter().copied().collect();
        while let Some(number) = todo.pop() {
            let place = &self.images[number];
            let next = place.parents.iter().chain(&of_dockerfile[place.found]).copied();
            todo.extend(next.filter(|next| reached.insert(*next)));
        }
        reached
    }
}

impl Place {
    /// Whether one of these files lies where the image reads.
    fn may_read(&self, files: &[Vec<u8>]) -> bool {
        has_below(files, &self.directory)
            || self.context.as_ref().is_some_and(|context| has_below(files, context))
    }
}

/// Whether one of these files, which are sorted, lies below a directory; the empty one is the root.
fn has_below(files: &[Vec<u8>], directory: &str) -> bool {
    if directory.is_empty() {
        return !files.is_empty();
    }
    let start = [directory.as_bytes(), b"/"].concat();
    let first = files.partition_point(|file| *file < start);
    files.get(first).is_some_and(|file| file.starts_with(&start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images as `directory < parents`, each with a Dockerfile of its own unless it says another.
    fn map(images: &[(&str, Option<&str>, usize, &[usize])]) -> Map {
        let found = Found {
            path: "Dockerfile".into(),
            version: None,
            ignore_files: Vec::new(),
            aliases: Vec::new(),
        };
        let place =
            |(directory, context, found, parents): &(&str, Option<&str>, usize, &[usize])| Place {
                found: *found,
                directory: (*directory).to_owned(),
                context: context.map(str::to_owned),
                parents: parents.to_vec(),
            };
        Map { dockerfiles: vec![found; images.len()], images: images.iter().map(place).collect() }
    }

    fn sample() -> Map {
        map(&[
            ("images/base", None, 0, &[]),
            ("images/base2", None, 1, &[]),
            ("images/jre", Some("shared"), 2, &[0]),
            ("images/web", None, 3, &[2]),
            ("images/web", None, 3, &[1]),
            ("images/tool", None, 5, &[]),
        ])
    }

    fn concerned(files: &[&str]) -> Vec<usize> {
        let mut files: Vec<Vec<u8>> = files.iter().map(|file| file.as_bytes().to_vec()).collect();
        files.sort_unstable();
        let sample = sample();
        sample.dependents(&sample.readers(&files)).into_iter().collect()
    }

    #[test]
    fn a_file_concerns_who_reads_where_it_lies_and_what_depends_on_that() {
        assert_eq!(concerned(&["images/base/a/b"]), [0, 2, 3]);
        assert_eq!(concerned(&["images/base2/a"]), [1, 4]);
        assert_eq!(concerned(&["shared/a"]), [2, 3], "a context that lies elsewhere");
        assert_eq!(concerned(&["images/jre/list"]), [2, 3], "its own directory, for `prepare`");
        assert_eq!(concerned(&["images/web/a"]), [3, 4]);
        assert_eq!(concerned(&["images/a", "shared/z", "zzz"]), [2, 3]);
        assert_eq!(concerned(&["images", "images/basement", "other"]), [] as [usize; 0]);
    }

    #[test]
    fn a_context_that_is_the_root_is_above_all_files() {
        let map = map(&[("images/a", Some(""), 0, &[]), ("images/b", None, 1, &[])]);
        assert_eq!(map.readers(&[b"any".to_vec()]), BTreeSet::from([0]));
        assert_eq!(map.readers(&[]), BTreeSet::new());
    }

    #[test]
    fn who_shares_a_dockerfile_comes_along_with_all_that_it_needs() {
        let closure = |images: &[usize]| sample().closure(&images.iter().copied().collect());
        assert_eq!(closure(&[5]), BTreeSet::from([5]));
        assert_eq!(closure(&[2]), BTreeSet::from([0, 2]));
        assert_eq!(closure(&[4]), BTreeSet::from([0, 1, 2, 3, 4]));
    }

    #[test]
    fn a_map_of_other_images_is_none() {
        let bytes = sample().encode().unwrap();
        assert_eq!(Map::decode(&bytes, 6), Some(sample()));
        assert_eq!(Map::decode(&bytes, 5), None);
        assert_eq!(Map::decode(&[], 6), None, "none was made");
        let wrong = map(&[("a", None, 0, &[1]), ("b", None, 1, &[])]);
        assert_eq!(Map::decode(&wrong.encode().unwrap(), 2), None, "a child before its parent");
        let wrong = map(&[("a", None, 7, &[])]);
        assert_eq!(Map::decode(&wrong.encode().unwrap(), 1), None, "no such Dockerfile");
    }
}
