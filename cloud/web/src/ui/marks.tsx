// Marks that tell by shape, numeral and colour together: severities, quality, states.
import type { JSX } from "preact";
import type { DesiredState, Severity } from "../api/types";
import { t } from "../i18n";
import type { Mark } from "../state/values";

export type Look = { shape: string; sign: string; tone: string };

const SHAPES: Record<string, string> = {
  square: "M2 2h12v12H2z",
  triangle: "M8 1.5 15 14H1z",
  circle: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z",
  diamond: "M8 .8 15.2 8 8 15.2.8 8z",
  pill: "M5 3h6a5 5 0 0 1 0 10H5A5 5 0 0 1 5 3z",
};

export function Shape({ shape, sign, tone }: Look): JSX.Element {
  return (
    <svg class={`mark ${tone}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={SHAPES[shape]} />
      <text x="8" y={shape === "triangle" ? 12.6 : 11.6}>{sign}</text>
    </svg>
  );
}

const SEVERITY: Record<Severity, Look> = {
  alarm: { shape: "square", sign: "1", tone: "p1" },
  warning: { shape: "triangle", sign: "2", tone: "p2" },
  info: { shape: "circle", sign: "i", tone: "plain" },
};

export function SeverityMark({ severity }: { severity: Severity }): JSX.Element {
  return (
    <span class="marked">
      <Shape {...SEVERITY[severity]} />
      <span>{t.value.severity[severity]}</span>
    </span>
  );
}

const QUALITY: Record<Exclude<Mark, "good">, Look> = {
  bad: { shape: "diamond", sign: "×", tone: "p4" },
  stale: { shape: "circle", sign: "–", tone: "p4 hollow" },
  uncertain: { shape: "triangle", sign: "?", tone: "p4 hollow" },
};

export function QualityShape({ mark }: { mark: Mark }): JSX.Element | null {
  return mark === "good" ? null : <Shape {...QUALITY[mark]} />;
}

export function QualityMark({ mark, text }: { mark: Mark; text?: string }): JSX.Element {
  return (
    <span class={`marked quality ${mark}`}>
      <QualityShape mark={mark} />
      <span>{text ?? t.value.mark[mark]}</span>
    </span>
  );
}

const DESIRED: Record<DesiredState, Look> = {
  pending: { shape: "circle", sign: "…", tone: "plain hollow" },
  applied: { shape: "circle", sign: "✓", tone: "plain" },
  diverged: { shape: "triangle", sign: "!", tone: "p2" },
  expired: { shape: "circle", sign: "–", tone: "plain hollow" },
};

export function DesiredMark({ state }: { state: DesiredState }): JSX.Element {
  return (
    <span class="marked">
      <Shape {...DESIRED[state]} />
      <span>{t.value.desiredState[state]}</span>
    </span>
  );
}

/** Up or down, such as a link or a device. */
export function UpMark({ up, text }: { up: boolean; text: string }): JSX.Element {
  const look: Look = up ? { shape: "circle", sign: "", tone: "plain" } : { shape: "diamond", sign: "×", tone: "p2" };
  return (
    <span class="marked">
      <Shape {...look} />
      <span>{text}</span>
    </span>
  );
}

/** A warning without a severity of its own. */
export function WarnMark({ text }: { text: string }): JSX.Element {
  return (
    <span class="marked">
      <Shape shape="triangle" sign="!" tone="p2" />
      <span>{text}</span>
    </span>
  );
}
