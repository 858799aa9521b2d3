//! What a commit tells a runner: which messages became ready, and which webhooks changed otherwise.
//!
//! The mailbox is bounded: beyond [`MOST`] messages it only says that a webhook has more, which the runner then reads from the
//! log. So a listener that is slow loses nothing and costs no memory.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::{
    shared::lock,
    types::{Ready, WebhookKey},
};

/// Messages that wait in the mailbox at most.
const MOST: usize = 4096;

/// News since the last look.
#[derive(Debug, Default)]
pub struct News {
    /// Messages that became ready, oldest first.
    pub ready: Vec<(WebhookKey, Ready)>,
    /// Webhooks with more ready messages than these.
    pub more: HashSet<WebhookKey>,
    /// Webhooks of which everything is to be read again: enabled, disabled, deleted, messages queued again or cancelled.
    pub reload: HashSet<WebhookKey>,
}

/// A runner's mailbox.
#[derive(Default)]
pub struct Notices {
    news: Mutex<News>,
    bell: Notify,
}

impl Notices {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Waits until there may be news. Cancel safe.
    pub async fn wait(&self) {
        self.bell.notified().await;
    }

    /// Takes what there is.
    pub fn take(&self) -> News {
        std::mem::take(&mut *lock(&self.news))
    }

    pub(super) fn post(&self, ready: &[(WebhookKey, Ready)], reload: &HashSet<WebhookKey>) {
        let mut news = lock(&self.news);
        for (webhook, item) in ready {
            if news.ready.len() < MOST {
                news.ready.push((*webhook, item.clone()));
            } else {
                news.more.insert(*webhook);
            }
        }
        news.reload.extend(reload);
        drop(news);
        self.bell.notify_one();
    }
}
