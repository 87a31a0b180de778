// Sends a command and follows it to its end. Not here: the steps a person sees (machine.ts).
import { acts } from "../api/acts";
import { ApiError } from "../api/client";
import type { CommandView } from "../api/types";
import { isFinal, type Draft, type Event } from "./machine";

const WAIT_MS = 15_000;
const PAUSE_MS = 1_000;

/** A fresh idempotency key; `randomUUID` exists on secure origins only, boxes are often plain http. */
export function newKey(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6]! & 0x0f) | 0x40;
  b[8] = (b[8]! & 0x3f) | 0x80;
  const hex = Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Posts the draft; the same key again asks after the same command. */
export async function send(twin: string, draft: Draft, key: string): Promise<Event> {
  try {
    const { point, value, ttl_ms, reason } = draft;
    return { type: "view", command: await acts.command(twin, key, { point, value, ttl_ms, reason }) };
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    return { type: "refuse", code: e.code, detail: e.detail };
  }
}

/** Tells every step until the command has ended. The live link may tell it sooner. */
export async function follow(id: string, take: (c: CommandView) => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const command = await acts.commandById(id, WAIT_MS, signal);
      if (signal.aborted) return;
      take(command);
      if (isFinal(command.state)) return;
    } catch (e) {
      if (signal.aborted) return;
      if (e instanceof ApiError && e.code !== "network" && e.status < 500) return;
      await new Promise((next) => setTimeout(next, PAUSE_MS));
    }
  }
}
