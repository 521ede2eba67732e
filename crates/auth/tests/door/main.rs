//! The whole door, from credential texts to principals and refusals: what it lets in, what it must never let in, and that nothing breaks it.
//!
//! Tokens and key sets are made here with `jsonwebtoken` itself and not with our own `mint`, so that both sides can't be wrong alike.

mod attacks;
mod entrances;
mod properties;
mod world;
