//! Standard Webhooks: id in `webhook-id`, type in the body's `type` (a recommendation of the specification), else `standard`.

use serde::Deserialize;

use super::json::{self, Text};
use super::{Change, Reading, id, kind};
use crate::incoming::Incoming;

/// Type of a delivery whose body names none.
const KIND: &str = "standard";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    r#type: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let id = incoming.header("webhook-id").and_then(id);
    match json::root::<Body>(incoming.body) {
        Err(why) => Reading::unreadable(id, KIND, why),
        Ok(body) if body.r#type.is_empty() => Reading::one(Change { id, kind: KIND.to_owned(), ..Change::default() }),
        Ok(body) => Reading::one(Change { id, kind: kind(&body.r#type), ..Change::default() }),
    }
}
