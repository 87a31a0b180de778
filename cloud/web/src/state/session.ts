// Signing in and out. The token lives in an HttpOnly cookie that this code never sees.
import { signal } from "@preact/signals";
import { api, ApiError, whenSignedOut, type ErrorCode } from "../api/client";
import { me, start, stop } from "./plant";

/** Whether it is known yet if somebody is signed in. */
export const asked = signal(false);
export const loginError = signal<ErrorCode | null>(null);

whenSignedOut(() => {
  if (me.value) stop();
});

/** Goes on with the cookie's session, if it has one. */
export async function resume(): Promise<void> {
  try {
    start(await api.whoAmI());
  } catch (e) {
    if (e instanceof ApiError && e.code !== "unauthenticated") loginError.value = e.code;
  }
  asked.value = true;
}

export async function signIn(user: string, password: string): Promise<void> {
  loginError.value = null;
  try {
    const { user: name, grants } = await api.signIn(user, password);
    start({ user: name, grants });
  } catch (e) {
    loginError.value = e instanceof ApiError ? e.code : "network";
  }
}

export async function signOut(): Promise<void> {
  stop();
  try {
    await api.signOut();
  } catch (e) {
    loginError.value = e instanceof ApiError ? e.code : "network";
  }
}
