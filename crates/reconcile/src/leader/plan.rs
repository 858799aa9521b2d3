//! What a candidate does next. Pure: times are local and monotonic, counted from any moment; answers are told as they come.
//!
//! The one rule that safety rests on: a request counts from when it was *sent*, what others wrote counts from when it was *seen*.

use std::time::Duration;

use super::lease::Record;

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long after the last sign of life another may take the Lease.
    pub duration: Duration,
    /// How long a leader may go on without a confirmed renewal.
    pub renew_deadline: Duration,
}

/// What is known of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing, or what was known is not so any more: look.
    Nothing,
    /// There is none.
    Absent,
    /// This version of it, first seen at that time.
    Present {
        /// What it says.
        record: Record,
        /// When this version was first seen here.
        seen: Duration,
    },
}

/// Why leadership ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No renewal was confirmed in time.
    NotRenewed,
    /// Somebody else has it.
    Taken(String),
    /// The Lease was deleted: anybody may make a new one.
    Deleted,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Loss::NotRenewed => f.write_str("it could not be renewed in time"),
            Loss::Taken(by) => write!(f, "{by} has taken it"),
            Loss::Deleted => f.write_str("the Lease was deleted"),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this time.
    Wait(Duration),
    /// Read the Lease.
    Look,
    /// Create it.
    Create,
    /// Write it over this version: to take it, or to renew it.
    Write(Record),
    /// Stop acting, now.
    StepDown(Loss),
}

/// One candidate's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    me: String,
    times: Times,
    known: Known,
    /// When the last confirmed write was sent, while leading.
    renewed: Option<Duration>,
    /// No request before this time.
    due: Duration,
    /// Since when the Lease has been read or written; what is older must be read again before it is waited for.
    looked: bool,
}

impl Candidate {
    /// One that knows nothing yet.
    pub fn new(me: impl Into<String>, times: Times) -> Self {
        let due = Duration::ZERO;
        Self { me: me.into(), times, known: Known::Nothing, renewed: None, due, looked: false }
    }

    /// Whether it may act at `now`.
    pub fn leads(&self, now: Duration) -> bool {
        self.ends().is_some_and(|end| now < end)
    }

    /// When leadership ends if nothing more is heard.
    pub fn ends(&self) -> Option<Duration> {
        self.renewed.map(|sent| sent + self.times.renew_deadline)
    }

    /// What is known.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// A read was answered at `at`; the next request may be sent at `due`.
    pub fn saw(&mut self, at: Duration, record: Option<Record>, due: Duration) {
        self.looked = true;
        // A leader that looks has just been told of a conflict, and acts on what it sees without waiting. Neither waits who sees
        // that nobody holds the Lease.
        let free = record.as_ref().is_none_or(|record| record.holder.is_empty());
        self.due = if free || self.renewed.is_some() { at } else { due };
        self.known = match record {
            None => Known::Absent,
            Some(record) => match &self.known {
                Known::Present { record: old, seen } if old.version == record.version => {
                    Known::Present { seen: *seen, record }
                }
                _ => Known::Present { record, seen: at },
            },
        };
    }

    /// A write that was sent at `sent` was confirmed at `at`; the next request may be sent at `due`.
    pub fn wrote(&mut self, sent: Duration, at: Duration, record: Record, due: Duration) {
        self.looked = true;
        self.due = due;
        self.known = Known::Present { record, seen: at };
        self.renewed = Some(sent);
    }

    /// A write met another version, or a request failed or was not answered, so that it is not known whether it was done:
    /// look at `due`.
    pub fn unclear(&mut self, due: Duration) {
        self.looked = false;
        self.due = due;
    }

    /// It does not lead any more.
    pub fn stepped_down(&mut self, due: Duration) {
        self.renewed = None;
        self.looked = false;
        self.due = due;
    }

    /// What to do at `now`.
    pub fn plan(&self, now: Duration) -> Action {
        match self.ends() {
            Some(end) if now >= end => Action::StepDown(Loss::NotRenewed),
            Some(end) => self.as_leader(now, end),
            None => self.as_standby(now),
        }
    }

    fn as_leader(&self, now: Duration, end: Duration) -> Action {
        match &self.known {
            Known::Present { record, .. } if self.looked && record.holder != self.me => {
                Action::StepDown(Loss::Taken(record.holder_for_people()))
            }
            Known::Absent if self.looked => Action::StepDown(Loss::Deleted),
            _ if now < self.due => Action::Wait(self.due.min(end)),
            Known::Present { record, .. } if self.looked => Action::Write(record.clone()),
            _ => Action::Look,
        }
    }

    fn as_standby(&self, now: Duration) -> Action {
        if now < self.due {
            return Action::Wait(self.due);
        }
        match &self.known {
            Known::Absent if self.looked => Action::Create,
            // Released, or written by ourselves without our hearing of it: nobody else leads, or the version would be another.
            Known::Present { record, .. } if self.looked && (record.holder.is_empty() || record.holder == self.me) => {
                Action::Write(record.clone())
            }
            Known::Present { record, seen } if self.looked && now >= *seen + self.patience(record) => {
                Action::Write(record.clone())
            }
            // What was seen a while ago is looked at again; the time since it was first seen goes on.
            _ => Action::Look,
        }
    }

    /// How long a version must have been seen before it may be overwritten: what its holder counts on.
    fn patience(&self, record: &Record) -> Duration {
        record.duration.unwrap_or(self.times.duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn record(holder: &str, version: &str) -> Record {
        Record { holder: holder.into(), version: version.into(), duration: Some(S(15)), ..Record::default() }
    }

    fn standby() -> Candidate {
        Candidate::new("me", Times { duration: S(15), renew_deadline: S(10) })
    }

    fn leader() -> Candidate {
        let mut candidate = standby();
        candidate.wrote(S(100), S(101), record("me", "1"), S(102));
        candidate
    }

    #[test]
    fn a_standby_waits_for_the_whole_duration_since_it_saw_the_last_change() {
        let mut me = standby();
        assert_eq!(me.plan(S(0)), Action::Look);
        me.saw(S(1), Some(record("other", "1")), S(3));
        assert_eq!(me.plan(S(2)), Action::Wait(S(3)));
        assert_eq!(me.plan(S(3)), Action::Look);
        me.saw(S(4), Some(record("other", "2")), S(6));
        me.saw(S(15), Some(record("other", "2")), S(17));
        assert_eq!(me.plan(S(18)), Action::Look, "14 s after version 2 was first seen");
        assert_eq!(me.plan(S(19)), Action::Write(record("other", "2")), "15 s after");
        me.saw(S(18), Some(record("other", "3")), S(19));
        assert_eq!(me.plan(S(32)), Action::Look, "the time starts anew with each version");
    }

    #[test]
    fn the_holders_own_duration_counts() {
        let mut me = standby();
        me.saw(S(0), Some(Record { duration: Some(S(60)), ..record("other", "1") }), S(0));
        assert_eq!(me.plan(S(59)), Action::Look);
        assert!(matches!(me.plan(S(60)), Action::Write(_)));
        me.saw(S(60), Some(Record { duration: None, ..record("other", "2") }), S(0));
        assert!(matches!(me.plan(S(75)), Action::Write(_)), "one that says nothing is given ours");
    }

    #[test]
    fn what_nobody_holds_is_taken_at_once() {
        let mut me = standby();
        me.saw(S(1), None, S(3));
        assert_eq!(me.plan(S(1)), Action::Create);
        me.saw(S(1), Some(record("", "1")), S(3));
        assert_eq!(me.plan(S(1)), Action::Write(record("", "1")));
        me.saw(S(1), Some(record("me", "2")), S(1));
        assert_eq!(me.plan(S(1)), Action::Write(record("me", "2")), "an own write whose answer was lost");
    }

    #[test]
    fn a_leader_counts_from_when_it_sent_its_last_renewal() {
        let me = leader();
        assert_eq!(me.plan(S(101)), Action::Wait(S(102)));
        assert_eq!(me.plan(S(102)), Action::Write(record("me", "1")));
        assert!(me.leads(S(109)) && !me.leads(S(110)));
        assert_eq!(me.plan(S(110)), Action::StepDown(Loss::NotRenewed));
        let mut late = standby();
        late.wrote(S(0), S(11), record("me", "1"), S(12));
        assert_eq!(late.plan(S(11)), Action::StepDown(Loss::NotRenewed), "confirmed after its own deadline");
    }

    #[test]
    fn a_leader_whose_write_conflicts_looks_and_believes_what_it_sees() {
        let table: [(Option<Record>, Action); 4] = [
            (Some(record("other", "2")), Action::StepDown(Loss::Taken("other".into()))),
            (Some(record("", "2")), Action::StepDown(Loss::Taken("nobody".into()))),
            (None, Action::StepDown(Loss::Deleted)),
            (Some(record("me", "2")), Action::Write(record("me", "2"))),
        ];
        for (seen, expected) in table {
            let mut me = leader();
            me.unclear(S(103));
            assert_eq!(me.plan(S(103)), Action::Look);
            me.saw(S(103), seen, S(105));
            assert_eq!(me.plan(S(103)), expected);
        }
    }

    #[test]
    fn failures_are_tried_again_until_the_deadline_and_no_longer() {
        let mut me = leader();
        me.unclear(S(106));
        assert_eq!(me.plan(S(104)), Action::Wait(S(106)));
        assert_eq!(me.plan(S(106)), Action::Look);
        me.unclear(S(200));
        assert_eq!(me.plan(S(106)), Action::Wait(S(110)), "never later than the end");
        me.stepped_down(S(111));
        assert!(!me.leads(S(105)));
        assert_eq!(me.plan(S(111)), Action::Look);
    }
}
