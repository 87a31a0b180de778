// Texts of the frame and the table in English; their type is what a translation must have. Texts of what
// loads later are in en-later.ts.
import type { AssetKind, DesiredState, Quality, Severity } from "../api/types";

const quality: Record<Quality, string> = {
  good: "Good",
  uncertain: "Uncertain",
  uncertain_last_usable: "Uncertain: last usable value",
  uncertain_range: "Uncertain: outside its range",
  uncertain_time: "Uncertain: clock not synchronised",
  uncertain_source: "Uncertain: marked by its source",
  uncertain_window: "Uncertain: too little data in the window",
  bad: "Bad",
  bad_not_connected: "Bad: device not connected",
  bad_timeout: "Bad: device does not answer",
  bad_device: "Bad: device refused",
  bad_config: "Bad: configuration does not fit the device",
  bad_decode: "Bad: bytes not readable",
  bad_range: "Bad: cannot be represented",
  bad_stale: "Stale: no value for too long",
  bad_no_data: "Bad: no value yet",
  bad_disabled: "Bad: switched off",
  bad_source: "Bad: marked by its source",
  bad_expression: "Bad: the expression has no result",
};

const desiredState: Record<DesiredState, string> = {
  pending: "Pending",
  applied: "Applied",
  diverged: "Diverged",
  expired: "Expired",
};

const severity: Record<Severity, string> = { info: "Info", warning: "Warning", alarm: "Alarm" };
const kind: Record<AssetKind, string> = { enterprise: "Enterprise", site: "Site", area: "Area", line: "Line", cell: "Cell" };

export const en = {
  quality,
  desiredState,
  severity,
  kind,
  mark: { good: "Good", uncertain: "Uncertain", bad: "Bad", stale: "Stale" },
  age: { ms: "ms", s: "s", min: "min", h: "h", d: "d" },
  app: {
    skip: "Skip to the list",
    language: "Language",
    loading: "Loading…",
    noAnswer: "no answer from the cloud",
    loadFailed: (why: string) => `The lists could not be read: ${why}`,
    again: "Try again",
    close: "Close",
    signOut: "Sign out",
    user: (name: string) => `Signed in as ${name}`,
    views: "Views",
    notices: "Notices",
    points: "Points",
    alarms: "Alarms",
    commands: "Commands",
    events: "Events",
    gateways: "Gateways",
    help: "Keys",
    abnormal: "Abnormal points",
    noEvents: "No events yet",
    lastEvent: "Last event",
  },
  link: {
    connecting: "Connecting",
    live: "Live",
    lost: "Link lost",
    frozen: (since: string) => `Link to the cloud lost at ${since}. Values are frozen and commands are disabled. Reconnecting…`,
    back: "Link to the cloud is back",
    missed: (n: number) => `${n} messages were missed; the lists were read again`,
    gatewayDown: (names: string) => `No link to gateway ${names}: its values are old, and its points cannot be commanded.`,
  },
  tree: { title: "Plant", all: "Whole plant" },
  table: {
    caption: (place: string) => `Points of ${place}`,
    filter: "Filter",
    filterHint: "Filter by twin, point or description",
    abnormalOnly: "Abnormal only",
    count: (n: number, all: number) => (n === all ? `${n} points` : `${n} of ${all} points`),
    point: "Point",
    value: "Value",
    unit: "Unit",
    band: "Range",
    setpoint: "Setpoint",
    trend: "5 min",
    quality: "Quality",
    age: "Age",
    none: "No point matches",
    offline: "gateway offline",
    writable: "may be commanded",
    desired: "desired",
  },
};

export type Texts = typeof en;
