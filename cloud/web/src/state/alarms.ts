// Alarms as a list: what rings, in which order, and how many by priority. Pure.
import type { AlarmPriority, AlarmView } from "../api/types";

/** The most urgent first. */
export const PRIORITIES: readonly AlarmPriority[] = ["urgent", "high", "medium", "low"];

export function isShelved(alarm: AlarmView): boolean {
  return alarm.shelved_until_us !== undefined;
}

/** Active or unacknowledged, and not on the shelf. */
export function isRinging(alarm: AlarmView): boolean {
  return !isShelved(alarm) && alarm.state !== "normal" && alarm.state !== "out_of_service";
}

function rank(alarm: AlarmView): number {
  const unacknowledged = alarm.state === "active" || alarm.state === "returned";
  return (isRinging(alarm) ? 0 : 100) + PRIORITIES.indexOf(alarm.priority) * 2 + (unacknowledged ? 0 : 1);
}

/** What rings first, the most urgent first, later ones first among those. What is normal again is not listed. */
export function ordered(alarms: Iterable<AlarmView>): AlarmView[] {
  const open = [...alarms].filter((a) => a.state !== "normal" || isShelved(a));
  return open.sort((a, b) => rank(a) - rank(b) || b.at_us - a.at_us || (a.id < b.id ? -1 : 1));
}

/** How many ring, by priority. */
export function counts(alarms: readonly AlarmView[]): Record<AlarmPriority, number> {
  const all = { urgent: 0, high: 0, medium: 0, low: 0 };
  for (const a of alarms) if (isRinging(a)) all[a.priority]++;
  return all;
}
