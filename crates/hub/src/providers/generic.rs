//! Any sender: the headers that the endpoint names carry id and type; the body is not read.

use roadstead_api::endpoint::Verify;

use super::{Change, Reading, id, kind};
use crate::incoming::Incoming;

/// Type of a delivery whose sender has none.
const KIND: &str = "generic";

pub(super) fn read(settings: Option<&Verify>, incoming: &Incoming<'_>) -> Reading {
    let header = |name: Option<&String>| name.and_then(|name| incoming.header(name));
    Reading::one(Change {
        id: header(settings.and_then(|verify| verify.id_header.as_ref())).and_then(id),
        kind: header(settings.and_then(|verify| verify.type_header.as_ref())).map_or_else(|| KIND.to_owned(), kind),
        ..Change::default()
    })
}
