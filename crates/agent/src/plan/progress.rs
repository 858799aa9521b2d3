//! How far a trigger is: what is persisted, and what a restart continues from.

/// Most ranges that are persisted. What does not fit is done again after a restart.
const MAX_RANGES: usize = 512;

/// Everything up to `position` is done, and so is everything in `done_ahead`. Positions are those of the hub's log
/// (`metadata.resourceVersion` of a WebhookEvent).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to here every event is done: acted on, filtered or dead-lettered.
    pub position: u64,
    /// Sequence of the endpoint's last event at or before `position`; 0 where that is not known.
    pub sequence: u64,
    /// Done ranges after `position`: first and last position, both included, ascending.
    pub done_ahead: Vec<(u64, u64)>,
}

impl Progress {
    /// The sequence, if it is known: nothing comes before the log's beginning, but a trigger that began later does not
    /// know it before its first event.
    pub fn known_sequence(&self) -> Option<u64> {
        (self.sequence > 0 || self.position == 0).then_some(self.sequence)
    }

    /// Whether the event at `position` is done.
    pub fn covers(&self, position: u64) -> bool {
        if position <= self.position {
            return true;
        }
        let next = self.done_ahead.partition_point(|(_, last)| *last < position);
        self.done_ahead.get(next).is_some_and(|(first, _)| *first <= position)
    }

    /// `status.doneAhead`: `88124-88190,88195`; `None` if there is nothing.
    pub fn format_ranges(&self) -> Option<String> {
        let parts = self
            .done_ahead
            .iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
        Some(parts.collect::<Vec<_>>().join(",")).filter(|text| !text.is_empty())
    }

    /// Reads what [`format_ranges`](Self::format_ranges) wrote. Anything else is as good as nothing: then events are
    /// repeated, never lost.
    pub fn parse_ranges(text: &str) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if first <= last && ranges.last().is_none_or(|(_, end)| *end < first) => {
                    ranges.push((first, last));
                }
                _ => return Vec::new(),
            }
        }
        ranges
    }

    /// Keeps the widest ranges only, so that the status stays small.
    pub fn bound(&mut self) {
        if self.done_ahead.len() > MAX_RANGES {
            self.done_ahead.sort_unstable_by_key(|(first, last)| std::cmp::Reverse(last - first));
            self.done_ahead.truncate(MAX_RANGES);
            self.done_ahead.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_the_watermark_and_the_ranges() {
        let progress = Progress { position: 10, sequence: 3, done_ahead: vec![(12, 14), (20, 20)] };
        for (position, done) in
            [(1, true), (10, true), (11, false), (12, true), (14, true), (15, false), (20, true), (21, false)]
        {
            assert_eq!(progress.covers(position), done, "{position}");
        }
    }

    #[test]
    fn ranges_round_trip_and_rubbish_is_nothing() {
        let progress = Progress { done_ahead: vec![(88124, 88190), (88195, 88195)], ..Progress::default() };
        let text = progress.format_ranges().unwrap();
        assert_eq!(text, "88124-88190,88195");
        assert_eq!(Progress::parse_ranges(&text), progress.done_ahead);
        assert_eq!(Progress::default().format_ranges(), None);
        for text in ["x", "5-3", "1-2,2-3", "3,1", "1-", "-1", "1-2-3"] {
            assert_eq!(Progress::parse_ranges(text), [], "{text}");
        }
    }

    #[test]
    fn too_many_ranges_keep_the_widest() {
        let mut done_ahead: Vec<(u64, u64)> = (0..1000).map(|n| (n * 10, n * 10)).collect();
        done_ahead.push((20_000, 90_000));
        let mut progress = Progress { done_ahead, ..Progress::default() };
        progress.bound();
        assert_eq!(progress.done_ahead.len(), MAX_RANGES);
        assert_eq!(progress.done_ahead.last(), Some(&(20_000, 90_000)));
        assert!(progress.done_ahead.is_sorted());
    }
}
