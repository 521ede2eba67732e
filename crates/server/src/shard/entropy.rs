//! The system's randomness, fetched for many requests at once: a system call for each would be a tenth of what a poll costs.
//!
//! Invariant: no byte is given out twice.

const POOL_BYTES: usize = 4096;

/// Random bytes that nobody has had yet.
pub(super) struct Entropy {
    pool: Box<[u8; POOL_BYTES]>,
    used: usize,
}

impl Entropy {
    pub(super) fn new() -> Self {
        Self { pool: Box::new([0; POOL_BYTES]), used: POOL_BYTES }
    }

    /// The next bytes; none when the system gives none.
    pub(super) fn draw(&mut self) -> Option<[u8; 32]> {
        if self.used + 32 > POOL_BYTES {
            getrandom::fill(&mut self.pool[..]).ok()?;
            self.used = 0;
        }
        let fresh = &mut self.pool[self.used..self.used + 32];
        self.used += 32;
        let drawn = <[u8; 32]>::try_from(&*fresh).ok()?;
        fresh.fill(0);
        Some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_twice() {
        let mut entropy = Entropy::new();
        let drawn: std::collections::HashSet<_> = (0..1000).map(|_| entropy.draw().unwrap()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
