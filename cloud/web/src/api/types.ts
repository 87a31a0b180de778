// Shapes of the HTTP and live APIs as `common::api` gives them. `test/conformity.ts`
// holds them against the OpenAPI document. Not here: calls (client.ts), binary frames (live/decode.ts).

/** `true`, a number, text, raw bytes as base64, or a float that JSON has no number for: `NaN`, `Infinity`,
 * `-Infinity`. */
export type Value = boolean | number | string | { bytes: string } | { f64: string };

export type ValueType = "bool" | "i64" | "u64" | "f64" | "text" | "bytes";
export type Access = "read" | "read_write" | "write";
export type AssetKind = "enterprise" | "site" | "area" | "line" | "cell";
export type Role = "viewer" | "operator" | "engineer" | "admin";
export type Severity = "info" | "warning" | "alarm";
export type Origin = "local" | "cloud" | "opcua" | "loop" | "desired";
export type CommandState =
  | "accepted" | "sent" | "executing" | "succeeded" | "rejected" | "failed" | "expired" | "unknown";
export type DesiredState = "pending" | "applied" | "diverged" | "expired";
export type SwitchPosition = "local" | "remote";
export type PartState = "running" | "restarting" | "stopped";

/** Names of qualities; the class is what stands before the first `_`. */
export const QUALITIES = {
  0x00: "good",
  0x01: "good_overflow",
  0x02: "good_override",
  0x40: "uncertain",
  0x41: "uncertain_last_usable",
  0x42: "uncertain_range",
  0x43: "uncertain_time",
  0x44: "uncertain_source",
  0x45: "uncertain_window",
  0x46: "uncertain_substitute",
  0x47: "uncertain_initial",
  0x48: "uncertain_sensor",
  0x80: "bad",
  0x81: "bad_not_connected",
  0x82: "bad_timeout",
  0x83: "bad_device",
  0x84: "bad_config",
  0x85: "bad_decode",
  0x86: "bad_range",
  0x87: "bad_stale",
  0x88: "bad_no_data",
  0x89: "bad_disabled",
  0x8a: "bad_source",
  0x8b: "bad_expression",
  0x8c: "bad_access",
  0x8d: "bad_unknown",
  0x8e: "bad_sensor",
} as const;
export type Quality = (typeof QUALITIES)[keyof typeof QUALITIES];

/** Stable error codes: `common::names::Code`. */
export const CODES = [
  "unauthenticated", "forbidden", "not_found", "invalid_request", "conflict", "precondition_failed",
  "precondition_required", "idempotency_conflict", "too_large", "rate_limited", "unavailable", "internal",
  "wrong_origin", "unknown_twin", "unknown_point", "gateway_offline", "not_writable", "type_mismatch",
  "out_of_limits", "out_of_raw_limits", "interlocked", "interlock_input", "local_mode", "owned", "expired",
  "audit_unavailable", "not_connected", "device_timeout", "device_refused", "readback_mismatch", "interrupted",
  "queue_full", "not_supported", "changed_since", "identity_conflict",
] as const;
export type Code = (typeof CODES)[number];

export interface Page<T> { items: T[]; next_cursor?: string }
export interface Problem { type: string; title: string; status: number; code: Code; detail: string }
export interface Grant { path: string; role: Role }
export interface WhoAmI { user: string; grants: Grant[] }
export interface Requester { name: string; origin: Origin }
export interface Label { value: number; text: string }

export interface AssetNode { path: string; name: string; kind: AssetKind; twins: string[] }

/** How much a point's samples matter where there is no room for all; absent: normal. */
export type PointClass = "critical" | "normal" | "trend";

export interface PointView {
  name: string;
  type: ValueType;
  unit?: string;
  description?: string;
  access: Access;
  range_min?: number;
  range_max?: number;
  write_min?: number;
  write_max?: number;
  setpoint?: string;
  stale_ms: number;
  class?: PointClass;
  labels?: Label[];
  value?: Value;
  quality: Quality;
  source_us: number;
  received_us: number;
  desired?: DesiredView;
}

export interface DesiredView {
  value: Value;
  state: DesiredState;
  version: number;
  set_us: number;
  expires_us: number;
  requester: Requester;
  reason: string;
  code?: Code;
  detail?: string;
}

export interface DesiredEntry { value: Value; ttl_ms: number; reason: string }
export type DesiredPatch = Record<string, DesiredEntry | null>;

export interface TwinView {
  id: string;
  asset: string;
  name: string;
  description?: string;
  gateway?: string;
  device?: string;
  online: boolean;
  desired_version: number;
  points: PointView[];
}

export interface CommandRequest { point: string; value: Value; ttl_ms: number; reason: string }

export interface CommandView {
  id: string;
  twin: string;
  asset: string;
  point: string;
  value: Value;
  requester: Requester;
  reason: string;
  state: CommandState;
  code?: Code;
  detail?: string;
  read_back?: Value;
  created_us: number;
  expires_us: number;
  steps: { state: CommandState; at_us: number }[];
}

export type AlarmKind = "hihi" | "hi" | "lo" | "lolo" | "deviation" | "rate" | "equals" | "bad" | "stale" | "comms";
export type AlarmPriority = "low" | "medium" | "high" | "urgent";
export type AlarmState = "normal" | "active" | "acknowledged" | "returned" | "out_of_service";
export type AlarmChange =
  | "raised" | "cleared" | "acknowledged" | "commented" | "shelved" | "unshelved" | "disabled" | "enabled" | "removed";

export interface AlarmView {
  id: string;
  twin: string;
  asset: string;
  point: string;
  name: string;
  kind: AlarmKind;
  priority: AlarmPriority;
  text?: string;
  group?: string;
  state: AlarmState;
  change: AlarmChange;
  raised_us?: number;
  at_us: number;
  shelved_until_us?: number;
  /** Whether it leaves the shelf before, when it clears. */
  shelved_once?: boolean;
  value?: Value;
  quality: Quality;
  limit?: number;
  unit?: string;
  actor: string;
  comment?: string;
}

export interface LogEntry {
  at_us: number;
  actor: string;
  action: string;
  target: string;
  twin?: string;
  severity: Severity;
  code?: Code;
  detail?: string;
}

export interface HistoryPoint {
  t_us: number;
  value?: Value;
  quality: Quality;
  first?: Value;
  min?: number;
  max?: number;
  mean?: number;
  count: number;
  good: number;
  times?: HistoryTimes;
  first_sample?: HistorySample;
  last_sample?: HistorySample;
}

export interface HistorySample { t_us: number; value?: Value; quality: Quality }

export interface HistoryTimes {
  good_us: number;
  uncertain_us: number;
  bad_us: number;
  nothing_us: number;
  unsettled_us?: number;
  states?: { value: Value; us: number }[];
  other_us?: number;
}

export interface HistoryResponse {
  twin: string;
  point: string;
  unit: string;
  from_us: number;
  to_us: number;
  resolution: { kind: "raw" } | { kind: "rollup"; bucket_us: number };
  points: HistoryPoint[];
  gaps: HistoryGap[];
  times?: HistoryTimes;
}

export type GapReason =
  | "bad_quality" | "clock_unsynchronised" | "gateway_down" | "gateway_offline" | "awaited" | "quota" | "age" | "disk_full"
  | "overrun" | "damaged" | "operator" | "deleted" | "retention" | "cloud_lost" | "set_aside" | "cloud_damaged" | "point_removed" | "other";

export interface HistoryGap {
  from_us: number;
  to_us: number;
  cause: GapReason;
  quality?: Quality;
  count?: number;
  partial?: boolean;
}

export interface BufferHealth {
  unacked_frames: number;
  oldest_unacked_ms: number;
  disk_bytes: number;
  quota_bytes: number;
  last_seq: number;
  durable_seq: number;
  incarnation: string;
  fault?: string;
}

export interface DeviceHealth {
  name: string;
  protocol: string;
  connected: boolean;
  since_us: number;
  good: number;
  bad: number;
  last_error?: string;
  poll?: PollHealth;
}

export interface PollHealth {
  line: string;
  requests: number;
  timeouts: number;
  refused: number;
  wrong: number;
  late: number;
  overruns: number;
  parked: boolean;
  round_trip_us: number;
  requests_per_hour: number;
  spare: number;
  holes: number;
  holes_named?: string[];
}

export interface PartStatus { name: string; state: PartState; restarts: number; last_error?: string; since_us: number }

/** What the uplink may use, and what it keeps back. */
export interface LinkUse {
  day_bytes: number;
  month_bytes: number;
  day_left?: number | null;
  month_left?: number | null;
  held?: "day" | "month" | "quiet" | null;
  trends_held?: boolean;
  held_since_us?: number | null;
  held_until_us?: number | null;
  held_frames: number;
  together: boolean;
  backlog_window: number;
}

export interface GatewayHealth {
  version: string;
  uptime_ms: number;
  clock_synchronised: boolean;
  switch: SwitchPosition;
  uplink: boolean;
  uplink_error?: string | null;
  link?: LinkUse | null;
  buffer: BufferHealth;
  dropped: Record<string, number>;
  devices: DeviceHealth[];
  parts: PartStatus[];
  left_out?: number;
}

export interface GatewayView {
  id: string;
  connected: boolean;
  since_us: number;
  last_seen_us: number;
  twins: number;
  health?: GatewayHealth;
  held?: HeldBox[];
}

export type ConfigurationState =
  | "none" | "waiting" | "not_accepted" | "received" | "trial" | "applied" | "refused";
export type DocumentState = "none" | "received" | "trial" | "applied" | "refused";
export type Accepts = "off" | "read" | "write";
export interface DocumentRef { version: number; hash: string }
/** A configuration document without its text. */
export interface ConfigurationEntry {
  version: number;
  hash: string;
  bytes: number;
  author: string;
  at_us: number;
  note: string;
  base?: string;
  force: boolean;
}
/** What the box said last. */
export interface ConfigurationReport {
  accepts: Accepts;
  judged?: DocumentRef;
  state: DocumentState;
  reason?: string;
  running?: DocumentRef;
  local: string;
  settled?: string;
  changed?: boolean;
  at_us: number;
}
export interface ConfigurationView {
  gateway: string;
  wanted?: ConfigurationEntry;
  state: ConfigurationState;
  reason: string;
  report?: ConfigurationReport;
}

/** A box that speaks under the gateway's name and is not let in. */
export interface HeldBox { incarnation: string; box_id?: string | null; peer: string; since_us: number; last_us: number; reason: string }

export interface TextValue { row: number; value?: Value | null; quality: Quality; source_us: number }

export type ServerMessage =
  | { type: "schema"; area: number; path: string; epoch: number; rows: [string, string][] }
  | { type: "texts"; area: number; epoch: number; values: TextValue[] }
  | { type: "command"; command: CommandView }
  | { type: "desired"; twin: string; point: string; desired?: DesiredView | null }
  | { type: "event"; event: LogEntry }
  | { type: "alarm"; alarm: AlarmView }
  | { type: "gateway"; gateway: GatewayView }
  | { type: "twins" }
  | { type: "lost"; count: number };
