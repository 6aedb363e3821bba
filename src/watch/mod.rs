//! What a watch is made of: hints of the system, when to look, where, keys of a terminal, commands
//! after a build. `cli::watch` joins it with the rest.
//!
//! A hint is never trusted to say more than where to look again. What counts is the key: where the
//! inputs came out the same, nothing follows, so neither loops nor double builds can be. What is
//! missed would be worse: wherever a hint may have been lost, everything is looked at.
//!
//! | part | does |
//! |---|---|
//! | [`source`] | turns what the system tells into hints |
//! | [`batch`] | gathers hints until there is rest |
//! | [`places`] | knows which directories are read, and by which images |
//! | [`keys`] | reads the keys of a terminal |
//! | [`exec`] | runs a command after each success |

pub mod batch;
pub mod exec;
pub mod keys;
pub mod places;
pub mod source;
