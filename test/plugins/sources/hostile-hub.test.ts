/** Hubs that lie: what they name stays in the cache, and what they send is limited. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import hf from '../../../plugins/sources/hf/index.ts';
import { GB } from '../../../src/base/untrusted/limits.ts';
import {
  commit,
  entry,
  honest,
  type Hostile,
  hub,
  model,
  sendForever,
  sendJson,
  startHostile,
} from './hostile-server.ts';
import { faultOf } from './registry.ts';

const test = suite<Hostile>('hostile hubs');
test.before.each(async (hostile) => {
  Object.assign(hostile, await startHostile());
});
test.after.each((hostile) => hostile.close());

const fetchModel = (hostile: Hostile, env = {}): Promise<{ message: string; hint: string }> =>
  faultOf(hf.fetch('hf:lab/tiny', hostile.context(env)));

test("a hub's digests and names never lead out of its cache", async (hostile) => {
  for (const oid of [
    '../../../../../../escaped',
    '/tmp/escaped',
    '..',
    'x'.repeat(40),
    '',
    null,
    7,
  ]) {
    hub(hostile, [{ ...honest[0], oid }, ...honest.slice(1)]);
    assert.match(
      (await fetchModel(hostile)).message,
      'it gives config.json the digest',
      String(oid),
    );
    hub(hostile, [{ ...honest[0], lfs: { oid, size: 3 } }, ...honest.slice(1)]);
    assert.match(
      (await fetchModel(hostile)).message,
      'it gives config.json the digest',
      String(oid),
    );
  }
  for (const path of [
    '../../escaped',
    '/tmp/escaped',
    'a/../../escaped',
    'a\\..\\b',
    'C:x',
    'a//b',
    '',
    'a\0b',
    null,
  ]) {
    hub(hostile, [...honest, { ...honest[0], path }]);
    assert.match((await fetchModel(hostile)).message, 'it lists a file named', String(path));
  }
  assert.equal(hostile.beside(), []);
});

test('an answer that is not a list of files is a fault, not a crash', async (hostile) => {
  for (const list of [
    'null',
    '7',
    '{}',
    '[null]',
    '["x"]',
    '[{"type":"file"}]',
    '<html>',
    '[',
    '',
    '['.repeat(9999),
  ]) {
    hub(hostile, list);
    await fetchModel(hostile);
  }
  for (const size of [-1, 1.5, '9', null, 1e300]) {
    hub(hostile, [{ ...honest[0], size }]);
    assert.match((await fetchModel(hostile)).message, 'the size', String(size));
  }
  hostile.script.answer = (_path, response) => {
    sendJson(response, 'null');
  };
  assert.match((await fetchModel(hostile)).message, 'names no commit');
  hub(hostile, [entry('config.json', ''), entry('config.json/x', ''), ...honest.slice(1)]);
  await faultOf(
    hf
      .fetch('hf:lab/tiny#config.json/**', hostile.context())
      .then(() => hf.fetch('hf:lab/tiny', hostile.context())),
  );
});

test('small files are checked against their Git object id', async (hostile) => {
  const damaged = model['config.json'].replace('bert', 'treb');
  hub(hostile, honest, { 'config.json': damaged });
  const { message } = await fetchModel(hostile);
  assert.match(message, 'config.json of lab/tiny arrived damaged: its size or git-sha1');
  hub(hostile, honest);
  const asset = await hf.fetch('hf:lab/tiny', hostile.context());
  // A blob of the same size that another client or a disk damaged is not taken for the file either.
  writeFileSync(join(asset.path, 'config.json'), damaged);
  assert.is(await hf.locate('hf:lab/tiny', hostile.context()), null);
  assert.is((await hf.fetch('hf:lab/tiny', hostile.context())).digest, asset.digest);
});

test('no more bytes of a file are read than it is listed with', async (hostile) => {
  hub(hostile, honest, { 'config.json': null });
  const { message, hint } = await fetchModel(hostile);
  assert.match(
    `${message} ${hint}`,
    /config\.json of lab\/tiny is larger than 21 bytes.*sends more/,
  );
  assert.equal(
    readdirSync(join(hostile.dir, 'a/b/hf/hub/models--lab--tiny/blobs')).filter((name) =>
      name.includes('incomplete'),
    ),
    [],
  );
});

test('endless lists and endless pages are cut off', async (hostile) => {
  hostile.script.answer = (path, response) => {
    if (path.includes('/revision/')) sendJson(response, { sha: commit });
    else {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('[');
      sendForever(response, '{},'.repeat(10_000));
    }
  };
  const list = await fetchModel(hostile, { DOSIMETER_LIST_MB: '1' });
  assert.match(`${list.message} ${list.hint}`, /larger than 1 MB.*raise DOSIMETER_LIST_MB/);

  const paged = (files: (page: number) => unknown[]): void => {
    let page = 0;
    hostile.script.answer = (path, response) => {
      if (path.includes('/revision/')) sendJson(response, { sha: commit });
      else {
        page++;
        sendJson(response, files(page), {
          link: `<${hostile.origin}/api/models/lab/tiny/tree/${page}>; rel="next"`,
        });
      }
    };
  };
  paged(() => []);
  assert.match((await fetchModel(hostile)).message, 'on more than 1000 pages');
  paged((page) => Array.from({ length: 40 }, (_, i) => entry(`${page}/${i}`, '')));
  const files = await fetchModel(hostile, { DOSIMETER_FETCH_FILES: '100' });
  assert.match(
    `${files.message} ${files.hint}`,
    /more than 100 files.*raise DOSIMETER_FETCH_FILES/,
  );
  // A page on another host would receive the token.
  hostile.script.answer = (path, response) => {
    if (path.includes('/revision/')) sendJson(response, { sha: commit });
    else sendJson(response, [], { link: '<http://127.0.0.1:9/next>; rel="next"' });
  };
  assert.match(
    (await fetchModel(hostile)).message,
    'its list goes on at "http://127.0.0.1:9/next"',
  );
});

test('a server that falls silent before its answer or in it is given up', async (hostile) => {
  const env = { DOSIMETER_FETCH_SECONDS: '0.3' };
  const silences: Hostile['script']['answer'][] = [
    () => undefined,
    (_path, response) => {
      response.write('{');
    },
    (path, response) => {
      if (path.includes('/revision/')) sendJson(response, { sha: commit });
      else if (path.includes('/tree/')) sendJson(response, honest);
      else response.write('{'); // of 21 bytes
    },
    // What came quickly before does not lengthen the silence, here to five minutes.
    (_path, response) => {
      response.write(' '.repeat(3_000_000));
    },
    // A byte now and then counts as silence too.
    (_path, response) => {
      const drip = setInterval(() => response.write(' '), 50);
      response.on('close', () => {
        clearInterval(drip);
      });
    },
  ];
  for (const answer of silences) {
    hostile.script.answer = answer;
    const { message, hint } = await fetchModel(hostile, env);
    assert.match(
      `${message} ${hint}`,
      /has sent nothing, or less than 10 kB a second, for 0\.3 s.*DOSIMETER_FETCH_SECONDS/,
    );
  }
  hostile.script.answer = (path, response) => {
    if (path.includes('/revision/')) sendJson(response, { sha: commit });
    else {
      response.write('[');
      response.destroy();
    }
  };
  assert.match((await fetchModel(hostile)).message, /broke off|can't be reached/);
});

test('a source that is too large is reported before anything is fetched', async (hostile) => {
  const large = (size: number): unknown[] => [
    ...honest.slice(0, 2),
    { ...honest[2], lfs: { oid: 'b'.repeat(64), size } },
  ];
  hub(hostile, large(300 * GB));
  const { message, hint } = await fetchModel(hostile);
  assert.match(
    `${message} ${hint}`,
    /has 300 GB of files; at most 200 GB .*raise DOSIMETER_FETCH_GB \(now 200\)/,
  );
  hub(hostile, large(2 ** 52));
  assert.match((await fetchModel(hostile, { DOSIMETER_FETCH_GB: '1e9' })).message, 'has room for');
  assert.match(
    (await fetchModel(hostile, { DOSIMETER_FETCH_GB: 'much' })).message,
    'DOSIMETER_FETCH_GB is "much"',
  );
  assert.not.ok(existsSync(join(hostile.dir, 'a/b/hf/hub/models--lab--tiny/blobs')));
});

test.run();
