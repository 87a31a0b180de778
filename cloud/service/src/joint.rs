//! Where what gateways say meets the twins and the live channel.

use std::sync::{Arc, Mutex, PoisonError};

use cloud_core::{Applied, GatewayKey, LiveSink, NewFrame, Scope, World, assets};
use cloud_ingest::Sink;
use cloud_live::Live;
use cloud_twin::Outcome;
use common::api::{GatewayView, ServerMessage};
use common::command::LogEntry;
use common::wire::{Body, Snapshot};
use common::{Schema, TwinId};

use crate::news::{News, NewsSender};

/// Applies and tells.
pub(crate) struct Joint {
    world: World,
    live: Live,
    news: NewsSender,
    /// Held over a change of twins and its way to the live channel, so that rows and values agree.
    order: Mutex<()>,
}

impl Joint {
    pub(crate) fn new(world: World, live: Live, news: NewsSender) -> Self {
        Self { world, live, news, order: Mutex::new(()) }
    }

    fn tell(&self, gateway: &GatewayKey, applied: &[Applied], unknown: usize) {
        if unknown > 0 {
            tracing::warn!(%gateway, unknown, "samples without a place in any twin");
        }
        if !applied.is_empty() {
            self.live.values(applied);
        }
    }

    /// The place of a twin that this gateway feeds; else the whole: then only those who see all are told.
    fn scope(&self, gateway: &GatewayKey, twin: Option<TwinId>) -> Scope {
        let state = self.world.read();
        let ours =
            |t: &&cloud_core::TwinState| t.binding.as_ref().is_some_and(|(g, _)| *g == gateway.gateway);
        let found = twin.and_then(|id| state.twins.get(&id)).filter(ours);
        found.map_or(Scope::Whole, |t| Scope::Asset(t.asset.clone()))
    }

    fn other_than_samples(&self, new: &NewFrame) {
        let event = match &new.frame.body {
            Body::Samples(_) | Body::Waveform(_) => return,
            Body::Command(update) => return self.news.put(News::Command(Box::new(update.clone()))),
            Body::Desired(update) => return self.news.put(News::Desired(Box::new(update.clone()))),
            Body::Event(entry) | Body::Audit(entry) => entry.clone(),
            Body::Alarm(alarm) => {
                self.news.put(News::Alarm(alarm.id));
                alarm.entry()
            }
            Body::Gap(gap) => gap.entry(&new.gateway.gateway, new.frame.header.cut_us),
        };
        let scope = self.scope(&new.gateway, event.twin);
        self.live.message(&scope, ServerMessage::Event { event });
    }
}

impl Sink for Joint {
    fn frames(&self, frames: &[NewFrame]) {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut applied, mut unknown) = (Vec::new(), 0);
        {
            let mut state = self.world.write();
            for new in frames {
                let gateway = &new.gateway.gateway;
                let done = cloud_twin::apply_frame(&mut state, &new.schema, gateway, new.rank, &new.frame);
                applied.extend(done.applied);
                unknown += done.unknown;
            }
        }
        if let Some(first) = frames.first() {
            self.tell(&first.gateway, &applied, unknown);
        }
        drop(order);
        for new in frames {
            self.other_than_samples(new);
        }
    }

    fn snapshot(&self, gateway: &GatewayKey, rank: u64, schema: &Schema, snapshot: &Snapshot) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let Outcome { applied, unknown } = {
            let mut state = self.world.write();
            cloud_twin::apply_snapshot(&mut state, schema, &gateway.gateway, rank, snapshot)
        };
        self.tell(gateway, &applied, unknown);
    }

    fn schema(&self, gateway: &GatewayKey, schema: &Arc<Schema>, rank: u64, current: bool) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = {
            let mut state = self.world.write();
            if current {
                cloud_twin::put_schema(&mut state, &gateway.gateway, schema, rank)
            } else {
                cloud_twin::add_schema(&mut state, schema)
            }
        };
        if changed {
            tracing::info!(%gateway, devices = schema.devices.len(), "twins changed");
            self.live.twins_changed();
        }
    }

    fn gateway(&self, gateway: &GatewayKey, view: GatewayView) {
        let areas: std::collections::BTreeSet<String> = {
            let mut state = self.world.write();
            let changed = cloud_twin::set_online(&mut state, &gateway.gateway, view.connected);
            let area = |id| Some(assets::area_of(&state.twins.get(id)?.asset).to_owned());
            changed.iter().filter_map(area).collect()
        };
        self.live.message(&Scope::Whole, ServerMessage::Gateway { gateway: Box::new(view) });
        for area in areas {
            self.live.message(&Scope::Asset(area), ServerMessage::Twins);
        }
    }

    fn session_started(&self, gateway: &GatewayKey) {
        self.news.put(News::Session(gateway.clone()));
    }

    fn event(&self, entry: &LogEntry) {
        self.live.message(&Scope::Whole, ServerMessage::Event { event: entry.clone() });
    }
}
