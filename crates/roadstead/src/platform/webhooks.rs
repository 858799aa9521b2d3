//! Registry webhooks beside a hub: the delivery log, and what tells of the hub's events.

use std::sync::Arc;

use anyhow::{Context, Result};
use kube::Client;
use prometheus_client::registry::Registry;
use roadstead_hub::log::LocalLog;
use roadstead_notify::{
    Notify, Options, Readiness,
    log::{self, DeliveryLog},
};

use super::{DataDir, image_source::ImageSource};

/// Most bytes that the delivery log may take where nothing else is asked for: some millions of waiting messages.
pub const DELIVERY_QUOTA: u64 = 4 << 30;

/// Opens the delivery log of a data directory, which may take at most `quota` bytes.
///
/// # Errors
/// When its file can't be opened; the message says which and why.
pub async fn open_deliveries(data_dir: &DataDir, quota: u64, metrics: &mut Registry) -> Result<Arc<DeliveryLog>> {
    let on_commit = Some(roadstead_notify::metrics::on_commit(metrics));
    let options = log::Options { quota: Some(quota), on_commit, ..log::Options::default() };
    DeliveryLog::open(&data_dir.deliveries(), options).await.context("the delivery log")
}

/// The running part.
pub struct Webhooks {
    notify: Notify,
    log: Arc<DeliveryLog>,
}

impl Webhooks {
    /// Starts telling what `events` records.
    ///
    /// # Errors
    /// When the delivery log can't be written, or there are no certificates to trust.
    pub async fn start(
        client: Client,
        events: Arc<LocalLog>,
        log: Arc<DeliveryLog>,
        options: Options,
        metrics: &mut Registry,
    ) -> Result<Self> {
        let source = Arc::new(ImageSource::new(events));
        let notify = Notify::start(client, source, log.clone(), options, metrics).await.context("registry webhooks")?;
        Ok(Self { notify, log })
    }

    /// For probes.
    pub fn readiness(&self) -> Readiness {
        self.notify.readiness()
    }

    /// Finishes what is under way and closes the log.
    pub async fn stop(self) {
        self.notify.stop().await;
        self.log.close().await;
    }
}
