// The newest event at the foot of every view.
import type { JSX } from "preact";
import * as format from "../format";
import { t } from "../i18n";
import { events } from "../state/plant";
import { SeverityMark } from "./marks";

/** The newest warning or alarm, or else the newest event. */
export function EventBar(): JSX.Element {
  const x = t.value.app;
  const last = events.value.slice(0, 50).find((e) => e.severity !== "info") ?? events.value[0];
  return (
    <footer aria-label={x.lastEvent}>
      {last ? (
        <>
          <SeverityMark severity={last.severity} />
          <time>{format.stamp(last.at_us / 1000)}</time>
          <span>{last.action}</span>
          <span class="path">{last.target}</span>
          <span class="rest">{last.detail}</span>
          <span class="who">{last.actor}</span>
        </>
      ) : (
        <span>{x.noEvents}</span>
      )}
    </footer>
  );
}
