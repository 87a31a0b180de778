// How urgent an alarm is, and how many ring: loaded with the alarm list, not with the page.
import type { JSX } from "preact";
import type { AlarmPriority } from "../api/types";
import { tl } from "../i18n/later";
import { counts, PRIORITIES } from "../state/alarms";
import { alarms } from "../state/plant";
import { Shape, type Look } from "./marks";
import "../styles/later.css";

const PRIORITY: Record<AlarmPriority, Look> = {
  urgent: { shape: "square", sign: "1", tone: "p1" },
  high: { shape: "triangle", sign: "2", tone: "p2" },
  medium: { shape: "diamond", sign: "3", tone: "p3" },
  low: { shape: "circle", sign: "4", tone: "plain" },
};

/** How urgent an alarm is; without colour when it does not ring. */
export function PriorityMark({ priority, text, quiet }: { priority: AlarmPriority; text?: string; quiet?: boolean }): JSX.Element {
  const look = PRIORITY[priority];
  return (
    <span class="marked">
      <Shape {...(quiet ? { ...look, tone: "plain hollow" } : look)} />
      <span>{text ?? tl.value.alarms.priorities[priority]}</span>
    </span>
  );
}

/** How many alarms ring, the most urgent first. */
export function Ringing(): JSX.Element {
  const x = tl.value.alarms;
  const ringing = counts(alarms.value);
  return (
    <span class="abnormal" role="group" aria-label={x.counts}>
      {PRIORITIES.map((p) => ringing[p] > 0 && (
        <PriorityMark key={p} priority={p} text={`${ringing[p]} ${x.priorities[p]}`} />
      ))}
    </span>
  );
}
