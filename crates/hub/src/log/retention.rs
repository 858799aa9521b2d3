//! What retention removes: a pure decision over what a stream has in which segment.

use super::{segment::Share, types::Retention};

/// The first sequence that a stream keeps.
///
/// `shares` are what the stream has in the closed segments, oldest first; `last` is its last sequence; `open_bytes` what it has in the
/// segment that is being written; `now` is microseconds since 1970. Age and bytes take whole shares; the number of events is exact.
pub(super) fn floor(shares: &[Share], last: u64, open_bytes: u64, now: i64, retention: &Retention) -> u64 {
    let mut floor = retention.events.map_or(1, |events| (last + 1).saturating_sub(events.max(1)).max(1));
    let age = i64::try_from(retention.age.as_micros()).unwrap_or(i64::MAX);
    let oldest_kept = now.saturating_sub(age);
    let mut newer_bytes = open_bytes;
    for share in shares.iter().rev() {
        if share.newest < oldest_kept || newer_bytes >= retention.bytes {
            floor = floor.max(share.last_sequence + 1);
            break;
        }
        newer_bytes += share.bytes;
    }
    floor
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Shares of 10 events and 100 bytes, received at 1 s, 2 s, ...
    fn shares(count: u64) -> Vec<Share> {
        (0..count)
            .map(|n| Share {
                first_sequence: n * 10 + 1,
                last_sequence: n * 10 + 10,
                first_position: n * 100,
                last_position: n * 100 + 99,
                bytes: 100,
                oldest: (n as i64 + 1) * 1_000_000,
                newest: (n as i64 + 1) * 1_000_000,
            })
            .collect()
    }

    #[test]
    fn keeps_what_every_limit_allows() {
        let all = Retention { age: Duration::from_secs(1000), bytes: u64::MAX, events: None };
        let cases = [
            ("nothing to remove", all, 1),
            ("age takes whole shares", Retention { age: Duration::from_secs(3), ..all }, 11),
            ("age can take all closed shares", Retention { age: Duration::ZERO, ..all }, 41),
            ("bytes keep the share that crosses the limit", Retention { bytes: 160, ..all }, 21),
            ("bytes already reached by the open segment", Retention { bytes: 50, ..all }, 41),
            ("events are exact", Retention { events: Some(7), ..all }, 39),
            ("at least one event", Retention { events: Some(0), ..all }, 45),
            ("more than there are", Retention { events: Some(500), ..all }, 1),
            ("the strictest limit counts", Retention { events: Some(30), bytes: 160, ..all }, 21),
        ];
        for (what, retention, expected) in cases {
            assert_eq!(floor(&shares(4), 45, 50, 5_000_000, &retention), expected, "{what}");
        }
    }

    #[test]
    fn an_empty_stream_keeps_its_start() {
        let retention = Retention { events: Some(3), ..Retention::default() };
        assert_eq!(floor(&[], 0, 0, 0, &retention), 1);
    }
}
