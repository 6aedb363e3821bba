//! What BuildKit tells of a build, whichever interface carries it: the Status stream of its gRPC
//! service, or what `buildx --progress=rawjson` prints.
//!
//! BuildKit calls the nodes of its graph vertices. It announces all of them before it starts any,
//! tells each again whenever something changes, in no particular order, and names those that come
//! from an instruction after it: `[build 2/3] RUN make`. Nothing else says which instruction it was.

pub mod details;
pub mod failure;
pub mod line;
pub mod name;
pub mod progress;

/// A node of BuildKit's graph, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vertex {
    /// What it is known by.
    pub digest: String,
    /// What it does, for people.
    pub name: String,
    /// Whether it was begun.
    pub started: bool,
    /// Whether it ended.
    pub completed: bool,
    /// Whether its result came from the cache.
    pub cached: bool,
    /// Why it failed; empty if it did not.
    pub error: String,
}

/// A piece of what a vertex prints: not a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The digest of the vertex.
    pub vertex: String,
    /// The bytes.
    pub data: Vec<u8>,
}
