//! From what was known and what is there to what happened meanwhile. Pure.

use roadstead_api::event::ImageChange;

use super::{Seen, Tagged};

/// One tag that is not as it was. What lay between is not known: a tag that moved twice has one difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The tag.
    pub tag: String,
    /// Digest that it was known at; None: it is new.
    pub before: Option<String>,
    /// Digest that it has; None: it is gone.
    pub after: Option<String>,
}

impl Difference {
    /// As a change of `repository` at `registry`. Of a tag that is gone it says at which digest it was.
    pub fn image(&self, registry: &str, repository: &str) -> ImageChange {
        let action = if self.after.is_some() { "push" } else { "delete" };
        ImageChange {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: self.tag.clone(),
            digest: self.after.clone().or_else(|| self.before.clone()).unwrap_or_default(),
            action: action.to_owned(),
            actor: String::new(),
        }
    }

    /// An id that is the same whenever the same difference is found again from the same knowledge: `touched` is that of
    /// [`Known`](super::Known).
    pub fn id(&self, repository: &str, touched: u64) -> String {
        let now = self.after.as_deref().unwrap_or("gone");
        format!("reconciled/{repository}:{}@{now}/{touched}", self.tag)
    }
}

/// What became of the tags, in their order.
pub fn compare(known: &Tagged, seen: &Seen) -> Vec<Difference> {
    let is = seen.tags.iter().filter(|(tag, digest)| known.get(*tag) != Some(*digest)).map(|(tag, digest)| {
        Difference { tag: tag.clone(), before: known.get(tag).cloned(), after: Some(digest.clone()) }
    });
    let gone = known
        .iter()
        .filter(|(tag, _)| seen.complete && !seen.tags.contains_key(*tag))
        .map(|(tag, digest)| Difference { tag: tag.clone(), before: Some(digest.clone()), after: None });
    let mut differences: Vec<Difference> = is.chain(gone).collect();
    differences.sort_by(|one, other| one.tag.cmp(&other.tag));
    differences
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::super::Known;
    use super::*;

    fn tagged(pairs: &[(&str, &str)]) -> Tagged {
        pairs.iter().map(|(tag, digest)| (tag.to_string(), digest.to_string())).collect()
    }

    fn seen(tags: Tagged, complete: bool) -> Seen {
        Seen { tags, complete, etag: None }
    }

    #[test]
    fn tells_new_moved_and_gone() {
        let known = tagged(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let now = tagged(&[("a", "1"), ("b", "2"), ("d", "3")]);
        let found = compare(&known, &seen(now.clone(), true));
        let images: Vec<_> = found.iter().map(|difference| difference.image("r:5000", "team/shop")).collect();
        let shown: Vec<_> = images.iter().map(|i| [&*i.action, &*i.tag, &*i.digest]).collect();
        assert_eq!(shown, [["push", "b", "2"], ["delete", "c", "1"], ["push", "d", "3"]]);
        assert!(images.iter().all(|image| image.registry == "r:5000" && image.repository == "team/shop"));
        assert_eq!(found[0].id("team/shop", 7), "reconciled/team/shop:b@2/7");
        assert_eq!(found[1].id("team/shop", 7), "reconciled/team/shop:c@gone/7");
        // A list that was cut short proves nothing about what is missing.
        assert_eq!(compare(&known, &seen(now, false)).len(), 2);
        // A repository that is gone has no tags.
        assert!(compare(&known, &seen(Tagged::new(), true)).iter().all(|difference| difference.after.is_none()));
    }

    #[test]
    fn what_nobody_was_told_of_is_no_news_at_first() {
        let known = Known { tags: tagged(&[("told", "1"), ("went", "1")]), ..Known::default() };
        let now = seen(tagged(&[("told", "2"), ("old", "9")]), true);
        let tags = |known: &Known| known.news(&now).into_iter().map(|news| news.tag).collect::<Vec<_>>();
        assert_eq!(tags(&known), ["told", "went"]);
        assert_eq!(tags(&Known { complete: true, ..known }), ["old", "told", "went"]);
    }

    #[test]
    fn what_is_noted_is_what_differs() {
        let known = Known { tags: tagged(&[("a", "1"), ("b", "1")]), touched: 3, complete: true, etag: None };
        let now = seen(tagged(&[("b", "2"), ("c", "1")]), true);
        let found = known.found("r", &now, 9).unwrap();
        assert_eq!((found.set, found.gone, found.touched), (now.tags.clone(), vec!["a".to_owned()], 9));
        let same = seen(known.tags.clone(), true);
        assert_eq!(known.found("r", &same, 9), None);
        // That somebody looked is worth noting, and the list's ETag.
        let noted = Known { complete: false, ..known.clone() }.found("r", &same, 9).unwrap();
        assert_eq!((noted.set.len(), noted.gone.len(), noted.touched), (0, 0, 3));
        assert!(known.found("r", &Seen { etag: Some("x".into()), ..same }, 9).is_some());
    }

    proptest! {
        #[test]
        fn differences_lead_from_what_was_known_to_what_is(
            known in btree_map("[a-d]", "[1-3]", 0..4),
            now in btree_map("[a-d]", "[1-3]", 0..4),
            complete: bool,
        ) {
            let now = seen(now, complete);
            let mut state = known.clone();
            for difference in compare(&known, &now) {
                prop_assert_ne!(&difference.before, &difference.after);
                prop_assert_eq!(state.get(&difference.tag), difference.before.as_ref());
                match difference.after {
                    Some(digest) => state.insert(difference.tag, digest),
                    None => state.remove(&difference.tag),
                };
            }
            if complete {
                prop_assert_eq!(&state, &now.tags);
            } else {
                prop_assert!(now.tags.iter().all(|(tag, digest)| state.get(tag) == Some(digest)));
                prop_assert!(known.keys().all(|tag| state.contains_key(tag)));
            }
            // Found again from there, nothing is left.
            prop_assert!(compare(&state, &now).is_empty());
        }
    }
}
