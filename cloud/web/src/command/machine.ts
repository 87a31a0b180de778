// The life of one command in the page: select, review, pending, result. Pure: the pane sends events and
// shows the state. Not here: calls (command/send.ts) and drawing.
import type { ErrorCode } from "../api/client";
import type { CommandState, CommandView, Value } from "../api/types";

export interface Draft { point: string; value: Value; ttl_ms: number; reason: string }

export type Step =
  | { at: "edit" }
  | { at: "review"; draft: Draft; key: string }
  /** Posted, no answer yet. */
  | { at: "sending"; draft: Draft; key: string }
  /** Accepted; its final state is awaited. */
  | { at: "pending"; draft: Draft; key: string; command: CommandView }
  /** Refused at once: nothing was stored or written. */
  | { at: "refused"; draft: Draft; code: ErrorCode; detail: string }
  /** No answer: it may have arrived. Asking again with the same key is safe. */
  | { at: "unsure"; draft: Draft; key: string }
  | { at: "done"; draft: Draft; command: CommandView };

export type Event =
  | { type: "review"; draft: Draft; key: string }
  | { type: "back" }
  | { type: "confirm" }
  | { type: "view"; command: CommandView }
  | { type: "refuse"; code: ErrorCode; detail: string }
  | { type: "again" };

const FINAL: readonly CommandState[] = ["succeeded", "rejected", "failed", "expired", "unknown"];

export function isFinal(state: CommandState): boolean {
  return FINAL.includes(state);
}

/** Whether `next` may follow `now`: as `CommandState::may_become`. Late results settle `expired` and
 * `unknown`, and nothing leaves another final state. */
export function mayBecome(now: CommandState, next: CommandState): boolean {
  switch (now) {
    case "accepted":
      return next !== "accepted";
    case "sent":
      return next !== "accepted" && next !== "sent";
    case "executing":
      return isFinal(next);
    case "unknown":
      return next === "succeeded" || next === "failed";
    case "expired":
      return next === "succeeded" || next === "failed" || next === "rejected" || next === "unknown";
    default:
      return false;
  }
}

/** The later of two views of one command; they come by two ways and may overtake each other. */
export function later(now: CommandView | undefined, next: CommandView): CommandView {
  if (!now) return next;
  if (now.state === next.state) return next.steps.length >= now.steps.length ? next : now;
  return mayBecome(now.state, next.state) ? next : now;
}

export function reduce(step: Step, event: Event): Step {
  switch (event.type) {
    case "review":
      return step.at === "edit" || step.at === "done" || step.at === "refused"
        ? { at: "review", draft: event.draft, key: event.key }
        : step;
    case "back":
      // What is on its way cannot be taken back.
      return step.at === "sending" || step.at === "pending" ? step : { at: "edit" };
    case "confirm":
      return step.at === "review" ? { at: "sending", draft: step.draft, key: step.key } : step;
    case "again":
      return step.at === "unsure" ? { at: "sending", draft: step.draft, key: step.key } : step;
    case "refuse":
      if (step.at !== "sending") return step;
      return event.code === "network"
        ? { at: "unsure", draft: step.draft, key: step.key }
        : { at: "refused", draft: step.draft, code: event.code, detail: event.detail };
    case "view": {
      if (step.at !== "sending" && step.at !== "pending" && step.at !== "done") return step;
      const known = step.at === "sending" ? undefined : step.command;
      if (known && known.id !== event.command.id) return step;
      const command = later(known, event.command);
      if (isFinal(command.state)) return { at: "done", draft: step.draft, command };
      return step.at === "done" ? step : { at: "pending", draft: step.draft, key: step.key, command };
    }
  }
}
