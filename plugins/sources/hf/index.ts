import { type Asset, defineSource, type SourceContext, UserFault } from '../../../src/api.ts';
import { parseUri } from '../../../src/data/format.ts';
import type { Snapshot } from './hub.ts';
import type { HubSource, Repository } from './hub-client.ts';

const PART = '[A-Za-z0-9_][A-Za-z0-9._-]*';
/** Matches `OWNER/NAME@REVISION`, optionally after `datasets/` or `models/`. */
const REPOSITORY = new RegExp(
  `^(?:(datasets|models)/)?((?:${PART}/)?${PART})(?:@([A-Za-z0-9_][A-Za-z0-9._/-]*))?$`,
);

/** Returns the repository that a URI names, at `main` by default. Throws `UserFault` if none. */
function parseRepository(uri: string): Repository {
  const { rest, fragment } = parseUri(uri);
  const match = REPOSITORY.exec(rest);
  const [, kind, name, revision = 'main'] = match ?? [];
  if (name === undefined || revision.includes('..'))
    throw new UserFault(
      `${uri} does not name a hub repository.`,
      'It is written hf:OWNER/NAME or hf:OWNER/NAME@REVISION, with #PATH for a file in it.',
    );
  return { type: kind === 'datasets' ? 'dataset' : 'model', name, revision, fragment };
}

export default defineSource({
  name: 'hf',
  summary:
    "A model or data set of the Hugging Face hub, in the hub's own cache: " +
    'hf:OWNER/NAME@REVISION#PATH.',

  /** Returns null if the source has to be fetched. */
  async locate(uri, context) {
    const { hub, source } = await openSource(uri, context);
    const snapshot = await hub.findSnapshot(source);
    if (snapshot !== null) return toAsset(uri, source, snapshot);
    const { settings } = source;
    if (settings.offline) {
      throw new UserFault(
        `${uri} is not in the hub's cache (${settings.cache}), and HF_HUB_OFFLINE forbids ` +
          'fetching it.',
        'Unset HF_HUB_OFFLINE, or point HF_HOME at the cache that holds it.',
      );
    }
    return null;
  },

  async peek(uri, file, context, fetch) {
    const { hub, source } = await openSource(uri, context);
    return hub.peekFile(source, file, fetch);
  },

  async fetch(uri, context) {
    const { hub, source } = await openSource(uri, context);
    try {
      return await toAsset(uri, source, await hub.fetchSnapshot(source));
    } catch (error) {
      throw hubFault(source.repository, error);
    }
  },
});

async function openSource(uri: string, context: SourceContext) {
  const [{ hubSettings }, hub] = await Promise.all([import('./hub-client.ts'), import('./hub.ts')]);
  const settings = await hubSettings(context.env);
  return { hub, source: { repository: parseRepository(uri), settings, context } };
}

async function toAsset(
  uri: string,
  { repository: { type, name, revision, fragment }, context: { cacheDir } }: HubSource,
  { dir, commit, files, digest }: Snapshot,
): Promise<Asset> {
  const { assetWithin } = await import('../shared/within.ts');
  // What a paper would cite, so without the mirror that the files came from.
  const facts = {
    kind: 'hf',
    type,
    repository: name,
    revision,
    commit,
    files: files.length,
    digest,
  };
  return assetWithin(uri, dir, fragment, cacheDir, digest, facts, files);
}

/**
 * Returns the hub's error status as a `UserFault`; any other error as it is. The hub answers 401
 * both for a repository that does not exist and for a private one.
 */
function hubFault({ type, name, revision }: Repository, error: unknown): unknown {
  const { statusCode } = error as { statusCode?: number };
  if (error instanceof UserFault || statusCode === undefined) return error;
  const other =
    type === 'model'
      ? `A data set is meant by \`data.*.source\`, or written hf:datasets/${name}.`
      : 'A model is meant by `model.source` only.';
  switch (statusCode) {
    case 401:
      return new UserFault(
        `The hub has no public ${type} ${name}.`,
        `Is the name spelt right? If it is private or gated, set HF_TOKEN. ${other}`,
      );
    case 403:
      return new UserFault(
        `The hub does not let this token read the ${type} ${name}.`,
        'Accept its terms on its page, or use a token of an account that has.',
      );
    case 404:
      return new UserFault(
        `The hub has no ${type} ${name} at revision ${revision}.`,
        `Is the name spelt right? ${other}`,
      );
    default:
      return new UserFault(
        `The hub answers ${statusCode} for the ${type} ${name}.`,
        'Try again later.',
      );
  }
}
