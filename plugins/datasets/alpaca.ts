import files from './files.ts';
import { namedDataset } from './shared/named.ts';

const columns = { instruction: 'instruction', input: 'input', output: 'output' };

export default namedDataset({
  name: 'alpaca',
  summary:
    'Alpaca: instructions with an input, which may be empty, and an output (Taori et al. 2023).',
  knows: { columns, metrics: [] },
  layouts: [{ columns }],
  files,
});
