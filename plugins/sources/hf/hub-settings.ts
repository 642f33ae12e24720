/**
 * Where the Hugging Face hub and its downloads are, according to the environment variables that the
 * hub's own clients use.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

type Env = Readonly<Record<string, string | undefined>>;

export interface HubSettings {
  /** HF_ENDPOINT; undefined for the public hub. */
  readonly endpoint: string | undefined;
  /** HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. */
  readonly cache: string;
  /** HF_HUB_OFFLINE. */
  readonly offline: boolean;
  /** HF_TOKEN, else the token that `hf auth login` has stored. */
  readonly token: string | undefined;
}

const filled = (value: string | undefined): string | undefined =>
  value === undefined || value.trim() === '' ? undefined : value.trim();
const isTrue = (value: string | undefined): boolean => /^(1|true|yes|on)$/i.test(value ?? '');

export async function hubSettings(env: Env): Promise<HubSettings> {
  const home =
    filled(env['HF_HOME']) ??
    join(
      filled(env['XDG_CACHE_HOME']) ?? join(filled(env['HOME']) ?? homedir(), '.cache'),
      'huggingface',
    );
  const tokenFile = filled(env['HF_TOKEN_PATH']) ?? join(home, 'token');
  return {
    endpoint: filled(env['HF_ENDPOINT'])?.replace(/\/+$/, ''),
    cache: filled(env['HF_HUB_CACHE']) ?? filled(env['HUGGINGFACE_HUB_CACHE']) ?? join(home, 'hub'),
    offline: isTrue(env['HF_HUB_OFFLINE']) || isTrue(env['TRANSFORMERS_OFFLINE']),
    token:
      filled(env['HF_TOKEN']) ??
      filled(env['HUGGING_FACE_HUB_TOKEN']) ??
      filled(await readFile(tokenFile, 'utf8').catch(() => '')),
  };
}
