// Says that the lists could not be read, and why.
import type { JSX } from "preact";
import type { ErrorCode } from "../api/client";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import { refresh } from "../state/plant";
import { WarnMark } from "./marks";

export function LoadFailed({ code }: { code: ErrorCode }): JSX.Element {
  return (
    <p class="banner">
      <WarnMark text={t.value.app.loadFailed(tl.value.code[code])} />
      <button type="button" onClick={() => void refresh()}>{t.value.app.again}</button>
    </p>
  );
}
