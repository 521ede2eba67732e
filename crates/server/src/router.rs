//! Paths to dialects. Two dialects with the same path are an error at start, not a surprise later.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use omnivox_core::{AppId, Dialect};

/// Which dialect a path belongs to.
pub struct Router {
    dialects: Vec<Arc<dyn Dialect>>,
    exact: HashMap<String, u8, foldhash::fast::RandomState>,
    /// Longest first.
    subtrees: Vec<(String, u8)>,
}

/// Two dialects want the same path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path `{path}` is wanted by both `{first}` and `{second}`; change the path or the prefix of one of them")]
pub struct Clash {
    path: String,
    first: &'static str,
    second: &'static str,
}

impl Router {
    /// A router over all paths of the dialects.
    pub fn new(dialects: Vec<Arc<dyn Dialect>>) -> Result<Self, Clash> {
        let mut router = Self { dialects: Vec::new(), exact: HashMap::default(), subtrees: Vec::new() };
        for (index, dialect) in dialects.iter().enumerate() {
            for route in dialect.routes() {
                let path = route.path.into_owned();
                let taken = if route.subtree {
                    let found = router.subtrees.iter().find(|(known, _)| *known == path).map(|(_, other)| *other);
                    router.subtrees.push((path.clone(), index as u8));
                    found
                } else {
                    router.exact.insert(path.clone(), index as u8)
                };
                if let Some(other) = taken.filter(|other| usize::from(*other) != index) {
                    return Err(Clash { path, first: dialects[usize::from(other)].name(), second: dialect.name() });
                }
            }
        }
        router.subtrees.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        router.dialects = dialects;
        Ok(router)
    }

    /// The dialect of a path: an exact one, else the longest subtree.
    pub fn find(&self, path: &str) -> Option<u8> {
        let exact = self.exact.get(path).copied();
        exact.or_else(|| self.subtrees.iter().find(|(subtree, _)| path.starts_with(&**subtree)).map(|(_, index)| *index))
    }

    /// An exact path that ends with this one, for who left something out.
    pub fn longer(&self, path: &str) -> Option<&str> {
        let longer = self.exact.keys().filter(|known| path.starts_with('/') && path.len() > 1 && known.ends_with(path));
        longer.map(|known| &**known).min()
    }

    /// The route that a path belongs to, as its dialect wrote it: one word for many paths, without anything that a client chose.
    pub fn route(&self, path: &str) -> Option<Cow<'_, str>> {
        let exact = self.exact.get_key_value(path).map(|(route, _)| Cow::Borrowed(&**route));
        exact.or_else(|| {
            self.subtrees.iter().find(|(subtree, _)| path.starts_with(&**subtree)).map(|(subtree, _)| format!("{subtree}*").into())
        })
    }

    /// A dialect by its index.
    pub fn dialect(&self, index: u8) -> &Arc<dyn Dialect> {
        &self.dialects[usize::from(index)]
    }

    /// Tells all dialects in which apps events that they have no handler for are answered.
    pub fn tell_of_application(&self, apps: &[AppId]) {
        self.dialects.iter().for_each(|dialect| dialect.application_answers(apps));
    }

    /// The names of all dialects.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.dialects.iter().map(|dialect| dialect.name())
    }
}
