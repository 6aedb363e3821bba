//! The messages of `containerd.services.content.v1`, as far as BuildKit sends and reads them.
//!
//! Written by hand from the numbers of `content.proto`: no crate has them without running `protoc`.
//! Fields that are left out, times and labels, are optional to both sides.

/// Asks for a blob.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct InfoRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
}

/// What is known of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) info: Option<Info>,
}

/// A blob.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Info {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(int64, tag = "2")]
    pub(crate) size: i64,
}

/// Asks for bytes of a blob.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadContentRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(int64, tag = "2")]
    pub(crate) offset: i64,
    /// 0: all that are left.
    #[prost(int64, tag = "3")]
    pub(crate) size: i64,
}

/// Some of them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadContentResponse {
    #[prost(int64, tag = "1")]
    pub(crate) offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
}

/// What a message of a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum WriteAction {
    /// Asks how far it is.
    Stat = 0,
    /// Brings bytes.
    Write = 1,
    /// Brings the last bytes, if any, and ends it.
    Commit = 2,
}

/// A message of a write.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WriteContentRequest {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(crate) action: i32,
    /// The size of the whole, where it is known.
    #[prost(int64, tag = "3")]
    pub(crate) total: i64,
    /// The digest of the whole, where it is known.
    #[prost(string, tag = "4")]
    pub(crate) expected: String,
    #[prost(int64, tag = "5")]
    pub(crate) offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) data: Vec<u8>,
}

/// The answer to each.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WriteContentResponse {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(crate) action: i32,
    /// How many bytes there are.
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "5")]
    pub(crate) total: i64,
    /// Of a blob that was committed.
    #[prost(string, tag = "6")]
    pub(crate) digest: String,
}
