//! The embedded broker as the rest of the daemon knows it. In a program that is built without it (feature `mqtt`) there is
//! never a handle, so that nothing can be done with one.

#[cfg(feature = "mqtt")]
pub(crate) use gateway_broker::{Handle, Renewal};

#[cfg(not(feature = "mqtt"))]
pub(crate) use none::{Handle, Renewal};

#[cfg(not(feature = "mqtt"))]
mod none {
    use std::net::SocketAddr;
    use std::time::Duration;

    use axum::body::Bytes;
    use gateway_core::{Message, Messages, Publish};
    use tokio::sync::mpsc;

    /// What there is none of.
    #[derive(Debug, Clone)]
    pub(crate) enum Handle {}

    /// What there is none of.
    pub(crate) enum Renewal {}

    impl Handle {
        pub(crate) fn local_addr(&self) -> SocketAddr {
            match *self {}
        }

        #[allow(clippy::needless_pass_by_value)] // as where there is one
        pub(crate) fn renew(&self, renewal: Renewal) {
            match renewal {}
        }
    }

    impl Messages for Handle {
        fn subscribe(&self, _: Vec<String>) -> mpsc::Receiver<Message> {
            match *self {}
        }
    }

    impl Publish for Handle {
        fn publish(&self, _: &str, _: Bytes, _: bool) -> bool {
            match *self {}
        }

        fn publish_now(&self, _: &str, _: Bytes, _: Duration) -> bool {
            match *self {}
        }
    }
}
