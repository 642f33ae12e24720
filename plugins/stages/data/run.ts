import { type RunContext, taskOf, UserFault } from '../../../src/api.ts';
import { firstNames } from '../../../src/data/first-names.ts';
import { loadSplit } from '../../../src/data/load-split.ts';
import { writeDataset } from '../../../src/data/rows-file.ts';
import { type DataParams, splitRequest } from '../../../src/data/split-request.ts';

export async function run(context: RunContext<DataParams>): Promise<void> {
  const { params, assets, outDir, log } = context;
  const { name, split, disagreement } = params;
  if (disagreement !== null)
    throw new UserFault(disagreement, 'Give them once, as `data.classes`.');
  const request = splitRequest(params, assets, (kind, plugin) => context.plugin(kind, plugin));
  if (request === null) throw new Error(`the asset of ${name} was not handed over`);
  const { rows, classes, facts } = await loadSplit(request);
  const { provenance: source, digest, uri } = request.asset;
  const { format } = split;
  const { counts } = await writeDataset(outDir, rows, classes, {
    split: name,
    source,
    digest,
    format,
    ...facts,
  });
  const byClass = firstNames(classes.map((label, id) => `${counts[id] ?? 0} ${label}`));
  const kinds = { classes: byClass, regression: 'numbers', completion: 'prompts with answers' };
  const read = JSON.stringify(facts['rows_in_source']);
  log(`${name}: ${rows.length} rows (${kinds[taskOf(classes)]}) of ${read} from ${uri}`);
  if (facts['header'] !== undefined) {
    const line = JSON.stringify(facts['header']);
    log(`${name}: the first line, ${line}, names the columns and is not a row (header: true)`);
  }
  if (typeof facts['empty_texts'] === 'number')
    log(`${name}: ${facts['empty_texts']} of them have an empty text`);
  if (typeof facts['empty_answers'] === 'number')
    log(`${name}: ${facts['empty_answers']} of them have an empty answer`);
  if (
    (name === 'validation' || name === 'test') &&
    classes.length > 1 &&
    counts.filter((n) => n > 0).length === 1
  )
    log(`${name}: all rows are of one class`);
}
