// Calls that act on the plant, those that follow what became of it, and what else a first visit does not ask for.
import { json, type HistoryRange } from "./client";
import type { AlarmView, CommandRequest, CommandView, DesiredPatch, HistoryResponse, TwinView } from "./types";

export const acts = {
  /** The same key again asks after the same command. */
  command: (twin: string, key: string, body: CommandRequest): Promise<CommandView> =>
    json(`/twins/${twin}/commands`, { method: "POST", body, headers: { "idempotency-key": key } }),
  /** Answers when the command has ended, or after `wait_ms`. */
  commandById: (id: string, wait_ms: number, signal: AbortSignal): Promise<CommandView> =>
    json(`/commands/${id}?wait_ms=${wait_ms}`, { signal }),
  /** Refused with `precondition_failed` unless `version` is the present one. */
  desire: (twin: string, version: number, patch: DesiredPatch): Promise<TwinView> =>
    json(`/twins/${twin}/desired`, {
      method: "PATCH",
      body: patch,
      headers: { "if-match": `"${version}"`, "content-type": "application/merge-patch+json" },
    }),
  /** What the box makes of it comes over the live link. */
  acknowledge: (id: string, raised_us: number, comment: string): Promise<AlarmView> =>
    json(`/alarms/${id}/acknowledge`, { method: "POST", body: { raised_us, comment } }),
  shelve: (id: string, duration_ms: number, comment: string): Promise<AlarmView> =>
    json(`/alarms/${id}/shelve`, { method: "POST", body: { duration_ms, comment } }),
  unshelve: (id: string, comment: string): Promise<AlarmView> =>
    json(`/alarms/${id}/unshelve`, { method: "POST", body: { comment } }),
  /** A history that says how its time divides. */
  timed: (twin: string, point: string, r: HistoryRange, signal: AbortSignal): Promise<HistoryResponse> =>
    json(
      `/twins/${twin}/points/${encodeURIComponent(point)}/history?times=true` +
        `&from=${Math.floor(r.from_us)}&to=${Math.ceil(r.to_us)}&max_points=${r.max_points}`,
      { signal },
    ),
  twin: (id: string): Promise<TwinView> => json(`/twins/${id}`),
};
