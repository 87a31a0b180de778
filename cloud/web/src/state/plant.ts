// What the page knows of the plant: lists over HTTP, kept current by the live link. Not here: drawing, and
// values by column (values.ts).
import { batch, computed, signal } from "@preact/signals";
import { api, ApiError, serverNow, type ErrorCode } from "../api/client";
import type {
  AlarmView, AssetNode, CommandView, DesiredView, GatewayView, LogEntry, PointView, ServerMessage, TwinView, WhoAmI,
} from "../api/types";
import { later } from "../command/machine";
import { t } from "../i18n";
import { LiveLink, type LinkState } from "../live/socket";
import { alarm, say } from "./announce";
import { Sparks, STEP_MS } from "./sparks";
import { Values } from "./values";

/** Digits that change faster than this cannot be read. */
const PAINT_MS = 200;
const KEEP = 500;
const FIRST_PAGE = 100;

export const values = new Values();
export const sparks = new Sparks(values);
/** The server's wall clock, ms, once a second. */
export const now = signal(Date.now());
export const me = signal<WhoAmI | null>(null);
export const link = signal<LinkState>("connecting");
export const linkSince = signal(0);
export const loaded = signal(false);
export const loadError = signal<ErrorCode | null>(null);
export const twins = signal<TwinView[]>([]);
export const assets = signal<AssetNode[]>([]);
export const gateways = signal<GatewayView[]>([]);
export const commands = signal<CommandView[]>([]);
/** In no order; what is normal again may be among them. `state/alarms.ts` says what rings. */
export const alarms = signal<AlarmView[]>([]);
export const events = signal<LogEntry[]>([]);
export const olderEvents = signal<string | null>(null);
export const abnormal = signal({ uncertain: 0, bad: 0, stale: 0 });

export const twinById = computed(() => new Map(twins.value.map((twin) => [twin.id, twin])));
export const gatewayById = computed(() => new Map(gateways.value.map((g) => [g.id, g])));

export function pointOf(twin: TwinView | undefined, name: string): PointView | undefined {
  return twin?.points.find((p) => p.name === name);
}

const slots = new WeakMap<TwinView, number[]>();

/** Slots of a twin's points, in their order. */
export function slotsOf(twin: TwinView): number[] {
  let found = slots.get(twin);
  if (!found) slots.set(twin, (found = twin.points.map((p) => values.slot(twin.id, p.name))));
  return found;
}

let liveLink: LiveLink | null = null;
let timers: ReturnType<typeof setInterval>[] = [];
let paintedAt = 0;
let painting = false;

function paintSoon(): void {
  if (painting || !values.pending) return;
  painting = true;
  requestAnimationFrame(paint);
}

function paint(at: number): void {
  if (at - paintedAt < PAINT_MS) {
    requestAnimationFrame(paint);
    return;
  }
  painting = false;
  paintedAt = at;
  values.flush();
}

function countAbnormal(): void {
  const counts = { good: 0, uncertain: 0, bad: 0, stale: 0 };
  for (const twin of twins.value) {
    for (const slot of slotsOf(twin)) counts[values.mark(slot, now.value)]++;
  }
  const was = abnormal.value;
  if (was.uncertain === counts.uncertain && was.bad === counts.bad && was.stale === counts.stale) return;
  abnormal.value = { uncertain: counts.uncertain, bad: counts.bad, stale: counts.stale };
}

/** Starts to follow the plant for an account. */
export function start(who: WhoAmI): void {
  me.value = who;
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`;
  let read = false;
  liveLink = new LiveLink({
    url,
    maxHz: 10,
    probe: api.probe,
    onFrame: (frame) => {
      values.apply(frame);
      paintSoon();
    },
    onMessage,
    onState: (state) => {
      if (state === link.value) return;
      const was = link.value;
      batch(() => {
        link.value = state;
        linkSince.value = serverNow();
      });
      if (state === "lost") {
        values.disconnect();
        alarm(t.value.link.lost);
      }
      if (state === "live" && was === "lost") {
        say(t.value.link.back);
        sparks.reset();
      }
      // Lists after the link, so that nothing falls between; without a link, what can be had.
      if (state === "live" || (state === "lost" && !read)) void refresh();
      read ||= state !== "connecting";
    },
  });
  timers = [
    setInterval(() => {
      now.value = serverNow();
      countAbnormal();
    }, 1000),
    setInterval(() => {
      if (link.value === "live") sparks.sample(now.value);
    }, STEP_MS),
  ];
}

/** Forgets the account and what it saw. */
export function stop(): void {
  liveLink?.close();
  liveLink = null;
  timers.forEach(clearInterval);
  timers = [];
  batch(() => {
    me.value = null;
    link.value = "connecting";
    loaded.value = false;
    loadError.value = null;
    twins.value = [];
    assets.value = [];
    gateways.value = [];
    commands.value = [];
    alarms.value = [];
    events.value = [];
    olderEvents.value = null;
  });
}

let refreshing: Promise<void> | null = null;
let refreshAgain = false;

/** Reads every list again. Calls during a read make one more read, not many. */
export function refresh(): Promise<void> {
  if (refreshing) {
    refreshAgain = true;
    return refreshing;
  }
  refreshing = readLists().finally(() => {
    refreshing = null;
    if (refreshAgain) {
      refreshAgain = false;
      void refresh();
    }
  });
  return refreshing;
}

async function readLists(): Promise<void> {
  try {
    const [tw, as, gw, cm, ev, al] = await Promise.all([
      api.twins(), api.assets(), api.gateways(), api.commands(FIRST_PAGE), api.audit(FIRST_PAGE), api.alarms(),
    ]);
    values.seed(tw);
    batch(() => {
      twins.value = tw.sort((a, b) => (a.asset < b.asset ? -1 : 1));
      assets.value = as;
      gateways.value = gw;
      commands.value = mergeCommands(cm.items);
      alarms.value = al;
      events.value = ev.items;
      olderEvents.value = ev.next_cursor ?? null;
      loaded.value = true;
      loadError.value = null;
      now.value = serverNow();
    });
    countAbnormal();
    values.flush();
  } catch (e) {
    loadError.value = e instanceof ApiError ? e.code : "network";
  }
}

function mergeCommands(listed: CommandView[]): CommandView[] {
  const known = new Map(commands.value.map((c) => [c.id, c]));
  for (const c of listed) known.set(c.id, later(known.get(c.id), c));
  return [...known.values()].sort((a, b) => b.created_us - a.created_us).slice(0, KEEP);
}

/** Takes a view of a command, from wherever it came. */
export function takeCommand(c: CommandView): void {
  commands.value = mergeCommands([c]);
}

/** Reads the next older events. */
export async function readOlderEvents(): Promise<void> {
  if (!olderEvents.value) return;
  const page = await api.audit(FIRST_PAGE, olderEvents.value);
  batch(() => {
    events.value = [...events.value, ...page.items];
    olderEvents.value = page.next_cursor ?? null;
  });
}

/** Takes a twin read anew. */
export function takeTwin(twin: TwinView): void {
  twins.value = twins.value.map((known) => (known.id === twin.id ? twin : known));
}

function takeDesired(twin: string, point: string, desired: DesiredView | null): void {
  twins.value = twins.value.map((known) => {
    if (known.id !== twin) return known;
    const points = known.points.map((p) => {
      if (p.name !== point) return p;
      const { desired: _, ...rest } = p;
      return desired ? { ...rest, desired } : rest;
    });
    return { ...known, points, desired_version: Math.max(known.desired_version, desired?.version ?? 0) };
  });
}

function takeGateway(g: GatewayView): void {
  batch(() => {
    const others = gateways.value.filter((known) => known.id !== g.id);
    gateways.value = [...others, g].sort((a, b) => (a.id < b.id ? -1 : 1));
    if (twins.value.some((twin) => twin.gateway === g.id && twin.online !== g.connected)) {
      twins.value = twins.value.map((twin) => (twin.gateway === g.id ? { ...twin, online: g.connected } : twin));
    }
  });
}

function takeEvent(e: LogEntry): void {
  events.value = [e, ...events.value].slice(0, Math.max(KEEP, events.value.length));
  const text = `${t.value.severity[e.severity]}: ${e.action} ${e.target} ${e.detail ?? ""}`;
  if (e.severity === "alarm") alarm(text);
  else if (e.severity === "warning") say(text);
}

function onMessage(m: ServerMessage): void {
  switch (m.type) {
    case "schema":
      return values.schema(m.area, m.epoch, m.rows);
    case "texts":
      values.applyTexts(m.area, m.epoch, m.values);
      return paintSoon();
    case "command":
      return takeCommand(m.command);
    case "desired":
      return takeDesired(m.twin, m.point, m.desired ?? null);
    case "event":
      return takeEvent(m.event);
    case "alarm":
      alarms.value = [...alarms.value.filter((a) => a.id !== m.alarm.id), m.alarm];
      return;
    case "gateway":
      return takeGateway(m.gateway);
    case "twins":
      return void refresh();
    case "lost":
      say(t.value.link.missed(m.count));
      return void refresh();
  }
}
