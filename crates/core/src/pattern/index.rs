//! Many patterns, and quickly those that match a name.
//!
//! ```text
//!   name ──┬─ all
//!          ├─ exact            one look-up
//!          ├─ by beginning     one look-up for each length that some beginning has ── prefixes: all of them match
//!          │                                └─ by end: one look-up for each length ── the few that are left are tried
//!          └─ URLs             the same over the name's components, once for each base
//! ```
//!
//! Invariant: what a name costs grows with the number of different lengths and of matches, not with the number of patterns that differ in
//! their literal beginning or end.

use std::sync::Arc;

use hashbrown::HashMap;

use super::url::{self, Base};
use super::{Compiled, Pattern};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Patterns with a value each, to be found by names that they match.
#[derive(Debug)]
pub struct PatternIndex<T> {
    all: Vec<T>,
    exact: Map<Box<[u8]>, Vec<T>>,
    names: Beginnings<T>,
    urls: Vec<(Base, Beginnings<T>)>,
    len: usize,
}

/// Patterns by their literal beginnings.
#[derive(Debug)]
struct Beginnings<T>(ByLength<Beginning<T>>);

#[derive(Debug)]
struct Beginning<T> {
    /// Nothing is wanted behind the beginning.
    prefixes: Vec<T>,
    ends: ByLength<Vec<(Arc<Compiled>, T)>>,
}

/// Values by texts, and the lengths that these texts have.
#[derive(Debug)]
struct ByLength<V> {
    values: Map<Box<[u8]>, V>,
    /// Each length with the number of texts that have it, in order.
    lengths: Vec<(usize, usize)>,
}

impl<V> Default for ByLength<V> {
    fn default() -> Self {
        Self { values: Map::default(), lengths: Vec::new() }
    }
}

impl<V: Default> ByLength<V> {
    fn entry(&mut self, text: &[u8]) -> &mut V {
        if !self.values.contains_key(text) {
            match self.lengths.binary_search_by_key(&text.len(), |(length, _)| *length) {
                Ok(at) => self.lengths[at].1 += 1,
                Err(at) => self.lengths.insert(at, (text.len(), 1)),
            }
            self.values.insert(text.into(), V::default());
        }
        self.values.get_mut(text).expect("the entry is there: inserted above")
    }

    fn remove(&mut self, text: &[u8]) {
        if self.values.remove(text).is_none() {
            return;
        }
        if let Ok(at) = self.lengths.binary_search_by_key(&text.len(), |(length, _)| *length) {
            self.lengths[at].1 -= 1;
            if self.lengths[at].1 == 0 {
                self.lengths.remove(at);
            }
        }
    }

    fn lengths_up_to(&self, most: usize) -> impl Iterator<Item = usize> + '_ {
        self.lengths.iter().map(|(length, _)| *length).take_while(move |length| *length <= most)
    }
}

impl<T> Default for Beginning<T> {
    fn default() -> Self {
        Self { prefixes: Vec::new(), ends: ByLength::default() }
    }
}

impl<T> Default for Beginnings<T> {
    fn default() -> Self {
        Self(ByLength::default())
    }
}

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self { all: Vec::new(), exact: Map::default(), names: Beginnings::default(), urls: Vec::new(), len: 0 }
    }
}

impl<T: PartialEq> PatternIndex<T> {
    /// Adds a value under a pattern.
    pub fn insert(&mut self, pattern: &Pattern, value: T) {
        self.len += 1;
        match pattern {
            Pattern::All => self.all.push(value),
            Pattern::Exact(name) => self.exact.entry(name.as_str().as_bytes().into()).or_default().push(value),
            Pattern::Prefix(prefix) => self.names.0.entry(prefix.as_bytes()).prefixes.push(value),
            Pattern::Template(compiled) => self.names.insert(compiled, value),
            Pattern::Url(compiled) => {
                let base = compiled.base.clone().unwrap_or_default();
                let at = self.urls.iter().position(|(known, _)| *known == base).unwrap_or_else(|| {
                    self.urls.push((base, Beginnings::default()));
                    self.urls.len() - 1
                });
                self.urls[at].1.insert(compiled, value);
            }
        }
    }

    /// Takes a value away again.
    pub fn remove(&mut self, pattern: &Pattern, value: &T) {
        self.len -= 1;
        match pattern {
            Pattern::All => forget(&mut self.all, value),
            Pattern::Exact(name) => {
                if let Some(values) = self.exact.get_mut(name.as_str().as_bytes()) {
                    forget(values, value);
                    if values.is_empty() {
                        self.exact.remove(name.as_str().as_bytes());
                    }
                }
            }
            Pattern::Prefix(prefix) => {
                let beginning = self.names.0.entry(prefix.as_bytes());
                forget(&mut beginning.prefixes, value);
                self.names.tidy(prefix.as_bytes());
            }
            Pattern::Template(compiled) => self.names.remove(compiled, value),
            Pattern::Url(compiled) => {
                let Some(at) = self.urls.iter().position(|(known, _)| compiled.base.as_ref() == Some(known)) else { return };
                self.urls[at].1.remove(compiled, value);
                if self.urls[at].1.0.values.is_empty() {
                    self.urls.swap_remove(at);
                }
            }
        }
    }

    /// Calls `found` with the value of each pattern that matches the name.
    pub fn matches(&self, name: &str, mut found: impl FnMut(&T)) {
        self.all.iter().for_each(&mut found);
        if !self.exact.is_empty() {
            self.exact.get(name.as_bytes()).into_iter().flatten().for_each(&mut found);
        }
        self.names.matches(name.as_bytes(), name.len(), name, &mut found);
        for (base, patterns) in &self.urls {
            if let Some(subject) = base.subject(name) {
                patterns.matches(&subject, url::path_end(&subject), name, &mut found);
            }
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nothing is left of what was once in it.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.len == 0 && self.all.is_empty() && self.exact.is_empty() && self.urls.is_empty() && self.names.0.lengths.is_empty()
    }
}

impl<T: PartialEq> Beginnings<T> {
    fn insert(&mut self, compiled: &Arc<Compiled>, value: T) {
        let automaton = &compiled.automaton;
        self.0.entry(&automaton.prefix).ends.entry(&compiled.end).push((compiled.clone(), value));
    }

    fn remove(&mut self, compiled: &Arc<Compiled>, value: &T) {
        let automaton = &compiled.automaton;
        let ends = &mut self.0.entry(&automaton.prefix).ends;
        let values = ends.entry(&compiled.end);
        if let Some(at) = values.iter().position(|(known, own)| known == compiled && own == value) {
            values.swap_remove(at);
        }
        if values.is_empty() {
            ends.remove(&compiled.end);
        }
        self.tidy(&automaton.prefix);
    }

    fn tidy(&mut self, prefix: &[u8]) {
        if self.0.values.get(prefix).is_some_and(|beginning| beginning.prefixes.is_empty() && beginning.ends.values.is_empty()) {
            self.0.remove(prefix);
        }
    }

    /// `cut` is where the literal ends of patterns end in the subject.
    fn matches(&self, subject: &[u8], cut: usize, name: &str, found: &mut impl FnMut(&T)) {
        for length in self.0.lengths_up_to(subject.len()) {
            let Some(beginning) = self.0.values.get(&subject[..length]) else { continue };
            beginning.prefixes.iter().for_each(&mut *found);
            for end in beginning.ends.lengths_up_to(cut.saturating_sub(length)) {
                let Some(patterns) = beginning.ends.values.get(&subject[cut - end..cut]) else { continue };
                for (pattern, value) in patterns {
                    if pattern.automaton.matches(subject) || (pattern.base.is_none() && *pattern.source == *name) {
                        found(value);
                    }
                }
            }
        }
    }
}

fn forget<T: PartialEq>(values: &mut Vec<T>, value: &T) {
    if let Some(at) = values.iter().position(|known| known == value) {
        values.swap_remove(at);
    }
}
