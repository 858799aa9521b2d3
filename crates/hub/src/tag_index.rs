//! What the hub remembers of tags, so that a deletion can say what it deleted.
//!
//! A registry tells the deletion of a manifest by its digest alone, and the deletion of a tag by the tag alone; CNCF Distribution
//! tells one after the other when a manifest goes with its tags. Whoever watches wants both. This memory learns from the events of
//! one endpoint (and is rebuilt from its log at start) and fills in what it knows; what it does not know stays empty. Tags that are
//! gone are remembered as gone, so that the second telling is complete too. No I/O, bounded, the longest unseen tag goes first.

use std::collections::BTreeMap;

use roadstead_api::event::ImageChange;

use crate::providers::{Change, MAX_CHANGES};

/// Tags of one endpoint's registry, and the digests that they were last seen at.
#[derive(Clone, Debug)]
pub struct TagIndex {
    capacity: usize,
    clock: u64,
    tags: BTreeMap<(String, String), Seen>,
    ages: BTreeMap<u64, (String, String)>,
}

#[derive(Clone, Debug)]
struct Seen {
    digest: String,
    at: u64,
    gone: bool,
}

impl TagIndex {
    /// An empty memory of at most `capacity` tags (about 300 bytes each).
    pub fn new(capacity: usize) -> TagIndex {
        TagIndex { capacity: capacity.max(1), clock: 0, tags: BTreeMap::new(), ages: BTreeMap::new() }
    }

    /// Learns from an event, in the order of the log: a push sets a tag; a deletion marks a tag, all tags of a digest, or all of a
    /// repository as gone.
    pub fn observe(&mut self, image: &ImageChange) {
        match (image.action.as_str(), image.tag.is_empty()) {
            ("push", false) if !image.digest.is_empty() => self.set(image),
            ("delete", by_digest) => {
                let goes = |tag: &str, seen: &Seen| match (by_digest, image.digest.is_empty()) {
                    (false, _) => tag == image.tag,
                    (true, false) => seen.digest == image.digest,
                    (true, true) => true,
                };
                let first = (image.repository.clone(), String::new());
                let of = self.tags.range_mut(first..).take_while(|((name, _), _)| *name == image.repository);
                of.for_each(|((_, tag), seen)| seen.gone |= goes(tag, seen));
            }
            _ => {}
        }
    }

    /// Tags that were last seen at a digest and are not gone, in order.
    fn tags_of(&self, repository: &str, digest: &str) -> Vec<String> {
        let first = (repository.to_owned(), String::new());
        self.tags
            .range(first..)
            .take_while(|((name, _), _)| name == repository)
            .filter(|(_, seen)| !seen.gone && seen.digest == digest)
            .map(|((_, tag), _)| tag.clone())
            .collect()
    }

    /// Digest that a tag was last seen at, even if it is gone.
    pub fn digest_of(&self, repository: &str, tag: &str) -> Option<&str> {
        self.tags.get(&(repository.to_owned(), tag.to_owned())).map(|seen| seen.digest.as_str())
    }

    /// Fills in deletions. One by digest becomes one for each known tag, `<id>/0`, `<id>/1` if there are several; one by tag gets
    /// its digest. The changes are not observed yet: do that when they are recorded.
    pub fn fill(&self, changes: Vec<Change>) -> Vec<Change> {
        let mut filled = Vec::with_capacity(changes.len());
        for change in changes {
            let Some(image) = change.image.as_ref().filter(|image| image.action == "delete") else {
                filled.push(change);
                continue;
            };
            let tags = if image.tag.is_empty() && !image.digest.is_empty() {
                self.tags_of(&image.repository, &image.digest)
            } else {
                Vec::new()
            };
            // More than anybody can act on: better one event that tells the digest than some of the tags.
            if tags.is_empty() || tags.len() > MAX_CHANGES {
                filled.push(self.with_digest(change));
                continue;
            }
            let several = tags.len() > 1;
            for (index, tag) in tags.into_iter().enumerate() {
                let id = change.id.as_ref().map(|id| if several { format!("{id}/{index}") } else { id.clone() });
                let image = change.image.clone().map(|image| ImageChange { tag, ..image });
                filled.push(Change { id, image, ..change.clone() });
            }
        }
        filled
    }

    fn with_digest(&self, mut change: Change) -> Change {
        if let Some(image) = change.image.as_mut().filter(|image| image.digest.is_empty() && !image.tag.is_empty()) {
            image.digest = self.digest_of(&image.repository, &image.tag).unwrap_or_default().to_owned();
        }
        change
    }

    fn set(&mut self, image: &ImageChange) {
        let key = (image.repository.clone(), image.tag.clone());
        self.clock += 1;
        let seen = Seen { digest: image.digest.clone(), at: self.clock, gone: false };
        self.ages.insert(self.clock, key.clone());
        if let Some(before) = self.tags.insert(key, seen) {
            self.ages.remove(&before.at);
        }
        while self.tags.len() > self.capacity {
            let Some((_, oldest)) = self.ages.pop_first() else { break };
            self.tags.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(action: &str, repository: &str, tag: &str, digest: &str) -> ImageChange {
        ImageChange {
            action: action.into(),
            repository: repository.into(),
            tag: tag.into(),
            digest: digest.into(),
            ..ImageChange::default()
        }
    }

    fn index(events: &[(&str, &str, &str, &str)]) -> TagIndex {
        let mut index = TagIndex::new(4);
        events
            .iter()
            .for_each(|(action, repository, tag, digest)| index.observe(&image(action, repository, tag, digest)));
        index
    }

    #[test]
    fn knows_the_tags_of_a_digest() {
        let pushes = [
            ("push", "a", "v1", "d1"),
            ("push", "a", "latest", "d1"),
            ("push", "a/b", "v1", "d1"),
            ("push", "a", "", "d1"),
        ];
        let known = index(&pushes);
        assert_eq!(known.tags_of("a", "d1"), ["latest", "v1"]);
        assert_eq!(known.tags_of("a/b", "d1"), ["v1"]);
        assert!(known.tags_of("a", "d2").is_empty() && known.tags_of("", "d1").is_empty());
        let moved = index(&[&pushes[..], &[("push", "a", "latest", "d2")]].concat());
        assert_eq!((moved.tags_of("a", "d1"), moved.digest_of("a", "latest")), (vec!["v1".to_owned()], Some("d2")));
    }

    #[test]
    fn deletions_are_remembered_as_such() {
        let pushes = [
            ("push", "a", "v1", "d1"),
            ("push", "a", "v2", "d1"),
            ("push", "a", "v3", "d2"),
            ("push", "b", "v1", "d1"),
        ];
        for (deletion, left) in [
            (("delete", "a", "v1", ""), ["v2", "v3", "v1"].as_slice()),
            (("delete", "a", "", "d1"), &["v3", "v1"]),
            (("delete", "a", "", ""), &["v1"]),
            (("delete", "c", "", ""), &["v1", "v2", "v3", "v1"]),
        ] {
            let index = index(&[&pushes[..], &[deletion]].concat());
            let tags = index.tags.iter().filter(|(_, seen)| !seen.gone).map(|((_, tag), _)| tag.as_str());
            assert_eq!(tags.collect::<Vec<_>>(), left, "{deletion:?}");
            assert_eq!((index.ages.len(), index.digest_of("a", "v1")), (4, Some("d1")));
        }
    }

    #[test]
    fn the_longest_unseen_goes_first() {
        let events: Vec<_> = ["1", "2", "3", "4", "1", "5"].iter().map(|tag| ("push", "a", *tag, "d")).collect();
        assert_eq!(index(&events).tags_of("a", "d"), ["1", "3", "4", "5"]);
    }

    #[test]
    fn fills_in_deletions() {
        let index = index(&[("push", "a", "v1", "d1"), ("push", "a", "v2", "d1"), ("push", "a", "v3", "d3")]);
        let change = |image| Change { id: Some("x".into()), image: Some(image), ..Change::default() };
        let fill = |one: ImageChange| -> Vec<_> {
            let filled = index.fill(vec![change(one)]).into_iter();
            filled.map(|change| (change.id.unwrap(), change.image.unwrap().tag)).collect()
        };
        let pair = |id: &str, tag: &str| (id.to_owned(), tag.to_owned());
        assert_eq!(fill(image("delete", "a", "", "d1")), [pair("x/0", "v1"), pair("x/1", "v2")]);
        assert_eq!(fill(image("delete", "a", "", "d3")), [pair("x", "v3")]);
        assert_eq!(fill(image("delete", "a", "", "d9")), [pair("x", "")]);
        assert_eq!(fill(image("delete", "a", "", "")), [pair("x", "")]);
        assert_eq!(fill(image("push", "a", "", "d1")), [pair("x", "")]);
        let by_tag = index.fill(vec![change(image("delete", "a", "v3", ""))]).remove(0).image.unwrap();
        assert_eq!(by_tag.digest, "d3");
    }

    #[test]
    fn a_deletion_told_twice_is_complete_twice() {
        let mut index = index(&[("push", "a", "v1", "d1")]);
        for told in [image("delete", "a", "", "d1"), image("delete", "a", "v1", "")] {
            let filled = index.fill(vec![Change { image: Some(told), ..Change::default() }]).remove(0).image.unwrap();
            assert_eq!((filled.tag.as_str(), filled.digest.as_str()), ("v1", "d1"));
            index.observe(&filled);
        }
        assert!(index.tags_of("a", "d1").is_empty());
    }
}
