/** The engine reads every YAML block of the documents: whole specs, and parts of specs. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import type { Project } from '../rig/project.ts';
import { blocksIn, repository } from './blocks.ts';
import { reader } from './reader.ts';

const test = suite<{ project: Project }>('docs: specs');
test.before((context) => {
  context.project = reader();
});
test.after(({ project }) => project.clean());

/** Completes a part of a spec. A whole spec is returned unchanged. */
function completed(text: string): string {
  const fields = parse(text) as Record<string, unknown>;
  return 'extends' in fields || ('model' in fields && 'data' in fields)
    ? text
    : `extends: base.yaml\n${text}`;
}

test('every YAML block of the documents is a spec, or a part of one', async ({ project }) => {
  const faults: string[] = [];
  for (const { place, text } of blocksIn('yaml')) {
    const file = `${place.replaceAll(/[/:]/g, '-')}.yaml`;
    project.write(file, completed(text));
    const { code, stderr } = await project.startWith({ env: { API_TOKEN: 'secret' } }, 'plan', file)
      .ended;
    if (code !== 0) faults.push(`${place}:\n${stderr}`);
  }
  assert.equal(faults, []);
});

test('every pipeline of the repository is planned', async ({ project }) => {
  const faults: string[] = [];
  for (const name of readdirSync(path.join(repository, 'pipelines'))) {
    if (!name.endsWith('.yaml')) continue;
    const { code, stderr } = await project.dosimeter('plan', `pipelines/${name}`);
    if (code !== 0) faults.push(`${name}:\n${stderr}`);
  }
  assert.equal(faults, []);
});

test.run();
