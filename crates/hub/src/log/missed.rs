//! Counting what a reader has missed, for the message of its 410. Id files outlive their events, so the number is usually exact.

use std::sync::Arc;

use rusqlite::params;

use super::{
    error::LogError,
    ids,
    ring::Endpoint,
    shared::{Shared, lock, read},
    streams::StreamState,
    types::Missed,
};

impl Shared {
    /// How many events of `endpoint` after `position` were removed. Blocking.
    pub fn count_missed(&self, endpoint: &Endpoint, position: u64) -> Result<Missed, LogError> {
        let mut states: Vec<Arc<StreamState>> = read(&self.streams).all().cloned().collect();
        states.retain(|state| std::ptr::eq(&*state.endpoint, endpoint));
        let (mut events, mut deleted, mut first_retained) = (0, false, 1);
        for state in states {
            let end = match state.dropped() {
                true => state.last_sequence() + 1,
                false => state.floor(),
            };
            if !state.dropped() {
                first_retained = end;
            }
            if state.dropped() && state.last_position() <= position {
                continue;
            }
            deleted |= state.dropped();
            if let Some(first) = self.first_after(state.key, position)? {
                events += end.saturating_sub(first);
            }
        }
        let exact = self.remembers(position);
        let (namespace, name) = (endpoint.namespace.clone(), endpoint.name.clone());
        Ok(Missed::Removed { namespace, name, events, exact, first_retained, deleted })
    }

    /// Whether every event after `position` is still in a segment or an id file.
    fn remembers(&self, position: u64) -> bool {
        let earliest_ids = lock(&self.extents).iter().next().map(|(ordinal, extent)| (*ordinal, extent.first));
        let earliest_segment = read(&self.segments).first().map(|segment| (segment.ordinal, segment.first()));
        let earliest = [earliest_ids, earliest_segment].into_iter().flatten().min();
        // Files are numbered from 1.
        earliest.is_some_and(|(ordinal, first)| ordinal == 1 || first <= position + 1)
    }

    /// The first sequence of a stream after a position, as far back as ids are known.
    fn first_after(&self, key: u32, position: u64) -> Result<Option<u64>, LogError> {
        let files: Vec<u64> = lock(&self.extents)
            .iter()
            .filter(|(_, extent)| extent.last > position)
            .map(|(ordinal, _)| *ordinal)
            .collect();
        for ordinal in files {
            // A file that expires at this moment only makes the number smaller.
            let Ok(connection) = ids::open(&self.directory, ordinal) else { continue };
            if let Some(sequence) = ids::first_after(&connection, key, position)? {
                return Ok(Some(sequence));
            }
        }
        for segment in self.segments() {
            if segment.sealed() || segment.share(key).is_none_or(|share| share.last_position <= position) {
                continue;
            }
            let found = self.readers.with(&segment, |connection| {
                connection.query_row(
                    "SELECT min(sequence) FROM event INDEXED BY event_stream WHERE stream = ?1 AND position > ?2",
                    params![key, position],
                    |row| row.get(0),
                )
            })?;
            if let Some(sequence) = found.flatten() {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }
}
