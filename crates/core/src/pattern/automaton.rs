//! What templates and URL patterns become: a small automaton that reads a text once, however the pattern was built.
//!
//! Only the part between the literal beginning and the literal end of a pattern becomes states, and a state takes four to six bytes, so that
//! a hundred thousand live patterns fit into memory; a compiled regular expression each would not.
//!
//! Invariant: matching takes at most (length of the text) × (number of states) steps, and there are at most [`STATES_MAX`].

use smallvec::SmallVec;

/// The most states that one pattern may need.
pub(super) const STATES_MAX: usize = 1024;

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    pub(super) const NONE: Self = Self([0; 4]);

    pub(super) fn of(bytes: &[u8]) -> Self {
        bytes.iter().fold(Self::NONE, |set, byte| set.with(*byte, *byte))
    }

    pub(super) const fn with(mut self, first: u8, last: u8) -> Self {
        let mut byte = first;
        loop {
            self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
            if byte == last {
                return self;
            }
            byte += 1;
        }
    }

    pub(super) fn without(mut self, byte: u8) -> Self {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
        self
    }

    const fn contains(self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] & (1 << (byte & 63)) != 0
    }
}

/// What is to be matched, as a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Node {
    /// These bytes.
    Literal(Vec<u8>),
    /// One byte of a set.
    One(Bytes),
    /// One after the other.
    Chain(Vec<Self>),
    /// One of them.
    Either(Vec<Self>),
    /// Between `min` and `max` times.
    Repeat { node: Box<Self>, min: u32, max: Option<u32> },
}

impl Node {
    pub(super) fn repeat(self, min: u32, max: Option<u32>) -> Self {
        Self::Repeat { node: Box::new(self), min, max }
    }

    /// Any number of bytes of the set.
    pub(super) fn many(set: Bytes, min: u32) -> Self {
        Self::One(set).repeat(min, None)
    }
}

/// The pattern needs more than [`STATES_MAX`] states.
#[derive(Debug)]
pub(super) struct TooLarge;

/// A matcher with its literal ends.
#[derive(Debug)]
pub(super) struct Automaton {
    pub(super) prefix: Box<[u8]>,
    pub(super) suffix: Box<[u8]>,
    states: Box<[State]>,
    sets: Box<[Bytes]>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Reads that byte and goes on to the next state.
    Byte(u8),
    /// Reads a byte of that set and goes on to the next state.
    Set(u16),
    /// Goes on to both.
    Fork(u16, u16),
    Jump(u16),
    End,
}

impl Automaton {
    pub(super) fn new(nodes: Vec<Node>) -> Result<Self, TooLarge> {
        let mut nodes = joined(nodes);
        let prefix = match nodes.first_mut() {
            Some(Node::Literal(bytes)) => std::mem::take(bytes),
            _ => Vec::new(),
        };
        let suffix = match nodes.last_mut() {
            Some(Node::Literal(bytes)) => std::mem::take(bytes),
            _ => Vec::new(),
        };
        let mut states = States::default();
        states.chain(&nodes)?;
        states.push(State::End)?;
        Ok(Self { prefix: prefix.into(), suffix: suffix.into(), states: states.list.into(), sets: states.sets.into() })
    }

    /// Whether the whole text matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let middle = text.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix));
        middle.is_some_and(|middle| self.matches_middle(middle))
    }

    fn matches_middle(&self, text: &[u8]) -> bool {
        let mut now = Active::default();
        self.enter(0, &mut now);
        for byte in text {
            if now.list.is_empty() {
                return false;
            }
            let mut next = Active::default();
            for at in &now.list {
                let takes = match self.states[usize::from(*at)] {
                    State::Byte(wanted) => wanted == *byte,
                    State::Set(set) => self.sets[usize::from(set)].contains(*byte),
                    State::Fork(..) | State::Jump(_) | State::End => false,
                };
                if takes {
                    self.enter(at + 1, &mut next);
                }
            }
            now = next;
        }
        now.list.iter().any(|at| matches!(self.states[usize::from(*at)], State::End))
    }

    /// Adds a state, and all that can be reached from it without reading.
    fn enter(&self, at: u16, active: &mut Active) {
        let mut open: SmallVec<[u16; 16]> = SmallVec::from_elem(at, 1);
        while let Some(at) = open.pop() {
            if !active.mark(at) {
                continue;
            }
            match self.states[usize::from(at)] {
                State::Fork(one, other) => open.extend([one, other]),
                State::Jump(to) => open.push(to),
                State::Byte(_) | State::Set(_) | State::End => active.list.push(at),
            }
        }
    }
}

/// The states that the text read so far may have led to.
#[derive(Default)]
struct Active {
    list: SmallVec<[u16; 32]>,
    seen: [u64; STATES_MAX / 64],
}

impl Active {
    fn mark(&mut self, at: u16) -> bool {
        let (word, bit) = (usize::from(at >> 6), 1 << (at & 63));
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

/// Joins literals that stand next to each other, so that the ends are as long as they can be.
fn joined(nodes: Vec<Node>) -> Vec<Node> {
    let mut flat: Vec<Node> = Vec::new();
    for node in nodes {
        let parts = match node {
            Node::Chain(parts) => joined(parts),
            other => vec![other],
        };
        for part in parts {
            match (flat.last_mut(), part) {
                (_, Node::Literal(bytes)) if bytes.is_empty() => {}
                (Some(Node::Literal(before)), Node::Literal(bytes)) => before.extend(bytes),
                (_, part) => flat.push(part),
            }
        }
    }
    flat
}

#[derive(Default)]
struct States {
    list: Vec<State>,
    sets: Vec<Bytes>,
}

impl States {
    fn push(&mut self, state: State) -> Result<u16, TooLarge> {
        if self.list.len() >= STATES_MAX {
            return Err(TooLarge);
        }
        self.list.push(state);
        Ok((self.list.len() - 1) as u16)
    }

    fn here(&self) -> u16 {
        self.list.len() as u16
    }

    fn chain(&mut self, nodes: &[Node]) -> Result<(), TooLarge> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), TooLarge> {
        match node {
            Node::Literal(bytes) => bytes.iter().try_for_each(|byte| self.push(State::Byte(*byte)).map(|_| ())),
            Node::One(set) => {
                let known = self.sets.iter().position(|known| known == set);
                let index = known.unwrap_or_else(|| {
                    self.sets.push(*set);
                    self.sets.len() - 1
                });
                self.push(State::Set(index as u16)).map(|_| ())
            }
            Node::Chain(nodes) => self.chain(nodes),
            Node::Either(nodes) => self.either(nodes),
            Node::Repeat { node, min, max } => self.repeat(node, *min, *max),
        }
    }

    fn either(&mut self, nodes: &[Node]) -> Result<(), TooLarge> {
        let Some((last, others)) = nodes.split_last() else { return Ok(()) };
        let mut ends = Vec::new();
        for node in others {
            let fork = self.push(State::Jump(0))?;
            self.node(node)?;
            ends.push(self.push(State::Jump(0))?);
            self.list[usize::from(fork)] = State::Fork(fork + 1, self.here());
        }
        self.node(last)?;
        for end in ends {
            self.list[usize::from(end)] = State::Jump(self.here());
        }
        Ok(())
    }

    fn repeat(&mut self, node: &Node, min: u32, max: Option<u32>) -> Result<(), TooLarge> {
        for _ in 0..min {
            let before = self.here();
            self.node(node)?;
            if self.here() == before {
                // Nothing, however often, is nothing.
                return Ok(());
            }
        }
        let Some(max) = max else {
            let fork = self.push(State::Jump(0))?;
            self.node(node)?;
            self.push(State::Jump(fork))?;
            self.list[usize::from(fork)] = State::Fork(fork + 1, self.here());
            return Ok(());
        };
        let mut forks = Vec::new();
        for _ in min..max {
            forks.push(self.push(State::Jump(0))?);
            self.node(node)?;
        }
        for fork in forks {
            self.list[usize::from(fork)] = State::Fork(fork + 1, self.here());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Node {
        Node::Literal(text.as_bytes().to_vec())
    }

    #[test]
    fn the_ends_are_literal_and_the_middle_is_read_once() {
        let word = Bytes::NONE.with(b'a', b'z');
        let automaton = Automaton::new(vec![
            literal("x/"),
            Node::Chain(vec![literal("y/"), Node::many(word, 1)]),
            literal("/"),
            Node::Either(vec![literal("one"), literal("two"), Node::Chain(vec![])]).repeat(0, Some(2)),
            literal("!"),
        ])
        .unwrap();
        assert_eq!((&*automaton.prefix, &*automaton.suffix), (&b"x/y/"[..], &b"!"[..]));
        for (text, expected) in [
            ("x/y/a/!", true),
            ("x/y/abc/one!", true),
            ("x/y/abc/onetwo!", true),
            ("x/y/abc/onetwoone!", false),
            ("x/y//one!", false),
            ("x/y/a/", false),
            ("x/y/!", false),
            ("x/y/A/!", false),
        ] {
            assert_eq!(automaton.matches(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_would_explode_is_refused() {
        let inner = literal("ab").repeat(100, Some(200));
        assert!(Automaton::new(vec![inner.repeat(1000, None)]).is_err());
        // Nested stars are slow for those who go back; here they are read once.
        let stars = Node::One(Bytes::of(b"a")).repeat(0, None).repeat(0, None).repeat(0, None);
        let automaton = Automaton::new(vec![stars]).unwrap();
        assert!(automaton.matches(&[b'a'; 5000]) && !automaton.matches(&[b'b'; 5000]));
        let nothing = Automaton::new(vec![Node::Chain(vec![]).repeat(u32::MAX, None)]).unwrap();
        assert!(nothing.matches(b"") && !nothing.matches(b"a"));
    }
}
