//! The commands of this repository, one file a verb.
