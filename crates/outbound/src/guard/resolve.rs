//! From a name to its addresses. A trait, so that tests can be name servers that change their mind.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Names looked up at the same time: each takes a thread for as long as the name server pleases.
const LOOKUPS: usize = 128;

/// Finds the addresses of a host.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, in the order of preference. The caller judges them and sets the deadline.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the system (`getaddrinfo`: hosts file, name servers).
#[derive(Clone, Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        SystemResolver { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let looking = tokio::task::spawn_blocking(move || {
            // Held by the thread, which goes on when nobody waits any more.
            let _permit = permit;
            Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        });
        looking.await.map_err(io::Error::other)?
    }
}
