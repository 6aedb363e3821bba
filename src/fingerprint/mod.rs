//! What makes an image out of date.

pub mod reason;
