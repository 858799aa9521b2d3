//! A serving certificate that is always good: issued for the names that are served, and again in time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use roadstead_kubewire::server::{TlsConfig, server_config, tls_config};
use tokio_util::sync::CancellationToken;

use super::{Ca, PkiError};

/// How often the certificate is issued anew: with two thirds of its time still to come.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3600);
/// How soon to try again when that failed.
const RETRY: Duration = Duration::from_secs(3600);

/// A listener's certificate. New connections get the newest; open ones keep theirs.
pub struct Serving {
    ca: Arc<Ca>,
    names: Mutex<Vec<String>>,
    tls: TlsConfig,
}

impl Serving {
    /// Issues a certificate for `names`: DNS names and IP addresses.
    ///
    /// # Errors
    /// For a name that cannot be in a certificate.
    pub fn new(ca: Arc<Ca>, names: Vec<String>) -> Result<Self, PkiError> {
        let (chain, key) = ca.issue_server(&names)?;
        Ok(Self { tls: tls_config(server_config(chain, key)?), ca, names: Mutex::new(names) })
    }

    /// For a listener.
    pub fn tls(&self) -> TlsConfig {
        self.tls.clone()
    }

    /// Adds names, e.g. of an address that was only now bound.
    ///
    /// # Errors
    /// For a name that cannot be in a certificate; the old certificate stays.
    pub fn add(&self, more: &[String]) -> Result<(), PkiError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<String> = more.iter().filter(|name| !names.contains(name)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let all = [names.clone(), new].concat();
        self.issue(&all)?;
        *names = all;
        Ok(())
    }

    fn issue(&self, names: &[String]) -> Result<(), PkiError> {
        let (chain, key) = self.ca.issue_server(names)?;
        self.tls.store(Arc::new(server_config(chain, key)?));
        Ok(())
    }

    /// Renews the certificate in time, until `shutdown`.
    pub async fn keep_fresh(&self, shutdown: CancellationToken) {
        let mut wait = RENEW;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
            wait = match self.issue(&names) {
                Ok(()) => RENEW,
                Err(error) => {
                    tracing::error!(%error, "the serving certificate could not be renewed");
                    RETRY
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn certificates_are_issued_anew_for_new_names_and_in_time() {
        let serving = Arc::new(Serving::new(Arc::new(Ca::in_memory().unwrap()), vec!["a.example".into()]).unwrap());
        let first = serving.tls().load_full();
        serving.add(&["a.example".into()]).unwrap();
        assert!(Arc::ptr_eq(&first, &serving.tls().load_full()));
        serving.add(&["10.0.0.1".into()]).unwrap();
        let second = serving.tls().load_full();
        assert!(!Arc::ptr_eq(&first, &second));
        let (keeper, shutdown) = (serving.clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { keeper.keep_fresh(stop).await });
        tokio::time::sleep(RENEW + Duration::from_secs(1)).await;
        assert!(!Arc::ptr_eq(&second, &serving.tls().load_full()));
        shutdown.cancel();
        task.await.unwrap();
    }
}
