/** The guide of models lists the families that there are, with their heads. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ModelDescriptor } from '../../src/api.ts';
import type { Architecture, Head } from '../../src/science/models/types.ts';
import { read, repository } from './blocks.ts';

const test = suite('docs: models');

const HEADS: readonly Head[] = [{ type: 'cloze', tokens: [] }, { type: 'causal-lm' }];

/** The types of the heads that a family has beside the classifier. */
const headsOf = (family: Architecture): string =>
  HEADS.filter((head) => {
    try {
      family.withHead(head);
      return true;
    } catch {
      return false;
    }
  })
    .map(({ type }) => type)
    .join(', ');

test('the table has a row for each family, with its model_type and its heads', async () => {
  const folder = path.join(repository, 'plugins/models');
  const families: string[] = [];
  for (const file of readdirSync(folder)) {
    const { default: plugin } = (await import(pathToFileURL(path.join(folder, file)).href)) as {
      readonly default: ModelDescriptor<Architecture>;
    };
    if (plugin.backend !== undefined) continue; // it reads whatever transformers has
    const types = (plugin.modelTypes ?? []).map((type) => `\`${type}\``).join(', ');
    families.push(`\`${plugin.name}\` | ${types} | ${headsOf(await plugin.load())}`);
  }
  const [, table = ''] = read('docs/guides/models.md').split('## Families and heads');
  const rows = [...table.matchAll(/^\| (`[^|]+`) \| (`[^|]+`) \|[^|]+\|[^|]+\| ([^|]+) \|$/gm)];
  assert.equal(rows.map(([, ...cells]) => cells.join(' | ')).sort(), families.sort());
});

test.run();
