//! The planner in a simulated world: every rule, whatever receivers do and whenever the process dies or the clock jumps; and that
//! nobody starves.

use std::time::Duration;

use jiff::SignedDuration;
use proptest::{collection::vec, option, prelude::*};

use super::model::{State, World};
use crate::{
    delivery::Verdict,
    queue::{Limits, Options, Rate},
};

/// Anything that a receiver may do, from a byte.
fn behaviour(byte: u8) -> (Duration, Verdict) {
    let takes = Duration::from_millis(u64::from(byte) * 37 % 3000);
    let after = Some(Duration::from_secs(u64::from(byte % 7) * 1000));
    let verdict = match byte {
        0..130 => Verdict::Delivered,
        130..190 => Verdict::Retry { after: None },
        190..215 => Verdict::Retry { after },
        215..235 => Verdict::Throttle { after },
        235..254 => Verdict::Throttle { after: None },
        _ => Verdict::Gone,
    };
    (takes, verdict)
}

/// A webhook: concurrency, rate and burst, a key for each message, and how much it leans towards failure.
type Described = (u32, Option<(u32, u32)>, Vec<Option<u8>>, u8);

#[derive(Clone, Debug)]
struct Plan {
    webhooks: Vec<Described>,
    script: Vec<u8>,
    places: usize,
    /// After so many steps.
    disturbances: Vec<(u16, Disturbance)>,
}

#[derive(Clone, Debug)]
enum Disturbance {
    /// The process dies.
    Crash,
    /// The clock jumps by minutes.
    Jump(i16),
    /// The log is changed from outside for this webhook.
    Reload(usize),
}

fn plan() -> impl Strategy<Value = Plan> {
    let webhook = (1u32..6, option::of((1u32..50, 1u32..10)), vec(option::weighted(0.7, 0u8..4), 0..30), any::<u8>());
    let disturbance = prop_oneof![
        Just(Disturbance::Crash),
        (-3000i16..3000).prop_map(Disturbance::Jump),
        (0usize..4).prop_map(Disturbance::Reload),
        (0usize..4).prop_map(Disturbance::Reload),
    ];
    let disturbances = vec((0u16..40, disturbance), 0..16);
    (vec(webhook, 1..5), vec(any::<u8>(), 1..40), 2usize..12, disturbances)
        .prop_map(|(webhooks, script, places, disturbances)| Plan { webhooks, script, places, disturbances })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Order per key, concurrency and shares are asserted by the world at each start.
    #[test]
    fn every_message_ends_and_no_rule_is_broken(plan in plan()) {
        let script = plan.script.clone();
        let lean: Vec<u8> = plan.webhooks.iter().map(|webhook| webhook.3).collect();
        let receiver = move |webhook: usize, number: usize, tries: u32| {
            // Some webhooks lean towards failure, some to success.
            let byte = script[(webhook * 7 + number * 3 + tries as usize) % script.len()];
            behaviour(byte.saturating_add(lean[webhook] / 2))
        };
        let mut world = World::new(Options { places: plan.places, ..Options::default() }, Box::new(receiver));
        for (concurrency, rate, keys, _) in &plan.webhooks {
            let names = ["a", "b", "c", "d"];
            let keys: Vec<Option<&str>> = keys.iter().map(|key| key.map(|key| names[key as usize])).collect();
            let rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
            world.webhook(Limits { concurrency: *concurrency, rate, suspended: false }, &keys);
        }
        for (steps, disturbance) in plan.disturbances {
            for _ in 0..steps {
                world.step();
            }
            match disturbance {
                Disturbance::Crash => world.crash(),
                Disturbance::Jump(minutes) => world.wall += SignedDuration::from_mins(minutes.into()),
                Disturbance::Reload(webhook) => world.reload(webhook),
            }
        }
        let mut steps = 0;
        while world.step() {
            steps += 1;
            prop_assert!(steps < 200_000, "it does not end");
        }
        for webhook in &world.webhooks {
            for stored in &webhook.messages {
                prop_assert!(stored.state != State::Pending, "{stored:?} is left");
                let least = if stored.state == State::Delivered || !webhook.disabled { 1 } else { 0 };
                prop_assert!(stored.attempts >= least, "{stored:?} ended without an attempt");
            }
        }
    }
}

const LIMITS: Limits = Limits { concurrency: 8, rate: None, suspended: false };

#[test]
fn healthy_webhooks_start_at_once_beside_hundreds_that_hang() {
    // A tenth hangs until its timeout.
    let receiver = |webhook: usize, _: usize, _: u32| match webhook % 10 {
        0 => (Duration::from_secs(15), Verdict::Retry { after: None }),
        _ => (Duration::from_millis(2), Verdict::Delivered),
    };
    let mut world = World::new(Options::default(), Box::new(receiver));
    for _ in 0..300 {
        world.webhook(LIMITS, &[None; 10]);
    }
    let begun = world.begun;
    while world.step() && world.now < begun + Duration::from_secs(2) {}
    for (index, webhook) in world.webhooks.iter().enumerate().filter(|(index, _)| index % 10 != 0) {
        for stored in &webhook.messages {
            let waited = stored.started.map(|at| at - begun);
            assert!(waited.is_some_and(|waited| waited < Duration::from_millis(200)), "{index}: {waited:?}");
        }
    }
}

#[test]
fn first_attempts_are_not_starved_by_retries() {
    // The first thousand fail for ever; what comes after would be taken at once.
    let receiver = |_: usize, number: usize, _: u32| match number % 2 {
        0 => (Duration::from_millis(900), Verdict::Retry { after: None }),
        _ => (Duration::from_millis(900), Verdict::Delivered),
    };
    let mut world = World::new(Options::default(), Box::new(receiver));
    world.webhook(LIMITS, &[None; 400]);
    while world.step() && world.webhooks[0].messages.iter().any(|stored| stored.started.is_none()) {}
    // Four hundred, at worst one at a time in turns with retries.
    assert!(world.now - world.begun < Duration::from_secs(2 * 400), "{:?}", world.now - world.begun);
    while world.step() {}
    assert!(world.webhooks[0].messages.iter().all(|stored| stored.state != State::Pending));
}

#[test]
fn five_days_of_nothing_but_failure_disable() {
    let receiver = |_: usize, _: usize, _: u32| (Duration::from_secs(1), Verdict::Retry { after: None });
    let mut world = World::new(Options::default(), Box::new(receiver));
    world.webhook(LIMITS, &[Some("a"); 40]);
    while world.step() {}
    assert!(world.webhooks[0].disabled);
    let days = (world.now - world.begun).as_secs_f64() / 86400.0;
    assert!((5.0..8.0).contains(&days), "after {days} days");
    assert!(world.webhooks[0].messages.iter().all(|stored| stored.state == State::DeadLetter));
}

#[test]
fn a_clock_that_jumps_disables_nobody_and_floods_nobody() {
    let receiver = |_: usize, _: usize, _: u32| (Duration::from_millis(5), Verdict::Retry { after: None });
    let mut world = World::new(Options::default(), Box::new(receiver));
    world.webhook(LIMITS, &[None; 100]);
    while world.webhooks[0].failures < 20 && world.step() {}
    let before = world.starts;
    world.wall += SignedDuration::from_hours(24 * 30);
    let until = world.now + Duration::from_secs(60);
    while world.now < until && world.step() {}
    assert!(!world.webhooks[0].disabled);
    assert!(world.starts - before < 20, "{} attempts in a minute", world.starts - before);
    // A restart right after another: what the log has written down disables nobody either.
    world.wall += SignedDuration::from_hours(24 * 30);
    world.crash();
    let (until, failures) = (world.now + Duration::from_secs(3600), world.webhooks[0].failures);
    while world.now < until && world.step() {}
    assert!(!world.webhooks[0].disabled && world.webhooks[0].failures > failures);
    // Back by a month, and a restart: nobody waits for a month.
    world.wall -= SignedDuration::from_hours(24 * 90);
    world.crash();
    let until = world.now + Duration::from_secs(30 * 3600);
    let before = world.starts;
    while world.now < until && world.step() {}
    assert!(world.starts > before);
}
