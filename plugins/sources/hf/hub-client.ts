/**
 * Asks a Hugging Face hub which commit a revision is, which files the commit has, and for the
 * files' bytes. The package `@huggingface/hub` is not used, because it trusts the server: it
 * accepts lists of any length and form and bodies of any size, and waits for silent servers.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type SourceContext, UserFault } from '../../../src/api.ts';
import { isRecord, parseJson, shown } from '../../../src/base/untrusted/json.ts';
import { readLimit } from '../../../src/base/untrusted/limits.ts';
import { nameFault } from '../../../src/base/untrusted/paths.ts';
import { firstNames, isGlob, matching } from '../../../src/data/names.ts';
import { ask, readBody, save, type Server } from '../shared/http.ts';
import { normaliseFragment } from '../shared/within.ts';

const PUBLIC_HUB = 'https://huggingface.co';
/** The limit, in bytes, on a file that is read as text (`peek`). */
const SMALL = { value: 2 ** 20, raise: 'Is it the file that it should be?', chosen: false };
/** The most pages of a list. A page lists up to 1000 files. */
const PAGES = 1000;

/** What the environment variables of the hub's own clients say, their older names included. */
interface HubSettings {
  /** HF_ENDPOINT; undefined for the public hub. */
  readonly endpoint: string | undefined;
  /** The hub's cache: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. */
  readonly cache: string;
  /** Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids the use of the network. */
  readonly offline: boolean;
  /** HF_TOKEN, else the token that `hf auth login` has stored. */
  readonly token: string | undefined;
}

/** Returns the value without white space around it; undefined if nothing is left. */
const nonEmpty = (value = ''): string | undefined => value.trim() || undefined;
const isTrue = (value: string | undefined): boolean => /^(1|true|yes|on)$/i.test(value ?? '');

/**
 * Reads the settings from the environment, and the token from its file if the environment has none.
 */
export async function hubSettings(env: SourceContext['env']): Promise<HubSettings> {
  const home =
    nonEmpty(env['HF_HOME']) ??
    join(
      nonEmpty(env['XDG_CACHE_HOME']) ?? join(nonEmpty(env['HOME']) ?? homedir(), '.cache'),
      'huggingface',
    );
  const tokenFile = nonEmpty(env['HF_TOKEN_PATH']) ?? join(home, 'token');
  return {
    endpoint: nonEmpty(env['HF_ENDPOINT'])?.replace(/\/+$/, ''),
    cache:
      nonEmpty(env['HF_HUB_CACHE']) ?? nonEmpty(env['HUGGINGFACE_HUB_CACHE']) ?? join(home, 'hub'),
    offline: isTrue(env['HF_HUB_OFFLINE']) || isTrue(env['TRANSFORMERS_OFFLINE']),
    token:
      nonEmpty(env['HF_TOKEN']) ??
      nonEmpty(env['HUGGING_FACE_HUB_TOKEN']) ??
      nonEmpty(await readFile(tokenFile, 'utf8').catch(() => '')),
  };
}

export interface HubFile {
  /** The file's path within the repository, checked by `nameFault`. */
  readonly path: string;
  readonly size: number;
  /** `sha256` for large files; `git-sha1` for others, the sha1 of `blob SIZE\0` and the content. */
  readonly hash: 'sha256' | 'git-sha1';
  /** The digest in lower-case hex. */
  readonly oid: string;
}

/** Thrown if the hub answers with an error status. */
class HubStatus extends Error {
  constructor(readonly statusCode: number) {
    super(`the hub answers ${statusCode}`);
  }
}

/** Whether the hub has answered that there is no such thing (404). */
const isMissing = (error: unknown): boolean =>
  error instanceof HubStatus && error.statusCode === 404;

/**
 * Returns a client for one repository on a hub. Throws `UserFault` if the hub's address is no URL.
 * The client's methods throw `UserFault`, or `HubStatus` if the server answers with an error
 * status.
 */
export function openHub({
  repository: { type, name, revision },
  settings: { endpoint = PUBLIC_HUB, token },
  context: { env },
}: HubSource) {
  if (!URL.canParse(endpoint))
    throw new UserFault(`HF_ENDPOINT is ${shown(endpoint)}, which is not an address.`);
  const origin = new URL(endpoint).origin,
    api = `${endpoint}/api/${type}s/${name}`;
  const server: Server = {
    name: 'The hub',
    env,
    unreachable:
      'Connect to the network, or name a mirror in HF_ENDPOINT. ' +
      "What is in the hub's cache needs no network.",
    refused: (status) => new HubStatus(status),
    token: token === undefined ? undefined : { origin, value: token },
  };
  const json = async (address: string): Promise<{ value: unknown; headers: Headers }> => {
    const answer = await ask(server, address, 'application/json'),
      what = `The hub's answer for ${name}`;
    const value = parseJson(await readBody(answer, readLimit('list', env), what), what);
    return { value, headers: answer.headers };
  };
  const addressOf = (at: string, path: string): string =>
    [
      endpoint,
      ...(type === 'model' ? [] : [`${type}s`]),
      name,
      'resolve',
      ...[at, ...path.split('/')].map(encodeURIComponent),
    ].join('/');
  return {
    /** Returns the commit that the repository's revision points to. */
    async commit(): Promise<string> {
      const { value } = await json(`${api}/revision/${encodeURIComponent(revision)}?expand[]=sha`);
      const sha = isRecord(value) ? value['sha'] : undefined;
      if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha))
        throw answerFault(name, `it names no commit at ${revision}`);
      return sha;
    },
    /** Returns all files of a commit, by path. */
    async files(commit: string): Promise<Map<string, HubFile>> {
      const files = new Map<string, HubFile>(),
        most = readLimit('files', env);
      let page: string | null = `${api}/tree/${commit}?recursive=true&expand=false`;
      for (let pages = 0; page !== null; pages++) {
        if (pages >= PAGES)
          throw new UserFault(`The hub lists the files of ${name} on more than ${PAGES} pages.`);
        const { value, headers } = await json(page);
        for (const file of readFileList(value, name)) {
          files.set(file.path, file);
          if (files.size > most.value)
            throw new UserFault(
              `The hub lists more than ${most.value} files of ${name}.`,
              most.raise,
            );
        }
        page = nextPage(headers.get('link'), page, origin, name);
      }
      return files;
    },
    /** Returns the text of a small file at a commit or another revision; null if there is none. */
    async peek(at: string, path: string): Promise<string | null> {
      try {
        const answer = await ask(server, addressOf(at, path), '*/*');
        return await readBody(answer, SMALL, `${path} of ${name}`);
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    },
    /**
     * Writes a file's bytes to `to`, and hands each part of them to `passed`. Returns how many
     * bytes were received. Throws `UserFault` if they are more than the listed size.
     */
    async download(
      commit: string,
      { path, size }: HubFile,
      to: string,
      passed: (part: Uint8Array) => void,
    ): Promise<number> {
      const answer = await ask(server, addressOf(commit, path), '*/*').catch((error: unknown) => {
        if (!isMissing(error)) throw error;
        throw new UserFault(`The hub lists ${path} of ${name} and does not have it.`);
      });
      const excess = `The hub lists it with ${size} bytes and sends more: it is damaged or hostile.`;
      return save(answer, to, `${path} of ${name}`, { bytes: size, excess }, passed);
    },
  };
}

/** Returns the fault of an answer that has another form than a hub's. @param why a clause */
const answerFault = (name: string, why: string): UserFault =>
  new UserFault(`The hub's answer for ${name} is not understood: ${why}.`, 'Is HF_ENDPOINT a hub?');

/** Returns the files on one page of a repository's list. Throws `UserFault` if it is no page. */
export function readFileList(value: unknown, name: string): HubFile[] {
  if (!Array.isArray(value)) throw answerFault(name, `${shown(value)} is not a list of files`);
  return value.flatMap((entry) => parseFile(entry, name) ?? []);
}

/** Returns the file that an entry describes; null for a folder. Throws `UserFault` otherwise. */
function parseFile(entry: unknown, name: string): HubFile | null {
  if (!isRecord(entry)) throw answerFault(name, `it lists ${shown(entry)}`);
  const { type, path, size, oid, lfs } = entry;
  if (type === 'directory') return null;
  const why = nameFault(path);
  if (typeof path !== 'string' || why !== null)
    throw answerFault(name, `it lists a file named ${shown(path)}, which ${why ?? 'is not text'}`);
  const isLarge = lfs !== undefined && lfs !== null;
  if (isLarge && !isRecord(lfs)) throw answerFault(name, `it gives ${path} the lfs ${shown(lfs)}`);
  const bytes = isLarge ? lfs['size'] : size,
    id = isLarge ? lfs['oid'] : oid;
  if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 0)
    throw answerFault(name, `it gives ${path} the size ${shown(bytes)}`);
  if (typeof id !== 'string' || !(isLarge ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(id))
    throw answerFault(name, `it gives ${path} the digest ${shown(id)}`);
  return { path, size: bytes, hash: isLarge ? 'sha256' : 'git-sha1', oid: id };
}

/**
 * Returns the address of the next page, from the Link header (RFC 8288); null if there is none.
 * Throws `UserFault` if it is not on the hub.
 */
function nextPage(link: string | null, page: string, origin: string, name: string): string | null {
  const target = /<([^<>]*)>;\s{0,9}rel="?next"?/.exec(link ?? '')?.[1];
  if (target === undefined) return null;
  const next = URL.canParse(target, page) ? new URL(target, page) : null;
  if (next?.origin !== origin) throw answerFault(name, `its list goes on at ${shown(target)}`);
  return next.href;
}

/** A repository that is a source, and what is needed to read it. */
export interface HubSource {
  readonly repository: Repository;
  readonly settings: HubSettings;
  readonly context: SourceContext;
}

export interface Repository {
  readonly type: 'model' | 'dataset';
  readonly name: string;
  /** A branch, tag or commit. */
  readonly revision: string;
  /** A file, folder or glob in the repository; empty for all that the model or data set needs. */
  readonly fragment: string;
}

/** The files that, beside weights, are fetched from the folder of a model or an adapter. */
const SETTINGS = new Set([
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'adapter_config.json',
  'adapter_model.safetensors',
]);
const isSettings = (name: string): boolean => SETTINGS.has(name) || name.endsWith('.model');
/** Matches model.safetensors, model-00001-of-00002.safetensors and model.safetensors.index.json. */
const WEIGHTS = /^model(-\d{5}-of-\d{5})?\.safetensors$|^model\.safetensors\.index\.json$/;
const TABLES = /\.(parquet|tsv|csv|jsonl|ndjson)$/i;

/**
 * Returns the names in `all` that the fragment asks for: one file, the matches of a glob, or what a
 * model or data set needs from a folder (without a fragment, from the top folder). Throws
 * `UserFault` if there are no such files, or if those of a folder make up no model or data set.
 */
export function wantedFiles(repository: Repository, all: readonly string[]): string[] {
  const { type, name } = repository,
    path = normaliseFragment(repository.fragment),
    inside = path === '.' ? '' : path;
  const holds = `It holds ${firstNames([...all].sort(), 12)}.`,
    where = inside === '' ? '' : ` in ${inside}`;
  if (inside !== '' && all.includes(inside)) return [inside];
  if (isGlob(inside)) {
    const names = matching(all, inside);
    if (names.length === 0) throw new UserFault(`hf:${name} has no file like ${inside}.`, holds);
    return names;
  }
  const prefix = inside === '' ? '' : `${inside}/`;
  if (inside !== '' && !all.some((file) => file.startsWith(prefix)))
    throw new UserFault(`hf:${name} has no file or folder ${inside}.`, holds);
  if (type === 'dataset') {
    const tables = all.filter((file) => file.startsWith(prefix) && TABLES.test(file));
    if (tables.length === 0)
      throw new UserFault(
        `The hub's data set ${name} has no Parquet, TSV, CSV or JSON-lines file${where}.`,
        `${holds} Many data sets have Parquet files at the revision refs/convert/parquet.`,
      );
    return tables;
  }
  // Take the files of one folder: other folders hold other formats of the same model.
  const beside = all
    .filter((file) => file.startsWith(prefix) && !file.slice(prefix.length).includes('/'))
    .map((file) => file.slice(prefix.length));
  const isInOneFile = beside.includes('model.safetensors');
  const names = beside.filter(
    (file) => isSettings(file) || (isInOneFile ? file === 'model.safetensors' : WEIGHTS.test(file)),
  );
  const hasModel = beside.includes('config.json') && names.some((file) => WEIGHTS.test(file));
  if (!hasModel && !beside.includes('adapter_model.safetensors')) {
    const missing = beside.includes('config.json') ? 'model.safetensors' : 'config.json';
    throw new UserFault(
      `The hub's model ${name} has no ${missing}${where}.`,
      `${holds} Choose a revision or a folder (#FOLDER) that holds config.json, ` +
        'model.safetensors and tokenizer.json.',
    );
  }
  return names.map((file) => `${prefix}${file}`);
}
