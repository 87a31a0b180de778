// Components that load when first shown, or earlier when the page is idle. Not `preact/compat`: a signal does.
import { signal } from "@preact/signals";
import type { ComponentType, JSX } from "preact";
import { t } from "../i18n";
import { WarnMark } from "./marks";

const all: (() => Promise<void>)[] = [];

export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): (props: P) => JSX.Element {
  const component = signal<{ it: ComponentType<P> } | null>(null);
  const failed = signal(false);
  let loading: Promise<void> | null = null;
  const fetch = (): Promise<void> =>
    (loading ??= load().then(
      (it) => {
        component.value = { it };
        failed.value = false;
      },
      () => {
        loading = null;
        failed.value = true;
      },
    ));
  all.push(fetch);
  return (props) => {
    const It = component.value?.it;
    if (It) return <It {...props} />;
    if (failed.value) {
      // A newer cloud has other files: the page itself is to be loaded again.
      return (
        <p class="none" role="alert">
          <WarnMark text={t.value.app.loadFailed(t.value.app.noAnswer)} />{" "}
          <button type="button" onClick={() => location.reload()}>{t.value.app.again}</button>
        </p>
      );
    }
    void fetch();
    return <p class="loading">{t.value.app.loading}</p>;
  };
}

/** Loads what is not there yet, so that a view opens also while the link is lost. */
export async function loadAll(): Promise<void> {
  for (const load of all) await load();
}
