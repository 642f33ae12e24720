import type { Browser, LaunchOptions } from 'playwright-core';

/** Throws an Error with a way out if npm has no Chromium for this machine. */
export function launchOptions(): Promise<LaunchOptions>;

export function launch(): Promise<Browser>;
