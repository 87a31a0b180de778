// What screen readers are told beside what is seen: politely, or at once for alarms.
import { signal } from "@preact/signals";

export const polite = signal("");
export const assertive = signal("");

/** Says it when the reader pauses. */
export function say(text: string): void {
  polite.value = text;
}

/** Says it at once. */
export function alarm(text: string): void {
  assertive.value = text;
}
