// A value, a time and a reason: what a command and a desired value ask for, before either is confirmed.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import type { PointView, Value } from "../api/types";
import { isChoice, parseValue } from "../command/parse";
import * as format from "../format";
import { t } from "../i18n";
import { tl } from "../i18n/later";

export interface Filled { value: Value; ms: number; reason: string }

interface Props {
  point: PointView;
  times: readonly number[];
  usual: number;
  timeLabel: string;
  /** Why nothing can be asked for now. */
  disabled: string | null;
  onFilled: (filled: Filled) => void;
}

/** A point's limits of writing as text. */
export function limits(p: PointView): [string, string] {
  const one = (n: number | undefined): string => (n === undefined ? format.NONE : format.withUnit({ ...p, labels: [] }, n));
  return [one(p.write_min), one(p.write_max)];
}

function choices(p: PointView): [string, string][] {
  if (p.labels?.length) return p.labels.map((l) => [String(l.value), l.text]);
  return [["0", "0"], ["1", "1"]];
}

export function ValueForm({ point, times, usual, timeLabel, disabled, onFilled }: Props): JSX.Element {
  const x = tl.value.command;
  const id = useId();
  const typed = useSignal("");
  const error = useSignal("");
  const [min, max] = limits(point);
  const submit = (e: SubmitEvent): void => {
    e.preventDefault();
    const form = new FormData(e.currentTarget as HTMLFormElement);
    const parsed = parseValue(point, typed.value);
    if ("error" in parsed) {
      error.value = {
        empty: isChoice(point) ? x.choose : x.notNumber,
        number: x.notNumber,
        whole: x.notWhole,
        beyond: x.beyond(min, max),
      }[parsed.error];
      document.getElementById(`${id}-value`)?.focus();
      return;
    }
    error.value = "";
    onFilled({ value: parsed.value, ms: Number(form.get("ms")), reason: String(form.get("reason")).trim() });
  };
  const common = {
    id: `${id}-value`,
    name: "value",
    disabled: disabled !== null,
    "aria-invalid": error.value !== "",
    "aria-describedby": `${id}-hint ${id}-error`,
  };
  return (
    <form class="value-form" onSubmit={submit} noValidate>
      <div class="field">
        <label for={`${id}-value`}>{x.value}</label>
        {isChoice(point) ? (
          <select {...common} value={typed.value} onChange={(e) => { typed.value = e.currentTarget.value; }}>
            <option value="">{x.choose}</option>
            {choices(point).map(([value, text]) => <option key={value} value={value}>{text}</option>)}
          </select>
        ) : (
          <span class="with-unit">
            <input
              {...common}
              type="text"
              inputMode={point.type === "text" ? "text" : "decimal"}
              autocomplete="off"
              value={typed.value}
              onInput={(e) => { typed.value = e.currentTarget.value; }}
            />
            <span class="unit">{format.unit(point.unit)}</span>
          </span>
        )}
        <span id={`${id}-hint`} class="hint">{!isChoice(point) && point.write_min !== undefined && x.limits(min, max)}</span>
      </div>
      <div class="field">
        <label for={`${id}-ms`}>{timeLabel}</label>
        <select id={`${id}-ms`} name="ms" defaultValue={String(usual)} disabled={disabled !== null}>
          {times.map((ms) => (
            <option key={ms} value={ms} selected={ms === usual}>
              {format.span(ms, t.value.age)}
            </option>
          ))}
        </select>
      </div>
      <div class="field grow">
        <label for={`${id}-reason`}>{x.reason}</label>
        <input id={`${id}-reason`} name="reason" type="text" maxLength={200} placeholder={x.reasonHint} autocomplete="off" disabled={disabled !== null} />
      </div>
      <button type="submit" disabled={disabled !== null} aria-describedby={disabled ? `${id}-why` : undefined}>{x.review}</button>
      <p id={`${id}-error`} class="error" role="alert">{error.value}</p>
      {disabled && <p id={`${id}-why`} class="why">{x.disabled}: {disabled}.</p>}
    </form>
  );
}
