//! One recorded event in memory, and its form on the wire.
//!
//! The JSON of an event is put together from three pieces: metadata (made from position and sequence), a fragment of `spec` that
//! was serialised once when the delivery came in and is stored as it is, and the body in base64. The frame is built when the
//! first reader asks for it and then shared; a hub without live readers pays nothing.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use kubewire::{EventKind, WatchEvent};
use roadstead_api::names::{LABEL_ENDPOINT, LABEL_TYPE, LOG_GROUP, VERSION, event_name, label_value};
use roadstead_kubewire as kubewire;
use serde::Serialize;

use super::{
    streams::StreamState,
    types::{Draft, Stream},
};

/// Bodies up to this size are inline in the event, in bytes; larger ones are read through the subresource.
pub const INLINE_BODY: usize = 64 << 10;

/// A recorded event. Everything but the body can be read without decoding.
pub struct Record {
    /// Position in the log; the resourceVersion.
    pub position: u64,
    /// Number within the stream.
    pub sequence: u64,
    /// The provider's delivery id.
    pub id: Box<str>,
    /// The provider's event type.
    pub kind: Box<str>,
    /// When it was received, microseconds since 1970.
    pub received: i64,
    pub(super) state: Arc<StreamState>,
    /// From [`fragment`].
    pub(super) spec: Box<str>,
    /// The body, unless it is larger than [`INLINE_BODY`].
    pub(super) body: Option<Bytes>,
    pub(super) frame: OnceLock<WatchEvent>,
}

impl Record {
    /// The endpoint's incarnation.
    pub fn stream(&self) -> &Stream {
        &self.state.stream
    }

    /// Name of the event.
    pub fn name(&self) -> String {
        event_name(&self.stream().name, self.sequence)
    }

    /// The watch frame (`ADDED`), serialised once for all readers.
    pub fn frame(&self) -> &WatchEvent {
        self.frame.get_or_init(|| self.build())
    }

    /// Bytes that this record occupies once its frame exists.
    pub(super) fn weight(&self) -> usize {
        let body = self.body.as_ref().map_or(0, Bytes::len);
        512 + self.id.len() + self.kind.len() + 2 * self.spec.len() + body + body.div_ceil(3) * 4
    }

    /// Whether retention or a deletion has not taken it.
    pub(super) fn visible(&self) -> bool {
        self.state.retains(self.sequence)
    }

    fn build(&self) -> WatchEvent {
        const HEAD: &str = "{\"type\":\"ADDED\",\"object\":";
        let inline = self.body.as_ref().map_or(0, |body| body.len().div_ceil(3) * 4 + 10);
        let mut line = String::with_capacity(HEAD.len() + 640 + self.spec.len() + inline);
        line.push_str(HEAD);
        self.write_metadata(&mut line);
        line.push_str(&self.spec);
        if let Some(body) = &self.body {
            line.push_str(",\"body\":\"");
            STANDARD.encode_string(body, &mut line);
            line.push('"');
        }
        // Ends: request, spec, object, frame.
        line.push_str("}}}}\n");
        let line = Bytes::from(line);
        let object = line.slice(HEAD.len()..line.len() - 2);
        WatchEvent { kind: EventKind::Added, line, object }
    }

    /// Everything up to the fragment.
    fn write_metadata(&self, out: &mut String) {
        let stream = self.stream();
        let name = quoted(&stream.name);
        let seconds = jiff::Timestamp::from_microsecond(self.received).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{{\"apiVersion\":\"{LOG_GROUP}/{VERSION}\",\"kind\":\"WebhookEvent\",\"metadata\":{{\"name\":{event},\
             \"namespace\":{namespace},\"uid\":\"{uid}\",\"resourceVersion\":\"{position}\",\
             \"creationTimestamp\":\"{created}\",\"labels\":{{\"{LABEL_ENDPOINT}\":{name},\"{LABEL_TYPE}\":\"{kind}\"}}}},\
             \"spec\":{{\"endpoint\":{name},\"sequence\":{sequence},",
            event = quoted(&self.name()),
            namespace = quoted(&stream.namespace),
            uid = self.uid(),
            position = self.position,
            created = seconds.strftime("%Y-%m-%dT%H:%M:%SZ"),
            kind = label_value(&self.kind),
            sequence = self.sequence,
        );
    }

    /// A uid that is the same every time it is read, without being stored: hashed from the stream's and the position.
    fn uid(&self) -> uuid::Uuid {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(self.stream().uid.as_bytes());
        context.update(&self.position.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.stream().namespace, self.name(), self.position)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The part of `spec` that is known before the event has a number: from `id` to the end of `request.headers`, without the
/// braces around it, so that `"endpoint"` and `"sequence"` can stand before and `"body"` behind.
pub(super) fn fragment(draft: &Draft) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fragment<'a> {
        id: &'a str,
        provider: &'static str,
        #[serde(rename = "type")]
        kind: &'a str,
        received_at: String,
        verified: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        reconciled: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        git: Option<&'a roadstead_api::event::GitChange>,
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<&'a roadstead_api::event::ImageChange>,
        request: Request<'a>,
    }
    #[derive(Serialize)]
    struct Request<'a> {
        method: &'a str,
        headers: &'a [roadstead_api::event::Header],
    }
    let mut json = serde_json::to_string(&Fragment {
        id: &draft.id,
        provider: draft.provider.as_str(),
        kind: &draft.kind,
        received_at: draft.received_at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        verified: draft.verified,
        reconciled: draft.reconciled,
        git: draft.git.as_ref(),
        image: draft.image.as_ref(),
        request: Request { method: &draft.method, headers: &draft.headers },
    })?;
    // `{` at the start; the ends of `request` and of the object.
    json.truncate(json.len() - 2);
    json.remove(0);
    Ok(json)
}

/// The request in a stored fragment.
pub(super) fn parse_fragment(fragment: &str) -> Result<roadstead_api::event::RecordedRequest, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Stored {
        request: roadstead_api::event::RecordedRequest,
    }
    serde_json::from_str::<Stored>(&format!("{{{fragment}}}}}")).map(|stored| stored.request)
}
