import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../src/api.ts';
import { findModelDir } from '../../src/data/model-folder.ts';

const test = suite<{ root: string }>('model folder');
test.before.each((context) => {
  context.root = mkdtempSync(join(tmpdir(), 'dosimeter-model-'));
});

function checkpoint(dir: string, weights = 'model.safetensors'): void {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'config.json'), '{}');
  writeFileSync(join(dir, weights), '');
}

async function fault(root: string): Promise<UserFault> {
  try {
    await findModelDir(root);
  } catch (error) {
    assert.instance(error, UserFault);
    return error as UserFault;
  }
  throw new Error('no fault was raised');
}

test('a checkpoint is found some folders down, past other config.json files', async ({ root }) => {
  checkpoint(join(root, 'package/model'));
  mkdirSync(join(root, 'package/model/1_Pooling'));
  writeFileSync(join(root, 'package/model/1_Pooling/config.json'), '{}');
  assert.is(await findModelDir(root), join(root, 'package/model'));
});

test('the checkpoint nearest to the root is taken; shards count, links are followed', async ({
  root,
}) => {
  checkpoint(join(root, 'blobs'));
  mkdirSync(join(root, 'snapshot'));
  symlinkSync('../blobs/config.json', join(root, 'snapshot/config.json'));
  symlinkSync('../blobs/model.safetensors', join(root, 'snapshot/model.safetensors'));
  checkpoint(join(root, 'snapshot/onnx'), 'model.safetensors.index.json');
  assert.is(await findModelDir(join(root, 'snapshot')), join(root, 'snapshot'));
  assert.is(await findModelDir(join(root, 'snapshot/onnx')), join(root, 'snapshot/onnx'));
});

test('without weights anywhere, the folder with config.json is taken', async ({ root }) => {
  checkpoint(join(root, 'package/model'), 'pytorch_model.bin');
  checkpoint(join(root, 'package/model/1_Pooling'), 'README.md');
  assert.is(await findModelDir(root), join(root, 'package/model'));
  checkpoint(join(root, 'package/other'), 'README.md');
  assert.match(
    (await fault(root)).message,
    '2 folders of this source hold a model: package/model, package/other',
  );
  checkpoint(join(root, 'package/model/weights'));
  assert.is(await findModelDir(root), join(root, 'package/model/weights'));
});

test("no model, several, or a file in its place are the user's faults", async ({ root }) => {
  assert.match(
    (await fault(root)).message,
    'no folder with both config.json and model.safetensors',
  );
  checkpoint(join(root, 'b'));
  checkpoint(join(root, 'c'));
  assert.match((await fault(root)).message, '2 folders of this source hold a model: b, c');
  assert.match((await fault(join(root, 'b/config.json'))).message, 'this one is a file');
  assert.match((await fault(join(root, 'nowhere'))).message, 'not there');
});

test.run();
