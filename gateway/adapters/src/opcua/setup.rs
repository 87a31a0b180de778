//! What a connection begins with: the server's namespaces and limits, the subscriptions that the points need, and the
//! values that were missed before.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use common::Sample;
use opcua::client::Session;
use opcua::types::{Error, NodeId, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant};
use tokio::time::Instant;

use super::adapter::Connected;
use super::items::{self, Ground, Subscription};
use super::session::Live;
use super::spec::{Place, Spec};
use super::{history, limits, recover};

/// Points that the server refused are tried again after this.
const RETRY: Duration = Duration::from_secs(30);

impl Live<'_> {
    /// Names, limits and subscriptions of a connection.
    pub(super) async fn connected(&mut self, fresh: bool) -> Result<(), Error> {
        self.publisher.clear();
        let namespaces = namespaces(&self.session).await?;
        self.limits = limits::ask(&self.session, &self.shared.config).await;
        if fresh {
            self.types().await;
        }
        let indices = self.shared.specs.indices(&namespaces);
        let mut gone = std::mem::take(&mut self.memory.begun);
        if std::mem::replace(&mut self.memory.indices, indices.clone()) != indices {
            gone.extend(self.memory.subscriptions.drain(..).map(|s| s.id));
            self.memory.failed.clear();
        } else if fresh {
            recover::transfer(self).await;
        }
        // A session that goes on kept all but what its queues did not hold; what was missed shows by its number.
        if !fresh {
            items::delete(&self.session, gone).await;
        }
        self.unresolved();
        let has_kept = !self.memory.subscriptions.is_empty();
        self.complete().await?;
        self.backfill().await?;
        let now = Instant::now();
        self.memory.subscriptions.iter_mut().for_each(|s| s.heard = now);
        if has_kept {
            self.catch_up_soon();
        }
        self.set_publisher();
        let connected = Connected::new(self.session.clone(), self.limits, namespaces, indices);
        self.shared.set_connected(Some(Arc::new(connected)));
        Ok(())
    }

    /// Subscribes what no subscription has: at first all, later what was broken off or the server did not keep.
    async fn complete(&mut self) -> Result<(), Error> {
        let kept = &self.memory.subscriptions;
        let known: HashSet<Place> = kept.iter().flat_map(|s| s.points.iter().copied()).collect();
        let mut points = self.subscribed();
        points.retain(|at| !known.contains(at));
        let places = 0..self.shared.config.events.len();
        let events = places.filter(|at| kept.iter().all(|s| !s.events.contains(at)));
        let events =
            events.filter(|at| self.shared.specs.event(*at, &self.memory.indices).is_some()).collect();
        if self.memory.failed.iter().any(|at| known.contains(at)) {
            self.retry_at = Some(Instant::now());
        }
        self.subscribe(points, events).await
    }

    /// Definitions of the server's own structures, if a point is a field of one.
    async fn types(&mut self) {
        if self.shared.specs.iter().all(|(_, s)| s.field().is_none()) {
            return;
        }
        match Box::pin(super::structure::loader(&self.session)).await {
            Ok(loader) => self.session.add_type_loader(loader),
            Err(error) => {
                tracing::warn!(device = self.shared.name, %error, "the server's types are not known")
            }
        }
    }

    /// Points, and nodes of events, whose namespace the server does not have.
    fn unresolved(&mut self) {
        let (shared, indices) = (self.shared, self.memory.indices.clone());
        let specs = &shared.specs;
        if indices.iter().all(Option::is_some) {
            return;
        }
        for (at, node) in shared.config.events.iter().enumerate() {
            if specs.event(at, &indices).is_none() {
                self.reporter.bad(true, &format!("no events of {node}: the server has no such namespace"));
            }
        }
        let missing: Vec<(Place, &Spec)> =
            specs.iter().filter(|(_, s)| specs.node(s, &indices).is_none()).collect();
        for (_, spec) in &missing {
            let node = specs.node_ref(spec);
            self.reporter.bad(true, &format!("{node}: the server has no such namespace"));
        }
        shared.bad(missing.into_iter().map(|(at, _)| (at, StatusCode::BadNodeIdUnknown)));
    }

    /// Points that are subscribed and whose namespace the server has.
    fn subscribed(&self) -> Vec<Place> {
        let specs = &self.shared.specs;
        let wanted = |s: &Spec| s.is_subscribed() && specs.node(s, &self.memory.indices).is_some();
        specs.iter().filter(|(_, s)| wanted(s)).map(|(at, _)| at).collect()
    }

    /// What subscriptions are made with.
    pub(super) fn ground(&self) -> Ground<'_> {
        Ground {
            session: &self.session,
            config: &self.shared.config,
            specs: &self.shared.specs,
            limits: self.limits,
            indices: &self.memory.indices,
        }
    }

    /// Subscribes points, over as many subscriptions as the server's limits need.
    pub(super) async fn subscribe(&mut self, points: Vec<Place>, events: Vec<usize>) -> Result<(), Error> {
        // Each is asked for once: what is refused again is told so.
        points.iter().for_each(|at| _ = self.memory.failed.remove(at));
        let mut events = Some(events).filter(|e| !e.is_empty());
        let chunks = points.chunks(self.limits.per_subscription).map(<[Place]>::to_vec);
        // Without points there is one for events alone.
        let none = (points.is_empty() && events.is_some()).then(Vec::new);
        for chunk in chunks.chain(none) {
            let made = items::create(self.ground()).await?;
            // It counts when all of it was asked for: what is broken off is asked for in another one.
            self.memory.begun.push(made.id);
            let refused = items::fill(self.ground(), made.id, &chunk).await?;
            let events = events.take().unwrap_or_default();
            let nodes = events.iter().filter_map(|at| self.shared.specs.event(*at, &self.memory.indices));
            let nodes: Vec<NodeId> = nodes.collect();
            for (node, status) in super::events::fill(&self.session, made.id, &nodes).await? {
                tracing::warn!(%node, %status, "no events of this node");
            }
            self.memory.begun.pop();
            self.memory.subscriptions.push(Subscription { points: chunk, events, ..made });
            self.refused(refused);
        }
        Ok(())
    }

    /// Values of the time without connection. What changes meanwhile is in the subscriptions, which are there before.
    pub(super) async fn backfill(&mut self) -> Result<(), Error> {
        let now_us = self.shared.context.clock.now_us();
        let shared = self.shared;
        let specs = &shared.specs;
        let wanted = specs.iter().filter(|(_, s)| s.history && s.is_read());
        let wanted: Vec<history::Wanted> = wanted
            .filter_map(|(at, s)| Some((at, specs.node(s, &self.memory.indices)?, s.newest_us()?)))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = match history::fetch(&self.session, self.limits, wanted, now_us).await {
            Err(error) if history::is_none(error.status()) => {
                tracing::info!(device = self.shared.name, %error, "the server has no history");
                return Ok(());
            }
            other => other?,
        };
        for part in found {
            let Some(spec) = specs.get(part.at) else { continue };
            let node = specs.node_ref(spec);
            if !part.whole {
                self.reporter.bad(true, &format!("{node}: its history was fetched in part"));
            }
            let newest = part.values.last().and_then(history::stamp);
            let values = part.values.into_iter();
            let samples: Vec<Sample> =
                values.map(|v| self.shared.sample(spec, v, now_us, self.reporter)).collect();
            spec.filled(newest.filter(|_| part.whole));
            tracing::info!(%node, values = samples.len(), "fetched from the server's history");
            self.shared.context.raw.send(samples);
        }
        Ok(())
    }

    /// Points that the server does not take disable themselves; the others run.
    pub(super) fn refused(&mut self, refused: items::Refused) {
        for (at, status) in &refused {
            let Some(spec) = self.shared.specs.get(*at) else { continue };
            let node = self.shared.specs.node_ref(spec);
            self.reporter.bad(true, &format!("{node} refused: {status}"));
            self.memory.failed.insert(*at);
        }
        self.shared.bad(refused);
        if !self.memory.failed.is_empty() {
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
        }
    }

    pub(super) fn set_publisher(&mut self) {
        let silence = self.memory.subscriptions.iter().map(|s| s.silence).max().unwrap_or_default();
        self.publisher.set(self.memory.subscriptions.len(), silence);
    }

    pub(super) fn catch_up_soon(&mut self) {
        let longest = self.memory.subscriptions.iter().map(|s| s.publishing).max().unwrap_or_default();
        self.catch_up = Some(Instant::now() + longest * 2);
    }
}

/// The namespaces of a server, in its order.
pub(super) async fn namespaces(session: &Session) -> Result<Vec<String>, Error> {
    let asked = [ReadValueId::from(NodeId::from(VariableId::Server_NamespaceArray))];
    let read = session.read(&asked, TimestampsToReturn::Neither, 0.0).await?;
    let value = read.into_iter().next().and_then(|v| v.value);
    let Some(Variant::Array(array)) = value else {
        return Err(Error::new(StatusCode::BadNoValue, "the server tells no namespaces"));
    };
    let text = |v: &Variant| if let Variant::String(s) = v { s.as_ref().to_owned() } else { String::new() };
    Ok(array.values.iter().map(text).collect())
}
