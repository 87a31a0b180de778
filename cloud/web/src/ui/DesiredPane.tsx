// The value that is to be kept at a point for a time: where it stands, setting and withdrawing it.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { acts } from "../api/acts";
import { ApiError } from "../api/client";
import type { DesiredEntry, PointView, TwinView } from "../api/types";
import * as format from "../format";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import { say } from "../state/announce";
import { takeTwin, values } from "../state/plant";
import { Review, whyNot } from "./CommandPane";
import { DesiredMark, WarnMark } from "./marks";
import { ValueForm, type Filled } from "./ValueForm";

const MIN = 60_000;
const TIMES = [15 * MIN, 60 * MIN, 8 * 60 * MIN, 24 * 60 * MIN, 7 * 24 * 60 * MIN] as const;
const USUAL = 60 * MIN;

export function DesiredPane({ twin, point }: { twin: TwinView; point: PointView }): JSX.Element {
  const x = t.value;
  const filled = useSignal<Filled | null>(null);
  const error = useSignal("");
  const busy = useSignal(false);
  const disabled = busy.value ? tl.value.command.sending : whyNot(twin);
  const wish = point.desired;

  useEffect(() => {
    if (wish) say(tl.value.desired.announce(`${twin.name} ${point.name}`, x.desiredState[wish.state]));
  }, [wish?.state]);

  const patch = async (entry: DesiredEntry | null): Promise<void> => {
    busy.value = true;
    error.value = "";
    try {
      takeTwin(await acts.desire(twin.id, twin.desired_version, { [point.name]: entry }));
      filled.value = null;
    } catch (e) {
      const code = e instanceof ApiError ? e.code : "network";
      const detail = e instanceof ApiError && code !== "network" ? e.detail : "";
      error.value = code === "precondition_failed" ? tl.value.desired.changed : `${tl.value.code[code]}${detail && `: ${detail}`}`;
      if (code === "precondition_failed") await acts.twin(twin.id).then(takeTwin, () => {});
    }
    busy.value = false;
  };

  return (
    <details class="desired" open={wish !== undefined}>
      <summary>
        <h3>{tl.value.desired.title}</h3>
      </summary>
      {wish && (
        <div class="outcome">
          <p>
            <DesiredMark state={wish.state} /> <strong class="number">{format.withUnit(point, wish.value)}</strong>{" "}
            <span class="hint">
              {tl.value.desired.until(format.stamp(wish.expires_us / 1000))}, {tl.value.desired.by(wish.requester.name)}
            </span>
          </p>
          {wish.reason && <p class="hint">{wish.reason}</p>}
          {wish.code && <p>{tl.value.code[wish.code]}{wish.detail && `: ${wish.detail}`}</p>}
          {wish.state !== "expired" && (
            <p class="buttons">
              <button type="button" disabled={busy.value} onClick={() => void patch(null)}>{tl.value.desired.withdraw}</button>
            </p>
          )}
        </div>
      )}
      {filled.value ? (
        <Review
          title={tl.value.desired.confirmTitle}
          confirm={tl.value.desired.confirm}
          point={point}
          slot={values.slot(twin.id, point.name)}
          value={filled.value.value}
          rows={[[tl.value.command.target, `${twin.asset}/${point.name}`], [tl.value.desired.keep, format.span(filled.value.ms, x.age)], [tl.value.command.reason, filled.value.reason]]}
          disabled={disabled}
          onConfirm={() => {
            const f = filled.value;
            if (f) void patch({ value: f.value, ttl_ms: f.ms, reason: f.reason });
          }}
          onBack={() => { filled.value = null; }}
        />
      ) : (
        <>
          <p class="hint">{tl.value.desired.hint}</p>
          <ValueForm
            point={point}
            times={TIMES}
            usual={USUAL}
            timeLabel={tl.value.desired.keep}
            disabled={disabled}
            onFilled={(f) => { filled.value = f; }}
          />
        </>
      )}
      <div role="alert">{error.value && <WarnMark text={error.value} />}</div>
    </details>
  );
}
