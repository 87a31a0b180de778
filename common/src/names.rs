//! Every name that another program sees, once: error codes, metrics, MQTT topics.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// A stable error code: in problem documents, command results and the audit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The code as text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// No valid session, key or peer.
    Unauthenticated = "unauthenticated";
    /// The role or grant does not allow it.
    Forbidden = "forbidden";
    /// No such thing, or not one you may see.
    NotFound = "not_found";
    /// The request is not as documented.
    InvalidRequest = "invalid_request";
    /// The thing is not in a state that allows it, or exists already.
    Conflict = "conflict";
    /// `If-Match` does not name the current version.
    PreconditionFailed = "precondition_failed";
    /// `If-Match` or `Idempotency-Key` is needed.
    PreconditionRequired = "precondition_required";
    /// The idempotency key was used with another request.
    IdempotencyConflict = "idempotency_conflict";
    /// Too large.
    TooLarge = "too_large";
    /// Too many; try later.
    RateLimited = "rate_limited";
    /// A part is not ready; try later.
    Unavailable = "unavailable";
    /// A fault of ours.
    Internal = "internal";
    /// The page or program is not from here (Origin or Host).
    WrongOrigin = "wrong_origin";
    /// No such twin.
    UnknownTwin = "unknown_twin";
    /// No such point.
    UnknownPoint = "unknown_point";
    /// The gateway has no live session.
    GatewayOffline = "gateway_offline";
    /// The point is read only.
    NotWritable = "not_writable";
    /// The value does not fit the point's type.
    TypeMismatch = "type_mismatch";
    /// Beyond the point's limits in engineering units.
    OutOfLimits = "out_of_limits";
    /// Beyond what the register can hold.
    OutOfRawLimits = "out_of_raw_limits";
    /// An interlock forbids it.
    Interlocked = "interlocked";
    /// An input of an interlock is bad, stale or missing.
    InterlockInput = "interlock_input";
    /// The switch at the box stands on local.
    LocalMode = "local_mode";
    /// Another owner holds the point.
    Owned = "owned";
    /// Its time ran out before the write.
    Expired = "expired";
    /// The intent cannot be put on disk.
    AuditUnavailable = "audit_unavailable";
    /// The device is not connected.
    NotConnected = "not_connected";
    /// The device did not answer in time.
    DeviceTimeout = "device_timeout";
    /// The device refused the write.
    DeviceRefused = "device_refused";
    /// The value read back is not the value written.
    ReadbackMismatch = "readback_mismatch";
    /// The gateway stopped between intent and result.
    Interrupted = "interrupted";
    /// Too many commands wait.
    QueueFull = "queue_full";
    /// The gateway's program is too old for it.
    NotSupported = "not_supported";
    /// Somebody changed the point since.
    ChangedSince = "changed_since";
    /// Another box has this gateway's identity.
    IdentityConflict = "identity_conflict";
}

// By hand: the derive does not see a rename that a macro hands it.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Code {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .description(Some("a stable error code"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Code {}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names of metrics. A counter's name is written without `_total`, which the text format adds.
pub mod metric {
    macro_rules! metrics {
        ($($(#[$doc:meta])* $konst:ident = $name:literal, $help:literal;)*) => {
            $($(#[$doc])* #[doc = $help] pub const $konst: (&str, &str) = ($name, $help);)*
            /// Every metric with its help.
            pub const ALL: &[(&str, &str)] = &[$($konst),*];
        };
    }

    metrics! {
        GATEWAY_SAMPLES = "twinway_gateway_samples", "samples received from the field, by device and quality class";
        GATEWAY_DROPPED = "twinway_gateway_dropped", "samples or frames dropped, by queue and cause";
        GATEWAY_READ_SECONDS = "twinway_gateway_read_seconds", "time of one request to a device";
        GATEWAY_READ_ERRORS = "twinway_gateway_read_errors", "failed requests to a device, by device and cause";
        GATEWAY_DEVICE_UP = "twinway_gateway_device_up", "1 while the device answers";
        GATEWAY_OVERRUNS = "twinway_gateway_poll_overruns", "polls skipped because the one before had not ended";
        GATEWAY_POLL_REQUESTS = "twinway_gateway_poll_requests", "requests to a polled device, writes and probes included";
        GATEWAY_POLL_FAILURES = "twinway_gateway_poll_failures", "requests to a polled device that failed, by cause timeout, refused, wrong or late";
        GATEWAY_POLL_ROUND_TRIP = "twinway_gateway_poll_round_trip_us", "mean time from request to answer, us";
        GATEWAY_POLL_PARKED = "twinway_gateway_poll_parked", "1 while a device does not answer and is only probed";
        GATEWAY_POLL_PLANNED = "twinway_gateway_poll_planned_per_hour", "requests an hour that a device's points need";
        GATEWAY_POLL_SPARE = "twinway_gateway_poll_spare", "registers and bits read along that are no point's, in one read of everything";
        GATEWAY_POLL_HOLES = "twinway_gateway_poll_holes", "ranges that a device refuses and that are planned around";
        GATEWAY_BUFFER_FRAMES = "twinway_gateway_buffer_frames", "frames that the cloud has not acknowledged";
        GATEWAY_BUFFER_BYTES = "twinway_gateway_buffer_bytes", "bytes of the segment log on disk";
        GATEWAY_BUFFER_AGE = "twinway_gateway_buffer_age_seconds", "age of the oldest frame that the cloud has not acknowledged";
        GATEWAY_BUFFER_SYNC_SECONDS = "twinway_gateway_buffer_sync_seconds", "time of one fdatasync of the log";
        GATEWAY_UPLINK_UP = "twinway_gateway_uplink_up", "1 while the session with the cloud lives";
        GATEWAY_UPLINK_FRAMES = "twinway_gateway_uplink_frames", "frames sent to the cloud, by kind live or backlog";
        GATEWAY_UPLINK_BYTES = "twinway_gateway_uplink_bytes", "bytes that the link to the cloud carried in this period, in both directions, by period day or month";
        GATEWAY_UPLINK_LEFT = "twinway_gateway_uplink_bytes_left", "bytes that are left of the link's budget, by period day or month";
        GATEWAY_UPLINK_HELD = "twinway_gateway_uplink_held", "1 while samples are held back: the budget is used up, or it is a quiet hour";
        GATEWAY_UPLINK_HELD_FRAMES = "twinway_gateway_uplink_held_frames", "frames of samples that are held back, or wait to go together";
        GATEWAY_COMMANDS = "twinway_gateway_commands", "commands by final state and code";
        GATEWAY_ALARMS = "twinway_gateway_alarms", "alarms that are not normal, by priority and state";
        GATEWAY_PART_RESTARTS = "twinway_gateway_part_restarts", "restarts of a part";
        GATEWAY_CONFIG_OK = "twinway_gateway_config_last_reload_success", "1 if the configuration in the files was taken, 0 if it was refused and an older one runs";
        GATEWAY_CONFIG_TAKEN = "twinway_gateway_config_taken_timestamp_seconds", "when the configuration that runs was taken, seconds since 1970";
        GATEWAY_CONFIG_RELOADS = "twinway_gateway_config_reloads", "attempts to take a new configuration, by result";
        GATEWAY_BROKER_CLIENTS = "twinway_gateway_broker_clients", "clients connected to the embedded broker";
        GATEWAY_BROKER_SESSIONS = "twinway_gateway_broker_sessions", "sessions of the embedded broker, connected or not";
        GATEWAY_BROKER_RETAINED = "twinway_gateway_broker_retained", "retained messages of the embedded broker";
        GATEWAY_BROKER_QUEUED = "twinway_gateway_broker_queued_bytes", "bytes that wait for clients of the embedded broker";
        GATEWAY_BROKER_REFUSED = "twinway_gateway_broker_refused", "connections that the embedded broker refused or closed for what they did";
        CLOUD_FRAMES = "twinway_cloud_frames", "frames received, by result accepted or duplicate";
        CLOUD_SAMPLES = "twinway_cloud_samples", "samples accepted";
        CLOUD_REFUSED = "twinway_cloud_refused", "publishes or sessions refused, by cause";
        CLOUD_SET_ASIDE = "twinway_cloud_frames_set_aside", "frames that could not be read or stored and are kept aside, by cause";
        CLOUD_SET_ASIDE_REMOVED = "twinway_cloud_frames_set_aside_removed", "frames that were set aside and had to go, because more were than are kept";
        CLOUD_COMMIT_SECONDS = "twinway_cloud_commit_seconds", "time of one durable commit of frames";
        CLOUD_SESSIONS = "twinway_cloud_gateway_sessions", "gateways with a live session";
        CLOUD_LIVE_CLIENTS = "twinway_cloud_live_clients", "clients of the live channel";
        CLOUD_LIVE_SKIPPED = "twinway_cloud_live_skipped", "live frames replaced in a slow client's slot by a later one";
        CLOUD_LIVE_LOST = "twinway_cloud_live_events_lost", "events dropped for a slow live client, which is told";
        CLOUD_COMMANDS = "twinway_cloud_commands", "commands by final state";
        CLOUD_COMPACT_SECONDS = "twinway_cloud_compact_seconds", "time of one step of compaction: frames into column chunks, or a slice of merging these";
        CLOUD_UNCOMPACTED = "twinway_cloud_uncompacted_frames", "frames not yet compacted";
        CLOUD_STORE_BYTES = "twinway_cloud_store_bytes", "what the database takes, free room included, without its log";
        CLOUD_STORE_FREE = "twinway_cloud_store_free_bytes", "room in the SQLite database that new data fills";
        CLOUD_UNKNOWN_POINTS = "twinway_cloud_samples_unknown_point", "samples in the database's lifetime of points that their schema lacks: they are in no history";
        CLOUD_DAMAGED = "twinway_cloud_store_damaged", "parts of the database (chunks of history, frames) that were found damaged since the start";
        CLOUD_REQUESTS = "twinway_cloud_http_requests", "HTTP requests by route, method and status";
        CLOUD_REQUEST_SECONDS = "twinway_cloud_http_request_seconds", "time of one HTTP request by route";
        BUILD_INFO = "twinway_build", "version of the program";
    }
}

/// Names of what stands in audit and event entries (`LogEntry::action`).
pub mod action {
    macro_rules! actions {
        ($($(#[$doc:meta])* $konst:ident = $name:literal;)*) => {
            $($(#[$doc])* pub const $konst: &str = $name;)*
            /// Every action.
            pub const ALL: &[&str] = &[$($konst),*];
        };
    }

    actions! {
        /// A command was taken.
        COMMAND_ACCEPTED = "command.accepted";
        /// A command was refused before any write.
        COMMAND_REJECTED = "command.rejected";
        /// A command's time ran out before the write.
        COMMAND_EXPIRED = "command.expired";
        /// A write is next; its intent is being put on disk.
        COMMAND_EXECUTING = "command.executing";
        /// A command was written and read back.
        COMMAND_SUCCEEDED = "command.succeeded";
        /// A write was tried and did not do what was asked.
        COMMAND_FAILED = "command.failed";
        /// Nobody can say whether a write happened.
        COMMAND_UNKNOWN = "command.unknown";
        /// A desired value is about to be written.
        DESIRED_EXECUTING = "desired.executing";
        /// A desired value was written and read back.
        DESIRED_APPLIED = "desired.applied";
        /// A desired value was not written, or did not take; it waits for a person.
        DESIRED_DIVERGED = "desired.diverged";
        /// A desired value's time ran out.
        DESIRED_EXPIRED = "desired.expired";
        /// A desired value was withdrawn.
        DESIRED_WITHDRAWN = "desired.withdrawn";
        /// The switch at the box was set to local.
        SWITCH_LOCAL = "switch.local";
        /// The switch at the box was set to remote.
        SWITCH_REMOTE = "switch.remote";
        /// A device answers again.
        DEVICE_ONLINE = "device.online";
        /// A device no longer answers.
        DEVICE_OFFLINE = "device.offline";
        /// Samples are held back in the buffer: the link's bytes are used up, or it is a quiet hour.
        UPLINK_HELD = "uplink.held";
        /// Samples go to the cloud again.
        UPLINK_RELEASED = "uplink.released";
        /// Somebody asked for samples of the buffer to be dropped.
        BUFFER_DROP_ASKED = "buffer.drop_asked";
        /// They were dropped.
        BUFFER_DROPPED = "buffer.dropped";
        /// They were not, or not all.
        BUFFER_DROP_REFUSED = "buffer.drop_refused";
        /// Somebody had a part of a point's history deleted.
        HISTORY_DELETED = "history.deleted";
        /// Somebody asked for something to be done with an alarm.
        ALARM_ASKED = "alarm.asked";
        /// An alarm's condition came true.
        ALARM_RAISED = "alarm.raised";
        /// An alarm's condition is no longer true.
        ALARM_CLEARED = "alarm.cleared";
        /// Somebody acknowledged an alarm.
        ALARM_ACKNOWLEDGED = "alarm.acknowledged";
        /// Somebody said something about an alarm.
        ALARM_COMMENTED = "alarm.commented";
        /// Somebody shelved an alarm for a time.
        ALARM_SHELVED = "alarm.shelved";
        /// An alarm was taken from the shelf.
        ALARM_UNSHELVED = "alarm.unshelved";
        /// The configuration switched an alarm off.
        ALARM_DISABLED = "alarm.disabled";
        /// The configuration switched an alarm on again.
        ALARM_ENABLED = "alarm.enabled";
        /// The configuration has an alarm no more.
        ALARM_REMOVED = "alarm.removed";
        /// The gateway's program started.
        GATEWAY_STARTED = "gateway.started";
        /// The gateway's program is stopping in good order.
        GATEWAY_STOPPED = "gateway.stopped";
        /// A new configuration was taken while the gateway ran.
        CONFIG_TAKEN = "config.taken";
        /// A new configuration has mistakes: the old one goes on.
        CONFIG_REFUSED = "config.refused";
        /// The configuration was refused at the start: the last good one runs.
        CONFIG_LAST_GOOD = "config.last_good";
        /// A configuration document of the cloud did not prove itself: what ran before runs again.
        CONFIG_FELL_BACK = "config.fell_back";
        /// Somebody put a configuration document for a gateway.
        CONFIGURATION_PUT = "configuration.put";
        /// A gateway runs the configuration document that it was given.
        CONFIGURATION_APPLIED = "configuration.applied";
        /// A gateway refused a configuration document.
        CONFIGURATION_REFUSED = "configuration.refused";
        /// Somebody changed a gateway's configuration at the box, beside the document that it was given.
        CONFIGURATION_CHANGED = "configuration.changed";
        /// A new version of the gateway's program was installed and is on trial.
        UPDATE_INSTALLED = "update.installed";
        /// It has proven itself.
        UPDATE_PROVEN = "update.proven";
        /// It did not: the version before runs again.
        UPDATE_GAVE_WAY = "update.gave_way";
        /// A bundle of an update was not taken.
        UPDATE_REFUSED = "update.refused";
        /// Somebody gave the cloud a bundle of an update.
        RELEASE_ADDED = "release.added";
        /// Somebody removed bundles from the cloud.
        RELEASE_REMOVED = "release.removed";
        /// Somebody put a gateway into a group.
        GATEWAY_GROUP = "gateway.group";
        /// Somebody began to roll a version out.
        ROLLOUT_STARTED = "rollout.started";
        /// The next group of a rollout has its turn.
        ROLLOUT_STAGE = "rollout.stage";
        /// A rollout was halted, by a failure or by somebody.
        ROLLOUT_HALTED = "rollout.halted";
        /// Somebody let it go on.
        ROLLOUT_RESUMED = "rollout.resumed";
        /// All groups have the version.
        ROLLOUT_DONE = "rollout.done";
        /// Somebody signed in.
        USER_LOGIN = "user.login";
        /// Somebody tried to sign in and was refused.
        USER_LOGIN_FAILED = "user.login_failed";
        /// Somebody signed out.
        USER_LOGOUT = "user.logout";
        /// An account was made.
        USER_CREATED = "user.created";
        /// An account was removed.
        USER_DELETED = "user.deleted";
        /// A password was changed.
        USER_PASSWORD = "user.password";
        /// An API key was made.
        KEY_CREATED = "key.created";
        /// An API key was removed.
        KEY_DELETED = "key.deleted";
        /// A gateway was given a new secret.
        GATEWAY_CREDENTIAL = "gateway.credential";
        /// Somebody made a code with which a box enrols.
        GATEWAY_CODE = "gateway.code";
        /// A box enrolled: it has a certificate, and its gateway's secret is worth nothing any more.
        GATEWAY_ENROLLED = "gateway.enrolled";
        /// Somebody tried to enrol with a code whose secret they did not know.
        GATEWAY_ENROL_FAILED = "gateway.enrol_failed";
        /// A certificate of a gateway was renewed.
        GATEWAY_CERTIFICATE = "gateway.certificate";
        /// Another certificate authority was made in place of one that was gone: every box has to be enrolled again.
        AUTHORITY_MADE = "authority.made";
        /// A box could not connect with what the cloud renewed its identity to, and goes on with the one before.
        GATEWAY_RENEWAL_FAILED = "gateway.renewal_failed";
        /// All that a gateway signs in with was made worthless.
        GATEWAY_REVOKED = "gateway.revoked";
        /// A desired value was set.
        DESIRED_SET = "desired.set";
        /// A gateway signed in while an older session of it lived, which was closed.
        GATEWAY_TAKEN_OVER = "gateway.taken_over";
        /// Two boxes have one gateway's identity; one of them is held back.
        GATEWAY_DUPLICATE = "gateway.duplicate";
        /// The cloud holds this box back.
        GATEWAY_HELD = "gateway.held";
        /// Somebody had another box let in under a gateway's name.
        GATEWAY_ACCEPTED = "gateway.accepted";
        /// Another box, or another state of it, speaks under a gateway's name from now on.
        GATEWAY_REPLACED = "gateway.replaced";
        /// A box came back with an older state: it was restored from a backup, or is a copy.
        GATEWAY_RESTORED = "gateway.restored";
        /// The cloud lacks what it had acknowledged: it was restored from a backup, or is another.
        CLOUD_RESTORED = "cloud.restored";
        /// Frames that the cloud could not read or store were set aside.
        FRAME_SET_ASIDE = "frame.set_aside";
        /// Frames that were set aside had to go, because more were than are kept.
        FRAME_ASIDE_REMOVED = "frame.set_aside_removed";
        /// A gateway sent samples of points that its schema lacks.
        DATA_UNKNOWN_POINT = "data.unknown_point";
        /// A part of the history that the cloud stored cannot be read any more.
        DATA_DAMAGED = "data.damaged";
        /// Somebody trusts a certificate of OPC UA from now on.
        CERTIFICATE_TRUSTED = "certificate.trusted";
        /// Somebody trusts a certificate of OPC UA no longer.
        CERTIFICATE_DISTRUSTED = "certificate.distrusted";
        /// Data is missing from a gateway's stream.
        DATA_GAP = "data.gap";
        /// Frames went before a publisher had sent them.
        PUBLISH_GAP = "publish.gap";
        /// A gateway spoke of what is not its own.
        FRAME_REFUSED = "frame.refused";
        /// A gateway took over a twin that another one fed, or another device of its own.
        TWIN_TAKEN_OVER = "twin.taken_over";
        /// A connection to an OPC UA server was made although something was wrong that the configuration accepts.
        OPCUA_ACCEPTED = "opcua.accepted";
        /// An OPC UA server shows another certificate than before, which is trusted.
        OPCUA_RENEWED = "opcua.renewed";
        /// An event or alarm of an OPC UA server.
        OPCUA_EVENT = "opcua.event";
        /// A gateway put a twin at another place of the asset tree: other grants hold there.
        TWIN_MOVED = "twin.moved";
    }
}

/// MQTT topics of the wire between gateway and cloud. A session may touch only its own two.
pub mod topic {
    use crate::ids::{GatewayId, TenantId};

    /// Where a gateway publishes everything it says to the cloud.
    pub fn up(tenant: &TenantId, gateway: &GatewayId) -> String {
        format!("twinway/v1/{tenant}/{gateway}/up")
    }

    /// Where the cloud publishes everything it says to a gateway.
    pub fn down(tenant: &TenantId, gateway: &GatewayId) -> String {
        format!("twinway/v1/{tenant}/{gateway}/down")
    }

    /// On the box's own broker: the processed value of a point, as JSON.
    pub fn local_point(device: &str, point: &str) -> String {
        format!("twinway/points/{device}/{point}")
    }

    /// On the box's own broker: what was read together of a device, as JSON.
    pub fn local_device(device: &str) -> String {
        format!("twinway/devices/{device}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_stands_once() {
        let codes: HashSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        let metrics: HashSet<_> = metric::ALL.iter().map(|(n, _)| n).collect();
        assert_eq!(metrics.len(), metric::ALL.len());
        let actions: HashSet<_> = action::ALL.iter().collect();
        assert_eq!(actions.len(), action::ALL.len());
        assert!(metric::ALL.iter().all(|(n, _)| n.starts_with("twinway_")));
    }
}
