//! From topics to points: a hash map for topics, a list for patterns. Pure.

use std::collections::HashMap;

use gateway_core::messages::{has_wildcard, matches};

/// Which points a topic feeds.
#[derive(Debug, Default)]
pub(super) struct Routes {
    exact: HashMap<String, Vec<usize>>,
    patterns: Vec<(String, Vec<usize>)>,
}

impl Routes {
    /// Routes of point `i` of the list by its filter.
    pub(super) fn new<'a>(filters: impl IntoIterator<Item = &'a str>) -> Self {
        let mut routes = Self::default();
        for (point, filter) in filters.into_iter().enumerate() {
            if !has_wildcard(filter) {
                routes.exact.entry(filter.to_owned()).or_default().push(point);
            } else if let Some((_, points)) = routes.patterns.iter_mut().find(|(f, _)| f == filter) {
                points.push(point);
            } else {
                routes.patterns.push((filter.to_owned(), vec![point]));
            }
        }
        routes
    }

    /// Points fed by a topic.
    pub(super) fn points<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = usize> + 'a {
        let exact = self.exact.get(topic).into_iter().flatten();
        let patterns = self.patterns.iter().filter(|(f, _)| matches(topic, f)).flat_map(|(_, p)| p);
        exact.chain(patterns).copied()
    }

    /// All filters, each once.
    pub(super) fn filters(&self) -> Vec<String> {
        self.exact.keys().chain(self.patterns.iter().map(|(f, _)| f)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_feeds_every_point_that_names_or_matches_it() {
        let routes = Routes::new(["a/b", "a/+", "a/b", "a/+", "#", "c"]);
        let points = |t: &str| routes.points(t).collect::<Vec<_>>();
        assert_eq!(points("a/b"), [0, 2, 1, 3, 4]);
        assert_eq!(points("a/x"), [1, 3, 4]);
        assert_eq!(points("c"), [5, 4]);
        let mut filters = routes.filters();
        filters.sort();
        assert_eq!(filters, ["#", "a/+", "a/b", "c"]);
    }
}
