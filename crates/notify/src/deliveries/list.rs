//! Lists: by webhook and number, page by page.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use roadstead_kubewire::{ApiError, ApiResult, List, ListOptions};

use super::{
    resource::{api_error, serialised},
    select::Filter,
};
use crate::log::{Delivery, DeliveryLog, Place};

/// Most messages on one page, whatever the client asks for: there is always a continue token for the rest.
const PAGE: usize = 2_000;
/// Messages looked at for one page: a rare match ends a page early rather than reading the whole log.
const SCAN: usize = 20_000;
/// Messages read at once.
const STEP: usize = 500;

/// Where the next page begins, and the position at which the list began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    place: Place,
    head: u64,
}

impl Cursor {
    fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1:{}:{}:{}", self.place.webhook, self.place.number, self.head))
    }

    /// Errors: 400 for what is no token of ours.
    fn decode(token: &str) -> ApiResult<Self> {
        let parse = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
            let mut parts = text.strip_prefix("1:")?.split(':');
            let webhook = parts.next()?.parse().ok()?;
            let (number, head) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Self { place: Place { webhook, number }, head })
        };
        parse().ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }
}

/// One page of what `filter` selects.
pub(super) async fn list(log: &DeliveryLog, filter: &Filter, options: &ListOptions) -> ApiResult<List> {
    let mut cursor = match &options.continue_token {
        Some(token) => Cursor::decode(token)?,
        None => Cursor { place: Place::default(), head: log.head() },
    };
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
    let (selection, mut items, mut seen) = (filter.selection(), Vec::new(), 0);
    let mut more = true;
    while more && items.len() < limit && seen < SCAN {
        let page = log.page(&selection, cursor.place, STEP.min(limit - items.len())).await.map_err(api_error)?;
        seen += page.deliveries.len();
        items.extend(page.deliveries.iter().filter(|delivery| filter.matches(delivery)).map(item));
        match page.next {
            Some(place) => cursor.place = place,
            None => more = false,
        }
    }
    let continue_token = more.then(|| cursor.encode());
    let items = items.into_iter().collect::<ApiResult<Vec<Bytes>>>()?;
    Ok(List { items, resource_version: cursor.head.to_string(), continue_token, remaining: None })
}

fn item(delivery: &Delivery) -> ApiResult<Bytes> {
    serialised(delivery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_foreign_ones_are_refused() {
        let cursor = Cursor { place: Place { webhook: 3, number: u64::MAX }, head: 7 };
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        for token in ["", "x", &URL_SAFE_NO_PAD.encode("1:2:3"), &URL_SAFE_NO_PAD.encode("2:1:2:3")] {
            assert!(Cursor::decode(token).is_err(), "{token}");
        }
    }
}
