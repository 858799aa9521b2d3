//! What the hub remembers of tags, so that a deletion can say what it deleted.
//!
//! A registry tells the deletion of a manifest by its digest alone, and the deletion of a tag by the tag alone. Whoever watches
//! wants both. This memory learns from the events of one endpoint (and is rebuilt from its log at start) and fills in what it
//! knows; what it does not know stays empty. No I/O, bounded, the longest unseen tag goes first.

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
}

impl TagIndex {
    /// An empty memory of at most `capacity` tags (about 300 bytes each).
    pub fn new(capacity: usize) -> TagIndex {
        TagIndex { capacity: capacity.max(1), clock: 0, tags: BTreeMap::new(), ages: BTreeMap::new() }
    }

    /// Learns from an event, in the order of the log: a push sets a tag, a deletion removes a tag, all tags of a digest, or all
    /// of a repository.
    pub fn observe(&mut self, image: &ImageChange) {
        match (image.action.as_str(), image.tag.is_empty(), image.digest.is_empty()) {
            ("push", false, false) => self.set(image),
            ("delete", false, _) => self.remove(&(image.repository.clone(), image.tag.clone())),
            ("delete", true, no_digest) => {
                let gone: Vec<_> = self
                    .of(&image.repository)
                    .filter(|(_, seen)| no_digest || seen.digest == image.digest)
                    .map(|(key, _)| key.clone())
                    .collect();
                gone.iter().for_each(|key| self.remove(key));
            }
            _ => {}
        }
    }

    /// Tags that were last seen at a digest, in order.
    pub fn tags_of(&self, repository: &str, digest: &str) -> Vec<String> {
        self.of(repository).filter(|(_, seen)| seen.digest == digest).map(|((_, tag), _)| tag.clone()).collect()
    }

    /// Digest that a tag was last seen at.
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
            if tags.is_empty() {
                filled.push(self.with_digest(change));
                continue;
            }
            let several = tags.len() > 1;
            for (index, tag) in tags.into_iter().take(MAX_CHANGES).enumerate() {
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

    fn of<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = (&'a (String, String), &'a Seen)> {
        let first = (repository.to_owned(), String::new());
        self.tags.range(first..).take_while(move |((name, _), _)| name == repository)
    }

    fn set(&mut self, image: &ImageChange) {
        let key = (image.repository.clone(), image.tag.clone());
        self.remove(&key);
        self.clock += 1;
        self.ages.insert(self.clock, key.clone());
        self.tags.insert(key, Seen { digest: image.digest.clone(), at: self.clock });
        while self.tags.len() > self.capacity {
            let Some((_, oldest)) = self.ages.pop_first() else { break };
            self.tags.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &(String, String)) {
        if let Some(seen) = self.tags.remove(key) {
            self.ages.remove(&seen.at);
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
    fn deletions_are_forgotten() {
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
            let tags: Vec<_> = index.tags.keys().map(|(_, tag)| tag.as_str()).collect();
            assert_eq!(tags, left, "{deletion:?}");
            assert_eq!(index.ages.len(), left.len());
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
}
