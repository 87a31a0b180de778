//! A short session beside the ones that run, for what a person asks of a server: browse and read. It never writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Value, ValueType};
use futures_util::{FutureExt, StreamExt};
use gateway_opcua::{NodeRef, value};
use opcua::client::{Session, SessionPollResult};
use opcua::types::{DataValue, NodeId, ReadValueId, StatusCode, TimestampsToReturn, Variant};
use tokio::time::timeout;

use super::browse::{self, Bounds, Browsed};
use super::config::DeviceConfig;
use super::connect::{Kit, Opened};
use super::error::ConnectError;
use super::limits::{self, Limits};
use super::setup::namespaces;

/// A session for one question.
pub struct Tool {
    session: Arc<Session>,
    limits: Limits,
    namespaces: Vec<String>,
    driver: tokio::task::JoinHandle<()>,
    limit: std::time::Duration,
    /// Where the crate keeps its view of certificates; goes with the session.
    seen: PathBuf,
}

/// What a node is now.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeValue {
    /// Its value, if it is one of ours.
    pub value: Option<Value>,
    /// Its value as text, whatever it is.
    pub text: String,
    /// Its status.
    pub status: StatusCode,
    /// When its source took it, UTC us.
    pub source_us: Option<i64>,
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.driver.abort();
        let _ = std::fs::remove_dir_all(&self.seen);
    }
}

/// Sessions that were asked for since the start.
static ASKED: AtomicU64 = AtomicU64::new(0);

impl Kit {
    /// Opens a short session.
    ///
    /// # Errors
    /// See `ConnectError`.
    pub async fn tool(&self, config: &DeviceConfig) -> Result<Tool, ConnectError> {
        // No device is called so, and no two have the same folder.
        let name = format!("(asked {})", ASKED.fetch_add(1, Ordering::Relaxed));
        let Opened { session, events, .. } = self.open(config, &name).await?;
        let seen = self.seen(&name)?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let driver = tokio::spawn(async move {
            let mut tell = Some(tell);
            let mut events = Box::pin(events.enter());
            while let Some(event) = events.next().await {
                let connected = match event {
                    Ok(SessionPollResult::Reconnected(_)) => Ok(()),
                    Ok(SessionPollResult::ReconnectFailed(status)) => Err(status),
                    // A question is not asked again on another connection.
                    Ok(SessionPollResult::ConnectionLost(_)) => return,
                    Err(status) => Err(status),
                    Ok(_) => continue,
                };
                let failed = connected.is_err();
                if let Some(tell) = tell.take() {
                    let _ = tell.send(connected);
                }
                if failed {
                    return;
                }
            }
        });
        let mut tool = Tool {
            session,
            limits: Limits::unknown(),
            namespaces: Vec::new(),
            driver,
            seen,
            limit: config.timeout(),
        };
        let unreachable =
            |detail: &str| ConnectError::Unreachable { url: config.url.clone(), detail: detail.to_owned() };
        match timeout(config.timeout() * 2, told).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(status))) => return Err(ConnectError::Refused { status }),
            Ok(Err(_)) | Err(_) => return Err(unreachable("no session in time")),
        }
        tool.limits = limits::ask(&tool.session, config).boxed().await;
        let names = namespaces(&tool.session).boxed().await;
        tool.namespaces = names.map_err(|e| unreachable(&e.to_string()))?;
        Ok(tool)
    }
}

impl Tool {
    /// A node of this server by how it is written; none if the server does not have its namespace.
    pub fn node(&self, node: &NodeRef) -> Option<NodeId> {
        node.resolve(&self.namespaces)
    }

    /// How a node of this server is written so that it stays valid.
    pub fn name(&self, node: &NodeId) -> NodeRef {
        NodeRef::of(node, &self.namespaces)
    }

    /// Browses from a node on, and asks types and access of variables.
    ///
    /// # Errors
    /// What the server says.
    pub async fn browse(&self, start: NodeId, bounds: &Bounds) -> Result<Browsed, StatusCode> {
        let browsed = browse::browse(&self.session, self.limits, start, bounds).boxed().await;
        let mut browsed = browsed.map_err(|e| e.status())?;
        browse::details(&self.session, self.limits, &mut browsed.nodes)
            .boxed()
            .await
            .map_err(|e| e.status())?;
        Ok(browsed)
    }

    /// Reads nodes.
    ///
    /// # Errors
    /// What the server says.
    pub async fn read(&self, nodes: &[NodeId]) -> Result<Vec<NodeValue>, StatusCode> {
        let asked: Vec<_> = nodes.iter().map(|n| ReadValueId::new_value(n.clone())).collect();
        let read = self.limits.read_with(&self.session, &asked, TimestampsToReturn::Both).boxed().await;
        let one = |data: DataValue| {
            let held = data.value.unwrap_or(Variant::Empty);
            let value = value::value(&held, ValueType::Text).ok();
            let text = value.as_ref().map_or_else(|| held.to_string(), ToString::to_string);
            let source_us = data.source_timestamp.as_ref().and_then(value::micros);
            NodeValue { value, text, status: data.status.unwrap_or(StatusCode::Good), source_us }
        };
        Ok(read.map_err(|e| e.status())?.into_iter().map(one).collect())
    }

    /// Ends the session in good order.
    pub async fn close(self) {
        let _ = timeout(self.limit, self.session.disconnect().boxed()).await;
    }
}
