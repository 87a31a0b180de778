//! What moves by itself: samples from the bus to those who watch, changes of alarms and of the model as events.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::alarm::AlarmView;
use common::{Drain, PointId};
use gateway_core::{Item, Policy, Registry};
use opcua::nodes::Event;
use opcua::server::ServerHandle;
use opcua::types::{ModelChangeStructureDataType, NodeId, ObjectId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::events;
use crate::manager::{Shared, add_types, new_id};
use crate::space::{Node, Space, Target};

/// Samples that wait: a reload makes the space anew meanwhile, and one round of a large plant comes at once.
const QUEUE: usize = 131_072;
/// How often stale values and what is no point are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Changes in one event; of more, the gateway as a whole is told.
const MOST_CHANGES: usize = 1000;
/// A node came, one went, references came, references went (part 5, 9.33.7).
const ADDED: u8 = 1;
const DELETED: u8 = 2;
const REFERENCES: u8 = 4 | 8;

/// Until drained, or the bus is gone.
pub(crate) async fn run(shared: Arc<Shared>, server: ServerHandle, drain: Drain) {
    let mut bus = shared.parts.bus.subscribe("opcua", QUEUE, Policy::DropOldest);
    let mut alarms = shared.parts.alarms.changes();
    let missed = shared.parts.drops.counter("opcua", "alarms_slow");
    let dropped = shared.parts.drops.counter("opcua", "slow");
    let mut seen = dropped.load(Ordering::Relaxed);
    let mut behind = false;
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = drain.started() => return,
            item = bus.next() => match item {
                Some(Item::Batch(batch)) => {
                    let now = dropped.load(Ordering::Relaxed);
                    if std::mem::replace(&mut seen, now) != now {
                        shared.watches.missed();
                    }
                    shared.watches.tell(&batch, &mut server.subscriptions().data_notifier());
                }
                Some(Item::Registry(_)) => renew(&shared, &server),
                None => return,
            },
            change = alarms.recv() => match change {
                Ok(view) => tell_alarms(&shared, &server, [&view]),
                Err(RecvError::Lagged(n)) => {
                    missed.fetch_add(n, Ordering::Relaxed);
                    behind = true;
                }
                Err(RecvError::Closed) => return,
            },
            _ = look.tick() => {
                // Points go over with the bus; what devices are called may change without them.
                if !shared.has_other_points() {
                    renew(&shared, &server);
                }
                look_at_all(&shared, &server);
                // Which changes were missed is not known: what all alarms are now is told, not at each of a storm's.
                if std::mem::take(&mut behind) {
                    let all = shared.parts.alarms.list();
                    tell_alarms(&shared, &server, all.iter().filter(|view| view.at_us != 0));
                }
            }
        }
    }
}

fn look_at_all(shared: &Shared, server: &ServerHandle) {
    if shared.watches.count() == 0 {
        return;
    }
    let space = shared.space();
    let live = shared.live(&space);
    let value = |id: &NodeId| space.find(id).map(|node| space.value(&node, &live));
    let mut notifier = server.subscriptions().data_notifier();
    shared.watches.look(|number| shared.judged(&space, number), value, shared.now(), &mut notifier);
}

fn tell_alarms<'a>(shared: &Shared, server: &ServerHandle, views: impl IntoIterator<Item = &'a AlarmView>) {
    let space = shared.space();
    let told: Vec<_> = views.into_iter().filter_map(|view| shared.condition(&space, view)).collect();
    server.subscriptions().notify_events(told.iter().map(|(device, event)| (event as &dyn Event, device)));
}

/// The configuration has another generation.
fn renew(shared: &Shared, server: &ServerHandle) {
    if !shared.has_other_points() && !shared.has_other_nameplates() {
        return;
    }
    let (old, new) = shared.renew();
    {
        let mut tree = server.type_tree().write();
        for id in old.type_ids() {
            tree.remove(&id);
        }
        add_types(&mut tree, &new);
    }
    shared.watches.renew(&new, shared.now(), &mut server.subscriptions().data_notifier());
    let changes = changes(&old, &new);
    if changes.is_empty() {
        return;
    }
    let event = events::model_change(new_id(), changes, ObjectId::Server.into(), shared.now());
    let id: NodeId = ObjectId::Server.into();
    server.subscriptions().notify_events(std::iter::once((&event as &dyn Event, &id)));
}

fn changes(old: &Space, new: &Space) -> Vec<ModelChangeStructureDataType> {
    let one = |space: &Space, node: Node, verb| ModelChangeStructureDataType {
        affected: space.id(&node),
        affected_type: match space.type_definition(&node) {
            Some(Target::Own(own)) => space.id(&own),
            Some(Target::Standard(id)) => id,
            None => NodeId::null(),
        },
        verb,
    };
    let mut all = Vec::new();
    for (index, device) in old.registry.devices() {
        if new.registry.device_named(&device.name).is_none() {
            all.push(one(old, Node::Device(index), DELETED));
        }
    }
    for (index, device) in new.registry.devices() {
        match old.registry.device_named(&device.name) {
            None => all.push(one(new, Node::Device(index), ADDED)),
            Some(was) => {
                let same = same_points(&old.registry, was, &new.registry, index);
                if !same || old.plate(was) != new.plate(index) {
                    all.push(one(new, Node::Device(index), REFERENCES));
                }
            }
        }
    }
    if all.len() > MOST_CHANGES {
        all = vec![one(new, Node::Gateway, REFERENCES)];
    }
    all
}

fn same_points(old: &Registry, was: usize, new: &Registry, is: usize) -> bool {
    let of = |registry: &Registry, index: usize| -> Vec<common::PointSchema> {
        let numbers = registry.device(index).map_or(0..0, |d| d.points.clone());
        numbers.filter_map(|n| registry.point(PointId(n)).map(|p| p.schema.clone())).collect()
    };
    of(old, was) == of(new, is)
}
