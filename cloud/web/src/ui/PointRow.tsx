// One point in the table. Its texts hang on signals, so a new value changes text nodes and renders nothing.
import { useComputed, type ReadonlySignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { api } from "../api/client";
import type { PointView, TwinView } from "../api/types";
import * as format from "../format";
import { t } from "../i18n";
import { link, now, pointOf, sparks, values } from "../state/plant";
import { LENGTH, STEP_MS } from "../state/sparks";
import { qualityName } from "../state/values";
import { DesiredMark, QualityMark } from "./marks";

/** The point's present value as text without unit. */
export function shownValue(slot: number, point: PointView): string {
  if (values.quality[slot]! & 0x80 && Number.isNaN(values.number[slot])) return format.NONE;
  const text = values.text(slot);
  return text === undefined ? format.number(point, values.number[slot]!) : format.value(point, text);
}

/** Text that follows the point's value. */
export function useShown(slot: number, point: PointView): ReadonlySignal<string> {
  return useComputed(() => {
    values.version(slot).value;
    return shownValue(slot, point);
  });
}

/** Where in its range a value stands, 0 to 100; NaN without a range. */
function share(point: PointView, value: number): number {
  const { range_min: min, range_max: max } = point;
  if (min === undefined || max === undefined || max <= min) return NaN;
  return Math.max(0, Math.min(100, ((value - min) / (max - min)) * 100));
}

/** The value in its range, with the limits of commands and the setpoint. */
export function Band({ slot, point, setpointSlot }: { slot: number; point: PointView; setpointSlot: number }): JSX.Element | null {
  const needle = useComputed(() => {
    values.version(slot).value;
    const at = share(point, values.number[slot]!);
    return Number.isNaN(at) ? "M0 0" : `M${at} 3V13`;
  });
  const target = useComputed(() => {
    if (setpointSlot < 0) return "M0 0";
    values.version(setpointSlot).value;
    const at = share(point, values.number[setpointSlot]!);
    return Number.isNaN(at) ? "M0 0" : `M${at} 6L${at - 3.5} 0H${at + 3.5}Z`;
  });
  if (point.range_min === undefined || point.range_max === undefined || point.type === "bool") return null;
  const low = share(point, point.write_min ?? NaN);
  const high = share(point, point.write_max ?? NaN);
  return (
    <svg class="band" viewBox="-4 0 108 14" preserveAspectRatio="none" aria-hidden="true">
      <path class="track" d="M0 6h100v4H0z" />
      {high > low && <path class="limits" d={`M${low} 6H${high}V10H${low}Z`} />}
      <path class="target" d={target} />
      <path class="needle" d={needle} />
    </svg>
  );
}

export function Spark({ slot, twin, point }: { slot: number; twin: string; point: PointView }): JSX.Element {
  const path = useComputed(() => {
    sparks.tick.value;
    return sparks.path(slot, ((point.range_max ?? 0) - (point.range_min ?? 0)) * 0.02);
  });
  const live = link.value === "live";
  useEffect(() => {
    if (!live) return;
    // A row that is only scrolled past asks for nothing.
    const wait = setTimeout(() => void seedSpark(slot, twin, point.name), 200);
    return () => clearTimeout(wait);
  }, [slot, live]);
  return (
    <svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

const asking: (() => Promise<void>)[] = [];
let busy = 0;

async function seedSpark(slot: number, twin: string, point: string): Promise<void> {
  if (!sparks.wantsSeed(slot)) return;
  asking.push(async () => {
    const to = now.value;
    const range = { from_us: (to - LENGTH * STEP_MS) * 1000, to_us: to * 1000, max_points: LENGTH };
    // Without its past a sparkline starts now; the link's own banner tells of an outage.
    const history = await api.history(twin, point, range).catch(() => null);
    if (history) sparks.seed(slot, history, to);
  });
  if (busy >= 2) return;
  busy++;
  for (let next = asking.shift(); next; next = asking.shift()) await next();
  busy--;
}

interface Props {
  twin: TwinView;
  point: PointView;
  row: number;
  tabStop: boolean;
  open: boolean;
  onOpen: () => void;
}

export function PointRow({ twin, point, row, tabStop, open, onOpen }: Props): JSX.Element {
  const slot = values.slot(twin.id, point.name);
  const setpoint = point.setpoint ? pointOf(twin, point.setpoint) : undefined;
  const setpointSlot = setpoint ? values.slot(twin.id, setpoint.name) : -1;
  const text = useShown(slot, point);
  const setpointText = useComputed(() => {
    if (!setpoint) return "";
    values.version(setpointSlot).value;
    return shownValue(setpointSlot, setpoint);
  });
  const mark = useComputed(() => {
    values.version(slot).value;
    return values.mark(slot, now.value);
  });
  const age = useComputed(() => {
    values.version(slot).value;
    const at = values.sourceMs[slot]!;
    return at > 0 ? format.age(now.value - at, t.value.age) : format.NONE;
  });
  const words = point.type === "text" || point.type === "bytes";
  return (
    <tr class={`point ${mark.value}${open ? " opened" : ""}`} aria-rowindex={row + 2} onClick={onOpen}>
      <th scope="row" class="c-point">
        <button type="button" class="open" data-row={row} tabIndex={tabStop ? 0 : -1} aria-expanded={open}>
          {point.name}
        </button>
        {point.access !== "read" && <span class="pen" role="img" aria-label={t.value.table.writable} title={t.value.table.writable} />}
        {point.desired && point.desired.state !== "expired" && <DesiredMark state={point.desired.state} />}
        {point.description && <span class="description">{point.description}</span>}
      </th>
      {words ? (
        <td class="c-value words" colSpan={3}>{text}</td>
      ) : (
        <>
          <td class="c-value">{text}</td>
          <td class="c-unit">{format.unit(point.unit)}</td>
          <td class="c-band">
            <Band slot={slot} point={point} setpointSlot={setpointSlot} />
          </td>
        </>
      )}
      <td class="c-setpoint">{setpointText}</td>
      <td class="c-trend">
        {!words && <Spark slot={slot} twin={twin.id} point={point} />}
      </td>
      <td class="c-quality" title={t.value.quality[qualityName(values.quality[slot]!)]}>
        <QualityMark mark={mark.value} />
      </td>
      <td class="c-age">{age}</td>
    </tr>
  );
}
