//! What an agent is started with.

use std::{collections::BTreeMap, time::Duration};

use kube::Client;
use roadstead_reconcile::Namespaces;

use crate::{
    allow::{Ground, Pattern},
    hub::HubAccess,
    plan::Limits,
};

/// Settings of one agent.
pub struct Options {
    /// The hubs to watch, by the name that triggers use.
    pub hubs: BTreeMap<String, HubAccess>,
    /// The control plane where the triggers live and where they act. Must be allowed to read Triggers, DeadLetters and
    /// Secrets, to write the first two and Events, and to impersonate service accounts.
    pub own: Client,
    /// The namespaces whose triggers it runs.
    pub namespaces: Namespaces,
    /// Id of this process in the subscriber's status; random, so that two agents with one identity can be told apart.
    pub instance: String,
    /// Decides where `forward` may send unless `allow_forward` says so.
    pub ground: Ground,
    /// Where `forward` may send; if empty, the ground's default.
    pub allow_forward: Vec<Pattern>,
    /// Whether triggers may act in other namespaces than their own, and on objects outside of namespaces; at a hub that
    /// does not know the agent as a subscriber also whether they may see every endpoint.
    pub allow_cross_namespace: bool,
    /// Bounds of each trigger. The concurrency is that of triggers that say nothing.
    pub limits: Limits,
    /// First and longest delay between attempts.
    pub retry_delays: (Duration, Duration),
    /// DeadLetters that are kept for each trigger; the oldest are removed.
    pub dead_letters: usize,
    /// How long running actions may go on after a shutdown was asked for.
    pub drain: Duration,
    /// How often it is asked again whether an endpoint of another namespace still allows a trigger to watch it, at a hub
    /// that does not know the agent as a subscriber.
    pub recheck: Duration,
}

impl Options {
    /// The defaults, without hubs.
    pub fn new(own: Client, ground: Ground) -> Self {
        Self {
            hubs: BTreeMap::new(),
            own,
            namespaces: Namespaces::default(),
            instance: uuid::Uuid::new_v4().to_string(),
            ground,
            allow_forward: Vec::new(),
            allow_cross_namespace: false,
            limits: Limits::default(),
            retry_delays: (Duration::from_secs(1), Duration::from_secs(3600)),
            dead_letters: 1000,
            drain: Duration::from_secs(20),
            recheck: Duration::from_secs(30),
        }
    }
}
