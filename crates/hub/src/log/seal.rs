//! Closing a segment for good: its ids go to an id file, its shares into the segment, its write-ahead log into the database. Idempotent:
//! after a crash it is done again from the start.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rusqlite::Connection;

use super::{
    dedupe::RecentIds,
    error::LogError,
    fingerprints::fingerprint,
    ids::{self, Extent, IdRow},
    segment::Segment,
    shared::{Shared, lock, read},
    streams::StreamState,
};

/// The ids of a segment, sorted by hash.
pub(super) fn id_rows(shared: &Shared, connection: &Connection) -> Result<Vec<IdRow>, LogError> {
    let mut statement = connection.prepare("SELECT stream, id, sequence, position FROM event ORDER BY position")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    // A snapshot: the lock must not be held for as long as this takes.
    let streams: HashMap<u32, Arc<StreamState>> =
        read(&shared.streams).all().map(|state| (state.key, state.clone())).collect();
    while let Some(row) = rows.next()? {
        let stream = row.get(0)?;
        let Some(state) = streams.get(&stream) else { continue };
        let id = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let hash = ids::hash(&state.stream.uid, id);
        found.push(IdRow { hash, stream, sequence: row.get(2)?, position: row.get(3)? });
    }
    found.sort_unstable();
    Ok(found)
}

/// The ids of a segment as the writer keeps them.
pub(super) fn recent_ids(shared: &Shared, connection: &Connection) -> Result<RecentIds, LogError> {
    Ok(id_rows(shared, connection)?.into_iter().map(|row| (row.hash, row.sequence)).collect())
}

/// Seals a closed segment; `connection` is the writer's old one, or a new one after a restart.
pub(super) fn seal(shared: &Shared, segment: &Segment, connection: &mut Connection) -> Result<(), LogError> {
    let Some((_, newest)) = segment.span() else { return Ok(()) };
    connection.busy_timeout(Duration::from_millis(50))?;
    empty_wal(shared, segment, connection)?;
    let rows = id_rows(shared, connection)?;
    let extent = Extent { first: segment.first(), last: segment.last(), newest };
    ids::build(&shared.directory, segment.ordinal, &rows, extent)?;
    segment.write_shares(connection)?;
    empty_wal(shared, segment, connection)?;
    lock(&shared.extents).insert(segment.ordinal, extent);
    shared.fingerprints.add(segment.ordinal, rows.iter().map(|row| fingerprint(&row.hash)).collect());
    segment.set_sealed(true);
    Ok(())
}

/// Moves the whole write-ahead log into the database. Fails, to be tried again, while somebody reads.
fn empty_wal(shared: &Shared, segment: &Segment, connection: &Connection) -> Result<(), LogError> {
    shared.readers.release(segment.ordinal);
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))? {
        true => Err(LogError::Storage(format!("segment {} is still being read", segment.ordinal))),
        false => Ok(()),
    }
}
