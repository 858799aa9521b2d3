//! Property: whatever is lost, delayed or stopped, two candidates never lead at once; and once the network is well, one does.
//!
//! A world with its own time: a server that holds one Lease, candidates whose clocks began at different moments (a skew of hours is
//! nothing else to them), and a network that loses requests, loses answers, and delays both. The candidates are the real ones.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    lease::Record,
    plan::{Action, Candidate, Times},
};

const MS: fn(u64) -> Duration = Duration::from_millis;
const DURATION: u64 = 15_000;
const DEADLINE: u64 = 10_000;
const RETRY: u64 = 2_000;
/// A request is given up after this long.
const TIMEOUT: u64 = DEADLINE / 2;
/// Faults end here.
const WELL: u64 = 120_000;
const END: u64 = 180_000;
const STEP: u64 = 100;

/// What befalls one request.
#[derive(Clone, Debug)]
struct Fate {
    there: u64,
    back: u64,
    lost_there: bool,
    lost_back: bool,
}

/// A process is suspended from the first to the second time.
type Sleep = (u64, u64);

enum Asked {
    Look,
    Write(Option<Record>),
}

/// A request on its way.
struct Flight {
    from: usize,
    asked: Asked,
    sent: u64,
    arrives: Option<u64>,
    answers: Option<u64>,
    answer: Option<Result<Option<Record>, ()>>,
}

struct World {
    lease: Option<Record>,
    version: u64,
    candidates: Vec<Candidate>,
    clocks: Vec<u64>,
    waiting: Vec<Option<u64>>,
    flights: Vec<Flight>,
}

impl World {
    fn local(&self, who: usize, now: u64) -> Duration {
        MS(now + self.clocks[who])
    }

    /// The server takes what arrives, in the order of arrival.
    fn serve(&mut self, now: u64) {
        for flight in &mut self.flights {
            if flight.arrives.is_none_or(|at| at > now) {
                continue;
            }
            flight.arrives = None;
            flight.answer = Some(match &flight.asked {
                Asked::Look => Ok(self.lease.clone()),
                Asked::Write(over) if over.as_ref().map(|o| &o.version) == self.lease.as_ref().map(|l| &l.version) => {
                    self.version += 1;
                    let (holder, version) = (format!("c{}", flight.from), self.version.to_string());
                    self.lease = Some(Record { holder, version, duration: Some(MS(DURATION)), ..Record::default() });
                    Ok(self.lease.clone())
                }
                Asked::Write(_) => Err(()),
            });
        }
    }

    fn hear(&mut self, who: usize, now: u64) {
        let at = self.local(who, now);
        let Some(sent) = self.waiting[who] else { return };
        let mine = |f: &Flight| f.from == who && f.sent == sent && f.answers.is_some_and(|at| at <= now);
        if let Some(index) = self.flights.iter().position(|f| mine(f) && f.answer.is_some()) {
            let flight = self.flights.remove(index);
            self.waiting[who] = None;
            let candidate = &mut self.candidates[who];
            let due = at + MS(RETRY);
            match (flight.asked, flight.answer) {
                (Asked::Look, Some(Ok(record))) => candidate.saw(at, record, due),
                (Asked::Write(_), Some(Ok(Some(record)))) => {
                    candidate.wrote(MS(sent + self.clocks[who]), at, record, due);
                }
                _ => candidate.unclear(at + MS(RETRY / 4)),
            }
        } else if now >= sent + TIMEOUT {
            // What is still on its way may arrive later; nobody listens any more.
            self.waiting[who] = None;
            self.candidates[who].unclear(at + MS(RETRY));
        }
    }

    fn act(&mut self, who: usize, now: u64, fate: &mut impl FnMut(u64) -> Fate) {
        if self.waiting[who].is_some() {
            return;
        }
        let asked = match self.candidates[who].plan(self.local(who, now)) {
            Action::Wait(_) => return,
            Action::StepDown(_) => {
                let due = self.local(who, now) + MS(RETRY);
                return self.candidates[who].stepped_down(due);
            }
            Action::Look => Asked::Look,
            Action::Create => Asked::Write(None),
            Action::Write(over) => Asked::Write(Some(over)),
        };
        let fate = fate(now);
        let arrives = (!fate.lost_there).then_some(now + fate.there);
        let answers = (!fate.lost_there && !fate.lost_back).then_some(now + fate.there + fate.back);
        self.waiting[who] = Some(now);
        self.flights.push(Flight { from: who, asked, sent: now, arrives, answers, answer: None });
    }

    fn leaders(&self, now: u64) -> Vec<usize> {
        (0..self.candidates.len()).filter(|who| self.candidates[*who].leads(self.local(*who, now))).collect()
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (0..12_000u64, 0..12_000u64, 0..6u8, any::<bool>(), any::<bool>()).prop_map(|(a, b, kind, x, y)| {
        let quick = kind > 1;
        Fate {
            there: if quick { a / 100 } else { a },
            back: if quick { b / 100 } else { b },
            lost_there: kind == 0 && x,
            lost_back: kind <= 2 && y,
        }
    });
    proptest::collection::vec(fate, 1..60)
}

fn sleeps() -> impl Strategy<Value = Vec<Sleep>> {
    proptest::collection::vec((0..WELL - 40_000, 0..40_000u64).prop_map(|(from, long)| (from, from + long)), 3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn never_two_and_in_the_end_one(
        fates in fates(),
        sleeps in sleeps(),
        clocks in proptest::collection::vec(0..7_200_000u64, 3),
    ) {
        let times = Times { duration: MS(DURATION), renew_deadline: MS(DEADLINE) };
        let mut world = World {
            lease: None,
            version: 0,
            candidates: (0..3).map(|who| Candidate::new(format!("c{who}"), times)).collect(),
            clocks,
            waiting: vec![None; 3],
            flights: Vec::new(),
        };
        let mut next = 0;
        let mut fate = move |now: u64| {
            next += 1;
            if now >= WELL {
                return Fate { there: 0, back: 0, lost_there: false, lost_back: false };
            }
            fates[next % fates.len()].clone()
        };
        for now in (0..END).step_by(STEP as usize) {
            world.serve(now);
            for (who, (from, until)) in sleeps.iter().enumerate() {
                if (*from..*until).contains(&now) {
                    continue;
                }
                world.hear(who, now);
                world.act(who, now, &mut fate);
            }
            let leaders = world.leaders(now);
            prop_assert!(leaders.len() <= 1, "{leaders:?} lead at {now} ms");
        }
        prop_assert_eq!(world.leaders(END).len(), 1, "nobody leads though nothing is wrong any more");
    }
}
