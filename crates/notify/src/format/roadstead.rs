//! Format `roadstead`: the form that Standard Webhooks recommends, `{type, timestamp, data}`.

use serde_json::{Value, json};

use crate::delivery::Message;

pub(super) fn body(message: &Message) -> Value {
    let event = &message.event;
    json!({"type": super::type_of(event), "timestamp": format!("{:.6}", event.at), "data": super::data(message)})
}
