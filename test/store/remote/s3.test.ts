/** What a server of S3 that does not keep to the rules costs; peers/s3.test.ts has a real one. */
import { once } from 'node:events';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Objects } from '../../../src/store/remote/objects.ts';
import { receiveText } from '../../../src/store/remote/receive.ts';
import { objectsAt } from '../../../src/store/remote/remote.ts';
import { rejects } from '../../rig/rejects.ts';

/** Calls `use` with a bucket on a server of `listener`. @param seconds it has to answer */
async function served(
  listener: RequestListener,
  use: (objects: Objects) => Promise<void>,
  seconds = 60,
): Promise<void> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const before = { ...process.env };
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    AWS_ACCESS_KEY_ID: 'an-access-key',
    AWS_SECRET_ACCESS_KEY: 'a-secret-key',
    DOSIMETER_FETCH_SECONDS: String(seconds),
    DOSIMETER_LIST_MB: '1',
  });
  try {
    await use(await objectsAt('s3://bucket'));
  } finally {
    process.env = before;
    server.closeAllConnections();
    server.close();
  }
}

async function all(objects: Objects): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of objects.list('blobs')) names.push(name);
  return names;
}

const bytes = async function* (): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from('text'));
};

/** Ends a page of a listing, with the token of the next one unless it is the last. */
const endPage = (response: ServerResponse, key: string, next?: string): void => {
  const token = next === undefined ? '' : `<NextContinuationToken>${next}</NextContinuationToken>`;
  response.end(
    `<ListBucketResult><IsTruncated>${next !== undefined}</IsTruncated>${token}<Contents>` +
      `<Key>v1/blobs/${key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified>` +
      '</Contents></ListBucketResult>',
  );
};

const SLOW = /s3:\/\/bucket has not answered for [\d.]+ s, or too slowly/;

test('a server that never answers ends each request in time', async () => {
  await served(
    (request) => void request.resume(),
    async (objects) => {
      await rejects(objects.open(false), SLOW);
      await rejects(objects.sizeOf('v1/blobs/a'), SLOW);
      await rejects(objects.read('v1/blobs/a', 0), SLOW);
      await rejects(objects.write('v1/blobs/a', 4, bytes()), SLOW);
      await rejects(objects.remove('v1/blobs/a'), SLOW);
      await rejects(all(objects), SLOW);
    },
    0.2,
  );
});

test('an answer that trickles is broken off', async () => {
  await served(
    (request, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      if (request.method === 'HEAD') {
        response.end();
        return;
      }
      const trickle = setInterval(() => response.write('x'), 20);
      response.on('close', () => clearInterval(trickle));
    },
    async (objects) => {
      await rejects(all(objects), SLOW);
      await rejects(receiveText(objects, 'v1/blobs/a', 1000, 'it'), SLOW);
    },
    1,
  );
});

test('a listing is followed to its end, and broken off if it has none', async () => {
  const asked: (string | null)[] = [];
  await served(
    ({ url = '' }, response) => {
      const token = new URL(url, 'http://x').searchParams.get('continuation-token');
      asked.push(token);
      endPage(response, `${asked.length}`, token === 'b' ? undefined : token === 'a' ? 'b' : 'a');
    },
    async (objects) =>
      assert.equal(
        await all(objects),
        ['1', '2', '3'].map((n) => `v1/blobs/${n}`),
      ),
  );
  assert.equal(asked, [null, 'a', 'b']);
  await served(
    (_, response) => endPage(response, 'x', 'again'),
    (objects) => rejects(all(objects), /s3:\/\/bucket: its list of blobs does not end/),
  );
  let pages = 0;
  await served(
    (_, response) => endPage(response, 'x', `${++pages}`),
    (objects) => rejects(all(objects), /s3:\/\/bucket: its list of blobs does not end/),
  );
  assert.is(pages, 2000);
});

test('an answer without end is broken off', async () => {
  await served(
    (_, response) => {
      const more = (): void => {
        while (response.write(Buffer.alloc(2 ** 16, ' ')));
      };
      response.writeHead(200).on('drain', more);
      more();
    },
    (objects) => rejects(all(objects), /s3:\/\/bucket sent more than 1 MB in one answer/),
  );
});

test.run();
