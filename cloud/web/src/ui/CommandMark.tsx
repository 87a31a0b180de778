// How a command stands, by shape, sign and word.
import type { JSX } from "preact";
import type { CommandState } from "../api/types";
import { tl } from "../i18n/later";
import { Shape, type Look } from "./marks";

const COMMAND: Record<CommandState, Look> = {
  accepted: { shape: "circle", sign: "…", tone: "plain hollow" },
  sent: { shape: "circle", sign: "…", tone: "plain hollow" },
  executing: { shape: "circle", sign: "…", tone: "plain hollow" },
  succeeded: { shape: "circle", sign: "✓", tone: "plain" },
  rejected: { shape: "square", sign: "×", tone: "p2" },
  failed: { shape: "square", sign: "×", tone: "p1" },
  expired: { shape: "circle", sign: "–", tone: "p2" },
  unknown: { shape: "triangle", sign: "?", tone: "p1" },
};

export function CommandMark({ state }: { state: CommandState }): JSX.Element {
  return (
    <span class="marked">
      <Shape {...COMMAND[state]} />
      <span>{tl.value.commandState[state]}</span>
    </span>
  );
}
