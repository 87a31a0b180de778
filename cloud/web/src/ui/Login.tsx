// Signing in.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { tl } from "../i18n/later";
import { loginError, signIn } from "../state/session";
import { LanguageChoice } from "./Header";
import { WarnMark } from "./marks";
import "../styles/login.css";

export function Login(): JSX.Element {
  const busy = useSignal(false);
  const x = tl.value.login;
  const error = loginError.value;
  const submit = async (e: SubmitEvent): Promise<void> => {
    e.preventDefault();
    const form = new FormData(e.currentTarget as HTMLFormElement);
    busy.value = true;
    await signIn(String(form.get("user")), String(form.get("password")));
    busy.value = false;
  };
  return (
    <main class="login">
      <form onSubmit={submit} aria-labelledby="login-title">
        <img src="/favicon.svg" alt="" width="40" height="40" />
        <h1 id="login-title">Twinway</h1>
        <label>
          {x.user}
          <input name="user" autocomplete="username" required autofocus spellcheck={false} />
        </label>
        <label>
          {x.password}
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <p class="error" role="alert">
          {error && <WarnMark text={error === "unauthenticated" ? x.wrong : x.failed(tl.value.code[error])} />}
        </p>
        <button type="submit" class="primary" disabled={busy.value}>
          {busy.value ? x.busy : x.submit}
        </button>
        <p class="hint">{x.hint}</p>
        <LanguageChoice />
      </form>
    </main>
  );
}
