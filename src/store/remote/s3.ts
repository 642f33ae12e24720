/**
 * A remote that is an S3 bucket, or a part of one: Amazon's, or any server with the same interface.
 * Endpoint, region and credentials are found as Amazon's own tools find them (`AWS_ENDPOINT_URL`,
 * `AWS_REGION`, `AWS_PROFILE`, …).
 */
import { Readable } from 'node:stream';
import type * as clientS3 from '@aws-sdk/client-s3';
import type { ListObjectsV2CommandInput, S3Client, S3ServiceException } from '@aws-sdk/client-s3';
import type * as libStorage from '@aws-sdk/lib-storage';
import { UserFault } from '../../api.ts';
import { hasCode } from '../../base/system-error.ts';
import {
  inWords,
  type Limit,
  LONGEST_MS,
  MB,
  readLimit,
  SLOWEST,
} from '../../base/untrusted/limits.ts';
import { type Listed, type Objects, type Reading, RemoteFault } from './objects.ts';

/** The smallest part of an upload, in bytes, and the most parts (S3 takes 10,000). */
const PART = 16 * MB,
  PARTS = 9000;

/** The most answers that one listing may take; each has up to 1000 objects. */
const MOST_PAGES = 2000;

interface Bucket {
  readonly sdk: Sdk;
  readonly client: S3Client;
  readonly name: string;
  readonly uri: string;
  /** How long (ms) a transfer may go without data. */
  readonly stallMs: number;
  /** Sends a request with a short answer. All its attempts together may take `stallMs`. */
  readonly send: S3Client['send'];
  readonly keyOf: (object: string) => string;
  /** Returns an error as `s3Fault` does. */
  readonly fault: (error: unknown) => unknown;
}

/**
 * Opens a remote in a bucket.
 * @param prefix begins the objects' keys there, without slashes at its ends; may be ''
 * @param uri names the remote in messages
 */
export async function s3Objects(bucket: string, prefix: string, uri: string): Promise<Objects> {
  const [sdk, { Upload }] = await loadSdk(uri);
  const patience = readLimit('seconds');
  const stallMs = Math.min(LONGEST_MS, patience.value * 1000);
  const client = createClient(sdk, stallMs);
  const keyOf = (object: string): string => (prefix === '' ? object : `${prefix}/${object}`);
  const fault = (error: unknown): unknown => s3Fault(error, uri, bucket, patience);
  const send = (async (command: Parameters<S3Client['send']>[0]) => {
    const abortSignal = AbortSignal.timeout(stallMs);
    try {
      return await client.send(command, { abortSignal });
    } catch (error) {
      // Amid an answer, the SDK reports an abort as a reset of the connection.
      throw abortSignal.aborted ? abortSignal.reason : error;
    }
  }) as S3Client['send'];
  const opened: Bucket = { sdk, client, name: bucket, uri, stallMs, send, keyOf, fault };
  /** Returns the request's result. Throws its error as `fault` returns it. */
  const withFaults = async <T>(request: Promise<T>): Promise<T> => {
    try {
      return await request;
    } catch (error) {
      throw fault(error);
    }
  };
  return {
    uri,
    async open() {
      try {
        await send(new sdk.HeadBucketCommand({ Bucket: bucket }));
      } catch (error) {
        throw isAbsent(error) ? noBucketFault(uri, bucket) : fault(error);
      }
    },
    sizeOf: (name) => withFaults(fetchSize(opened, name)),
    read: (name, from) => withFaults(read(opened, name, from)),
    write: (name, size, bytes) => upload(opened, Upload, name, size, bytes),
    async *list(folder) {
      try {
        yield* listObjects(opened, folder);
      } catch (error) {
        throw fault(error);
      }
    },
    async remove(name) {
      await withFaults(send(new sdk.DeleteObjectCommand({ Bucket: bucket, Key: keyOf(name) })));
    },
  };
}

type Sdk = typeof clientS3;

/** Makes the SDK's client. @param socketTimeout how long (ms) a connection may be silent */
const createClient = (sdk: Sdk, socketTimeout: number): S3Client =>
  new sdk.S3Client({
    ...regionOption(),
    // Servers other than Amazon's seldom have a host name for each bucket.
    forcePathStyle: isEndpointGiven(),
    // Objects are checked by SHA-256 here, and not every server knows the SDK's own checksums.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // `socketTimeout`, since the SDK only warns when its `requestTimeout` is over.
    requestHandler: { connectionTimeout: 10_000, socketTimeout },
    streamCollector: collectBody,
    maxAttempts: 4,
  });

/** Reads a short answer. Throws an error named TOO_LARGE if it exceeds the limit `list`. */
async function collectBody(body: Readable): Promise<Uint8Array> {
  const { value: most } = readLimit('list');
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Uint8Array>) {
    bytes += part.length;
    if (bytes > most) throw Object.assign(new Error(), { name: TOO_LARGE });
    parts.push(part);
  }
  return Buffer.concat(parts);
}

const TOO_LARGE = 'TooLarge';

/** Loads the SDK's two packages. Throws UserFault if one is not installed. */
async function loadSdk(uri: string): Promise<[Sdk, typeof libStorage]> {
  try {
    return await Promise.all([import('@aws-sdk/client-s3'), import('@aws-sdk/lib-storage')]);
  } catch (error) {
    if (!hasCode(error, 'ERR_MODULE_NOT_FOUND')) throw error;
    throw new UserFault(
      `${uri} needs packages that are not installed: @aws-sdk/client-s3 and @aws-sdk/lib-storage`,
      'npm install @aws-sdk/client-s3 @aws-sdk/lib-storage',
    );
  }
}

/** Whether the environment names the server, which then need not be Amazon's. */
const isEndpointGiven = (): boolean =>
  ['AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_S3'].some((name) => (process.env[name] ?? '') !== '');

/**
 * Returns the option `region` for the SDK, which refuses to work without a region: the one in
 * `AWS_DEFAULT_REGION` or, if the environment names a server, any region, since servers other than
 * Amazon's ignore it. Returns no option in other cases and if `AWS_REGION` is set: the SDK itself
 * reads `AWS_REGION` and the user's files.
 */
function regionOption(): { readonly region?: string } {
  const given = process.env['AWS_REGION'] ?? '',
    fallback = process.env['AWS_DEFAULT_REGION'] ?? (isEndpointGiven() ? 'us-east-1' : '');
  return given !== '' || fallback === '' ? {} : { region: fallback };
}

/** Returns an object's size in bytes; null if there is no such object. Throws the SDK's errors. */
async function fetchSize(
  { send, sdk, name: bucket, keyOf }: Bucket,
  object: string,
): Promise<number | null> {
  try {
    const { ContentLength } = await send(
      new sdk.HeadObjectCommand({ Bucket: bucket, Key: keyOf(object) }),
    );
    return ContentLength ?? 0;
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

/**
 * Begins to read an object at the byte `from`. Returns null if there is no such object. Throws the
 * SDK's errors; while bytes are read, those that `withStallTimeout` throws.
 */
async function read(
  { client, sdk, name: bucket, uri, stallMs, keyOf, fault }: Bucket,
  object: string,
  from: number,
): Promise<Reading | null> {
  const stop = new AbortController();
  const silence = setTimeout(() => stop.abort(), stallMs);
  try {
    const answer = await client.send(
      new sdk.GetObjectCommand({
        Bucket: bucket,
        Key: keyOf(object),
        ...(from === 0 ? {} : { Range: `bytes=${from}-` }),
      }),
      { abortSignal: stop.signal },
    );
    if (!(answer.Body instanceof Readable)) throw new RemoteFault(`${uri} sent no bytes`);
    const body = answer.Body;
    return {
      size: from + (answer.ContentLength ?? 0),
      bytes: withStallTimeout(body, stallMs, fault),
      close: () => {
        stop.abort();
        body.destroy();
      },
    };
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  } finally {
    clearTimeout(silence);
  }
}

/** Writes an object. Throws an error of `bytes` as it is, any other as `fault` returns it. */
async function upload(
  { client, name: bucket, stallMs, keyOf, fault }: Bucket,
  Upload: typeof libStorage.Upload,
  object: string,
  size: number,
  bytes: AsyncIterable<Uint8Array>,
): Promise<void> {
  // The SDK wraps errors of an upload's body, so an error of `bytes` is kept here.
  let own: { readonly error: unknown } | null = null;
  const guarded = async function* (): AsyncGenerator<Uint8Array> {
    try {
      yield* bytes;
    } catch (error) {
      own = { error };
      throw error;
    }
  };
  const stop = new AbortController();
  const slow = setTimeout(() => stop.abort(), allowedMs(stallMs, size));
  const transfer = new Upload({
    client,
    abortController: stop,
    params: { Bucket: bucket, Key: keyOf(object), Body: Readable.from(guarded()) },
    partSize: Math.max(PART, Math.ceil(size / PARTS)),
    queueSize: 2,
  });
  try {
    await transfer.done();
  } catch (error) {
    const thrown = own as { readonly error: unknown } | null;
    throw thrown === null ? fault(error) : thrown.error;
  } finally {
    clearTimeout(slow);
  }
}

/** Returns how long a server may take for this many bytes, in milliseconds. */
const allowedMs = (stallMs: number, bytes: number): number =>
  Math.min(LONGEST_MS, stallMs + (bytes / SLOWEST) * 1000);

/** Lists the objects of a folder. @throws RemoteFault if the server's list does not end */
async function* listObjects(
  { send, sdk, name: bucket, uri, keyOf }: Bucket,
  folder: string,
): AsyncGenerator<Listed> {
  const start = keyOf(''); // begins all keys of the remote, and is no part of objects' names
  let request: ListObjectsV2CommandInput = { Bucket: bucket, Prefix: keyOf(`v1/${folder}/`) };
  for (let page = 0; page < MOST_PAGES; page++) {
    const answer = await send(new sdk.ListObjectsV2Command(request));
    const { Contents: found = [], NextContinuationToken: next = '' } = answer;
    for (const { Key: key = '', Size: size = 0, LastModified: modified } of found)
      if (key.startsWith(start) && modified !== undefined)
        yield { name: key.slice(start.length), size, modified: modified.getTime() };
    if (next === '') return;
    if (next === request.ContinuationToken) break;
    request = { ...request, ContinuationToken: next };
  }
  throw new RemoteFault(
    `${uri}: its list of ${folder} does not end`,
    `a server must end it within ${MOST_PAGES} answers, and not name the same place twice`,
  );
}

const isAbsent = (error: unknown): boolean =>
  ['NoSuchKey', 'NotFound'].includes((error as Error).name);

/**
 * Passes on the bytes of an answer. Throws `RemoteFault` if no data comes for `ms`, if data comes
 * more slowly than SLOWEST, or if the connection breaks.
 */
async function* withStallTimeout(
  body: Readable,
  ms: number,
  fault: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array> {
  // Ends the transfer. One that brought as many bytes as come in `ms` at the speed SLOWEST is tried
  // again (Error). Any other would be slow again, and is given up (TimeoutError).
  const stalled = (): void => {
    const name = receivedBytes < (ms / 1000) * SLOWEST ? 'TimeoutError' : 'Error';
    body.destroy(Object.assign(new Error('no data arrived in time'), { name }));
  };
  let waitedMs = 0,
    receivedBytes = 0,
    before = performance.now();
  let timer = setTimeout(stalled, ms);
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      clearTimeout(timer);
      waitedMs += performance.now() - before;
      receivedBytes += chunk.length;
      yield chunk;
      before = performance.now();
      timer = setTimeout(stalled, Math.min(ms, allowedMs(ms, receivedBytes) - waitedMs));
    }
  } catch (error) {
    throw fault(error);
  } finally {
    clearTimeout(timer);
  }
}

const noBucketFault = (uri: string, bucket: string): RemoteFault =>
  new RemoteFault(`${uri}: there is no bucket "${bucket}"`, 'make it, or name another');

/** Returns a `UserFault` as it is, and any other error as a `RemoteFault`. */
function s3Fault(error: unknown, uri: string, bucket: string, patience: Limit): unknown {
  if (error instanceof UserFault) return error;
  const { name, message, code } = error as NodeJS.ErrnoException;
  const status = (error as Partial<S3ServiceException>).$metadata?.httpStatusCode;
  // The answer had no body, and so no message.
  const isMute = message === '' || message === 'UnknownError';
  const said = isMute
    ? `HTTP ${status ?? name}`
    : message.slice(0, 300).replace(/[\u0000-\u001f\u007f]/g, ' ');
  if (['AbortError', 'TimeoutError'].includes(name))
    return new RemoteFault(
      `${uri} has not answered for ${patience.value} s, or too slowly`,
      `look at the network and at AWS_ENDPOINT_URL. ${patience.raise}`,
    );
  if (name === TOO_LARGE) {
    const { value, raise } = readLimit('list');
    return new RemoteFault(`${uri} sent more than ${inWords(value)} in one answer`, raise);
  }
  if (name === 'NoSuchBucket') return noBucketFault(uri, bucket);
  if (['CredentialsProviderError', 'InvalidAccessKeyId', 'SignatureDoesNotMatch'].includes(name))
    return new RemoteFault(
      `${uri}: the credentials are missing or wrong (${said})`,
      'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE',
    );
  if (status === 403 || name === 'AccessDenied')
    return new RemoteFault(
      `${uri} refuses access (${said})`,
      'the credentials need s3:GetObject and s3:ListBucket, to push also s3:PutObject and ' +
        's3:DeleteObject',
    );
  if (/Region is missing/.test(message))
    return new RemoteFault(`${uri}: no region is given`, 'set AWS_REGION');
  const isRefused = status !== undefined && status < 500;
  return new RemoteFault(
    `${uri}: ${said}${code === undefined ? '' : ` (${code})`}`,
    'look at the network and at AWS_ENDPOINT_URL',
    !isRefused,
  );
}
