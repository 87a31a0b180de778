//! Desired values: changed under a version, kept in storage, shown in the live state, and told to the
//! gateway while they hold. The gateway decides whether one is written; here nothing is.

use cloud_core::{GatewayKey, Scope, StoreError};
use common::TwinId;
use common::api::{DesiredEntry, DesiredPatch, DesiredView, Problem, ServerMessage};
use common::command::{DesiredOrder, DesiredState, DesiredUpdate, LogEntry, Requester};
use common::names::{Code, action};

use super::{Commands, check_write, entry};
use crate::error::ApiError;
use crate::request::check_reason;

/// Longest life of a desired value, ms.
const LONGEST_TTL_MS: u64 = 7 * 24 * 3_600_000;
/// Most points in one change.
const MOST_POINTS: usize = 256;

/// A point and what is wanted of it; none withdraws.
type Wanted = (String, Option<DesiredEntry>);
type Entries = Vec<Wanted>;

impl Commands {
    /// Changes desired values if the twin's version is still the one that the caller knows. `None` stands
    /// for a withdrawal.
    pub(crate) async fn patch_desired(
        &self,
        twin: TwinId,
        if_version: u64,
        patch: DesiredPatch,
        requester: Requester,
    ) -> Result<(), ApiError> {
        if patch.len() > MOST_POINTS {
            return Err(ApiError::invalid(format!("a change has at most {MOST_POINTS} points")));
        }
        let (asset, entries) = self.check_patch(twin, patch)?;
        if entries.is_empty() {
            return Ok(());
        }
        let _order = self.0.desired.lock().await;
        let now_us = self.clock.now_us();
        let names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
        let what = if entries.iter().any(|(_, e)| e.is_some()) {
            action::DESIRED_SET
        } else {
            action::DESIRED_WITHDRAWN
        };
        let mut audit = entry(&requester, what, (twin, &asset, &names.join(",")), now_us);
        audit.detail = detail_of(&entries);
        let patched =
            self.storage.patch_desired(twin, if_version, &entries, &requester, now_us, &audit).await;
        let (version, views) = match patched {
            Ok(patched) => patched,
            Err(StoreError::Conflict { .. }) => return Err(changed()),
            Err(error) => return Err(error.into()),
        };
        self.show(twin, &asset, version, &views);
        if let Some(gateway) = self.gateway_of(twin) {
            let orders = views.iter().map(|(point, view)| Wish { twin, version, point, view: view.as_ref() });
            self.send(&gateway, orders, &requester, now_us).await;
        }
        Ok(())
    }

    /// A gateway told what became of a desired value. Storage has decided with its frame whether that counts
    /// (the gateway may not feed the twin, or may have said something later already): here it is only shown.
    ///
    /// # Errors
    /// When storage refuses.
    pub async fn on_desired(&self, update: &DesiredUpdate) -> Result<(), StoreError> {
        let _order = self.0.desired.lock().await;
        if let Some(view) = self.storage.desired(update.twin, &update.point).await? {
            self.show_one(update, view);
        }
        Ok(())
    }

    /// The cloud's own word on a desired value that is still pending. False if it is no longer.
    pub(super) async fn end_desired(
        &self,
        update: &DesiredUpdate,
        audit: &LogEntry,
    ) -> Result<bool, StoreError> {
        let _order = self.0.desired.lock().await;
        let is_pending =
            |view: &DesiredView| view.state == DesiredState::Pending && view.version == update.version;
        let now = self.storage.desired(update.twin, &update.point).await?;
        let ends = now.as_ref().is_some_and(is_pending);
        let view = if ends {
            self.storage.append_audit(audit).await?;
            self.storage.update_desired(update).await?
        } else {
            now
        };
        if let Some(view) = view {
            self.show_one(update, view);
        }
        Ok(ends)
    }

    fn show_one(&self, update: &DesiredUpdate, view: DesiredView) {
        let asset = self.world.read().twins.get(&update.twin).map(|t| t.asset.clone());
        if let Some(asset) = asset {
            self.show(update.twin, &asset, 0, &[(update.point.clone(), Some(view))]);
        }
    }

    /// A gateway's session began: it is told the desired values of its twins that still hold and are not
    /// written yet. It writes them only by its own rules, never blindly.
    pub async fn on_session(&self, gateway: &GatewayKey) {
        let _order = self.0.desired.lock().await;
        let now_us = self.clock.now_us();
        let wishes: Vec<_> = {
            let state = self.world.read();
            let bound =
                |t: &&cloud_core::TwinState| t.binding.as_ref().is_some_and(|(g, _)| *g == gateway.gateway);
            let points =
                state.twins.values().filter(bound).flat_map(|t| t.points.iter().map(move |p| (t.id, p)));
            points
                .filter_map(|(twin, p)| Some((twin, p.schema.name.clone(), p.desired.clone()?)))
                .filter(|(_, _, d)| d.state == DesiredState::Pending)
                .filter(|(twin, point, d)| self.left_us(*twin, point, d) > 0)
                .collect()
        };
        let system = Requester { name: "system".to_owned(), origin: common::command::Origin::Desired };
        let orders = wishes.iter().map(|(twin, point, view)| Wish {
            twin: *twin,
            version: view.version,
            point,
            view: Some(view),
        });
        self.send(gateway, orders, &system, now_us).await;
    }

    /// Tells the gateway, if it has a live session. If it has none it is told when the next one begins.
    async fn send<'a>(
        &self,
        gateway: &GatewayKey,
        wishes: impl Iterator<Item = Wish<'a>> + Send,
        requester: &Requester,
        now_us: i64,
    ) {
        let Some(session_us) = self.downlink.session_us(gateway) else { return };
        let order = |wish: Wish<'a>| {
            let left_us = match wish.view {
                Some(view) => self.left_us(wish.twin, wish.point, view),
                // A withdrawal holds as long as the longest wish could.
                None => LONGEST_TTL_MS.saturating_mul(1_000),
            };
            wish.order(requester, now_us, session_us.saturating_add(left_us))
        };
        let orders: Vec<_> = wishes.map(order).collect();
        if orders.is_empty() {
            return;
        }
        if let Err(error) = self.downlink.desired(gateway, orders).await {
            tracing::warn!(%error, %gateway, "desired values are told when the next session begins");
        }
    }

    /// How long a wish still holds, us; 0: no longer.
    fn left_us(&self, twin: TwinId, point: &str, view: &DesiredView) -> u64 {
        let key = (twin, point.to_owned(), view.version);
        let over_us = self.0.desired_lives.of(&self.clock, key, (view.set_us, view.expires_us));
        u64::try_from(over_us.saturating_neg()).unwrap_or(0)
    }

    /// Puts views into the live state and tells live clients.
    fn show(&self, twin: TwinId, asset: &str, version: u64, views: &[(String, Option<DesiredView>)]) {
        {
            let mut state = self.world.write();
            if let Some(twin) = state.twins.get_mut(&twin) {
                twin.desired_version = twin.desired_version.max(version);
                for (name, view) in views {
                    if let Some(point) = twin.point_mut(name)
                        && !is_older(view.as_ref(), point.desired.as_ref())
                    {
                        point.desired.clone_from(view);
                    }
                }
            }
        }
        for (point, desired) in views {
            let message = ServerMessage::Desired { twin, point: point.clone(), desired: desired.clone() };
            self.live.message(&Scope::Asset(asset.to_owned()), message);
        }
    }

    fn check_patch(&self, twin: TwinId, patch: DesiredPatch) -> Result<(String, Entries), ApiError> {
        let state = self.world.read();
        let twin = state.twins.get(&twin).ok_or_else(|| ApiError::not_found("twin"))?;
        if twin.binding.is_none() {
            let detail = format!("the twin {} has no device that could take a value", twin.asset);
            return Err(ApiError::new(Code::Conflict, detail));
        }
        let mut entries = Vec::with_capacity(patch.len());
        for (name, entry) in patch {
            let point = twin.point(&name).ok_or_else(|| {
                Problem::new(Code::UnknownPoint, format!("the twin {} has no point {name}", twin.asset))
            })?;
            let entry = match entry {
                None => None,
                Some(entry) => {
                    check_reason(&entry.reason)?;
                    if !(1..=LONGEST_TTL_MS).contains(&entry.ttl_ms) {
                        let detail = format!("`{name}.ttl_ms` is 1 to {LONGEST_TTL_MS} (7 days)");
                        return Err(ApiError::invalid(detail));
                    }
                    Some(DesiredEntry { value: check_write(&point.schema, &entry.value)?, ..entry })
                }
            };
            entries.push((name, entry));
        }
        Ok((twin.asset.clone(), entries))
    }
}

/// The refusal of a change that rests on an old version.
pub(crate) fn changed() -> ApiError {
    ApiError::new(
        Code::PreconditionFailed,
        "the desired values changed meanwhile: read the twin again and decide anew",
    )
}

/// A late word about an older version must not replace a newer wish.
fn is_older(new: Option<&DesiredView>, old: Option<&DesiredView>) -> bool {
    matches!((new, old), (Some(new), Some(old)) if new.version < old.version)
}

/// A desired value or its withdrawal on its way to a gateway.
struct Wish<'a> {
    twin: TwinId,
    version: u64,
    point: &'a str,
    view: Option<&'a DesiredView>,
}

impl Wish<'_> {
    fn order(&self, requester: &Requester, now_us: i64, deadline_session_us: u64) -> DesiredOrder {
        DesiredOrder {
            twin: self.twin,
            version: self.version,
            point: self.point.to_owned(),
            value: self.view.map(|v| v.value.clone()),
            requester: self.view.map_or_else(|| requester.clone(), |v| v.requester.clone()),
            reason: self.view.map_or_else(String::new, |v| v.reason.clone()),
            set_us: self.view.map_or(now_us, |v| v.set_us),
            deadline_session_us,
        }
    }
}

fn detail_of(entries: &[Wanted]) -> String {
    let one = |(name, entry): &Wanted| match entry {
        Some(e) => {
            let value = serde_json::to_string(&e.value).unwrap_or_default();
            let because =
                if e.reason.is_empty() { String::new() } else { format!(", because: {}", e.reason) };
            format!("{name} = {value} for {} s{because}", e.ttl_ms / 1_000)
        }
        None => format!("{name} withdrawn"),
    };
    let text = entries.iter().map(one).collect::<Vec<_>>().join("; ");
    text.chars().take(1_000).collect()
}
