// One point opened: its value at large, trend, commands and facts.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { PointView, TwinView } from "../api/types";
import * as format from "../format";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import { commands, now, pointOf, values } from "../state/plant";
import { go } from "../state/route";
import { qualityName } from "../state/values";
import { CommandPane } from "./CommandPane";
import { CommandTable } from "./Commands";
import { DesiredPane } from "./DesiredPane";
import { QualityMark } from "./marks";
import { Band, shownValue, useShown } from "./PointRow";
import { Trend } from "./Trend";
import "../styles/later.css";

function range(p: PointView, min: number | undefined, max: number | undefined): string {
  return min === undefined || max === undefined
    ? format.NONE
    : `${format.number({ ...p, labels: [] }, min)} … ${format.number({ ...p, labels: [] }, max)} ${format.unit(p.unit)}`;
}

function Facts({ twin, point, slot }: { twin: TwinView; point: PointView; slot: number }): JSX.Element {
  const x = tl.value.detail;
  const source = useComputed(() => {
    values.version(slot).value;
    return format.stamp(values.sourceMs[slot]!);
  });
  const rows: [string, string | typeof source][] = [
    [x.source, source],
    [x.range, range(point, point.range_min, point.range_max)],
    ...(point.access === "read" ? [] : [[x.limits, range(point, point.write_min, point.write_max)] as [string, string]]),
    [x.type, point.type],
    [x.staleAfter, format.span(point.stale_ms, t.value.age)],
    ...(point.class && point.class !== "normal" ? [[x.class, x.classes[point.class]] as [string, string]] : []),
    [x.gateway, twin.gateway ?? format.NONE],
    [x.device, twin.device ?? format.NONE],
  ];
  return (
    <section aria-labelledby="facts-title">
      <h3 id="facts-title">{x.facts}</h3>
      <dl class="facts">
        {rows.map(([name, text]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

export function Detail({ twin, point }: { twin: TwinView; point: PointView }): JSX.Element {
  const slot = values.slot(twin.id, point.name);
  const setpoint = point.setpoint ? pointOf(twin, point.setpoint) : undefined;
  const setpointSlot = setpoint ? values.slot(twin.id, setpoint.name) : -1;
  const text = useShown(slot, point);
  const setpointText = useComputed(() => {
    if (!setpoint) return "";
    values.version(setpointSlot).value;
    return `${shownValue(setpointSlot, setpoint)} ${format.unit(setpoint.unit)}`;
  });
  const mark = useComputed(() => {
    values.version(slot).value;
    return values.mark(slot, now.value);
  });
  const reason = useComputed(() => {
    values.version(slot).value;
    return mark.value === "stale" ? t.value.mark.stale : t.value.quality[qualityName(values.quality[slot]!)];
  });
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // On a narrow page the panel lies below the table.
    if (matchMedia("(max-width: 75rem)").matches) head.current?.scrollIntoView({ block: "start" });
  }, []);
  const recent = commands.value.filter((c) => c.twin === twin.id).slice(0, 8);
  return (
    <aside class="detail" aria-labelledby="detail-title">
      <div class="title">
        <h2 id="detail-title" ref={head}>
          <span class="path">{twin.asset}/</span>
          {point.name}
        </h2>
        <button type="button" class="quiet" onClick={() => go({ open: null })} aria-label={tl.value.detail.close} aria-keyshortcuts="Escape">
          ✕
        </button>
      </div>
      {point.description && <p class="description">{point.description}</p>}
      <div class={`now ${mark.value}`}>
        <p class="big">
          <span class="number">{text}</span> <span class="unit">{format.unit(point.unit)}</span>
        </p>
        <div class="beside">
          <QualityMark mark={mark.value} text={reason.value} />
          {setpoint && (
            <p>
              <button type="button" class="textlink" onClick={() => go({ open: { twin: twin.id, point: setpoint.name } })}>
                {tl.value.detail.setpoint}
              </button>{" "}
              <span class="number">{setpointText}</span>
            </p>
          )}
        </div>
        <Band slot={slot} point={point} setpointSlot={setpointSlot} />
      </div>
      {point.type !== "text" && point.type !== "bytes" && (
        <Trend twin={twin} point={point} slot={slot} setpoint={setpoint} setpointSlot={setpointSlot} />
      )}
      {point.access === "read" ? (
        <p class="hint">{tl.value.detail.readOnly}</p>
      ) : (
        <>
          <CommandPane twin={twin} point={point} />
          <DesiredPane twin={twin} point={point} />
        </>
      )}
      <section aria-labelledby="recent-title">
        <h3 id="recent-title">{tl.value.command.recent}</h3>
        <CommandTable commands={recent} asset={false} />
      </section>
      <Facts twin={twin} point={point} slot={slot} />
    </aside>
  );
}
