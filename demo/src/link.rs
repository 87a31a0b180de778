//! The link between gateway and cloud, as a TCP relay that can be cut, so that a cut link is a real one. The
//! gateway keeps one address while the cloud behind it comes and goes.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay. Cut when dropped.
#[derive(Debug)]
pub struct Link {
    /// Where the gateway connects to.
    pub addr: SocketAddr,
    up: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// A relay to `target`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (up, state) = watch::channel(true);
        let task = tokio::spawn(relay(listener, target, state));
        Ok(Self { addr, up, task })
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.up.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(listener: TcpListener, target: SocketAddr, up: watch::Receiver<bool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut up = up.clone();
        if !*up.borrow_and_update() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = up.wait_for(|up| !up) => {}
            }
        });
    }
}
