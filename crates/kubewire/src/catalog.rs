//! Which resources are served: an immutable snapshot, swapped whole when a CustomResourceDefinition comes or goes.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::resource::Resource;

/// The resources of one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// All resources, in the order in which discovery lists them. Versions of a group: preferred first.
    pub resources: Vec<Arc<dyn Resource>>,
    /// Grows with every change; part of discovery's ETag.
    pub generation: u64,
}

impl Snapshot {
    /// The resource at a path's group, version and plural.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<dyn Resource>> {
        self.resources.iter().find(|resource| {
            let info = resource.info();
            info.plural == plural && info.group == group && info.version == version
        })
    }
}

/// The catalog that the service reads and the owner of the resources writes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Catalog {
    current: Arc<ArcSwap<Snapshot>>,
}

impl Catalog {
    /// A catalog of `resources`.
    pub fn new(resources: Vec<Arc<dyn Resource>>) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(Snapshot { resources, generation: 1 })) }
    }

    /// The present snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces all resources.
    pub fn publish(&self, resources: Vec<Arc<dyn Resource>>) {
        let generation = self.current.load().generation + 1;
        self.current.store(Arc::new(Snapshot { resources, generation }));
    }
}
