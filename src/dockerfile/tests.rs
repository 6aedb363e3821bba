//! Rules of the reader, each with its source.
