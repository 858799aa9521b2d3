//! How the `scale` subresource looks in a Table: as `autoscaling/v1` Scale, whatever it is the scale of.

use std::sync::{Arc, OnceLock};

use crate::resource::{Column, Resource, ResourceInfo};

/// A resource that only says which columns a Scale has.
struct Scale(ResourceInfo);

impl Resource for Scale {
    fn info(&self) -> &ResourceInfo {
        &self.0
    }
}

/// What a Scale looks like.
pub(super) fn shape() -> Arc<dyn Resource> {
    static SHAPE: OnceLock<Arc<dyn Resource>> = OnceLock::new();
    let column = |name: &str, kind: &str, path: &str| Column {
        name: name.into(),
        kind: kind.into(),
        format: String::new(),
        description: String::new(),
        priority: 0,
        json_path: path.into(),
    };
    let columns = || {
        vec![
            column("Desired", "integer", ".spec.replicas"),
            column("Available", "integer", ".status.replicas"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ]
    };
    SHAPE.get_or_init(|| Arc::new(Scale(ResourceInfo { columns: columns(), ..ResourceInfo::default() }))).clone()
}
