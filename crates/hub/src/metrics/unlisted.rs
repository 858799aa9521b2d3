//! Namespaces whose endpoints are not known.

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// A gauge of 1 for each namespace that was to be served and could not be listed yet.
#[derive(Clone, Debug)]
pub(crate) struct Unlisted(Family<Vec<(&'static str, String)>, Gauge>);

impl Unlisted {
    /// Registers the gauge; there are none.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let family = Family::default();
        let help = "Namespaces to be served whose endpoints could not be listed yet";
        registry.register("roadstead_hub_unlisted_namespaces", help, family.clone());
        Self(family)
    }

    /// Shows these and no others.
    pub(crate) fn show(&self, namespaces: &[String]) {
        self.0.clear();
        for namespace in namespaces {
            self.0.get_or_create(&vec![("namespace", namespace.clone())]).set(1);
        }
    }
}
