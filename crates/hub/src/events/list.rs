//! Lists: a snapshot of the log at its head, page by page.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use roadstead_kubewire::{ApiError, ApiResult, List, ListOptions, options::VersionMatch};

use super::resource::{api_error, parse_version, reach};
use crate::log::{Limit, Log, Selection};

/// Most events on one page, and most bytes, whatever the client asks for: there is always a continue token for the rest.
const PAGE_EVENTS: u64 = 5_000;
const PAGE_BYTES: usize = 32 << 20;

/// Where the next page begins, and up to where the snapshot reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    after: u64,
    head: u64,
}

impl Cursor {
    fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1:{}:{}", self.after, self.head))
    }

    /// Errors: 400 for what is no token of ours.
    fn decode(token: &str) -> ApiResult<Self> {
        let parse = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
            let (after, head) = text.strip_prefix("1:")?.split_once(':')?;
            Some(Self { after: after.parse().ok()?, head: head.parse().ok()? })
        };
        parse().ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }

    /// A token says what a client likes; nothing is beyond the head.
    fn within(self, head: u64) -> Self {
        Self { head: self.head.min(head), ..self }
    }

    /// The first page: at the head, or at exactly the version asked for.
    async fn first(log: &dyn Log, options: &ListOptions) -> ApiResult<Self> {
        let version = parse_version(&options.resource_version)?.unwrap_or(0);
        reach(log, version).await?;
        let exact = options.version_match == VersionMatch::Exact;
        Ok(Self { after: 0, head: if exact { version } else { log.head() } })
    }
}

/// One page of `selection`.
pub(super) async fn list(log: &dyn Log, selection: &Selection, options: &ListOptions) -> ApiResult<List> {
    let mut cursor = match &options.continue_token {
        Some(token) => Cursor::decode(token)?.within(log.head()),
        None => Cursor::first(log, options).await?,
    };
    let limit = if options.limit == 0 { PAGE_EVENTS } else { options.limit.min(PAGE_EVENTS) };
    let mut left = Limit { events: usize::try_from(limit).unwrap_or(usize::MAX), bytes: PAGE_BYTES };
    let mut items = Vec::new();
    while cursor.after < cursor.head && left.events > 0 && left.bytes > 0 {
        let page = log.read(selection, cursor.after, cursor.head, left).await.map_err(api_error)?;
        for record in &page.records {
            left.events -= 1;
            left.bytes = left.bytes.saturating_sub(record.frame().object.len());
            items.push(record.frame().object.clone());
        }
        cursor.after = page.through;
    }
    let continue_token = (cursor.after < cursor.head).then(|| cursor.encode());
    Ok(List { items, resource_version: cursor.head.to_string(), continue_token, remaining: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_foreign_ones_are_refused() {
        let cursor = Cursor { after: 7, head: u64::MAX };
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        for token in ["", "abc", "MTo3", "Mjo3Ojk"] {
            assert_eq!(Cursor::decode(token).unwrap_err().code, 400, "{token}");
        }
    }
}
