// The event list: who did what, and what happened.
import { signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { LogEntry, Severity } from "../api/types";
import * as format from "../format";
import { tl } from "../i18n/later";
import { events, olderEvents, readOlderEvents } from "../state/plant";
import { SeverityMark, WarnMark } from "./marks";
import { ApiError, type ErrorCode } from "../api/client";
import "../styles/later.css";

const RANK: Record<Severity, number> = { info: 0, warning: 1, alarm: 2 };
const atLeast = signal<Severity>("info");

/** Why, by its code in the page's language and in the gateway's words, and not twice. */
function told({ code, detail = "" }: LogEntry): string {
  const why = code ? tl.value.code[code] : "";
  if (!why || detail.toLowerCase().includes(why.toLowerCase())) return detail;
  return detail ? `${why}: ${detail}` : why;
}

function Row({ event }: { event: LogEntry }): JSX.Element {
  return (
    <tr class={event.severity}>
      <td><SeverityMark severity={event.severity} /></td>
      <td class="nowrap">{format.stamp(event.at_us / 1000)}</td>
      <td>{event.actor}</td>
      <td class="nowrap">{event.action}</td>
      <td>{event.target}</td>
      <td>
        {told(event)}
      </td>
    </tr>
  );
}

export function Events(): JSX.Element {
  const x = tl.value.events;
  const list = events.value.filter((e) => RANK[e.severity] >= RANK[atLeast.value]);
  const error = useSignal<ErrorCode | null>(null);
  const older = async (): Promise<void> => {
    error.value = null;
    try {
      await readOlderEvents();
    } catch (e) {
      error.value = e instanceof ApiError ? e.code : "network";
    }
  };
  return (
    <div class="page">
      <div class="bar">
        <h2 id="events-title">{x.title}</h2>
        <label>
          {x.atLeast}
          <select value={atLeast.value} onChange={(e) => { atLeast.value = e.currentTarget.value as Severity; }}>
            <option value="info">{x.all}</option>
            <option value="warning">{x.warnings}</option>
            <option value="alarm">{x.alarms}</option>
          </select>
        </label>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-labelledby="events-title">
        {list.length === 0 ? (
          <p class="none">{x.none}</p>
        ) : (
          <table class="list">
            <thead>
              <tr>
                <th scope="col">{x.severity}</th>
                <th scope="col">{x.time}</th>
                <th scope="col">{x.who}</th>
                <th scope="col">{x.what}</th>
                <th scope="col">{x.target}</th>
                <th scope="col" class="wide">{x.detail}</th>
              </tr>
            </thead>
            <tbody>
              {list.map((e, i) => <Row key={`${e.at_us}/${e.action}/${e.target}/${list.length - i}`} event={e} />)}
            </tbody>
          </table>
        )}
        {olderEvents.value && <p><button type="button" onClick={() => void older()}>{x.older}</button></p>}
        {error.value && <p role="alert"><WarnMark text={tl.value.code[error.value]} /></p>}
      </div>
    </div>
  );
}
