//! What the command path learns from gateways, on its way there: it reads storage, and the sink may not wait.

use std::sync::Arc;

use cloud_api::commands::Commands;
use cloud_core::GatewayKey;
use common::command::{CommandUpdate, DesiredUpdate};
use common::{AlarmId, Drain};
use tokio::sync::{Mutex, mpsc};

/// News that may wait. A gateway's commands are far fewer.
const QUEUE: usize = 8192;

/// One thing that a gateway told.
pub(crate) enum News {
    /// a command went on
    Command(Box<CommandUpdate>),
    /// a desired value went on
    Desired(Box<DesiredUpdate>),
    /// an alarm changed
    Alarm(AlarmId),
    /// a session can take orders
    Session(GatewayKey),
}

/// The sink's side.
pub(crate) struct NewsSender {
    queue: mpsc::Sender<News>,
    lost: prometheus_client::metrics::counter::Counter,
}

impl NewsSender {
    /// Puts something in line. What does not fit is lost to live clients only: storage has it.
    pub(crate) fn put(&self, news: News) {
        if self.queue.try_send(news).is_err() {
            self.lost.inc();
            tracing::warn!(limit = QUEUE, "news of commands dropped, lists must be read again");
        }
    }
}

/// The other side, kept over restarts of the part that reads it.
#[derive(Clone)]
pub(crate) struct NewsReceiver(Arc<Mutex<mpsc::Receiver<News>>>);

/// Both sides; what is lost is counted in `lost`.
pub(crate) fn queue(lost: prometheus_client::metrics::counter::Counter) -> (NewsSender, NewsReceiver) {
    let (tx, rx) = mpsc::channel(QUEUE);
    (NewsSender { queue: tx, lost }, NewsReceiver(Arc::new(Mutex::new(rx))))
}

impl NewsReceiver {
    /// Hands news to the command path until drained and empty.
    pub(crate) async fn run(self, commands: Commands, drain: Drain) {
        let mut news = self.0.lock().await;
        loop {
            let next = tokio::select! {
                biased;
                next = news.recv() => next,
                () = drain.started() => None,
            };
            let told = match next {
                None => return,
                Some(News::Command(update)) => commands.on_update(&update).await,
                Some(News::Desired(update)) => commands.on_desired(&update).await,
                Some(News::Alarm(id)) => commands.on_alarm(id).await,
                Some(News::Session(gateway)) => {
                    commands.on_session(&gateway).await;
                    Ok(())
                }
            };
            if let Err(error) = told {
                tracing::warn!(%error, "live clients not told of a command");
            }
        }
    }
}
