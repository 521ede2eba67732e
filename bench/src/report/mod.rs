//! What the runs found, as tables for people and as JSON for programs.

pub(crate) mod idle;
pub(crate) mod neighbours;
pub(crate) mod rounds;
pub(crate) mod storm;
