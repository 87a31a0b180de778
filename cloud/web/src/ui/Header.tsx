// The head of the page: views, abnormal points, link, clock, language, account.
import type { JSX } from "preact";
import { clock } from "../format";
import { language, LANGUAGES, setLanguage, t, type Language } from "../i18n";
import { abnormal, alarms, link, me, now } from "../state/plant";
import { formatRoute, go, route, VIEWS } from "../state/route";
import { signOut } from "../state/session";
import { lazy } from "./lazy";
import { QualityMark, UpMark } from "./marks";
import type { Mark } from "../state/values";

const Ringing = lazy(async () => (await import("./Ringing")).Ringing);

export function LanguageChoice(): JSX.Element {
  return (
    <select
      class="language"
      aria-label={t.value.app.language}
      value={language.value}
      onChange={(e) => void setLanguage(e.currentTarget.value as Language)}
    >
      {LANGUAGES.map(([tag, name]) => (
        <option key={tag} value={tag} lang={tag}>
          {name}
        </option>
      ))}
    </select>
  );
}

function Abnormal(): JSX.Element {
  const x = t.value;
  const counts = abnormal.value;
  const marks: Mark[] = ["bad", "stale", "uncertain"];
  return (
    <span class="abnormal" role="group" aria-label={x.app.abnormal}>
      {marks.map((mark) => {
        const n = counts[mark as keyof typeof counts];
        return n > 0 && <QualityMark key={mark} mark={mark} text={`${n} ${x.mark[mark]}`} />;
      })}
    </span>
  );
}

export function Header({ onHelp }: { onHelp: () => void }): JSX.Element {
  const x = t.value;
  return (
    <header>
      <h1>
        <img src="/favicon.svg" alt="" width="20" height="20" />
        Twinway
      </h1>
      <nav aria-label={x.app.views}>
        {VIEWS.map((view) => (
          <a
            key={view}
            href={formatRoute({ ...route.value, view })}
            aria-current={route.value.view === view ? "page" : undefined}
            onClick={(e) => {
              e.preventDefault();
              go({ view });
            }}
          >
            {x.app[view]}
          </a>
        ))}
      </nav>
      {alarms.value.length > 0 && <Ringing />}
      <Abnormal />
      <span class={`link ${link.value}`}>
        <UpMark up={link.value === "live"} text={x.link[link.value]} />
      </span>
      <time class="clock">{clock(now.value)}</time>
      <LanguageChoice />
      <button type="button" class="quiet" onClick={onHelp} aria-keyshortcuts="?">
        {x.app.help}
      </button>
      <span class="user" title={x.app.user(me.value?.user ?? "")}>
        {me.value?.user}
      </span>
      <button type="button" class="quiet" onClick={() => void signOut()}>
        {x.app.signOut}
      </button>
    </header>
  );
}
