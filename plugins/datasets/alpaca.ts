import { namedDataset } from './shared/named.ts';

export default namedDataset({
  name: 'alpaca',
  summary:
    'Alpaca: instructions with an input, which may be empty, and an output (Taori et al. 2023).',
  columns: { instruction: 'instruction', input: 'input', output: 'output' },
  metrics: [],
});
