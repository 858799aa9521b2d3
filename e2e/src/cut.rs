//! A cable that can be cut: a TCP forwarder between a client and a server.

use std::sync::Arc;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Forwards every connection to one address while it is whole.
pub struct Cable {
    address: String,
    whole: Arc<watch::Sender<bool>>,
    task: AbortHandle,
}

impl Cable {
    /// From a free port of the loopback address to `target`.
    pub async fn to(target: &str) -> Result<Cable> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let whole = Arc::new(watch::Sender::new(true));
        let task = tokio::spawn(forward(listener, target.to_string(), whole.clone())).abort_handle();
        Ok(Cable { address, whole, task })
    }

    /// Where to connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections, and every new one at once.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Makes it whole again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(listener: TcpListener, target: String, whole: Arc<watch::Sender<bool>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (target, mut whole) = (target.clone(), whole.subscribe());
        tokio::spawn(async move {
            if !*whole.borrow() {
                return;
            }
            let Ok(mut far) = TcpStream::connect(&target).await else {
                return;
            };
            tokio::select! {
                // Either end may hang up whenever it likes.
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = whole.wait_for(|whole| !whole) => {}
            }
        });
    }
}
