//! What a build may leave when it is given up, by what the daemon tells of it.
//!
//! *A vertex that begins.* BuildKit 0.11 to 0.14 end a RUN only once its process is there: one that is
//! given up while its container is set up is started all the same, and runs to its end with nobody to
//! end it (moby/buildkit `executor/runcexecutor/executor.go`, `runcProcessHandle`). And what is begun
//! on a layer commits it: where that is given up, containerd may have done it and BuildKit not know,
//! which then fails for ever (`cache/refs.go`, `finalize`). So a build is not given up at such a
//! moment.
//!
//! *An image.* A Docker Engine that is in the middle of writing it goes on, and nobody has its name.

use std::collections::BTreeMap;

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;

use crate::clock::Timer;
use crate::digest::OciDigest;

/// How long a vertex begins, in milliseconds.
const BEGINNING: u64 = 1_000;

/// How an exporter says which image it writes: that of a graph driver, and of containerd's store.
const WRITES: [&str; 2] = ["writing image ", "naming to moby-dangling@"];

/// What a build may leave.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Vertices that were begun, and when; none for those that printed something, or ended.
    begun: BTreeMap<String, Option<Timer>>,
    images: Vec<OciDigest>,
}

impl Leftovers {
    /// Takes what the daemon tells.
    pub(crate) fn take(&mut self, update: &StatusResponse) {
        for vertex in &update.vertexes {
            if vertex.completed.is_some() {
                self.begun.insert(vertex.digest.clone(), None);
            } else if vertex.started.is_some() {
                self.begun.entry(vertex.digest.clone()).or_insert_with(|| Some(Timer::start()));
            }
        }
        for log in &update.logs {
            self.begun.insert(log.vertex.clone(), None);
        }
        for status in &update.statuses {
            let written = WRITES.iter().find_map(|words| status.id.strip_prefix(words));
            if let Some(id) = written.and_then(|id| id.parse().ok())
                && !self.images.contains(&id)
            {
                self.images.push(id);
            }
        }
    }

    /// Whether something has just begun.
    pub(crate) fn has_beginning(&self) -> bool {
        self.begun.values().flatten().any(|since| since.elapsed() < BEGINNING)
    }

    /// The images that were written into the store of a Docker Engine.
    pub(crate) fn into_images(self) -> Vec<OciDigest> {
        self.images
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Timestamp;
    use bollard_buildkit_proto::moby::buildkit::v1::{Vertex, VertexLog, VertexStatus};

    use super::*;

    fn begins(name: &str) -> StatusResponse {
        let (digest, name) = (format!("digest of {name}"), name.to_owned());
        let vertex =
            Vertex { digest, name, started: Some(Timestamp::default()), ..Vertex::default() };
        StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }
    }

    #[test]
    fn a_vertex_begins_until_it_prints_or_ends() {
        let run = begins("[a 2/2] RUN make");
        let mut prints = run.clone();
        prints
            .logs
            .push(VertexLog { vertex: run.vertexes[0].digest.clone(), ..VertexLog::default() });
        let mut ends = run.clone();
        ends.vertexes[0].completed = Some(Timestamp::default());
        for next in [prints, ends] {
            let mut leftovers = Leftovers::default();
            assert!(!leftovers.has_beginning());
            leftovers.take(&run);
            assert!(leftovers.has_beginning());
            leftovers.take(&next);
            leftovers.take(&run);
            assert!(!leftovers.has_beginning());
        }
    }

    #[test]
    fn images_are_known_by_what_either_exporter_says() {
        let [one, two] = ['1', '2'].map(|digit| format!("sha256:{}", digit.to_string().repeat(64)));
        let mut leftovers = Leftovers::default();
        for id in [
            "exporting layers".to_owned(),
            format!("writing image {one}"),
            format!("writing image {one}"),
            format!("exporting config {one}"),
            format!("naming to moby-dangling@{two}"),
        ] {
            let statuses = vec![VertexStatus { id, ..VertexStatus::default() }];
            leftovers.take(&StatusResponse { statuses, ..StatusResponse::default() });
        }
        let images: Vec<String> = leftovers.into_images().iter().map(ToString::to_string).collect();
        assert_eq!(images, [one, two]);
    }
}
