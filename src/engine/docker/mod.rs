//! What Docker brings along: where daemons are, and the API of its engine.
//!
//! Where and who follow the docker CLI, so that what works with `docker build` works without being
//! said again. The environment is handed in, never read. Knows nothing of builds.
//!
//! | file | knows |
//! |---|---|
//! | [`endpoint`] | a place to connect to, and where docker's daemon is |
//! | [`buildkitd`] | the addresses of a `buildkitd` (`BUILDKIT_HOST`, `[[builder]]`) |
//! | [`address`], [`ssh`] | how an address is taken apart; a daemon behind ssh |
//! | [`context`] | docker's contexts |
//! | [`stream`] | bytes to and from an endpoint |
//! | [`api`] | the Docker Engine API: the image store, and the upgrades to gRPC |
//! | [`documents`] | what it answers |

pub mod address;
pub mod api;
pub mod buildkitd;
pub mod context;
pub mod documents;
pub mod endpoint;
#[cfg(test)]
mod fixture;
pub mod ssh;
pub mod stream;

use crate::dockerconfig::ConfigError;

impl ConfigError {
    /// An address that cannot be used. Only its harmless part is kept.
    pub(crate) fn address(address: &str, why: impl Into<String>) -> Self {
        Self::Address { address: address::shown(address), why: why.into() }
    }
}
