/** Remotes by their URI: `file:FOLDER` or `s3://BUCKET/PREFIX`. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserFault } from '../../api.ts';
import { nameFault } from '../../base/untrusted/paths.ts';
import { folderObjects } from './folder.ts';
import type { Objects } from './objects.ts';

const FORMS = 'write file:FOLDER or s3://BUCKET/PREFIX';

/** @throws UserFault if the URI is not that of a remote, or what it needs is not installed */
export async function objectsAt(uri: string): Promise<Objects> {
  if (uri.startsWith('file:')) {
    const folder = uri.startsWith('file://') ? folderOfUrl(uri) : uri.slice('file:'.length);
    if (folder === '') throw new UserFault(`the remote "${uri}" names no folder`, FORMS);
    return folderObjects(path.resolve(folder), uri);
  }
  const [, bucket, prefix = ''] =
    /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*?))?\/?$/.exec(uri) ?? [];
  if (bucket === undefined)
    throw new UserFault(
      `${JSON.stringify(withoutSecrets(uri))} is not a remote`,
      uri.startsWith('s3:')
        ? `${FORMS}; credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE)`
        : FORMS,
    );
  const fault = prefix === '' ? null : nameFault(prefix);
  if (fault !== null) throw new UserFault(`the remote "${uri}" has a prefix that ${fault}`, FORMS);
  const { s3Objects } = await import('./s3.ts');
  return s3Objects(bucket, prefix, uri);
}

function folderOfUrl(uri: string): string {
  try {
    return fileURLToPath(uri);
  } catch {
    throw new UserFault(`"${uri}" is not the URL of a folder`, FORMS);
  }
}

/** Leaves out what stands before an `@`, where people put passwords. */
const withoutSecrets = (uri: string): string => uri.slice(0, 200).replace(/\/\/[^@/]*@/, '//…@');
